//! Payloads: bytes that are stored outside the tree, and to which values refer by extents.

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
use crate::storage_kinds::StorageKinds;
use crate::store::ObjectStorage;

impl Ledger {
    /// Writes a payload. The bytes are written now, and become part of the container when a value that contains the extent is committed.
    /// Otherwise they are unreferenced, and are freed by [`rollback`](Ledger::rollback) or by the next open.
    ///
    /// A commit makes all payloads that were written before it a part of the container. If no value refers to a payload by then, and none
    /// will later, the caller must free the payload with [`free_payload`](Ledger::free_payload).
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`, `NoSpace`, `Io`, `Store`; `Conflict` if another writer has committed since the last commit of this
    /// writer.
    pub fn write_payload(&self, data: &[u8]) -> Result<Extent> {
        self.write_to_grow(data, 0)
    }

    /// Writes a payload like [`write_payload`](Ledger::write_payload) and reserves space so that it may [grow](Ledger::grow_payload) up to
    /// `most` bytes.
    ///
    /// # Errors
    /// The errors of [`write_payload`](Ledger::write_payload).
    pub fn write_to_grow(&self, data: &[u8], most: u64) -> Result<Extent> {
        drop(self.writable()?);
        let mut sums = Sums::default();
        let written = self.storage.write_payload(data, most, &mut |part| sums.add(part));
        let place = written.map_err(|e| self.unwritten(e))?;
        Ok(sums.at(place))
    }

    /// Appends `data` to a payload, if the space after the payload allows that. The returned extent covers both and replaces `e`, which
    /// must not be freed in addition. Readers of a version that contains `e` continue to read `e`.
    ///
    /// # Errors
    /// The errors of [`write_payload`](Ledger::write_payload).
    pub fn grow_payload(&self, e: &Extent, data: &[u8]) -> Result<Option<Extent>> {
        drop(self.writable()?);
        let Some(file) = self.storage.as_file().filter(|_| !e.is_in_source() && !self.is_of_base(e)) else {
            return Ok(None);
        };
        let grown = file.grow_payload(e.place(), data).map_err(|e| self.unwritten(e))?;
        Ok(grown.then(|| e.with(data)))
    }

    /// Writes several payloads, each like [`write_payload`](Ledger::write_payload); in a store in memory they become one object. Several
    /// threads may call this at the same time: copies and checksums, which take the time, run in parallel.
    ///
    /// # Errors
    /// The errors of [`write_payload`](Ledger::write_payload); after an error no payload was written.
    pub fn write_payloads(&self, data: &[&[u8]]) -> Result<Vec<Extent>> {
        drop(self.writable()?);
        let places = self.storage.write_payloads(data).map_err(|e| self.unwritten(e))?;
        Ok(places.into_iter().zip(data).map(|(place, data)| Extent::of(place, data)).collect())
    }

    /// Writes several payloads like [`write_payloads`](Ledger::write_payloads). In an object store they become one object without being
    /// copied, and the object exists when this returns. The store releases `data` soon after that, unless it [keeps the
    /// pieces](object_stores::Capabilities::keeps_pieces). Several threads may call this at the same time; for a remote store they should.
    ///
    /// # Errors
    /// The errors of [`write_payload`](Ledger::write_payload); after an error no payload was written.
    pub fn put_payloads(&self, data: &[Bytes]) -> Result<Vec<Extent>> {
        drop(self.writable()?);
        let Some(objects) = self.storage.as_objects() else {
            return self.write_payloads(&data.iter().map(AsRef::as_ref).collect::<Vec<_>>());
        };
        let places = objects.put_payloads(data).map_err(|e| self.unwritten(e))?;
        Ok(places.into_iter().zip(data).map(|(place, data)| Extent::of(place, data)).collect())
    }

    /// Returns the error of a payload that was not written. If the content of the file was replaced by another history, the handle is
    /// marked as broken and accepts no more commits.
    fn unwritten(&self, e: Error) -> Error {
        if self.properties.is_in_store { e } else { note_broken(&mut self.lock(), e) }
    }

    /// Reads a part of a payload: exactly `buf.len()` bytes from `offset` on. The checksums of the affected blocks are verified. After an
    /// error the content of `buf` is unspecified.
    ///
    /// # Errors
    /// `Invalid` if the range is not within the payload; read errors.
    pub fn read_payload(&self, e: &Extent, offset: u64, buf: &mut [u8]) -> Result<()> {
        if e.is_in_source() {
            return self.read_source(e, offset, buf);
        }
        payload::read(self.storage.as_ref(), e, offset, buf)
    }

    /// Passes a part of a payload to `take`, verified like [`read_payload`](Ledger::read_payload), for callers that need only a few
    /// scattered bytes of it. After an error `take` was not called.
    ///
    /// # Errors
    /// The errors of [`read_payload`](Ledger::read_payload).
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

    /// Reads several parts of payloads, each like [`read_payload`](Ledger::read_payload). The results are in the order of `parts`; they are
    /// empty for parts that have a buffer of their own. In a store adjacent parts are combined into one request, and requests run in
    /// parallel.
    ///
    /// # Errors
    /// `Invalid` if a part is not within its payload, or its buffer has another length than the part; read errors. The content of the
    /// buffers is then unspecified.
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

    /// Returns whether the store can compare numbers itself, so that [`filter_payloads`](Ledger::filter_payloads) is useful.
    pub fn filters(&self) -> bool {
        self.storage.as_objects().is_some_and(ObjectStorage::filters)
    }

    /// Makes the store compare the numbers in payloads, and returns the numbers for which all tests are true. Adjacent parts are combined
    /// into one request, and requests run in parallel. The returned numbers are not verified by checksums, and neither is the choice of
    /// numbers that the store leaves out. Parts with too many matches are not filtered and must be read.
    ///
    /// # Errors
    /// `Invalid` if a part is not within its payload, or does not consist of whole numbers; read errors.
    pub fn filter_payloads(&self, parts: &[FilterPart<'_>], filter: &Filter) -> Result<Filtered> {
        payload::filter_many(self.storage.as_ref(), parts, filter)
    }

    /// Reads the data that [`free_payload`](Self::free_payload) needs, if there are any extents. A caller that replaces the payloads of a
    /// key and then frees the old ones calls this first: otherwise an error in between would leave the key changed, although the caller
    /// reports that nothing changed.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`; read errors.
    pub fn prepare_to_free<T>(&self, extents: &[T]) -> Result<()> {
        let _s = self.writable()?;
        if extents.is_empty() { Ok(()) } else { self.storage.prepare_to_free() }
    }

