//! Calls of a store. All answers of a call are validated.

use std::collections::BTreeMap;
use std::ffi::{c_char, c_void};
use std::fmt;
use std::ops::Range;

use crate::answer::{Flow, Object, Receiver};
use crate::exit::is_over;
use crate::failure::Asked;
use crate::library::with_nul;
use crate::{Failure, Library, call, check, raw};

/// A store that a library opened. It is closed when it is dropped, in the process that opened it.
///
/// A forked child must not use a store that it inherited. It opens its own.
pub struct Store {
    library: &'static Library,
    handle: *mut c_void,
    /// The capabilities that it promises; see [`raw`].
    capabilities: u64,
    process: u32,
}

// SAFETY: the interface allows any thread to call any function of a library.
unsafe impl Send for Store {}
// SAFETY: the interface allows several threads to call functions for the same store at the same time.
unsafe impl Sync for Store {}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("library", &self.library.name()).finish_non_exhaustive()
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.process == std::process::id() && !is_over() {
            // SAFETY: the library returned the handle, which is closed once, and no call with it is in progress.
            unsafe { (self.library.functions.close)(self.handle) }
        }
    }
}

/// A store that was just opened, with its library's description of it.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// The store's name for messages. It is never empty.
    pub name: String,
    /// The part of the URL that is a prefix of keys. May be empty.
    pub prefix: String,
}

/// A request to read a range of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read<'a> {
    /// The object's key.
    pub key: &'a str,
    /// The requested bytes. Bytes beyond the object's end do not exist.
    pub range: Range<u64>,
}

/// The condition under which a write takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode<'a> {
    /// No condition.
    Overwrite,
    /// The object does not exist.
    Create,
    /// The object has this etag.
    Update(&'a str),
}

/// A write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write<'a> {
    /// The object's key.
    pub key: &'a str,
    /// The length of the whole object, in bytes.
    pub length: u64,
    /// The condition.
    pub mode: Mode<'a>,
}

/// A page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// The objects, in the order of their keys' bytes.
    pub objects: Vec<Object>,
    /// True if there may be objects after the last one. A page with `more` is never empty.
    pub more: bool,
}

/// Returns the address and the length of a text that is followed by a NUL.
fn parts(text: &[u8]) -> (*const c_char, u64) {
    (text.as_ptr().cast(), text.len().saturating_sub(1) as u64)
}

/// Returns the size of a struct of the interface.
fn size<T>() -> u32 {
    size_of::<T>() as u32
}

impl Library {
    /// Opens the store of a URL. If `sync` is true, writes survive a power loss.
    ///
    /// # Errors
    /// The library's failure, or the rule that it violated.
    pub fn open(&'static self, url: &str, sync: bool, milliseconds: u64) -> Result<Opened, Failure> {
        let text = with_nul(url);
        let (url, url_length) = parts(&text);
        let flags = if sync { raw::SYNC } else { 0 };
        let request = raw::Open { size: size::<raw::Open>(), version: raw::VERSION, url, url_length, flags };
        let mut opening = Opening { library: self, opened: None };
        call::make(self, Asked::Open, milliseconds, &mut opening, |call| {
            // SAFETY: call and request exist until the function returns.
            unsafe { (self.functions.open)(call, &raw const request) }
        })?;
        opening.opened.ok_or_else(|| Failure::misuse("it opened a store, and gave none"))
    }
}

/// An `open` in progress. It is dropped when the library has returned, together with the store that it accepted.
struct Opening {
    library: &'static Library,
    opened: Option<Opened>,
}

impl Receiver for Opening {
    fn opened(&mut self, raw: raw::Opened) -> Result<Flow, Failure> {
        // A refused store stays the library's. The library is inside a call of this crate, so its function to close a
        // store is not called now.
        if self.opened.is_some() {
            return Err(Failure::misuse("it gave a second store to one call"));
        }
        let unknown = raw.capabilities & !raw::ALL_CAPABILITIES;
        if unknown != 0 {
            return Err(Failure::misuse(format!("it promises {unknown:#x}, which version 1 does not have")));
        }
        let name = check::text(raw.name, raw.name_length, check::MAX_NAME, "a store's name")?.to_owned();
        if name.is_empty() {
            return Err(Failure::misuse("it gave a store without a name"));
        }
        let prefix = check::text(raw.prefix, raw.prefix_length, check::MAX_NAME, "a prefix")?.to_owned();
        // From here on the store belongs to this crate, and is closed once the call has returned, whatever it returns.
        let (library, process) = (self.library, std::process::id());
        let store = Store { library, handle: raw.store, capabilities: raw.capabilities, process };
        self.opened = Some(Opened { store, name, prefix });
        Ok(Flow::Enough)
    }
}

