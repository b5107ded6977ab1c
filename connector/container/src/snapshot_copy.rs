//! Copies of a snapshot: into a new container, and over a newer version of the same one.
//!
//! Entries are copied key by key, so that ids stay, and references with them. Payloads are read, which proves their checksums,
//! and written anew. Memory: two pages of entries, and twice [`BYTES_PER_READ`], or the largest payload. A target in a store keeps its entries, without
//! payloads, until its one commit.

use crate::chunk::block_store::extents_of;
use crate::chunk::fragments::Fragments;
use crate::container::ENTRIES_PER_SCAN;
use crate::record::{self, AttributeRecord, BlockRecord};
use crate::repair::copy_user_block;
use crate::{Access, Container, Error, ErrorKind, Options, Result, Target, keys, registry};
use bytes::Bytes;
use h5lake_ledger::{At, Extent, Ledger, PayloadPart};
use prost::Message;
use std::cmp::Ordering;
use std::collections::VecDeque;

/// Bytes of payloads that are read at once.
const BYTES_PER_READ: u64 = 32 << 20;

/// What a copy did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// The version that was copied.
    pub from: u64,
    /// The version that this made.
    pub to: u64,
    /// Entries of the map that were written or deleted.
    pub entries: u64,
    /// Bytes of payloads that were copied.
    pub bytes: u64,
}

/// Goes through a map in the order of its keys. What is staged before the entry that is next is not seen.
struct Entries<'a> {
    ledger: &'a Ledger,
    page: VecDeque<(Bytes, Bytes)>,
    after: Option<Bytes>,
    is_done: bool,
}

impl<'a> Entries<'a> {
    fn of(ledger: &'a Ledger) -> Self {
        Self { ledger, page: VecDeque::new(), after: None, is_done: false }
    }

    /// The next entry, which stays the next one.
    fn peek(&mut self) -> Result<Option<&(Bytes, Bytes)>> {
        if self.page.is_empty() && !self.is_done {
            self.page = self.ledger.scan_prefix(b"", self.after.as_deref(), ENTRIES_PER_SCAN)?.into();
            self.is_done = self.page.len() < ENTRIES_PER_SCAN;
            if let Some((last, _)) = self.page.back() {
                self.after = Some(last.clone());
            }
        }
        Ok(self.page.front())
    }

    fn take(&mut self) -> Result<Option<(Bytes, Bytes)>> {
        self.peek()?;
        Ok(self.page.pop_front())
    }
}

/// A part of a payload that an entry names.
struct Part {
    /// Which piece of a block, or which extent of an attribute, it is.
    place: usize,
    extent: Extent,
    skip: u64,
    length: u64,
}

/// A value that names payloads, or any other.
enum Value {
    Block(BlockRecord),
    Attribute(Box<AttributeRecord>),
    Other(Bytes),
}

/// An entry that is to be put when its payloads are read.
struct Pending {
    key: Bytes,
    value: Value,
    parts: Vec<Part>,
    /// Payloads that the target has under this key.
    had: Vec<Extent>,
}

impl Pending {
    fn new(key: Bytes, value: Bytes, had: Vec<Extent>) -> Result<Self> {
        let what = || format!("the entry {key:02x?}");
        let mut parts = Vec::new();
        let mut add = |place, encoded: &Bytes, skip, length: Option<u64>| -> Result<()> {
            let extent = Extent::decode(encoded)?.0;
            let length = length.unwrap_or(extent.len());
            // An empty one stands for bytes that a repair found damaged. What the target has stays.
            if extent.is_empty() || had.contains(&extent) {
                return Ok(());
            }
            if u64::checked_add(skip, length).is_none_or(|end| end > extent.len()) {
                return Err(Error::corrupt("a piece of a block leaves its payload"));
            }
            parts.push(Part { place, extent, skip, length });
            Ok(())
        };
        let value = match key.first() {
            Some(&(keys::BLOCK | keys::SEGMENT)) => {
                let block: BlockRecord = record::decode(value.clone(), what)?;
                // Pieces ascend and do not overlap.
                Fragments::decode(block.clone(), usize::MAX)?;
                for (n, piece) in
                    block.pieces.iter().enumerate().filter(|(_, piece)| !piece.extent.is_empty())
                {
                    add(n, &piece.extent, piece.skip, Some(piece.length))?;
                }
                if parts.is_empty() { Value::Other(value) } else { Value::Block(block) }
            }
            Some(&keys::ATTRIBUTE) => {
                let attribute: AttributeRecord = record::decode(value.clone(), what)?;
                attribute.extents.iter().enumerate().try_for_each(|(n, encoded)| add(n, encoded, 0, None))?;
                if parts.is_empty() { Value::Other(value) } else { Value::Attribute(Box::new(attribute)) }
            }
            _ => Value::Other(value),
        };
        Ok(Self { key, value, parts, had })
    }

