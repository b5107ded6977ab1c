use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use h5lake_ledger::locks::{Mutex, MutexGuard};

use super::*;
use crate::error::{Error, Minor};

/// A lock for tests that check unreported failures, or fill the pool, so that they run one after another.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock()
}

fn queue() -> Arc<Queue> {
    Arc::default()
}

fn counting(done: Arc<AtomicUsize>) -> Work {
    Box::new(move || {
        done.fetch_add(1, Ordering::SeqCst);
        Ok(())
    })
}

fn text(task: &Task) -> String {
    match task.ended() {
        Some(Ended::Failed(error)) => error.into_error().to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tasks_of_a_queue_run_in_their_order_and_those_of_several_side_by_side() {
    let _alone = alone();
    let (one, other) = (queue(), queue());
    let (sender, receiver) = channel::<()>();
    let order = Arc::new(Mutex::new(Vec::new()));
    let waits: Work = Box::new(move || receiver.recv().map_err(|_| Error::call("recv")));
    one.submit(Kind::Write, 0, waits);
    for n in 0..50 {
        let order = order.clone();
        one.submit(
            Kind::Write,
            0,
            Box::new(move || {
                order.lock().push(n);
                Ok(())
            }),
        );
    }
    // The first task of one queue continues only after a task of the other queue has run.
    other.submit(Kind::Write, 0, Box::new(move || sender.send(()).map_err(|_| Error::call("send"))));
    one.complete();
    other.complete();
    assert_eq!(*order.lock(), (0..50).collect::<Vec<_>>());
}

#[test]
fn errors_and_panics_are_reported_once() {
    let _alone = alone();
    let queue = queue();
    let failed =
        queue.submit(Kind::Write, 0, Box::new(|| Err(Error::file(Minor::WriteError, "no space", Some(28)))));
    let panicked = queue.submit(Kind::Read, 0, Box::new(|| panic!("on purpose")));
    queue.complete();
    assert_eq!(text(&failed), "a write that went on beside the program failed: no space, errno = 28");
    assert_eq!(text(&panicked), "a read that went on beside the program failed: it panicked: on purpose");
    let reported = queue.unreported_failure().expect("nobody was told").to_string();
    assert!(reported.contains("no space, errno = 28; 1 more failed"), "{reported}");
    assert!(queue.unreported_failure().is_none());
    let again = queue.submit(Kind::Write, 0, Box::new(|| Err(Error::call("it"))));
    queue.complete();
    assert!(again.mark_reported() && queue.unreported_failure().is_none());
}

#[test]
fn a_canceled_task_drops_its_work() {
    let _alone = alone();
    let queue = queue();
    let (sender, receiver) = channel::<()>();
    let (begun, begins) = channel::<()>();
    let first = queue.submit(
        Kind::Write,
        0,
        Box::new(move || {
            begun.send(()).unwrap();
            receiver.recv().map_err(|_| Error::call("recv"))
        }),
    );
    begins.recv().unwrap();
    let held = Arc::new(());
    let seen = Arc::downgrade(&held);
    let second = queue.submit(
        Kind::Flush,
        0,
        Box::new(move || {
            drop(held);
            Ok(())
        }),
    );
    assert!(!cancel(&first) && cancel(&second) && !cancel(&second));
    assert!(seen.upgrade().is_none() && matches!(second.ended(), Some(Ended::Canceled)));
    assert!(!wait_for(Duration::from_millis(1), || first.has_ended()));
    queue.complete_flushes();
    sender.send(()).unwrap();
    wait_until(|| first.has_ended());
    queue.complete();
    assert!(matches!(first.ended(), Some(Ended::Done)));
    let (begun, took) = first.times();
    assert!(begun > 0 && took > 1_000_000, "{begun} {took}");
}

#[test]
fn beyond_the_bound_the_caller_does_the_work() {
    let _alone = alone();
    let queue = queue();
    let (sender, receiver) = channel::<()>();
    let done = Arc::new(AtomicUsize::new(0));
    queue.submit(Kind::Write, 0, Box::new(move || receiver.recv().map_err(|_| Error::call("recv"))));
    while queue.has_space() {
        let done = done.clone();
        queue.submit(Kind::Write, 0, counting(done));
    }
    assert_eq!(done.load(Ordering::Relaxed), 0);
    sender.send(()).unwrap();
    let worker = Arc::new(Mutex::new(None));
    let seen = worker.clone();
    // Behind all of these tasks, in any thread.
    queue.submit(
        Kind::Write,
        0,
        Box::new(move || {
            *seen.lock() = Some(is_worker());
            Ok(())
        }),
    );
    queue.complete();
    assert_eq!(done.load(Ordering::Relaxed), 1023);
    assert!(worker.lock().is_some() && !is_worker());
}

#[test]
fn no_task_runs_during_a_fork() {
    let _alone = alone();
    let queue = queue();
    let done = Arc::new(AtomicUsize::new(0));
    let work = |done: Arc<AtomicUsize>| -> Work {
        Box::new(move || {
            std::thread::sleep(Duration::from_millis(20));
            counting(done)()
        })
    };
    for _ in 0..5 {
        queue.submit(Kind::Write, 0, work(done.clone()));
    }
    before_fork();
    let before = done.load(Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!(done.load(Ordering::SeqCst), before);
    after_fork();
    queue.complete();
    assert_eq!(done.load(Ordering::SeqCst), 5);
}

#[test]
fn tasks_behind_an_unavailable_store_fail() {
    let _alone = alone();
    let queue = queue();
    let done = Arc::new(AtomicUsize::new(0));
    for (said, ran) in [("timed out", 0), ("permission denied", 2)] {
        let (sender, receiver) = channel::<()>();
        let fails: Work = Box::new(move || {
            receiver.recv().map_err(|_| Error::call("recv"))?;
            Err(Error::new(Minor::CannotOperate, format!("put in s3://b: {said}: no answer")))
        });
        queue.submit(Kind::Write, 0, fails);
        let behind = [Kind::Write, Kind::Flush].map(|kind| queue.submit(kind, 0, counting(done.clone())));
        sender.send(()).unwrap();
        queue.complete();
        assert_eq!(done.swap(0, Ordering::SeqCst), ran, "{said}");
        if ran == 0 {
            let failure =
                "a flush that went on beside the program failed: put in s3://b: timed out: no answer";
            assert_eq!(text(&behind[1]), failure);
        }
        assert!(queue.unreported_failure().is_some());
        // The queue was empty, so the next task is tried.
        let again = queue.submit(Kind::Write, 0, counting(done.clone()));
        queue.complete();
        assert!(matches!(again.ended(), Some(Ended::Done)) && done.swap(0, Ordering::SeqCst) == 1);
    }
}
