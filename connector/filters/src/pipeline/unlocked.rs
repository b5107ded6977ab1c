//! Runs codecs while the thread holds no lock. An operation that finds under its locks that a chunk needs filters
//! requests them and fails. After it has released its locks, the codec runs, and the operation starts again and finds
//! the result.
//!
//! Therefore a closure run in [`without_locks`] must be restartable at any place where it requests a codec. Operations
//! are, because any of their reads or writes may fail there, too. An operation on many chunks remembers which are done,
//! or leaves them in a state in which it need not process them again.

use super::ChunkCodec;
use super::foreign::{Work, run};
use super::steps::Steps;
use h5lake_ledger::buffers;
use h5lake_records::memory::copied;
use h5lake_records::{Error, ErrorKind, Result};
use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::sync::Arc;

/// Maximum number of chunks that one round of an operation requests.
const MAX_ASKED: usize = 64;
/// Maximum bytes of these chunks: together with the results, they stay within the pool of buffers.
const MAX_ASKED_BYTES: usize = 4 << 20;
/// Maximum number of rounds of one operation. In each round, other threads may change the filtered chunks again.
const MAX_ROUNDS: usize = 1 << 20;

/// Number of rounds for which an unused result is kept.
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
    /// Number of rounds in which it was not used.
    idle: u32,
}

impl Answered {
    /// Returns the result in a recycled buffer, because new memory costs more than the copy.
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

/// The restartable operation of this thread.
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
        // The result of a filter depends only on its parameters and the bytes.
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

/// The operation of a thread. It has no destructor, because exit handlers may still use files.
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

/// Returns whether this thread is in a restartable operation.
pub fn can_wait() -> bool {
    look(|_| ()).is_some()
}

/// Returns whether the operation failed because chunks have yet to be filtered, and may request filters for more
/// chunks.
pub fn is_waiting() -> bool {
    look(|operation| !operation.asked.is_empty() && operation.takes_more()).unwrap_or(false)
}

/// Requests a chunk to be run through a codec. Returns the result, or an error if the codec has yet to run; `None` if
/// this thread is not in a restartable operation.
pub(super) fn ask(
    codec: &Arc<dyn ChunkCodec>,
    steps: &Arc<Steps>,
    work: Work<'_>,
) -> Option<Result<(u32, Vec<u8>)>> {
    look(|operation| operation.ask(codec, steps, work))
}

/// Restores the outer operation, even if a panic unwinds.
struct Restored(Option<Box<FilterOperation>>);

impl Drop for Restored {
    fn drop(&mut self) {
        replace(self.0.take());
    }
}

/// Runs an operation that may need foreign filters while it holds locks. The operation is restarted after the requested
/// filters have run.
///
/// # Errors
/// Those of the operation and of the filters.
pub fn without_locks<T>(mut operation: impl FnMut() -> Result<T>) -> Result<T> {
    if can_wait() {
        // The outer operation is restarted.
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
