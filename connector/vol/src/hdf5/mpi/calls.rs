//! MPI's functions, as addresses, and safe calls of them.

use std::ffi::{CStr, c_int, c_void};

use h5lake_plugin_abi::Hdf5;

use crate::error::{Error, Minor, Result};

/// `MPI_Comm_rank` and `MPI_Comm_size`.
type Ask<H> = unsafe extern "C" fn(H, *mut c_int) -> c_int;
/// `MPI_Bcast`: buffer, count, type, root, communicator.
type Broadcast<H> = unsafe extern "C" fn(*mut c_void, c_int, H, c_int, H) -> c_int;
/// `MPI_Allgather`: sent bytes, their count and type, received bytes, likewise, communicator.
type Gather<H> = unsafe extern "C" fn(*const c_void, c_int, H, *mut c_void, c_int, H, H) -> c_int;
/// `MPI_Alltoall`: as `MPI_Allgather`, with as many elements for each process.
type Exchange<H> = Gather<H>;
/// `MPI_Alltoallv`: sent bytes, counts and offsets of those for each process, their type; received bytes, likewise;
/// communicator.
type ExchangeParts<H> = unsafe extern "C" fn(
    *const c_void,
    *const c_int,
    *const c_int,
    H,
    *mut c_void,
    *const c_int,
    *const c_int,
    H,
    H,
) -> c_int;
/// `MPI_Comm_free`.
type Free<H> = unsafe extern "C" fn(*mut H) -> c_int;
/// `MPI_Finalized`.
type Finalized = unsafe extern "C" fn(*mut c_int) -> c_int;

/// MPI's functions for handles of type `H`: a `c_int`, or an address.
#[derive(Clone, Copy)]
pub(super) struct Calls<H> {
    rank: Ask<H>,
    size: Ask<H>,
    broadcast: Broadcast<H>,
    gather: Gather<H>,
    exchange: Exchange<H>,
    exchange_parts: ExchangeParts<H>,
    free: Free<H>,
    finalized: Finalized,
    byte: H,
}

impl<H: Copy> Calls<H> {
    pub(super) fn of(hdf5: &Hdf5, byte: H) -> Result<Self> {
        let missing = |name: &CStr| {
            let text = format!("the parallel libhdf5 does not lead to {}", name.to_string_lossy());
            Error::new(Minor::CannotOperate, text)
        };
        macro_rules! call {
            ($name:literal, $signature:ty) => {{
                let address = hdf5.beneath($name).ok_or_else(|| missing($name))?;
                // SAFETY: the signature is that of the MPI standard, with this MPI's type of handles.
                unsafe { std::mem::transmute::<*mut c_void, $signature>(address.as_ptr()) }
            }};
        }
        Ok(Self {
            rank: call!(c"MPI_Comm_rank", Ask<H>),
            size: call!(c"MPI_Comm_size", Ask<H>),
            broadcast: call!(c"MPI_Bcast", Broadcast<H>),
            gather: call!(c"MPI_Allgather", Gather<H>),
            exchange: call!(c"MPI_Alltoall", Exchange<H>),
            exchange_parts: call!(c"MPI_Alltoallv", ExchangeParts<H>),
            free: call!(c"MPI_Comm_free", Free<H>),
            finalized: call!(c"MPI_Finalized", Finalized),
            byte,
        })
    }
}

fn checked(code: c_int, name: &str) -> Result<()> {
    // MPI_SUCCESS. By default MPI ends the program instead of returning an error.
    if code == 0 { Ok(()) } else { Err(Error::new(Minor::CannotOperate, format!("{name} failed ({code})"))) }
}

/// The calls that a file needs, independent of the type of MPI's handles.
pub(super) trait Messages: Send + Sync {
    fn rank(&self) -> Result<(usize, usize)>;
    fn broadcast(&self, bytes: &mut [u8], root: usize) -> Result<()>;
    /// Gathers the messages of all processes. `all` has space for as many bytes of each process as `mine` has.
    fn gather(&self, mine: &[u8], all: &mut [u8]) -> Result<()>;
    /// Exchanges lengths: `lengths` has the length of the message to each process, and `received` gets the length of
    /// the message from each process.
    fn exchange_lengths(&self, lengths: &[c_int], received: &mut [c_int]) -> Result<()>;
    /// Sends the messages in `sent`, and receives into `received` as many bytes from each process as its lengths say.
    fn exchange_parts(&self, sent: &Parts, received: &mut Parts) -> Result<()>;
    /// Returns whether MPI has ended: none of its functions may be called any more.
    fn is_over(&self) -> bool;
    fn free(&mut self);
}

pub(super) struct ProcessGroup<H> {
    pub(super) calls: Calls<H>,
    pub(super) handle: H,
}

// SAFETY: handles are numbers, or addresses that only MPI dereferences. libhdf5 calls us with its own lock held, so
// that one thread at a time gets here, as MPI_THREAD_SERIALIZED requires; programs with threads have to initialise MPI
// in this way for native parallel files, too.
unsafe impl<H> Send for ProcessGroup<H> {}
// SAFETY: as for Send.
unsafe impl<H> Sync for ProcessGroup<H> {}

