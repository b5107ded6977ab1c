//! The cluster's clock.
//!
//! RADOS stores with each object the modification time that its writer sends, and none of its answers contains the
//! server's time. So a process asks a server for its clock before its first write, and sends that time from then on. It
//! calls the method `get_current_time` of the object class `otp`, which each server has, because this method changes
//! nothing. A client without permission to call object classes has only its own clock.
//!
//! Leases and sweeps compare these times, so no write may happen to use another clock. Until a server has answered,
//! each writer asks, or waits for the thread that asks. If no answer arrives, the write fails.

use std::io;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::client::{Namespace, kind_of, object_name};
use crate::{ErrorKind, monotonic};

/// The value of `ahead` while the cluster's time is unknown.
const UNKNOWN: i64 = i64::MIN;
/// The earliest time that a correct server clock can show: 2020-01-01, in seconds since 1970.
const EARLIEST: u32 = 1_577_836_800;
/// The time for which a server's answer is used, in seconds.
const MAX_AGE: u64 = 600;
/// The time after which the clock is requested again if the last request returned no time, in seconds.
const RETRY_AGE: u64 = 10;
/// The interval at which a thread checks whether another thread has received the answer. A condition variable would
/// need a lock that could be held in a fork.
const PAUSE: Duration = Duration::from_millis(1);
/// The object that the request for the time is sent to. Its name is not a valid key.
const NAME: &str = "//clock";

/// The cluster's clock, according to the last answer of a server.
#[derive(Debug)]
pub(super) struct StoreClock {
    /// The difference between the cluster's clock and the monotonic clock, in microseconds.
    ahead: AtomicI64,
    /// The time at which the next request is due, in seconds of the monotonic clock; 0 for now.
    due: AtomicU64,
    /// The process that has a thread asking; 0 for none.
    asker: AtomicU32,
}

/// The right to ask, which a single thread of a process has. It ends when this is dropped.
struct Turn<'a>(&'a AtomicU32);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

impl Default for StoreClock {
    fn default() -> Self {
        StoreClock { ahead: AtomicI64::new(UNKNOWN), due: AtomicU64::new(0), asker: AtomicU32::new(0) }
    }
}

impl StoreClock {
    /// Returns the time of the cluster's clock.
    pub(super) fn now(&self) -> Option<SystemTime> {
        let ahead = Some(self.ahead.load(Ordering::Relaxed)).filter(|ahead| *ahead != UNKNOWN)?;
        let micros = u64::try_from(ahead.checked_add(micros(monotonic::now()))?).ok()?;
        UNIX_EPOCH.checked_add(Duration::from_micros(micros))
    }

    /// Returns the time of the cluster's clock in whole seconds since 1970.
    pub(super) fn seconds(&self) -> Option<i64> {
        let time = self.now()?.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(time.as_secs()).ok()
    }

    fn is_due(&self) -> bool {
        monotonic::now().as_secs() >= self.due.load(Ordering::Acquire)
    }

    fn ask_again_after(&self, seconds: u64) {
        self.due.store(monotonic::now().as_secs().saturating_add(seconds), Ordering::Release);
    }

