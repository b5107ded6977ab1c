//! The cluster's clock.
//!
//! RADOS gives an object the time that its writer says, and no answer of it tells a time. So a process asks a server for its
//! clock before its first write, and says that time from then on. What it asks is the object class `otp`, which each server
//! has, because its method `get_current_time` changes nothing. A client that may not call classes has its own clock alone.

use std::io;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::client::{Namespace, object_name};
use crate::monotonic;

/// Nothing is known yet.
const UNKNOWN: i64 = i64::MIN;
/// No clock of a server that is right shows an earlier time: 2020-01-01, in seconds since 1970.
const EARLIEST: u32 = 1_577_836_800;
/// So long what a server said is believed, in seconds.
const MAX_AGE: u64 = 600;
/// The object whose server is asked. Its name is no key.
const NAME: &str = "//clock";

/// A cluster's clock, as it was told.
#[derive(Debug)]
pub(super) struct StoreClock {
    /// What the cluster's clock shows more than the monotonic one, in microseconds.
    ahead: AtomicI64,
    /// When it was asked for last, in seconds of the monotonic clock; 0 for never.
    asked: AtomicU64,
}

impl Default for StoreClock {
    fn default() -> Self {
        StoreClock { ahead: AtomicI64::new(UNKNOWN), asked: AtomicU64::new(0) }
    }
}

impl StoreClock {
    /// What the clock shows.
    pub(super) fn now(&self) -> Option<SystemTime> {
        let ahead = Some(self.ahead.load(Ordering::Relaxed)).filter(|ahead| *ahead != UNKNOWN)?;
        let micros = u64::try_from(ahead.checked_add(micros(monotonic::now()))?).ok()?;
        UNIX_EPOCH.checked_add(Duration::from_micros(micros))
    }

    /// The same in whole seconds since 1970.
    pub(super) fn seconds(&self) -> Option<i64> {
        let time = self.now()?.duration_since(UNIX_EPOCH).ok()?;
        i64::try_from(time.as_secs()).ok()
    }

    /// Whether it has to be asked for; if so, nobody else is told so for a while.
    fn is_due(&self) -> bool {
        let now = monotonic::now().as_secs().max(1);
        let due = |asked: u64| (asked == 0 || now.saturating_sub(asked) >= MAX_AGE).then_some(now);
        self.asked.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_ok()
    }

    pub(super) fn learn(&self, told: Duration) {
        let ahead = micros(told).saturating_sub(micros(monotonic::now()));
        self.ahead.store(ahead, Ordering::Relaxed);
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

impl Namespace {
    /// Asks a server for its clock, if that was not done for a while. Who calls this is about to write.
    pub(super) fn ask_for_time(&self) {
        if !self.clock.is_due() {
            return;
        }
        let told = self.server_time().or_else(|e| match e.raw_os_error() {
            Some(libc::ENOENT) => {
                self.write(NAME, 0, |operation| operation.create(false))?;
                self.server_time()
            }
            _ => Err(e),
        });
        match told {
            Ok(time) => self.clock.learn(time),
            Err(e) => tracing::debug!(store = self.name, error = %e, "the cluster's clock is not known"),
        }
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

/// The time in an answer: version, readable by, length; seconds and nanoseconds, with the lowest byte first.
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
    fn an_answer_tells_a_time_or_nothing() {
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

    #[test]
    fn the_clock_goes_on_and_is_asked_for_once_in_a_while() {
        let clock = StoreClock::default();
        assert_eq!((clock.now(), clock.seconds()), (None, None));
        assert!(clock.is_due());
        assert!(!clock.is_due());
        clock.learn(Duration::from_secs(2_000_000_000));
        let shown = clock.now().unwrap().duration_since(UNIX_EPOCH).unwrap();
        assert!(shown >= Duration::from_secs(2_000_000_000) && shown < Duration::from_secs(2_000_000_100));
        assert!(clock.now().unwrap() >= UNIX_EPOCH + shown);
    }
}
