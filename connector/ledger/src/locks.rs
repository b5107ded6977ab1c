//! Locks of the crates above, which count in debug builds how many the calling thread holds.
//!
//! Code that is not ours (filters, conversions, operators of iterations) may take any time and call anything: it may wait for
//! another thread that waits for a lock of ours. So none is held while such code runs ([`assert_none_held`]). The ledger, the
//! container and the connector take their locks from here alone. The stores' own locks are not counted: nobody is called
//! while one is held.

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

/// How many of these locks the calling thread holds; always 0 in release builds.
pub fn held() -> usize {
    count::held()
}

/// Checks, in debug builds, that the calling thread holds no lock while it runs code that is not ours.
///
/// # Panics
/// In debug builds, if it holds one.
#[inline(always)]
pub fn assert_none_held(before: &str) {
    debug_assert!(held() == 0, "{} of our locks are held by a thread that calls {before}", held());
}

/// A lock for one at a time.
#[derive(Default)]
pub struct Mutex<T: ?Sized>(parking_lot::Mutex<T>);

/// What a [`Mutex`] protects, while it is locked.
pub struct MutexGuard<'a, T: ?Sized> {
    inner: parking_lot::MutexGuard<'a, T>,
    _held: Held,
}

impl<T> Mutex<T> {
    /// A lock that is free.
    pub const fn new(value: T) -> Self {
        Self(parking_lot::Mutex::new(value))
    }

    /// What it protects.
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits until it is free, and locks it.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard { inner: self.0.lock(), _held: Held::new() }
    }

    /// Locks it, if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().map(|inner| MutexGuard { inner, _held: Held::new() })
    }

    /// What it protects, of a lock that nobody else has.
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

/// Where threads wait for what a [`Mutex`] protects to change.
#[derive(Default)]
pub struct Condvar(parking_lot::Condvar);

impl Condvar {
    /// One that nobody waits at.
    pub const fn new() -> Self {
        Self(parking_lot::Condvar::new())
    }

    /// Lets go of the lock until the change is told, and takes it again.
    pub fn wait<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>) {
        self.0.wait(&mut guard.inner);
    }

    /// As [`Condvar::wait`], until a time. Answers whether that time was reached.
    pub fn wait_until<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>, end: Instant) -> bool {
        self.0.wait_until(&mut guard.inner, end).timed_out()
    }

    /// Tells all who wait that it has changed.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// A lock for many who look, or one who changes.
#[derive(Default)]
pub struct RwLock<T: ?Sized>(parking_lot::RwLock<T>);

/// What a [`RwLock`] protects, to be looked at.
pub struct RwLockReadGuard<'a, T: ?Sized> {
    inner: parking_lot::RwLockReadGuard<'a, T>,
    _held: Held,
}

/// What a [`RwLock`] protects, to be changed.
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    inner: parking_lot::RwLockWriteGuard<'a, T>,
    _held: Held,
}

impl<T> RwLock<T> {
    /// A lock that is free.
    pub const fn new(value: T) -> Self {
        Self(parking_lot::RwLock::new(value))
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits until nobody changes what it protects, and keeps it so.
    #[inline]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        RwLockReadGuard { inner: self.0.read(), _held: Held::new() }
    }

    /// Waits until nobody looks or changes, and keeps it so.
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
