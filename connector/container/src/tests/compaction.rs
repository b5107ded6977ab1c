use super::*;
use h5lake_ledger::Options as LedgerOptions;
use std::time::Duration;

fn options() -> Options {
    let ledger = LedgerOptions { retention: Some(Duration::ZERO), ..LedgerOptions::default() };
    Options { ledger, ..Options::default() }
}

fn noise(seed: u8, n: usize) -> Vec<u8> {
    let mut x = u32::from(seed) + 1;
    let step = |_| {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x as u8
    };
    (0..n).map(step).collect()
}

/// Creates chunks, attributes and heap segments of every kind, and deletes most of them.
fn fill(c: &Arc<Container>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut kept = Vec::new();
    for i in 0..64u8 {
        let name = vec![b'd', i + 64];
        let layout = Layout::Chunked { chunk: vec![100_000] };
        let d = dataset(c, &name, dataset_spec(1, simple(&[400_000], &[UNLIMITED]), layout));
        let data = noise(i, 400_000);
        d.write(&Selection::All, &data).unwrap();
        if i % 16 == 3 {
            kept.push((name, data));
        }
        c.flush().unwrap();
    }
    let a = c.attr_create(c.root(), b"a", attr_spec(1, 200_000)).unwrap();
    a.write(&noise(77, 200_000)).unwrap();
    c.flush().unwrap();
    for i in (0..64u8).filter(|i| i % 16 != 3) {
        c.link_delete(c.root(), &[b'd', i + 64]).unwrap();
    }
    c.flush().unwrap();
    kept
}

fn check(c: &Arc<Container>, kept: &[(Vec<u8>, Vec<u8>)], blob: &[u8; 16]) {
    for (name, data) in kept {
        let d = c.dataset(object(c, name)).unwrap();
        let mut out = vec![0; data.len()];
        d.read(&Selection::All, &mut out).unwrap();
        assert!(out == *data);
    }
    assert!(c.attr_open(c.root(), b"a").unwrap().read().unwrap() == noise(77, 200_000));
    let mut text = vec![0; 90_000];
    c.heap_get(blob, &mut text).unwrap();
    assert!(text == noise(5, 90_000));
}

