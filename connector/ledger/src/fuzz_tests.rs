//! Decoders receive bytes that no writer made, under correct checksums: they may refuse the bytes, and must not panic.

use bytes::Bytes;
use proptest::prelude::*;

use crate::address::{Address, PageRef};
use crate::checksum::seal;
use crate::extent::Extent;
use crate::file::sim_file::SimFile;
use crate::file::superblock::Slot;
use crate::options::{Access, Options};
use crate::page::{MAGIC, Page};
use crate::wal::record;
use crate::work::{Map, content, work};

fn sealed(parts: &[&[u8]]) -> (Bytes, u32) {
    let mut out = parts.concat();
    let crc = seal(&mut out);
    (out.into(), crc)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decoders_do_not_panic(body in proptest::collection::vec(any::<u8>(), 0..200), small in proptest::collection::vec(0u8..6, 0..100)) {
        for body in [&body, &small] {
            let _ = Extent::decode(body);
            let _ = Extent::decode(&[&[1, 16], body.as_slice()].concat());
            let (bytes, crc) = sealed(&[MAGIC, body]);
            if let Ok(page) = Page::decode(bytes, crc) {
                let _ = (page.find(body), page.begins_before(body));
                if let Ok(all) = page.entries() {
                    for n in 0..all.len() {
                        let _ = (all.key(n), all.stored(n), all.child(n), all.branch_for(body));
                    }
                }
            }
            let (bytes, crc) = sealed(&[b"h5lH", body]);
            let _ = crate::history::History::decode(&bytes, crc);
            let (bytes, crc) = sealed(&[b"h5lF", body]);
            let _ = crate::file::space_delta::decode_list(&bytes, crc, 1 << 30);
            if let Ok(notes) = crate::file::space_delta::SpaceDelta::decode(body) {
                let mut location = crate::file::free_space::FreeSpace::new(8192);
                let _ = notes.replay(&mut location, 5);
            }
            let (bytes, _) = sealed(&[record::MAGIC, &[0; 24], body]);
            if let Ok(r) = record::decode(&bytes) {
                for (_, stored) in r.changes().unwrap_or_default() {
                    let _ = stored.clone().over(None);
                    let _ = stored.over(Some(&Bytes::from_static(b"the value before")));
                }
            }
            crate::fuzz::stored(body);
        }
    }

    /// Slots with correct checksums and wrong numbers.
    #[test]
    fn heads_that_lie_are_refused(
        numbers in proptest::collection::vec(prop_oneof![0u64..20_000, Just(u64::MAX), Just(1 << 62)], 6),
        at in proptest::collection::vec((4608u64..20_000, 0u64..3000, any::<u32>()), 4),
    ) {
        let f = SimFile::container();
        let l = f.open(Access::ReadWrite, &Options::default()).unwrap();
        let (_, states, _) = work(&l, &Map::new(), 2);
        drop(l);
        let p = |n: usize| Some(PageRef { place: Address::file(at[n].0, at[n].1), crc: at[n].2 });
        let lie = Slot {
            sequence: numbers[0].max(4) & !1,
            version: numbers[1],
            time: numbers[2],
            end: numbers[3],
            base_version: numbers[4],
            base_end: numbers[5],
            log_bytes: numbers[2],
            record: p(0),
            root: p(1),
            free: p(2),
            history: p(3),
            retention: numbers[5],
        };
        let mut bytes = f.bytes();
        let slot = lie.encode();
        bytes[512..512 + slot.len()].copy_from_slice(&slot);
        let bad = SimFile::of(bytes);
        for access in [Access::ReadOnly, Access::ReadWrite] {
            if let Ok(l) = bad.open(access, &Options::default()) {
                if let Ok(found) = content(&l) {
                    prop_assert!(states.contains(&found) || found.is_empty());
                }
                let _ = l.versions(10);
                let _ = l.put(b"k", "v");
                let _ = l.commit();
            }
        }
    }
}
