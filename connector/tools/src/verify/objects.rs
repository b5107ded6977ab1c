//! Checks the consistency of headers, links, attributes, blocks and heaps: counts, owners, and targets of links.

use super::cursor::{ATTRIBUTES, BLOCKS, Cursor, HEADERS, LINKS, ORPHANS, SEGMENTS, USAGES};
use bytes::Bytes;
use h5lake_container::DatasetForm;
use h5lake_ledger::verify::{Finding, Item, Severity, Tally, Verifier};
use h5lake_records::Fragment;
use h5lake_records::ObjectId;
use h5lake_records::conversion;
use h5lake_records::keys;
use h5lake_records::record::{
    ATTRIBUTES_TRACKED, AttributeRecord, BlockRecord, ContainerRecord, HeaderRecord, LinkRecord, UsageRecord,
};
use h5lake_records::{Error, ErrorKind, Result};
use prost::Message;
use std::collections::HashSet;

/// The description of bytes that a repair marked as lost.
pub(crate) const LOST: &str = "a repair found it damaged; it answers an error until it is written anew";

/// Decodes a value, or returns its error.
pub(crate) fn decoded<T: Message + Default>(value: Bytes) -> std::result::Result<T, String> {
    T::decode(value).map_err(|e| e.to_string())
}

/// Returns a finding for an entry.
pub(super) fn wrong(severity: Severity, kind: &'static str, key: &[u8], why: impl Into<String>) -> Finding {
    Finding { key: Some(Bytes::copy_from_slice(key)), ..Finding::new(severity, kind, "", why) }
}

fn bad(kind: &'static str, key: &[u8], why: impl Into<String>) -> Finding {
    wrong(Severity::Damage, kind, key, why)
}

/// The state of the check while it iterates over the headers.
struct ObjectCheck<'a> {
    attributes: Cursor<'a>,
    blocks: Cursor<'a>,
    segments: Cursor<'a>,
    links: Cursor<'a>,
    usage: Cursor<'a>,
    found: Vec<Finding>,
    /// Number of links and uses per object.
    tally: Tally,
    objects: u64,
    last_id: u64,
}

fn io(e: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("keeping a list in a temporary file: {e}"))
}

/// Checks all objects of the newest version. Returns their number.
pub(super) fn check(verifier: &mut Verifier) -> Result<u64> {
    let mut found = Vec::new();
    container_record(verifier, &mut found)?;
    let (found, objects) = {
        let v = &*verifier;
        let mut check = ObjectCheck {
            attributes: Cursor::new(v, &ATTRIBUTES)?,
            blocks: Cursor::new(v, &BLOCKS)?,
            segments: Cursor::new(v, &SEGMENTS)?,
            links: Cursor::new(v, &LINKS)?,
            usage: Cursor::new(v, &USAGES)?,
            found,
            tally: Tally::default(),
            objects: 0,
            last_id: 0,
        };
        check.headers(v)?;
        check.counts(v)?;
        check.counter(v)?;
        (check.found, check.objects)
    };
    // Findings for keys that the ledger has already reported are omitted.
    let reported: HashSet<Bytes> =
        verifier.findings.list.iter().filter(|f| f.hit.is_newest()).filter_map(|f| f.key.clone()).collect();
    let new = found.into_iter().filter(|f| f.key.as_ref().is_none_or(|key| !reported.contains(key)));
    new.for_each(|f| verifier.findings.add(f));
    Ok(objects)
}

/// Checks the container's own record.
fn container_record(v: &Verifier, found: &mut Vec<Finding>) -> Result<()> {
    let key = keys::CONTAINER;
    let Some(value) = v.value(key)? else {
        found.push(bad("container record", key, "it is missing"));
        return Ok(());
    };
    match decoded::<ContainerRecord>(value) {
        Ok(r) => r.check_version(),
        Err(why) => {
            found.push(bad("container record", key, why));
            Ok(())
        }
    }
}

/// The creation orders of an object's links or attributes, if they are tracked.
struct Orders(Option<Tally>);

impl Orders {
    fn of(is_tracked: bool) -> Self {
        Self(is_tracked.then(Tally::default))
    }

    fn add(&mut self, order: Option<i64>) -> Result<()> {
        match (&mut self.0, order.and_then(|order| u64::try_from(order).ok())) {
            (Some(all), Some(order)) => all.add(order).map_err(io),
            _ => Ok(()),
        }
    }

