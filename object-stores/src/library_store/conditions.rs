//! Probes whether a library keeps the conditions that it promises.
//!
//! A commit relies on them, and a library that checks a condition and then writes without a lock would lose another
//! writer's commit without an error. So promised conditions are probed before the first conditional put of a process:
//! [`ROUNDS`] races of [`RACERS`] creates, an update from a version that was replaced, and as many races of updates. A
//! faulty library may pass by luck, but its promise binds it anyway. The result is remembered while the process runs.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::ScopedJoinHandle;

use h5lake_store_abi::{Library, Mode, Write};
use parking_lot::Mutex;

use super::LibraryStore;
use super::payload::Pieces;
use crate::{Condition, Error, ErrorKind, Etag, Key, ObjectStore, Operation, PutResult, Result};

/// The number of writes that race for one object.
const RACERS: usize = 4;
/// The number of races of each kind.
const ROUNDS: usize = 3;
/// The number of stores that are remembered; the oldest entry is evicted first.
const MAX_REMEMBERED: usize = 64;

const SEVERAL: &str = "the store library promises it, and lets several racing writes win";
const NONE: &str = "the store library promises it, and refuses every write with it";
const IGNORED: &str = "the store library promises it, and replaces a version that is gone";

/// The result of the probe of one store.
#[derive(Debug, Default)]
pub(super) struct Conditions(OnceLock<Verdicts>);

/// The reason why each condition is not used, if it is not.
#[derive(Clone, Copy, Debug)]
struct Verdicts {
    create: Option<&'static str>,
    update: Option<&'static str>,
}

type Known = ((usize, String), Arc<Conditions>);

static REMEMBERED: Mutex<Vec<Known>> = Mutex::new(Vec::new());

impl Conditions {
    /// Returns what the process knows of a library's store.
    pub(super) fn remembered(library: &'static Library, name: &str) -> Arc<Conditions> {
        let place = (std::ptr::from_ref(library) as usize, name.to_owned());
        let mut remembered = REMEMBERED.lock();
        if let Some((_, known)) = remembered.iter().find(|(known, _)| *known == place) {
            return known.clone();
        }
        if remembered.len() == MAX_REMEMBERED {
            remembered.remove(0);
        }
        let new = Arc::<Conditions>::default();
        remembered.push((place, new.clone()));
        new
    }

    /// Returns the reason why a promised condition is not used. Threads that ask at the same time may each run the
    /// probe; none waits for another.
    pub(super) fn refused(&self, condition: Condition, store: &LibraryStore) -> Result<Option<&'static str>> {
        let verdicts = match self.0.get() {
            Some(known) => *known,
            None => {
                let found = Probe::new(store)?.run()?;
                *self.0.get_or_init(|| found)
            }
        };
        Ok(match condition {
            Condition::Create => verdicts.create,
            Condition::Update => verdicts.update,
        })
    }
}

/// A probe of conditions with objects of its own.
struct Probe<'a> {
    store: &'a LibraryStore,
    keys: Vec<Key>,
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        for key in &self.keys {
            // Objects that are not deleted have a few bytes each, under a name that explains them.
            let _probe_has_reported = self.store.delete(key);
        }
    }
}

impl<'a> Probe<'a> {
    fn new(store: &'a LibraryStore) -> Result<Self> {
        let name = format!(".h5lake-probe-{:016x}", RandomState::new().hash_one(std::process::id()));
        let key = |n| match &store.prefix {
            Some(prefix) => prefix.join(format!("{name}-{n}")),
            None => Key::new(format!("{name}-{n}")),
        };
        Ok(Probe { store, keys: (0..ROUNDS).map(key).collect::<Result<_>>()? })
    }

    fn run(&self) -> Result<Verdicts> {
        let create = match self.store.promises(Condition::Create) {
            true => self.creates()?,
            false => None,
        };
        let update = match self.store.promises(Condition::Update) {
            true => self.updates()?,
            false => None,
        };
        Ok(Verdicts { create, update })
    }

    fn creates(&self) -> Result<Option<&'static str>> {
        for key in &self.keys {
            if let Some(why) = verdict(self.race(key, Mode::Create)?, ErrorKind::AlreadyExists)? {
                return Ok(Some(why));
            }
        }
        Ok(None)
    }

    fn updates(&self) -> Result<Option<&'static str>> {
        for key in &self.keys {
            let gone = etag(self.write(key, Mode::Overwrite, "gone")?)?;
            let there = etag(self.write(key, Mode::Overwrite, "there")?)?;
            match self.write(key, Mode::Update(gone.as_str()), "wrong") {
                Ok(_) => return Ok(Some(IGNORED)),
                Err(e) if e.kind() == ErrorKind::PreconditionFailed => (),
                Err(e) => return Err(e),
            }
            let race = self.race(key, Mode::Update(there.as_str()))?;
            if let Some(why) = verdict(race, ErrorKind::PreconditionFailed)? {
                return Ok(Some(why));
            }
        }
        Ok(None)
    }

    fn write(&self, key: &Key, mode: Mode<'_>, text: &str) -> Result<PutResult> {
        let pieces = [text.to_owned().into()];
        let write = Write { key: key.as_str(), length: text.len() as u64, mode };
        let written = self.store.inner.write(Operation::Put, &write, &mut Pieces::new(&pieces));
        written.map_err(self.store.at(key))
    }

    /// Writes one object from several threads at the same moment. Each thread writes other bytes.
    fn race(&self, key: &Key, mode: Mode<'_>) -> Result<Vec<Result<PutResult>>> {
        let begun = AtomicBool::new(false);
        let racer = |n: usize| {
            while !begun.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            self.write(key, mode, &format!("racer {n} of a probe"))
        };
        let racer = &racer;
        std::thread::scope(|scope| {
            let thread = |n| std::thread::Builder::new().spawn_scoped(scope, move || racer(n));
            let threads: Vec<_> = (0..RACERS).map(thread).collect();
            begun.store(true, Ordering::Release);
            let ended = |thread: io::Result<ScopedJoinHandle<'_, _>>| match thread {
                Ok(thread) => thread.join().map_err(|_| no_answer()),
                Err(e) => Err(Error::io(Operation::Put, e)),
            };
            threads.into_iter().map(ended).collect()
        })
    }
}

fn no_answer() -> Error {
    Error::new(ErrorKind::Io, Operation::Put)
        .because("a thread that tried a condition ended without an answer")
}

fn etag(put: PutResult) -> Result<Etag> {
    put.etag.ok_or_else(|| Error::new(ErrorKind::Io, Operation::Put).because("there is no etag"))
}

/// Returns the reason why the condition of a race is not used: one racer has to win, and every other racer has to get
/// `loss`.
fn verdict(race: Vec<Result<PutResult>>, loss: ErrorKind) -> Result<Option<&'static str>> {
    let mut winners = 0;
    for answer in race {
        match answer {
            Ok(_) => winners += 1,
            Err(e) if e.kind() == loss => (),
            Err(e) => return Err(e),
        }
    }
    Ok(match winners {
        0 => Some(NONE),
        1 => None,
        _ => Some(SEVERAL),
    })
}
