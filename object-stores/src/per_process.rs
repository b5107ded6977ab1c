//! Values that belong to one process, such as a runtime or a connection.
//!
//! A forked child has none of its parent's threads. It makes a value of its own, and leaks the inherited value instead
//! of dropping it, because dropping could wait for a thread that does not exist in the child.

use std::fmt;
use std::sync::OnceLock;

/// A value that is made once in each process that needs it.
///
/// Reading takes no lock, so a child that was forked while another thread was reading does not deadlock.
pub(crate) struct PerProcess<T>(OnceLock<Box<Made<T>>>);

struct Made<T> {
    process: u32,
    value: Option<T>,
    /// The value of a child forked from `process`.
    next: PerProcess<T>,
}

impl<T> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        PerProcess(OnceLock::new())
    }

    /// Returns the value of this process. If it does not exist yet, makes it with `make`; if threads race, one value is
    /// kept.
    pub(crate) fn get_or_make<E>(&self, make: impl Fn() -> Result<T, E>) -> Result<&T, E> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_created_once() {
        let made = PerProcess::new();
        let first = *made.get_or_make(|| Ok::<_, ()>(1)).unwrap();
        assert_eq!((first, made.get_or_make(|| Ok::<_, ()>(2)).unwrap()), (1, &1));
        assert_eq!(PerProcess::<u8>::new().get_or_make(|| Err("no")), Err("no"));
    }
}
