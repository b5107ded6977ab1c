//! Parts of blocks that one process takes from another before a commit.

use super::many::{all, check, chunked, open};
use super::together::{flush, make_of, processes};
use super::*;
use std::ops::Range;

/// Writes every other element from `first` on.
fn write_every_other(c: &Arc<Container>, path: &[u8], first: u64, count: u64, value: u8) {
    let selection =
        Selection::Hyperslab { start: vec![first], stride: vec![2], count: vec![count], block: vec![1] };
    open(c, path).write(&selection, &vec![value; count as usize * 4]).unwrap();
}

/// Gives all changed blocks of `from` to `to`.
fn bring(from: &Container, to: &Container) -> usize {
    let changed = from.changed_blocks(100).unwrap();
    for block in &changed {
        to.take_part(&block.key, &from.part_of_block(&block.key).unwrap()).unwrap();
    }
    changed.iter().for_each(|block| from.give_part(&block.key));
    changed.len()
}

#[test]
fn a_process_takes_fragments_of_its_blocks() {
    for (p, gzip) in places().into_iter().zip([true, false]).chain(places().into_iter().zip([false, true])) {
        let all_of_them = processes(&p);
        make_of(&all_of_them, b"d", &chunked(32, 8, gzip));
        flush(&all_of_them);
        let [first, second] = &all_of_them;
        write_every_other(first, b"d", 0, 16, 1);
        write_every_other(second, b"d", 1, 16, 2);
        let [mine, theirs] = [first, second].map(|c| c.changed_blocks(100).unwrap());
        assert_eq!(mine, theirs, "both have the same numbers for the same blocks");
        assert_eq!(mine.iter().map(|block| block.bytes).collect::<Vec<_>>(), [16; 4]);
        assert_eq!(second.changed_blocks(3).unwrap(), theirs[..3]);
        assert_eq!(bring(second, first), 4);
        assert!(!second.has_changes() && second.changed_blocks(100).unwrap().is_empty());
        flush(&all_of_them);
        let expected = [1, 1, 1, 1, 2, 2, 2, 2].repeat(16);
        all_of_them.iter().for_each(|c| assert_eq!(all(&open(c, b"d")), expected));
        drop(all_of_them);
        assert_eq!(all(&open(&check(&p), b"d")), expected);
    }
}

/// The commit failed after the exchange: both have their previous data, and later writes stay.
#[test]
fn parts_are_returned_after_a_failed_commit() {
    for (p, gzip) in places().into_iter().zip([true, false]).chain(places().into_iter().zip([false, true])) {
        for is_staged in [false, true] {
            let all_of_them = processes(&p);
            make_of(&all_of_them, b"d", &chunked(16, 8, gzip));
            flush(&all_of_them);
            let [first, second] = &all_of_them;
            write_every_other(first, b"d", 0, 8, 1);
            write_every_other(second, b"d", 1, 8, 2);
            assert_eq!(bring(second, first), 2);
            if is_staged {
                first.blocks.lock().flush(&first.ledger, &[]).unwrap();
            }
            all_of_them.iter().for_each(|c| c.take_back_parts());
            let data = all(&open(second, b"d"));
            assert_eq!([data[0], data[4], data[8]], [0, 2, 0], "it reads its own");
            // The owner's data is the same, or was staged; the other's is newer.
            write_every_other(second, b"d", 1, 4, 3);
            let changed = first.changed_blocks(9).unwrap();
            assert_eq!(changed.len(), if is_staged { 0 } else { 2 });
            if !is_staged {
                assert_eq!(bring(first, second), 2, "what was taken does not go back as its own");
            }
            flush(&all_of_them);
            all_of_them.iter().for_each(|c| c.settle_parts());
            let expected = [[1, 1, 1, 1, 3, 3, 3, 3].repeat(4), [1, 1, 1, 1, 2, 2, 2, 2].repeat(4)].concat();
            all_of_them.iter().for_each(|c| assert_eq!(all(&open(c, b"d")), expected, "{gzip} {is_staged}"));
            all_of_them.iter().for_each(|c| _ = c.blocks.lock().bytes());
            drop(all_of_them);
            assert_eq!(all(&open(&check(&p), b"d")), expected);
        }
    }
}

/// Concurrent commits of another program stay as well.
#[test]
fn returned_parts_are_merged_with_remote_commits() {
    for p in places() {
        let all_of_them = processes(&p);
        make_of(&all_of_them, b"d", &chunked(8, 8, true));
        flush(&all_of_them);
        let [first, second] = &all_of_them;
        write_every_other(first, b"d", 0, 4, 1);
        write_every_other(second, b"d", 1, 1, 2);
        assert_eq!(bring(second, first), 1);
        let other = super::many::apart(&p);
        write_every_other(&other, b"d", 7, 1, 5);
        other.flush().unwrap();
        second.refresh().unwrap();
        all_of_them.iter().for_each(|c| c.take_back_parts());
        flush(&all_of_them);
        let mut expected = [1, 1, 1, 1, 0, 0, 0, 0].repeat(4);
        expected[4..8].fill(2);
        expected[28..].fill(5);
        drop((all_of_them, other));
        assert_eq!(all(&open(&check(&p), b"d")), expected);
    }
}

