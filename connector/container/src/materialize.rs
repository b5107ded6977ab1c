//! Copying what a container has by reference: afterwards the sources may go away.

use crate::chunk::fragments::Fragments;
use crate::dataset::{MAX_INLINE_BYTES, MAX_SMALL_DATASET_BYTES};
use crate::entries::ENTRIES_PER_SCAN;
use crate::record::{self, BlockRecord, HeaderRecord};
use crate::{Container, Layout, LinkTarget, Result, keys};
use bytes::Bytes;
use h5lake_ledger::{Extent, PayloadPart};
use prost::Message;
use std::collections::BTreeMap;

/// Bytes that are copied between two commits.
const BYTES_PER_COMMIT: u64 = 256 << 20;
/// Bytes that are read at once.
const BYTES_PER_READ: u64 = 32 << 20;

/// What the newest version has of one source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Referenced {
    /// Blocks that have bytes there.
    pub blocks: u64,
    /// Their bytes there.
    pub bytes: u64,
}

/// Files beside the container in which datasets have their elements, or to which external links lead, and how many datasets or links
/// each: by the name that these have for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NeededFiles {
    /// Sources of virtual datasets; a name may hold `%b`. The container itself (`.`) is none.
    pub of_virtual: BTreeMap<Vec<u8>, u64>,
    /// Parts of external storage.
    pub of_external: BTreeMap<Vec<u8>, u64>,
    /// Files of external links.
    pub of_links: BTreeMap<Vec<u8>, u64>,
}

impl NeededFiles {
    /// Counts a dataset of this layout.
    fn add(&mut self, layout: &Layout) {
        let (place, mut names) = match layout {
            Layout::Virtual { mappings } => {
                (&mut self.of_virtual, mappings.iter().map(|from| &from.file).collect::<Vec<_>>())
            }
            Layout::External { files } => {
                (&mut self.of_external, files.iter().map(|file| &file.name).collect())
            }
            Layout::Compact | Layout::Contiguous | Layout::Chunked { .. } => return,
        };
        names.sort_unstable();
        names.dedup();
        for name in names.into_iter().filter(|name| *name != b".") {
            *place.entry(name.clone()).or_default() += 1;
        }
    }
}

/// What was copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Materialized {
    /// Blocks.
    pub blocks: u64,
    /// Bytes of them that were copied.
    pub bytes: u64,
    /// Commits that this took.
    pub commits: u64,
}

/// Pieces of a block that lie in sources: their numbers, extents, and which bytes.
fn parts(r: &BlockRecord) -> Result<Vec<(usize, Extent, u64, u64)>> {
    let mut parts = Vec::new();
    for (n, piece) in r.pieces.iter().enumerate().filter(|(_, piece)| !piece.extent.is_empty()) {
        let extent = Extent::decode(&piece.extent)?.0;
        if extent.is_in_source() {
            parts.push((n, extent, piece.skip, piece.length));
        }
    }
    Ok(parts)
}

fn decoded(key: &[u8], value: Bytes) -> Result<BlockRecord> {
    let r: BlockRecord = record::decode(value, || format!("the block {key:02x?}"))?;
    // Pieces ascend, do not overlap, and lie within their extents.
    Fragments::decode(r.clone(), usize::MAX)?;
    Ok(r)
}

impl Container {
    /// What the version that this handle sees has by reference, by the numbers of its sources. No source is read.
    ///
    /// # Errors
    /// `Corrupt` for a block that is none; those of the ledger.
    pub fn referenced(&self) -> Result<BTreeMap<u32, Referenced>> {
        let mut all = BTreeMap::<u32, Referenced>::new();
        self.each(&[keys::BLOCK], |key, value| {
            let mut seen = Vec::new();
            for (_, extent, _, length) in parts(&decoded(&key, value)?)? {
                let Some((number, _)) = extent.source() else { continue };
                let of = all.entry(number).or_default();
                of.bytes = of.bytes.saturating_add(length);
                if !seen.contains(&number) {
                    seen.push(number);
                    of.blocks += 1;
                }
            }
            Ok(())
        })?;
        Ok(all)
    }

