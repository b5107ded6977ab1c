//! The threads that run requests, and how a caller waits for them.
//!
//! The runtime starts with the first request and is never stopped: its threads end when the process exits. A forked
//! child has none of its parent's threads, so each process has a runtime of its own ([`PerProcess`]).

use std::any::Any;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::mpsc;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::per_process::PerProcess;

/// The number of threads, which transfer bytes and sign; each of them runs many requests.
const THREADS: usize = 2;

static RUNTIME: PerProcess<Runtime> = PerProcess::new();

fn runtime() -> std::io::Result<&'static Handle> {
    let start = || {
        // Starting the runtime panics if a thread cannot be started, so this is tried before.
        let probe = std::thread::Builder::new().name("h5lake-store".into()).spawn(|| ())?;
        let _it_does_nothing = probe.join();
        let build = || {
            Builder::new_multi_thread()
                .worker_threads(THREADS)
                .thread_name("h5lake-store")
                .enable_io()
                .enable_time()
                .build()
        };
        std::panic::catch_unwind(build)
            .unwrap_or_else(|_| Err(std::io::Error::other("threads for requests cannot be started")))
    };
    RUNTIME.get_or_make(start).map(Runtime::handle)
}

/// Runs `work` on the runtime and waits for its result.
///
/// The caller waits on a channel of the standard library: `Runtime::block_on` needs thread-locals, which are gone when
/// libhdf5 closes files from an exit handler.
///
/// # Errors
/// If no thread can be started, or the work panicked.
#[cfg(test)]
fn wait<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> std::io::Result<T> {
    start_with_follow_up(work, std::future::ready(()))?.wait()
}

/// Starts `work` on the runtime, and after it `follow_up`. The caller can wait for the result of `work`, but not for `follow_up`.
///
/// # Errors
/// If no thread can be started.
pub(super) fn start_with_follow_up<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
    follow_up: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<Started<T>> {
    let (answer, waiting) = mpsc::sync_channel::<Answer>(1);
    let task: Task = Box::pin(async move {
        // The caller may have stopped waiting.
        let _nobody_waits = answer.send(Box::new(work.await));
        follow_up.await;
    });
    runtime()?.spawn(task);
    Ok(Started { waiting, gives: PhantomData })
}

/// All tasks have the same type, and so have all answers, so that the code for them, which is large, exists only once.
type Task = Pin<Box<dyn Future<Output = ()> + Send>>;
type Answer = Box<dyn Any + Send>;

/// Work in progress.
#[derive(Debug)]
pub(super) struct Started<T> {
    waiting: mpsc::Receiver<Answer>,
    gives: PhantomData<fn() -> T>,
}

impl<T: 'static> Started<T> {
    /// Waits for the result.
    pub(super) fn wait(self) -> std::io::Result<T> {
        let answer = self.waiting.recv().ok().and_then(|answer| answer.downcast::<T>().ok());
        answer.map(|t| *t).ok_or_else(|| std::io::Error::other("the request's task ended without an answer"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_can_be_awaited_without_thread_locals() {
        struct AtExit;
        impl Drop for AtExit {
            fn drop(&mut self) {
                assert_eq!(wait(async { 7 }).unwrap(), 7);
            }
        }
        thread_local!(static LATE: AtExit = const { AtExit });
        std::thread::spawn(|| {
            LATE.with(|_| ());
            assert_eq!(wait(async { 6 }).unwrap(), 6);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_panic_is_an_error() {
        assert!(wait(async { panic!("on purpose") }).is_err());
    }
}
