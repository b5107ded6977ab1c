//! Repair of variable-length data: segments, and their usage.

use super::Repair;
use super::blocks::lost_block;
use super::entries::Cursors;
use super::holes::hold;
use crate::verify::decoded;
use bytes::Bytes;
use h5lake_ledger::verify::Item;
use h5lake_records::Result;
use h5lake_records::keys;
use h5lake_records::record::{BlockRecord, UsageRecord};
use prost::Message;

impl Repair<'_> {
    /// Copies the segments of an object.
    pub(super) fn heap_of(&mut self, all: &mut Cursors<'_>, id: u64) -> Result<()> {
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
            self.lost_usage(id)?;
        }
        Ok(())
    }

    fn segment(&mut self, key: &[u8], value: Bytes) -> Result<()> {
        if let Some(n) = keys::segment_number(key).and_then(|n| n.checked_sub(keys::COUNTED_SEGMENT)) {
            self.last_number = self.last_number.max(u64::from(n));
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

    /// Marks segments with lost usage as completely in use: nothing is appended to them, and they stay.
    fn lost_usage(&mut self, id: u64) -> Result<()> {
        let prefix = keys::of(keys::SEGMENT, id);
        let mut after: Option<Bytes> = None;
        loop {
            let page = self.to.scan_prefix(&prefix, after.as_deref(), 64)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (key, value) in page {
                let mut usage = key.to_vec();
                usage[0] = keys::USAGE;
                if self.to.get(&usage)?.is_none() {
                    let length = decoded::<BlockRecord>(value).map_or(0, |r| r.length);
                    let u = UsageRecord { length, used: length, live: length };
                    self.to.put(&usage, u.encode_to_vec())?;
                }
            }
        }
        Ok(())
    }
}
