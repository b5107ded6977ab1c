//! Repair of variable-length data: segments, and their usage.

use super::Repair;
use super::blocks::lost_block;
use super::entries::Cursors;
use super::holes::hold;
use crate::record::{BlockRecord, HeaderRecord, UsageRecord};
use crate::verify::decoded;
use crate::{Result, keys};
use bytes::Bytes;
use h5lake_ledger::verify::Item;
use prost::Message;

/// If the usage of segments is lost, the number of the next segment is greater than this, because elements may hold
/// numbers of lost segments.
const SKIPPED_SEGMENTS: u32 = 1 << 30;

impl Repair<'_> {
    /// Copies the segments of an object.
    pub(super) fn heap_of(
        &mut self,
        all: &mut Cursors<'_>,
        id: u64,
        header: Option<&HeaderRecord>,
    ) -> Result<()> {
        let mut unread = Vec::new();
        while all.segments.id() == Some(id) {
            match all.segments.take()? {
                Some(Item::Entry(key, value)) => self.segment(&key, value)?,
                Some(Item::Unreadable(key)) => {
                    self.lose("heap segment", &key, "its record cannot be read");
                    unread.push(key);
                }
                Some(Item::Lost(from, to)) => self.hole(from, to),
                None => break,
            }
        }
        let holes = self.holes.of(keys::SEGMENT, id);
        let mut missing = false;
        while all.usage.id() == Some(id) {
            match all.usage.take()? {
                Some(Item::Entry(key, value)) => {
                    missing |= !self.usage(&key, value, &|segment| {
                        hold(&holes, segment) || unread.iter().any(|k| k[..] == *segment)
                    })?;
                }
                Some(Item::Unreadable(_)) => missing = true,
                Some(Item::Lost(from, to)) => self.hole(from, to),
                None => break,
            }
        }
        missing |= !self.holes.of(keys::USAGE, id).is_empty();
        if missing {
            let has_heap = header.is_none_or(|h| {
                id == crate::ids::ROOT.0
                    || h.dataset
                        .as_ref()
                        .and_then(|d| d.datatype.as_ref())
                        .is_some_and(|t| t.has_heap || t.has_references)
            });
            self.lost_usage(id, has_heap)?;
        }
        Ok(())
    }

    fn segment(&mut self, key: &[u8], value: Bytes) -> Result<()> {
        if let Some(n) = keys::segment_number(key).filter(|n| *n >= 1 << 31) {
            self.last_number = self.last_number.max(u64::from(n - (1 << 31)));
        }
        let length = decoded::<BlockRecord>(value.clone()).map_or(0, |r| r.length);
        let (value, why) = self.block_anew(value, length)?;
        self.to.put(key, value)?;
        if let Some(why) = why {
            self.lose("heap segment", key, why);
        }
        Ok(())
    }

    /// Copies the usage of a segment, and marks the segment as lost if it is missing. Returns false if the usage is
    /// invalid.
    fn usage(&mut self, key: &[u8], value: Bytes, was_there: &dyn Fn(&[u8]) -> bool) -> Result<bool> {
        let Some(u) =
            decoded::<UsageRecord>(value.clone()).ok().filter(|u| u.live <= u.used && u.used <= u.length)
        else {
            return Ok(false);
        };
        self.to.put(key, value)?;
        let mut segment = key.to_vec();
        segment[0] = keys::SEGMENT;
        if u.used > 0 && was_there(&segment) && self.to.get(&segment)?.is_none() {
            let mut lost = BlockRecord::decode(&lost_block(u.used)[..]).unwrap_or_default();
            lost.length = u.length;
            self.to.put(&segment, lost.encode_to_vec())?;
        }
        Ok(true)
    }

    /// Marks segments with lost usage as completely in use: nothing is appended to them, and they stay. New segments
    /// get numbers that no lost segment had.
    fn lost_usage(&mut self, id: u64, has_heap: bool) -> Result<()> {
        let prefix = keys::of(keys::SEGMENT, id);
        let (mut after, mut any): (Option<Bytes>, bool) = (None, false);
        loop {
            let page = self.to.scan_prefix(&prefix, after.as_deref(), 64)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (key, value) in page {
                any = true;
                let mut usage = key.to_vec();
                usage[0] = keys::USAGE;
                if self.to.get(&usage)?.is_none() {
                    let length = decoded::<BlockRecord>(value).map_or(0, |r| r.length);
                    let u = UsageRecord { length, used: length, live: length };
                    self.to.put(&usage, u.encode_to_vec())?;
                }
            }
        }
        if any || has_heap {
            let u = UsageRecord::default();
            self.to.put(&keys::segment(keys::USAGE, id, SKIPPED_SEGMENTS), u.encode_to_vec())?;
        }
        Ok(())
    }
}
