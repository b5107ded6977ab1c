//! References: tags and publications, which name a version and never move.
//!
//! Most references lie in one page object. The manifest holds that page's reference and the changes since: tags that
//! were added and ids that were removed. A change that needs all tags states the page that it read, so a commit never
//! loads or carries them.

use std::sync::Arc;

use bytes::Bytes;

use super::frame;
use super::history::Mark;
use super::ids::{Name, Nonce};
use crate::address::PageRef;
use crate::codec::{Decoded, Reader, put_string, put_varint};

/// The bytes of inline changes from which on a session should fold the references into a page.
pub(crate) const WANTED_INLINE_REFERENCES: usize = 2 << 10;
/// The bytes of inline changes beyond which no tag is made before a fold.
pub(crate) const MAX_INLINE_REFERENCES: usize = 8 << 10;
/// The maximum length of a publication's text about the place where its version is published.
pub(crate) const MAX_PUBLICATION: usize = 1024;
/// The maximum number of tags of one container.
pub(crate) const MAX_TAGS: usize = 1 << 16;

const MAGIC: &[u8; 4] = b"h5lN";
const LEAST_TAG_BYTES: usize = 15;

/// A name for a version.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Tag {
    pub(crate) name: Name,
    /// The nonce of the swap that made the tag. A tag that is made again under the same name has another id.
    pub(crate) id: Nonce,
    /// The version that has the name.
    pub(crate) mark: Mark,
    /// The time at which the tag was made, in microseconds since 1970.
    pub(crate) made: u64,
    /// The time from which the tag may be deleted; `None` for a tag without an end.
    pub(crate) until: Option<u64>,
    /// For a publication: the place where the version is published.
    pub(crate) publication: Option<Bytes>,
}

/// The references as a manifest holds them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct References {
    /// The sequence of the manifest that set `page`.
    pub(crate) since: u64,
    pub(crate) page: Option<PageRef>,
    /// Tags that are not in the page.
    pub(crate) added: Vec<Tag>,
    /// Ids of tags in the page that were removed.
    pub(crate) removed: Vec<Nonce>,
}

/// The content of the references page that was set at `since`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct ReadTags {
    pub(crate) since: u64,
    pub(crate) tags: Arc<[Tag]>,
}

impl Tag {
    fn size(&self) -> usize {
        self.name.as_str().len() + self.mark.note.len() + 64 + self.publication.as_ref().map_or(0, Bytes::len)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.name.encode(out);
        self.id.encode(out);
        self.mark.encode(out);
        put_varint(out, self.made);
        frame::put_optional(out, self.until, |until, out| put_varint(out, until));
        frame::put_optional(out, self.publication.as_ref(), |text, out| put_string(out, text));
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let (name, id) = (Name::read(r)?, Nonce::read(r)?);
        let (mark, made) = (Mark::read(r)?, r.number()?);
        let until = frame::read_optional(r, |r| r.number())?;
        let publication = frame::read_optional(r, |r| r.string().map(Bytes::copy_from_slice))?;
        if publication.as_ref().is_some_and(|text| text.len() > MAX_PUBLICATION) {
            return Err("an impossible tag");
        }
        Ok(Self { name, id, mark, made, until, publication })
    }
}

impl References {
    /// Returns all tags; `None` if `read` is another page than the one that the manifest names.
    pub(crate) fn all<'a>(&'a self, read: &'a ReadTags) -> Option<impl Iterator<Item = &'a Tag> + Clone> {
        let is_read = self.page.is_none() || read.since == self.since;
        let stored: &[Tag] = if self.page.is_some() { &read.tags } else { &[] };
        let stored = stored.iter().filter(|tag| !self.removed.contains(&tag.id));
        is_read.then(|| stored.chain(&self.added))
    }

    /// Returns the bytes of the inline changes.
    pub(crate) fn inline_bytes(&self) -> usize {
        self.added.iter().map(Tag::size).sum::<usize>() + 20 * self.removed.len()
    }

    /// Returns whether a session should fold the inline changes into a page.
    pub(crate) fn wants_fold(&self) -> bool {
        self.inline_bytes() > WANTED_INLINE_REFERENCES
    }

    /// Removes a tag by its id; `is_stored` says that the tag is in the page.
    pub(crate) fn remove(&mut self, id: Nonce, is_stored: bool) {
        match is_stored {
            true => self.removed.push(id),
            false => self.added.retain(|tag| tag.id != id),
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.since);
        PageRef::encode_optional(self.page, out);
        frame::put_list(out, &self.added, Tag::encode);
        frame::put_list(out, &self.removed, |id, out| id.encode(out));
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let (since, page) = (r.number()?, PageRef::read_optional(r)?);
        let added = frame::read_list(r, (LEAST_TAG_BYTES, MAX_TAGS), Tag::read)?;
        let removed = frame::read_list(r, (9, MAX_TAGS), Nonce::read)?;
        if page.is_none() && !removed.is_empty() {
            return Err("tags were removed from a page that does not exist");
        }
        Ok(Self { since, page, added, removed })
    }
}

/// Encodes a references page. Returns the bytes and their checksum.
pub(crate) fn encode_page(tags: &[Tag]) -> (Vec<u8>, u32) {
    let mut out = frame::begin(MAGIC);
    frame::put_list(&mut out, tags, Tag::encode);
    let crc = frame::end(&mut out);
    (out, crc)
}

/// Decodes a references page. The checksum is that of the page reference to it.
pub(crate) fn decode_page(bytes: &[u8], crc: u32) -> Decoded<Vec<Tag>> {
    let mut r = frame::open_as(bytes, MAGIC, crc)?;
    let tags = frame::read_list(&mut r, (LEAST_TAG_BYTES, MAX_TAGS), Tag::read)?;
    r.end()?;
    Ok(tags)
}
