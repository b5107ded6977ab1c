//! Reads many runs at once. Adjacent runs share a request, and requests are sent in parallel, both up to a limit. Bytes with a destination
//! are copied there piece by piece as they arrive, and are verified at once.

use bytes::Bytes;
use object_stores::Key;

use crate::address::{Location, Run, Wanted};
use crate::buffers::{try_copy, try_zeroed};
use crate::error::{Error, Result, store_error};
use crate::side_by_side::side_by_side;
use crate::storage::Check;
use crate::store::ObjectStorage;

/// The maximum distance between two runs that share a request. A round trip costs more than the transfer of these bytes.
const MAX_GAP_BYTES: u64 = 256 << 10;
/// The maximum length of a request that joins several runs. Longer runs are divided into parts of this length, so that a long read uses
/// several connections.
const MAX_REQUEST_BYTES: u64 = 8 << 20;
/// The maximum number of parallel requests. Together with [`MAX_REQUEST_BYTES`], it limits the memory that is needed besides the
/// destinations.
const MAX_REQUESTS: usize = 12;
/// The maximum number of parallel requests if all bytes are read directly to their destination, and need no other memory. Then a store with
/// a high latency can be kept busy: at 20 ms, a gigabyte a second takes three such requests per round trip.
const MAX_DIRECT_REQUESTS: usize = 32;

/// A request, and the indices of the runs that it answers.
#[derive(Debug)]
struct Request {
    location: Location,
    start: u64,
    end: u64,
    runs: Vec<usize>,
}

/// Assigns runs to requests. The caller must reject runs with offsets that overflow.
fn plan(runs: &[(usize, Run)]) -> Vec<Request> {
    let start = |run: &Run| run.place.offset.saturating_add(run.offset);
    let mut order: Vec<_> =
        runs.iter().map(|(n, run)| (run.place.location, start(run), run.length, *n)).collect();
    order.sort_unstable();
    let mut all: Vec<Request> = Vec::new();
    for (location, start, length, n) in order {
        let end = start.saturating_add(length);
        match all.last_mut() {
            Some(r)
                if r.location == location
                    && start <= r.end.saturating_add(MAX_GAP_BYTES)
                    && end.max(r.end) - r.start <= MAX_REQUEST_BYTES =>
            {
                r.end = r.end.max(end);
                r.runs.push(n);
            }
            _ => all.push(Request { location, start, end, runs: vec![n] }),
        }
    }
    all
}

impl ObjectStorage {
    /// Converts an error of the store during a read.
    pub(super) fn unread(&self, key: &Key, e: &object_stores::Error) -> Error {
        match e.kind() {
            object_stores::ErrorKind::NotFound => self.missing(key),
            object_stores::ErrorKind::ShortRead => self.cut_short(key),
            _ => store_error(&self.target, e),
        }
    }

    fn cut_short(&self, key: &Key) -> Error {
        Error::corrupt(&self.target, format!("object {key}"), "it ends before what was stored")
    }

