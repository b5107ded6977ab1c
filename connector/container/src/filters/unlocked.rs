//! Codecs run while the thread holds no lock: an operation that finds out under its locks that a chunk has to go through
//! filters asks for that and fails. When it has let go of its locks, the codec runs, and the operation starts again and finds
//! the answer.
//!
//! So what is run in [`without_locks`] can be started again at any place where a codec is asked. Operations can be, because
//! any read or write of theirs may fail there, too. One that goes through many chunks remembers which are done, or leaves them
//! so that it need not look at them again.

use super::ChunkCodec;
use super::foreign::{Work, run};
use super::steps::Steps;
use crate::record_conversion::copied;
use crate::{Error, ErrorKind, Result};
use h5lake_ledger::buffers;
use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::sync::Arc;

/// Chunks that one round of an operation asks for at most.
const MAX_ASKED: usize = 64;
/// Their bytes: with the answers, these stay within the pool of buffers.
const MAX_ASKED_BYTES: usize = 4 << 20;
/// Rounds of one operation. Each has a codec run for what other threads may change again meanwhile.
const MAX_ROUNDS: usize = 1 << 20;

/// Rounds for which an answer is kept that none of them used.
const MAX_IDLE: u32 = 4;

/// A chunk for a codec.
struct FilterRequest {
    codec: Arc<dyn ChunkCodec>,
    steps: Arc<Steps>,
    /// The filters to leave out.
    mask: u32,
    /// The length of the decoded chunk; `None` for a chunk to encode.
    decoded_len: Option<usize>,
    bytes: Vec<u8>,
}

impl FilterRequest {
    fn of(codec: &Arc<dyn ChunkCodec>, steps: &Arc<Steps>, work: Work<'_>) -> Result<Self> {
        let (bytes, mask, decoded_len) = match work {
            Work::Encode { chunk, left_out } => (chunk, left_out, None),
            Work::Decode { stored, mask, len } => (stored, mask, Some(len)),
        };
        let (codec, steps) = (codec.clone(), steps.clone());
        Ok(Self { codec, steps, mask, decoded_len, bytes: copied(bytes)? })
    }

    fn work(&self) -> Work<'_> {
        match self.decoded_len {
            Some(len) => Work::Decode { stored: &self.bytes, mask: self.mask, len },
            None => Work::Encode { chunk: &self.bytes, left_out: self.mask },
        }
    }
}

struct Answered {
    asked: FilterRequest,
    result: Result<(u32, Vec<u8>)>,
    /// Rounds in which it was not used.
    idle: u32,
}

impl Answered {
    /// The answer in a buffer that was in use before: fresh memory costs more than the copy.
    fn answer(&self) -> Result<(u32, Vec<u8>)> {
        match &self.result {
            Ok((mask, bytes)) => Ok((*mask, copied(bytes)?)),
            Err(e) => Err(e.clone()),
        }
    }
}

impl Drop for Answered {
    fn drop(&mut self) {
        buffers::give(std::mem::take(&mut self.asked.bytes));
        if let Ok((_, bytes)) = &mut self.result {
            buffers::give(std::mem::take(bytes));
        }
    }
}

/// The operation of this thread that is started again.
#[derive(Default)]
struct FilterOperation {
    asked: Vec<FilterRequest>,
    asked_bytes: usize,
    answered: Vec<Answered>,
}

impl FilterOperation {
    fn ask(
        &mut self,
        codec: &Arc<dyn ChunkCodec>,
        steps: &Arc<Steps>,
        work: Work<'_>,
    ) -> Result<(u32, Vec<u8>)> {
        // A filter depends on its parameters and the bytes alone.
        let is_this = |a: &&mut Answered| a.asked.work() == work && a.asked.steps.is_same_as(steps);
        if let Some(known) = self.answered.iter_mut().find(is_this) {
            known.idle = 0;
            return known.answer();
        }
        if self.asked.is_empty() || self.takes_more() {
            let request = FilterRequest::of(codec, steps, work)?;
            self.asked_bytes += request.bytes.len();
            self.asked.push(request);
        }
        Err(Error::new(ErrorKind::Busy, "a chunk has yet to go through its filters; try again"))
    }

    fn takes_more(&self) -> bool {
        self.asked.len() < MAX_ASKED && self.asked_bytes < MAX_ASKED_BYTES
    }
}

/// What a thread does. No destructor: exit handlers may still use files.
type Slot = RefCell<ManuallyDrop<Option<Box<FilterOperation>>>>;

thread_local! {
    static OPERATION: Slot = const { RefCell::new(ManuallyDrop::new(None)) };
}

fn replace(operation: Option<Box<FilterOperation>>) -> Option<Box<FilterOperation>> {
    OPERATION.with(|slot| ManuallyDrop::into_inner(slot.replace(ManuallyDrop::new(operation))))
}

fn look<T>(look: impl FnOnce(&mut FilterOperation) -> T) -> Option<T> {
    OPERATION.with(|slot| slot.borrow_mut().as_mut().map(|operation| look(operation)))
}

/// Whether an operation of this thread can be started again.
pub(crate) fn can_wait() -> bool {
    look(|_| ()).is_some()
}

/// Whether an operation failed because chunks have yet to go through filters, and may go on to ask for more of them.
pub(crate) fn is_waiting() -> bool {
    look(|operation| !operation.asked.is_empty() && operation.takes_more()).unwrap_or(false)
}

/// Asks for a chunk to go through a codec: the answer, or an error if it has yet to do so. Nothing if no operation of this
/// thread can be started again.
pub(super) fn ask(
    codec: &Arc<dyn ChunkCodec>,
    steps: &Arc<Steps>,
    work: Work<'_>,
) -> Option<Result<(u32, Vec<u8>)>> {
    look(|operation| operation.ask(codec, steps, work))
}

/// Puts an operation back when a panic unwinds.
struct Restored(Option<Box<FilterOperation>>);

impl Drop for Restored {
    fn drop(&mut self) {
        replace(self.0.take());
    }
}

/// Runs an operation that may need filters of others while it holds locks. It is started again whenever one has run.
///
/// # Errors
/// Those of the operation and of the filters.
pub(crate) fn without_locks<T>(mut operation: impl FnMut() -> Result<T>) -> Result<T> {
    if can_wait() {
        // The outer one is started again.
        return operation();
    }
    let mut state = Box::<FilterOperation>::default();
    for _ in 0..MAX_ROUNDS {
        let outer = Restored(replace(Some(state)));
        let result = operation();
        state = replace(None).unwrap_or_default();
        drop(outer);
        if result.is_ok() || state.asked.is_empty() {
            return result;
        }
        state.answered.retain(|known| known.idle < MAX_IDLE);
        state.answered.iter_mut().for_each(|known| known.idle += 1);
        state.asked_bytes = 0;
        for asked in std::mem::take(&mut state.asked) {
            let result = run(&*asked.codec, &asked.steps, asked.work());
            state.answered.push(Answered { asked, result, idle: 1 });
        }
    }
    Err(Error::new(
        ErrorKind::Busy,
        "other threads change the chunks while they go through their filters; try again",
    ))
}
