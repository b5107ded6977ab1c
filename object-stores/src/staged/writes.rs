//! The changes of a staged store: decides which are queued, and which bypass the queue.

use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use bytes::Bytes;

use super::content::{Content, Summing};
use super::operation::{Action, Guard, Queued};
use super::state::State;
use super::{Role, StagedStore, drain};
use crate::beneath::NewFile;
use crate::{
    Condition, Error, ErrorKind, Etag, Key, Operation, PutMode, PutPayload, PutResult, PutStream, Result,
};

/// The head that this writer puts repeatedly, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Heads {
    /// True if the store has accepted a head of this writer: later heads are queued.
    was_put: bool,
    /// The content of the last head, if it is known.
    head: Option<(Key, Content)>,
}

impl Heads {
    /// Returns the content that was last put under a key.
    fn known(&self, key: &Key) -> Option<Content> {
        self.head.as_ref().filter(|(of, _)| of == key).map(|(_, content)| *content)
    }
}

impl StagedStore {
    /// Puts the lock object, and records whether it names the queue from now on, also if the answer is lost.
    fn put_lock(&self, key: &Key, payload: PutPayload, mode: PutMode) -> Result<PutResult> {
        let text = payload.clone().into_bytes();
        let is_named = text.windows(self.queue().len()).any(|part| part == self.queue().as_bytes());
        let put = self.inner.put(key, payload, mode);
        let is_refused =
            |e: &Error| matches!(e.kind(), ErrorKind::AlreadyExists | ErrorKind::PreconditionFailed);
        match &put {
            Ok(_) => self.is_named.store(is_named, Ordering::Relaxed),
            Err(e) if is_refused(e) => (),
            Err(_) => {
                self.is_named.fetch_or(is_named, Ordering::Relaxed);
            }
        }
        put
    }

    pub(super) fn put_by_role(&self, key: &Key, payload: PutPayload, mode: PutMode) -> Result<PutResult> {
        self.check_owner(Operation::Put, key)?;
        self.check_key(Operation::Put, key)?;
        match ((self.roles)(key), &mode) {
            (Role::Straight, _) => self.inner.put(key, payload, mode),
            (Role::Lock, _) => self.put_lock(key, payload, mode),
            (Role::Head, _) => self.put_head(key, payload, mode),
            (Role::Immutable, PutMode::Create | PutMode::Overwrite) => {
                self.put_queued(key, payload, mode, (Guard::Any, None), true)
            }
            (Role::Other, PutMode::Overwrite) => {
                self.put_queued(key, payload, mode, (Guard::Any, None), false)
            }
            _ => self.put_direct(key, payload, mode),
        }
    }

    /// Puts a head. The first put bypasses the queue, because it decides which process is the writer; a put without an
    /// answer decides nothing. Later puts are queued if their condition can be evaluated when they arrive. Without such
    /// a condition a pending head would replace the head of another writer.
    fn put_head(&self, key: &Key, payload: PutPayload, mode: PutMode) -> Result<PutResult> {
        let mut heads = self.heads.lock();
        let bytes = payload.into_bytes();
        let content = Content::of(&bytes);
        let put = match self.guard(&mode).filter(|_| heads.was_put) {
            Some(guard) => self.put_queued(key, bytes.into(), mode, (guard, heads.known(key)), false),
            None => {
                let put = self.put_direct(key, bytes.into(), mode);
                heads.was_put |= put.is_ok();
                put
            }
        };
        match &put {
            Ok(_) => heads.head = Some((key.clone(), content)),
            Err(e) if e.kind().is_ambiguous() => heads.head = None,
            Err(_) => (),
        }
        put
    }

    /// Returns the condition of a put as it is queued; `None` if the put has no condition that the store evaluates.
    fn guard(&self, mode: &PutMode) -> Option<Guard> {
        let PutMode::Update(etag) = mode else { return None };
        let guard = self.queue.number_in(etag).map_or_else(|| Guard::Etag(etag.clone()), Guard::Staged);
        self.inner.honours(Condition::Update).then_some(guard)
    }

    fn put_queued(
        &self,
        key: &Key,
        payload: PutPayload,
        mode: PutMode,
        (guard, over): (Guard, Option<Content>),
        is_free: bool,
    ) -> Result<PutResult> {
        let action = |content| Action::Put { key: key.clone(), guard: guard.clone(), content, over, is_free };
        let check = |state: &State| self.check_condition(state, key, &mode);
        match self.enqueue(&payload, &action, &check)? {
            Some(put) => Ok(put),
            None => self.put_direct(key, payload, mode),
        }
    }

    /// Refuses a put if a queued operation makes its condition false.
    fn check_condition(&self, state: &State, key: &Key, mode: &PutMode) -> Result<()> {
        let newest = state.newest(key);
        let is_there = newest.map(|queued| matches!(queued.action, Action::Put { .. }));
        let kind = match mode {
            PutMode::Overwrite => return Ok(()),
            PutMode::Create if is_there == Some(true) => ErrorKind::AlreadyExists,
            PutMode::Create => return Ok(()),
            PutMode::Update(etag) => {
                let number = self.queue.number_in(etag);
                let holds = match newest {
                    Some(queued) => is_there == Some(true) && number == Some(queued.number),
                    None => number.is_none_or(|number| state.translated(key, number).is_some()),
                };
                if holds {
                    return Ok(());
                }
                ErrorKind::PreconditionFailed
            }
        };
        Err(self.error(kind, Operation::Put, key))
    }

    /// Waits until the queue has arrived, and then puts the object directly into the store.
    fn put_direct(&self, key: &Key, payload: PutPayload, mode: PutMode) -> Result<PutResult> {
        self.drain()?;
        self.put_now(key, payload, mode)
    }