impl Store {
    /// Returns the library of the store.
    pub fn library(&self) -> &'static Library {
        self.library
    }

    /// Returns the capabilities that it promises: bits of [`raw`].
    pub fn capabilities(&self) -> u64 {
        self.capabilities
    }

    /// Returns whether the store promises this capability.
    pub fn promises(&self, capability: u64) -> bool {
        self.capabilities & capability == capability
    }

    /// Returns whether the library has a function for [`read_if_changed`](Self::read_if_changed).
    pub fn compares_etags(&self) -> bool {
        self.library.functions.read_if_changed.is_some()
    }

    /// Reads a range: passes the bytes of the range that exist to `take`, in order, in the calling thread, with the
    /// object that they belong to. After an error any first part of them may have been passed.
    ///
    /// # Errors
    /// The library's failure, or the rule that it violated, for example that fewer bytes arrived than exist.
    pub fn read(
        &self,
        read: &Read<'_>,
        milliseconds: u64,
        take: &mut dyn FnMut(&Object, &[u8]),
    ) -> Result<Object, Failure> {
        let read =
            self.read_with(self.library.functions.read, Asked::Read, (read, None), milliseconds, take)?;
        read.ok_or_else(|| Failure::misuse("it answered a read without an etag by one"))
    }

    /// Reads as [`read`](Self::read) does, unless the object's etag is still `known`; `None` if it is.
    ///
    /// # Errors
    /// As for [`read`](Self::read); a misuse if the library has no function for this.
    pub fn read_if_changed(
        &self,
        read: &Read<'_>,
        known: &str,
        milliseconds: u64,
        take: &mut dyn FnMut(&Object, &[u8]),
    ) -> Result<Option<Object>, Failure> {
        let function = self.library.functions.read_if_changed;
        let function = function.ok_or_else(|| Failure::misuse("it has no function 'read_if_changed'"))?;
        self.read_with(function, Asked::ReadIfChanged, (read, Some(known)), milliseconds, take)
    }

    /// Calls one of the two functions that read. Returns `None` if the object has the known etag.
    fn read_with(
        &self,
        function: unsafe extern "C" fn(*mut c_void, *const raw::Call, *const raw::Read) -> i32,
        asked_for: Asked,
        (read, known): (&Read<'_>, Option<&str>),
        milliseconds: u64,
        take: &mut dyn FnMut(&Object, &[u8]),
    ) -> Result<Option<Object>, Failure> {
        let Range { start, end } = read.range;
        let wanted = start..end.max(start);
        // A store without ranges has to return the whole object, unless no bytes are requested.
        let is_cut = self.promises(raw::RANGES) || wanted.is_empty();
        let asked = if is_cut { wanted.clone() } else { 0..u64::MAX };
        let (text, known) = (with_nul(read.key), known.map(with_nul));
        let (key, key_length) = parts(&text);
        let (etag, etag_length) = known.as_deref().map_or((std::ptr::null(), 0), parts);
        let request = raw::Read {
            size: size::<raw::Read>(),
            version: raw::VERSION,
            key,
            key_length,
            offset: asked.start,
            length: asked.end - asked.start,
            etag,
            etag_length,
        };
        let needs_etag = self.promises(raw::ATOMIC_UPDATE);
        let mut reading =
            Reading { key: read.key, needs_etag, at: asked.start, asked, wanted, object: None, take };
        let is_unchanged = call::make(self.library, asked_for, milliseconds, &mut reading, |call| {
            // SAFETY: the handle is open; call and request exist until the function returns.
            unsafe { function(self.handle, call, &raw const request) }
        })?;
        match (is_unchanged, &reading.object) {
            (false, _) => reading.finish().map(Some),
            (true, None) => Ok(None),
            (true, Some(_)) => Err(Failure::misuse("it says that an object is unchanged, and gave one")),
        }
    }

    /// Writes an object whole. `payload` returns the bytes from an offset on, none at the end; it may be called with
    /// any offset again.
    ///
    /// # Errors
    /// The library's failure, the rule that it violated, or the error of `payload`.
    pub fn write(
        &self,
        write: &Write<'_>,
        milliseconds: u64,
        payload: &mut dyn Payload,
    ) -> Result<Object, Failure> {
        let text = with_nul(write.key);
        let (key, key_length) = parts(&text);
        let (mode, asked, expected) = match write.mode {
            Mode::Overwrite => (raw::OVERWRITE, Asked::Overwrite, None),
            Mode::Create => (raw::CREATE, Asked::Create, None),
            Mode::Update(etag) => (raw::UPDATE, Asked::Update, Some(with_nul(etag))),
        };
        let (etag, etag_length) = expected.as_deref().map_or((std::ptr::null(), 0), parts);
        let request = raw::Write {
            size: size::<raw::Write>(),
            version: raw::VERSION,
            key,
            key_length,
            length: write.length,
            mode,
            reserved: 0,
            etag,
            etag_length,
        };
        let needs_etag = self.promises(raw::ATOMIC_UPDATE);
        let mut writing = Writing { write, needs_etag, object: None, payload };
        call::make(self.library, asked, milliseconds, &mut writing, |call| {
            // SAFETY: the handle is open; call and request exist until the function returns.
            unsafe { (self.library.functions.write)(self.handle, call, &raw const request) }
        })?;
        writing.object.ok_or_else(|| Failure::misuse("it wrote an object, and did not say which"))
    }

    /// Removes an object. Removing a missing object succeeds.
    ///
    /// # Errors
    /// The library's failure, or the rule that it violated.
    pub fn remove(&self, key: &str, milliseconds: u64) -> Result<(), Failure> {
        let text = with_nul(key);
        let (key, key_length) = parts(&text);
        let request = raw::Remove { size: size::<raw::Remove>(), version: raw::VERSION, key, key_length };
        call::make(self.library, Asked::Remove, milliseconds, &mut Nothing, |call| {
            // SAFETY: the handle is open; call and request exist until the function returns.
            unsafe { (self.library.functions.remove)(self.handle, call, &raw const request) }
        })?;
        Ok(())
    }

    /// Lists at most `limit` objects (at least 1) with keys that begin with `prefix` and are greater than `after`.
    ///
    /// # Errors
    /// The library's failure, or the rule that it violated, for example that keys are repeated, out of order, or
    /// without the prefix.
    pub fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        milliseconds: u64,
    ) -> Result<List, Failure> {
        let is_ordered = self.promises(raw::ORDERED_LIST);
        let limit = limit.max(1);
        let texts = [Some(prefix), after.filter(|_| is_ordered)].map(|text| text.map(with_nul));
        let [(prefix_at, prefix_length), (after_at, after_length)] =
            texts.each_ref().map(|text| text.as_deref().map_or((std::ptr::null(), 0), parts));
        let request = raw::List {
            size: size::<raw::List>(),
            version: raw::VERSION,
            prefix: prefix_at,
            prefix_length,
            after: after_at,
            after_length,
            limit: if is_ordered { limit as u64 } else { u64::MAX },
        };
        let needs_etag = self.promises(raw::ATOMIC_UPDATE);
        let mut listing =
            Listing { prefix, after, limit, is_ordered, needs_etag, found: BTreeMap::new(), dropped: false };
        let more = call::make(self.library, Asked::List, milliseconds, &mut listing, |call| {
            // SAFETY: the handle is open; call and request exist until the function returns.
            unsafe { (self.library.functions.list)(self.handle, call, &raw const request) }
        })?;
        if more && !is_ordered {
            return Err(Failure::misuse("it says that there is more, where all was asked for"));
        }
        if more && listing.found.is_empty() {
            return Err(Failure::misuse("it says that there is more behind nothing"));
        }
        // If the callback reported that enough objects have arrived, the library does not say whether there are more.
        let more = more || listing.dropped || (is_ordered && listing.found.len() == limit);
        Ok(List { objects: listing.found.into_values().collect(), more })
    }
}