    /// Returns a finding for the first creation order that several entries have. It loses no data, only their order.
    fn given_twice(self, of: &str, key: &[u8]) -> Result<Option<Finding>> {
        let (Some(mut all), mut twice) = (self.0, None) else { return Ok(None) };
        let each = |order, count| {
            if count > 1 && twice.is_none() {
                twice = Some(format!("{count} of its {of} have the creation order {order}"));
            }
            Ok(())
        };
        all.each(each).map_err(io)?;
        Ok(twice.map(|why| wrong(Severity::Warning, "creation order", key, why)))
    }
}

/// Determines whether entries without an object are reported.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Strays {
    Reported,
    /// The cause of the missing object is already reported.
    Passed,
}

/// Takes the entries that belong to objects before `id`, which do not exist.
fn pass_before(
    cursor: &mut Cursor<'_>,
    id: u64,
    kind: &'static str,
    found: &mut Vec<Finding>,
    strays: Strays,
) -> Result<()> {
    while cursor.id().is_some_and(|next| next < id) {
        if let Some(Item::Entry(key, _)) = cursor.take()?
            && strays == Strays::Reported
        {
            found.push(bad(kind, &key, "the object that it belongs to is missing"));
        }
    }
    Ok(())
}

impl ObjectCheck<'_> {
    fn headers(&mut self, v: &Verifier) -> Result<()> {
        let mut headers = Cursor::new(v, &HEADERS)?;
        let mut root = false;
        while let Some(item) = headers.take()? {
            match item {
                Item::Entry(key, value) => {
                    let Some(id) = keys::id(&key).filter(|_| key.len() == 9) else {
                        self.found.push(bad("object", &key, "an impossible key"));
                        continue;
                    };
                    self.strays(id, Strays::Reported)?;
                    root |= id == ObjectId::ROOT.0;
                    self.last_id = self.last_id.max(id);
                    self.object(id, &key, value)?;
                }
                // The ledger has reported the header. Its entries cannot be judged.
                Item::Unreadable(key) => {
                    let id = keys::id(&key).unwrap_or(0);
                    root |= id == ObjectId::ROOT.0;
                    self.strays(id, Strays::Reported)?;
                    self.strays(id.saturating_add(1), Strays::Passed)?;
                }
                Item::Lost(from, to) => {
                    self.strays(keys::id(&from).unwrap_or(0), Strays::Reported)?;
                    let end = to
                        .filter(|to| to[..] < HEADERS[1][..])
                        .and_then(|to| keys::id(&to))
                        .unwrap_or(u64::MAX);
                    root |= keys::id(&from).unwrap_or(0) <= ObjectId::ROOT.0 && ObjectId::ROOT.0 <= end;
                    self.strays(end, Strays::Passed)?;
                }
            }
        }
        self.strays(u64::MAX, Strays::Reported)?;
        if !root {
            self.found.push(bad(
                "object",
                &keys::of(keys::HEADER, ObjectId::ROOT.0),
                "the root group is missing",
            ));
        }
        Ok(())
    }

    /// Skips entries of objects before `id`, and reports that these objects are missing.
    fn strays(&mut self, id: u64, strays: Strays) -> Result<()> {
        pass_before(&mut self.attributes, id, "attribute", &mut self.found, strays)?;
        pass_before(&mut self.blocks, id, "block", &mut self.found, strays)?;
        pass_before(&mut self.links, id, "link", &mut self.found, strays)?;
        pass_before(&mut self.segments, id, "heap segment", &mut self.found, strays)?;
        pass_before(&mut self.usage, id, "heap usage", &mut self.found, strays)
    }

    fn object(&mut self, id: u64, key: &[u8], value: Bytes) -> Result<()> {
        self.objects += 1;
        let header = decoded::<HeaderRecord>(value).and_then(|h| {
            let kinds = [h.group.is_some(), h.dataset.is_some(), h.datatype.is_some()];
            if kinds.iter().filter(|x| **x).count() == 1 {
                Ok(h)
            } else {
                Err("it is of no kind, or of several".into())
            }
        });
        let h = match header {
            Ok(h) => h,
            Err(why) => {
                self.found.push(bad("object", key, why));
                return self.strays(id.saturating_add(1), Strays::Passed);
            }
        };
        if let Some(t) = h.committed_type() {
            self.tally.add(t).map_err(io)?;
        }
        self.attributes_of(id, key, &h)?;
        self.links_of(id, key, &h)?;
        self.blocks_of(id, key, &h)?;
        self.heap_of(id)
    }

    fn attributes_of(&mut self, id: u64, key: &[u8], h: &HeaderRecord) -> Result<()> {
        let mut count = 0;
        let mut orders = Orders::of(h.flags & ATTRIBUTES_TRACKED != 0);
        while self.attributes.id() == Some(id) {
            let Some(item) = self.attributes.take()? else { break };
            count += u64::from(!matches!(item, Item::Lost(..)));
            let Item::Entry(key, value) = item else { continue };
            let r = match decoded::<AttributeRecord>(value) {
                Ok(r) => r,
                Err(why) => {
                    self.found.push(bad("attribute", &key, why));
                    continue;
                }
            };
            if let Some(t) = r.datatype.as_ref().and_then(|t| t.committed) {
                self.tally.add(t).map_err(io)?;
            }
            if let Err(why) = attribute(&r) {
                self.found.push(bad("attribute", &key, why));
            }
            orders.add(Some(i64::from(r.creation_order)))?;
        }
        self.found.extend(orders.given_twice("attributes", key)?);
        if count != h.attribute_count && !self.attributes.may_have_lost(id) {
            let why = format!("it says that it has {} attributes, and has {count}", h.attribute_count);
            self.found.push(bad("object", key, why));
        }
        Ok(())
    }

    fn links_of(&mut self, id: u64, key: &[u8], h: &HeaderRecord) -> Result<()> {
        let mut count = 0;
        let mut orders = Orders::of(h.group.as_ref().is_some_and(|g| g.order_tracked));
        while self.links.id() == Some(id) {
            let Some(item) = self.links.take()? else { break };
            count += u64::from(!matches!(item, Item::Lost(..)));
            let Item::Entry(key, value) = item else { continue };
            match decoded::<LinkRecord>(value) {
                Ok(l) => {
                    let kinds = [l.hard.is_some(), l.soft.is_some(), l.file.is_some(), l.class.is_some()];
                    if kinds.iter().filter(|x| **x).count() != 1 {
                        self.found.push(bad("link", &key, "it is of no kind, or of several"));
                    }
                    if let Some(target) = l.hard {
                        self.tally.add(target).map_err(io)?;
                    }
                    orders.add(l.creation_order)?;
                }
                Err(why) => self.found.push(bad("link", &key, why)),
            }
        }
        self.found.extend(orders.given_twice("links", key)?);
        match &h.group {
            Some(g) if g.link_count != count && !self.links.may_have_lost(id) => {
                let why = format!("it says that it has {} links, and has {count}", g.link_count);
                self.found.push(bad("object", key, why));
            }
            None if count > 0 => self.found.push(bad("object", key, "it has links, and is no group")),
            _ => (),
        }
        Ok(())
    }

    fn blocks_of(&mut self, id: u64, key: &[u8], h: &HeaderRecord) -> Result<()> {
        let form = match h.dataset.is_some().then(|| DatasetForm::of(h, || "the dataset".into())).transpose()
        {
            Ok(form) => form,
            Err(e) if e.kind() == ErrorKind::Unsupported => None,
            Err(e) => {
                self.found.push(bad("object", key, e.to_string()));
                None
            }
        };
        while self.blocks.id() == Some(id) {
            let Some(item) = self.blocks.take()? else { break };
            let Item::Entry(key, value) = item else { continue };
            match &form {
                Some(form) => match form.check_block(&key, value) {
                    Ok(false) => (),
                    Ok(true) => self.found.push(wrong(Severity::Warning, "lost data", &key, LOST)),
                    Err(why) => self.found.push(bad("block", &key, why)),
                },
                None if h.dataset.is_none() => {
                    self.found.push(bad("block", &key, "the object that it belongs to is no dataset"));
                }
                None => (),
            }
        }
        Ok(())
    }

    fn heap_of(&mut self, id: u64) -> Result<()> {
        while self.segments.id() == Some(id) {
            let Some(Item::Entry(key, value)) = self.segments.take()? else { continue };
            let sound = decoded::<BlockRecord>(value).and_then(|r| {
                let length = usize::try_from(r.length).unwrap_or(usize::MAX);
                let length = if length == 0 { usize::MAX } else { length };
                r.fragments(length).map_err(|e| e.to_string())
            });
            match sound {
                Ok(pieces) if pieces.iter().any(Fragment::is_lost) => {
                    self.found.push(wrong(Severity::Warning, "lost data", &key, LOST));
                }
                Ok(_) => (),
                Err(why) => self.found.push(bad("heap segment", &key, why)),
            }
        }
        while self.usage.id() == Some(id) {
            let Some(Item::Entry(key, value)) = self.usage.take()? else { continue };
            match decoded::<UsageRecord>(value) {
                Ok(u) if u.live > u.used || u.used > u.length => {
                    let why = format!("{} bytes live of {} used of {}", u.live, u.used, u.length);
                    self.found.push(bad("heap usage", &key, why));
                }
                Ok(_) => (),
                Err(why) => self.found.push(bad("heap usage", &key, why)),
            }
        }
        Ok(())
    }

    /// Compares the numbers of links and uses with the counts in headers.
    fn counts(&mut self, v: &Verifier) -> Result<()> {
        let has_holes = self.links.has_holes || self.attributes.has_holes;
        let mut headers = Cursor::new(v, &HEADERS)?;
        let mut orphans = Cursor::new(v, &ORPHANS)?;
        let found = &mut self.found;
        let mut compare = |id: u64, named: u64, found: &mut Vec<Finding>| -> Result<()> {
            // No link leads to objects with headers before this one.
            while let Some(next) = headers.id().filter(|next| *next <= id) {
                let Some(item) = headers.take()? else { break };
                let Item::Entry(key, value) = item else {
                    if next == id && !matches!(item, Item::Lost(..)) {
                        return Ok(());
                    }
                    continue;
                };
                let Ok(h) = decoded::<HeaderRecord>(value) else { continue };
                let named = if next == id { named } else { 0 } + u64::from(next == ObjectId::ROOT.0);
                while orphans.id().is_some_and(|z| z < next) {
                    orphans.take()?;
                }
                let marked = orphans.id() == Some(next);
                let says = u64::from(h.link_count);
                if named > says {
                    let why = format!("it says that {says} links and uses lead to it, and {named} do");
                    found.push(bad("object", &key, why));
                } else if named < says && !has_holes {
                    let why = format!(
                        "it says that {says} links and uses lead to it, and {named} do (H5Oincr_refcount does that, too)"
                    );
                    found.push(wrong(Severity::Warning, "object", &key, why));
                } else if says == 0 && !marked && !has_holes {
                    found.push(wrong(Severity::Warning, "object", &key, "nothing leads to it"));
                }
                if next == id {
                    return Ok(());
                }
            }
            if id != u64::MAX && !headers.may_have_lost(id) {
                let why = format!("{named} links or uses lead to it, and it is missing");
                found.push(bad("reference", &keys::of(keys::HEADER, id), why));
            }
            Ok(())
        };
        let mut failed = None;
        let compared = self.tally.each(|id, named| {
            compare(id, named, found).map_err(|e| {
                failed = Some(e);
                std::io::Error::other("stopped")
            })
        });
        match (compared, failed) {
            (_, Some(e)) => return Err(e),
            (Err(e), None) => return Err(io(e)),
            (Ok(()), None) => (),
        }
        compare(u64::MAX, 0, found)
    }

    /// Checks that the counter of ids is after all ids.
    fn counter(&mut self, v: &Verifier) -> Result<()> {
        let next = match v.value(keys::NEXT_OBJECT)? {
            None => 1,
            Some(value) => match <[u8; 8]>::try_from(&value[..]) {
                Ok(bytes) => u64::from_be_bytes(bytes),
                Err(_) => {
                    self.found.push(bad("counter of ids", keys::NEXT_OBJECT, "it has not 8 bytes"));
                    return Ok(());
                }
            },
        };
        let last = ObjectId(self.last_id).number();
        if last >= next {
            let why =
                format!("the next object is to have the number {next}, and there is one of number {last}");
            self.found.push(bad("counter of ids", keys::NEXT_OBJECT, why));
        }
        Ok(())
    }
}

/// Returns the error of an invalid attribute.
pub(crate) fn attribute(r: &AttributeRecord) -> std::result::Result<(), String> {
    let text = |e: Error| e.to_string();
    let t = conversion::datatype(&r.datatype).map_err(text)?;
    let space = conversion::space(&r.space).map_err(text)?;
    let size = space.points().map_err(text)?.checked_mul(t.size);
    if size != Some(r.data_size) {
        return Err(format!("its type and shape do not make up its {} bytes", r.data_size));
    }
    let extents = h5lake_records::record::decode_extents(&r.extents).map_err(text)?;
    let length = match extents.is_empty() {
        true => r.inline.len() as u64,
        false => extents.iter().fold(0u64, |n, e| n.saturating_add(e.len())),
    };
    let fits =
        length == r.data_size || (length > r.data_size && t.has_heap) || (length == 0 && extents.is_empty());
    if fits { Ok(()) } else { Err(format!("an attribute of {} bytes has a value of {length}", r.data_size)) }
}