    /// Stages the release of a payload's space. Readers of older snapshots can still read the bytes. A payload that was written since the
    /// last commit is freed at once.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`; `Invalid` if the extent is already free.
    pub fn free_payload(&self, e: &Extent) -> Result<()> {
        let _s = self.writable()?;
        if e.is_empty() || e.is_in_source() || self.is_of_base(e) {
            Ok(())
        } else {
            self.storage.free_payload(e.place())
        }
    }

    /// Prepares an exclusive writer in a store to [revive](Ledger::revive_payload) payloads. This writes a checkpoint, so that the tables of
    /// the container list all payloads that only old versions use; and until its next commit, this writer reclaims nothing. Has no effect in
    /// a file, and for a concurrent writer.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`; `Conflict` if another writer commits meanwhile; those of the store.
    pub fn begin_restore(&self) -> Result<()> {
        let mut s = self.writable()?;
        match self.storage.as_objects() {
            Some(objects) if !self.is_multi_writer => objects.begin_restore(),
            _ => return Ok(()),
        }
        if s.log_records > 0 { self.checkpoint(&mut s).map_err(|e| note_broken(&mut s, e)) } else { Ok(()) }
    }

    /// Stages that the next commit uses a payload of an old version of this container again, without a copy. Returns false, and stages
    /// nothing, if the caller must copy the payload: in a file, as a concurrent writer, or if the newest committed version uses the payload.
    ///
    /// The commit fails with `Gone` if a vacuum reclaims the old version before it.
    ///
    /// # Errors
    /// `ReadOnly`, `Forked`, `Broken`; read errors.
    pub fn revive_payload(&self, e: &Extent) -> Result<bool> {
        let _s = self.writable()?;
        match self.storage.as_objects() {
            Some(objects) if !e.is_empty() && !e.is_in_source() && !self.is_of_base(e) => {
                objects.revive_payload(e.place())
            }
            _ => Ok(false),
        }
    }
}
