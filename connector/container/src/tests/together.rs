//! Processes that write one container together: each is simulated by a separate container, and one thread runs their
//! steps in turn.

use super::many::{all, check, chunked, find, open, options, part, there};
use super::*;
use std::collections::HashMap;

/// A source of ids for new objects: the process that asks first for a range reserves it, and the other processes get
/// the same range.
#[derive(Default)]
struct Numbers {
    taken: h5lake_ledger::locks::Mutex<HashMap<usize, u64>>,
}

impl Numbers {
    /// Returns the source of one process.
    fn source(self: &Arc<Self>) -> crate::ids::NumberSource {
        let (numbers, asked) = (self.clone(), std::sync::atomic::AtomicUsize::new(0));
        Arc::new(move |count, take| {
            let turn = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let mut taken = numbers.taken.lock();
            if let Some(first) = taken.get(&turn) {
                return Ok(*first);
            }
            let first = take(count)?;
            taken.insert(turn, first);
            Ok(first)
        })
    }
}

fn as_process(rank: usize, processes: usize) -> Options {
    let together = Some(Together { processes, rank });
    Options { together, on_conflict: OnConflict::Last, ..options() }
}

/// Creates two processes that have a container open.
pub(super) fn processes(p: &Place) -> [Arc<Container>; 2] {
    processes_at([p, p])
}

/// Creates processes that have a container open, each by a way of its own.
pub(super) fn processes_at<const N: usize>(ways: [&Place; N]) -> [Arc<Container>; N] {
    drop(ways[0].create_with(options()));
    opened_at(ways)
}

/// Opens an existing container in several processes.
pub(super) fn opened_at<const N: usize>(ways: [&Place; N]) -> [Arc<Container>; N] {
    let numbers = Arc::new(Numbers::default());
    std::array::from_fn(|rank| {
        let c = Container::open_apart(&ways[rank].target, Access::ReadWrite, &as_process(rank, N)).unwrap();
        c.number_together(numbers.source());
        c.forget_numbers();
        c
    })
}

/// Runs the steps of all processes at a flush.
pub(super) fn flush(processes: &[Arc<Container>]) {
    flush_and_report(processes).unwrap();
    assert!(processes.iter().all(|c| !c.has_changes() && c.version() == processes[0].version()));
}

/// Runs the steps of all processes at a flush that commits, and returns what the first process reports.
fn flush_and_report(processes: &[Arc<Container>]) -> Result<()> {
    processes[0].prepare_flush().unwrap();
    let offers = processes[1..].iter().map(|c| c.offer_elements().unwrap());
    let offers: Vec<Vec<u8>> = std::iter::once(Vec::new()).chain(offers).collect();
    let hold = processes[0].hold_commits().unwrap();
    let reported = processes[0].flush_for_all(&offers).unwrap();
    drop(hold);
    assert!(!processes[0].has_changes(), "{reported:?}");
    processes[1..].iter().for_each(|c| c.settle_offer().unwrap());
    processes.iter().for_each(|c| c.settle_parts());
    reported
}

fn write(c: &Arc<Container>, path: &[u8], start: u64, count: u64, value: u8) {
    open(c, path).write(&part(start, count), &vec![value; count as usize * 4]).unwrap();
}

fn make(processes: &[Arc<Container>; 2], name: &[u8]) {
    make_of(processes, name, &chunked(8, 8, false));
}

/// Lets all processes create a dataset.
pub(super) fn make_of(processes: &[Arc<Container>], name: &[u8], spec: &DatasetSpec) {
    processes.iter().for_each(|c| drop(dataset(c, name, spec.clone())));
}

#[test]
fn elements_of_a_collectively_deleted_dataset_are_discarded() {
    for p in places() {
        for is_committed in [true, false] {
            let all_of_them = processes(&p);
            make(&all_of_them, b"kept");
            make(&all_of_them, b"d");
            if is_committed {
                flush(&all_of_them);
            }
            let [first, second] = &all_of_them;
            write(second, b"kept", 0, 8, 5);
            write(second, b"d", 0, 8, 7);
            for c in [first, second] {
                c.link_delete(c.root(), b"d").unwrap();
            }
            flush(&all_of_them);
            drop(all_of_them);
            let c = check(&p);
            assert!(all(&open(&c, b"kept")) == [5; 32] && !there(&c, b"d"), "committed: {is_committed}");
            drop(c);
        }
    }
}

#[test]
fn elements_of_a_remotely_deleted_dataset_are_a_conflict() {
    for p in places() {
        let all_of_them = processes(&p);
        make(&all_of_them, b"d");
        flush(&all_of_them);
        let other = super::many::apart(&p);
        other.link_delete(other.root(), b"d").unwrap();
        other.flush().unwrap();
        write(&all_of_them[1], b"d", 0, 8, 7);
        let error = flush_and_report(&all_of_them).unwrap_err();
        assert!(error.to_string().contains("/d, which was deleted,"), "{error}");
        drop((all_of_them, other));
        check(&p);
    }
}

