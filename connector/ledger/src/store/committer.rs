//! Carries out the actions of a session: loads, swaps, reads and deletes. The session decides, and this module only makes the requests.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_stores::deadline::wait_outside_store;

use super::fetch::Fetcher;
use super::head;
use crate::clock;
use crate::core::change::{Change, Reject};
use crate::core::events::{Action, Event, Outcome};
use crate::core::ids::{ContainerId, ObjectId, SessionId};
use crate::core::manifest::Manifest;
use crate::core::records::Segments;
use crate::core::session::{Mode, Session, State};
use crate::error::{Error, ErrorKind, Result};
use crate::liveness;
use crate::register::{Doubt, Load, Register, Swap, Token};

/// The maximum number of swaps without an answer, and of swaps that the store refuses although the manifest has not changed.
const MAX_FAILURES: u32 = 6;
/// The base of the pause between two attempts, which doubles with each attempt.
const PAUSE: Duration = Duration::from_millis(5);
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// A session, and the register to which it commits.
#[derive(Debug)]
pub(super) struct Committer {
    pub(super) session: Session<Token>,
    register: Arc<dyn Register>,
    target: Arc<str>,
}

/// Prepares a change again on a newer manifest. `None` abandons the change.
pub(super) type Prepare<'a> = &'a mut dyn FnMut(Reject, &Arc<Manifest>) -> Result<Option<Change>>;

/// Returns a random id for a session.
pub(super) fn new_session_id(target: &str) -> Result<SessionId> {
    clock::random(target).map(|bytes| SessionId(u64::from_le_bytes(bytes)))
}

/// Returns a new session of this process.
fn new_session(container: ContainerId, mode: Mode, target: &str) -> Result<Session<Token>> {
    let session = Session::new(new_session_id(target)?, container, mode);
    Ok(session.of_process(liveness::process_of_session()))
}

/// Loads the manifest of a head object. If the name leads to no container, returns an absent manifest.
pub(super) fn load(register: &dyn Register, target: &str) -> Result<(Arc<Manifest>, Token)> {
    match register.load(None)? {
        Load::Loaded(Some(bytes), token) => Ok((Arc::new(head::decode(&bytes, target)?), token)),
        Load::Loaded(None, token) => Ok((Arc::new(Manifest::absent()), token)),
        Load::NotModified => Err(Error::corrupt(target, "head object", "the store compared it with nothing")),
    }
}

impl Committer {
    pub(super) fn new(
        register: Arc<dyn Register>,
        target: Arc<str>,
        container: ContainerId,
        mode: Mode,
        found: (Arc<Manifest>, Token),
    ) -> Result<Self> {
        let mut session = new_session(container, mode, &target)?;
        session.step(Event::Loaded(found.0, found.1));
        Ok(Self { session, register, target })
    }

    /// Returns the newest manifest that the session knows.
    pub(super) fn known(&self) -> Arc<Manifest> {
        self.session.known().cloned().unwrap_or_else(|| Arc::new(Manifest::absent()))
    }

    /// Returns the newest manifest that the session knows, with its token.
    pub(super) fn newest(&self) -> Result<(Arc<Manifest>, Token)> {
        let found = self.session.newest().map(|(manifest, token)| (manifest.clone(), token.clone()));
        found.ok_or_else(|| Error::new(&self.target, ErrorKind::Gone))
    }

    /// Returns whether a change has not ended: its outcome is unknown, or it waits to be prepared again.
    pub(super) fn is_in_doubt(&self) -> bool {
        !matches!(self.session.state(), State::Idle | State::Fenced | State::Expelled | State::Undecided)
    }

    /// Returns the committer of a new session of `container`. The new session knows the newest manifest that this session knows.
    pub(super) fn next(&self, container: ContainerId, mode: Mode) -> Result<Self> {
        Self::new(self.register.clone(), self.target.clone(), container, mode, self.newest()?)
    }

    /// Begins a new session of the same handle, because a session that left or was expelled never returns.
    pub(super) fn begin_again(&mut self, mode: Mode) -> Result<()> {
        let found = self.session.newest().map(|(manifest, token)| (manifest.clone(), token.clone()));
        self.session = new_session(self.session.container(), mode, &self.target)?;
        if let Some((manifest, token)) = found {
            self.session.step(Event::Loaded(manifest, token));
        }
        Ok(())
    }

    /// Loads the newest manifest. Returns whether it is another one than the known manifest.
    pub(super) fn refresh(&mut self) -> Result<bool> {
        let Some((manifest, token)) = self.load_newer()? else { return Ok(false) };
        self.session.step(Event::Loaded(manifest, token));
        Ok(true)
    }

    /// Loads the newest manifest; returns `None` if it is the known manifest. A damaged answer is requested once more, because it may have
    /// been damaged in transit.
    fn load_newer(&self) -> Result<Option<(Arc<Manifest>, Token)>> {
        let known = self.session.newest().map(|(_, token)| token);
        let read = |known: Option<&Token>| -> Result<_> {
            match self.register.load(known)? {
                Load::NotModified => Ok(None),
                Load::Loaded(bytes, token) => Ok(Some((self.decoded(bytes.as_ref())?, token))),
            }
        };
        match read(known) {
            Err(e) if matches!(e.kind(), ErrorKind::Corrupt { .. } | ErrorKind::NotAContainer { .. }) => {
                read(None)
            }
            found => found,
        }
    }

