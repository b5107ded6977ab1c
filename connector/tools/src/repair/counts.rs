//! Counts the links to objects, and finds objects that no link leads to any more.

use super::Repair;
use crate::verify::Cursor;
use crate::verify::cursor::ORPHANS;
use bytes::Bytes;
use h5lake_container::GroupSpec;
use h5lake_ledger::Ledger;
use h5lake_ledger::verify::{Item, Tally};
use h5lake_records::keys;
use h5lake_records::now;
use h5lake_records::record;
use h5lake_records::record::{HeaderRecord, LinkRecord};
use h5lake_records::types::LinkTarget;
use h5lake_records::{CharSet, Error, ErrorKind, ObjectId, Result};
use prost::Message;

/// Number of headers read from the new container at once.
const HEADERS_PER_SCAN: usize = 256;

pub(super) fn io(e: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("keeping a list in a temporary file: {e}"))
}

/// Iterates over the headers of the new container.
struct Headers<'a> {
    to: &'a Ledger,
    page: std::vec::IntoIter<(Bytes, Bytes)>,
    after: Option<Bytes>,
}

impl Headers<'_> {
    fn next(&mut self) -> Result<Option<(u64, Bytes)>> {
        if self.page.len() == 0 {
            self.page =
                self.to.scan_prefix(&[keys::HEADER], self.after.as_deref(), HEADERS_PER_SCAN)?.into_iter();
        }
        let Some((key, value)) = self.page.next() else { return Ok(None) };
        self.after = Some(key.clone());
        Ok(Some((keys::id(&key).unwrap_or_default(), value)))
    }
}

impl Repair<'_> {
    /// Counts the links of all headers anew. Returns the objects that no link leads to any more, without duplicates.
    pub(super) fn counts(&mut self) -> Result<Tally> {
        self.marks()?;
        let mut tally = std::mem::take(&mut self.tally);
        let mut headers = Headers { to: self.to, page: Vec::new().into_iter(), after: None };
        let (mut orphans, mut failed) = (Tally::default(), None);
        let mut up_to = |id: u64, named: u64| -> Result<()> {
            while let Some((next, value)) = headers.next()? {
                if self.recount(next, value, if next == id { named } else { 0 })? {
                    orphans.add(next).map_err(io)?;
                }
                if next == id {
                    break;
                }
            }
            Ok(())
        };
        let each = tally.each(|id, named| {
            up_to(id, named).map_err(|e| {
                failed = Some(e);
                std::io::Error::other("stopped")
            })
        });
        match (each, failed) {
            (_, Some(e)) => return Err(e),
            (Err(e), None) => return Err(io(e)),
            (Ok(()), None) => up_to(u64::MAX, 0)?,
        }
        Ok(orphans)
    }

    /// Copies the orphan marks of objects that had no link when they were last open.
    fn marks(&mut self) -> Result<()> {
        let v = self.v;
        let mut marks = Cursor::new(v, &ORPHANS)?;
        while let Some(item) = marks.take()? {
            match item {
                Item::Entry(key, value) if self.has(keys::id(&key).unwrap_or_default())? => {
                    self.to.put(&key, value)?;
                }
                Item::Lost(from, to) => {
                    self.lose_range(&from, &to);
                    self.lost_links = true;
                }
                _ => (),
            }
        }
        Ok(())
    }

    /// Corrects the link count of a header. Returns whether the object has no link because links are lost.
    fn recount(&mut self, id: u64, value: Bytes, named: u64) -> Result<bool> {
        let mut h: HeaderRecord = record::decode(value, || format!("object {id:#x}"))?;
        let named = u32::try_from(named + u64::from(id == ObjectId::ROOT.0)).unwrap_or(u32::MAX);
        // The count is higher than the number of links, either because a program requested that, or because links are
        // lost.
        if named > h.link_count || (named < h.link_count && self.lost_links) {
            h.link_count = named;
            self.put_header(id, &h)?;
        }
        Ok(named == 0 && self.lost_links && self.to.get(&keys::of(keys::ORPHAN, id))?.is_none())
    }

    /// Puts objects that no link leads to any more into a group of the root group.
    pub(super) fn lost_and_found(&mut self, mut orphans: Tally, salt: u32) -> Result<()> {
        let (to, mut group) = (self.to, None);
        let mut count = 0u64;
        let made = orphans.each(|id, _| {
            let place = match group {
                Some(place) => place,
                None => {
                    self.last_number += 1;
                    *group.insert(ObjectId::numbered(salt, self.last_number).0)
                }
            };
            count += 1;
            let name = format!("{id:#x}");
            put_link(to, place, name.as_bytes(), id, None).map_err(other)?;
            let value = to.get(&keys::of(keys::HEADER, id)).map_err(|e| other(e.into()))?.unwrap_or_default();
            let mut h = HeaderRecord::decode(value).map_err(std::io::Error::other)?;
            h.link_count = 1;
            self.put_header(id, &h).map_err(other)
        });
        made.map_err(|e| Error::new(ErrorKind::Io, format!("putting objects into /lost+found: {e}")))?;
        let Some(place) = group else { return Ok(()) };
        let mut h = GroupSpec::default().header(1, now());
        if let Some(g) = &mut h.group {
            g.link_count = count;
        }
        self.put_header(place, &h)?;
        (self.done.found, self.done.objects) = (count, self.done.objects + 1);
        self.link_from_root(place)
    }

    fn link_from_root(&self, place: u64) -> Result<()> {
        let value = self.to.get(&keys::of(keys::HEADER, ObjectId::ROOT.0))?.unwrap_or_default();
        let mut root: HeaderRecord = record::decode(value, || "the root group".into())?;
        let mut name = "lost+found".to_owned();
        let mut n = 1;
        while self.to.get(&keys::named(keys::LINK, ObjectId::ROOT.0, name.as_bytes()))?.is_some() {
            n += 1;
            name = format!("lost+found {n}");
        }
        let mut order = None;
        if let Some(g) = &mut root.group {
            g.link_count += 1;
            if g.order_tracked {
                order = Some(g.next_order);
                g.next_order = g.next_order.saturating_add(1);
            }
        }
        put_link(self.to, ObjectId::ROOT.0, name.as_bytes(), place, order)?;
        self.put_header(ObjectId::ROOT.0, &root)
    }
}

fn other(e: Error) -> std::io::Error {
    std::io::Error::other(e)
}

fn put_link(to: &Ledger, group: u64, name: &[u8], id: u64, order: Option<i64>) -> Result<()> {
    let link = LinkRecord::new(name, LinkTarget::Hard(ObjectId(id)), order, CharSet::Ascii);
    Ok(to.put(&keys::named(keys::LINK, group, name), link.encode_to_vec())?)
}
