//! Repair of blocks of datasets and heap segments.

use super::Repair;
use super::entries::Cursors;
use crate::verify::{LOST, decoded};
use bytes::Bytes;
use h5lake_container::DatasetForm;
use h5lake_ledger::verify::Item;
use h5lake_ledger::{Extent, Source};
use h5lake_records::keys;
use h5lake_records::record::{BlockRecord, HeaderRecord, PieceRecord};
use h5lake_records::types::Layout;
use h5lake_records::{Error, ErrorKind, Result};
use prost::Message;

/// Maximum number of blocks per dataset that are marked as lost because they may have existed on a damaged page.
const MAX_UNKNOWN_BLOCKS: u64 = 4 << 20;

/// Returns the record of a block that is lost as a whole.
pub(super) fn lost_block(length: u64) -> Vec<u8> {
    BlockRecord { pieces: vec![PieceRecord::lost(0, length)], length, ..BlockRecord::default() }
        .encode_to_vec()
}

/// Returns the length of a block in a dataset with unknown filters.
fn block_length(h: &HeaderRecord) -> u64 {
    let Some(d) = &h.dataset else { return 0 };
    let size = d.datatype.as_ref().map_or(1, |t| t.size);
    d.chunk.iter().fold(size, |n, c| n.saturating_mul(*c)).min(u64::from(u32::MAX))
}