    fn decoded(&self, bytes: Option<&Bytes>) -> Result<Arc<Manifest>> {
        match bytes {
            Some(bytes) => head::decode(bytes, &self.target).map(Arc::new),
            None => Ok(Arc::new(Manifest::absent())),
        }
    }

    /// Makes a change, which was prepared on the newest manifest that the session knows.
    ///
    /// # Errors
    /// Those of the store. Nothing has changed, unless the session is [in doubt](Self::is_in_doubt) afterwards.
    pub(super) fn submit(
        &mut self,
        change: Change,
        fetcher: &Fetcher,
        prepare: Prepare<'_>,
    ) -> Result<Outcome> {
        // A pending change is ended first. Its caller no longer waits for the result.
        if self.is_in_doubt() {
            self.abandon(fetcher)?;
        }
        let actions = self.session.step(Event::Submit(change));
        self.drive(actions, fetcher, prepare)
    }

    /// Determines the result of a change with an unknown outcome, and completes the change if that is still possible.
    pub(super) fn settle(&mut self, fetcher: &Fetcher, prepare: Prepare<'_>) -> Result<Outcome> {
        let mut actions = match self.session.state() {
            State::Swapping(_) => self.session.step(Event::Doubt),
            _ => Vec::new(),
        };
        if actions.is_empty() {
            actions.push(Action::Load);
        }
        self.drive(actions, fetcher, prepare)
    }

    /// Abandons a change with an unknown outcome, if that is still possible. Returns the result of the change.
    pub(super) fn abandon(&mut self, fetcher: &Fetcher) -> Result<Outcome> {
        let mut actions = match self.session.state() {
            State::Swapping(_) => self.session.step(Event::Doubt),
            _ => Vec::new(),
        };
        actions.extend(self.session.step(Event::Abandon));
        self.drive(actions, fetcher, &mut |_, _| Ok(None))
    }

    /// Returns the result of a queued commit; `None` while it waits.
    pub(super) fn look(&mut self, fetcher: &Fetcher) -> Result<Option<Outcome>> {
        if let State::Swapping(_) = self.session.state() {
            let actions = self.session.step(Event::Doubt);
            return self.drive_on(actions, fetcher, &mut |_, _| Ok(None));
        }
        self.drive_on(vec![Action::Load], fetcher, &mut |_, _| Ok(None))
    }

    /// Commits a queued commit by a swap of its own session. Returns `None` if the commit continues to wait.
    pub(super) fn lead(&mut self, change: Change, fetcher: &Fetcher) -> Result<Option<Outcome>> {
        let actions = self.session.step(Event::Prepared(change));
        self.drive_on(actions, fetcher, &mut |_, _| Ok(None))
    }

    /// Returns the error of the handle for an outcome that is not a success.
    pub(super) fn failure(&self, outcome: &Outcome) -> Error {
        let known = self.known();
        let is_replaced = known.id != self.session.container();
        match outcome {
            Outcome::Undecided | Outcome::Rejected(_) if is_replaced => {
                replaced(known.is_absent(), &self.target)
            }
            other => failure(other, &self.target),
        }
    }

    /// Carries out actions until the change has ended.
    pub(super) fn drive(
        &mut self,
        actions: Vec<Action<Token>>,
        fetcher: &Fetcher,
        prepare: Prepare<'_>,
    ) -> Result<Outcome> {
        let ended = self.drive_on(actions, fetcher, prepare)?;
        let why = "a change ended without an outcome; open the container again";
        ended.ok_or_else(|| Error::new(&self.target, ErrorKind::Broken { why: why.into() }))
    }

