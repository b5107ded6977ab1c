//! Raw data of native files: extents in sources.

use super::checks::{Versions, verify};
use super::*;
use h5lake_ledger::{Extent, Source};
use h5lake_records::keys;
use h5lake_records::record::BlockRecord;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const SIZE: u64 = 3 << 20;

struct Native {
    _dir: tempfile::TempDir,
    path: PathBuf,
    bytes: Vec<u8>,
}

/// Creates a file that was not changed for a long time.
fn native() -> Native {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("native.h5");
    let bytes: Vec<u8> = (0..SIZE).map(|n| ((n * 31) >> 3) as u8).collect();
    fs::write(&path, &bytes).unwrap();
    age(&path);
    Native { path, _dir: dir, bytes }
}

fn age(path: &Path) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)).unwrap();
}

/// Creates a chunked dataset `c` of 4 chunks of 100 bytes, and a contiguous one `d` of 2 MiB, all in a source.
fn adopted(place: &Place, native: &Native, checksums: bool) -> Arc<Container> {
    let c = place.create();
    let number = c.add_source(&Source::of_file(&native.path).unwrap()).unwrap();
    let chunked = dataset(
        &c,
        b"c",
        dataset_spec(1, simple(&[400], &[UNLIMITED]), Layout::Chunked { chunk: vec![100] }),
    );
    for n in 0..4 {
        let extent = c.extent_in_source(number, 1000 + 200 * n, 100, checksums).unwrap();
        chunked.refer_to_chunk(&[100 * n], 0, &extent).unwrap();
    }
    let line = dataset(&c, b"d", dataset_spec(1, simple(&[2 << 20], &[2 << 20]), Layout::Contiguous));
    let mut extent = |offset, length| c.extent_in_source(number, offset, length, checksums);
    line.refer_to_bytes(0, 2 << 20, 5000, &mut extent).unwrap();
    c.flush().unwrap();
    c
}

/// Returns the object to which a link of the root group leads.
fn id_of(c: &Arc<Container>, name: &[u8]) -> ObjectId {
    match c.resolve(c.root(), name, LastLink::Follow, 16).unwrap() {
        Resolution::Object { id, .. } => id,
        _ => panic!("no object"),
    }
}

fn all(c: &Arc<Container>, name: &[u8]) -> Result<Vec<u8>> {
    let id = id_of(c, name);
    let d = c.dataset(id)?;
    let mut out = vec![0; d.points()? as usize];
    d.read(&Selection::All, &mut out)?;
    Ok(out)
}

fn wanted(native: &Native) -> (Vec<u8>, Vec<u8>) {
    let chunks = (0..4).flat_map(|n| native.bytes[1000 + 200 * n..][..100].to_vec()).collect();
    (chunks, native.bytes[5000..5000 + (2 << 20)].to_vec())
}

fn stale(e: &Error) -> bool {
    e.errno() == Some(116) && e.to_string().contains("native.h5")
}

#[test]
fn foreign_data_is_read_from_the_source_and_written_to_the_container() {
    for place in places() {
        for checksums in [false, true] {
            let native = native();
            let c = adopted(&place, &native, checksums);
            let (mut chunks, mut line) = wanted(&native);
            assert_eq!(all(&c, b"c").unwrap(), chunks);
            assert!(all(&c, b"d").unwrap() == line);
            for (name, at, expected) in [(b"c", 150, &mut chunks), (b"d", (1 << 20) - 7, &mut line)] {
                let id = id_of(&c, name);
                let d = c.dataset(id).unwrap();
                let run = Run { offset: at, count: 20 };
                d.write(&Selection::Runs(vec![run]), &[0xee; 20]).unwrap();
                expected[at as usize..at as usize + 20].fill(0xee);
            }
            c.flush().unwrap();
            drop(c);
            let c = place.open(Access::ReadOnly);
            assert_eq!(all(&c, b"c").unwrap(), chunks);
            assert!(all(&c, b"d").unwrap() == line);
            assert!(fs::read(&native.path).unwrap() == native.bytes);
            let report = verify(&place.target, &Options::default(), Versions::All, &mut |_, _| ()).unwrap();
            assert!(report.is_whole(), "{:?}", report.found);
            drop(c);
        }
    }
}

