//! The processes of an MPI program, as far as a file needs them.
//!
//! h5lake is not linked to MPI: a parallel libhdf5 is, and the symbols of its MPI are looked up through that library's
//! handle. MPICH and MPIs derived from it have handles of 4 bytes and constants; in Open MPI handles are addresses of
//! its own data.

mod calls;

use std::ffi::{CStr, c_int, c_void};
use std::mem::MaybeUninit;

use object_stores::deadline;

use crate::error::{Error, Minor, Result};
use crate::hdf5::datatype::{check, truth};
use crate::hdf5::library::{Hid, Library};

use self::calls::{Calls, Messages, Parts, ProcessGroup};

/// The value of `MPI_BYTE` in MPICH, Intel MPI, MVAPICH and Cray MPI (the MPICH ABI initiative).
const MPICH_BYTE: c_int = 0x4c00_010d;
/// The property of a file access list that holds the communicator (`H5F_ACS_MPI_PARAMS_COMM_NAME`).
const PROPERTY: &CStr = c"mpi_params_comm";
/// The most bytes of an error's text that are sent to the other processes.
const TEXT: usize = 4096;

/// The bit from which a message has the value that must be the same in all processes, behind the length of an error's
/// text.
const ALIKE: u32 = 16;
/// The bit from which a message has flags.
const FLAGS: u32 = 32;
/// The error if messages differ in the value that must be the same.
const APART: &str = "the processes of the MPI program make different calls for a file that they have open together, or made a \
                     different number of objects before, because a call failed in some of them";

/// `H5Pget_dxpl_mpio`, which only a parallel libhdf5 has: its arguments are a list, and the place of an
/// `H5FD_mpio_xfer_t`.
type TransferMode = unsafe extern "C" fn(Hid, *mut c_int) -> c_int;
/// `H5FD_MPIO_COLLECTIVE`.
const COLLECTIVE: c_int = 1;
/// The processes that have a file open together, each with a number from 0 on, its rank.
///
/// Their calls are *collective*: every process makes the same calls in the same order; otherwise all of them wait
/// forever.
pub struct Processes {
    messages: Box<dyn Messages>,
    mode: TransferMode,
    rank: usize,
    size: usize,
}

impl std::fmt::Debug for Processes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {} of {}", self.rank, self.size)
    }
}

impl Library {
    /// Returns the processes that open a file with this access list (`H5Pset_fapl_mpio`), with a communicator of their
    /// own. Collective.
    ///
    /// # Errors
    /// If the list has no communicator, or MPI's functions cannot be found.
    pub fn processes(self, access: Hid) -> Result<Processes> {
        let table = self.table();
        let name = PROPERTY.as_ptr();
        // SAFETY: a terminated name; a bad list is an error.
        if !truth(unsafe { (table.H5Pexist)(access, name) }, "H5Pexist")? {
            return Err(Error::argument("this libhdf5 is not built for MPI"));
        }
        let mut size = 0_usize;
        // SAFETY: a terminated name; the answer's place outlives the call.
        check(unsafe { (table.H5Pget_size)(access, name, &mut size) }, "H5Pget_size")?;
        let messages: Box<dyn Messages> = match size {
            4 => {
                let calls = Calls::<c_int>::of(table, MPICH_BYTE)?;
                Box::new(ProcessGroup { calls, handle: self.communicator(access)? })
            }
            8 => {
                let byte = table
                    .beneath(c"ompi_mpi_byte")
                    .ok_or_else(|| Error::unsupported("an MPI that is neither MPICH's kind nor Open MPI"))?;
                let calls = Calls::<*mut c_void>::of(table, byte.as_ptr())?;
                Box::new(ProcessGroup { calls, handle: self.communicator(access)? })
            }
            other => {
                return Err(Error::unsupported(format!("an MPI whose communicators have {other} bytes")));
            }
        };
        let (rank, size) = messages.rank()?;
        Ok(Processes { messages, mode: self.transfer_mode()?, rank, size })
    }

    fn transfer_mode(self) -> Result<TransferMode> {
        let missing = || Error::unsupported("a parallel libhdf5 without H5Pget_dxpl_mpio");
        let address = self.table().beneath(c"H5Pget_dxpl_mpio").ok_or_else(missing)?;
        // SAFETY: the signature is that of H5FDmpio.h, the same since HDF5 1.4.
        Ok(unsafe { std::mem::transmute::<*mut c_void, TransferMode>(address.as_ptr()) })
    }

    /// Returns a duplicate of the list's communicator: getting it calls `MPI_Comm_dup`.
    fn communicator<H: Copy>(self, access: Hid) -> Result<H> {
        let mut handle = MaybeUninit::<H>::uninit();
        let place = handle.as_mut_ptr().cast();
        // SAFETY: the property has the size of H, as the caller has checked.
        check(unsafe { (self.table().H5Pget)(access, PROPERTY.as_ptr(), place) }, "H5Pget")?;
        // SAFETY: filled in by the call that succeeded.
        Ok(unsafe { handle.assume_init() })
    }
}

