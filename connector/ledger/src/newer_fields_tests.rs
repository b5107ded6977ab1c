//! Reserved fields: a field of a newer build is reported as such, and never treated as damage.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_stores::{Key, MemoryStore, ObjectStore, PutMode};

use crate::address::PageRef;
use crate::checksum::checksum;
use crate::core::manifest::Manifest;
use crate::error::{Error, ErrorKind, Result};
use crate::file::superblock::{SLOT, SLOT_PLACES, SLOTS_AT, Slot, newest};
use crate::ledger::Ledger;
use crate::options::{Access, Options, Replace, Writers};
use crate::verify::{Content, Verifier, Versions};

fn reseal(bytes: &mut [u8]) -> u32 {
    let body = bytes.len() - 4;
    let crc = checksum(&bytes[..body]);
    bytes[body..].copy_from_slice(&crc.to_le_bytes());
    crc
}

fn is_newer<T>(result: Result<T>) {
    let e = result.map(drop).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::NewerFormat { .. }), "{e}");
    assert!(e.to_string().contains("newer h5lake"), "{e}");
}

/// A container in a file with a base, a value in an extent, and a record after the base; its bytes are changed.
struct Changed {
    _dir: tempfile::TempDir,
    path: PathBuf,
    bytes: Vec<u8>,
    slot: Slot,
}

impl Changed {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let opts = Options { checkpoint_records: 2, ..Options::default() };
        let l = Ledger::create_file(&path, Replace::Fail, opts).unwrap();
        // Some commits are records, and some are bases.
        let committed = |n: u8| {
            l.put(format!("long{n}").as_bytes(), vec![n; 5000]).unwrap();
            l.commit().unwrap();
            let bytes = fs::read(&path).unwrap();
            let slot = newest(&bytes[SLOTS_AT as usize..]).unwrap().unwrap();
            (slot.root.is_some() && slot.record.is_some()).then_some((bytes, slot))
        };
        let (bytes, slot) = (0..10).find_map(committed).unwrap();
        drop(l);
        Self { _dir: dir, path, bytes, slot }
    }

    /// Returns the bytes at a pointer.
    fn at(&mut self, p: PageRef) -> &mut [u8] {
        &mut self.bytes[p.place.offset as usize..][..p.place.length as usize]
    }

    /// Sets a byte of the root page, at a distance from the first occurrence of a pattern.
    fn in_root(mut self, pattern: &[u8], distance: usize, byte: u8) -> Self {
        let root = self.slot.root.unwrap();
        let page = self.at(root);
        let found = page.windows(pattern.len()).position(|part| part == pattern).unwrap();
        page[found + distance] = byte;
        let crc = reseal(page);
        self.slot.root = Some(PageRef { crc, ..root });
        self
    }

    /// Sets a bit of the newest record's byte before the pointer to the record before.
    fn in_record(mut self) -> Self {
        let at = self.slot.record.unwrap();
        let record = self.at(at);
        let pid = 28 + 1 + record[28] as usize;
        let tag = pid + 1 + record[pid..].iter().position(|byte| *byte < 0x80).unwrap();
        assert!(record[tag] < 2);
        record[tag] |= 2;
        let crc = reseal(record);
        self.slot.record = Some(PageRef { crc, ..at });
        self
    }

    /// Writes the file with the changed slot and its copy, and without the other slot.
    fn write(self, last_byte: u8) -> Self {
        let mut bytes = self.bytes.clone();
        SLOT_PLACES.iter().for_each(|(_, at)| bytes[*at as usize..][..SLOT].fill(0));
        let mut slot = self.slot.encode();
        assert_eq!(slot[SLOT - 5], 0);
        slot[SLOT - 5] = last_byte;
        reseal(&mut slot);
        for at in [self.slot.position(), self.slot.copy_position()] {
            bytes[at as usize..][..SLOT].copy_from_slice(&slot);
        }
        fs::write(&self.path, &bytes).unwrap();
        Self { bytes, ..self }
    }
}