fn count(n: usize) -> Result<c_int> {
    c_int::try_from(n).map_err(|_| Error::argument("a message of more than 2 GiB"))
}

impl<H: Copy> Messages for ProcessGroup<H> {
    fn rank(&self) -> Result<(usize, usize)> {
        let (mut rank, mut size) = (0, 0);
        // SAFETY: a communicator that is open; the answers' places outlive the calls.
        checked(unsafe { (self.calls.rank)(self.handle, &mut rank) }, "MPI_Comm_rank")?;
        // SAFETY: as above.
        checked(unsafe { (self.calls.size)(self.handle, &mut size) }, "MPI_Comm_size")?;
        let number = |n: c_int| usize::try_from(n).map_err(|_| Error::call("MPI_Comm_size"));
        Ok((number(rank)?, number(size)?))
    }

    fn broadcast(&self, bytes: &mut [u8], root: usize) -> Result<()> {
        let (data, length, root) = (bytes.as_mut_ptr().cast(), count(bytes.len())?, count(root)?);
        // SAFETY: the buffer has that many bytes, in every process.
        let code = unsafe { (self.calls.broadcast)(data, length, self.calls.byte, root, self.handle) };
        checked(code, "MPI_Bcast")
    }

    fn gather(&self, mine: &[u8], all: &mut [u8]) -> Result<()> {
        let (byte, data, length) = (self.calls.byte, all.as_mut_ptr().cast(), count(mine.len())?);
        // SAFETY: `all` has that many bytes for each process of the communicator, as its only caller ensures.
        let code = unsafe {
            (self.calls.gather)(mine.as_ptr().cast(), length, byte, data, length, byte, self.handle)
        };
        checked(code, "MPI_Allgather")
    }

    fn exchange_lengths(&self, lengths: &[c_int], received: &mut [c_int]) -> Result<()> {
        let (byte, each) = (self.calls.byte, count(size_of::<c_int>())?);
        let (from, to) = (lengths.as_ptr().cast(), received.as_mut_ptr().cast());
        // SAFETY: both have a number for each process of the communicator, as their only caller ensures.
        checked(
            unsafe { (self.calls.exchange)(from, each, byte, to, each, byte, self.handle) },
            "MPI_Alltoall",
        )
    }

    fn exchange_parts(&self, sent: &Parts, received: &mut Parts) -> Result<()> {
        let (byte, from, to) =
            (self.calls.byte, sent.bytes.as_ptr().cast(), received.bytes.as_mut_ptr().cast());
        // SAFETY: both have a length and an offset for each process of the communicator, and the bytes that these
        // describe; neither is empty, so that no MPI confuses its address with a constant.
        let code = unsafe {
            (self.calls.exchange_parts)(
                from,
                sent.lengths.as_ptr(),
                sent.places.as_ptr(),
                byte,
                to,
                received.lengths.as_ptr(),
                received.places.as_ptr(),
                byte,
                self.handle,
            )
        };
        checked(code, "MPI_Alltoallv")
    }

    fn is_over(&self) -> bool {
        let mut over = 1;
        // SAFETY: may be called at any time; the answer's place outlives the call.
        unsafe { (self.calls.finalized)(&mut over) != 0 || over != 0 }
    }

    fn free(&mut self) {
        // SAFETY: a communicator that is open and not used again.
        let _nobody_can_do_anything_about_it = unsafe { (self.calls.free)(&mut self.handle) };
    }
}

/// Messages to or from each process, one after the other.
pub(super) struct Parts {
    bytes: Vec<u8>,
    pub(super) lengths: Vec<c_int>,
    places: Vec<c_int>,
}

impl Parts {
    /// Makes space for messages of these lengths.
    pub(super) fn of_lengths(lengths: Vec<c_int>) -> Result<Self> {
        let (mut places, mut end) = (Vec::with_capacity(lengths.len()), 0_usize);
        for length in &lengths {
            places.push(count(end)?);
            let length = usize::try_from(*length).map_err(|_| Error::call("MPI_Alltoall"))?;
            end = end.saturating_add(length);
        }
        count(end)?;
        // The vector is never empty: the address in an empty vector is MPI_IN_PLACE for Open MPI.
        Ok(Self { bytes: vec![0; end.max(1)], lengths, places })
    }

    /// Takes these messages, one to each process.
    pub(super) fn of_messages(to_each: &[Vec<u8>]) -> Result<Self> {
        let mut parts =
            Self::of_lengths(to_each.iter().map(|message| count(message.len())).collect::<Result<_>>()?)?;
        for (message, at) in to_each.iter().zip(&parts.places) {
            parts.bytes[*at as usize..][..message.len()].copy_from_slice(message);
        }
        Ok(parts)
    }

    /// Returns the messages.
    pub(super) fn each(&self) -> impl Iterator<Item = &[u8]> {
        let spans = self.places.iter().zip(&self.lengths);
        spans.map(|(at, length)| &self.bytes[*at as usize..*at as usize + *length as usize])
    }
}