impl Repair<'_> {
    /// Copies the payloads of a block, and marks damaged parts. Returns the reason if a part is damaged.
    pub(super) fn block_anew(&mut self, value: Bytes, length: u64) -> Result<(Vec<u8>, Option<String>)> {
        let mut r = match decoded::<BlockRecord>(value) {
            Ok(r) => r,
            Err(why) => return Ok((lost_block(length), Some(why))),
        };
        if let Err(e) = r.clone().fragments(usize::MAX) {
            return Ok((lost_block(length), Some(e.to_string())));
        }
        let (mut why, mut written) = (None, Vec::new());
        for p in &mut r.pieces {
            if p.extent.is_empty() {
                continue;
            }
            let extent = Extent::decode(&p.extent)?.0;
            if extent.is_empty() {
                if p.length > 0 {
                    why = Some(LOST.to_owned());
                }
                continue;
            }
            if let Some((number, offset)) = extent.source() {
                // Adopted data stays in its native file, if the new container has the source.
                let known = self.to.get(&Source::key(number))?.map(|value| Source::decode(&value));
                match known {
                    Some(Ok(source)) if offset.saturating_add(extent.len()) <= source.length => continue,
                    Some(Ok(_)) => why = Some("it lies behind the end of its source".to_owned()),
                    _ => why = Some("the entry of its source is lost".to_owned()),
                }
                *p = PieceRecord::lost(p.offset, p.length);
                continue;
            }
            match self.payload(&extent, p.skip, p.length)? {
                Ok(bytes) => {
                    let anew = self.to.write_payload(&bytes)?;
                    (p.extent, p.skip) = (anew.to_bytes(), 0);
                    written.push(anew);
                }
                Err(reason) => {
                    *p = PieceRecord::lost(p.offset, p.length);
                    why = Some(reason);
                }
            }
        }
        if r.encoded && why.is_some() {
            // The copied extents are useless without the damaged ones.
            for extent in written {
                self.to.free_payload(&extent)?;
            }
            return Ok((lost_block(length), why));
        }
        if why.is_some() {
            r.statistics = None;
        }
        Ok((r.encode_to_vec(), why))
    }

    /// Copies the blocks of an object.
    pub(super) fn blocks_of(&mut self, all: &mut Cursors<'_>, id: u64, h: &HeaderRecord) -> Result<()> {
        let form = match h.dataset.is_some().then(|| DatasetForm::of(h, || "the dataset".into())).transpose()
        {
            Ok(form) => form,
            Err(e) if e.kind() == ErrorKind::Unsupported => None,
            Err(e) => return Err(e),
        };
        let length = form.as_ref().map_or_else(|| block_length(h), |f| f.block_bytes() as u64);
        while all.blocks.id() == Some(id) {
            let Some(item) = all.blocks.take()? else { break };
            match item {
                Item::Entry(key, _) | Item::Unreadable(key) if h.dataset.is_none() => {
                    self.lose("block", &key, "the object that it belongs to is no dataset");
                }
                Item::Unreadable(key) => {
                    self.lose("block", &key, "its record cannot be read");
                    self.to.put(&key, lost_block(length))?;
                }
                Item::Entry(key, value) => self.block(&key, value, form.as_ref(), length)?,
                Item::Lost(from, to) => self.hole(from, to),
            }
        }
        match form {
            Some(form) => self.unknown_blocks(id, &form),
            None if self.holes.of(keys::BLOCK, id).is_empty() || h.dataset.is_none() => Ok(()),
            None => Err(Error::unsupported(format!(
                "object {id:#x}: a page of the map is damaged, and this build does not know the dataset's filters or layout; \
                 update it"
            ))),
        }
    }

    fn block(&mut self, key: &[u8], value: Bytes, form: Option<&DatasetForm>, length: u64) -> Result<()> {
        let value = form.map_or_else(|| value.clone(), |form| form.without_wrong_statistics(value.clone()));
        let wrong = form.and_then(|form| form.check_block(key, value.clone()).err());
        let rank = match form.map(DatasetForm::layout) {
            Some(Layout::Chunked { chunk }) => Some(chunk.len()),
            Some(Layout::Virtual { .. } | Layout::External { .. }) => Some(0),
            Some(_) => Some(1),
            None => None,
        };
        if rank.is_some_and(|rank| rank == 0 || keys::tail(key).len() != rank * 8) {
            self.lose("block", key, wrong.unwrap_or_default());
            return Ok(());
        }
        let (value, why) = match wrong {
            Some(why) => (lost_block(length), Some(why)),
            None => self.block_anew(value, length)?,
        };
        self.to.put(key, value)?;
        if let Some(why) = why {
            self.lose("block", key, why);
        }
        Ok(())
    }

    /// Returns the reason if a dataset must be left out: damaged pages may have had more of its blocks than can be
    /// marked as lost, or blocks with filters or a layout unknown to this build. The dataset would read as fill where
    /// it had data.
    pub(super) fn why_left_out(&self, id: u64, h: &HeaderRecord) -> Result<Option<String>> {
        if h.dataset.is_none() {
            return Ok(None);
        }
        let counts = match DatasetForm::of(h, || "the dataset".into()) {
            Ok(form) => Some(form.block_counts()?),
            Err(e) if e.kind() == ErrorKind::Unsupported => None,
            Err(e) => return Err(e),
        };
        let most = u128::from(MAX_UNKNOWN_BLOCKS);
        // Few datasets have this many blocks, so the blocks of all other datasets are scanned only once.
        if counts.as_ref().is_some_and(|counts| all_blocks(counts) <= most) {
            return Ok(None);
        }
        let (first, behind) = (keys::of(keys::BLOCK, id), keys::of(keys::BLOCK, id.saturating_add(1)));
        let (mut scan, mut lost) = (self.v.scan(&first, Some(&behind)), 0u128);
        while let Some(item) = scan.step()? {
            let Item::Lost(from, to) = item else { continue };
            let Some(counts) = &counts else {
                let why = "a damaged page of the map may have had chunks of it, and this build does not know its filters or layout; \
                           update it";
                return Ok(Some(why.into()));
            };
            lost = lost.saturating_add(blocks_between(counts, &first, &from, to.as_deref()));
            if lost > most {
                let why = format!("damaged pages of the map may have had more than {most} of its chunks");
                return Ok(Some(why));
            }
        }
        Ok(None)
    }

    /// Marks blocks that may have been on a damaged page, because their content is unknown and must not read as fill.
    fn unknown_blocks(&mut self, id: u64, form: &DatasetForm) -> Result<()> {
        let holes = self.holes.of(keys::BLOCK, id);
        if holes.is_empty() {
            return Ok(());
        }
        let counts = form.block_counts()?;
        for (from, to) in holes {
            let begun = from[..] > keys::of(keys::BLOCK, id)[..];
            let mut at = first_from(&counts, begun.then(|| keys::tail(&from)));
            let mut marked = 0;
            while let Some(coords) = at {
                let key = keys::block(id, &coords);
                if to.as_ref().is_some_and(|to| to[..] <= key[..]) {
                    break;
                }
                marked += 1;
                if marked > MAX_UNKNOWN_BLOCKS {
                    return Err(Error::corrupt(format!(
                        "object {id:#x}: a page of the map is damaged that may have had more than {MAX_UNKNOWN_BLOCKS} of its chunks; copy \
                         the other objects with h5copy or h5repack"
                    )));
                }
                if self.to.get(&key)?.is_none() {
                    self.to.put(&key, lost_block(form.block_bytes() as u64))?;
                }
                at = next(&counts, coords);
            }
        }
        Ok(())
    }
}

