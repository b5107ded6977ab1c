//! Data that is appended repeatedly, with a flush after each append.

use super::*;

const STEP: u64 = 512;
const CHUNK: u64 = 8192;

fn log(c: &Arc<Container>, name: &[u8]) -> Arc<Dataset> {
    dataset(c, name, dataset_spec(8, simple(&[0], &[UNLIMITED]), Layout::Chunked { chunk: vec![CHUNK] }))
}

fn bytes(n: u64) -> Vec<u8> {
    (0..STEP * 8).map(|i| (i * 7 + n * 13) as u8).collect()
}

fn slab(start: &[u64], block: &[u64]) -> Selection {
    let one = vec![1; start.len()];
    Selection::Hyperslab { start: start.to_vec(), stride: one.clone(), count: one, block: block.to_vec() }
}

fn append(d: &Dataset, n: u64) {
    d.set_extent(&[(n + 1) * STEP]).unwrap();
    d.write(&slab(&[n * STEP], &[STEP]), &bytes(n)).unwrap();
}

fn check(d: &Dataset, count: u64) {
    let mut out = vec![0; (count * STEP * 8) as usize];
    d.read(&Selection::All, &mut out).unwrap();
    for n in 0..count {
        assert!(out[(n * STEP * 8) as usize..][..(STEP * 8) as usize] == bytes(n), "append {n}");
    }
}

/// Returns the number of fragments of each block of a container.
fn pieces(c: &Container) -> Vec<usize> {
    let mut out = Vec::new();
    c.each(&[keys::BLOCK], |key, value| {
        out.push(h5lake_records::extents_of(&key, value)?.len());
        Ok(())
    })
    .unwrap();
    out
}

#[test]
fn appends_extend_the_same_extent() {
    let place = file();
    let c = place.create();
    let (a, b) = (log(&c, b"a"), log(&c, b"b"));
    for n in 0..64 {
        append(&a, n);
        append(&b, n);
        c.flush().unwrap();
    }
    // The first block has a second fragment, because a short dataset has no other block, and no space is reserved for
    // it.
    assert_eq!(pieces(&c), [2, 1, 1, 1, 2, 1, 1, 1]);
    check(&a, 64);
    drop((a, b, c));
    let c = place.open(Access::ReadOnly);
    for name in [b"a", b"b"] {
        let LinkTarget::Hard(id) = c.link(c.root(), name).unwrap().unwrap().target else { panic!() };
        check(&c.dataset(id).unwrap(), 64);
    }
    let size = c.size().unwrap();
    assert!(size < 2 * 64 * 4096 * 23 / 20, "{size}");
}

/// Reads an old version and follows the newest one, while the payload of both grows.
#[test]
fn readers_see_their_version_of_a_growing_extent() {
    let place = file();
    let c = place.create();
    let a = log(&c, b"a");
    append(&a, 0);
    c.flush().unwrap();
    let open = || Container::open_apart(&place.target, Access::ReadOnly, &Options::default()).unwrap();
    let (old, new) = (open(), open());
    let LinkTarget::Hard(id) = old.link(old.root(), b"a").unwrap().unwrap().target else { panic!() };
    let (in_old, in_new) = (old.dataset(id).unwrap(), new.dataset(id).unwrap());
    for n in 1..40 {
        append(&a, n);
        c.flush().unwrap();
        check(&in_old, 1);
        assert!(new.refresh().unwrap());
        check(&in_new, n + 1);
    }
}

#[test]
fn a_grown_extent_is_freed_as_a_whole() {
    let options = Options {
        ledger: h5lake_ledger::Options {
            retention: Some(std::time::Duration::ZERO),
            ..h5lake_ledger::Options::default()
        },
        ..Options::default()
    };
    let place = file();
    let c = place.create_with(options.clone());
    let a = log(&c, b"a");
    for n in 0..200 {
        append(&a, n);
        c.flush().unwrap();
        if n % 16 == 7 {
            // A part of the grown payload is overwritten: the other parts stay in use.
            a.write(&slab(&[n * STEP - 100], &[STEP]), &[0; STEP as usize * 8]).unwrap();
            a.write(&slab(&[n * STEP], &[STEP]), &bytes(n)).unwrap();
            a.write(&slab(&[(n - 1) * STEP], &[STEP]), &bytes(n - 1)).unwrap();
        }
    }
    check(&a, 200);
    c.flush().unwrap();
    drop(a);
    c.link_delete(c.root(), b"a").unwrap();
    c.flush().unwrap();
    drop(c);
    Container::vacuum_patiently(&place.target, &options, std::time::Duration::from_secs(20)).unwrap();
    let size = place.open(Access::ReadOnly).size().unwrap();
    assert!(size < 24 << 10, "{size}");
}