struct Nothing;

impl Receiver for Nothing {}

/// The bytes of a write.
pub trait Payload {
    /// Returns the bytes from `offset` on, as many as are contiguous; none at the end.
    ///
    /// # Errors
    /// The reason why the bytes are not available. The write fails with this error.
    fn piece(&mut self, offset: u64) -> Result<&[u8], Failure>;
}

struct Reading<'a> {
    key: &'a str,
    needs_etag: bool,
    asked: Range<u64>,
    wanted: Range<u64>,
    /// The offset of the next byte.
    at: u64,
    object: Option<Object>,
    take: &'a mut dyn FnMut(&Object, &[u8]),
}

impl Reading<'_> {
    /// Returns the offset at which the expected bytes end.
    fn end(&self, object: &Object) -> u64 {
        self.asked.end.min(object.length).max(self.asked.start)
    }

    fn finish(self) -> Result<Object, Failure> {
        let Some(object) = &self.object else {
            return Err(Failure::misuse(format!("it read {:?}, and did not say what that is", self.key)));
        };
        let (came, missing) = (self.at - self.asked.start, self.end(object) - self.at);
        if missing > 0 {
            return Err(Failure::misuse(format!(
                "it gave {came} bytes of {:?}, and {missing} are missing",
                self.key
            )));
        }
        self.object.ok_or_else(|| Failure::misuse("it said nothing"))
    }
}

