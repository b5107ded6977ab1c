//! Copies of a snapshot: into a new container, and over a newer version of the same one.
//!
//! Entries are copied key by key, so that ids stay, and references with them. Payloads are read, which proves their checksums,
//! and written anew. Memory: two pages of entries and the pieces of one block. A target in a store keeps its entries, without
//! payloads, until its one commit.

use crate::chunk::block_store::extents_of;
use crate::container::ENTRIES_PER_SCAN;
use crate::record::{self, AttributeRecord, BlockRecord};
use crate::repair::copy_user_block;
use crate::{Access, Container, Error, ErrorKind, Options, Result, Target, keys, registry};
use bytes::Bytes;
use h5lake_ledger::{At, Extent, Ledger};
use prost::Message;
use std::cmp::Ordering;
use std::collections::VecDeque;

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

/// Moves entries from one ledger to another.
struct Mover<'a> {
    from: &'a Ledger,
    to: &'a Ledger,
    done: Copied,
    progress: &'a mut dyn FnMut(u64),
}

impl Mover<'_> {
    /// The value with its payloads written to the target. Those that `kept` has are there.
    fn anew(&mut self, key: &[u8], value: Bytes, kept: &[Extent]) -> Result<Bytes> {
        let what = || format!("the entry {key:02x?}");
        match key.first() {
            Some(&(keys::BLOCK | keys::SEGMENT)) => {
                let mut block: BlockRecord = record::decode(value.clone(), what)?;
                let mut is_changed = false;
                for piece in block.pieces.iter_mut().filter(|piece| !piece.extent.is_empty()) {
                    let extent = Extent::decode(&piece.extent)?.0;
                    // An empty one stands for bytes that a repair found damaged.
                    if extent.is_empty() || kept.contains(&extent) {
                        continue;
                    }
                    piece.extent = self.payload(&extent, piece.skip, piece.length)?;
                    (piece.skip, is_changed) = (0, true);
                }
                Ok(if is_changed { block.encode_to_vec().into() } else { value })
            }
            Some(&keys::ATTRIBUTE) => {
                let mut attribute: AttributeRecord = record::decode(value.clone(), what)?;
                let mut is_changed = false;
                for encoded in &mut attribute.extents {
                    let extent = Extent::decode(encoded)?.0;
                    if !kept.contains(&extent) {
                        (*encoded, is_changed) = (self.payload(&extent, 0, extent.len())?, true);
                    }
                }
                Ok(if is_changed { attribute.encode_to_vec().into() } else { value })
            }
            _ => Ok(value),
        }
    }

    /// Copies bytes of a payload; gives the encoded extent of the copy.
    fn payload(&mut self, extent: &Extent, skip: u64, length: u64) -> Result<Bytes> {
        if skip.checked_add(length).is_none_or(|end| end > extent.len()) {
            return Err(Error::corrupt("a piece of a block leaves its payload"));
        }
        let mut bytes = crate::record_conversion::zeros(usize::try_from(length).unwrap_or(usize::MAX))?;
        self.from.read_payload(extent, skip, &mut bytes)?;
        self.done.bytes += length;
        (self.progress)(self.done.bytes);
        Ok(self.to.write_payload(&bytes)?.to_bytes())
    }

    fn put(&mut self, key: &[u8], value: Bytes, kept: &[Extent]) -> Result<()> {
        let value = self.anew(key, value, kept)?;
        self.done.entries += 1;
        Ok(self.to.put(key, value)?)
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
            self.put(&key, value, &[])?;
        }
        Ok(())
    }

    /// Makes the target's entries those of the source. The counter of ids stays: an id is not used again.
    fn differences(&mut self) -> Result<()> {
        let (mut wanted, mut present) = (Entries::of(self.from), Entries::of(self.to));
        loop {
            let order = match (wanted.peek()?, present.peek()?) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((wanted, _)), Some((present, _))) => wanted.cmp(present),
            };
            let new = if order.is_le() { wanted.take()? } else { None };
            let old = if order.is_ge() { present.take()? } else { None };
            match (new, old) {
                (Some((key, _)), _) | (None, Some((key, _))) if key[..] == *keys::NEXT_OBJECT => (),
                (Some((_, new)), Some((_, old))) if new == old => (),
                (Some((key, new)), old) => {
                    let had = old.map_or_else(|| Ok(Vec::new()), |(key, old)| unique(&key, old))?;
                    self.put(&key, new, &had)?;
                    self.free(&key, &had)?;
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
            let mut mover = Mover { from: &from, to, done, progress: &mut progress };
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
        let mut mover = Mover { from: &from, to: &to, done, progress: &mut progress };
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
