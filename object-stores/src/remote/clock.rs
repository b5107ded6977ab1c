//! The server's clock, according to the header `Date` of its answers (RFC 9110, section 6.6.1).
//!
//! Answers to other requests contain the time, so no additional request is needed. A server writes the date between the
//! request and its answer, in whole seconds. So when the answer arrived, the time was at least that date, and when the
//! request was sent, the time was less than a second after that date. The highest of the lower bounds is used as the
//! time. A cache may answer with an old date, which is also a lower bound, and changes nothing.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use object_store::client::HttpResponse;
use reqwest::Method;
use reqwest::header::{AGE, DATE};

use crate::monotonic;

/// The value of `ahead` while the server's time is unknown.
const UNKNOWN: i64 = i64::MIN;
/// The earliest plausible time, 2020-01-01, in seconds since 1970: h5lake did not exist before.
const EARLIEST: i64 = 1_577_836_800;
/// The latest plausible time: 2200-01-01.
const LATEST: i64 = 7_258_118_400;
/// The resolution of a date, which is the most that a date can be behind the time.
const DATE_RESOLUTION_MICROS: i64 = 1_000_000;

/// A server's clock. No lock guards it, so a forked child can read it whatever its parent's threads were doing.
#[derive(Debug)]
pub(super) struct ServerClock {
    /// The difference between the server's clock and the monotonic clock, in microseconds.
    ahead: AtomicI64,
}

impl Default for ServerClock {
    fn default() -> Self {
        Self { ahead: AtomicI64::new(UNKNOWN) }
    }
}

/// The time at which a request was sent, and whether it changes something, so that no cache may answer it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    at: Duration,
    changes: bool,
}

impl Sent {
    pub(super) fn now(method: &Method) -> Self {
        Self { at: monotonic::now(), changes: !method.is_safe() }
    }
}

impl ServerClock {
    /// Returns the time of the server's clock.
    pub(super) fn now(&self) -> Option<SystemTime> {
        let ahead = Some(self.ahead.load(Ordering::Relaxed)).filter(|ahead| *ahead != UNKNOWN)?;
        let micros = u64::try_from(ahead.checked_add(micros(monotonic::now()))?).ok()?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(micros))
    }

    /// Evaluates an answer that has just arrived.
    pub(super) fn see(&self, sent: Sent, answer: &HttpResponse) {
        let status = answer.status();
        // With these statuses an intermediary may have answered in the server's place.
        let is_servers = !status.is_server_error()
            && !status.is_redirection()
            && !matches!(status.as_u16(), 407 | 408 | 429);
        let headers = answer.headers();
        if !is_servers || headers.contains_key(AGE) {
            return;
        }
        let date = headers.get(DATE).and_then(|value| value.to_str().ok()).and_then(seconds);
        if let Some(seconds) = date {
            self.learn(seconds, sent, monotonic::now());
        }
    }

    fn learn(&self, seconds: i64, sent: Sent, came: Duration) {
        let Some(date) = seconds.checked_mul(DATE_RESOLUTION_MICROS) else { return };
        let (at_least, at_most) = (date.saturating_sub(micros(came)), date.saturating_sub(micros(sent.at)));
        let at_most = at_most.saturating_add(DATE_RESOLUTION_MICROS);
        let next = |known: i64| match known {
            UNKNOWN => Some(at_least),
            // The clock was set back, or another answer was wrong.
            _ if sent.changes && at_most < known => Some(at_least),
            _ => (at_least > known).then_some(at_least),
        };
        let _unchanged = self.ahead.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }
}

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// Parses a date in the form that all servers write, in seconds since 1970; returns `None` for an implausible date.
fn seconds(date: &str) -> Option<i64> {
    let date = chrono::DateTime::parse_from_rfc2822(date.trim()).ok()?.timestamp();
    (EARLIEST..LATEST).contains(&date).then_some(date)
}

#[cfg(test)]
mod tests {
    use object_store::client::HttpResponseBody;

    use super::*;

    const NOON: i64 = 1_795_521_600;

    fn at(seconds: f64) -> Duration {
        Duration::from_secs_f64(1000.0 + seconds)
    }

    fn learned(clock: &ServerClock, date: i64, sent: f64, changes: bool, came: f64) -> f64 {
        clock.learn(NOON + date, Sent { at: at(sent), changes }, at(came));
        (clock.ahead.load(Ordering::Relaxed) - (NOON - 1000) * DATE_RESOLUTION_MICROS) as f64 / 1e6
    }

    #[test]
    fn dates_in_whole_seconds_give_the_time() {
        let clock = ServerClock::default();
        assert_eq!(clock.now(), None);
        // The server's clock shows NOON + 0.7 at 0.
        assert_eq!(learned(&clock, 0, 0.0, true, 0.1), -0.1);
        assert_eq!(learned(&clock, 1, 0.3, false, 0.4), 0.6, "a tick that is met almost at once");
        assert_eq!(learned(&clock, 1, 1.0, true, 1.1), 0.6, "less is known of this one");
        assert_eq!(learned(&clock, 2, 1.0, true, 31.1), 0.6, "and of one that took long");
    }

    #[test]
    fn cached_answers_do_not_move_the_clock_but_a_reset_does() {
        let clock = ServerClock::default();
        assert_eq!(learned(&clock, 0, 0.0, false, 0.0), 0.0);
        assert_eq!(learned(&clock, -86_400, 1.0, false, 1.0), 0.0, "a cache's");
        assert_eq!(learned(&clock, 86_400, 2.0, false, 2.0), 86_398.0, "one that came from the future");
        assert_eq!(learned(&clock, 3, 3.0, true, 3.0), 0.0, "and what is right again");
    }

    #[test]
    fn only_the_date_of_the_server_itself_is_used() {
        let seconds_from_noon = |status: u16, headers: &[(&str, &str)]| {
            let mut answer = HttpResponse::new(HttpResponseBody::from(String::new()));
            *answer.status_mut() = status.try_into().unwrap();
            for (name, value) in headers {
                let name: reqwest::header::HeaderName = name.parse().unwrap();
                answer.headers_mut().append(name, value.parse().unwrap());
            }
            let clock = ServerClock::default();
            clock.see(Sent::now(&Method::PUT), &answer);
            let seen = clock.now()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
            Some(i64::try_from(seen.as_secs()).unwrap() - NOON)
        };
        let noon = ("date", "Tue, 24 Nov 2026 12:00:00 GMT");
        assert!(
            matches!(seconds_from_noon(200, &[noon]), Some(-1..=1)),
            "{:?}",
            seconds_from_noon(200, &[noon])
        );
        assert!(seconds_from_noon(412, &[noon]).is_some());
        for (status, headers) in [
            (200, &[][..]),
            (503, &[noon]),
            (307, &[noon]),
            (407, &[noon]),
            (200, &[noon, ("age", "0")]),
            (200, &[("date", "")]),
            (200, &[("date", "yesterday")]),
            (200, &[("date", "Thu, 01 Jan 1970 00:00:00 GMT")]),
            (200, &[("date", "Fri, 31 Dec 9999 23:59:59 GMT")]),
            (200, &[("date", "Tue, 24 Nov 99999999999999999999 12:00:00 GMT")]),
        ] {
            assert_eq!(seconds_from_noon(status, headers), None, "{status} {headers:?}");
        }
    }
}
