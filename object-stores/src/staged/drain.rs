//! Uploads queued operations to the store, in an order of which every prefix is consistent.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::content::{Content, Summing};
use super::operation::{Action, Guard, Queued, read_content};
use super::queue::Queue;
use super::state::Failure;
use crate::{Error, ErrorKind, Etag, Key, ObjectStoreExt, Operation, PutMode, PutPayload, Result};

/// The number of operations in progress at the same time.
const MAX_WORKERS: usize = 8;
/// The length, in bytes, above which an object is uploaded in pieces.
const LONG_BYTES: u64 = 64 << 20;
/// The length of a piece, in bytes.
const PIECE_BYTES: usize = 8 << 20;
/// The first pause after a failure, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(30));

/// Starts threads that drain a queue, as many as have work.
///
/// # Errors
/// If not even one thread can be started.
pub(super) fn start(queue: &Arc<Queue>) -> io::Result<()> {
    let mut state = queue.state.lock();
    while state.workers < MAX_WORKERS.min(state.len()) {
        let shared = queue.clone();
        let begun = std::thread::Builder::new().name("h5lake-stage".into()).spawn(move || work(&shared));
        match begun {
            Ok(_) => state.workers += 1,
            Err(e) if state.workers == 0 => return Err(e),
            Err(_) => break,
        }
    }
    Ok(())
}

/// Runs a thread: performs the operations that may start, until the queue has ended or is broken.
fn work(queue: &Queue) {
    loop {
        let mut state = queue.state.lock();
        let queued = loop {
            if state.has_ended || state.broken.is_some() {
                state.workers -= 1;
                return;
            }
            match state.take() {
                Some(queued) => break queued,
                None => queue.changed.wait(&mut state),
            }
        };
        drop(state);
        match bring(queue, &queued) {
            Some(Ok(etag)) => queue.arrived(&queued, etag),
            Some(Err(e)) => {
                let mut state = queue.state.lock();
                state.give_up();
                tracing::error!(error = %e, "what was staged does not arrive");
                state.broken.get_or_insert(e.to_string());
            }
            None => queue.state.lock().give_up(),
        }
        queue.changed.notify_all();
    }
}

/// Tries an operation until it has arrived, or never will; returns `None` if the queue ends first.
fn bring(queue: &Queue, queued: &Queued) -> Option<Result<Option<Etag>>> {
    let mut pause = PAUSES.0.min(queue.patience / 8);
    loop {
        let e = match perform(queue, queued) {
            Ok(etag) => return Some(Ok(etag)),
            Err(e) if is_final(e.kind()) => return Some(Err(e)),
            Err(e) => e,
        };
        tracing::warn!(error = %e, "what was staged does not arrive yet");
        if e.kind() == ErrorKind::NoSpace {
            queue.inner.spend_reserve();
        }
        let may_pass = e.kind().is_ambiguous() || e.kind() == ErrorKind::Locked;
        let failure = Failure { text: e.to_string(), at: Instant::now(), may_pass };
        if !record_and_pause(queue, failure, pause) {
            return None;
        }
        // The pause is short enough that a waiting caller sees several tries.
        pause = (pause * 2).min(PAUSES.1).min(queue.patience / 8);
    }
}

/// Records a failure and pauses, unless a caller waits. Returns false if the queue ends meanwhile.
fn record_and_pause(queue: &Queue, failure: Failure, pause: Duration) -> bool {
    let (since, until) = (failure.at, failure.at + pause);
    let mut state = queue.state.lock();
    state.failure = Some(failure);
    queue.changed.notify_all();
    while Instant::now() < until && !state.has_ended && state.asked.is_none_or(|asked| asked < since) {
        queue.changed.wait_until(&mut state, until);
    }
    !state.has_ended
}

/// Returns whether a retry would be of no use.
fn is_final(kind: ErrorKind) -> bool {
    use ErrorKind as K;
    matches!(
        kind,
        K::AlreadyExists
            | K::PreconditionFailed
            | K::InvalidArgument
            | K::Unsupported
            | K::Corrupt
            | K::StageBroken
    )
}

/// Performs an operation once; returns the object's etag.
fn perform(queue: &Queue, queued: &Queued) -> Result<Option<Etag>> {
    match &queued.action {
        Action::Delete(keys) => queue.inner.delete_many(keys).map(|()| None),
        Action::Put { key, guard: Guard::Any, content, .. } if content.length > LONG_BYTES => {
            put_long(queue, queued.number, key, *content)
        }
        Action::Put { key, guard, content, over, .. } => {
            let bytes = content_of(queue, queued.number, *content)?;
            match put(queue, key, bytes, guard, *over)? {
                Put::Done(etag) => Ok(etag),
                Put::Refused if was_followed(queue, key, queued.number)? => Ok(None),
                Put::Refused => Err(taken(queue, key)),
            }
        }
    }
}

