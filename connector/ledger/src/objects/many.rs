//! Reading many runs at once: neighbours in one request, requests side by side, with a bound to both.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use object_stores::Key;

use crate::error::{Error, Result};
use crate::objects::{ObjectSpace, lock};
use crate::place::Room;
use crate::space::{Run, Space};

/// Runs with at most this many bytes between them come in one request: a round trip costs more than these bytes.
const GAP: u64 = 256 << 10;
/// What is joined into one request has at most this many bytes, and what is longer is cut into such parts, so that a long
/// read has several connections to itself.
const SPAN: u64 = 8 << 20;
/// Requests under way at the same time; with [`SPAN`], this bounds the memory.
const MOST: usize = 12;

/// One request, and which runs it answers.
#[derive(Debug)]
struct Request {
    room: Room,
    start: u64,
    end: u64,
    runs: Vec<usize>,
}

/// Puts runs into requests. Runs that begin or end nowhere are the caller's to refuse.
fn plan(runs: &[(usize, Run)]) -> Vec<Request> {
    let start = |run: &Run| run.place.offset.saturating_add(run.offset);
    let mut order: Vec<_> =
        runs.iter().map(|(n, run)| (run.place.room, start(run), run.length, *n)).collect();
    order.sort_unstable();
    let mut all: Vec<Request> = Vec::new();
    for (room, start, length, n) in order {
        let end = start.saturating_add(length);
        match all.last_mut() {
            Some(r)
                if r.room == room
                    && start <= r.end.saturating_add(GAP)
                    && end.max(r.end) - r.start <= SPAN =>
            {
                r.end = r.end.max(end);
                r.runs.push(n);
            }
            _ => all.push(Request { room, start, end, runs: vec![n] }),
        }
    }
    all
}

impl ObjectSpace {
    /// A store's error while reading, as ours.
    pub(super) fn unread(&self, key: &Key, e: &object_stores::Error) -> Error {
        match e.kind() {
            object_stores::ErrorKind::NotFound => {
                self.explain(Error::corrupt(&self.target, format!("object {key}"), "it is missing"))
            }
            object_stores::ErrorKind::ShortRead => self.cut_short(key),
            _ => super::store_error(&self.target, e),
        }
    }

    fn cut_short(&self, key: &Key) -> Error {
        Error::corrupt(&self.target, format!("object {key}"), "it ends before what was stored")
    }

    /// Reads one run with a request of its own.
    pub(super) fn get(&self, run: &Run) -> Result<Bytes> {
        let start = run.place.offset.saturating_add(run.offset);
        self.ask(&Request {
            room: run.place.room,
            start,
            end: start.saturating_add(run.length),
            runs: Vec::new(),
        })
    }

    fn ask(&self, r: &Request) -> Result<Bytes> {
        let key = self.names.room(&r.room, &self.target)?;
        if r.end - r.start > SPAN {
            return self.ask_in_parts(&key, r);
        }
        let got = self.store.get(&key, Some(r.start..r.end)).map_err(|e| self.unread(&key, &e))?;
        if got.bytes.len() as u64 != r.end - r.start {
            return Err(self.cut_short(&key));
        }
        Ok(got.bytes)
    }

    fn ask_in_parts(&self, key: &Key, r: &Request) -> Result<Bytes> {
        let too_long = || Error::invalid(&self.target, "a read is longer than memory");
        let length = usize::try_from(r.end - r.start).map_err(|_| too_long())?;
        let mut whole = Vec::new();
        whole.try_reserve_exact(length).map_err(|_| too_long())?;
        whole.resize(length, 0);
        let parts: Vec<_> = whole.chunks_mut(SPAN as usize).enumerate().collect();
        side_by_side(parts, |(n, part)| {
            let at = r.start + n as u64 * SPAN;
            self.store.get_into(key, at, part).map(drop).map_err(|e| self.unread(key, &e))
        })?;
        Ok(whole.into())
    }

