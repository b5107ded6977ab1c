//! Checks of complete files, and of files with changed bytes.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use super::*;
use crate::file::superblock::{self, DATA};
use crate::options::{Replace, Writers};
use crate::tags::{TAG, TagEntry, TagName};

/// A content with extents in the values that begin with 1, except the values of tags.
struct Plain;

impl Content for Plain {
    fn payloads(&self, key: &[u8], value: &Bytes) -> std::result::Result<Vec<Extent>, String> {
        match value.split_first() {
            Some((1, encoded)) if key.first() != Some(&TAG) => {
                Extent::decode(encoded).map(|(e, _)| vec![e]).map_err(|e| e.to_string())
            }
            _ => Ok(Vec::new()),
        }
    }
}

fn check_file(path: &Path, versions: Versions) -> (Findings, Counts) {
    match Verifier::open_file(path, &Options::default()).unwrap() {
        Ok(mut v) => {
            v.check(&Plain, versions, &mut |_| ()).unwrap();
            (v.findings, v.counts)
        }
        Err(findings) => (findings, Counts::default()),
    }
}

fn put_payload(l: &Ledger, key: &str, byte: u8, length: usize) {
    let e = l.write_payload(&vec![byte; length]).unwrap();
    let old = l.replace(key.as_bytes(), [&[1][..], &e.to_bytes()].concat()).unwrap();
    if let Some(old) = old {
        l.free_payload(&Extent::decode(&old[1..]).unwrap().0).unwrap();
    }
}

/// Creates a container of several checkpoints and many versions.
fn filled(path: &Path, opts: Options) -> Ledger {
    let opts = Options { checkpoint_records: 8, ..opts };
    let l = Ledger::create_file(path, Replace::Fail, opts).unwrap();
    for round in 10..16u8 {
        for n in 0..120 {
            l.put(format!("v{n:05}").as_bytes(), vec![round; 40 + n % 7]).unwrap();
        }
        l.put(b"long", vec![round; 9000]).unwrap();
        for n in 0..5 {
            put_payload(&l, &format!("p{n}"), round, 20_000 + 1000 * n);
            l.commit().unwrap();
        }
    }
    l.put(b"last", "one").unwrap();
    l.commit().unwrap();
    l
}

fn whole(found: &Findings) -> bool {
    found.list.is_empty()
}

#[test]
fn a_whole_file_has_nothing_to_be_found() {
    let kept = Options { retention: Some(Duration::from_secs(3600)), ..Options::default() };
    let many = Options { writers: Writers::Many, ..Options::default() };
    for opts in [Options::default(), kept, many] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let mut l = Some(filled(&path, opts.clone()));
        // The check runs while a writer has the file open, and after that.
        for closed in [false, true] {
            assert_eq!(l.is_none(), closed);
            let (found, counts) = check_file(&path, Versions::All);
            assert!(whole(&found), "{closed} {opts:?}: {:#?}", found.list);
            assert!(counts.payloads >= 5 && counts.pages > 2 && counts.entries == 127, "{counts:?}");
            if opts.retention.is_some() {
                assert!(counts.versions > 25, "{counts:?}");
            }
            let (found, counts) = check_file(&path, Versions::Newest);
            assert!(whole(&found) && counts.versions == 1, "{counts:?}");
            l = None;
        }
    }
}

/// A writer may reuse space that counts as free, but space that a tag lists must remain.
#[test]
fn a_tag_that_lists_free_space_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let l = filled(&path, Options::default());
    let name = TagName::new("paper").unwrap();
    l.tag(name, None, crate::Tagging::default()).unwrap();
    let (found, _) = check_file(&path, Versions::All);
    assert!(whole(&found), "{:#?}", found.list);
    let (_, entry) = l.readable_tags().pop().unwrap();
    let beyond = vec![(DATA, 1 << 40)];
    l.put(&name.key(), TagEntry { runs: beyond, ..entry }.encode()).unwrap();
    l.commit().unwrap();
    drop(l);
    let (found, _) = check_file(&path, Versions::All);
    let reported: Vec<_> = found.list.iter().map(|f| (f.kind, f.hit)).collect();
    assert_eq!(reported, [("space", HitVersions::Tagged(name))], "{:#?}", found.list);
}

/// Other writers may use that space after the writer has ended.
#[test]
fn a_tag_lists_no_space_that_its_writer_has_merely_reserved() {
    for writers in [Writers::One, Writers::Many] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.h5");
        let opts = Options { writers, ..Options::default() };
        let l = Ledger::create_file(&path, Replace::Fail, opts).unwrap();
        let grows = l.write_to_grow(&[7; 4096], 65_536).unwrap();
        l.put(b"p", [&[1][..], &grows.to_bytes()].concat()).unwrap();
        l.commit().unwrap();
        l.tag(TagName::new("paper").unwrap(), None, crate::Tagging::default()).unwrap();
        l.close().unwrap();
        let (found, _) = check_file(&path, Versions::All);
        assert!(whole(&found), "{writers:?}: {:#?}", found.list);
    }
}

/// A writer left the copy after an older copy of the container was put into the file.
#[test]
fn a_copy_of_a_head_that_is_newer_than_both_slots_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    drop(filled(&path, Options::default()));
    let bytes = std::fs::read(&path).unwrap();
    let newest = superblock::newest(&bytes[superblock::SLOTS_AT as usize..]).unwrap().unwrap();
    let other = superblock::Slot { sequence: newest.sequence + 20, ..newest };
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&other.encode(), other.copy_position()).unwrap();
    let (found, _) = check_file(&path, Versions::All);
    let reported: Vec<_> = found.list.iter().map(|f| f.kind).collect();
    assert_eq!(reported, ["copy of a head slot"], "{:#?}", found.list);
}

/// Bytes without a meaning are those after each slot and those of free space.
#[test]
fn every_changed_byte_is_found_or_is_of_no_meaning() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let kept = Options { retention: Some(Duration::from_secs(3600)), ..Options::default() };
    drop(filled(&path, kept));
    let good = std::fs::read(&path).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let mut kinds = std::collections::BTreeMap::<&str, u32>::new();
    let step = (good.len() / 900).max(1);
    for at in
        (0..good.len()).step_by(step).chain(0..64).chain((512..664).step_by(9)).chain((4096..4248).step_by(9))
    {
        file.write_all_at(&[good[at] ^ 4], at as u64).unwrap();
        match std::panic::catch_unwind(|| Verifier::open_file(&path, &Options::default()).map(drop)) {
            Ok(Err(e)) => assert!(at < 64, "byte {at}: {e}"),
            Ok(Ok(())) => {
                let (found, _) = check_file(&path, Versions::All);
                for f in &found.list {
                    *kinds.entry(f.kind).or_default() += 1;
                    let bytes: Vec<u64> =
                        f.at.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
                    if let [from, to] = bytes[..] {
                        assert!(from <= at as u64 && at as u64 <= to, "byte {at}: {f:?}");
                    }
                }
            }
            Err(_) => panic!("byte {at}"),
        }
        file.write_all_at(&[good[at]], at as u64).unwrap();
    }
    for kind in ["payload", "page", "record", "head slot", "value"] {
        assert!(kinds.contains_key(kind), "{kind}: {kinds:?}");
    }
}