#[test]
fn a_source_that_changed_is_an_error_that_names_it() {
    type Change = fn(&Native);
    let changes: [(&str, Change); 4] = [
        ("bytes", |n| fs::write(&n.path, &n.bytes).unwrap()),
        ("shorter", |n| {
            fs::write(&n.path, &n.bytes[..n.bytes.len() - 1]).unwrap();
            age(&n.path);
        }),
        ("longer", |n| {
            fs::write(&n.path, [&n.bytes[..], b"x"].concat()).unwrap();
            age(&n.path);
        }),
        ("in place", |n| {
            use std::os::unix::fs::FileExt;
            fs::File::options().write(true).open(&n.path).unwrap().write_all_at(b"x", 1).unwrap();
        }),
    ];
    for (what, change) in changes {
        for is_open in [false, true] {
            let (place, native) = (file(), native());
            let mut c = adopted(&place, &native, false);
            if is_open {
                all(&c, b"c").unwrap();
            } else {
                drop(c);
                c = place.open(Access::ReadOnly);
            }
            change(&native);
            let e = all(&c, b"d").map(drop).unwrap_err();
            assert!(stale(&e), "{what}: {e}");
        }
    }
    let (place, native) = (file(), native());
    drop(adopted(&place, &native, false));
    let c = place.open(Access::ReadOnly);
    fs::remove_file(&native.path).unwrap();
    let e = all(&c, b"d").map(drop).unwrap_err();
    assert!(e.errno() == Some(2) && e.to_string().contains("native.h5"), "{e}");
}

#[test]
fn checksums_detect_changes_with_equal_length_and_time() {
    let (place, mut native) = (file(), native());
    let c = adopted(&place, &native, true);
    native.bytes[5000 + 100_000] ^= 1;
    fs::write(&native.path, &native.bytes).unwrap();
    age(&native.path);
    let e = all(&c, b"d").map(drop).unwrap_err();
    assert!(stale(&e) && e.to_string().contains("checksum"), "{e}");
    assert!(all(&c, b"c").is_ok(), "other parts are as they were");
}

/// Replaces the extent of the first chunk.
fn forge(c: &Container, id: ObjectId, extent: &[u8], length: u64) {
    let key = keys::block(id.0, &[0]);
    let mut r: BlockRecord = record::decode(c.ledger.get(&key).unwrap().unwrap(), String::new).unwrap();
    (r.pieces[0].extent, r.pieces[0].length) = (extent.to_vec().into(), length);
    c.ledger.put(&key, r.encode_to_vec()).unwrap();
    c.ledger.commit().unwrap();
}

#[test]
fn hostile_extents_are_damage() {
    let extent = |number: u32, offset: u64, length: u64| {
        // The encoding of docs/format.md: version 2, no checksums, length, place 4, number, offset, length.
        let mut out = vec![2, 0];
        let varint = |mut n: u64, out: &mut Vec<u8>| {
            while n > 127 {
                out.push(n as u8 | 128);
                n >>= 7;
            }
            out.push(n as u8);
        };
        varint(length, &mut out);
        out.push(4);
        varint(number.into(), &mut out);
        varint(offset, &mut out);
        varint(length, &mut out);
        out
    };
    assert!(Extent::decode(&extent(0, 1000, 100)).is_ok());
    let mut odd = extent(0, 1000, 100);
    odd[0] = 1;
    let mut sums = extent(0, 1000, 100);
    sums[1] = 14;
    for (what, bytes, length) in [
        ("behind the end", extent(0, SIZE - 99, 100), 100),
        ("far behind the end", extent(0, 1 << 50, 100), 100),
        ("beyond any file", extent(0, i64::MAX as u64, 100), 100),
        ("wrapping", extent(0, u64::MAX - 5, 100), 100),
        ("unknown source", extent(7, 1000, 100), 100),
        ("no bytes", extent(0, 1000, 0), 100),
        ("of version 1", odd, 100),
        ("without its checksums", sums, 100),
        ("shorter than its piece", extent(0, 1000, 50), 100),
    ] {
        let (place, native) = (file(), native());
        let c = adopted(&place, &native, false);
        let id = id_of(&c, b"c");
        forge(&c, id, &bytes, length);
        drop(c);
        let c = place.open(Access::ReadOnly);
        let e = all(&c, b"c").map(drop).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Corrupt, "{what}: {e}");
        assert!(all(&c, b"d").is_ok(), "{what}");
        drop(c);
        let report = verify(&place.target, &Options::default(), Versions::Newest, &mut |_, _| ()).unwrap();
        assert!(!report.is_whole(), "{what}");
        // A repair marks the block as lost, and copies everything else.
        let to = file();
        let mend = super::checks::repair(
            &place.target,
            &Options::default(),
            &to.target,
            &Options::default(),
            &mut |_, _| (),
        );
        assert!(!mend.unwrap().is_whole(), "{what}");
        let c = to.open(Access::ReadOnly);
        assert!(all(&c, b"d").unwrap() == wanted(&native).1, "{what}");
        assert!(all(&c, b"c").is_err(), "{what}");
    }
}