    fn ask(&self, r: &Request) -> Result<Bytes> {
        let key = self.names.object_key(&r.location, &self.target)?;
        if r.end - r.start > MAX_REQUEST_BYTES {
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
        let parts: Vec<_> = whole.chunks_mut(MAX_REQUEST_BYTES as usize).enumerate().collect();
        side_by_side(parts, MAX_REQUESTS, |(n, part)| {
            let at = r.start + n as u64 * MAX_REQUEST_BYTES;
            self.store.get_into(key, at, part).map(drop).map_err(|e| self.unread(key, &e))
        })?;
        Ok(whole.into())
    }

    /// See [`StorageReads::borrow_bytes`](crate::storage::StorageReads::borrow_bytes).
    pub(super) fn look(&self, run: &Run, check: &dyn Fn(&[u8]) -> Result<()>) -> Result<Option<Bytes>> {
        let Some(proven) = &self.proven else { return Ok(None) };
        if let Some(bytes) = self.in_memory(run)? {
            check(&bytes)?;
            return Ok(Some(bytes));
        }
        let key = self.names.object_key(&run.place.location, &self.target)?;
        let start = run.place.offset.saturating_add(run.offset);
        let range = start..start.saturating_add(run.length);
        let got = self.store.get(&key, Some(range.clone())).map_err(|e| self.unread(&key, &e))?;
        if got.bytes.len() as u64 != run.length {
            return Err(self.cut_short(&key));
        }
        let etag = got.meta.etag;
        if !proven.lock().has(&run.place.location, etag.as_ref(), &range) {
            check(&got.bytes)?;
            proven.lock().add(run.place.location, etag, range);
        }
        Ok(Some(got.bytes))
    }

    /// Reads several runs from a store in memory, where no request has a latency.
    fn look_at(&self, wanted: &mut [Wanted<'_>], check: &Check<'_>) -> Result<()> {
        for (n, wanted) in wanted.iter_mut().enumerate().filter(|(_, wanted)| wanted.run.length > 0) {
            let Some(bytes) = self.look(&wanted.run, &|bytes| check(n, bytes))? else { continue };
            match &mut wanted.into {
                Some(into) => into.copy_from_slice(&bytes),
                None => wanted.bytes = bytes,
            }
        }
        Ok(())
    }

    /// See [`StorageReads::read_many`](crate::storage::StorageReads::read_many).
    pub(super) fn many(&self, wanted: &mut [Wanted<'_>], check: &Check<'_>) -> Result<()> {
        if self.proven.is_some() {
            return self.look_at(wanted, check);
        }
        let mut far = Vec::with_capacity(wanted.len());
        for (n, wanted) in wanted.iter_mut().enumerate().filter(|(_, wanted)| wanted.run.length > 0) {
            match self.in_memory(&wanted.run)? {
                Some(bytes) => {
                    match &mut wanted.into {
                        Some(into) => into.copy_from_slice(&bytes),
                        None => wanted.bytes = bytes,
                    }
                    check(n, wanted.read())?;
                }
                None => far.push((n, wanted.run)),
            }
        }
        let requests = plan(&far);
        let mut slots: Vec<Option<&mut Wanted<'_>>> = wanted.iter_mut().map(Some).collect();
        let with_runs = |request: Request| {
            let runs: Vec<_> = request.runs.iter().filter_map(|n| Some((*n, slots[*n].take()?))).collect();
            (request, runs)
        };
        let (long, short): (Vec<_>, Vec<_>) =
            requests.into_iter().map(with_runs).partition(|(r, _)| r.end - r.start > MAX_REQUEST_BYTES);
        let straight = short.iter().all(|(_, runs)| runs.iter().all(|(_, wanted)| wanted.into.is_some()));
        let most = if straight { MAX_DIRECT_REQUESTS } else { MAX_REQUESTS };
        side_by_side(short, most, |(request, runs)| self.answer(&request, runs, check))?;
        // Each of these requests uses all connections.
        long.into_iter().try_for_each(|(request, runs)| self.answer(&request, runs, check))
    }

    /// Makes one request, and passes its bytes to the runs.
    fn answer(
        &self,
        request: &Request,
        mut runs: Vec<(usize, &mut Wanted<'_>)>,
        check: &Check<'_>,
    ) -> Result<()> {
        if let [(n, wanted)] = runs.as_mut_slice()
            && let Some(into) = wanted.into.as_deref_mut()
        {
            return self.fill(request, *n, into, check);
        }
        if self.store.scatters() && follow_each_other(request, &runs) {
            return self.fill_all(request, &mut runs, check);
        }
        if runs.iter().any(|(_, wanted)| wanted.into.is_some())
            && request.end - request.start <= MAX_REQUEST_BYTES
        {
            return self.scatter(request, runs, check);
        }
        let bytes = self.ask(request)?;
        for (n, wanted) in runs {
            let from = (wanted.run.place.offset + wanted.run.offset - request.start) as usize;
            let part = bytes.slice(from..from + wanted.run.length as usize);
            match &mut wanted.into {
                Some(into) => into.copy_from_slice(&part),
                None => wanted.bytes = part,
            }
            check(n, wanted.read())?;
        }
        Ok(())
    }

    /// Lets the store fill the destination of the only run of a request. The store may need no other memory for that.
    fn fill(&self, request: &Request, n: usize, into: &mut [u8], check: &Check<'_>) -> Result<()> {
        let key = self.names.object_key(&request.location, &self.target)?;
        let parts: Vec<_> = into.chunks_mut(MAX_REQUEST_BYTES as usize).enumerate().collect();
        side_by_side(parts, MAX_REQUESTS, |(part, bytes)| {
            let at = request.start + part as u64 * MAX_REQUEST_BYTES;
            self.store.get_into(&key, at, bytes).map(drop).map_err(|e| self.unread(&key, &e))
        })?;
        check(n, into)
    }

    /// Lets the store fill the destinations of contiguous runs by one request.
    fn fill_all(
        &self,
        request: &Request,
        runs: &mut [(usize, &mut Wanted<'_>)],
        check: &Check<'_>,
    ) -> Result<()> {
        let key = self.names.object_key(&request.location, &self.target)?;
        let mut parts: Vec<_> =
            runs.iter_mut().filter_map(|(_, wanted)| wanted.into.as_deref_mut()).collect();
        let filled = self.store.get_scattered(&key, request.start, &mut parts);
        filled.map_err(|e| self.unread(&key, &e))?;
        runs.iter().try_for_each(|(n, wanted)| check(*n, wanted.read()))
    }

    /// Copies bytes to their destinations while more bytes arrive.
    fn scatter(
        &self,
        request: &Request,
        runs: Vec<(usize, &mut Wanted<'_>)>,
        check: &Check<'_>,
    ) -> Result<()> {
        let key = self.names.object_key(&request.location, &self.target)?;
        let sinks: Result<Vec<_>> =
            runs.into_iter().map(|(n, wanted)| Sink::new(n, wanted, &self.target)).collect();
        let mut sinks = sinks?;
        let (mut at, mut done, mut checked) = (request.start, 0, Ok(()));
        let got = self.store.get_each(&key, request.start..request.end, &mut |piece| {
            let end = at + piece.len() as u64;
            for sink in sinks[done..].iter_mut().take_while(|sink| sink.start < end) {
                if sink.take(at, piece) && checked.is_ok() {
                    checked = check(sink.n, sink.bytes());
                }
            }
            at = end;
            done += sinks[done..].iter().take_while(|sink| sink.end <= at).count();
        });
        got.map_err(|e| self.unread(&key, &e))?;
        checked?;
        sinks.into_iter().for_each(Sink::give);
        Ok(())
    }

    /// Returns whether a run is in the writer's memory.
    pub(super) fn is_at_hand(&self, run: &Run) -> bool {
        self.at_hand(run, |_| ()).is_some()
    }

    /// Returns a copy of a run that the writer has not put yet; `None` for any other run.
    fn in_memory(&self, run: &Run) -> Result<Option<Bytes>> {
        let copied = self.at_hand(run, try_copy);
        let no_memory = || Error::no_memory(&self.target, run.length);
        copied.map(|copy| copy.map(Bytes::from).ok_or_else(no_memory)).transpose()
    }

    /// Passes a run that is in the writer's memory to `act`.
    fn at_hand<T>(&self, run: &Run, act: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let length = usize::try_from(run.length).ok()?;
        let writer = self.writer.as_ref()?.lock();
        Some(act(writer.unput(&run.place, run.offset, length)?))
    }
}

/// Returns whether the runs of a request are contiguous, and each has a destination.
fn follow_each_other(request: &Request, runs: &[(usize, &mut Wanted<'_>)]) -> bool {
    let mut at = request.start;
    runs.iter().all(|(_, wanted)| {
        let begins = wanted.run.place.offset.saturating_add(wanted.run.offset);
        let follows = begins == at && wanted.into.is_some();
        at = begins.saturating_add(wanted.run.length);
        follows
    }) && at == request.end
}

/// A run that is being filled.
struct Sink<'a, 'b> {
    n: usize,
    wanted: &'a mut Wanted<'b>,
    /// The offsets of the run in its object.
    start: u64,
    end: u64,
    /// The bytes of the run, if it has no destination.
    own: Vec<u8>,
}

impl<'a, 'b> Sink<'a, 'b> {
    fn new(n: usize, wanted: &'a mut Wanted<'b>, target: &str) -> Result<Self> {
        let start = wanted.run.place.offset.saturating_add(wanted.run.offset);
        let end = start.saturating_add(wanted.run.length);
        let length = if wanted.into.is_some() { 0 } else { wanted.run.length };
        let own = try_zeroed(length).ok_or_else(|| Error::no_memory(target, length))?;
        Ok(Self { n, wanted, start, end, own })
    }

    /// Copies the run's part of a piece that begins at offset `at`. Returns whether the run is complete.
    fn take(&mut self, at: u64, piece: &[u8]) -> bool {
        let end = at + piece.len() as u64;
        let (from, to) = (self.start.max(at), self.end.min(end));
        if from >= to {
            return false;
        }
        let location = self.wanted.into.as_deref_mut().unwrap_or(&mut self.own);
        location[(from - self.start) as usize..(to - self.start) as usize]
            .copy_from_slice(&piece[(from - at) as usize..(to - at) as usize]);
        self.end <= end
    }

    fn bytes(&self) -> &[u8] {
        self.wanted.into.as_deref().unwrap_or(&self.own)
    }

    fn give(self) {
        if self.wanted.into.is_none() {
            self.wanted.bytes = self.own.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    fn run(location: u8, offset: u64, length: u64) -> Run {
        Run { place: Address { location: Location::Pack([location; 16]), offset, length }, offset: 0, length }
    }

    fn planned(runs: &[Run]) -> Vec<(u64, u64, Vec<usize>)> {
        let numbered: Vec<_> = runs.iter().copied().enumerate().collect();
        plan(&numbered).into_iter().map(|r| (r.start, r.end, r.runs)).collect()
    }

    #[test]
    fn adjacent_runs_share_a_request() {
        let far = 100 + MAX_GAP_BYTES;
        assert_eq!(planned(&[run(1, 100, 50), run(1, 0, 100)]), [(0, 150, vec![1, 0])]);
        assert_eq!(planned(&[run(1, 0, 100), run(1, far, 1)]), [(0, far + 1, vec![0, 1])]);
        assert_eq!(planned(&[run(1, 0, 100), run(1, far + 1, 1)]).len(), 2);
        assert_eq!(planned(&[run(1, 0, 100), run(2, 100, 100)]).len(), 2, "two objects");
        assert_eq!(
            planned(&[run(1, 0, MAX_REQUEST_BYTES), run(1, MAX_REQUEST_BYTES, 1)]).len(),
            2,
            "no more than the bound"
        );
        assert_eq!(planned(&[run(1, 0, 100), run(1, 20, 10)]), [(0, 100, vec![0, 1])], "one within another");
    }
}