/// An unlinked dataset that is open retains its elements, because it may get a link again.
#[test]
fn elements_of_an_open_unlinked_dataset_are_retained() {
    for p in places() {
        let all_of_them = processes(&p);
        make(&all_of_them, b"d");
        let id = find(&all_of_them[0], b"d");
        let opened: Vec<_> = all_of_them.iter().map(|c| c.dataset(id).unwrap()).collect();
        flush(&all_of_them);
        all_of_them.iter().for_each(|c| c.link_delete(c.root(), b"d").unwrap());
        opened[1].write(&Selection::All, &[7; 32]).unwrap();
        flush(&all_of_them);
        for c in &all_of_them {
            c.link_create(c.root(), b"e", LinkTarget::Hard(id), CharSet::Ascii).unwrap();
        }
        flush(&all_of_them);
        drop((opened, all_of_them));
        assert!(all(&open(&check(&p), b"e")) == [7; 32]);
    }
}

#[test]
fn a_truncation_is_known_until_it_is_committed() {
    for p in places() {
        let all_of_them = processes(&p);
        make(&all_of_them, b"d");
        flush(&all_of_them);
        for c in &all_of_them {
            open(c, b"d").set_extent(&[16]).unwrap();
            assert!(!c.has_cut());
            open(c, b"d").set_extent(&[0]).unwrap();
            open(c, b"d").set_extent(&[8]).unwrap();
            assert!(c.has_cut());
        }
        flush(&all_of_them);
        assert!(all_of_them.iter().all(|c| !c.has_cut()));
        write(&all_of_them[0], b"d", 0, 4, 1);
        write(&all_of_them[1], b"d", 4, 4, 2);
        flush(&all_of_them);
        drop(all_of_them);
        assert!(all(&open(&check(&p), b"d")) == [[1; 16], [2; 16]].concat());
    }
}

#[test]
fn a_collective_truncation_is_no_conflict() {
    for p in places() {
        let all_of_them = processes(&p);
        make(&all_of_them, b"d");
        flush(&all_of_them);
        write(&all_of_them[0], b"d", 0, 4, 1);
        write(&all_of_them[1], b"d", 4, 4, 2);
        all_of_them.iter().for_each(|c| open(c, b"d").set_extent(&[6]).unwrap());
        flush(&all_of_them);
        all_of_them.iter().for_each(|c| open(c, b"d").set_extent(&[8]).unwrap());
        flush(&all_of_them);
        drop(all_of_them);
        assert!(all(&open(&check(&p), b"d")) == [&[1; 16][..], &[2; 8], &[0; 8]].concat());
    }
}

/// Changes that a process stages alone would be committed before the other processes have made them, or twice.
#[test]
fn a_flush_of_one_commits_elements_and_no_structure() {
    for p in places() {
        let all_of_them = processes(&p);
        make(&all_of_them, b"d");
        flush(&all_of_them);
        make(&all_of_them, b"later");
        let [first, second] = &all_of_them;
        write(second, b"d", 0, 8, 7);
        second.flush().unwrap();
        second.flush_to_close().unwrap();
        first.flush().unwrap();
        let reader = p.open(Access::ReadOnly);
        assert!(all(&open(&reader, b"d")) == [7; 32] && !there(&reader, b"later"));
        drop(reader);
        flush(&all_of_them);
        drop(all_of_them);
        assert!(there(&check(&p), b"later"));
    }
}

/// No process commits on request after the last flush. Later changes are committed once.
#[test]
fn changes_after_the_last_flush_are_committed_by_the_first_process() {
    for p in places() {
        let [first, second] = processes(&p);
        make(&[first.clone(), second.clone()], b"d");
        drop(second);
        drop(first);
        assert!(there(&check(&p), b"d"));
    }
}

/// The elements are not lost without an error.
#[test]
fn elements_of_an_uncommitted_dataset_are_reported_at_drop() {
    for p in places() {
        let all_of_them = processes(&p);
        make(&all_of_them, b"kept");
        flush(&all_of_them);
        make(&all_of_them, b"d");
        let [first, second] = &all_of_them;
        write(second, b"kept", 0, 8, 5);
        write(second, b"d", 0, 8, 7);
        let error = second.flush_at_drop().unwrap_err();
        assert!(error.to_string().contains("the elements of /d that this process wrote"), "{error}");
        write(second, b"d", 0, 8, 7);
        // The process checks whether the first process has committed the dataset meanwhile.
        first.flush_for_all(&[]).unwrap().unwrap();
        second.flush_at_drop().unwrap();
        drop(all_of_them);
        let c = check(&p);
        assert!(all(&open(&c, b"kept")) == [5; 32] && all(&open(&c, b"d")) == [7; 32]);
        drop(c);
    }
}

