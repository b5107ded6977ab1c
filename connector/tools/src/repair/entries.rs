//! Repair of headers and of the entries that belong to them.

use super::Repair;
use crate::verify::cursor::{ATTRIBUTES, BLOCKS, HEADERS, LINKS, SEGMENTS, USAGES};
use crate::verify::{self, Cursor, decoded};
use bytes::Bytes;
use h5lake_container::DatasetForm;
use h5lake_container::GroupSpec;
use h5lake_ledger::Extent;
use h5lake_ledger::verify::{Item, Verifier};
use h5lake_records::ObjectId;
use h5lake_records::keys;
use h5lake_records::now;
use h5lake_records::record::{AttributeRecord, HeaderRecord, LinkRecord};
use h5lake_records::{ErrorKind, Result};
use prost::Message;

/// Number of headers read from the new container at once.
const HEADERS_PER_SCAN: usize = 256;

/// The entries that belong to objects, object by object.
pub(super) struct Cursors<'a> {
    attributes: Cursor<'a>,
    links: Cursor<'a>,
    pub(super) blocks: Cursor<'a>,
    pub(super) segments: Cursor<'a>,
    pub(super) usage: Cursor<'a>,
}

/// Returns the salt of the existing ids.
pub(super) fn salt_of_objects(v: &Verifier) -> Result<u32> {
    let mut headers = Cursor::new(v, &HEADERS)?;
    while let Some(item) = headers.take()? {
        if let Item::Entry(key, _) = item
            && let Some(id) = keys::id(&key).filter(|id| *id != ObjectId::ROOT.0)
        {
            return Ok(((id >> 44 & ((1 << 18) - 1)) as u32).saturating_sub(1));
        }
    }
    let mut salt = [0; 4];
    getrandom::fill(&mut salt)
        .map_err(|e| h5lake_records::Error::new(ErrorKind::Io, format!("no random bytes: {e}")))?;
    Ok(u32::from_le_bytes(salt))
}

/// Decodes a header, or returns its error.
fn header(value: Bytes) -> std::result::Result<HeaderRecord, String> {
    let h = decoded::<HeaderRecord>(value)?;
    let kinds = [h.group.is_some(), h.dataset.is_some(), h.datatype.is_some()];
    if kinds.iter().filter(|x| **x).count() != 1 {
        return Err("it is of no kind, or of several".into());
    }
    match h.dataset.is_some().then(|| DatasetForm::of(&h, || "the dataset".into())).transpose() {
        Err(e) if e.kind() != ErrorKind::Unsupported => Err(e.to_string()),
        _ => Ok(h),
    }
}

