//! Stored attributes, and the one that is not staged yet.

use crate::container::State;
use crate::{Container, Error, Result};
use bytes::Bytes;
use h5lake_records::conversion::show;
use h5lake_records::keys;
use h5lake_records::memory::zeros;
use h5lake_records::record;
use h5lake_records::record::{AttributeRecord, decode_extents};
use prost::Message;
use std::sync::Arc;

/// Values up to this many bytes are stored inline.
const MAX_INLINE_BYTES: usize = 4 << 10;
/// Longer values are divided into extents of this many bytes.
const MAX_EXTENT_BYTES: usize = 16 << 20;

/// A changed attribute that is not staged in the ledger yet.
pub(crate) struct Unstored {
    key: Arc<[u8]>,
    record: Arc<AttributeRecord>,
}

impl Container {
    /// Returns the present attribute of that name.
    pub(crate) fn attribute_record(
        &self,
        s: &State,
        key: &[u8],
        name: &[u8],
    ) -> Result<Arc<AttributeRecord>> {
        let r = match &s.unstored_attribute {
            Some(u) if *u.key == *key => u.record.clone(),
            _ => {
                let value = self.ledger.get(key)?;
                let value = value.ok_or_else(|| missing(name))?;
                let what = || format!("{}: the attribute {}", self.name(), show(name));
                Arc::new(record::decode(value, what)?)
            }
        };
        if keys::name(key, &r.name) != name {
            return Err(missing(name));
        }
        Ok(r)
    }

    pub(super) fn has_attribute(&self, s: &State, key: &[u8]) -> Result<bool> {
        let unstored = s.unstored_attribute.as_ref().is_some_and(|u| *u.key == *key);
        Ok(unstored || self.ledger.get(key)?.is_some())
    }

    /// Changes an attribute in memory. Most attributes are created and then written, so they are staged once: when
    /// another one changes, or by the next flush.
    pub(crate) fn put_attribute(
        &self,
        s: &mut State,
        key: Arc<[u8]>,
        record: Arc<AttributeRecord>,
    ) -> Result<()> {
        self.make_way(s, &key)?;
        s.unstored_attribute = Some(Unstored { key, record });
        // Changes of a shared writer must be in the ledger when they are merged.
        if self.ledger.is_shared() { self.store_attribute(s) } else { Ok(()) }
    }

    /// Stages the changed attribute if it is another one, so that this one can be changed. Returns an error if changes
    /// are refused.
    pub(super) fn make_way(&self, s: &mut State, key: &[u8]) -> Result<()> {
        match &s.unstored_attribute {
            Some(u) if *u.key != *key => self.store_attribute(s),
            _ => Ok(self.ledger.check_writable()?),
        }
    }

    /// Stages the changed attribute. Must be called before the ledger's keys are scanned.
    pub(crate) fn store_attribute(&self, s: &mut State) -> Result<()> {
        if let Some(u) = &s.unstored_attribute {
            self.ledger.put(&u.key, u.record.encode_to_vec())?;
            s.unstored_attribute = None;
        }
        Ok(())
    }

    /// Drops the unstaged change of an attribute.
    pub(super) fn take_unstored(&self, s: &mut State, key: &[u8]) {
        s.unstored_attribute.take_if(|u| *u.key == *key);
    }

    /// Returns the elements of a value, and its inline heap after them.
    pub(crate) fn attribute_value(&self, r: &AttributeRecord) -> Result<Bytes> {
        let size =
            usize::try_from(r.data_size).map_err(|_| Error::corrupt("an attribute's size is impossible"))?;
        let has_heap = r.datatype.as_ref().is_some_and(|t| t.has_heap);
        let fits = |length: usize| length == size || (length > size && has_heap);
        if r.extents.is_empty() {
            return match r.inline.len() {
                0 => Ok(zeros(size)?.into()),
                n if fits(n) => Ok(r.inline.clone()),
                n => Err(Error::corrupt(format!("an attribute of {size} bytes has a value of {n}"))),
            };
        }
        let version = self.ledger.version();
        if let Some(value) = self.long_values.get(version, &r.extents).filter(|value| fits(value.len())) {
            return Ok(value);
        }
        let extents = decode_extents(&r.extents)?;
        let length = extents.iter().try_fold(0u64, |n, e| n.checked_add(e.len()));
        let length = length.and_then(|n| usize::try_from(n).ok()).filter(|n| fits(*n));
        let length = length
            .ok_or_else(|| Error::corrupt("the parts of an attribute's value do not make up its size"))?;
        let mut value = zeros(length)?;
        let mut rest = value.as_mut_slice();
        for e in &extents {
            let (part, behind) = rest.split_at_mut(e.len() as usize);
            self.ledger.read_payload(e, 0, part)?;
            rest = behind;
        }
        let value = Bytes::from(value);
        self.long_values.keep(version, &r.extents, &value);
        Ok(value)
    }

    /// Stores a value. Returns the bytes for the record, or the encoded extents.
    pub(crate) fn store_value(&self, value: Vec<u8>) -> Result<(Bytes, Vec<Bytes>)> {
        if value.len() <= MAX_INLINE_BYTES {
            return Ok((value.into(), Vec::new()));
        }
        let mut extents = Vec::new();
        for part in value.chunks(MAX_EXTENT_BYTES) {
            match self.ledger.write_payload(part) {
                Ok(e) => extents.push(e.to_bytes()),
                Err(e) => {
                    self.free_value(&extents)?;
                    return Err(e.into());
                }
            }
        }
        Ok((Bytes::new(), extents))
    }

    /// Frees the encoded extents of a value that no entry refers to any more.
    pub(super) fn free_value(&self, extents: &[Bytes]) -> Result<()> {
        self.long_values.clear();
        for e in decode_extents(extents)? {
            self.ledger.free_payload(&e)?;
        }
        Ok(())
    }

    /// Deletes an attribute; returns the committed type that it used.
    pub(crate) fn drop_attribute(
        &self,
        s: &mut State,
        key: &[u8],
        r: &AttributeRecord,
    ) -> Result<Option<u64>> {
        self.free_value(&r.extents)?;
        self.ledger.delete(key)?;
        self.take_unstored(s, key);
        Ok(r.datatype.as_ref().and_then(|t| t.committed))
    }
}

fn missing(name: &[u8]) -> Error {
    Error::not_found(format!("can't locate attribute: {}", show(name)))
}