    /// Bytes of its payloads.
    fn bytes(&self) -> u64 {
        self.parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.length))
    }

    /// Whether its payloads are read with those of others: what a container says of their lengths is not believed.
    fn is_small(&self) -> bool {
        self.bytes() <= BYTES_PER_READ
    }

    /// Names a payload's copy.
    fn set(&mut self, place: usize, extent: Bytes) {
        match &mut self.value {
            Value::Block(block) => {
                if let Some(piece) = block.pieces.get_mut(place) {
                    (piece.extent, piece.skip) = (extent, 0);
                }
            }
            Value::Attribute(attribute) => {
                if let Some(encoded) = attribute.extents.get_mut(place) {
                    *encoded = extent;
                }
            }
            Value::Other(_) => (),
        }
    }

    fn encode(&self) -> Bytes {
        match &self.value {
            Value::Block(block) => block.encode_to_vec().into(),
            Value::Attribute(attribute) => attribute.encode_to_vec().into(),
            Value::Other(value) => value.clone(),
        }
    }
}

/// Moves entries from one ledger to another. Payloads are read many at a time: from a store that is one wait for all of them.
struct Mover<'a> {
    from: &'a Ledger,
    to: &'a Ledger,
    done: Copied,
    pending: Vec<Pending>,
    /// Bytes of the payloads that these are to read.
    pending_bytes: u64,
    progress: &'a mut dyn FnMut(u64),
}

impl<'a> Mover<'a> {
    fn new(from: &'a Ledger, to: &'a Ledger, done: Copied, progress: &'a mut dyn FnMut(u64)) -> Self {
        Self { from, to, done, pending: Vec::new(), pending_bytes: 0, progress }
    }

    fn put(&mut self, key: Bytes, value: Bytes, had: Vec<Extent>) -> Result<()> {
        let entry = Pending::new(key, value, had)?;
        self.pending_bytes = self.pending_bytes.saturating_add(entry.bytes());
        self.pending.push(entry);
        if self.pending_bytes >= BYTES_PER_READ || self.pending.len() >= ENTRIES_PER_SCAN {
            self.put_pending()?;
        }
        Ok(())
    }

    /// Copies the payloads of the entries that wait for that, and puts them.
    fn put_pending(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let parts = pending.iter().filter(|entry| entry.is_small()).flat_map(|entry| &entry.parts);
        let wanted = parts.map(|part| {
            let range = part.skip..part.skip + part.length;
            PayloadPart { extent: &part.extent, range, into: None }
        });
        let mut read = self.from.read_payloads(wanted.collect())?.into_iter();
        for mut entry in pending {
            let is_small = entry.is_small();
            for part in std::mem::take(&mut entry.parts) {
                let copy = match is_small {
                    true => {
                        let bytes = read.next().filter(|bytes| bytes.len() as u64 == part.length);
                        self.to
                            .write_payload(&bytes.ok_or_else(|| Error::corrupt("a payload was not read"))?)?
                    }
                    false => self.to.write_payload(&self.alone(&part)?)?,
                };
                self.done.bytes += part.length;
                (self.progress)(self.done.bytes);
                entry.set(part.place, copy.to_bytes());
            }
            self.done.entries += 1;
            self.to.put(&entry.key, entry.encode())?;
            self.free(&entry.key, &entry.had)?;
        }
        Ok(())
    }

    /// A part alone. Its length is what the container says: whether there is memory for it is found out first.
    fn alone(&self, part: &Part) -> Result<Vec<u8>> {
        let mut bytes = crate::record_conversion::zeros(usize::try_from(part.length).unwrap_or(usize::MAX))?;
        self.from.read_payload(&part.extent, part.skip, &mut bytes)?;
        Ok(bytes)
    }

    /// Gives back the payloads of an entry that the target had, but for those that it still has.
    fn free(&mut self, key: &[u8], had: &[Extent]) -> Result<()> {
        let has = match self.to.get(key)? {
            Some(value) => extents_of(key, value)?,
            None => Vec::new(),
        };
        had.iter()
            .filter(|extent| !has.contains(extent))
            .try_for_each(|extent| Ok(self.to.free_payload(extent)?))
    }

    /// Copies all entries into a target that has none.
    fn all(&mut self) -> Result<()> {
        let mut entries = Entries::of(self.from);
        while let Some((key, value)) = entries.take()? {
            // A tag leads to a version, and a copy has one.
            if key.first() != Some(&keys::TAG) {
                self.put(key, value, Vec::new())?;
            }
        }
        self.put_pending()
    }

