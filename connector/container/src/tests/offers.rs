//! Collective flushes: one version contains the changes of all processes, or nothing is committed.

use super::checks::{Versions, verify};
use super::many::{all, check, chunked, open, part};
use super::together::{flush, make_of, opened_at, processes, processes_at};
use super::*;
use object_stores::{Fault, Rule, Select, Timing};

fn write(c: &Arc<Container>, start: u64, count: u64, value: u8) {
    open(c, b"d").write(&part(start, count), &vec![value; count as usize * 4]).unwrap();
}

/// Fails unless all retained versions are whole, and their space is accounted for.
fn assert_whole(p: &Place) {
    let report = verify(&p.target, &Options::default(), Versions::All, &mut |_, _| ()).unwrap();
    assert!(report.is_whole() && report.found.is_empty(), "{report:?}");
}

/// Places whose processes share a dataset "d" with this layout.
fn sharing(spec: &DatasetSpec) -> impl Iterator<Item = (Place, [Arc<Container>; 2])> {
    places().into_iter().map(|p| {
        let both = processes(&p);
        make_of(&both, b"d", spec);
        flush(&both);
        (p, both)
    })
}

#[test]
fn a_flush_of_all_processes_is_one_version() {
    for spec in [chunked(64, 8, false), chunked(64, 8, true), chunked(65_536, 8192, false)] {
        let half = match spec.space {
            Dataspace::Simple { ref dims, .. } => dims[0] / 2,
            _ => unreachable!("chunked datasets have dimensions"),
        };
        for (p, both) in sharing(&spec) {
            let reader = p.open(Access::ReadOnly);
            for step in 1..=20 {
                let before = both[0].version();
                write(&both[0], 0, half, step);
                write(&both[1], half, half, step);
                flush(&both);
                assert_eq!(both[0].version(), before + 1);
                reader.refresh().unwrap();
                assert_eq!(reader.version(), before + 1);
                assert_eq!(all(&open(&reader, b"d")), vec![step; half as usize * 8]);
            }
            drop((reader, both));
            check(&p);
            assert_whole(&p);
        }
    }
}

#[test]
fn parts_of_one_block_are_merged_in_one_version() {
    for spec in [chunked(8, 8, false), chunked(8, 8, true)] {
        for (p, both) in sharing(&spec) {
            let before = both[0].version();
            write(&both[0], 0, 5, 1);
            write(&both[1], 5, 3, 2);
            flush(&both);
            assert_eq!(both[0].version(), before + 1);
            let expected = [[1; 20].to_vec(), vec![2; 12]].concat();
            both.iter().for_each(|c| assert_eq!(all(&open(c, b"d")), expected));
            drop(both);
            assert_eq!(all(&open(&check(&p), b"d")), expected);
            assert_whole(&p);
        }
    }
}

/// The first process has put no payload itself, so its session in a store may not be listed yet.
#[test]
fn the_first_process_commits_payloads_of_others_alone() {
    for spec in [chunked(65_536, 8192, false), chunked(65_536, 8192, true)] {
        for (p, both) in sharing(&spec) {
            drop(both);
            let both = opened_at([&p; 2]);
            for step in 1..4 {
                write(&both[1], 0, 65_536, step);
                flush(&both);
                assert!(both.iter().all(|c| all(&open(c, b"d")) == vec![step; 262_144]), "step {step}");
            }
            drop(both);
            check(&p);
            assert_whole(&p);
        }
    }
}

/// Another program commits elements of the same block between the write and the flush.
#[test]
fn offered_elements_are_merged_with_remote_commits() {
    for spec in [chunked(16, 8, false), chunked(16, 8, true)] {
        for (p, both) in sharing(&spec) {
            let other = super::many::apart(&p);
            write(&both[0], 0, 1, 1);
            write(&both[1], 9, 1, 2);
            write(&both[1], 3, 1, 2);
            for at in [6, 15] {
                write(&other, at, 1, 3);
            }
            other.flush().unwrap();
            flush(&both);
            let mut expected = vec![0; 64];
            for (at, value) in [(0, 1), (9, 2), (3, 2), (6, 3), (15, 3)] {
                expected[at * 4..at * 4 + 4].fill(value);
            }
            drop((both, other));
            assert_eq!(all(&open(&check(&p), b"d")), expected);
            assert_whole(&p);
        }
    }
}

