//! Locks for the crates above. In debug builds they count how many locks the calling thread holds.
//!
//! Foreign code (filters, conversions, operators of iterations) may take any time and call any function: it may wait
//! for another thread that waits for one of these locks. So no lock is held while such code runs
//! ([`assert_none_held`]). The ledger, the container and the connector take all their locks from this module. The locks
//! of the stores are not counted, because no foreign code is called while one of them is held.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Instant;

#[cfg(debug_assertions)]
mod count {
    use std::cell::Cell;
    use std::marker::PhantomData;

    thread_local! {
        static HELD: Cell<usize> = const { Cell::new(0) };
    }

    /// One lock that this thread holds.
    pub(super) struct Held(PhantomData<*const ()>);

    impl Held {
        pub(super) fn new() -> Self {
            HELD.set(HELD.get() + 1);
            Self(PhantomData)
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            HELD.set(HELD.get() - 1);
        }
    }

    pub(super) fn held() -> usize {
        HELD.get()
    }
}

#[cfg(not(debug_assertions))]
mod count {
    use std::marker::PhantomData;

    /// Locks are not counted in release builds.
    pub(super) struct Held(PhantomData<*const ()>);

    impl Held {
        #[inline(always)]
        pub(super) fn new() -> Self {
            Self(PhantomData)
        }
    }

    #[inline(always)]
    pub(super) fn held() -> usize {
        0
    }
}

use count::Held;

/// Returns the number of these locks that the calling thread holds; always 0 in release builds.
pub fn held() -> usize {
    count::held()
}

/// Checks, in debug builds, that the calling thread holds no lock before it runs foreign code.
///
/// # Panics
/// In debug builds, if the thread holds a lock.
#[inline(always)]
pub fn assert_none_held(before: &str) {
    debug_assert!(held() == 0, "{} of our locks are held by a thread that calls {before}", held());
}

/// A mutual exclusion lock.
#[derive(Default)]
pub struct Mutex<T: ?Sized>(parking_lot::Mutex<T>);

/// Exclusive access to the value of a locked [`Mutex`].
pub struct MutexGuard<'a, T: ?Sized> {
    inner: parking_lot::MutexGuard<'a, T>,
    _held: Held,
}

impl<T> Mutex<T> {
    /// Returns an unlocked mutex.
    pub const fn new(value: T) -> Self {
        Self(parking_lot::Mutex::new(value))
    }

    /// Returns the protected value.
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits until the mutex is unlocked, and locks it.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { inner: self.0.lock(), _held: Held::new() }
    }

    /// Locks the mutex if it is unlocked; returns `None` otherwise.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().map(|inner| MutexGuard { inner, _held: Held::new() })
    }

    /// Returns the protected value; no other thread can have access to the mutex.
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

/// A condition variable: threads wait on it for a change of the value that a [`Mutex`] protects.
#[derive(Default)]
pub struct Condvar(parking_lot::Condvar);

impl Condvar {
    /// Returns a condition variable without waiting threads.
    pub const fn new() -> Self {
        Self(parking_lot::Condvar::new())
    }

    /// Releases the lock, waits for a notification, and takes the lock again.
    pub fn wait<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>) {
        self.0.wait(&mut guard.inner);
    }

    /// Waits as [`Condvar::wait`] does, at most until `end`. Returns whether that time was reached.
    pub fn wait_until<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>, end: Instant) -> bool {
        self.0.wait_until(&mut guard.inner, end).timed_out()
    }

    /// Notifies all waiting threads.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// A lock for many readers or one writer.
#[derive(Default)]
pub struct RwLock<T: ?Sized>(parking_lot::RwLock<T>);

/// Shared access to the value of an [`RwLock`] that is locked for reading.
pub struct RwLockReadGuard<'a, T: ?Sized> {
    inner: parking_lot::RwLockReadGuard<'a, T>,
    _held: Held,
}

/// Exclusive access to the value of an [`RwLock`] that is locked for writing.
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    inner: parking_lot::RwLockWriteGuard<'a, T>,
    _held: Held,
}

impl<T> RwLock<T> {
    /// Returns an unlocked lock.
    pub const fn new(value: T) -> Self {
        Self(parking_lot::RwLock::new(value))
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits until no writer holds the lock, and locks it for reading.
    #[inline]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        RwLockReadGuard { inner: self.0.read(), _held: Held::new() }
    }

    /// Waits until no reader or writer holds the lock, and locks it for writing.
    #[inline]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        RwLockWriteGuard { inner: self.0.write(), _held: Held::new() }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;

    #[test]
    fn locks_that_a_thread_holds_are_counted() {
        let (one, two) = (Mutex::new(1), RwLock::new(2));
        let first = one.lock();
        assert!(one.try_lock().is_none());
        let (second, third) = (two.read(), two.read());
        assert_eq!((*first, *second, *third, held()), (1, 2, 2, 3));
        std::thread::scope(|s| assert_eq!(s.spawn(held).join().unwrap(), 0));
        drop((first, second, third));
        *two.write() += 1;
        assert_eq!(held(), 0);
        assert_none_held("nothing");
    }

    #[test]
    #[should_panic(expected = "1 of our locks are held by a thread that calls a filter")]
    fn a_lock_that_is_held_is_noticed() {
        let one = Mutex::new(());
        let _held = one.lock();
        assert_none_held("a filter");
    }
}
