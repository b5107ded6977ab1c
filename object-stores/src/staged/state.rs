//! The state of a queue: the pending operations, their order, and their arrivals.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::content::Content;
use super::operation::{Action, Queued};
use crate::{Etag, Key};

/// The number of keys with a remembered translation of their etag.
const MAX_TRANSLATIONS: usize = 1024;

/// The etag in the store of an object that was queued before, and the operation that put it.
#[derive(Debug)]
struct Translation {
    number: u64,
    /// The time at which the operation was queued.
    time: SystemTime,
    etag: Option<Etag>,
}

/// The last failure of an operation that is tried again.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) text: String,
    pub(super) at: Instant,
    /// True if a later try may well succeed by itself.
    pub(super) may_pass: bool,
}

/// One operation of the queue.
#[derive(Debug)]
struct Entry {
    queued: Arc<Queued>,
    begun: Instant,
    has_arrived: bool,
}

#[derive(Debug, Default)]
pub(super) struct State {
    entries: VecDeque<Entry>,
    /// The number of the first entry.
    first: u64,
    /// The number of first entries that are in progress or have arrived.
    taken: usize,
    /// The number of operations in progress.
    running: usize,
    /// True if an operation is in progress that excludes all other operations.
    is_exclusive: bool,
    /// The newest queued operation of each key.
    newest: HashMap<Key, Arc<Queued>>,
    translations: HashMap<Key, Translation>,
    /// The number of bytes in files of the queue, including files that are being written.
    pub(super) bytes: u64,
    pub(super) workers: usize,
    pub(super) failure: Option<Failure>,
    /// The reason why nothing more will arrive.
    pub(super) broken: Option<String>,
    /// The time at which a caller last began to wait for arrivals.
    pub(super) asked: Option<Instant>,
    /// True if the last caller that waited timed out, and nothing has arrived since.
    pub(super) was_late: bool,
    /// The time of the last arrival.
    pub(super) progress: Option<Instant>,
    /// The longest time between an operation's queueing and its arrival.
    lag: Duration,
    /// True if the queue has ended: no operation is queued any more, and pending operations stay where they are.
    pub(super) has_ended: bool,
}

impl State {
    pub(super) fn new(waiting: Vec<Queued>) -> Self {
        let mut state =
            State { first: waiting.first().map_or(1, |queued| queued.number), ..State::default() };
        state.bytes = waiting.iter().map(Queued::length).sum();
        waiting.into_iter().for_each(|queued| state.push(Arc::new(queued)));
        state
    }

    /// Returns whether all operations with lower numbers have arrived.
    pub(super) fn has_arrived_before(&self, number: u64) -> bool {
        self.first >= number
    }

    /// Returns the longest time so far between an operation's queueing and its arrival, or until now if it is pending.
    pub(super) fn lag(&self) -> Duration {
        self.entries.front().map_or(self.lag, |oldest| self.lag.max(oldest.begun.elapsed()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether operations are pending for which a caller has waited in vain.
    pub(super) fn is_stuck(&self) -> bool {
        !self.is_empty() && (self.broken.is_some() || self.was_late)
    }

    /// Returns the number of the next operation.
    pub(super) fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Returns the newest queued operation of a key.
    pub(super) fn newest(&self, key: &Key) -> Option<&Arc<Queued>> {
        self.newest.get(key)
    }

    /// Returns whether an operation is queued for a key that begins with `prefix`.
    pub(super) fn touches(&self, prefix: &str) -> bool {
        self.newest.keys().any(|key| key.as_str().starts_with(prefix))
    }

    /// Returns the operations that have not arrived.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Queued> {
        self.entries.iter().filter(|entry| !entry.has_arrived).map(|entry| &*entry.queued)
    }

    /// Returns the contents that operations later than `number` put under a key.
    pub(super) fn later_puts<'a>(&'a self, key: &'a Key, number: u64) -> impl Iterator<Item = Content> + 'a {
        let later =
            self.entries.iter().map(|entry| &entry.queued).filter(move |queued| queued.number > number);
        later.filter_map(move |queued| match &queued.action {
            Action::Put { key: at, content, .. } if at == key => Some(*content),
            _ => None,
        })
    }

    pub(super) fn push(&mut self, queued: Arc<Queued>) {
        for key in queued.keys() {
            self.newest.insert(key.clone(), queued.clone());
        }
        self.entries.push_back(Entry { queued, begun: Instant::now(), has_arrived: false });
    }

    /// Takes the next operation that may start. Free operations run concurrently; every other operation runs
    /// alone.
    pub(super) fn take(&mut self) -> Option<Arc<Queued>> {
        let next = &self.entries.get(self.taken)?.queued;
        if self.broken.is_some() || self.is_exclusive || (self.running > 0 && !next.is_free()) {
            return None;
        }
        let next = next.clone();
        self.taken += 1;
        self.running += 1;
        self.is_exclusive = !next.is_free();
        Some(next)
    }

    /// Records that an operation is no longer in progress, and did not arrive.
    pub(super) fn give_up(&mut self) {
        self.running -= 1;
        self.is_exclusive = false;
    }

    /// Records that an operation has arrived. Returns the number up to which all operations have arrived, and the
    /// operations that leave the queue.
    pub(super) fn arrive(&mut self, queued: &Queued, etag: Option<Etag>) -> (u64, Vec<Arc<Queued>>) {
        self.give_up();
        let now = Instant::now();
        self.progress = Some(now);
        self.failure = None;
        self.was_late = false;
        let at = (queued.number - self.first) as usize;
        if let Some(entry) = self.entries.get_mut(at) {
            entry.has_arrived = true;
            self.lag = self.lag.max(now - entry.begun);
        }
        // No condition of a put names the etag of a free object, because free objects never change.
        if !queued.is_free() {
            self.translate(queued, etag);
        }
        let mut gone = Vec::new();
        while self.entries.front().is_some_and(|entry| entry.has_arrived) {
            gone.extend(self.entries.pop_front().map(|entry| entry.queued));
            self.first += 1;
            self.taken -= 1;
        }
        for queued in &gone {
            for key in queued.keys() {
                if self.newest.get(key).is_some_and(|newest| newest.number == queued.number) {
                    self.newest.remove(key);
                }
            }
        }
        (self.first - 1, gone)
    }

    fn translate(&mut self, queued: &Queued, etag: Option<Etag>) {
        if self.translations.len() >= MAX_TRANSLATIONS {
            let oldest = self.translations.iter().min_by_key(|(_, known)| known.number);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                self.translations.remove(&oldest);
            }
        }
        for key in queued.keys() {
            match &queued.action {
                Action::Put { .. } => {
                    let known = Translation { number: queued.number, time: queued.time, etag: etag.clone() };
                    self.translations.insert(key.clone(), known);
                }
                Action::Delete(_) => {
                    self.translations.remove(key);
                }
            }
        }
    }

    /// Returns the store's etag of the object that an operation put, if it is known.
    pub(super) fn translated(&self, key: &Key, number: u64) -> Option<Etag> {
        self.translations.get(key).filter(|known| known.number == number)?.etag.clone()
    }

    /// Returns the number and the time of the operation that put the object with this etag of the store.
    pub(super) fn operation_of(&self, key: &Key, etag: Option<&Etag>) -> Option<(u64, SystemTime)> {
        let known = self.translations.get(key).filter(|known| known.etag.is_some())?;
        (known.etag.as_ref() == etag).then_some((known.number, known.time))
    }
}