#[test]
fn foreign_extents_are_never_changed() {
    let (place, native) = (file(), native());
    let c = adopted(&place, &native, false);
    let extent = Extent::in_source(0, 1000, 100).unwrap();
    assert!(c.ledger.move_payload(&extent).is_err());
    assert!(c.ledger.grow_payload(&extent, b"more").unwrap().is_none());
    c.ledger.free_payload(&extent).unwrap();
    c.flush().unwrap();
    assert!(fs::read(&native.path).unwrap() == native.bytes);
}

#[test]
fn a_copy_refers_and_a_materialized_container_needs_nothing() {
    for (place, to) in places().into_iter().zip(places()) {
        let native = native();
        drop(adopted(&place, &native, false));
        super::checks::copy_to(
            &place.target,
            &Options::default(),
            &to.target,
            &Options::default(),
            &mut |_, _| (),
        )
        .unwrap();
        let c = to.open(Access::ReadOnly);
        assert!(c.ledger.is_for_sources() && all(&c, b"d").unwrap() == wanted(&native).1);
        let total = c.storage_use().unwrap();
        assert_eq!((total.source_bytes, total.payload_bytes), ((2 << 20) + 400, 0));
        drop(c);
        let c = to.open(Access::ReadWrite);
        let before = c.referenced().unwrap();
        assert_eq!(before[&0], Referenced { blocks: 6, bytes: (2 << 20) + 400 });
        let done = c.materialize(&mut |_| ()).unwrap();
        assert_eq!((done.blocks, done.bytes, done.commits), (6, (2 << 20) + 400, 1));
        assert!(c.referenced().unwrap().is_empty());
        fs::remove_file(&native.path).unwrap();
        assert_eq!(all(&c, b"c").unwrap(), wanted(&native).0);
        assert!(all(&c, b"d").unwrap() == wanted(&native).1);
        assert_eq!(c.materialize(&mut |_| ()).unwrap(), Materialized::default());
        drop(c);
        let report = verify(&to.target, &Options::default(), Versions::Newest, &mut |_, _| ()).unwrap();
        assert!(report.is_whole(), "{:?}", report.found);
    }
}

#[test]
fn external_links_require_their_target_files() {
    for place in places() {
        let c = place.create();
        let inner = group(&c, c.root(), b"g", CreationOrder::default());
        for (holder, name, file) in [(c.root(), "a", "b.h5"), (inner, "a", "b.h5"), (inner, "c", "d/e.h5")] {
            let file = file.as_bytes().to_vec();
            let target = LinkTarget::External { file, path: b"/x".to_vec(), flags: 0 };
            c.link_create(holder, name.as_bytes(), target, CharSet::Utf8).unwrap();
        }
        c.link_create(c.root(), b"soft", LinkTarget::Soft(b"/g/a".to_vec()), CharSet::Utf8).unwrap();
        let needed = c.needed_files().unwrap();
        let links: Vec<_> = needed.of_links.into_iter().collect();
        assert_eq!(links, [(b"b.h5".to_vec(), 2), (b"d/e.h5".to_vec(), 1)]);
        assert!(needed.of_virtual.is_empty() && needed.of_external.is_empty());
    }
}

#[test]
fn few_sources_are_open_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let place = file();
    let c = place.create();
    let d = dataset(&c, b"d", dataset_spec(1, simple(&[300], &[300]), Layout::Chunked { chunk: vec![1] }));
    for n in 0..300u64 {
        let path = dir.path().join(format!("{n}.h5"));
        fs::write(&path, [n as u8]).unwrap();
        age(&path);
        let number = c.add_source(&Source::of_file(&path).unwrap()).unwrap();
        d.refer_to_chunk(&[n], 0, &c.extent_in_source(number, 0, 1, false).unwrap()).unwrap();
    }
    c.flush().unwrap();
    let open = || {
        let fds = fs::read_dir("/proc/self/fd").unwrap().flatten();
        fds.filter_map(|fd| fs::read_link(fd.path()).ok()).filter(|to| to.starts_with(dir.path())).count()
    };
    for _ in 0..2 {
        let expected: Vec<u8> = (0..300u64).map(|n| n as u8).collect();
        assert_eq!(all(&c, b"d").unwrap(), expected);
        assert_eq!(open(), 64);
    }
}
