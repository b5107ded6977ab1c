//! The names of a namespace's objects.

use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::library::{Functions, Raw, answered};
use crate::read::not_own;
use crate::{Bound, Pool};

/// The next name of a batch is in memory. A call that takes longer has requested a batch from the cluster.
const MIN_REQUEST_TIME: Duration = Duration::from_micros(50);

/// An open listing.
struct Names {
    functions: &'static Functions,
    raw: Raw,
}

impl Drop for Names {
    fn drop(&mut self) {
        // SAFETY: the handle is released once.
        unsafe { (self.functions.nobjects_list_close)(self.raw) }
    }
}

impl Pool {
    /// Passes the names of all objects to `take`, in the order of their hashes, until it breaks or there are no more.
    /// `from` is the hash to start at, approximately: the listing may start shortly before. `bound` is checked after
    /// each batch of names, and notified of each batch that arrived in time. The option `rados_osd_op_timeout` bounds
    /// the wait for a batch.
    ///
    /// # Errors
    /// Those of librados; `TimedOut` if the bound is reached.
    pub fn names(
        &self,
        from: Option<u32>,
        bound: &dyn Bound,
        take: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> io::Result<()> {
        if !self.cluster.is_own() {
            return Err(not_own());
        }
        let mut raw = std::ptr::null_mut();
        // SAFETY: the pool's handle is alive, `raw` can be written.
        answered(unsafe { (self.functions.nobjects_list_open)(self.raw, &mut raw) })?;
        let names = Names { functions: self.functions, raw };
        if let Some(hash) = from {
            // SAFETY: the handle is alive.
            unsafe { (self.functions.nobjects_list_seek)(names.raw, hash) };
        }
        walk(bound, || names.next(take))
    }
}

/// Performs steps until one breaks. A step that took long enough to have sent a request to the cluster has to end
/// within the bound.
fn walk(bound: &dyn Bound, mut step: impl FnMut() -> io::Result<ControlFlow<()>>) -> io::Result<()> {
    loop {
        let begun = Instant::now();
        if step()?.is_break() {
            return Ok(());
        }
        if begun.elapsed() < MIN_REQUEST_TIME {
            continue;
        }
        if Instant::now() >= bound.ends() {
            return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
        }
        bound.progressed();
    }
}

impl Names {
    /// Passes the next name to `take`; breaks if `take` does, and after the last name.
    fn next(&self, take: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<ControlFlow<()>> {
        let (mut name, mut locator, mut space) = (std::ptr::null(), std::ptr::null(), std::ptr::null());
        let mut lengths = [0_usize; 3];
        let [length, of_locator, of_space] = &mut lengths;
        // SAFETY: the handle is alive, and all outputs can be written.
        let code = unsafe {
            (self.functions.nobjects_list_next2)(
                self.raw,
                &mut name,
                &mut locator,
                &mut space,
                length,
                of_locator,
                of_space,
            )
        };
        match answered(code) {
            Err(e) if e.raw_os_error() == Some(libc::ENOENT) => return Ok(ControlFlow::Break(())),
            answer => answer?,
        };
        if name.is_null() {
            return Ok(ControlFlow::Continue(()));
        }
        // SAFETY: librados says that these bytes exist; they live until the next call.
        let name = unsafe { std::slice::from_raw_parts(name.cast::<u8>(), lengths[0]) };
        Ok(take(name))
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::thread::sleep;

    use super::*;

    /// A bound that ends after a given time, and counts the batches that arrived in time.
    struct Counted {
        ends: Instant,
        progress: Cell<usize>,
    }

    impl Bound for Counted {
        fn ends(&self) -> Instant {
            self.ends
        }

        fn progressed(&self) {
            self.progress.set(self.progress.get() + 1);
        }
    }

    fn within(time: Duration) -> Counted {
        Counted { ends: Instant::now() + time, progress: Cell::new(0) }
    }

    #[test]
    fn an_endless_listing_is_aborted() {
        let (bound, begun) = (within(Duration::from_millis(100)), Instant::now());
        let step = || {
            sleep(Duration::from_millis(5));
            Ok(ControlFlow::Continue(()))
        };
        let error = walk(&bound, step).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ETIMEDOUT));
        assert!(begun.elapsed() < Duration::from_secs(5) && bound.progress.get() <= 20);
    }

    #[test]
    fn only_batches_count_as_progress() {
        let (bound, mut n) = (within(Duration::from_secs(100)), 0);
        let step = || {
            n += 1;
            if n % 1000 == 1 {
                sleep(Duration::from_millis(1));
            }
            Ok(if n > 5000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        walk(&bound, step).unwrap();
        // A thread that waits for a processor occasionally looks like a request.
        assert!((5..2500).contains(&bound.progress.get()), "{}", bound.progress.get());
    }
}