impl Receiver for Reading<'_> {
    fn object(&mut self, raw: raw::Object) -> Result<Flow, Failure> {
        if self.object.is_some() {
            return Err(Failure::misuse("it gave a second object to a read"));
        }
        self.object = Some(Object::of(&raw, Some(self.key), self.needs_etag)?);
        Ok(if self.asked.is_empty() { Flow::Enough } else { Flow::GoOn })
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<Flow, Failure> {
        let Some(object) = &self.object else {
            return Err(Failure::misuse("it gave bytes before their object"));
        };
        let (from, to) = (self.at, self.at.saturating_add(bytes.len() as u64));
        let end = self.end(object);
        if to > end {
            let most = end - self.asked.start;
            return Err(Failure::misuse(format!(
                "it gave more bytes of {:?} than the {most} of the range",
                self.key
            )));
        }
        self.at = to;
        // The part of the piece that is within the range; offsets in it fit in memory.
        let first = self.wanted.start.clamp(from, to) - from;
        let last = self.wanted.end.clamp(from, to) - from;
        if first < last {
            (self.take)(object, &bytes[first as usize..last as usize]);
        }
        Ok(if to == end { Flow::Enough } else { Flow::GoOn })
    }
}

struct Writing<'a> {
    write: &'a Write<'a>,
    needs_etag: bool,
    object: Option<Object>,
    payload: &'a mut dyn Payload,
}

impl Receiver for Writing<'_> {
    fn object(&mut self, raw: raw::Object) -> Result<Flow, Failure> {
        if self.object.is_some() {
            return Err(Failure::misuse("it gave a second object to a write"));
        }
        let object = Object::of(&raw, Some(self.write.key), self.needs_etag)?;
        if object.length != self.write.length {
            let (is, was) = (object.length, self.write.length);
            return Err(Failure::misuse(format!("it says that it wrote {is} bytes, where {was} were given")));
        }
        self.object = Some(object);
        Ok(Flow::Enough)
    }

    fn payload(&mut self, offset: u64) -> Result<&[u8], Failure> {
        if offset > self.write.length {
            let length = self.write.length;
            return Err(Failure::misuse(format!("it asked for byte {offset} of a payload of {length}")));
        }
        self.payload.piece(offset)
    }
}

struct Listing<'a> {
    prefix: &'a str,
    after: Option<&'a str>,
    limit: usize,
    is_ordered: bool,
    needs_etag: bool,
    found: BTreeMap<String, Object>,
    /// True if greater keys than the retained ones exist.
    dropped: bool,
}

impl Receiver for Listing<'_> {
    fn object(&mut self, raw: raw::Object) -> Result<Flow, Failure> {
        let object = Object::of(&raw, None, self.needs_etag)?;
        let key = &object.key;
        if !key.starts_with(self.prefix) {
            return Err(Failure::misuse(format!("it lists {key:?} below the prefix {:?}", self.prefix)));
        }
        let is_behind = self.after.is_none_or(|after| **key > *after);
        if self.is_ordered {
            let last = self.found.last_key_value().map(|(last, _)| last);
            if !is_behind || last.is_some_and(|last| last >= key) {
                let last = last.map_or(self.after.unwrap_or_default(), String::as_str);
                return Err(Failure::misuse(format!(
                    "it lists {key:?} behind {last:?}, out of the order of bytes"
                )));
            }
            if self.found.len() == self.limit {
                return Err(Failure::misuse(format!("it lists more than {} objects", self.limit)));
            }
            self.found.insert(object.key.clone(), object);
            return Ok(if self.found.len() == self.limit { Flow::Enough } else { Flow::GoOn });
        }
        if is_behind && self.found.insert(object.key.clone(), object).is_some() {
            return Err(Failure::misuse("it lists a key twice"));
        }
        if self.found.len() > self.limit {
            self.found.pop_last();
            self.dropped = true;
        }
        Ok(Flow::GoOn)
    }
}
