//! The parts of a writer's state that belong together.

use bytes::Bytes;
use object_stores::Etag;

use super::PACK_BYTES;
use crate::address::{Address, Location};
use crate::clock::{self, Moment};
use crate::error::{Error, Result};
use crate::objects::initial_manifest::PendingPut;
use crate::objects::inline_log::InlineLog;
use crate::objects::manifest::{Head, MULTI_WRITER_TOKEN, single_writer_token};
use crate::objects::object_usage::{UsageDelta, UsageTable};
use crate::objects::pack_gaps::PackGaps;
use crate::objects::uploads::Uploads;

/// An object that is being filled.
#[derive(Debug, Default)]
pub(super) struct PackBuffer {
    pub(super) location: Option<Location>,
    pub(super) bytes: Vec<u8>,
    pub(super) holes: PackGaps,
}

impl PackBuffer {
    /// The object's room, which `name` makes of a random number for a new one.
    pub(super) fn location(&mut self, name: fn([u8; 16]) -> Location, target: &str) -> Result<Location> {
        let location = match self.location {
            Some(location) => location,
            None => name(clock::random(target)?),
        };
        self.location = Some(location);
        Ok(location)
    }

    pub(super) fn add(
        &mut self,
        data: &[u8],
        name: fn([u8; 16]) -> Location,
        target: &str,
    ) -> Result<Address> {
        self.bytes.try_reserve(data.len()).map_err(|_| Error::no_memory(target, data.len() as u64))?;
        let (location, offset) = (self.location(name, target)?, self.bytes.len() as u64);
        self.bytes.extend_from_slice(data);
        Ok(Address { location, offset, length: data.len() as u64 })
    }

    /// The same where something was before that is not needed any more, if there is room.
    pub(super) fn add_in_hole(&mut self, data: &[u8]) -> Option<Address> {
        let location = self.location?;
        let offset = fill(&mut self.holes, &mut self.bytes, data)?;
        Some(Address { location, offset, length: data.len() as u64 })
    }

    /// Whether so much more would be too much for one object.
    pub(super) fn is_full_with(&self, more: usize) -> bool {
        !self.bytes.is_empty() && self.bytes.len() + more > PACK_BYTES
    }

    pub(super) fn part(&self, place: &Address, offset: u64, len: usize) -> Option<&[u8]> {
        if self.location != Some(place.location) {
            return None;
        }
        let from = usize::try_from(place.offset + offset).ok()?;
        self.bytes.get(from..from.checked_add(len)?)
    }
}

/// Puts data into a hole, if there is one of its length; returns where.
pub(super) fn fill(holes: &mut PackGaps, bytes: &mut [u8], data: &[u8]) -> Option<u64> {
    let at = holes.take(data.len())?;
    bytes[at..at + data.len()].copy_from_slice(data);
    Some(at as u64)
}

/// The head object as it is in the store, and what the next one has to say.
#[derive(Debug)]
pub(in crate::objects) struct ManifestState {
    pub(in crate::objects) head: Head,
    pub(super) etag: Option<Etag>,
    /// The retention time that this writer was asked for, in milliseconds, whatever other writers' heads say.
    pub(in crate::objects) retention: Option<u64>,
    /// Many writers have the container open, or had when this one opened it.
    pub(super) is_after_many_writers: bool,
    /// What this writer's heads have to tell them from another's. Who wrote before gives its lease back beside its last head,
    /// which may come late.
    pub(in crate::objects) fencing_token: u64,
    /// The log objects that a closed head gets.
    pub(super) tail: InlineLog,
    /// The head of a new container, while it is not known to be there.
    pub(in crate::objects) first: Option<PendingPut>,
    /// That head follows the first commit.
    pub(in crate::objects) first_is_held: bool,
}

impl ManifestState {
    pub(super) fn new(head: Head, etag: Option<Etag>, tail: InlineLog) -> Self {
        Self {
            is_after_many_writers: head.is_after_many_writers(),
            head,
            etag,
            retention: None,
            fencing_token: MULTI_WRITER_TOKEN,
            tail,
            first: None,
            first_is_held: false,
        }
    }

    /// Whether the head of a new container waits for the first commit.
    pub(super) fn holds_first(&self) -> bool {
        self.first_is_held && self.first.is_some()
    }

    /// Takes over a head that another writer put, but for what this writer was asked for.
    pub(in crate::objects) fn take_over(&mut self, head: Head) {
        if head.is_after_many_writers() && self.fencing_token != MULTI_WRITER_TOKEN {
            self.is_after_many_writers = true;
            self.fencing_token = single_writer_token(self.fencing_token, Some(&head));
        }
        self.head = Head { retention: self.retention.unwrap_or(head.retention), ..head };
    }
}

/// Which objects are in use, as of the newest version.
#[derive(Debug)]
pub(super) struct UsageState {
    pub(super) table: Option<UsageTable>,
    /// That of a newer base, where that of the base in hand is reclaimed.
    pub(super) newer: Option<UsageTable>,
    /// Times and notes of the records since the base, until the table is loaded.
    pub(super) unread: Vec<(u64, Bytes)>,
    /// Bytes that went out of use since the base.
    pub(super) obsolete: u64,
}

/// What was written since the last commit.
#[derive(Debug, Default)]
pub(in crate::objects) struct StagedPayloads {
    /// Small payloads of the coming record.
    pub(super) inline: Vec<u8>,
    pub(super) inline_gaps: PackGaps,
    /// The pack that is being filled.
    pub(super) pack: PackBuffer,
    pub(in crate::objects) uploads: Uploads,
    /// What the coming record will say of room.
    pub(in crate::objects) notes: UsageDelta,
    /// When the oldest of it may have been written.
    pub(super) since: Option<Moment>,
}

/// The pages of the checkpoint being made.
#[derive(Debug, Default)]
pub(super) struct StagedCheckpoint {
    pub(super) pages: PackBuffer,
    pub(super) gained: Vec<(Location, u64)>,
    pub(super) freed: Vec<Address>,
}