/// Reserved space is not left in the file, and many short datasets get none.
#[test]
fn closing_releases_append_reservations() {
    let place = file();
    let c = place.create();
    let d = log(&c, b"a");
    (0..18).for_each(|n| {
        append(&d, n);
        c.flush().unwrap();
    });
    drop(d);
    for n in 0..30u8 {
        append(&log(&c, &[b'x', n]), 0);
        c.flush().unwrap();
    }
    let open = c.size().unwrap();
    drop(c);
    let c = place.open(Access::ReadOnly);
    let (closed, live) = (c.size().unwrap(), 48 * 4096);
    // One block of the first dataset is not full, and later data follows it.
    let most = live + (64 << 10) + (40 << 10);
    assert!(open < most && closed < most, "{open} {closed}");
}

/// Appends of one element: most elements are inline, and are moved in groups to the extent that grows.
#[test]
fn small_steps_have_no_extent_each() {
    let place = file();
    let c = place.create();
    let a = log(&c, b"a");
    let value = |n: u64| (n * 0x9E37_79B9).to_le_bytes();
    let check = |d: &Dataset, count: u64| {
        let mut out = vec![0; (count * 8) as usize];
        d.read(&Selection::All, &mut out).unwrap();
        for n in 0..count {
            assert!(out[(n * 8) as usize..][..8] == value(n), "element {n} of {count}");
        }
    };
    let count = 3000;
    for n in 0..count {
        a.set_extent(&[n + 1]).unwrap();
        a.write(&slab(&[n], &[1]), &value(n)).unwrap();
        c.flush().unwrap();
        if n % 61 == 0 {
            check(&a, n + 1);
        }
    }
    assert_eq!(pieces(&c), [2]);
    drop((a, c));
    let c = place.open(Access::ReadWrite);
    let LinkTarget::Hard(id) = c.link(c.root(), b"a").unwrap().unwrap().target else { panic!() };
    let a = c.dataset(id).unwrap();
    check(&a, count);
    // Overwrites the middle of the inline bytes, and of the other bytes.
    for at in [2999, 2990, 100, 0] {
        a.write(&slab(&[at], &[1]), &value(at)).unwrap();
        c.flush().unwrap();
        check(&a, count);
    }
}

/// A block that is stored inline is filled step by step: the log records of a step do not grow with the block.
#[test]
fn steps_into_a_block_of_the_map_take_little() {
    let place = file();
    let c = place.create();
    let spec = dataset_spec(8, simple(&[0], &[UNLIMITED]), Layout::Chunked { chunk: vec![1024] });
    let a = dataset(&c, b"a", spec);
    c.flush().unwrap();
    let value = |n: u64| (n * 0x9E37_79B9).to_le_bytes();
    let name = place.target.name();
    let written = || {
        let all = crate::statistics::summaries();
        all.iter().filter(|s| s.container == name).map(|s| s.bytes_written()).sum::<u64>()
    };
    let before = written();
    for n in 0..1000 {
        a.set_extent(&[n + 1]).unwrap();
        a.write(&slab(&[n], &[1]), &value(n)).unwrap();
        c.flush().unwrap();
    }
    let step = (written() - before) / 1000;
    assert!(step < 1000, "{step} bytes a step");
    let mut out = vec![0; 8000];
    a.read(&Selection::All, &mut out).unwrap();
    assert!((0..1000).all(|n| out[n as usize * 8..][..8] == value(n)));
}

/// A store has no delta records: each record contains the whole value of a small block that is filled step by step.
#[test]
fn steps_into_a_block_of_a_store_keep_few_bytes_inline() {
    const BLOCK: usize = 8192;
    const ELEMENTS: usize = 4;
    const STEP: usize = ELEMENTS * 8;
    let place = memory();
    let c = place.create();
    let chunk = vec![BLOCK as u64 / 8];
    let spec = dataset_spec(8, simple(&[0], &[UNLIMITED]), Layout::Chunked { chunk });
    let a = dataset(&c, b"a", spec);
    let data: Vec<u8> = (0..3 * BLOCK).map(|i| (i * 7 + i / 256) as u8).collect();
    let mut values = 0;
    for (n, step) in data.chunks_exact(STEP).enumerate() {
        let elements = (n * ELEMENTS) as u64;
        a.set_extent(&[elements + ELEMENTS as u64]).unwrap();
        a.write(&slab(&[elements], &[ELEMENTS as u64]), step).unwrap();
        c.flush().unwrap();
        let mut last = 0;
        c.each(&[keys::BLOCK], |_, value| {
            last = value.len();
            Ok(())
        })
        .unwrap();
        values += last;
        if n % 37 == 0 {
            let mut out = vec![0; (n + 1) * STEP];
            a.read(&Selection::All, &mut out).unwrap();
            assert!(out == data[..out.len()], "step {n}");
        }
    }
    let mean = values / (data.len() / STEP);
    assert!(mean < 1200, "{mean} bytes a value");
    // Blocks that were filled are inline, so no read of them needs a payload.
    assert_eq!(pieces(&c), [0, 0, 0]);
    drop((a, c));
    let c = place.open(Access::ReadOnly);
    let LinkTarget::Hard(id) = c.link(c.root(), b"a").unwrap().unwrap().target else { panic!() };
    let mut out = vec![0; data.len()];
    c.dataset(id).unwrap().read(&Selection::All, &mut out).unwrap();
    assert!(out == data);
}