    /// The files that virtual datasets, external storage and external links of this version need. [`materialize`](Self::materialize)
    /// copies nothing of them. No file is looked at.
    ///
    /// # Errors
    /// `Corrupt` for a damaged header or link; those of the ledger.
    pub fn needed_files(&self) -> Result<NeededFiles> {
        let mut all = NeededFiles::default();
        self.each(&[keys::HEADER], |key, value| {
            let header: HeaderRecord = record::decode(value, || format!("the header {key:02x?}"))?;
            if let Some(dataset) = header.dataset {
                all.add(&dataset.layout()?);
            }
            Ok(())
        })?;
        self.each(&[keys::LINK], |key, value| {
            if let LinkTarget::External { file, .. } = self.decode_link(&key, value)?.target {
                *all.of_links.entry(file).or_default() += 1;
            }
            Ok(())
        })?;
        Ok(all)
    }

    /// Copies what the newest version has by reference, in commits of 256 MiB. When this returns, the version is committed as the
    /// options say, and needs no source. Older versions still do, and [`needed_files`](Self::needed_files) stay needed. `progress` is
    /// told how many bytes were copied.
    ///
    /// # Errors
    /// `ReadOnly`; `Io` (errno 116) if a source is not what was adopted; `NoSpace`; those of the ledger. What was committed until then
    /// stays, and the rest is as before.
    pub fn materialize(&self, progress: &mut dyn FnMut(u64)) -> Result<Materialized> {
        self.check_writable("unable to materialize")?;
        self.flush()?;
        let (mut done, mut pending, mut after) = (Materialized::default(), 0, None::<Bytes>);
        loop {
            let page = self.ledger.scan_prefix(&[keys::BLOCK], after.as_deref(), ENTRIES_PER_SCAN)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            let (mut wanted, mut bytes) = (Vec::new(), 0);
            for (key, value) in page {
                let length: u64 = parts(&decoded(&key, value)?)?.iter().map(|(.., length)| length).sum();
                if length == 0 {
                    continue;
                }
                bytes += length;
                wanted.push(key);
                if bytes >= BYTES_PER_READ {
                    pending += self.copy_blocks(&std::mem::take(&mut wanted), &mut done)?;
                    bytes = 0;
                    progress(done.bytes);
                }
                if pending >= BYTES_PER_COMMIT {
                    pending = 0;
                    self.ledger.commit()?;
                    done.commits += 1;
                }
            }
            pending += self.copy_blocks(&wanted, &mut done)?;
            progress(done.bytes);
        }
        if pending > 0 {
            self.ledger.commit()?;
            done.commits += 1;
        }
        Ok(done)
    }

    /// Copies what some blocks have in sources; returns how many bytes.
    fn copy_blocks(&self, wanted: &[Bytes], done: &mut Materialized) -> Result<u64> {
        // Blocks change under this lock.
        let mut cache = self.blocks.lock();
        let mut all = Vec::new();
        for key in wanted {
            cache.flush(&self.ledger, key)?;
            let Some(value) = self.ledger.get(key)? else { continue };
            let r = decoded(key, value)?;
            let parts = parts(&r)?;
            all.push((key, r, parts));
        }
        let flat = all.iter().flat_map(|(_, _, parts)| parts);
        let reads = flat.map(|(_, extent, skip, length)| PayloadPart {
            extent,
            range: *skip..skip + length,
            into: None,
        });
        let mut read = self.ledger.read_payloads(reads.collect())?.into_iter();
        let mut copied = 0;
        for (key, mut r, parts) in all {
            let count = parts.len();
            for (n, ..) in parts {
                let (Some(bytes), Some(piece)) = (read.next(), r.pieces.get_mut(n)) else { continue };
                copied += bytes.len() as u64;
                let is_small =
                    r.length <= MAX_SMALL_DATASET_BYTES || (count == 1 && bytes.len() <= MAX_INLINE_BYTES);
                piece.skip = 0;
                if is_small && self.ledger.takes_inline(bytes.len()) {
                    (piece.inline, piece.extent, piece.length) = (bytes, Bytes::new(), 0);
                } else {
                    piece.extent = self.ledger.write_payload(&bytes)?.to_bytes();
                }
            }
            self.ledger.put(key, r.encode_to_vec())?;
            done.blocks += u64::from(count > 0);
        }
        done.bytes += copied;
        Ok(copied)
    }
}
