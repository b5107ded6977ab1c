//! Encodes pages.

use bytes::Bytes;

use super::{MAGIC, Stored};
use crate::address::PageRef;
use crate::checksum::seal;
use crate::codec::{put_string, put_varint};

/// Collects the entries of one page.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    body: Vec<u8>,
    count: u64,
    first: Option<Bytes>,
}

impl Draft {
    pub(crate) fn push_value(&mut self, key: &[u8], value: &Stored) {
        match value {
            Stored::Inline(v) => self.push_inline(key, v),
            Stored::Spilled(e) => {
                self.start(key);
                self.body.push(1);
                put_string(&mut self.body, &e.to_bytes());
            }
        }
    }

    pub(crate) fn push_inline(&mut self, key: &[u8], value: &[u8]) {
        self.start(key);
        self.body.push(0);
        put_string(&mut self.body, value);
    }

    pub(crate) fn push_child(&mut self, key: &Bytes, child: &PageRef) {
        self.start(key);
        child.encode(&mut self.body);
    }

    fn start(&mut self, key: &[u8]) {
        if self.first.is_none() {
            self.first = Some(Bytes::copy_from_slice(key));
        }
        self.count += 1;
        put_string(&mut self.body, key);
    }

    pub(crate) fn size(&self) -> usize {
        self.body.len()
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Returns the page's bytes, its checksum and its first key; `None` if the page has no entries.
    pub(crate) fn finish(&mut self, level: u8) -> Option<(Vec<u8>, u32, Bytes)> {
        let first = self.first.take()?;
        let mut out = Vec::with_capacity(self.body.len() + 16);
        out.extend_from_slice(MAGIC);
        out.push(level);
        put_varint(&mut out, self.count);
        out.append(&mut self.body);
        self.count = 0;
        let crc = seal(&mut out);
        Some((out, crc, first))
    }
}