    /// Makes the target's entries those of the source, but for those that [stay](stays).
    fn differences(&mut self) -> Result<()> {
        let (mut wanted, mut present) = (Entries::of(self.from), Entries::of(self.to));
        loop {
            let order = match (wanted.peek()?, present.peek()?) {
                (None, None) => return self.put_pending(),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((wanted, _)), Some((present, _))) => wanted.cmp(present),
            };
            let new = if order.is_le() { wanted.take()? } else { None };
            let old = if order.is_ge() { present.take()? } else { None };
            match (new, old) {
                (Some((key, _)), _) | (None, Some((key, _))) if stays(&key) => (),
                (Some((_, new)), Some((_, old))) if new == old => (),
                (Some((key, new)), old) => {
                    let had = old.map_or_else(|| Ok(Vec::new()), |(key, old)| unique(&key, old))?;
                    self.put(key, new, had)?;
                }
                (None, Some((key, old))) => {
                    let had = unique(&key, old)?;
                    self.to.delete(&key)?;
                    self.done.entries += 1;
                    self.free(&key, &had)?;
                }
                (None, None) => return Ok(()),
            }
        }
    }
}

/// Whether an entry belongs to the container, and not to one version of it: the counter of ids, because an id is not used
/// again, and tags.
fn stays(key: &[u8]) -> bool {
    key == keys::NEXT_OBJECT || key.first() == Some(&keys::TAG)
}

/// The payloads of a value, each once.
fn unique(key: &[u8], value: Bytes) -> Result<Vec<Extent>> {
    let mut all: Vec<Extent> = Vec::new();
    for extent in extents_of(key, value)? {
        if !all.contains(&extent) {
            all.push(extent);
        }
    }
    Ok(all)
}

fn open(target: &Target, access: Access, options: h5lake_ledger::Options) -> Result<Ledger> {
    Ok(match target {
        Target::File(path) => Ledger::open_file(path, access, options)?,
        Target::Objects { store, key, .. } => Ledger::open_objects(store.clone(), key, access, options)?,
    })
}

impl Container {
    /// Copies a container, or the version of it that `options` ask for, into a new one. Others may write to the source
    /// meanwhile. The target is found when it is whole, or never. When this returns, it is committed. `progress` is told
    /// how many bytes were copied, and how many there are at most.
    ///
    /// # Errors
    /// `AlreadyExists` if there is something at `target`; `Corrupt` if something is damaged; those of reading the source and of
    /// writing. After an error there is nothing at `target`.
    pub fn copy_to(
        source: &Target,
        options: &Options,
        target: &Target,
        target_options: &Options,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Copied> {
        let from = open(source, Access::ReadOnly, options.ledger.clone())?;
        let own = crate::container::read_record(&from, source)?;
        let (size, offset) = (from.size()?, from.offset_in_file());
        let user_block = offset.unwrap_or(own.user_block);
        let ledger = h5lake_ledger::Options { user_block, at: None, ..target_options.ledger.clone() };
        let mut done = Copied { from: from.version(), ..Copied::default() };
        let fill = |to: &Ledger| -> Result<()> {
            let mut progress = |bytes| progress(bytes, size);
            let mut mover = Mover::new(&from, to, done, &mut progress);
            mover.all()?;
            done = mover.done;
            Ok(())
        };
        let made = match target {
            Target::File(path) => Ledger::create_whole_file(path, ledger, fill)?,
            Target::Objects { store, key, .. } => {
                Ledger::create_whole_objects(store.clone(), key, ledger, fill)?
            }
        };
        done.to = made.version();
        made.close()?;
        if let (Target::File(from), Target::File(to)) = (source, target)
            && let Err(e) = copy_user_block(from, to, offset.unwrap_or(0))
        {
            Ledger::remove_file(to, &target_options.ledger)?;
            let text = format!("{}: unable to copy the user block: {e}", registry::name(target));
            return Err(Error::new(ErrorKind::Io, text).with_errno(e.raw_os_error()));
        }
        Ok(done)
    }

    /// Makes an old version the newest one again, as a new version: those between stay as long as they would have stayed.
    /// It takes the writer's lock. Only what differs is copied. When this returns, the new version is committed. If the
    /// newest version is the one that is asked for, nothing is done.
    ///
    /// # Errors
    /// `Locked` when another process writes; `OutOfRange` for a version that is not kept; `Corrupt` if something of it is
    /// damaged; those of the ledger. After an error the newest version is what it was.
    pub fn restore_version(
        target: &Target,
        options: &Options,
        at: At,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Copied> {
        let plain = h5lake_ledger::Options { at: None, salvage: false, ..options.ledger.clone() };
        let to = open(target, Access::ReadWrite, plain.clone())?;
        let from = open(target, Access::ReadOnly, h5lake_ledger::Options { at: Some(at), ..plain })?;
        let size = from.size()?;
        let mut done = Copied { from: from.version(), to: to.version(), ..Copied::default() };
        if done.from == done.to {
            to.close()?;
            return Ok(done);
        }
        let mut progress = |bytes| progress(bytes, size);
        let mut mover = Mover::new(&from, &to, done, &mut progress);
        if let Err(e) = mover.differences() {
            to.rollback()?;
            return Err(e);
        }
        done = mover.done;
        done.to = to.commit()?;
        to.close()?;
        Ok(done)
    }
}