/// Returns the maximum number of blocks.
fn all_blocks(counts: &[u64]) -> u128 {
    counts.iter().fold(1, |n: u128, count| n.saturating_mul(u128::from(*count)))
}

/// Returns the maximum number of blocks with keys from `from` on and before `to`; `first` is the common prefix of their
/// keys.
fn blocks_between(counts: &[u64], first: &[u8], from: &[u8], to: Option<&[u8]>) -> u128 {
    let rank = |at: Vec<u64>| {
        let dimensions = at.iter().zip(counts).map(|(at, count)| (u128::from(*at), u128::from(*count)));
        dimensions.fold(0u128, |n, (at, count)| n.saturating_mul(count).saturating_add(at))
    };
    // The bounds of a page need not be keys of blocks, and may follow the keys of all blocks.
    let before = |key: &[u8]| {
        let found = key.strip_prefix(first).and_then(|tail| first_from(counts, Some(tail)));
        found.map_or_else(|| all_blocks(counts), rank)
    };
    to.map_or_else(|| all_blocks(counts), before).saturating_sub(before(from))
}

/// Returns the first block with encoded coordinates that are not less than `bytes`; without bytes the first of all.
fn first_from(counts: &[u64], bytes: Option<&[u8]>) -> Option<Vec<u64>> {
    if counts.contains(&0) {
        return None;
    }
    let Some(bytes) = bytes else { return Some(vec![0; counts.len()]) };
    let mut padded = bytes.to_vec();
    let length = counts.len() * 8;
    // A key that is longer than the coordinates follows them.
    let goes_on = padded.len() > length;
    padded.resize(length, 0);
    let mut at: Vec<u64> =
        padded.chunks_exact(8).map(|c| c.iter().fold(0, |n, b| n << 8 | u64::from(*b))).collect();
    if let Some(beyond) = at.iter().zip(counts).position(|(c, n)| c >= n) {
        at[beyond..].fill(0);
        return carry(counts, at, beyond);
    }
    if goes_on { next(counts, at) } else { Some(at) }
}

/// Increments the coordinate in the dimension before `n`, and carries over.
fn carry(counts: &[u64], mut at: Vec<u64>, n: usize) -> Option<Vec<u64>> {
    for d in (0..n).rev() {
        at[d] += 1;
        if at[d] < counts[d] {
            return Some(at);
        }
        at[d] = 0;
    }
    None
}

/// Returns the next block.
fn next(counts: &[u64], at: Vec<u64>) -> Option<Vec<u64>> {
    carry(counts, at, counts.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_counted_from_any_key_on() {
        let bytes = |c: &[u64]| c.iter().flat_map(|c| c.to_be_bytes()).collect::<Vec<u8>>();
        let counts = [2, 3];
        assert_eq!(first_from(&counts, Some(&bytes(&[0, 2]))), Some(vec![0, 2]));
        assert_eq!(first_from(&counts, Some(&bytes(&[0, 3]))), Some(vec![1, 0]));
        assert_eq!(first_from(&counts, Some(&bytes(&[0]))), Some(vec![0, 0]));
        assert_eq!(first_from(&counts, Some(&bytes(&[0, 1, 0]))), Some(vec![0, 2]));
        assert_eq!(first_from(&counts, Some(&bytes(&[2, 0]))), None);
        assert_eq!(first_from(&counts, Some(&bytes(&[1, 9]))), None);
        assert_eq!(first_from(&counts, None), Some(vec![0, 0]));
        assert_eq!(next(&counts, vec![0, 2]), Some(vec![1, 0]));
        assert_eq!(next(&counts, vec![1, 2]), None);
    }

    #[test]
    fn blocks_of_a_damaged_page_are_counted() {
        let counts = [1 << 40, 1 << 40];
        let (first, all) = (keys::of(keys::BLOCK, 7), 1u128 << 80);
        let between = |from: &[u8], to: Option<&[u8]>| blocks_between(&counts, &first, from, to);
        let key = |row, column| keys::block(7, &[row, column]);
        assert_eq!((between(&first, None), between(&first, Some(&keys::of(keys::BLOCK, 8)))), (all, all));
        assert_eq!(between(&key(3, 5), Some(&key(3, 9))), 4);
        assert_eq!(between(&key(3, 5), Some(&key(4, 0))), (1 << 40) - 5);
        assert_eq!(between(&first, Some(&key(0, 2)[..20])), 0, "keys of pages may be shorter");
        assert_eq!(all_blocks(&[u64::MAX; 3]), u128::MAX);
    }
}
