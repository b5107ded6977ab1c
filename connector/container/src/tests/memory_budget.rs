//! Containers of one process that share memory for their blocks.

use super::datasets::{filters, values};
use super::*;

const MIB: usize = 1 << 20;
/// Rows of 64 KiB; a chunk has 16 of them.
const ROWS: u64 = 320;
const ROW: u64 = 64 << 10;

/// Creates containers with 20 MiB each in chunks of 1 MiB, opened with one memory budget.
fn filled(count: usize, limit: usize) -> (Vec<Place>, Vec<Arc<Dataset>>, Arc<MemoryBudget>) {
    let budget = Arc::new(MemoryBudget::default());
    let options = Options { cache_bytes: limit, memory: budget.clone(), ..Options::default() };
    let places: Vec<_> = (0..count).map(|_| file()).collect();
    let datasets = places.iter().map(|place| {
        let c = place.create_with(options.clone());
        let layout = Layout::Chunked { chunk: vec![16, ROW] };
        let spec = DatasetSpec {
            filters: filters(1, 1),
            ..dataset_spec(1, simple(&[ROWS, ROW], &[ROWS, ROW]), layout)
        };
        let d = dataset(&c, b"d", spec);
        d.write(&Selection::All, &values((ROWS * ROW) as usize, 5)).unwrap();
        c.flush().unwrap();
        d
    });
    let datasets = datasets.collect();
    (places, datasets, budget)
}

/// Returns a selection of a few bytes of a row: each chunk that contains them is cached.
fn corner(row: u64) -> Selection {
    let one = vec![1, 1];
    Selection::Hyperslab { start: vec![row, 3], stride: one.clone(), count: one, block: vec![1, 8] }
}

fn read_all(d: &Dataset) {
    let all = values((ROWS * ROW) as usize, 5);
    for row in (0..ROWS).step_by(8) {
        let mut got = [0; 8];
        d.read(&corner(row), &mut got).unwrap();
        let at = (row * ROW + 3) as usize;
        assert_eq!(got, all[at..at + 8]);
    }
}

fn held(d: &Dataset) -> usize {
    d.object().container().blocks.lock().bytes()
}

#[test]
fn readers_share_one_bound_equally() {
    let (_places, datasets, budget) = filled(3, 15 * MIB);
    read_all(&datasets[0]);
    assert!(held(&datasets[0]) > 10 * MIB, "alone it may have all");
    for d in &datasets[1..] {
        read_all(d);
        assert!(budget.held() <= 15 * MIB, "{} bytes are held", budget.held());
        // Its share is 5 MiB, of which a quarter is evicted at a time.
        assert!(held(d) >= 3 * MIB, "{} bytes are held", held(d));
    }
    drop(datasets);
    assert_eq!(budget.held(), 0);
    assert!(budget.take_freed(8 * MIB));
}

#[test]
fn changed_blocks_stay_cached_while_other_caches_continue() {
    let (_places, datasets, budget) = filled(2, 15 * MIB);
    for row in (0..192).step_by(16) {
        datasets[0].write(&corner(row), &[7; 8]).unwrap();
    }
    let changed = held(&datasets[0]);
    assert!(changed > 12 * MIB);
    read_all(&datasets[1]);
    assert_eq!(held(&datasets[0]), changed, "changes wait for a flush");
    assert!(held(&datasets[1]) >= 2 * MIB && budget.held() <= 15 * MIB + 4 * MIB);
    for row in (0..192).step_by(16) {
        let mut got = [0; 8];
        datasets[0].read(&corner(row), &mut got).unwrap();
        assert_eq!(got, [7; 8]);
    }
    // Once the blocks are stored, they can be evicted for other caches.
    datasets[0].object().container().flush().unwrap();
    read_all(&datasets[1]);
    assert!(held(&datasets[0]) <= 8 * MIB && budget.held() <= 15 * MIB);
}

#[test]
fn threads_on_several_containers_never_wait_for_each_other() {
    let (_places, datasets, budget) = filled(4, 10 * MIB);
    std::thread::scope(|scope| {
        for d in &datasets {
            scope.spawn(|| {
                read_all(d);
                d.write(&corner(5), &values((ROWS * ROW) as usize, 5)[(5 * ROW + 3) as usize..][..8])
                    .unwrap();
                d.object().container().flush().unwrap();
                read_all(d);
            });
        }
    });
    assert!(budget.held() <= 10 * MIB + 4 * 4 * MIB, "{} bytes are held", budget.held());
}

#[test]
fn many_small_caches_without_changes_stay_within_the_bound() {
    let (_places, datasets, budget) = filled(8, 15 * MIB);
    for d in &datasets {
        read_all(d);
        assert!(budget.held() <= 15 * MIB, "{} bytes are held", budget.held());
    }
    // Each cache still has blocks of its own.
    for d in &datasets {
        read_all(d);
        assert!(held(d) >= MIB && budget.held() <= 15 * MIB, "{}, {}", held(d), budget.held());
    }
}

/// Small chunks that one write covers are staged, wherever their rows are in the program's buffer. In the block cache,
/// they would be in memory a second time once they are evicted.
#[test]
fn small_chunks_written_by_rows_are_not_cached() {
    const SIDE: u64 = 8;
    const WIDTH: u64 = 800;
    let place = file();
    let c = place.create();
    let layout = Layout::Chunked { chunk: vec![SIDE, SIDE] };
    let d = dataset(&c, b"d", dataset_spec(8, simple(&[4 * SIDE, WIDTH], &[4 * SIDE, WIDTH]), layout));
    let all = values((4 * SIDE * WIDTH * 8) as usize, 3);
    let one = vec![1, 1];
    for (n, rows) in all.chunks_exact((SIDE * WIDTH * 8) as usize).enumerate() {
        let start = vec![n as u64 * SIDE, 0];
        let (stride, count) = (one.clone(), one.clone());
        let rows_of_chunks = Selection::Hyperslab { start, stride, count, block: vec![SIDE, WIDTH] };
        d.write(&rows_of_chunks, rows).unwrap();
    }
    assert_eq!(held(&d), 0);
    c.flush().unwrap();
    let mut got = vec![0; all.len()];
    d.read(&Selection::All, &mut got).unwrap();
    assert!(got == all);
}
