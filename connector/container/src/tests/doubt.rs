//! The outcome of a shared writer's commit in a store is unknown. Whether it was made or not, later changes of the
//! writer are a separate batch.

use super::many::{all, check, chunked, find, open, options, part, there};
use super::merge_faults::places;
use super::*;
use object_stores::{Fault, Rule, Select, Timing};

const N: u64 = 100;

fn write(d: &Dataset, start: u64, value: u8) {
    d.write(&part(start, 10), &[value; 40]).unwrap();
}

fn tens(d: &Dataset, start: usize) -> u8 {
    let all = all(d);
    let ten = &all[start * 4..][..40];
    assert!(ten.iter().all(|byte| byte == &ten[0]), "{ten:?}");
    ten[0]
}

fn rename(c: &Container, from: &[u8], to: &[u8]) {
    c.link_move(c.root(), from, c.root(), to, None).unwrap();
}

/// The first operations of `b`.
type Step = fn(&Arc<Container>);
/// The operations of both writers after the outcome of `b`'s commit is unknown.
type Answer = fn(&Arc<Container>, is_committed: bool);
/// Checks the final content.
type Check = fn(&Arc<Container>, is_committed: bool);

/// For each n, the store returns no response to the first flush of `b` from the nth call on.
fn at_each_call(on_conflict: OnConflict, (first, theirs, second): (Step, Answer, Answer), is_right: Check) {
    let mut seen = std::collections::BTreeSet::new();
    for timing in Timing::ALL {
        // Commits are made alone and in groups alternately.
        for more in 0..2 {
            for n in 0.. {
                let (p, of_b, faults) = places();
                let c = p.create_with(options());
                dataset(&c, b"d", chunked(N, N, false)).write(&Selection::All, &[9; 400]).unwrap();
                group(&c, c.root(), b"g", CreationOrder::default());
                c.flush().unwrap();
                for _ in 0..more {
                    c.set_comment(c.root(), Some(b"more")).unwrap();
                    c.flush().unwrap();
                }
                drop(c);
                let options = Options { on_conflict, ..options() };
                let of = |p: &Place| Container::open_apart(&p.target, Access::ReadWrite, &options).unwrap();
                let (a, b) = (of(&p), of(&of_b));
                first(&b);
                let fault = Fault::Fail(timing, object_stores::ErrorKind::Timeout);
                faults.inject(Rule { select: Select::Any, skip: n, times: u64::MAX, fault });
                let flushed = b.flush();
                let is_struck = faults.struck() > 0;
                faults.clear();
                if flushed.is_err() {
                    a.refresh().unwrap();
                    let is_committed = open(&a, b"d").space().dims()[0] > N;
                    seen.insert(is_committed);
                    theirs(&a, is_committed);
                    a.flush().unwrap();
                    second(&b, is_committed);
                    drop((a, b));
                    is_right(&check(&p), is_committed);
                }
                if !is_struck {
                    break;
                }
            }
        }
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
}

/// Changes elements that the writer has read, and some that it has not; grows the dataset and renames a group.
fn first_batch(b: &Arc<Container>) {
    let d = open(b, b"d");
    assert_eq!(tens(&d, 40), 9);
    write(&d, 0, 1);
    write(&d, 40, 4);
    d.set_extent(&[N + 20]).unwrap();
    rename(b, b"g", b"h");
}

#[test]
fn a_commit_without_an_answer_is_not_repeated() {
    let theirs: Answer = |a, is_committed| {
        let d = open(a, b"d");
        if !is_committed {
            return write(&d, 60, 6);
        }
        write(&d, 0, 2);
        write(&d, 40, 5);
        d.set_extent(&[N + 40]).unwrap();
        rename(a, b"h", b"k");
    };
    let second = |b: &Arc<Container>, _: bool| {
        let d = b.dataset(find(b, b"d")).unwrap();
        write(&d, 20, 3);
        write(&d, 40, 5);
        b.attr_create(find(b, b"d"), b"x", attr_spec(1, 1)).unwrap().write(&[7]).unwrap();
        b.set_comment(find(b, b"d"), Some(b"later")).unwrap();
        b.flush().unwrap();
    };
    for on_conflict in [OnConflict::Fail, OnConflict::Merge, OnConflict::Last] {
        at_each_call(on_conflict, (first_batch, theirs, second), |c, is_committed| {
            let d = open(c, b"d");
            assert_eq!(tens(&d, 0), if is_committed { 2 } else { 1 });
            assert_eq!((tens(&d, 20), tens(&d, 40)), (3, 5));
            assert_eq!(tens(&d, 60), if is_committed { 9 } else { 6 });
            assert_eq!(d.space().dims()[0], if is_committed { N + 40 } else { N + 20 });
            assert!(there(c, if is_committed { b"k" } else { b"h" }) && !there(c, b"g"));
            assert_eq!(c.comment(find(c, b"d")).unwrap().unwrap(), b"later");
        });
    }
}

#[test]
fn an_uncommitted_batch_is_merged_with_remote_commits() {
    let theirs: Answer = |a, is_committed| {
        let d = open(a, b"d");
        write(&d, 60, 6);
        if !is_committed {
            write(&d, 0, 2);
            // Both write the same value, which they computed from the values that they had read.
            write(&d, 40, 4);
        }
    };
    let second = |b: &Arc<Container>, is_committed: bool| {
        write(&open(b, b"d"), 20, 3);
        let flushed = b.flush();
        match is_committed {
            true => flushed.unwrap(),
            false => {
                let e = flushed.unwrap_err();
                assert_eq!(e.kind(), ErrorKind::Conflict, "{e}");
                let text = e.to_string();
                assert!(text.contains("/d, 20 of the elements [0] to [49],"), "{text}");
            }
        }
    };
    at_each_call(OnConflict::Fail, (first_batch, theirs, second), |c, is_committed| {
        let d = open(c, b"d");
        assert_eq!((tens(&d, 0), tens(&d, 20)), if is_committed { (1, 3) } else { (2, 9) });
    });
    let last = |b: &Arc<Container>, _: bool| {
        write(&open(b, b"d"), 20, 3);
        b.flush().unwrap();
    };
    at_each_call(OnConflict::Last, (first_batch, theirs, last), |c, _| {
        let d = open(c, b"d");
        assert_eq!((tens(&d, 0), tens(&d, 20), tens(&d, 40), tens(&d, 60)), (1, 3, 4, 6));
    });
}
