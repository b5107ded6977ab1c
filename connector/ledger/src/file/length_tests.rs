//! Lengths that no valid file has, under right checksums: they lead to errors, and to no allocation of more memory than the
//! machine has.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use crate::address::{Address, PageRef};
use crate::error::{ErrorKind, Result};
use crate::file::file_io::{FileIo, OsFile};
use crate::file::log::newest_slot;
use crate::file::superblock::{DATA, Slot};
use crate::ledger::Ledger;
use crate::options::{Access, At, Options, Replace};

const TIB: u64 = 1 << 40;

/// A container with one false pointer in its newest slot and the copy, in a sparse file of that length.
fn lying(dir: &tempfile::TempDir, lie: &dyn Fn(Option<PageRef>, &mut Slot)) -> PathBuf {
    let path = dir.path().join("a.h5");
    let options = Options { checkpoint_records: 2, ..Options::default() };
    let l = Ledger::create_file(&path, Replace::Atomically, options).unwrap();
    for n in 0..4u8 {
        l.put(b"k", vec![n; 200]).unwrap();
        l.commit().unwrap();
    }
    l.close().unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let raw = OsFile::new(Arc::new(file), 0);
    let mut slot = newest_slot(&raw, "x").unwrap();
    slot.end = 8 * TIB;
    lie(Some(PageRef { place: Address::file(DATA, 7 * TIB), crc: 7 }), &mut slot);
    raw.set_len(8 * TIB).unwrap();
    for at in [slot.position(), slot.copy_position()] {
        raw.write_at(&slot.encode(), at).unwrap();
    }
    path
}

/// Returns whether an answer is an error about damage.
fn is_damage<T>(answer: Result<T>) -> bool {
    let e = answer.map(drop).unwrap_err();
    assert!(e.to_string().contains("longer than"), "{e}");
    matches!(e.kind(), ErrorKind::Corrupt { .. })
}

fn open(path: &std::path::Path, access: Access, at: Option<At>) -> Result<Ledger> {
    Ledger::open_file(path, access, Options { at, ..Options::default() })
}

#[test]
fn a_record_of_an_impossible_length_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = lying(&dir, &|p, slot| {
        slot.record = p;
        slot.base_version = slot.version - 1;
    });
    assert!(is_damage(open(&path, Access::ReadOnly, None)));
    assert!(is_damage(open(&path, Access::ReadWrite, None)));
}

#[test]
fn a_free_list_of_an_impossible_length_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = lying(&dir, &|p, slot| slot.free = p);
    open(&path, Access::ReadOnly, None).unwrap();
    let l = open(&path, Access::ReadWrite, None).unwrap();
    assert!(is_damage(l.write_payload(&[1; 100])));
}

#[test]
fn a_history_of_an_impossible_length_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = lying(&dir, &|p, slot| slot.history = p);
    let l = open(&path, Access::ReadOnly, None).unwrap();
    assert!(is_damage(l.versions(9)));
    assert!(is_damage(open(&path, Access::ReadOnly, Some(At::Version(1)))));
}

#[test]
fn an_audit_names_impossible_lengths() {
    use crate::verify::Verifier;
    let dir = tempfile::tempdir().unwrap();
    let path = lying(&dir, &|p, slot| (slot.free, slot.history) = (p, p));
    let mut v = Verifier::open_file(&path, &Options::default()).unwrap().unwrap();
    v.check(&NoPayloads, crate::audit::Versions::All, &mut |_| ()).unwrap();
    let texts = format!("{:?}", v.findings.list);
    assert_eq!(texts.matches("longer than").count(), 2, "{texts}");
}

struct NoPayloads;

impl crate::verify::Content for NoPayloads {
    fn payloads(
        &self,
        _: &[u8],
        _: &bytes::Bytes,
    ) -> std::result::Result<Vec<crate::extent::Extent>, String> {
        Ok(Vec::new())
    }
}