/// Another program deleted the dataset meanwhile, or shrank it.
#[test]
fn parts_of_remotely_deleted_datasets_are_not_returned() {
    for (p, is_deleted) in
        places().into_iter().zip([true, false]).chain(places().into_iter().zip([false, true]))
    {
        let all_of_them = processes(&p);
        make_of(&all_of_them, b"d", &chunked(8, 8, true));
        make_of(&all_of_them, b"kept", &chunked(8, 8, true));
        flush(&all_of_them);
        let [first, second] = &all_of_them;
        write_every_other(first, b"d", 0, 4, 1);
        write_every_other(first, b"kept", 0, 4, 1);
        write_every_other(second, b"d", 1, 1, 2);
        assert_eq!(bring(first, second), 2);
        let other = super::many::apart(&p);
        match is_deleted {
            true => other.link_delete(other.root(), b"d").unwrap(),
            false => open(&other, b"d").set_extent(&[3]).unwrap(),
        }
        other.flush().unwrap();
        first.refresh().unwrap();
        first.take_back_parts();
        second.blocks.lock().discard_dirty(&[]);
        first.flush_for_all(&[]).unwrap().unwrap();
        if !is_deleted {
            other.refresh().unwrap();
            open(&other, b"d").set_extent(&[8]).unwrap();
            other.flush().unwrap();
            let data = all(&open(&other, b"d"));
            assert_eq!([data[0], data[8], data[16]], [1, 1, 0], "what was cut off is fill");
        }
        drop((all_of_them, other));
        let c = check(&p);
        assert_eq!(all(&open(&c, b"kept")), [1, 1, 1, 1, 0, 0, 0, 0].repeat(4));
    }
}

/// The other process also wrote to the block, and committed before: none of its elements are lost.
#[test]
fn taken_parts_are_merged_with_remote_commits() {
    for p in places() {
        let all_of_them = processes(&p);
        make_of(&all_of_them, b"d", &chunked(8, 8, true));
        flush(&all_of_them);
        let other = super::many::apart(&p);
        let [first, second] = &all_of_them;
        write_every_other(first, b"d", 0, 1, 1);
        write_every_other(second, b"d", 2, 1, 2);
        write_every_other(&other, b"d", 4, 1, 3);
        other.flush().unwrap();
        assert_eq!(bring(first, second), 1);
        flush(&all_of_them);
        let mut expected = [0; 32];
        for (at, value) in [(0, 1), (8, 2), (16, 3)] {
            expected[at..at + 4].fill(value);
        }
        drop((all_of_them, other));
        assert_eq!(all(&open(&check(&p), b"d")), expected);
    }
}

#[test]
fn staged_blocks_and_blobs_are_not_moved() {
    for p in places() {
        let all_of_them = processes(&p);
        let mut with_blobs = chunked(8, 8, true);
        with_blobs.datatype.has_heap = true;
        make_of(&all_of_them, b"d", &chunked(8, 8, true));
        make_of(&all_of_them, b"blobs", &with_blobs);
        flush(&all_of_them);
        let [first, second] = &all_of_them;
        write_every_other(first, b"blobs", 0, 1, 0);
        assert!(first.changed_blocks(100).unwrap().is_empty());
        write_every_other(first, b"d", 0, 1, 1);
        write_every_other(second, b"d", 2, 1, 2);
        let [block] = &first.changed_blocks(100).unwrap()[..] else { panic!("one block") };
        let part = first.part_of_block(&block.key).unwrap();
        second.take_part(&block.key, &part).unwrap();
        // The block is evicted before its part is given away.
        first.blocks.lock().flush(&first.ledger, &[]).unwrap();
        assert!(first.changed_blocks(100).unwrap().is_empty());
        first.give_part(&block.key);
        assert!(first.has_changes());
        flush(&all_of_them);
        drop(all_of_them);
        let data = all(&open(&check(&p), b"d"));
        assert_eq!([data[0], data[8], data[16]], [1, 2, 0]);
    }
}

/// Both have the fill values outside of the new extent, and the first process commits that extent.
#[test]
fn truncated_parts_stay_with_their_process() {
    for (p, gzip) in places().into_iter().zip([true, false]) {
        let all_of_them = processes(&p);
        make_of(&all_of_them, b"d", &chunked(16, 8, gzip));
        all_of_them.iter().for_each(|c| open(c, b"d").write(&Selection::All, &[7; 64]).unwrap());
        flush(&all_of_them);
        for c in &all_of_them {
            [4, 16].iter().for_each(|size| open(c, b"d").set_extent(&[*size]).unwrap());
        }
        write_every_other(&all_of_them[1], b"d", 0, 2, 9);
        assert!(all_of_them.iter().all(|c| c.changed_blocks(100).unwrap().is_empty()));
        flush(&all_of_them);
        write_every_other(&all_of_them[1], b"d", 1, 2, 8);
        assert_eq!(all_of_them[1].changed_blocks(100).unwrap().len(), 1, "committed is committed");
        flush(&all_of_them);
        drop(all_of_them);
        let expected = [[9; 4], [8; 4], [9; 4], [8; 4]].concat();
        assert_eq!(all(&open(&check(&p), b"d")), [expected, vec![0; 48]].concat(), "{gzip}");
    }
}

#[test]
fn impossible_parts_are_refused() {
    let p = memory();
    let all_of_them = processes(&p);
    make_of(&all_of_them, b"d", &chunked(8, 8, true));
    flush(&all_of_them);
    let [first, second] = &all_of_them;
    write_every_other(first, b"d", 0, 4, 1);
    let key = first.changed_blocks(1).unwrap().remove(0).key;
    let refused = |spans: Vec<Range<usize>>, bytes: usize| {
        let error = second.take_part(&key, &BlockPart { spans, bytes: vec![1; bytes] }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    };
    refused(vec![0..4, 5..34], 33);
    refused(vec![0..4, usize::MAX - 1..usize::MAX], 5);
    refused(vec![0..4, 4..8], 7);
    #[expect(clippy::reversed_empty_ranges, reason = "as a message may have it")]
    refused(vec![0..4, 8..4], 8);
    let part = first.part_of_block(&key).unwrap();
    let error = second.take_part(b"H12345678", &part).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(second.changed_blocks(9).unwrap().is_empty());
}
