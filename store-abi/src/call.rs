//! Calls in progress, and the functions with which libraries answer them.
//!
//! A library gets the number of its call, but no address of this crate. The number is looked up among the calls in
//! progress of the answering thread. So an answer that comes after the call has returned, or from another thread, finds
//! no call: this marks the library as faulty, and no later call of the library succeeds.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::{c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::answer::{Flow, Receiver};
use crate::exit::is_over;
use crate::failure::{Asked, Kind, outcome};
use crate::{Failure, Library, check, library, raw};

/// The maximum length of a failure's detail, in bytes; further bytes are ignored.
const MAX_DETAIL: u64 = 1000;
/// The number of bits of a call's number that count calls; the bits above identify the library.
const COUNT_BITS: u32 = 48;

static HOST: raw::Host = raw::Host {
    size: size_of::<raw::Host>() as u32,
    version: raw::VERSION,
    opened,
    object,
    bytes,
    payload,
    detail,
};

static COUNT: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// The innermost call of this thread. It has no destructor, because exit handlers use it.
    static INNERMOST: Cell<*const UnderWay> = const { Cell::new(std::ptr::null()) };
}

/// A call in progress.
struct UnderWay {
    number: u64,
    library: &'static Library,
    /// The call around it, made by a library that calls another one.
    outer: *const UnderWay,
    state: RefCell<State>,
}

struct State {
    /// Borrowed from the caller while the call is in progress.
    receiver: *mut dyn Receiver,
    broken: Option<Failure>,
    detail: Option<String>,
    panic: Option<Box<dyn Any + Send>>,
}

/// Returns the library that runs in this thread, if one does: within a call, but not while it delivers an answer. A
/// function that would wait for a lock, which the call's caller may hold, can refuse to run instead.
pub fn running_library() -> Option<&'static Library> {
    // While an answer is delivered, the state is borrowed.
    find(|_| true).filter(|call| call.state.try_borrow().is_ok()).map(|call| call.library)
}

/// Returns the innermost call of this thread for which `is_wanted` is true.
fn find<'a>(is_wanted: impl Fn(&UnderWay) -> bool) -> Option<&'a UnderWay> {
    let mut at = INNERMOST.get();
    // SAFETY: the list contains calls on this thread's stack, in `make`, which removes its call from the list before it
    // returns. The caller uses the call within a function that a call of this thread waits for.
    while let Some(call) = unsafe { at.as_ref() } {
        if is_wanted(call) {
            return Some(call);
        }
        at = call.outer;
    }
    None
}

/// Removes a call from the list when it is dropped.
struct Listed {
    outer: *const UnderWay,
}

impl Drop for Listed {
    fn drop(&mut self) {
        INNERMOST.set(self.outer);
    }
}

/// Calls a library with `act`, and delivers its answers to `receiver`; returns whether there may be more.
///
/// # Errors
/// The library's failure, or the first rule that it violated.
pub(crate) fn make(
    library: &'static Library,
    asked: Asked,
    milliseconds: u64,
    receiver: &mut dyn Receiver,
    act: impl FnOnce(*const raw::Call) -> i32,
) -> Result<bool, Failure> {
    library.check_trust()?;
    if is_over() {
        return Err(Failure {
            kind: Kind::Failed,
            may_be_repeated: false,
            detail: "the program ends, and the store's library with it".to_owned(),
        });
    }
    let number = COUNT.fetch_add(1, Ordering::Relaxed) | (library.index() as u64) << COUNT_BITS;
    let outer = INNERMOST.get();
    // SAFETY: only the lifetime changes. The pointer is used while the call is in the list, which it leaves before this
    // function returns.
    let receiver =
        unsafe { std::mem::transmute::<&mut dyn Receiver, *mut (dyn Receiver + 'static)>(receiver) };
    let state = RefCell::new(State { receiver, broken: None, detail: None, panic: None });
    let under_way = UnderWay { number, library, outer, state };
    let call = raw::Call {
        size: size_of::<raw::Call>() as u32,
        version: raw::VERSION,
        host: &raw const HOST,
        number,
        milliseconds,
    };
    let code = {
        let _listed = Listed { outer };
        INNERMOST.set(&raw const under_way);
        act(&raw const call)
    };
    let state = under_way.state.into_inner();
    if let Some(panic) = state.panic {
        resume_unwind(panic);
    }
    if let Some(broken) = state.broken {
        return Err(broken);
    }
    library.check_trust()?;
    outcome(asked, code)
        .map_err(|failure| Failure { detail: state.detail.unwrap_or(failure.detail), ..failure })
}

/// Delivers an answer to a call. No panic crosses into the library: it resumes where the call was made.
fn take(
    number: u64,
    act: impl FnOnce(&mut dyn Receiver, &mut Option<String>) -> Result<Flow, Failure>,
) -> i32 {
    let Some(call) = find(|call| call.number == number) else {
        library::distrust((number >> COUNT_BITS) as usize);
        return raw::REFUSED;
    };
    // Only a receiver that calls the library could have borrowed it.
    let Ok(mut state) = call.state.try_borrow_mut() else { return raw::REFUSED };
    let state = &mut *state;
    if state.broken.is_some() || state.panic.is_some() {
        return raw::REFUSED;
    }
    // SAFETY: the call is in the list, so its caller still waits, and lends its receiver to no other code.
    let receiver = unsafe { &mut *state.receiver };
    let detail = &mut state.detail;
    match catch_unwind(AssertUnwindSafe(|| act(receiver, detail))) {
        Ok(Ok(Flow::GoOn)) => raw::GO_ON,
        Ok(Ok(Flow::Enough)) => raw::ENOUGH,
        Ok(Err(broken)) => {
            state.broken = Some(broken);
            raw::REFUSED
        }
        Err(panic) => {
            state.panic = Some(panic);
            raw::REFUSED
        }
    }
}

unsafe extern "C" fn opened(call: u64, opened: *const raw::Opened) -> i32 {
    take(call, |receiver, _| receiver.opened(check::read(opened)?))
}

unsafe extern "C" fn object(call: u64, object: *const raw::Object) -> i32 {
    take(call, |receiver, _| receiver.object(check::read(object)?))
}

unsafe extern "C" fn bytes(call: u64, bytes: *const c_void, length: u64) -> i32 {
    take(call, |receiver, _| receiver.bytes(check::bytes(bytes, length, "bytes")?))
}

unsafe extern "C" fn payload(call: u64, offset: u64, to: *mut *const c_void, length: *mut u64) -> i32 {
    take(call, |receiver, _| {
        let is_place = !to.is_null() && to.is_aligned() && !length.is_null() && length.is_aligned();
        if !is_place {
            return Err(Failure::misuse("it asked for a payload without a place for it"));
        }
        let piece = receiver.payload(offset)?;
        // SAFETY: the pointers are the library's, and were validated as far as possible.
        unsafe {
            to.write(piece.as_ptr().cast());
            length.write(piece.len() as u64);
        }
        Ok(Flow::GoOn)
    })
}

unsafe extern "C" fn detail(call: u64, text: *const c_char, length: u64) -> i32 {
    take(call, |_, detail| {
        let bytes = check::bytes(text.cast(), length.min(MAX_DETAIL), "a detail")?;
        let text = String::from_utf8_lossy(bytes);
        *detail = Some(text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect());
        Ok(Flow::GoOn)
    })
}