/// Reads the bytes of a queued object.
fn content_of(queue: &Queue, number: u64, content: Content) -> Result<Bytes> {
    let file = queue.folder.open_operation(number);
    file.and_then(|file| read_content(file, content)).map_err(|e| damaged(queue, e))
}

fn damaged(queue: &Queue, e: io::Error) -> Error {
    let kind = match e.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::NotFound => ErrorKind::Corrupt,
        _ => ErrorKind::Io,
    };
    Error::new(kind, Operation::Put)
        .in_store(queue.inner.name())
        .because(format!("the stage's own file: {e}"))
}

/// The outcome of a put with a guard.
enum Put {
    Done(Option<Etag>),
    /// The key holds an object that the operation must not replace.
    Refused,
}

fn put(queue: &Queue, key: &Key, bytes: Bytes, guard: &Guard, over: Option<Content>) -> Result<Put> {
    let mode = match guard {
        Guard::Any => PutMode::Overwrite,
        Guard::Etag(etag) => PutMode::Update(etag.clone()),
        Guard::Staged(number) => {
            let known = queue.state.lock().translated(key, *number);
            match known {
                Some(etag) => PutMode::Update(etag),
                None => return put_if(queue, key, bytes, over),
            }
        }
    };
    match queue.inner.put(key, PutPayload::from(bytes.clone()), mode) {
        Ok(done) => Ok(Put::Done(done.etag)),
        Err(e) if e.kind() == ErrorKind::PreconditionFailed => {
            Ok(match find(queue, key, bytes.len())? {
                // The object is the result of this operation's own put, and the answer was lost.
                Some((found, etag)) if found.as_ref() == Some(&bytes) => Put::Done(etag),
                _ => Put::Refused,
            })
        }
        Err(e) => Err(e),
    }
}

/// Returns whether the object under the key was put by a later operation of this queue: then all earlier operations had
/// arrived too, and the process died before it could record that.
fn was_followed(queue: &Queue, key: &Key, number: u64) -> Result<bool> {
    let later: Vec<Content> = queue.state.lock().later_puts(key, number).collect();
    let Some(most) = later.iter().map(|content| content.length).max() else { return Ok(false) };
    let found = find(queue, key, most as usize)?;
    let found = found.and_then(|(found, _)| found);
    Ok(found.is_some_and(|found| later.iter().any(|own| own.is_of(&found))))
}

/// Replaces an object if it still has the content `over`. Only the process that staged the operation knew the object's
/// etag.
fn put_if(queue: &Queue, key: &Key, bytes: Bytes, over: Option<Content>) -> Result<Put> {
    let most = bytes.len().max(over.map_or(0, |over| over.length as usize));
    let Some((Some(found), etag)) = find(queue, key, most)? else { return Ok(Put::Refused) };
    if found == bytes {
        return Ok(Put::Done(etag));
    }
    let (true, Some(etag)) = (over.is_some_and(|over| over.is_of(&found)), etag) else {
        return Ok(Put::Refused);
    };
    let put = queue.inner.put(key, PutPayload::from(bytes), PutMode::Update(etag));
    put.map(|done| Put::Done(done.etag))
}

/// Reads the object under a key, with its etag. An object longer than `most` cannot be the result of this operation, so
/// its bytes are not returned.
fn find(queue: &Queue, key: &Key, most: usize) -> Result<Option<(Option<Bytes>, Option<Etag>)>> {
    match queue.inner.get_whole_opt(key, most as u64) {
        Ok(found) => Ok(found.map(|found| (Some(found.bytes), found.meta.etag))),
        Err(e) if e.kind() == ErrorKind::Corrupt => Ok(Some((None, None))),
        Err(e) => Err(e),
    }
}

/// Returns the error for a key that holds another writer's object.
fn taken(queue: &Queue, key: &Key) -> Error {
    Error::new(ErrorKind::StageBroken, Operation::Put).at(key).in_store(queue.inner.name()).because(
        "another writer has put its own there, so that this writer's versions from there on cannot follow",
    )
}

fn put_long(queue: &Queue, number: u64, key: &Key, content: Content) -> Result<Option<Etag>> {
    let file = queue.folder.open_operation(number).map_err(|e| damaged(queue, e))?;
    let mut file = file.take(content.length);
    let mut stream = queue.inner.put_stream(key)?;
    let mut summing = Summing::new();
    loop {
        let mut piece = Vec::new();
        piece
            .try_reserve_exact(PIECE_BYTES)
            .map_err(|_| damaged(queue, io::ErrorKind::OutOfMemory.into()))?;
        file.by_ref().take(PIECE_BYTES as u64).read_to_end(&mut piece).map_err(|e| damaged(queue, e))?;
        if piece.is_empty() {
            break;
        }
        summing.add(&piece);
        stream.write_bytes(Bytes::from(piece))?;
    }
    if summing.finish() != content {
        stream.abort()?;
        return Err(damaged(queue, io::Error::new(io::ErrorKind::InvalidData, "its bytes are damaged")));
    }
    stream.finish().map(|done| done.etag)
}
