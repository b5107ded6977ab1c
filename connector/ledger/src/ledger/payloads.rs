//! Payloads: bytes that lie outside the tree, which values refer to by their extents.

use std::ops::Range;

use bytes::Bytes;
use object_stores::Filter;

use super::Ledger;
use super::close::note_broken;
use crate::buffers::Scratch;
use crate::error::{Error, Result};
use crate::extent::{Extent, Sums};
use crate::filtered::{FilterPart, Filtered};
use crate::payload::{self, PayloadPart};

impl Ledger {
    /// Writes a payload. The bytes are written now, and become part of the container when a value that holds the
    /// extent commits; else they are garbage, given back by [`rollback`](Ledger::rollback) or the next opening.
    ///
    /// A commit takes over all payloads written before it. One that no value refers to by then, nor will later, has to be
    /// given back with [`free_payload`](Ledger::free_payload).
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`, `NoSpace`, `Io`, `Store`; `Conflict` if another writer has committed since this one did.
    pub fn write_payload(&self, data: &[u8]) -> Result<Extent> {
        drop(self.writable()?);
        let mut sums = Sums::default();
        let written = self.storage.write_payload(data, &mut |part| sums.add(part));
        let place = written.map_err(|e| self.unwritten(e))?;
        Ok(sums.at(place))
    }

    /// Writes a payload as [`write_payload`](Ledger::write_payload) does, that may [go on](Ledger::grow_payload) until it has
    /// `most` bytes.
    ///
    /// # Errors
    /// As for [`write_payload`](Ledger::write_payload).
    pub fn write_to_grow(&self, data: &[u8], most: u64) -> Result<Extent> {
        drop(self.writable()?);
        let mut sums = Sums::default();
        let written = self.storage.write_to_grow(data, most, &mut |part| sums.add(part));
        let place = written.map_err(|e| self.unwritten(e))?;
        Ok(sums.at(place))
    }

    /// Lets a payload go on with `data`, where its place allows that: the extent that is returned has both, and takes the
    /// place of `e`, which must not be given back beside it. Whoever holds a version that has `e` reads on in that.
    ///
    /// # Errors
    /// As for [`write_payload`](Ledger::write_payload).
    pub fn grow_payload(&self, e: &Extent, data: &[u8]) -> Result<Option<Extent>> {
        drop(self.writable()?);
        if e.is_in_source() || self.is_of_base(e) {
            return Ok(None);
        }
        let grown = self.storage.grow_payload(e.place(), data).map_err(|e| self.unwritten(e))?;
        Ok(grown.then(|| e.with(data)))
    }

    /// Writes several payloads, each as [`write_payload`](Ledger::write_payload) does, in one object where the storage is a
    /// store in memory. Several threads may do so at once: what takes time, copies and checksums, goes on side by side.
    ///
    /// # Errors
    /// As for [`write_payload`](Ledger::write_payload); then none was written.
    pub fn write_payloads(&self, data: &[&[u8]]) -> Result<Vec<Extent>> {
        drop(self.writable()?);
        let places = self.storage.write_payloads(data).map_err(|e| self.unwritten(e))?;
        Ok(places.into_iter().zip(data).map(|(place, data)| Extent::of(place, data)).collect())
    }

    /// Writes several payloads as [`write_payloads`](Ledger::write_payloads) does; in an object store they become one object without
    /// being copied, and are there when this returns. The store lets go of `data` soon after that, unless it
    /// [keeps it](object_stores::Capabilities::keeps_pieces). Several threads may do so at once, and have to where the store is far away.
    ///
    /// # Errors
    /// As for [`write_payload`](Ledger::write_payload); then none was written.
    pub fn put_payloads(&self, data: &[Bytes]) -> Result<Vec<Extent>> {
        drop(self.writable()?);
        let places = self.storage.put_payloads(data).map_err(|e| self.unwritten(e))?;
        Ok(places.into_iter().zip(data).map(|(place, data)| Extent::of(place, data)).collect())
    }

    /// The error of a payload that was not written. A file that another history was put into takes no commit of this handle any more.
    fn unwritten(&self, e: Error) -> Error {
        if self.storage.is_remote() { e } else { note_broken(&mut self.lock(), e) }
    }

    /// Reads a part of a payload, exactly `buf.len()` bytes from `offset` on. The checksums of the blocks touched are
    /// verified. After an error the content of `buf` is unspecified.
    ///
    /// # Errors
    /// `Invalid` if the range is not within the payload; those of reading.
    pub fn read_payload(&self, e: &Extent, offset: u64, buf: &mut [u8]) -> Result<()> {
        if e.is_in_source() {
            return self.read_source(e, offset, buf);
        }
        payload::read(self.storage.as_ref(), e, offset, buf)
    }

    /// Hands a part of a payload to `take`, verified as [`read_payload`](Ledger::read_payload) does; for whoever wants few
    /// bytes of it, and not in one place. After an error `take` was not called.
    ///
    /// # Errors
    /// As for [`read_payload`](Ledger::read_payload).
    pub fn view_payload(&self, e: &Extent, range: Range<u64>, take: impl FnOnce(&[u8])) -> Result<()> {
        if e.is_in_source() {
            let length = range.end.checked_sub(range.start).filter(|_| range.end <= e.len());
            let length = length.and_then(|length| usize::try_from(length).ok());
            let length = length.ok_or_else(|| payload::outside(self.storage.as_ref(), e, &range))?;
            let mut bytes = Scratch::new(length);
            self.read_source(e, range.start, &mut bytes)?;
            take(&bytes);
            return Ok(());
        }
        payload::view(self.storage.as_ref(), e, range, take)
    }

    /// Reads several parts of payloads, each as [`read_payload`](Ledger::read_payload) does; the answers are in the order
    /// asked, and empty for parts that bring their own room. In a store neighbours come in one request, and requests are
    /// under way side by side.
    ///
    /// # Errors
    /// `Invalid` if a part is not within its payload, or has other room than it needs; those of reading. What was given to
    /// be filled is then unspecified.
    pub fn read_payloads(&self, parts: Vec<PayloadPart<'_>>) -> Result<Vec<Bytes>> {
        if !parts.iter().any(|part| part.extent.is_in_source()) {
            return payload::read_many(self.storage.as_ref(), parts);
        }
        let mut out = vec![Bytes::new(); parts.len()];
        let (far, own): (Vec<_>, Vec<_>) =
            parts.into_iter().enumerate().partition(|(_, part)| part.extent.is_in_source());
        let (far_numbers, far): (Vec<_>, Vec<_>) = far.into_iter().unzip();
        let (own_numbers, own): (Vec<_>, Vec<_>) = own.into_iter().unzip();
        let both = far_numbers.into_iter().zip(self.read_sources(far)?);
        let own = own_numbers.into_iter().zip(payload::read_many(self.storage.as_ref(), own)?);
        both.chain(own).for_each(|(n, bytes)| out[n] = bytes);
        Ok(out)
    }

    /// Whether the store compares numbers where they are, so that [`filter_payloads`](Ledger::filter_payloads) is worth asking.
    pub fn filters(&self) -> bool {
        self.storage.filters()
    }

    /// Has the store compare numbers of payloads where they are, and gives those for which all tests are true. Neighbours are one
    /// request, and requests are under way side by side. What comes was not compared with checksums: the store is believed, as
    /// to what it leaves out. Parts of which more matches than is worth it are left to be read.
    ///
    /// # Errors
    /// `Invalid` if a part is not within its payload, or does not consist of whole numbers; those of reading.
    pub fn filter_payloads(&self, parts: &[FilterPart<'_>], filter: &Filter) -> Result<Filtered> {
        payload::filter_many(self.storage.as_ref(), parts, filter)
    }

    /// Reads what [`free_payload`](Self::free_payload) needs, if there are any extents. Who names other payloads under a key, and then gives the old ones back,
    /// asks for this first: an error in between would leave the key changed, and the caller told that nothing is.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`; those of reading.
    pub fn prepare_to_free<T>(&self, extents: &[T]) -> Result<()> {
        let _s = self.writable()?;
        if extents.is_empty() { Ok(()) } else { self.storage.prepare_to_free() }
    }

    /// Stages the return of a payload's space. Readers of older snapshots keep the bytes. A payload written since the last
    /// commit is given back at once.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`; `Invalid` if the extent is free already.
    pub fn free_payload(&self, e: &Extent) -> Result<()> {
        let _s = self.writable()?;
        if e.is_empty() || e.is_in_source() || self.is_of_base(e) {
            Ok(())
        } else {
            self.storage.free_payload(e.place())
        }
    }
}
