//! Reads: an object's size, time, version, attributes and some bytes, all from the same moment.

use std::ffi::{CStr, c_char, c_int};
use std::io;

use crate::completion::{Bound, Completion};
use crate::library::{Functions, Raw};
use crate::{Cluster, Pool};

/// A read of one object.
#[derive(Debug)]
pub struct Read<'a> {
    /// The object's name.
    pub name: &'a CStr,
    /// The offset of the first byte, from the object's start.
    pub offset: u64,
    /// The buffers for the bytes, one after the other; they are filled only up to the object's end. No buffers, or
    /// empty ones, request no bytes.
    pub buffers: Vec<&'a mut [u8]>,
    /// The version that the object must have; otherwise the error number is that of `ERANGE` or `EOVERFLOW`.
    pub version: Option<u64>,
}

/// The answer to a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The object's length in bytes.
    pub size: u64,
    /// The time of its last write, in seconds since 1970, as its writer gave it.
    pub modified: i64,
    /// Its version.
    pub version: u64,
    /// The number of bytes that were read.
    pub bytes: usize,
    /// The value of the requested attribute.
    pub attribute: Option<Vec<u8>>,
}

/// The variables that librados writes its answers to. They are boxed, so that their addresses do not change.
#[derive(Default)]
struct Outputs {
    size: u64,
    modified: libc::time_t,
    attributes: Option<std::ptr::NonNull<std::ffi::c_void>>,
    codes: [c_int; 2],
}

/// The variables for the bytes of one buffer.
#[derive(Clone, Default)]
struct Came {
    bytes: usize,
    code: c_int,
}

/// A read in progress. It ends at the latest when this is dropped, so that librados does not write to the buffer
/// afterwards.
struct PendingRead<'a> {
    functions: &'static Functions,
    pool: &'a Pool,
    operation: Raw,
    completion: Option<Completion>,
    outputs: Box<Outputs>,
    /// One entry for each buffer; the length does not change while the read is in progress.
    came: Box<[Came]>,
    /// The buffer is lent to librados until the completion.
    _buffer: std::marker::PhantomData<&'a mut [u8]>,
}

impl Drop for PendingRead<'_> {
    fn drop(&mut self) {
        if let Some(completion) = self.completion.take_if(|completion| !completion.is_over()) {
            completion.cancel(self.pool);
        }
        if let Some(attributes) = self.outputs.attributes.take() {
            // SAFETY: librados made the iterator for this read, and it is released once.
            unsafe { (self.functions.getxattrs_end)(attributes.as_ptr()) }
        }
        // SAFETY: the operation is over, and is released once.
        unsafe { (self.functions.release_read_op)(self.operation) }
    }
}

impl<'a> PendingRead<'a> {
    fn new(pool: &'a Pool) -> io::Result<Self> {
        let functions = pool.functions;
        // SAFETY: the function takes no arguments.
        let operation = unsafe { (functions.create_read_op)() };
        if operation.is_null() {
            return Err(io::Error::from(io::ErrorKind::OutOfMemory));
        }
        let (outputs, came) = (Box::default(), Box::default());
        Ok(PendingRead {
            functions,
            pool,
            operation,
            completion: None,
            outputs,
            came,
            _buffer: Default::default(),
        })
    }

    fn start(pool: &'a Pool, read: Read<'a>) -> io::Result<Self> {
        let mut pending = PendingRead::new(pool)?;
        pending.came = vec![Came::default(); read.buffers.len()].into();
        let (functions, operation) = (pool.functions, pending.operation);
        let outputs: *mut Outputs = &mut *pending.outputs;
        // SAFETY: the outputs are boxed, and live until the operation is over. The iterator's variable may hold null,
        // which is `None`.
        unsafe {
            if let Some(version) = read.version {
                (functions.read_op_assert_version)(operation, version);
            }
            let codes = &raw mut (*outputs).codes;
            let code = |n: usize| codes.cast::<c_int>().add(n);
            (functions.read_op_stat)(
                operation,
                &raw mut (*outputs).size,
                &raw mut (*outputs).modified,
                code(0),
            );
            (functions.read_op_getxattrs)(operation, (&raw mut (*outputs).attributes).cast::<Raw>(), code(1));
        }
        let mut offset = read.offset;
        let filled = read.buffers.into_iter().zip(&mut pending.came).filter(|(buffer, _)| !buffer.is_empty());
        for (buffer, came) in filled {
            let (to, length) = (buffer.as_mut_ptr().cast::<c_char>(), buffer.len());
            // SAFETY: the buffer is lent to the read, and the variables for the answer are boxed: both live until the
            // operation is over.
            unsafe {
                (functions.read_op_read)(operation, offset, length, to, &mut came.bytes, &mut came.code);
            }
            offset = offset.saturating_add(length as u64);
        }
        pending.submit(read.name)?;
        Ok(pending)
    }

