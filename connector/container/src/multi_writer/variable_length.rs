//! Merges variable-length elements that both sides wrote. Each writer stores the content in its own blob; equal content
//! counts as an equal element.

use super::ThreeWay;
use super::blocks::RemoteBlock;
use crate::chunk::range_set::RangeSet;
use crate::container::State;
use crate::{Container, InlineHeap, Result};
use bytes::Bytes;
use h5lake_records::encoded::check_datatype;
use h5lake_records::record::{AttributeRecord, DatatypeRecord};

/// Bytes of an element of a variable-length type in libhdf5's layout: a count of four bytes, and the id of a blob.
const ELEMENT_BYTES: usize = 20;
/// The classes `H5T_STRING` and `H5T_VLEN`.
const STRING: u32 = 3;
const SEQUENCE: u32 = 9;
/// Offset of the member type in the encoding of a sequence type, and the first bytes of each encoding.
const MEMBERS: usize = 10;
const HEAD: [u8; 2] = [3, 0];

/// Returns the bytes per counted member, if elements hold blobs that refer to nothing else: strings, and sequences of plain members.
/// Returns `None` for other types, which do not allow a comparison of elements.
pub(super) fn blob_unit(datatype: &DatatypeRecord) -> Option<u64> {
    let is_simple = datatype.has_heap && !datatype.has_references && datatype.size == ELEMENT_BYTES as u64;
    match datatype.class {
        STRING if is_simple => Some(1),
        SEQUENCE if is_simple => {
            let members = [&HEAD[..], datatype.encoded.get(MEMBERS..)?].concat();
            check_datatype(&members).ok().filter(|found| !found.has_pointers).map(|found| found.size.into())
        }
        _ => None,
    }
}

impl Container {
    /// Returns whether two variable-length values of attributes are equal.
    pub(super) fn same_blobs(&self, s: &mut State, r: &AttributeRecord, x: Bytes, y: Bytes) -> Result<bool> {
        let Some(unit) = r.datatype.as_ref().and_then(blob_unit) else { return Ok(false) };
        let [(x, in_x), (y, in_y)] = [x, y].map(|value| InlineHeap::split(value, r.data_size));
        for (a, b) in x.as_chunks::<ELEMENT_BYTES>().0.iter().zip(y.as_chunks::<ELEMENT_BYTES>().0) {
            if a[..4] != b[..4] || self.content(s, a, &in_x, unit)? != self.content(s, b, &in_y, unit)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns the bytes of the blob that an element refers to.
    fn content(
        &self,
        s: &mut State,
        element: &[u8; ELEMENT_BYTES],
        heap: &InlineHeap,
        unit: u64,
    ) -> Result<Vec<u8>> {
        let [a, b, c, d, id @ ..] = *element;
        match InlineHeap::has(&id) {
            true => Ok(heap.get(&id, u64::from(u32::from_le_bytes([a, b, c, d])) * unit)?.to_vec()),
            false => self.blob(s, &id),
        }
    }

    /// Removes elements from `spans` that both sides wrote with equal content, so that the other writer's elements
    /// stay. The blobs of this writer become dead bytes of its heap. Returns whether there were such elements.
    pub(super) fn leave_out_same(
        &self,
        s: &mut State,
        id: u64,
        known: &RemoteBlock,
        c: &ThreeWay,
        spans: &mut RangeSet,
    ) -> Result<bool> {
        let (unit, read) = (known.unit, self.reads.block(&c.key));
        let [base, theirs, ours] = self.with_foreign(s, id, known, || {
            let load = |value: &Option<Bytes>| self.load_block(known, &c.key, value);
            Ok([load(&c.base)?, load(&c.theirs)?, load(&c.ours)?])
        })?;
        let starts = spans.iter().flat_map(|r| (r.start / unit * unit..r.end).step_by(unit));
        let mut same = Vec::new();
        for element in starts.map(|at| at..at + unit) {
            let part = |block: &[u8]| block.get(element.clone()).unwrap_or_default().to_vec();
            let (base, theirs, ours) = (part(&base), part(&theirs), part(&ours));
            let both = base != theirs && theirs != ours && !read.overlaps(&element);
            if both && self.is_same_blob(s, &theirs, &ours) {
                same.push(element);
            }
        }
        same.iter().for_each(|element| spans.remove(element));
        Ok(!same.is_empty())
    }

    /// Returns whether two elements of a dataset have equal content. Unreadable content is not equal.
    fn is_same_blob(&self, s: &mut State, a: &[u8], b: &[u8]) -> bool {
        let (Some((count, a)), Some((other, b))) = (a.split_at_checked(4), b.split_at_checked(4)) else {
            return false;
        };
        count == other && self.blob(s, a).is_ok_and(|a| self.blob(s, b).is_ok_and(|b| a == b))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_and_sequences_of_plain_members_can_be_compared() {
        let hex = |text: &str| -> Bytes {
            let digits: Vec<u8> = text.bytes().map(|d| (d as char).to_digit(16).unwrap() as u8).collect();
            digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
        };
        let of = |class, encoded: Bytes, has_references| {
            let t =
                DatatypeRecord { encoded, size: 20, class, has_heap: true, has_references, committed: None };
            blob_unit(&t)
        };
        let number = hex("030019000000100000001008000004000000000020 00".replace(' ', "").as_str());
        let nested = hex("030019000000100000001901010008000000100000000100000000000800");
        assert_eq!(of(STRING, Bytes::new(), false), Some(1));
        assert_eq!(of(SEQUENCE, number.clone(), false), Some(4));
        assert_eq!(of(SEQUENCE, number, true), None);
        assert_eq!(of(SEQUENCE, nested, false), None);
        assert_eq!(of(6, Bytes::new(), false), None);
    }
}