#[test]
fn a_collective_container_refuses_other_writers() {
    for p in places() {
        drop(p.create_with(options()));
        let open_as =
            |access, together| Container::open(&p.target, access, Options { together, ..as_process(0, 2) });
        let two = Some(Together { processes: 2, rank: 0 });
        let one = Some(Together { processes: 1, rank: 0 });
        let c = open_as(Access::ReadWrite, two).unwrap();
        assert!(Arc::ptr_eq(&c, &open_as(Access::ReadWrite, two).unwrap()));
        assert!(Arc::ptr_eq(&c, &open_as(Access::ReadOnly, two).unwrap()));
        assert!(Arc::ptr_eq(&c, &open_as(Access::ReadOnly, None).unwrap()));
        for (access, together) in
            [(Access::ReadWrite, None), (Access::ReadWrite, one), (Access::ReadOnly, one)]
        {
            assert_eq!(open_as(access, together).unwrap_err().kind(), ErrorKind::Busy);
        }
        drop(c);
        let c = open_as(Access::ReadWrite, None).unwrap();
        assert_eq!(open_as(Access::ReadOnly, two).unwrap_err().kind(), ErrorKind::Busy);
        // A group of one process may share the container.
        assert!(Arc::ptr_eq(&c, &open_as(Access::ReadWrite, one).unwrap()));
        drop(c);
    }
}

#[test]
fn objects_left_open_after_close_belong_to_their_process() {
    for p in places() {
        drop(p.create_with(options()));
        let open_as = |together| {
            Container::open(&p.target, Access::ReadWrite, Options { together, ..as_process(0, 2) })
        };
        let two = Some(Together { processes: 2, rank: 0 });
        let left = open_as(two).unwrap();
        assert!(Container::is_open_collectively(&p.target));
        left.leave_collective();
        assert!(!Container::is_open_collectively(&p.target));
        let alone = open_as(None).unwrap();
        dataset(&alone, b"alone", chunked(8, 8, false));
        alone.flush().unwrap();
        drop(alone);
        assert!(there(&check(&p), b"alone"));
        // All processes may open it again, while it is still open here.
        assert!(Arc::ptr_eq(&left, &open_as(two).unwrap()));
        assert_eq!(open_as(None).unwrap_err().kind(), ErrorKind::Busy);
    }
}

/// After a failure of one process, the processes may be at different ids; they continue with new ones.
#[test]
fn forgotten_numbers_are_allocated_again() {
    let p = memory();
    let all_of_them = processes(&p);
    make(&all_of_them, b"a");
    dataset(&all_of_them[0], b"only here", chunked(8, 8, false));
    assert_ne!(all_of_them[0].next_number(), all_of_them[1].next_number());
    all_of_them.iter().for_each(|c| c.forget_numbers());
    all_of_them.iter().for_each(|c| c.prepare_number().unwrap());
    assert!(all_of_them[0].next_number() > 0);
    assert_eq!(all_of_them[0].next_number(), all_of_them[1].next_number());
    make(&all_of_them, b"b");
    assert_eq!(find(&all_of_them[0], b"b"), find(&all_of_them[1], b"b"));
}

/// Changes that wait for a collective commit are merged with concurrent changes of another program.
#[test]
fn changes_set_aside_are_merged_with_remote_commits() {
    for p in places() {
        let all_of_them = processes(&p);
        make(&all_of_them, b"d");
        make(&all_of_them, b"gone");
        all_of_them.iter().for_each(|c| c.set_comment(find(c, b"d"), Some(b"old")).unwrap());
        flush(&all_of_them);
        let other = super::many::apart(&p);
        for c in &all_of_them {
            group(c, c.root(), b"ours", CreationOrder::default());
            c.attr_create(c.root(), b"ours", attr_spec(1, 1)).unwrap();
            c.set_comment(find(c, b"d"), Some(b"ours")).unwrap();
            c.set_comment(find(c, b"gone"), Some(b"ours")).unwrap();
        }
        group(&other, other.root(), b"theirs", CreationOrder::default());
        other.attr_create(other.root(), b"theirs", attr_spec(1, 1)).unwrap();
        other.attr_create(find(&other, b"d"), b"theirs", attr_spec(1, 1)).unwrap();
        other.link_delete(other.root(), b"gone").unwrap();
        other.flush().unwrap();
        write(&all_of_them[0], b"d", 0, 4, 1);
        write(&all_of_them[1], b"d", 4, 4, 2);
        all_of_them.iter().for_each(|c| c.commit_elements().unwrap());
        let error = flush_and_report(&all_of_them).unwrap_err();
        assert!(error.to_string().contains("/gone, which was deleted,"), "{error}");
        drop((all_of_them, other));
        let c = check(&p);
        assert!(there(&c, b"ours") && there(&c, b"theirs") && !there(&c, b"gone"));
        assert_eq!(c.attr_count(c.root()).unwrap(), 2);
        assert_eq!(c.comment(find(&c, b"d")).unwrap().unwrap(), b"ours");
        assert!(all(&open(&c, b"d")) == [[1; 16], [2; 16]].concat());
        drop(c);
    }
}
