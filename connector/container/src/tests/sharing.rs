//! Long reads by several threads.

use super::*;
use object_stores::{FaultStore, ObjectStore, Rule, Select, Timing};
use proptest::prelude::*;
use std::os::unix::fs::FileExt;

/// Elements of a row, number of rows, and bytes of an element: 9 MB.
const ROW: u64 = 1500;
const ROWS: u64 = 1500;
const SIZE: u64 = 4;

fn layout(n: u8) -> Layout {
    match n {
        0 => Layout::Contiguous,
        1 => Layout::Chunked { chunk: vec![200, ROW] },
        _ => Layout::Chunked { chunk: vec![64, 600] },
    }
}

fn made(place: &Place, layout: Layout) -> Arc<Dataset> {
    let c = place.create();
    let mut spec = dataset_spec(SIZE, simple(&[ROWS, ROW], &[ROWS, ROW]), layout);
    spec.fill.value = FillValue::User(vec![9; SIZE as usize].into());
    dataset(&c, b"d", spec)
}

fn rows(from: u64, count: u64) -> Selection {
    let (start, one) = (vec![from, 0], vec![1, 1]);
    Selection::Hyperslab { start, stride: one.clone(), count: one, block: vec![count, ROW] }
}

fn noise(n: usize, salt: u64) -> Vec<u8> {
    (0..n as u64).map(|i| ((i + salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

/// Reads with several threads, however many cores there are.
fn shared(d: &Dataset, s: &Selection, threads: usize) -> Result<Vec<u8>> {
    let dims = [ROWS, ROW];
    let mut out = vec![0xee; (s.points(&dims)? * SIZE) as usize];
    d.read_shared(&dims, s, SIZE as usize, &mut out, threads).map(|()| out)
}

fn write_shared(d: &Dataset, s: &Selection, data: &[u8], threads: usize) -> Result<()> {
    d.write_shared(&[ROWS, ROW], s, SIZE as usize, data, threads)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn parallel_copies_equal_the_data(
        n in 0u8..3,
        writes in prop::collection::vec((0..ROWS, 1..=ROWS, any::<u64>(), any::<bool>(), 0usize..5), 0..8),
        reads in prop::collection::vec((0..ROWS, 1..=ROWS, 1usize..5), 1..5),
        points in prop::collection::vec(0..ROWS * ROW, 0..20),
        in_file in any::<bool>(),
    ) {
        let place = if in_file { file() } else { memory() };
        let d = made(&place, layout(n));
        let mut flat = vec![9; (ROWS * ROW * SIZE) as usize];
        let bytes = (ROW * SIZE) as usize;
        for (from, count, salt, flush, threads) in writes {
            let count = count.min(ROWS - from);
            let data = noise(count as usize * bytes, salt);
            match threads {
                0 => d.write(&rows(from, count), &data).unwrap(),
                _ => write_shared(&d, &rows(from, count), &data, threads).unwrap(),
            }
            flat[from as usize * bytes..][..data.len()].copy_from_slice(&data);
            if flush {
                d.object().container().flush().unwrap();
            }
        }
        // Some blocks are in memory with changes.
        for at in points {
            let s = Selection::Runs(vec![Run { offset: at, count: 1 }]);
            d.write(&s, &[7; SIZE as usize]).unwrap();
            flat[(at * SIZE) as usize..][..SIZE as usize].fill(7);
        }
        for (from, count, threads) in reads {
            let count = count.min(ROWS - from);
            let found = shared(&d, &rows(from, count), threads).unwrap();
            prop_assert!(found == flat[from as usize * bytes..][..count as usize * bytes]);
        }
        d.object().container().flush().unwrap();
        let (id, c) = (d.object().id(), Arc::downgrade(d.object().container()));
        drop(d);
        prop_assert!(c.upgrade().is_none());
        let d = place.open(Access::ReadWrite).dataset(id).unwrap();
        // Long runs in another order than they are stored.
        let halves = [(ROWS / 2 * ROW, ROWS / 2 * ROW), (0, ROWS / 2 * ROW)];
        let s = Selection::Runs(halves.map(|(offset, count)| Run { offset, count }).to_vec());
        let (first, second) = flat.split_at(flat.len() / 2);
        prop_assert!(shared(&d, &s, 3).unwrap() == [second, first].concat());
    }
}

#[test]
fn damage_in_any_block_is_reported() {
    let place = file();
    let d = made(&place, layout(1));
    let data = noise((ROWS * ROW * SIZE) as usize, 1);
    d.write(&Selection::All, &data).unwrap();
    d.object().container().flush().unwrap();
    let Target::File(path) = &place.target else { unreachable!() };
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let bytes = std::fs::read(path).unwrap();
    for at in [0, data.len() / 2, data.len() - 64] {
        let wanted = &data[at..at + 64];
        let there = bytes.windows(64).position(|w| w == wanted).unwrap() as u64;
        file.write_at(&[!wanted[0]], there).unwrap();
        for threads in [1, 2, 4] {
            assert!(shared(&d, &Selection::All, threads).is_err_and(|e| e.kind() == ErrorKind::Corrupt));
        }
        file.write_at(&[wanted[0]], there).unwrap();
        assert!(shared(&d, &Selection::All, 2).unwrap() == data);
    }
}

/// Blocks that are written anew reuse extents that a reader has just looked up.
#[test]
fn a_concurrent_reader_sees_each_block_before_or_after() {
    for place in places() {
        let d = made(&place, layout(1));
        let block = (200 * ROW * SIZE) as usize;
        let of = |n: u8| vec![n; (ROWS * ROW * SIZE) as usize];
        d.write(&Selection::All, &of(0)).unwrap();
        std::thread::scope(|s| {
            let writer = s.spawn(|| {
                for n in 1..60u8 {
                    match n % 3 {
                        0 => d.write(&Selection::All, &of(n)).unwrap(),
                        _ => write_shared(&d, &Selection::All, &of(n), 2).unwrap(),
                    }
                    if n % 7 == 0 {
                        d.object().container().flush().unwrap();
                    }
                }
            });
            let mut newest = [0; 8];
            while !writer.is_finished() {
                let found = shared(&d, &Selection::All, 2).unwrap();
                for (part, newest) in found.chunks(block).zip(&mut newest) {
                    assert!(part.iter().all(|b| *b == part[0]), "a block is a mixture");
                    assert!(part[0] >= *newest, "an old block after a new one");
                    *newest = part[0];
                }
            }
            writer.join().unwrap();
        });
        assert!(shared(&d, &Selection::All, 2).unwrap() == of(59));
    }
}

/// Each put of a write fails once: the error is returned, and the elements stay unchanged.
#[test]
fn a_failed_parallel_write_changes_nothing() {
    let data = [noise((ROWS * ROW * SIZE) as usize, 1), noise((ROWS * ROW * SIZE) as usize, 2)];
    for n in 0..2 {
        let store = MemoryStore::new();
        let faults = FaultStore::new(Arc::new(store.clone())).as_near();
        let url = format!("faults of {}", store.place_of("c.h5"));
        let target = Target::Objects { store: Arc::new(faults.clone()), key: "c.h5".into(), url };
        let place = Place::at(target);
        let d = made(&place, layout(1));
        let c = d.object().container().clone();
        write_shared(&d, &Selection::All, &data[0], 2).unwrap();
        c.flush().unwrap();
        let put = Select::One(object_stores::Operation::Put);
        faults.inject(Rule::fail_nth(put, n, Timing::Before, object_stores::ErrorKind::Io));
        assert!(write_shared(&d, &Selection::All, &data[1], 2).is_err(), "put {n}");
        faults.clear();
        assert!(shared(&d, &Selection::All, 2).unwrap() == data[0], "put {n}");
        write_shared(&d, &Selection::All, &data[1], 2).unwrap();
        c.flush().unwrap();
        assert!(shared(&d, &Selection::All, 2).unwrap() == data[1], "put {n}");
    }
}