fn object(c: &Container, name: &[u8]) -> ObjectId {
    match c.link(c.root(), name).unwrap().unwrap().target {
        LinkTarget::Hard(id) => id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn scattered_live_chunks_are_moved_together() {
    for place in places() {
        let c = place.create_with(options());
        let blob = c.heap_put(c.root(), &noise(5, 90_000)).unwrap();
        let kept = fill(&c);
        let live: u64 = 4 * 400_000 + 200_000 + 90_000;
        // Freed space stays in quarantine for two seconds in a file.
        std::thread::sleep(Duration::from_millis(2100));
        let before = c.size().unwrap();
        c.vacuum().unwrap();
        check(&c, &kept, &blob);
        std::thread::sleep(Duration::from_millis(2100));
        c.vacuum().unwrap();
        let after = c.size().unwrap();
        assert!(before > 8 * live, "{before}");
        assert!(after < live + live / 4 + (64 << 10), "{after} for {live}");
        check(&c, &kept, &blob);
        drop(c);
        let c = place.open(Access::ReadOnly);
        check(&c, &kept, &blob);
    }
}

#[test]
fn compaction_of_a_dense_container_moves_nothing() {
    for place in places() {
        let c = place.create_with(options());
        let d = dataset(&c, b"d", dataset_spec(1, simple(&[4 << 20], &[4 << 20]), Layout::Contiguous));
        d.write(&Selection::All, &noise(1, 4 << 20)).unwrap();
        assert_eq!(c.compact(u64::MAX).unwrap(), 0);
    }
}

#[test]
fn a_writer_that_leaves_mostly_dead_packs_compacts_them_at_its_close() {
    let place = memory();
    let c = place.create_with(options());
    let mut kept = Vec::new();
    for i in 0..24u8 {
        // Each pack of 8 MiB gets seven datasets of 1 MiB that are deleted, and one that stays.
        let name = vec![b'd', i + 64];
        let layout = Layout::Chunked { chunk: vec![1 << 20] };
        let d = dataset(&c, &name, dataset_spec(1, simple(&[8 << 20], &[UNLIMITED]), layout));
        d.write(&Selection::All, &noise(i, 8 << 20)).unwrap();
        c.flush().unwrap();
        d.set_extent(&[1 << 20]).unwrap();
        kept.push((name, noise(i, 1 << 20)));
    }
    c.flush().unwrap();
    let before = c.size().unwrap();
    drop(c);
    let c = place.open(Access::ReadWrite);
    c.vacuum().unwrap();
    assert!(before > 100 << 20 && c.size().unwrap() < 40 << 20, "{before} {}", c.size().unwrap());
    for (name, data) in kept {
        let d = c.dataset(object(&c, &name)).unwrap();
        let mut out = vec![0; data.len()];
        d.read(&Selection::All, &mut out).unwrap();
        assert!(out == data);
    }
}

/// Most of the file was deleted, and only the pages at its end keep it long: those of groups that were created after
/// the data.
#[test]
fn a_patient_vacuum_shrinks_a_file_to_its_data() {
    let place = file();
    // Space that old versions retain is not freed at a close.
    let retention = Some(Duration::from_secs(4));
    let ledger = LedgerOptions { retention, ..LedgerOptions::default() };
    let c = place.create_with(Options { ledger, ..Options::default() });
    let blob = c.heap_put(c.root(), &noise(5, 90_000)).unwrap();
    let kept = fill(&c);
    let groups: Vec<_> =
        (0..4000u32).map(|i| group(&c, c.root(), format!("g{i}").as_bytes(), tracked())).collect();
    c.flush().unwrap();
    drop(c);
    let c = place.open(Access::ReadWrite);
    for (name, _) in &kept[1..] {
        c.link_delete(c.root(), name).unwrap();
    }
    c.flush().unwrap();
    let before = c.size().unwrap();
    drop(c);
    // Acts as another process: a writer that opens the container while the vacuum waits succeeds, and the vacuum still
    // finishes.
    let begun = std::time::Instant::now();
    let writer = || loop {
        std::thread::sleep(Duration::from_millis(1));
        match Container::open_apart(&place.target, Access::ReadWrite, &Options::default()) {
            // By then the vacuum has moved everything possible, and the old extents are in quarantine.
            Ok(_) => return (begun.elapsed() > Duration::from_secs(2)).then(std::time::Instant::now),
            Err(e) => assert_eq!(e.kind(), ErrorKind::Locked, "{e}"),
        }
    };
    let (freed, ended, got_in) = std::thread::scope(|s| {
        let other = s.spawn(|| std::iter::repeat_with(writer).flatten().next());
        let options = Options::default();
        let freed = Container::vacuum_patiently(&place.target, &options, Duration::from_secs(20));
        (freed.unwrap(), std::time::Instant::now(), other.join().unwrap().unwrap())
    });
    assert!(got_in < ended, "a writer was kept out until the end");
    let c = place.open(Access::ReadWrite);
    let after = c.size().unwrap();
    // The other writer writes a checkpoint when it closes.
    assert!((before - after..before - after + (64 << 10)).contains(&freed), "{freed} of {before} - {after}");
    let live = 400_000 + 200_000 + 90_000 + (1 << 20);
    assert!(before > 20 << 20 && after < live, "{before} {after}");
    check(&c, &kept[..1], &blob);
    drop(c);
    let c = place.open(Access::ReadOnly);
    check(&c, &kept[..1], &blob);
    assert_eq!(c.group_info(c.root()).unwrap().link_count, groups.len() as u64 + 1);
}

#[test]
fn a_file_that_was_overwritten_is_as_long_as_its_data_when_it_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let target = Target::File(path.clone());
    let length = 12_000_000;
    let c = Container::create(&target, crate::Replace::Never, FileCreation::default(), Options::default())
        .unwrap();
    let d = dataset(&c, b"d", dataset_spec(1, simple(&[length], &[length]), Layout::Contiguous));
    for seed in 0..3 {
        d.write(&Selection::All, &noise(seed, length as usize)).unwrap();
        c.flush().unwrap();
    }
    drop((c, d));
    let most = length + length / 10 + (1 << 20);
    let len = || std::fs::metadata(&path).unwrap().len();
    assert!(len() < most, "{} after it was made", len());
    for seed in 3..6 {
        let c = Container::open(&target, crate::Access::ReadWrite, Options::default()).unwrap();
        let d = c.dataset(object(&c, b"d")).unwrap();
        d.write(&Selection::All, &noise(seed, length as usize)).unwrap();
        drop((c, d));
        assert!(len() < most, "{} after it was overwritten", len());
    }
    let c = Container::open(&target, crate::Access::ReadOnly, Options::default()).unwrap();
    let mut out = vec![0; length as usize];
    c.dataset(object(&c, b"d")).unwrap().read(&Selection::All, &mut out).unwrap();
    assert!(out == noise(5, length as usize));
}

#[test]
fn payloads_larger_than_any_hole_are_split() {
    const LONG: u64 = 400_000;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let target = Target::File(path.clone());
    let c = Container::create(&target, crate::Replace::Never, FileCreation::default(), Options::default())
        .unwrap();
    let name = |kind: u8, n: u8| vec![kind, n + 64];
    let make = |kind: u8, n: u8, length: u64| {
        let d =
            dataset(&c, &name(kind, n), dataset_spec(1, simple(&[length], &[length]), Layout::Contiguous));
        d.write(&Selection::All, &noise(n, length as usize)).unwrap();
        c.flush().unwrap();
    };
    for n in 0..40 {
        make(b'l', n, LONG);
        make(b's', n, 60_000);
    }
    (0..40).for_each(|n| c.link_delete(c.root(), &name(b's', n)).unwrap());
    drop(c);
    let len = std::fs::metadata(&path).unwrap().len();
    assert!(len < 40 * LONG + 40 * LONG / 16, "{len}");
    let c = Container::open(&target, crate::Access::ReadOnly, Options::default()).unwrap();
    for n in 0..40 {
        let mut out = vec![0; LONG as usize];
        c.dataset(object(&c, &name(b'l', n))).unwrap().read(&Selection::All, &mut out).unwrap();
        assert!(out == noise(n, LONG as usize), "{n}");
    }
}

#[test]
fn small_chunks_at_the_end_of_a_file_move_at_close() {
    overwrite_a_third(20_000, 600, false);
    // A page that fits into no hole does not prevent the reuse of the free space before it.
    overwrite_a_third(20_000, 2000, false);
    // The output of a filter is a payload.
    overwrite_a_third(20_000, 600, true);
}

fn overwrite_a_third(chunks: u64, chunk: u64, is_filtered: bool) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let target = Target::File(path.clone());
    let length = chunks * chunk;
    let c = Container::create(&target, crate::Replace::Never, FileCreation::default(), Options::default())
        .unwrap();
    let layout = Layout::Chunked { chunk: vec![chunk] };
    let mut spec = dataset_spec(1, simple(&[length], &[length]), layout);
    if is_filtered {
        spec.filters = vec![Filter { id: 3, flags: 0, name: Vec::new(), client_data: Vec::new() }];
    }
    let d = dataset(&c, b"d", spec);
    let mut data = noise(1, length as usize);
    d.write(&Selection::All, &data).unwrap();
    drop((c, d));
    let len = || std::fs::metadata(&path).unwrap().len();
    let most = len() + len() / 10;

    let c = Container::open(&target, crate::Access::ReadWrite, Options::default()).unwrap();
    let d = c.dataset(object(&c, b"d")).unwrap();
    let new = noise(2, chunk as usize);
    for n in (0..chunks).step_by(3) {
        let at = n * chunk;
        let one =
            Selection::Hyperslab { start: vec![at], stride: vec![1], count: vec![1], block: vec![chunk] };
        d.write(&one, &new).unwrap();
        data[at as usize..(at + chunk) as usize].copy_from_slice(&new);
    }
    drop((c, d));
    assert!(len() < most, "{} bytes, at most {most} were expected", len());
    let c = Container::open(&target, crate::Access::ReadOnly, Options::default()).unwrap();
    let mut out = vec![0; length as usize];
    c.dataset(object(&c, b"d")).unwrap().read(&Selection::All, &mut out).unwrap();
    assert!(out == data);
}