fn ways() -> [(Access, Options); 4] {
    [
        (Access::ReadOnly, Options::default()),
        (Access::ReadOnly, Options { salvage: true, ..Options::default() }),
        (Access::ReadWrite, Options::default()),
        (Access::ReadWrite, Options { writers: Writers::Many, ..Options::default() }),
    ]
}

fn read(path: &Path, access: Access, options: Options) -> Result<usize> {
    let l = Ledger::open_file(path, access, options)?;
    l.scan_prefix(b"", None, usize::MAX).map(|entries| entries.len())
}

struct NoPayloads;

impl Content for NoPayloads {
    fn payloads(&self, _: &[u8], _: &bytes::Bytes) -> std::result::Result<Vec<crate::Extent>, String> {
        Ok(Vec::new())
    }
}

fn verify(path: &Path) -> Result<()> {
    let opened = Verifier::open_file(path, &Options::default())?;
    let mut verifier = opened.map_err(|findings| Error::invalid("findings", format!("{findings:?}")))?;
    verifier.check(&NoPayloads, Versions::All, &mut |_| ())
}

#[test]
fn a_slot_with_a_reserved_byte_is_newer_and_the_file_stays() {
    let plain = Changed::new().write(0);
    assert!(read(&plain.path, Access::ReadOnly, Options::default()).is_ok());
    let changed = Changed::new().write(1);
    for (access, options) in ways() {
        is_newer(read(&changed.path, access, options));
    }
    is_newer(Ledger::create_file(&changed.path, Replace::Atomically, Options::default()));
    is_newer(verify(&changed.path));
    assert!(fs::read(&changed.path).unwrap() == changed.bytes);
}

#[test]
fn pages_records_extents_and_addresses_with_reserved_bits_are_newer() {
    let page = |c: Changed| c.in_root(b"h5lP", 4, 0x80);
    // The key, the kind, the length of the extent, and its first bytes: version, block size, length, and location.
    let extent = |c: Changed| c.in_root(b"\x05long0\x01", 8, 3);
    let address = |c: Changed| c.in_root(b"\x05long0\x01", 12, 0x80);
    let record = Changed::in_record;
    let changes: [(&str, &dyn Fn(Changed) -> Changed); 4] =
        [("page", &page), ("extent", &extent), ("address", &address), ("record", &record)];
    for (what, change) in changes {
        println!("{what}");
        let changed = change(Changed::new()).write(0);
        for (access, options) in ways() {
            is_newer(read(&changed.path, access, options));
        }
        is_newer(verify(&changed.path));
    }
}

/// Returns the offset of the number of lines, which precedes the version of the line.
fn lines_at(head: &[u8]) -> usize {
    let manifest = Manifest::decode(head).unwrap();
    let mut other = manifest.clone();
    Arc::make_mut(&mut other.line).version ^= 1;
    let other = other.encode();
    head.iter().zip(&other).position(|(a, b)| a != b).unwrap() - 1
}

#[test]
fn a_manifest_with_a_codec_a_key_or_more_lines_is_newer_and_the_store_stays() {
    const NAME: &str = "a.h5";
    let key = Key::new(NAME).unwrap();
    for field in 0..3 {
        let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
        let l = Ledger::create_objects(store.clone(), NAME, Replace::Fail, Options::default()).unwrap();
        l.put(b"k", "value").unwrap();
        l.commit().unwrap();
        l.close().unwrap();
        let mut head = store.get(&key, None).unwrap().bytes.to_vec();
        let (at, usual) = [(64, 0), (65, 0), (lines_at(&head), 1)][field];
        assert_eq!(head[at], usual);
        head[at] = usual + 1;
        reseal(&mut head);
        store.put(&key, head.clone().into(), PutMode::Overwrite).unwrap();
        for (access, options) in ways() {
            is_newer(Ledger::open_objects(store.clone(), NAME, access, options));
        }
        is_newer(Ledger::create_objects(store.clone(), NAME, Replace::Atomically, Options::default()));
        assert!(store.get(&key, None).unwrap().bytes == head);
    }
}