    /// See [`Space::read_many`].
    pub(super) fn many(&self, runs: &[Run]) -> Result<Vec<Bytes>> {
        let mut out = vec![Bytes::new(); runs.len()];
        let mut wanted = Vec::with_capacity(runs.len());
        for (n, run) in runs.iter().enumerate().filter(|(_, run)| run.length > 0) {
            match self.in_memory(run) {
                Some(bytes) => out[n] = bytes,
                None => wanted.push((n, *run)),
            }
        }
        let mut answers: Vec<_> = plan(&wanted).into_iter().map(|r| (r, Bytes::new())).collect();
        let (long, short): (Vec<_>, Vec<_>) = answers.iter_mut().partition(|(r, _)| r.end - r.start > SPAN);
        side_by_side(short, |(request, bytes)| {
            *bytes = self.ask(request)?;
            Ok(())
        })?;
        // Each of these has all connections to itself.
        for (request, bytes) in long {
            *bytes = self.ask(request)?;
        }
        for (request, bytes) in &answers {
            for n in &request.runs {
                let run = &runs[*n];
                let from = (run.place.offset + run.offset - request.start) as usize;
                out[*n] = bytes.slice(from..from + run.length as usize);
            }
        }
        Ok(out)
    }

    /// What a writer has not put yet.
    fn in_memory(&self, run: &Run) -> Option<Bytes> {
        let writer = lock(self.writer.as_ref()?);
        let part = writer.as_ref()?.unput(&run.place, run.offset, usize::try_from(run.length).ok()?)?;
        Some(Bytes::copy_from_slice(part))
    }
}

/// Does `work` for every item, up to [`MOST`] at once; the first error is returned.
fn side_by_side<T: Send>(items: Vec<T>, work: impl Fn(T) -> Result<()> + Sync) -> Result<()> {
    let items: Vec<_> = items.into_iter().map(|item| Mutex::new(Some(item))).collect();
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
    let one = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if lock(&failed).is_some() {
                return;
            }
            let Some(item) = lock(item).take() else { return };
            if let Err(e) = work(item) {
                lock(&failed).get_or_insert(e);
            }
        }
    };
    std::thread::scope(|s| {
        // The caller works too; where no thread can be had, it works alone.
        for _ in 1..MOST.min(items.len()) {
            if std::thread::Builder::new().spawn_scoped(s, one).is_err() {
                break;
            }
        }
        one();
    });
    let failed = lock(&failed).take();
    failed.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Place;

    fn run(room: u8, offset: u64, length: u64) -> Run {
        Run { place: Place { room: Room::Pack([room; 16]), offset, length }, offset: 0, length }
    }

    fn planned(runs: &[Run]) -> Vec<(u64, u64, Vec<usize>)> {
        let numbered: Vec<_> = runs.iter().copied().enumerate().collect();
        plan(&numbered).into_iter().map(|r| (r.start, r.end, r.runs)).collect()
    }

    #[test]
    fn neighbours_come_together_and_strangers_apart() {
        let far = 100 + GAP;
        assert_eq!(planned(&[run(1, 100, 50), run(1, 0, 100)]), [(0, 150, vec![1, 0])]);
        assert_eq!(planned(&[run(1, 0, 100), run(1, far, 1)]), [(0, far + 1, vec![0, 1])]);
        assert_eq!(planned(&[run(1, 0, 100), run(1, far + 1, 1)]).len(), 2);
        assert_eq!(planned(&[run(1, 0, 100), run(2, 100, 100)]).len(), 2, "two objects");
        assert_eq!(planned(&[run(1, 0, SPAN), run(1, SPAN, 1)]).len(), 2, "no more than the bound");
        assert_eq!(planned(&[run(1, 0, 100), run(1, 20, 10)]), [(0, 100, vec![0, 1])], "one within another");
    }

    #[test]
    fn work_is_done_once_and_an_error_comes_out() {
        let done = AtomicUsize::new(0);
        side_by_side((0..100).collect(), |n: usize| {
            done.fetch_add(n, Ordering::Relaxed);
            Ok(())
        })
        .unwrap();
        assert_eq!(done.into_inner(), 4950);
        assert!(
            side_by_side(vec![1, 2, 3], |n| if n == 2 { Err(Error::invalid("x", "y")) } else { Ok(()) })
                .is_err()
        );
    }
}