    /// Takes the right to ask, unless another thread of this process has it. A right that a fork copied is the parent's
    /// and does not count.
    fn take_turn(&self) -> Option<Turn<'_>> {
        let own = std::process::id();
        let take = |asker: u32| (asker != own).then_some(own);
        let taken = self.asker.fetch_update(Ordering::Acquire, Ordering::Relaxed, take);
        taken.is_ok().then(|| Turn(&self.asker))
    }

    /// Requests the time with `ask` if that is due. While the time is unknown, waits until `ends` for the thread that
    /// asks.
    ///
    /// # Errors
    /// While the time is unknown: the error of `ask` if no server answered, and `ETIMEDOUT` if the wait was in vain. If
    /// the server refuses, the clock stays unknown without an error.
    fn refresh(
        &self,
        ends: &dyn Fn() -> Instant,
        ask: impl FnOnce() -> io::Result<Duration>,
    ) -> io::Result<()> {
        while self.is_due() {
            if let Some(_turn) = self.take_turn() {
                // Another thread may have finished its turn just before.
                return if self.is_due() { self.settle(ask()) } else { Ok(()) };
            }
            if self.now().is_some() {
                return Ok(());
            }
            if Instant::now() >= ends() {
                return Err(io::Error::from_raw_os_error(libc::ETIMEDOUT));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Records the outcome of a request.
    fn settle(&self, answer: io::Result<Duration>) -> io::Result<()> {
        match answer {
            Ok(time) => {
                self.learn(time);
                self.ask_again_after(MAX_AGE);
            }
            // The next writer asks again at once.
            Err(e) if self.now().is_none() && is_no_answer(&e) => return Err(e),
            Err(_) => self.ask_again_after(RETRY_AGE),
        }
        Ok(())
    }

    pub(super) fn learn(&self, time: Duration) {
        let ahead = micros(time).saturating_sub(micros(monotonic::now()));
        self.ahead.store(ahead, Ordering::Relaxed);
    }
}

/// Returns whether no server has answered. Any other error is the answer of a server, which would say the same again.
fn is_no_answer(error: &io::Error) -> bool {
    matches!(kind_of(error), ErrorKind::Timeout | ErrorKind::Unavailable)
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

impl Namespace {
    /// Makes sure that the servers' clock is known. The caller is about to write.
    ///
    /// # Errors
    /// Those of librados if no server answers and the time is unknown. Nothing may be written then, because its time
    /// would be wrong.
    pub(super) fn ask_for_time(&self) -> io::Result<()> {
        if !self.clock.is_due() {
            return Ok(());
        }
        let budget = self.budget();
        self.clock.refresh(&|| budget.ends(), || self.requested_time())
    }

    /// Requests the time of a server. Creates the object that the request needs if it is missing.
    fn requested_time(&self) -> io::Result<Duration> {
        let answer = self.server_time().or_else(|e| match e.raw_os_error() {
            Some(libc::ENOENT) => {
                self.write(NAME, 0, |operation| operation.create(false))?;
                self.server_time()
            }
            _ => Err(e),
        });
        answer.inspect_err(
            |e| tracing::debug!(store = self.name, error = %e, "the cluster's clock is not known"),
        )
    }

    fn server_time(&self) -> io::Result<Duration> {
        let name = object_name(NAME)?;
        // The method's argument: version 1 of an empty structure, readable by version 1.
        let input = [1, 1, 0, 0, 0, 0];
        let ask = |output: &Vec<u8>| output.len();
        let answer =
            self.ask(|pool, bound| pool.call(&name, (c"otp", c"get_current_time"), &input, 64, bound), ask)?;
        time_in(&answer)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the server's time is not understood"))
    }
}

/// Decodes the time in an answer: the version, the least version that can read it, the length; then seconds and
/// nanoseconds, little-endian.
fn time_in(answer: &[u8]) -> Option<Duration> {
    let number = |at: usize| Some(u32::from_le_bytes(answer.get(at..at + 4)?.try_into().ok()?));
    let (readable_by, length) = (*answer.get(1)?, number(2)?);
    let (seconds, nanoseconds) = (number(6)?, number(10)?);
    let is_right = readable_by == 1 && length >= 8 && seconds >= EARLIEST && nanoseconds < 1_000_000_000;
    is_right.then(|| Duration::new(seconds.into(), nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_contains_a_time_or_is_refused() {
        let answer = |readable_by: u8, length: u32, seconds: u32, nanoseconds: u32| {
            let mut bytes = vec![1, readable_by];
            [length, seconds, nanoseconds].iter().for_each(|n| bytes.extend(n.to_le_bytes()));
            bytes
        };
        let good = answer(1, 8, 1_795_521_600, 5);
        assert_eq!(time_in(&good), Some(Duration::new(1_795_521_600, 5)));
        for bad in [
            answer(2, 8, 1_795_521_600, 5),
            answer(1, 7, 1_795_521_600, 5),
            answer(1, 8, 7, 5),
            answer(1, 8, 1_795_521_600, u32::MAX),
        ] {
            assert_eq!(time_in(&bad), None, "{bad:?}");
        }
        (0..good.len()).for_each(|end| assert_eq!(time_in(&good[..end]), None));
    }

    const NOW: Duration = Duration::from_secs(2_000_000_000);

    fn number(number: i32) -> io::Error {
        io::Error::from_raw_os_error(number)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn the_clock_advances_and_is_refreshed_periodically() {
        let clock = StoreClock::default();
        assert_eq!((clock.now(), clock.seconds()), (None, None));
        clock.refresh(&soon, || Ok(NOW)).unwrap();
        clock.refresh(&soon, || panic!("the time was requested just now")).unwrap();
        let shown = clock.now().unwrap().duration_since(UNIX_EPOCH).unwrap();
        assert!(shown >= NOW && shown < NOW + Duration::from_secs(100));
        assert!(clock.now().unwrap() >= UNIX_EPOCH + shown);
    }

    #[test]
    fn writers_wait_for_the_thread_that_asks_while_nothing_is_known() {
        let (clock, asked) = (StoreClock::default(), AtomicU32::new(0));
        let write = || {
            let ask = || {
                asked.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(100));
                Ok(NOW)
            };
            clock.refresh(&soon, ask).unwrap();
            clock.seconds()
        };
        let seen: Vec<_> = std::thread::scope(|scope| {
            let writers = [(); 8].map(|()| scope.spawn(write));
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        assert!(seen.iter().all(Option::is_some), "{seen:?}");
        assert_eq!(asked.into_inner(), 1);
    }

    #[test]
    fn a_wait_for_the_thread_that_asks_has_an_end() {
        let clock = StoreClock::default();
        let _asks = clock.take_turn().unwrap();
        let ends = Instant::now() + Duration::from_millis(20);
        let error = clock.refresh(&|| ends, || Ok(NOW)).unwrap_err();
        assert_eq!((error.raw_os_error(), clock.seconds()), (Some(libc::ETIMEDOUT), None));
        // A thread that knows the time does not wait.
        clock.learn(NOW);
        clock.refresh(&|| ends, || panic!("another thread asks")).unwrap();
    }

    #[test]
    fn without_an_answer_the_write_is_an_error_and_the_next_one_asks_again() {
        let clock = StoreClock::default();
        for code in [libc::ETIMEDOUT, libc::ENOTCONN, libc::ESHUTDOWN] {
            let error = clock.refresh(&soon, || Err(number(code))).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(code));
        }
        clock.refresh(&soon, || Ok(NOW)).unwrap();
        assert!(clock.seconds().is_some());
        // A known time stays valid for a while.
        clock.due.store(0, Ordering::Release);
        clock.refresh(&soon, || Err(number(libc::ETIMEDOUT))).unwrap();
        assert!(clock.seconds().is_some() && !clock.is_due());
    }

    #[test]
    fn a_refusal_is_no_error_and_is_retried_soon() {
        for refusal in [libc::EPERM, libc::EACCES, libc::EOPNOTSUPP, libc::EIO] {
            let clock = StoreClock::default();
            clock.refresh(&soon, || Err(number(refusal))).unwrap();
            clock.refresh(&soon, || panic!("it has just refused")).unwrap();
            let due = clock.due.load(Ordering::Acquire);
            assert_eq!(clock.seconds(), None);
            assert!(due <= monotonic::now().as_secs() + RETRY_AGE, "{refusal}");
        }
    }

    #[test]
    fn a_forked_child_asks_although_a_thread_of_its_parent_does() {
        let clock = StoreClock::default();
        clock.asker.store(std::process::id().wrapping_add(1), Ordering::Release);
        clock.refresh(&soon, || Ok(NOW)).unwrap();
        assert!(clock.seconds().is_some());
    }
}
