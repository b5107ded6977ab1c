//! State of one thread that exists until the process ends.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::thread::LocalKey;

/// A value of one thread that has no destructor. Values with a destructor are freed before `atexit` handlers and
/// static destructors run, and these may still use files. The last value of a thread is not dropped: it must be the
/// initial one again when the thread ends.
pub struct ThreadState<T>(RefCell<ManuallyDrop<T>>);

impl<T> ThreadState<T> {
    /// Makes the state with its initial value.
    pub const fn new(initial: T) -> Self {
        Self(RefCell::new(ManuallyDrop::new(initial)))
    }
}

/// A value of the current thread, which can be replaced for a while.
pub trait ThreadValue<T>: Sized + 'static {
    /// Replaces the value, and returns the previous one.
    fn put(&'static self, value: T) -> T;

    /// Replaces the value until the guard is dropped, which restores the previous one.
    fn scoped(&'static self, value: T) -> Scoped<Self, T> {
        Scoped { place: self, outer: Some(self.put(value)) }
    }
}

impl<T: 'static> ThreadValue<T> for LocalKey<ThreadState<T>> {
    fn put(&'static self, value: T) -> T {
        self.with(|state| ManuallyDrop::into_inner(state.0.replace(ManuallyDrop::new(value))))
    }
}

impl<T: 'static> ThreadValue<T> for LocalKey<Cell<T>> {
    fn put(&'static self, value: T) -> T {
        self.replace(value)
    }
}

/// Restores a thread's value when it is dropped.
#[must_use]
pub struct Scoped<P: ThreadValue<T>, T> {
    place: &'static P,
    outer: Option<T>,
}

impl<P: ThreadValue<T>, T> Scoped<P, T> {
    /// Restores the previous value, and returns the last value before that.
    pub fn end(mut self) -> Option<T> {
        self.outer.take().map(|outer| self.place.put(outer))
    }
}

impl<P: ThreadValue<T>, T> Drop for Scoped<P, T> {
    fn drop(&mut self) {
        if let Some(outer) = self.outer.take() {
            self.place.put(outer);
        }
    }
}

/// Access to the state of the current thread.
pub trait OfThisThread<T> {
    /// Reads the value.
    fn with_borrow<R>(&'static self, look: impl FnOnce(&T) -> R) -> R;
    /// Changes the value.
    fn with_borrow_mut<R>(&'static self, change: impl FnOnce(&mut T) -> R) -> R;
}

impl<T> OfThisThread<T> for LocalKey<ThreadState<T>> {
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
                let _ = self.0.send(STATE.put(vec![2]));
            }
        }
        thread_local! {
            static STATE: ThreadState<Vec<i32>> = const { ThreadState::new(Vec::new()) };
            static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            LAST.set(Some(Last(sender)));
            // A destructor of the value, if it had one, would run first.
            STATE.put(vec![1]);
        });
        thread.join().expect("the thread ends");
        assert_eq!(receiver.recv(), Ok(vec![1]));
    }

    #[test]
    fn a_scoped_value_gives_way_to_the_one_before_it() {
        thread_local! {
            static DEPTH: Cell<u32> = const { Cell::new(0) };
        }
        let outer = DEPTH.scoped(1);
        let inner = DEPTH.scoped(2);
        DEPTH.set(3);
        assert_eq!(inner.end(), Some(3));
        assert_eq!(DEPTH.get(), 1);
        let unwound = std::panic::catch_unwind(|| {
            let _scoped = DEPTH.scoped(7);
            panic!("on purpose");
        });
        assert!(unwound.is_err() && DEPTH.get() == 1);
        drop(outer);
        assert_eq!(DEPTH.get(), 0);
    }
}