/// The first process fails after it has accepted elements: nothing is committed, and the elements stay where they were.
#[test]
fn a_flush_that_fails_leaves_elements_with_the_process_that_wrote_them() {
    for spec in [chunked(65_536, 8192, false), chunked(65_536, 8192, true)] {
        for (p, both) in sharing(&spec) {
            let [first, second] = &both;
            let before = first.version();
            for step in 1..=3 {
                write(second, 0, 40_000, step);
                let offer = second.offer_elements().unwrap();
                let damaged = offer[..offer.len() - 1].to_vec();
                let error = first.flush_for_all(&[Vec::new(), offer.clone(), damaged]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                second.withdraw_offer().unwrap();
                assert!(!first.has_changes() && second.has_changes());
                assert_eq!(first.version(), before);
            }
            write(first, 40_000, 25_536, 9);
            flush(&both);
            assert_eq!(first.version(), before + 1);
            let expected = [vec![3; 160_000], vec![9; 102_144]].concat();
            drop(both);
            assert_eq!(all(&open(&check(&p), b"d")), expected);
            assert_whole(&p);
        }
    }
}

/// The offering process dies before it learns that its elements are committed.
#[test]
fn a_process_that_dies_after_its_offer_harms_nothing() {
    for spec in [chunked(65_536, 8192, false), chunked(65_536, 8192, true)] {
        for (p, [first, second]) in sharing(&spec) {
            write(&first, 0, 30_000, 1);
            write(&second, 30_000, 35_536, 2);
            let offer = second.offer_elements().unwrap();
            first.flush_for_all(&[Vec::new(), offer]).unwrap().unwrap();
            drop(second);
            write(&first, 0, 10, 3);
            first.flush_for_all(&[]).unwrap().unwrap();
            let expected = [vec![3; 40], vec![1; 119_960], vec![2; 142_144]].concat();
            assert_eq!(all(&open(&check(&p), b"d")), expected);
            assert_whole(&p);
        }
    }
}

/// Until the outcome of the commit is known, the offering process commits nothing, and loses nothing.
#[test]
fn an_open_offer_defers_later_changes() {
    for spec in [chunked(65_536, 8192, false), chunked(65_536, 8192, true)] {
        for is_committed in [true, false] {
            for (p, both) in sharing(&spec) {
                let [first, second] = &both;
                write(first, 0, 30_000, 1);
                write(second, 30_000, 35_536, 2);
                let offer = second.offer_elements().unwrap();
                if is_committed {
                    first.flush_for_all(&[Vec::new(), offer]).unwrap().unwrap();
                }
                write(second, 65_000, 5, 4);
                let error = second.offer_elements().unwrap_err();
                assert!(error.to_string().contains("not known yet"), "{error}");
                second.commit_elements().unwrap_err();
                match is_committed {
                    true => second.settle_offer().unwrap(),
                    false => second.withdraw_offer().unwrap(),
                }
                flush(&both);
                let expected = [vec![1; 120_000], vec![2; 140_000], vec![4; 20], vec![2; 2124]].concat();
                drop(both);
                assert_eq!(all(&open(&check(&p), b"d")), expected, "committed: {is_committed}");
                assert_whole(&p);
            }
        }
    }
}

#[test]
fn messages_that_are_no_offers_are_refused() {
    for (p, [first, second]) in sharing(&chunked(8, 8, false)) {
        write(&second, 0, 8, 1);
        let offer = second.offer_elements().unwrap();
        for length in 1..offer.len() {
            let error = first.flush_for_all(&[offer[..length].to_vec()]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        }
        drop((first, second));
        check(&p);
    }
}

/// The store does not answer from the nth call of a flush on. Once it is known whether the flush was committed, each
/// process continues.
#[test]
fn a_flush_of_unknown_outcome_is_settled_for_all_processes() {
    let mut seen = std::collections::BTreeSet::new();
    for (timing, is_alone) in Timing::ALL.into_iter().flat_map(|t| [(t, false), (t, true)]) {
        for n in 0.. {
            let (p, through, faults) = super::merge_faults::places();
            let both = processes(&through);
            make_of(&both, b"d", &chunked(65_536, 8192, false));
            flush(&both);
            let [first, second] = &both;
            write(first, 0, 30_000, 1);
            write(second, 30_000, 35_536, 2);
            let offer = second.offer_elements().unwrap();
            let fault = Fault::Fail(timing, object_stores::ErrorKind::Timeout);
            faults.inject(Rule { select: Select::Any, skip: n, times: u64::MAX, fault });
            let done = first.flush_for_all(&[Vec::new(), offer]);
            let is_struck = faults.struck() > 0;
            faults.clear();
            if !is_alone {
                let other = super::many::apart(&p);
                group(&other, other.root(), b"g", CreationOrder::default());
                other.flush().unwrap();
            }
            let is_unknown = done.is_err() && first.is_outcome_unknown();
            let is_committed = if is_unknown { first.settle_flush().unwrap() } else { done.is_ok() };
            match is_committed {
                true => second.settle_offer().unwrap(),
                false => second.withdraw_offer().unwrap(),
            }
            seen.insert((is_unknown, is_committed));
            write(second, 65_000, 5, 4);
            flush(&both);
            let expected = [vec![1; 120_000], vec![2; 140_000], vec![4; 20], vec![2; 2124]].concat();
            both.iter().for_each(|c| assert_eq!(all(&open(c, b"d")), expected));
            drop(both);
            assert_eq!(all(&open(&check(&p), b"d")), expected);
            assert_whole(&p);
            if !is_struck {
                break;
            }
        }
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

/// The nth call of the offering process to the store fails when this process moves to the version that contains its
/// elements. It tries again, and nothing is lost or counted twice.
#[test]
fn an_offer_is_settled_at_the_next_try() {
    for spec in [chunked(65_536, 8192, false), chunked(65_536, 8192, true)] {
        for n in 0.. {
            let (p, through, faults) = super::merge_faults::places();
            let both = processes_at([&p, &through]);
            make_of(&both, b"d", &spec);
            flush(&both);
            let [first, second] = &both;
            write(first, 0, 30_000, 1);
            write(second, 30_000, 35_536, 2);
            let offer = second.offer_elements().unwrap();
            first.flush_for_all(&[Vec::new(), offer]).unwrap().unwrap();
            faults.inject(Rule::fail_nth(Select::Any, n, Timing::Before, object_stores::ErrorKind::Io));
            let settled = second.settle_offer();
            let is_struck = faults.struck() > 0;
            faults.clear();
            assert!(settled.is_err() || !is_struck, "call {n}");
            write(second, 65_000, 5, 4);
            if settled.is_ok() {
                // The elements are staged. Without an offer they stay.
                second.prepare_flush().unwrap();
            }
            second.settle_offer().unwrap();
            flush(&both);
            let expected = [vec![1; 120_000], vec![2; 140_000], vec![4; 20], vec![2; 2124]].concat();
            assert!(both.iter().all(|c| all(&open(c, b"d")) == expected), "call {n}");
            drop(both);
            assert!(all(&open(&check(&p), b"d")) == expected, "call {n}");
            assert_whole(&p);
            if !is_struck {
                assert!(n > 0, "no call was tried");
                break;
            }
        }
    }
}

/// The first process merges the offers of two processes. The merged block refers to payloads of both, which these
/// processes no longer count as their own, and do not free.
#[test]
fn merged_offers_keep_the_payloads_that_the_block_names() {
    let starts = [[0, 20_000, 40_000], [0, 20_000, 40_000], [2572, 22_703, 47_591], [0, 20_000, 40_000]];
    let counts = [[20_000; 3], [20_000; 3], [737, 16_846, 9359], [20_000; 3]];
    for gzip in [false, true] {
        for p in places() {
            let three = processes_at([&p; 3]);
            make_of(&three, b"d", &chunked(60_000, 60_000, gzip));
            flush(&three);
            let mut expected = vec![0; 240_000];
            for step in 0..12 {
                for (rank, c) in three.iter().enumerate() {
                    let (start, count) = (starts[step % 4][rank], counts[step % 4][rank]);
                    let value = (step * 3 + rank + 1) as u8;
                    write(c, start, count, value);
                    expected[start as usize * 4..][..count as usize * 4].fill(value);
                }
                flush(&three);
                assert!(three.iter().all(|c| all(&open(c, b"d")) == expected), "step {step}, gzip: {gzip}");
                assert_whole(&p);
            }
            drop(three);
            assert!(all(&open(&check(&p), b"d")) == expected);
            assert_whole(&p);
        }
    }
}
