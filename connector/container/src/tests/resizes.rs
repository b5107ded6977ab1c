//! The cost of changing a dataset's extent: only chunks that are deleted or truncated are read, however many remain.

use super::statistics::of;
use super::*;

/// The layout of a dataset with chunks of 8 KiB: the ledger stores the value of each outside of the leaf page with its
/// key.
const CHUNK: [u64; 2] = [64, 128];

fn slab(start: [u64; 2], block: [u64; 2]) -> Selection {
    let one = vec![1; 2];
    Selection::Hyperslab { start: start.to_vec(), stride: one.clone(), count: one, block: block.to_vec() }
}

/// Creates a dataset of `rows` rows of chunks and four columns of them, all written and committed, and opens the
/// container again.
fn reopened(place: &Place, rows: u64) -> (Arc<Container>, Arc<Dataset>) {
    let dims = [rows * CHUNK[0], 4 * CHUNK[1]];
    let c = place.create();
    let layout = Layout::Chunked { chunk: CHUNK.to_vec() };
    let d = dataset(&c, b"d", dataset_spec(1, simple(&dims, &[UNLIMITED; 2]), layout));
    d.write(&Selection::All, &vec![7; (dims[0] * dims[1]) as usize]).unwrap();
    c.flush().unwrap();
    let id = d.object().id();
    drop((d, c));
    let c = place.open(Access::ReadWrite);
    let d = c.dataset(id).unwrap();
    (c, d)
}

fn bytes_read(c: &Container) -> u64 {
    of(c).bytes_read()
}

#[test]
fn a_shrink_reads_no_chunk_that_remains() {
    let rows = 100;
    let place = file();
    let (c, d) = reopened(&place, rows);
    let before = bytes_read(&c);
    d.set_extent(&[rows * CHUNK[0], 3 * CHUNK[1]]).unwrap();
    let removed = rows * CHUNK[0] * CHUNK[1];
    // The records of the deleted chunks contain the extents to free. The keys of all chunks are in a few leaf pages.
    let most = removed * 5 / 4;
    assert!(bytes_read(&c) - before < most, "{} bytes are read", bytes_read(&c) - before);
    let mut out = vec![0; (rows * CHUNK[0] * 3 * CHUNK[1]) as usize];
    d.read(&Selection::All, &mut out).unwrap();
    assert!(out.iter().all(|byte| *byte == 7));
}

#[test]
fn a_shrink_over_unwritten_space_reads_no_chunk() {
    let place = file();
    let (c, d) = reopened(&place, 20);
    let rows = 20 * CHUNK[0];
    // Shrinks to a border of chunks, and to the middle of chunks, which are truncated the first time.
    for columns in [3 * CHUNK[1], CHUNK[1] * 5 / 2] {
        d.set_extent(&[rows, columns]).unwrap();
        let looks = || of(&c).page_cache;
        let before = (bytes_read(&c), looks());
        for _ in 0..10 {
            d.set_extent(&[rows, 4 * CHUNK[1]]).unwrap();
            d.set_extent(&[rows, columns]).unwrap();
        }
        let after = (bytes_read(&c), looks());
        assert!(after.1.0 + after.1.1 < before.1.0 + before.1.1 + 100, "{before:?} {after:?}");
        assert_eq!(after.0, before.0);
    }
}

#[test]
fn a_write_after_a_shrink_is_removed_by_the_next() {
    for place in places() {
        let (c, d) = reopened(&place, 2);
        let (whole, half) = ([2 * CHUNK[0], 4 * CHUNK[1]], [2 * CHUNK[0], CHUNK[1] * 3 / 2]);
        for round in 0..4 {
            d.set_extent(&half).unwrap();
            d.set_extent(&whole).unwrap();
            // Writes to a truncated chunk, to a deleted one, and as a chunk in its stored form.
            d.write(&slab([0, half[1]], [1, 1]), b"a").unwrap();
            d.write(&slab([CHUNK[0], 2 * CHUNK[1]], [1, 1]), b"b").unwrap();
            d.write_chunk(&[CHUNK[0], 3 * CHUNK[1]], 0, &vec![9; 64 * 128]).unwrap();
            if round % 2 == 0 {
                c.flush().unwrap();
            }
            d.set_extent(&half).unwrap();
            assert_eq!(d.chunk_count().unwrap(), 4);
            d.set_extent(&whole).unwrap();
            let mut out = vec![1; (whole[0] * (whole[1] - half[1])) as usize];
            d.read(&slab([0, half[1]], [whole[0], whole[1] - half[1]]), &mut out).unwrap();
            assert!(out.iter().all(|byte| *byte == 0));
        }
    }
}