    /// Carries out actions until the change has ended, or waits like a queued commit.
    fn drive_on(
        &mut self,
        actions: Vec<Action<Token>>,
        fetcher: &Fetcher,
        prepare: Prepare<'_>,
    ) -> Result<Option<Outcome>> {
        let mut queue = VecDeque::from(actions);
        let (mut attempts, mut failures, mut failed) = (0, 0, None);
        let (mut refused, mut refusals) = (None, 0);
        while let Some(action) = queue.pop_front() {
            let event = match action {
                Action::Report(outcome) => {
                    // The change was abandoned because it could not be prepared, or because the store refused it. That error is the result.
                    let gave_up = matches!(outcome, Outcome::NotCommitted);
                    return failed.filter(|_| gave_up).map_or(Ok(Some(outcome)), Err);
                }
                Action::Delete(objects) => {
                    delete_objects(fetcher, &objects);
                    continue;
                }
                Action::Load => {
                    // The pause comes before the load. After a pause behind the load, the manifest would be old, and the swap would lose again.
                    pause(attempts);
                    self.loaded()?
                }
                Action::Read(wanted) => {
                    let mut read = Segments::default();
                    fetcher.segments(&wanted, &mut read)?;
                    Event::Read(read)
                }
                // A queued commit that lost a race waits for its next turn.
                Action::Prepare { .. } if self.session.waits_in_queue() => continue,
                Action::Prepare { why, on } => match prepare(why, &on) {
                    Ok(Some(change)) => Event::Prepared(change),
                    Ok(None) => Event::Abandon,
                    Err(e) => {
                        failed = Some(e);
                        Event::Abandon
                    }
                },
                Action::Swap { over, manifest } => {
                    // The load after a refusal returned the very manifest that the swap was to replace, so no other writer caused the
                    // refusal.
                    refusals = if refused.as_ref() == Some(&over) { refusals + 1 } else { 0 };
                    if refusals >= MAX_FAILURES {
                        return Err(always_refused(&self.target));
                    }
                    attempts += 1;
                    match self.register.swap(&over, manifest.encode().into()) {
                        Swap::Swapped(token) => Event::Swapped(token),
                        Swap::Doubt(Doubt::Mismatch) => {
                            refused = Some(over);
                            Event::Doubt
                        }
                        Swap::Doubt(Doubt::Refused(e)) => {
                            failed = Some(e);
                            Event::Refused
                        }
                        Swap::Doubt(Doubt::Failed(e)) => {
                            failures += 1;
                            if failures >= MAX_FAILURES {
                                return Err(e);
                            }
                            Event::Doubt
                        }
                    }
                }
            };
            queue.extend(self.session.step(event));
        }
        Ok(None)
    }

    /// Loads the manifest for the session. If it has not changed, returns the known manifest, because that settles a doubt as well.
    fn loaded(&self) -> Result<Event<Token>> {
        if let Some((manifest, token)) = self.load_newer()? {
            return Ok(Event::Loaded(manifest, token));
        }
        let known = self.session.newest().ok_or_else(|| Error::new(&self.target, ErrorKind::Gone))?;
        Ok(Event::Loaded(known.0.clone(), known.1.clone()))
    }
}

/// Waits before the manifest is loaded and a swap is sent again, for a random time that grows with the number of swaps that were sent. After
/// one swap there is no pause.
fn pause(swaps: u32) {
    if swaps < 2 {
        return;
    }
    let longest = PAUSE.saturating_mul(1 << (swaps - 1).min(8)).min(MAX_PAUSE);
    let share = clock::random_below(64);
    wait_outside_store(|| std::thread::sleep(longest.mul_f64(0.25 + share as f64 / 128.0)));
}

/// Deletes objects that no manifest names. Objects that cannot be deleted remain for a vacuum.
pub(super) fn delete_objects(fetcher: &Fetcher, objects: &[ObjectId]) {
    let key = |object: &ObjectId| fetcher.names.object(*object, &fetcher.target).ok();
    let keys: Vec<_> = objects.iter().filter_map(key).collect();
    if !keys.is_empty()
        && let Err(e) = fetcher.store.delete_many(&keys)
    {
        tracing::warn!(error = %e, "objects that no version needs were not deleted");
    }
}

/// Returns the error of a writer of a container that was replaced or deleted.
pub(super) fn replaced(is_absent: bool, target: &str) -> Error {
    let what = if is_absent { "deleted" } else { "replaced" };
    let why = format!("another process {what} the container; what was not committed before is not in it");
    Error::new(target, ErrorKind::Broken { why })
}

/// Returns the error for a store that refuses each swap although no other writer has made one.
fn always_refused(target: &str) -> Error {
    let what = "the store refuses to replace the head object, and nobody has changed it; flush again".into();
    Error::new(target, ErrorKind::Store { errno: Some(nix::libc::EIO), what })
}

/// Returns the error of a change that lost the race against changes of other writers.
pub(super) fn given_up(target: &str) -> Error {
    let what = "another writer changed the container at the same moment; try again".into();
    Error::new(target, ErrorKind::Store { errno: Some(nix::libc::EAGAIN), what })
}

/// Returns the error for an outcome that is not a success.
pub(super) fn failure(outcome: &Outcome, target: &str) -> Error {
    let broken = |why: &str| Error::new(target, ErrorKind::Broken { why: why.to_owned() });
    match outcome {
        Outcome::Fenced => Error::new(target, ErrorKind::Conflict),
        Outcome::Expelled => broken(
            "a vacuum took this writer for a dead one, and deleted what it had not committed; open the container again",
        ),
        Outcome::Undecided => broken(
            "this writer was away for so long that nobody can tell whether its last commit was made; open the container \
             again and look",
        ),
        Outcome::Rejected(Reject::Replaced) => broken(
            "another process replaced or deleted the container; what was not committed before is not in it",
        ),
        Outcome::Rejected(Reject::Full(what)) => {
            Error::invalid(target, format!("a bound of the format is reached: {what}"))
        }
        Outcome::Rejected(why) => Error::invalid(target, format!("the change does not apply: {why:?}")),
        Outcome::NotCommitted | Outcome::Done { .. } => given_up(target),
    }
}
