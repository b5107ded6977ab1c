//! Copies data that a container refers to in sources; afterwards the sources can be deleted.

use crate::dataset::{MAX_INLINE_BYTES, MAX_SMALL_DATASET_BYTES};
use crate::{Container, Layout, LinkTarget, Result};
use bytes::Bytes;
use h5lake_ledger::ENTRIES_PER_SCAN;
use h5lake_records::record::{self, HeaderRecord};
use h5lake_records::{EntryValue, PayloadReference, keys};
use std::collections::BTreeMap;

/// Bytes that are copied between two commits.
const BYTES_PER_COMMIT: u64 = 256 << 20;
/// Bytes that are read at once.
const BYTES_PER_READ: u64 = 32 << 20;

/// The data of one source to which the newest version refers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Referenced {
    /// Number of blocks with bytes in the source.
    pub blocks: u64,
    /// Number of these bytes.
    pub bytes: u64,
}

/// Other files that hold elements of datasets, or to which external links lead, with the number of such datasets or
/// links, by the name with which they refer to the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NeededFiles {
    /// Sources of virtual datasets; a name may contain `%b`. The container itself (`.`) is not included.
    pub of_virtual: BTreeMap<Vec<u8>, u64>,
    /// Parts of external storage.
    pub of_external: BTreeMap<Vec<u8>, u64>,
    /// Files of external links.
    pub of_links: BTreeMap<Vec<u8>, u64>,
}

impl NeededFiles {
    /// Counts the files of a dataset with this layout.
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

/// The result of materializing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Materialized {
    /// Number of blocks.
    pub blocks: u64,
    /// Number of copied bytes.
    pub bytes: u64,
    /// Number of commits.
    pub commits: u64,
}

/// Returns the parts of a block that are in sources, with the decoded block.
fn decoded(key: &[u8], value: &Bytes) -> Result<(EntryValue, Vec<PayloadReference>)> {
    let block = EntryValue::decode(key, value)?;
    let mut parts = block.references()?;
    parts.retain(|part| part.extent.is_in_source());
    Ok((block, parts))
}

impl Container {
    /// Returns the data to which the visible version refers, by the numbers of its sources. No source is read.
    ///
    /// # Errors
    /// `Corrupt` for an invalid block; those of the ledger.
    pub fn referenced(&self) -> Result<BTreeMap<u32, Referenced>> {
        let mut all = BTreeMap::<u32, Referenced>::new();
        self.each(&[keys::BLOCK], |key, value| {
            let mut seen = Vec::new();
            for part in decoded(&key, &value)?.1 {
                let Some((number, _)) = part.extent.source() else { continue };
                let of = all.entry(number).or_default();
                of.bytes = of.bytes.saturating_add(part.length);
                if !seen.contains(&number) {
                    seen.push(number);
                    of.blocks += 1;
                }
            }
            Ok(())
        })?;
        Ok(all)
    }

    /// Returns the files that virtual datasets, external storage and external links of this version need.
    /// [`materialize`](Self::materialize) does not copy their data. No file is accessed.
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

    /// Copies the data to which the newest version refers, in commits of 256 MiB. When this returns, the version is
    /// committed as the options say, and needs no source. Older versions still do, and
    /// [`needed_files`](Self::needed_files) are still needed. `progress` gets the number of copied bytes.
    ///
    /// # Errors
    /// `ReadOnly`; `Io` (errno 116) if a source has changed since its adoption; `NoSpace`; those of the ledger. Data
    /// that was committed until then stays copied, and all other data stays as before.
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
                let length: u64 = decoded(&key, &value)?.1.iter().map(|part| part.length).sum();
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

    /// Copies the parts of blocks that are in sources; returns the number of bytes.
    fn copy_blocks(&self, wanted: &[Bytes], done: &mut Materialized) -> Result<u64> {
        // Blocks change only under this lock.
        let mut cache = self.blocks.lock();
        let mut all = Vec::new();
        for key in wanted {
            cache.flush(&self.ledger, key)?;
            let Some(value) = self.ledger.get(key)? else { continue };
            let (block, parts) = decoded(key, &value)?;
            all.push((key, block, parts));
        }
        let reads = all.iter().flat_map(|(_, _, parts)| parts).map(PayloadReference::read);
        let mut read = self.ledger.read_payloads(reads.collect())?.into_iter();
        let mut copied = 0;
        for (key, mut block, parts) in all {
            let is_small_block = block.block_length().is_some_and(|length| length <= MAX_SMALL_DATASET_BYTES);
            for part in &parts {
                let Some(bytes) = read.next() else { continue };
                copied += bytes.len() as u64;
                let is_small = is_small_block || (parts.len() == 1 && bytes.len() <= MAX_INLINE_BYTES);
                if is_small && self.ledger.takes_inline(bytes.len()) {
                    block.set_inline(part.index, bytes);
                } else {
                    block.set(part.index, self.ledger.write_payload(&bytes)?.to_bytes(), 0);
                }
            }
            self.ledger.put(key, block.encode())?;
            done.blocks += u64::from(!parts.is_empty());
        }
        done.bytes += copied;
        Ok(copied)
    }
}
