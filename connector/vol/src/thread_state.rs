//! State of one thread that is there until the process ends.

use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::thread::LocalKey;

/// A value of one thread that has no destructor. Values with one are gone when `atexit` handlers and static destructors
/// run, and these may still use files. What is in it when the thread ends is not dropped: it has to be at rest by then.
pub struct ThreadState<T>(RefCell<ManuallyDrop<T>>);

impl<T> ThreadState<T> {
    /// A value at rest.
    pub const fn new(rest: T) -> Self {
        Self(RefCell::new(ManuallyDrop::new(rest)))
    }
}

/// What can be done with the state of the thread that asks.
pub trait OfThisThread<T> {
    /// Puts a value in place of another.
    fn replace(&'static self, value: T) -> T;
    /// Looks at the value.
    fn with_borrow<R>(&'static self, look: impl FnOnce(&T) -> R) -> R;
    /// Changes the value.
    fn with_borrow_mut<R>(&'static self, change: impl FnOnce(&mut T) -> R) -> R;
}

impl<T> OfThisThread<T> for LocalKey<ThreadState<T>> {
    fn replace(&'static self, value: T) -> T {
        self.with(|state| ManuallyDrop::into_inner(state.0.replace(ManuallyDrop::new(value))))
    }

    fn with_borrow<R>(&'static self, look: impl FnOnce(&T) -> R) -> R {
        self.with(|state| look(&state.0.borrow()))
    }

    fn with_borrow_mut<R>(&'static self, change: impl FnOnce(&mut T) -> R) -> R {
        self.with(|state| change(&mut state.0.borrow_mut()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threads_state_outlives_destructors_of_the_thread() {
        struct Last(std::sync::mpsc::Sender<Vec<i32>>);
        impl Drop for Last {
            fn drop(&mut self) {
                let _ = self.0.send(STATE.replace(vec![2]));
            }
        }
        thread_local! {
            static STATE: ThreadState<Vec<i32>> = const { ThreadState::new(Vec::new()) };
            static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            LAST.set(Some(Last(sender)));
            // Its destructor, if it had one, would run first.
            STATE.replace(vec![1]);
        });
        thread.join().expect("the thread ends");
        assert_eq!(receiver.recv(), Ok(vec![1]));
    }
}
