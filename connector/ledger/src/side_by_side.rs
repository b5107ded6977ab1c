//! Requests that run in parallel.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::Result;
use crate::locks::Mutex;

/// Calls `work` for every item, with up to `most` calls in parallel. Returns the first error.
pub(crate) fn side_by_side<T: Send>(
    items: Vec<T>,
    most: usize,
    work: impl Fn(T) -> Result<()> + Sync,
) -> Result<()> {
    let items: Vec<_> = items.into_iter().map(|item| Mutex::new(Some(item))).collect();
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    let one = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if failed.lock().is_some() {
                return;
            }
            let Some(item) = item.lock().take() else { return };
            if let Err(e) = work(item) {
                failed.lock().get_or_insert(e);
            }
        }
    };
    std::thread::scope(|s| {
        // The calling thread works, too; if no thread can be started, it does all the work.
        for _ in 1..most.min(items.len()) {
            if std::thread::Builder::new().spawn_scoped(s, one).is_err() {
                break;
            }
        }
        one();
    });
    failed.into_inner().map_or(Ok(()), Err)
}

/// Calls two functions: in parallel if `is_far` says that the time is worth a thread, otherwise one after the other.
pub(crate) fn both<A: Send, B>(
    is_far: bool,
    one: impl Fn() -> A + Sync,
    other: impl FnOnce() -> B,
) -> (A, B) {
    if !is_far {
        return (one(), other());
    }
    std::thread::scope(|s| {
        let thread = std::thread::Builder::new().spawn_scoped(s, &one);
        let other = other();
        match thread {
            Ok(thread) => (thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), other),
            // No thread could be started, so the calling thread calls both functions.
            Err(_) => (one(), other),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn each_item_runs_once_and_an_error_is_returned() {
        let done = AtomicUsize::new(0);
        side_by_side((0..100).collect(), 12, |n: usize| {
            done.fetch_add(n, Ordering::Relaxed);
            Ok(())
        })
        .unwrap();
        assert_eq!(done.into_inner(), 4950);
        assert!(
            side_by_side(vec![1, 2, 3], 12, |n| if n == 2 { Err(Error::invalid("x", "y")) } else { Ok(()) })
                .is_err()
        );
    }
}