impl Repair<'_> {
    /// Notes a damaged page.
    pub(super) fn hole(&mut self, from: Bytes, to: Option<Bytes>) {
        self.lose_range(&from, &to);
        let letter = from.first().copied().unwrap_or_default();
        self.lost_links |= matches!(letter, keys::LINK | keys::HEADER);
        self.holes.add(letter, from, to);
    }

    /// Copies the headers.
    pub(super) fn headers(&mut self) -> Result<()> {
        let v = self.v;
        let mut headers = Cursor::new(v, &HEADERS)?;
        while let Some(item) = headers.take()? {
            let (key, reason) = match item {
                Item::Entry(key, value) => {
                    let found = match keys::id(&key).filter(|_| key.len() == 9) {
                        None => Err("an impossible key".to_owned()),
                        Some(id) => header(value.clone()).map(|h| (id, h)),
                    };
                    let why = match found {
                        Ok((id, h)) => self.why_left_out(id, &h)?,
                        Err(why) => Some(why),
                    };
                    let Some(why) = why else {
                        self.see(keys::id(&key).unwrap_or_default());
                        self.to.put(&key, value)?;
                        continue;
                    };
                    (key, why)
                }
                Item::Unreadable(key) => (key, "its header cannot be read".into()),
                Item::Lost(from, to) => {
                    self.hole(from, to);
                    continue;
                }
            };
            self.lose("object", &key, reason);
            self.lost_links = true;
            if let Some(id) = keys::id(&key) {
                self.see(id);
                self.reported.insert(id);
            }
        }
        if !self.has(ObjectId::ROOT.0)? {
            let why = "the header of the root group is lost; a new one has no creation properties";
            self.lose("object", &keys::of(keys::HEADER, ObjectId::ROOT.0), why);
            self.lost_links = true;
            self.put_header(ObjectId::ROOT.0, &GroupSpec::default().header(1, now()))?;
        }
        Ok(())
    }

    /// Copies the entries that belong to objects, and counts them.
    pub(super) fn entries(&mut self) -> Result<()> {
        let v = self.v;
        let mut all = Cursors {
            attributes: Cursor::new(v, &ATTRIBUTES)?,
            links: Cursor::new(v, &LINKS)?,
            blocks: Cursor::new(v, &BLOCKS)?,
            segments: Cursor::new(v, &SEGMENTS)?,
            usage: Cursor::new(v, &USAGES)?,
        };
        let mut after: Option<Bytes> = None;
        loop {
            let page = self.to.scan_prefix(&[keys::HEADER], after.as_deref(), HEADERS_PER_SCAN)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
            for (key, value) in page {
                let id = keys::id(&key).unwrap_or_default();
                self.strays(&mut all, id)?;
                self.object(&mut all, id, value)?;
            }
        }
        self.strays(&mut all, u64::MAX)
    }

    fn object(&mut self, all: &mut Cursors<'_>, id: u64, value: Bytes) -> Result<()> {
        let mut h: HeaderRecord = h5lake_records::record::decode(value, || format!("object {id:#x}"))?;
        self.done.objects += 1;
        let before = h.clone();
        if let Some(t) = h.dataset.as_mut().and_then(|d| d.datatype.as_mut())
            && !self.use_type(&mut t.committed)?
        {
            self.lose(
                "object",
                &keys::of(keys::HEADER, id),
                "its committed type is lost; it has the type as its own",
            );
        }
        self.attributes_of(all, id, &mut h)?;
        self.links_of(all, id, &mut h)?;
        self.blocks_of(all, id, &h)?;
        self.heap_of(all, id)?;
        if h != before {
            self.put_header(id, &h)?;
        }
        Ok(())
    }

    /// Counts the use of a committed type. Returns false if that type is lost: then the datatype is no longer a
    /// committed one.
    fn use_type(&mut self, committed: &mut Option<u64>) -> Result<bool> {
        let Some(id) = *committed else { return Ok(true) };
        self.see(id);
        if self.has(id)? {
            self.tally.add(id).map_err(super::counts::io)?;
            return Ok(true);
        }
        *committed = None;
        Ok(false)
    }

    fn attributes_of(&mut self, all: &mut Cursors<'_>, id: u64, h: &mut HeaderRecord) -> Result<()> {
        let (mut count, mut behind) = (0, 0);
        while all.attributes.id() == Some(id) {
            let Some(item) = all.attributes.take()? else { break };
            match item {
                Item::Entry(key, value) => match self.attribute(&key, value)? {
                    Ok(order) => (count, behind) = (count + 1, behind.max(order.saturating_add(1))),
                    Err(why) => self.lose("attribute", &key, why),
                },
                Item::Unreadable(key) => self.lose("attribute", &key, "it cannot be read"),
                Item::Lost(from, to) => self.hole(from, to),
            }
        }
        h.attribute_count = count;
        h.next_attribute = h.next_attribute.max(if h.next_attribute == 0 && count > 0 { behind } else { 0 });
        Ok(())
    }

    /// Copies an attribute; returns its creation order, or the reason why it is lost.
    fn attribute(&mut self, key: &[u8], value: Bytes) -> Result<std::result::Result<u32, String>> {
        let mut r = match decoded::<AttributeRecord>(value.clone()) {
            Ok(r) => r,
            Err(why) => return Ok(Err(why)),
        };
        if let Err(why) = verify::attribute(&r) {
            return Ok(Err(why));
        }
        let mut copied: Vec<Extent> = Vec::new();
        for encoded in &mut r.extents {
            let extent = Extent::decode(encoded)?.0;
            match self.payload(&extent, 0, extent.len())? {
                Ok(bytes) => {
                    let new = self.to.write_payload(&bytes)?;
                    *encoded = new.to_bytes();
                    copied.push(new);
                }
                Err(why) => {
                    copied.iter().try_for_each(|e| self.to.free_payload(e))?;
                    return Ok(Err(why));
                }
            }
        }
        if let Some(t) = &mut r.datatype
            && !self.use_type(&mut t.committed)?
        {
            self.lose("attribute", key, "its committed type is lost; it has the type as its own");
        }
        let unchanged = copied.is_empty() && decoded::<AttributeRecord>(value.clone()).as_ref() == Ok(&r);
        let value = if unchanged { value } else { r.encode_to_vec().into() };
        self.to.put(key, value)?;
        Ok(Ok(r.creation_order))
    }

    fn links_of(&mut self, all: &mut Cursors<'_>, id: u64, h: &mut HeaderRecord) -> Result<()> {
        let (mut count, mut behind) = (0, 0);
        while all.links.id() == Some(id) {
            let Some(item) = all.links.take()? else { break };
            match item {
                Item::Entry(key, _) | Item::Unreadable(key) if h.group.is_none() => {
                    self.lost_links = true;
                    self.lose("link", &key, "the object that it belongs to is no group");
                }
                Item::Entry(key, value) => match self.link(&key, value)? {
                    Ok(order) => {
                        count += 1;
                        behind = behind.max(order.map_or(0, |n| n.saturating_add(1)));
                    }
                    Err(why) => {
                        self.lost_links = true;
                        self.lose("link", &key, why);
                    }
                },
                Item::Unreadable(key) => {
                    self.lost_links = true;
                    self.lose("link", &key, "it cannot be read");
                }
                Item::Lost(from, to) => self.hole(from, to),
            }
        }
        if let Some(g) = &mut h.group {
            g.link_count = count;
            if g.order_tracked {
                g.next_order = g.next_order.max(behind);
            }
        }
        Ok(())
    }

    /// Copies a link; returns its creation order, or the reason why it is lost.
    fn link(&mut self, key: &[u8], value: Bytes) -> Result<std::result::Result<Option<i64>, String>> {
        let l = match decoded::<LinkRecord>(value.clone()) {
            Ok(l) => l,
            Err(why) => return Ok(Err(why)),
        };
        let kinds = [l.hard.is_some(), l.soft.is_some(), l.file.is_some(), l.class.is_some()];
        if kinds.iter().filter(|x| **x).count() != 1 {
            return Ok(Err("it is of no kind, or of several".into()));
        }
        if let Some(target) = l.hard {
            self.see(target);
            if !self.has(target)? {
                return Ok(Err(format!("the object that it leads to, {target:#x}, is lost")));
            }
            self.tally.add(target).map_err(super::counts::io)?;
        }
        self.to.put(key, value)?;
        Ok(Ok(l.creation_order))
    }

    /// Skips entries that belong to objects before `id`, because those objects are lost.
    fn strays(&mut self, all: &mut Cursors<'_>, id: u64) -> Result<()> {
        for cursor in
            [&mut all.attributes, &mut all.links, &mut all.blocks, &mut all.segments, &mut all.usage]
        {
            self.pass_before(cursor, id)?;
        }
        Ok(())
    }

    fn pass_before(&mut self, cursor: &mut Cursor<'_>, id: u64) -> Result<()> {
        while cursor.id().is_some_and(|next| next < id) {
            match cursor.take()? {
                Some(Item::Lost(from, to)) => self.hole(from, to),
                Some(Item::Entry(key, _) | Item::Unreadable(key)) => {
                    self.lost_links |= key.first() == Some(&keys::LINK);
                    let owner = keys::id(&key).unwrap_or_default();
                    self.see(owner);
                    if self.reported.insert(owner) {
                        let why = "its header is lost, and all that belongs to it with it";
                        self.lose("object", &keys::of(keys::HEADER, owner), why);
                    }
                }
                None => break,
            }
        }
        Ok(())
    }
}
