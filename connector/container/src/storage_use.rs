//! Storage use by kind of data, and the differences between two versions of a container: for tools that inspect
//! containers.

use crate::{Container, Dataset, ObjectKind, Result, Selection};
use bytes::Bytes;
use h5lake_ledger::{Branch, Tag, Version};
use h5lake_records::extents_of;
use h5lake_records::keys;
use h5lake_records::record;
use h5lake_records::record::{BlockRecord, HeaderRecord};
use std::collections::HashSet;

/// The contents of a snapshot of a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StorageUse {
    /// The version of the snapshot.
    pub version: u64,
    /// The version of its records (docs/format.md).
    pub records_version: u32,
    /// Size of the container in bytes, with all retained versions and free space.
    pub size: u64,
    /// Bytes of the snapshot's payloads.
    pub payload_bytes: u64,
    /// Bytes of native files that the snapshot refers to, which take no space in the container.
    pub source_bytes: u64,
    /// Bytes of the keys and values of its entries.
    pub entry_bytes: u64,
    /// Groups, including the root group.
    pub groups: u64,
    /// Datasets.
    pub datasets: u64,
    /// Committed datatypes.
    pub datatypes: u64,
    /// Links.
    pub links: u64,
    /// Attributes.
    pub attributes: u64,
}

impl StorageUse {
    /// Returns the bytes of the container outside of this snapshot: pages, the log, older versions, and free space.
    /// Compaction frees at most this many bytes.
    pub fn other_bytes(&self) -> u64 {
        self.size.saturating_sub(self.payload_bytes).saturating_sub(self.entry_bytes)
    }

    fn count(&mut self, letter: u8, value: &Bytes) -> Result<()> {
        match letter {
            keys::HEADER => {
                let header: HeaderRecord = record::decode(value.clone(), || "an object's header".into())?;
                match header.kind() {
                    ObjectKind::Group => self.groups += 1,
                    ObjectKind::Dataset => self.datasets += 1,
                    ObjectKind::Datatype => self.datatypes += 1,
                }
            }
            keys::LINK => self.links += 1,
            keys::ATTRIBUTE => self.attributes += 1,
            _ => (),
        }
        Ok(())
    }
}

/// The stored size of a dataset.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoredSize {
    /// Stored blocks: chunks of a chunked dataset, segments of other datasets.
    pub blocks: u64,
    /// Their bytes as stored: after filters, and without parts that read as the fill value.
    pub bytes: u64,
}

impl Container {
    /// Returns the version that this handle sees.
    pub fn version(&self) -> u64 {
        self.ledger.version()
    }

    /// Returns the versions that can be opened, newest first, at most `most`.
    ///
    /// # Errors
    /// Those of the ledger.
    pub fn versions(&self, most: usize) -> Result<Vec<Version>> {
        Ok(self.ledger.versions(most)?)
    }

    /// Returns the branch that this handle shows; `None` for the main line.
    ///
    /// # Errors
    /// `NoSuchBranch` if it was merged or deleted meanwhile; those of the ledger.
    pub fn branch(&self) -> Result<Option<Branch>> {
        Ok(self.ledger.branch().map(|name| self.ledger.branch_named(name)).transpose()?)
    }

    /// Returns the tags of the version that this handle sees, in the order of their names.
    ///
    /// # Errors
    /// Those of the ledger.
    pub fn tags(&self) -> Result<Vec<Tag>> {
        Ok(self.ledger.tags()?)
    }

    /// Scans all committed entries, and counts them. Reads no payload.
    ///
    /// # Errors
    /// Those of the ledger; `Corrupt` for an invalid entry.
    pub fn storage_use(&self) -> Result<StorageUse> {
        let mut total = StorageUse {
            version: self.ledger.version(),
            records_version: self.records_version(),
            size: self.ledger.size()?,
            ..StorageUse::default()
        };
        self.each(b"", |key, value| {
            total.entry_bytes += (key.len() + value.len()) as u64;
            total.count(key.first().copied().unwrap_or_default(), &value)?;
            // Several fragments of a value may be in one extent.
            let extents: HashSet<_> = extents_of(&key, value)?.into_iter().collect();
            for extent in &extents {
                let sum =
                    if extent.is_in_source() { &mut total.source_bytes } else { &mut total.payload_bytes };
                *sum = sum.saturating_add(extent.len());
            }
            Ok(())
        })?;
        Ok(total)
    }
}

impl Dataset {
    /// Returns the parts of the dataset that are not stored identically in another version of it, that is, byte for
    /// byte and at the same locations. Identically stored parts are equal and need not be read, because both handles
    /// retain their snapshots. Returns `None` if the comparison says too little: for another dataset, for a dataset
    /// with another layout or type, for changed variable-length data, and for more than `most` parts. A type with
    /// region references stores its blobs elsewhere; these are not compared.
    ///
    /// # Errors
    /// Those of the ledger.
    pub fn changed_parts(&self, other: &Self, most: usize) -> Result<Option<Vec<Selection>>> {
        let (a, b) = (&self.object().container().ledger, &other.object().container().ledger);
        let id = self.object().id();
        let space = self.space();
        let is_of_one_form = self.layout() == other.layout()
            && self.filters() == other.filters()
            && self.fill() == other.fill()
            && self.datatype() == other.datatype()
            && space == other.space();
        if id != other.object().id() || a.identity() != b.identity() || !is_of_one_form {
            return Ok(None);
        }
        if a.differences(b, &keys::of(keys::SEGMENT, id.0))?.next_difference()?.is_some() {
            return Ok(None);
        }
        let (mut parts, mut blocks) = (Vec::new(), a.differences(b, &keys::of(keys::BLOCK, id.0))?);
        while let Some(block) = blocks.next_difference()? {
            if parts.len() >= most {
                return Ok(None);
            }
            parts.extend(self.block_selection(&keys::coords(&block.key), &space)?);
        }
        Ok(Some(parts))
    }
}

impl Dataset {
    /// Returns the stored size of the dataset, as last committed.
    ///
    /// # Errors
    /// Those of the ledger; `Corrupt` for an invalid block.
    pub fn stored_size(&self) -> Result<StoredSize> {
        let mut size = StoredSize::default();
        self.object().container().each(&keys::of(keys::BLOCK, self.object().id().0), |_, value| {
            let block: BlockRecord = record::decode(value, || "a block".into())?;
            size.blocks += 1;
            let bytes =
                |inline: &Bytes, length: u64| if inline.is_empty() { length } else { inline.len() as u64 };
            let pieces = block.pieces.iter().map(|piece| bytes(&piece.inline, piece.length));
            size.bytes = pieces.fold(size.bytes, u64::saturating_add);
            Ok(())
        })?;
        Ok(size)
    }
}