    fn put_now(&self, key: &Key, payload: PutPayload, mode: PutMode) -> Result<PutResult> {
        let mode = match mode {
            PutMode::Update(etag) => PutMode::Update(self.of_store(key, etag)?),
            mode => mode,
        };
        self.inner.put(key, payload, mode)
    }

    /// Translates an etag, which may be one of this stage, into the store's etag.
    fn of_store(&self, key: &Key, etag: Etag) -> Result<Etag> {
        let Some(number) = self.queue.number_in(&etag) else { return Ok(etag) };
        let known = self.queue.state.lock().translated(key, number);
        known.ok_or_else(|| self.error(ErrorKind::PreconditionFailed, Operation::Put, key))
    }

    pub(super) fn delete_by_role(&self, keys: &[Key]) -> Result<()> {
        let Some(first) = keys.first() else { return Ok(()) };
        self.check_owner(Operation::Delete, first)?;
        keys.iter().try_for_each(|key| self.check_key(Operation::Delete, key))?;
        let roles = || keys.iter().map(|key| (self.roles)(key));
        if roles().any(|role| role == Role::Lock) {
            self.drain()?;
            self.delete_now(keys)?;
            self.is_named.store(false, Ordering::Relaxed);
            return Ok(());
        }
        if roles().all(|role| role == Role::Straight) {
            return self.delete_now(keys);
        }
        let action = |_| Action::Delete(keys.to_vec());
        match self.enqueue(&PutPayload::new(), &action, &|_| Ok(()))? {
            Some(_) => Ok(()),
            None => {
                self.drain()?;
                self.delete_now(keys)
            }
        }
    }

    fn delete_now(&self, keys: &[Key]) -> Result<()> {
        match keys {
            [key] => self.inner.delete(key),
            keys => self.inner.delete_many(keys),
        }
    }

    /// Queues an operation with an object's bytes. Returns `None` if there is not enough space for it even when all
    /// other operations have arrived.
    fn enqueue(
        &self,
        payload: &PutPayload,
        action: &dyn Fn(Content) -> Action,
        check: &dyn Fn(&State) -> Result<()>,
    ) -> Result<Option<PutResult>> {
        let (queue, length) = (&self.queue, payload.len());
        if length > self.bound {
            return Ok(None);
        }
        loop {
            let mut state = queue.wait(|state| state.bytes == 0 || state.bytes + length <= self.bound)?;
            state.bytes += length;
            drop(state);
            let time = self.inner.clock().unwrap_or_else(SystemTime::now);
            let put = match self.write(payload, action, time) {
                Ok((file, action)) => queue.publish(file, time, action, check),
                Err(e) => Err(queue.io(e)),
            };
            let e = match put {
                Ok(put) => {
                    let kept = drain::start(queue).and_then(|()| queue.folder.sync_names());
                    kept.map_err(|e| queue.io(e))?;
                    return Ok(Some(put));
                }
                Err(e) => e,
            };
            queue.uncount(length);
            if e.kind() != ErrorKind::NoSpace {
                return Err(e);
            }
            if !self.wait_for_space()? {
                return Ok(None);
            }
        }
    }

    /// Waits until an operation has arrived; returns false if none is pending.
    fn wait_for_space(&self) -> Result<bool> {
        let state = self.queue.state.lock();
        if state.is_empty() {
            return Ok(false);
        }
        let before = state.progress;
        drop(state);
        self.queue.wait(|state| state.is_empty() || state.progress != before).map(|_| true)
    }

    /// Writes the file of an operation, without its name yet.
    fn write(
        &self,
        payload: &PutPayload,
        action: &dyn Fn(Content) -> Action,
        time: SystemTime,
    ) -> std::io::Result<(NewFile, Action)> {
        let mut file = self.queue.folder.new_file()?;
        let mut summing = Summing::new();
        for piece in payload.pieces() {
            summing.add(piece);
            file.write_all(piece)?;
        }
        let action = action(summing.finish());
        file.write_all(&Queued::footer(time, &action))?;
        self.queue.folder.sync_bytes(file.file())?;
        Ok((file, action))
    }

    fn check_owner(&self, operation: Operation, key: &Key) -> Result<()> {
        if self.is_own() {
            return Ok(());
        }
        let why = "the stage is that of the parent process, which alone may write to it";
        Err(self.error(ErrorKind::Unsupported, operation, key).because(why))
    }

    /// Refuses a key that the store beneath refuses, before the change is queued and reported to the program as safe.
    fn check_key(&self, operation: Operation, key: &Key) -> Result<()> {
        match self.inner.why_not_key(key) {
            None => Ok(()),
            Some(why) => Err(self.error(ErrorKind::InvalidArgument, operation, key).because(why)),
        }
    }

    /// Starts a stream to the store beneath. It takes effect after all operations that are queued when it is finished.
    pub(super) fn start_stream(&self, key: &Key) -> Result<Box<dyn PutStream>> {
        self.check_owner(Operation::StreamStart, key)?;
        let inner = self.inner.put_stream(key)?;
        Ok(Box::new(Stream { inner, queue: self.queue.clone() }))
    }
}

#[derive(Debug)]
struct Stream {
    inner: Box<dyn PutStream>,
    queue: std::sync::Arc<super::Queue>,
}

impl PutStream for Stream {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.inner.write(bytes)
    }

    fn write_bytes(&mut self, bytes: Bytes) -> Result<()> {
        self.inner.write_bytes(bytes)
    }

    fn finish(self: Box<Self>) -> Result<PutResult> {
        self.queue.drain()?;
        self.inner.finish()
    }

    fn abort(self: Box<Self>) -> Result<()> {
        self.inner.abort()
    }
}