    fn submit(&mut self, name: &CStr) -> io::Result<()> {
        let (functions, operation, pool) = (self.functions, self.operation, self.pool.raw);
        // SAFETY: the handles are alive, the name ends with NUL and is copied.
        let submit = |completion| unsafe {
            (functions.aio_read_op_operate)(operation, pool, completion, name.as_ptr(), 0)
        };
        self.completion = Some(Completion::submit(functions, submit)?);
        Ok(())
    }

    fn wait(&self, bound: &dyn Bound) -> io::Result<u64> {
        match &self.completion {
            Some(completion) => completion.wait(self.pool, bound),
            None => Err(io::Error::other("the read was not begun")),
        }
    }

    fn answer(mut self, attribute: &CStr, bound: &dyn Bound) -> io::Result<Answer> {
        let version = self.wait(bound)?;
        let attribute = self.attribute(attribute)?;
        let Outputs { size, modified, .. } = *self.outputs;
        let bytes = self.came.iter().map(|came| came.bytes).sum();
        Ok(Answer { size, modified, version, bytes, attribute })
    }

    /// Returns the value of an attribute, if the object has it.
    fn attribute(&mut self, wanted: &CStr) -> io::Result<Option<Vec<u8>>> {
        let Some(attributes) = self.outputs.attributes else { return Ok(None) };
        loop {
            let (mut name, mut value, mut length) = (std::ptr::null(), std::ptr::null(), 0);
            // SAFETY: the iterator belongs to librados, and the outputs can be written.
            let code = unsafe {
                (self.functions.getxattrs_next)(attributes.as_ptr(), &mut name, &mut value, &mut length)
            };
            crate::library::answered(code)?;
            if name.is_null() {
                return Ok(None);
            }
            // SAFETY: a name that is not null ends with NUL, and lives as long as the iterator.
            if unsafe { CStr::from_ptr(name) } != wanted {
                continue;
            }
            if value.is_null() || length == 0 {
                return Ok(Some(Vec::new()));
            }
            // SAFETY: librados says that these bytes exist; they live as long as the iterator.
            let value = unsafe { std::slice::from_raw_parts(value.cast::<u8>(), length) };
            return Ok(Some(value.to_vec()));
        }
    }
}

impl Pool {
    /// Performs all reads at the same time, and waits for each of them, so there should be few. The answers are in the
    /// order of the reads. Each answer contains the attribute `attribute`, if the object has it. After an error the
    /// buffer's content is unspecified.
    pub fn read_all(
        &self,
        reads: Vec<Read<'_>>,
        attribute: &CStr,
        bound: &dyn Bound,
    ) -> Vec<io::Result<Answer>> {
        if !self.cluster.is_own() {
            return reads.iter().map(|_| Err(not_own())).collect();
        }
        let pending: Vec<_> = reads.into_iter().map(|read| PendingRead::start(self, read)).collect();
        pending.into_iter().map(|read| read.and_then(|read| read.answer(attribute, bound))).collect()
    }

    /// Calls a method of an object class in the object's server. The method must not change anything, and may return at
    /// most `most` bytes.
    ///
    /// # Errors
    /// The method's error: `EOPNOTSUPP` if there is no such class, `EPERM` if the client may not call it.
    pub fn call(
        &self,
        name: &CStr,
        (class, method): (&CStr, &CStr),
        input: &[u8],
        most: usize,
        bound: &dyn Bound,
    ) -> io::Result<Vec<u8>> {
        if !self.cluster.is_own() {
            return Err(not_own());
        }
        let mut output = vec![0_u8; most];
        let mut pending = PendingRead::new(self)?;
        pending.came = vec![Came::default()].into();
        let came: *mut Came = &mut pending.came[0];
        // SAFETY: texts end with NUL, and the input is copied. The output outlives the operation, which ends in this
        // function.
        unsafe {
            (self.functions.read_op_exec_user_buf)(
                pending.operation,
                class.as_ptr(),
                method.as_ptr(),
                input.as_ptr().cast::<c_char>(),
                input.len(),
                output.as_mut_ptr().cast::<c_char>(),
                output.len(),
                &raw mut (*came).bytes,
                &raw mut (*came).code,
            );
        }
        pending.submit(name)?;
        pending.wait(bound)?;
        let came = pending.came[0].bytes.min(most);
        drop(pending);
        output.truncate(came);
        Ok(output)
    }
}

/// Returns the error of a forked child that uses its parent's connection: it would wait for threads that it does not
/// have.
pub(crate) fn not_own() -> io::Error {
    io::Error::other("the connection belongs to the process that this one was forked from")
}

impl Pool {
    /// Returns the connection.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }
}
