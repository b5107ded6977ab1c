//! The threads that requests run on, and how a caller waits for them.
//!
//! The runtime starts with the first request and is never stopped: at exit its threads end with the process. A forked
//! child has none of its parent's threads, so what belongs to a runtime is kept per process ([`PerProcess`]), and a
//! child leaks what it inherited instead of dropping it, because dropping could wait for a thread that is not there.

use std::fmt;
use std::future::Future;
use std::sync::OnceLock;
use std::sync::mpsc;

use tokio::runtime::{Builder, Handle, Runtime};

/// Threads that move bytes and sign; requests are many to a thread.
const THREADS: usize = 2;

/// A value made once in each process that asks for it.
///
/// Reading takes no lock, so a child that was forked while another thread was reading is not stuck.
pub(super) struct PerProcess<T>(OnceLock<Box<Made<T>>>);

struct Made<T> {
    process: u32,
    value: Option<T>,
    /// The value of a child forked from `process`.
    next: PerProcess<T>,
}

impl<T> PerProcess<T> {
    pub(super) const fn new() -> Self {
        PerProcess(OnceLock::new())
    }

    /// The value of this process, made by `make` if there is none. When threads race, one value is kept.
    pub(super) fn get_or_make<E>(&self, make: impl Fn() -> Result<T, E>) -> Result<&T, E> {
        let process = std::process::id();
        let mut at = self;
        loop {
            if at.0.get().is_none() {
                let made = Made { process, value: Some(make()?), next: PerProcess::new() };
                let _a_thread_that_was_quicker_wins = at.0.set(Box::new(made));
            }
            if let Some(made) = at.0.get() {
                match &made.value {
                    Some(value) if made.process == process => return Ok(value),
                    _ => at = &made.next,
                }
            }
        }
    }
}

impl<T> Drop for Made<T> {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            std::mem::forget(self.value.take());
        }
    }
}

impl<T> fmt::Debug for PerProcess<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PerProcess")
    }
}

static RUNTIME: PerProcess<Runtime> = PerProcess::new();

fn runtime() -> std::io::Result<&'static Handle> {
    let start = || {
        // The runtime panics where a thread cannot be started. Whether one can be is found out before.
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

/// Runs `work` on the runtime and waits for what it gives.
///
/// The caller waits on a channel of the standard library: `Runtime::block_on` needs thread-locals, which are gone when
/// libhdf5 closes files from an exit handler.
///
/// # Errors
/// If no thread can be started, or the work panicked.
#[cfg(test)]
fn wait<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> std::io::Result<T> {
    start_and_go_on(work, std::future::ready(()))?.wait()
}

/// Starts `work` on the runtime, whose answer can be waited for, and after it `rest`, which nobody waits for.
///
/// # Errors
/// If no thread can be started.
pub(super) fn start_and_go_on<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
    rest: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<Started<T>> {
    let (answer, waiting) = mpsc::sync_channel(1);
    runtime()?.spawn(async move {
        // Whoever asked may have given up.
        let _nobody_waits = answer.send(work.await);
        rest.await;
    });
    Ok(Started(waiting))
}

/// Work under way.
#[derive(Debug)]
pub(super) struct Started<T>(mpsc::Receiver<T>);

impl<T> Started<T> {
    /// Waits for it.
    pub(super) fn wait(self) -> std::io::Result<T> {
        self.0.recv().map_err(|_| std::io::Error::other("the request's task ended without an answer"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_waited_for_also_without_thread_locals() {
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

    #[test]
    fn a_value_is_made_once() {
        let made = PerProcess::new();
        let first = *made.get_or_make(|| Ok::<_, ()>(1)).unwrap();
        assert_eq!((first, made.get_or_make(|| Ok::<_, ()>(2)).unwrap()), (1, &1));
        assert_eq!(PerProcess::<u8>::new().get_or_make(|| Err("no")), Err("no"));
    }
}
