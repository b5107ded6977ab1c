//! Lends the application's memory as reference-counted bytes, for the duration of one call.

use std::sync::Arc;

use bytes::Bytes;
use h5lake_ledger::locks::{Condvar, Mutex};

/// Says whether all lent bytes have been returned.
#[derive(Default)]
struct Returned {
    is_back: Mutex<bool>,
    changed: Condvar,
}

/// Waits, when it is dropped, until all lent bytes have been returned.
struct Lender(Arc<Returned>);

impl Drop for Lender {
    fn drop(&mut self) {
        let mut is_back = self.0.is_back.lock();
        while !*is_back {
            self.0.changed.wait(&mut is_back);
        }
    }
}

/// The owner that all references share.
struct LentBytes {
    start: *const u8,
    length: usize,
    returned: Arc<Returned>,
}

// SAFETY: it hands out shared references to bytes, which any thread may read.
unsafe impl Send for LentBytes {}
// SAFETY: as above.
unsafe impl Sync for LentBytes {}

impl AsRef<[u8]> for LentBytes {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the slice of these bytes is borrowed by `lend`, which neither returns nor unwinds before this is
        // dropped.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

impl Drop for LentBytes {
    fn drop(&mut self) {
        *self.returned.is_back.lock() = true;
        self.returned.changed.notify_all();
    }
}

/// Runs `body` with `buffer` as bytes that can be cloned, sliced and sent to other threads. Returns when the last of
/// these references is dropped, in any thread: a reference that is kept prevents the return.
pub fn lend<T>(buffer: &[u8], body: impl FnOnce(&Bytes) -> T) -> T {
    let returned = Arc::new(Returned::default());
    let lent = LentBytes { start: buffer.as_ptr(), length: buffer.len(), returned: returned.clone() };
    // Dropped after the bytes, even during a panic.
    let _lender = Lender(returned);
    let bytes = Bytes::from_owner(lent);
    body(&bytes)
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn lent_bytes_are_the_buffer_itself() {
        let buffer = vec![7; 1000];
        let kept = lend(&buffer, |bytes| {
            let part = bytes.slice(10..20);
            assert_eq!(part.as_ptr(), buffer[10..].as_ptr());
            part.len()
        });
        assert_eq!(kept, 10);
        assert_eq!(lend(&[], |bytes| bytes.len()), 0);
    }

    /// All references are dropped before the call returns, in any thread, whether `body` returned or panicked.
    #[test]
    fn all_references_end_before_the_call_returns() {
        for panics in [false, true] {
            let is_back = Arc::new(AtomicBool::new(false));
            let notified = is_back.clone();
            let call = AssertUnwindSafe(|| {
                lend(&[1; 64], |bytes| {
                    let part = bytes.slice(3..5);
                    thread::spawn(move || {
                        thread::sleep(Duration::from_millis(50));
                        assert_eq!(&part[..], [1, 1]);
                        notified.store(true, Ordering::SeqCst);
                        drop(part);
                    });
                    assert!(!panics, "on purpose");
                });
            });
            assert_eq!(catch_unwind(call).is_err(), panics);
            assert!(is_back.load(Ordering::SeqCst));
        }
    }
}