impl Processes {
    /// Returns this process's rank.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Returns the number of processes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Returns whether a transfer with this list is collective (`H5FD_MPIO_COLLECTIVE`).
    ///
    /// # Errors
    /// If the list is no transfer list.
    pub fn is_collective(&self, transfer: Hid) -> Result<bool> {
        if transfer == 0 {
            return Ok(false);
        }
        let mut mode = 0;
        // SAFETY: any list may be given, a bad one is an error; the answer's place outlives the call.
        check(unsafe { (self.mode)(transfer, &mut mode) }, "H5Pget_dxpl_mpio")?;
        Ok(mode == COLLECTIVE)
    }

    /// Returns whether MPI has ended, so that no process waits for a message any more.
    pub fn are_over(&self) -> bool {
        self.messages.is_over()
    }

    fn check(&self) -> Result<()> {
        match self.are_over() {
            true => {
                Err(Error::new(Minor::CannotOperate, "the file is used after the end of MPI (MPI_Finalize)"))
            }
            false => Ok(()),
        }
    }

    /// Returns process 0's value of a number, in all processes.
    ///
    /// # Errors
    /// The errors of MPI.
    pub fn number_of_first(&self, mine: u64) -> Result<u64> {
        self.check()?;
        let mut bytes = mine.to_le_bytes();
        deadline::wait_outside_store(|| self.messages.broadcast(&mut bytes, 0))?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Returns the messages of all processes, one after the other; each has the same number of bytes.
    ///
    /// # Errors
    /// The errors of MPI.
    pub fn gather(&self, mine: &[u8]) -> Result<Vec<u8>> {
        self.check()?;
        let mut all = vec![0; mine.len() * self.size];
        deadline::wait_outside_store(|| self.messages.gather(mine, &mut all))?;
        Ok(all)
    }

    /// Sends a different message to each process, and returns the messages received from each of them.
    ///
    /// # Errors
    /// The errors of MPI. If one process has more than 2 GiB to send or to receive.
    pub fn exchange_messages(&self, to_each: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
        self.check()?;
        let sent = Parts::of_messages(to_each)?;
        let mut lengths = vec![0; self.size];
        deadline::wait_outside_store(|| self.messages.exchange_lengths(&sent.lengths, &mut lengths))?;
        let mut received = Parts::of_lengths(lengths)?;
        deadline::wait_outside_store(|| self.messages.exchange_parts(&sent, &mut received))?;
        Ok(received.each().map(<[u8]>::to_vec).collect())
    }

    /// Waits for all processes. If one process failed, this fails in all processes, with the error of the first that
    /// failed.
    ///
    /// # Errors
    /// The process's own error if it failed; otherwise an error that names the first failed process and contains its
    /// error.
    pub fn agree<T>(&self, done: Result<T>) -> Result<T> {
        self.exchange(done, 0, 0).map(|(done, _)| done)
    }

    /// Exchanges outcomes like [`agree`](Self::agree), and also flags: returns the union of all processes' flags.
    /// `alike` must be the same in all processes. If it differs, the processes make different calls, and must not
    /// mistake each other's messages for answers.
    ///
    /// # Errors
    /// As for [`agree`](Self::agree), and if `alike` differs.
    pub fn exchange<T>(&self, done: Result<T>, flags: u32, alike: u16) -> Result<(T, u32)> {
        self.exchange_numbers(done, flags, alike, 0).map(|(done, flags, _)| (done, flags))
    }

    /// Exchanges like [`exchange`](Self::exchange), and also a number. Returns the numbers of all processes, by rank.
    ///
    /// # Errors
    /// As for [`exchange`](Self::exchange).
    pub fn exchange_numbers<T>(
        &self,
        done: Result<T>,
        flags: u32,
        alike: u16,
        number: u64,
    ) -> Result<(T, u32, Vec<u64>)> {
        let text = done.as_ref().err().map(|error| error.to_string()).unwrap_or_default();
        let text = &text.as_bytes()[..text.len().min(TEXT)];
        // The length is stored plus one: 0 means success.
        let mine = if done.is_err() { text.len() as u64 + 1 } else { 0 };
        let mine = mine | u64::from(alike) << ALIKE | u64::from(flags) << FLAGS;
        let all = self.gather([mine, number].map(u64::to_le_bytes).as_flattened())?;
        let all = all.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        let entries = || all.clone().step_by(2);
        let flags = entries().fold(0, |flags, entry| flags | (entry >> FLAGS) as u32);
        let lengths = entries().map(|entry| entry & u64::from(u16::MAX));
        let Some((first, length)) = lengths.enumerate().find(|(_, length)| *length > 0) else {
            return match entries().all(|entry| (entry >> ALIKE) as u16 == alike) {
                true => done.map(|done| (done, flags, all.skip(1).step_by(2).collect())),
                false => Err(Error::new(Minor::CannotOperate, APART)),
            };
        };
        let mut said = text.to_vec();
        said.resize(usize::try_from(length - 1).unwrap_or(TEXT).min(TEXT), 0);
        if !said.is_empty() {
            deadline::wait_outside_store(|| self.messages.broadcast(&mut said, first))?;
        }
        match done {
            Err(error) => Err(error),
            Ok(_) => {
                let text = String::from_utf8_lossy(&said);
                Err(Error::new(
                    Minor::CannotOperate,
                    format!("process {first} of the MPI program failed: {text}"),
                ))
            }
        }
    }
}

impl Drop for Processes {
    /// Frees the communicator. Collective, as closing a file is.
    fn drop(&mut self) {
        if !self.messages.is_over() {
            self.messages.free();
        }
    }
}
