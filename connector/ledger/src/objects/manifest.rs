//! The head object of a container and the names of its other objects.

use bytes::Bytes;
use object_stores::staged::Role;
use object_stores::{
    Condition, Etag, GetResult, Key, ObjectStore, ObjectStoreExt, Operation, PutMode, PutPayload,
};

use crate::address::{Location, PageRef};
use crate::checksum::{seal, unseal};
use crate::codec::{Decoded, Reader, hex, put_string, put_varint};
pub(crate) use crate::error::store_error;
use crate::error::{Error, ErrorKind, Result};
use crate::file::superblock::{FIXED, Fixed, has_slots};
use crate::payload::is_damage;
use crate::signatures::{HDF5, SIGNATURE};
use crate::storage::Checkpoint;

/// Bytes of a head that make sense. It holds a short log and tables of rooms, and its length is the store's word.
pub(crate) const MAX_HEAD_BYTES: u64 = 64 << 20;
/// What is read of an object before it is known to be a head. Most heads are shorter.
const FRONT_BYTES: u64 = 1 << 20;
/// Bytes of a log object that make sense: one commit, with its small payloads.
pub(crate) const MAX_LOG_OBJECT_BYTES: u64 = if cfg!(test) { 16 << 20 } else { 1 << 30 };
/// Bytes of a lock object that make sense.
pub(crate) const MAX_LOCK_OBJECT_BYTES: u64 = 64 << 10;

/// The names of a container's objects.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) head: Key,
    pub(crate) lake: Key,
}

impl Names {
    pub(crate) fn new(head: Key, id: &[u8; 16], target: &str) -> Result<Self> {
        let lake = head.append(format!(".lake/{}", hex(id))).map_err(|e| store_error(target, &e))?;
        Ok(Self { head, lake })
    }

    pub(crate) fn key(&self, rest: &str, target: &str) -> Result<Key> {
        self.lake.join(rest).map_err(|e| Error::invalid(target, e.to_string()))
    }

    /// What the keys of queued commits begin with, but for a slash.
    pub(crate) fn queue(&self, target: &str) -> Result<Key> {
        self.key("queue", target)
    }

    /// Whether an object is this container's: its head, one under its id, or what says that it was replaced.
    pub(crate) fn holds(&self, key: &Key) -> bool {
        let is_below =
            |folder: &str| key.as_str().strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
        *key == self.head || is_below(self.lake.as_str()) || is_below(&format!("{}.lake/replaced", self.head))
    }

    pub(crate) fn object_key(&self, location: &Location, target: &str) -> Result<Key> {
        match location {
            Location::Log(n) => self.key(&format!("log/{n:016x}"), target),
            Location::Page(id) => self.key(&format!("page/{}", hex(id)), target),
            Location::Pack(id) => self.key(&format!("pack/{}", hex(id)), target),
            Location::File => Err(Error::corrupt(target, "place", "a place in a file, in an object store")),
            Location::Source(_) => {
                Err(Error::corrupt(target, "place", "a place in a source is none of an object"))
            }
        }
    }
}

/// Whether a part of a key is an id.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Whether a key is that of a pack or a page: `….lake/<id>/pack/<id>`, `….lake/<id>/page/<id>`.
pub(crate) fn is_immutable(key: &Key) -> bool {
    let mut segments = key.as_str().rsplit('/');
    let mut next = || segments.next().unwrap_or_default();
    is_id(next()) && matches!(next(), "pack" | "page") && is_id(next()) && next().ends_with(".lake")
}

/// What an object is to the container whose head is `head`, for a store that brings changes in an order.
pub(crate) fn role_of(head: &str, key: &Key) -> Role {
    let Some(rest) = key.as_str().strip_prefix(head) else { return Role::Other };
    if rest.is_empty() {
        return Role::Head;
    }
    match rest.strip_prefix(".lake/").and_then(|rest| rest.split_once('/')) {
        Some(("clock", _)) => Role::Straight,
        Some((id, "lock")) if is_id(id) => Role::Lock,
        Some((id, rest)) if is_id(id) && rest.starts_with("log/") => Role::Record,
        Some((id, _)) if is_id(id) && is_immutable(key) => Role::Immutable,
        _ => Role::Other,
    }
}

/// Whether the base that these bytes of a head name took in a record of this number: whoever comes with another one is too late.
pub(crate) fn is_past(head: &[u8], key: &Key) -> bool {
    let number = key.as_str().rsplit_once("/log/").and_then(|(_, n)| u64::from_str_radix(n, 16).ok());
    let head = Head::decode(head, "");
    number.zip(head.ok()).is_some_and(|(number, head)| head.base.version >= number)
}

/// Feature of a head: it is closed, so who commits has to put another head before.
const CLOSED: u32 = 1;
/// Feature of a head: the container has tags, or had.
const TAGS: u32 = 2;
/// Feature of a head: there may be extents in sources.
const SOURCES: u32 = 4;
/// Feature of a head: the log may have intents.
const INTENTS: u32 = 8;
/// All features that this build knows.
const FEATURES: u32 = CLOSED | TAGS | SOURCES | INTENTS;
/// The fencing token of many writers.
pub(crate) const MULTI_WRITER_TOKEN: u64 = 0;
/// In the fencing token of a single writer: many writers wrote before, and one of them may not have noticed yet that it is not
/// alone with its like any more.
const AFTER_MANY_WRITERS: u64 = 1 << 63;

/// The head: what a container is, and a hint of where its newest version is.
///
/// A writer that is alone puts a head with its *fencing token* before its first commit. That head replaces the one that it
/// read before it read the log. So a head that it puts later, over its own, shows that nobody else has fenced the container
/// since. Who fenced it earlier knows an older version, from which no commit succeeds any more. One of many looks at the head
/// after each commit, and puts theirs if it is another's. Therefore a closed head needs no look for what is newer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) fixed: Fixed,
    /// The newest version is this one or a later one.
    pub(crate) version: u64,
    pub(crate) base: Checkpoint,
    pub(crate) table: Option<PageRef>,
    /// Milliseconds for which obsolete objects stay.
    pub(crate) retention: u64,
    /// When the base was made, microseconds.
    pub(crate) reclaim_epoch: u64,
    /// Versions that were the newest before this time are not whole any more, microseconds.
    pub(crate) lost: u64,
    /// What leads to versions before the base.
    pub(crate) history: Option<PageRef>,
    /// Random, whose head it is; [`MULTI_WRITER_TOKEN`] of many writers.
    pub(crate) fencing_token: u64,
    /// Of a head that no commit follows before another head: the log objects behind the base, all or none of them.
    pub(crate) closed: Option<Vec<Bytes>>,
    /// Where there are tags, or were: a version from which on this head was put. Who has not seen it does not know all tags.
    pub(crate) tagged: Option<u64>,
    /// The log may have intents: numbers that are kept for commits by a head.
    pub(crate) intents: bool,
}

/// A fencing token of a single writer, who found `before`: another one than all others'.
pub(crate) fn single_writer_token(random: u64, before: Option<&Head>) -> u64 {
    match before.is_some_and(Head::is_after_many_writers) {
        true => random | AFTER_MANY_WRITERS,
        false => (random & !AFTER_MANY_WRITERS).max(MULTI_WRITER_TOKEN + 1),
    }
}

impl Head {
    /// Whether many writers have the container open, or had.
    pub(crate) fn is_after_many_writers(&self) -> bool {
        self.fencing_token == MULTI_WRITER_TOKEN || self.fencing_token & AFTER_MANY_WRITERS != 0
    }

    /// The same head as whoever goes on committing puts it.
    pub(crate) fn fenced_by(self, fencing_token: u64) -> Self {
        Self { fencing_token, closed: None, ..self }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let closed = if self.closed.is_some() { CLOSED } else { 0 };
        let tags = if self.tagged.is_some() { TAGS } else { 0 };
        let sources = if self.fixed.sources { SOURCES } else { 0 };
        let intents = if self.intents { INTENTS } else { 0 };
        let mut out = self.fixed.encode_with(closed | tags | sources | intents);
        for n in [self.version, self.base.version, self.retention, self.reclaim_epoch, self.lost] {
            out.extend_from_slice(&n.to_le_bytes());
        }
        for p in [self.base.root, self.table, self.history] {
            out.push(u8::from(p.is_some()));
            if let Some(p) = p {
                p.encode(&mut out);
            }
        }
        out.extend_from_slice(&self.fencing_token.to_le_bytes());
        out.extend(self.tagged.iter().flat_map(|version| version.to_le_bytes()));
        if let Some(log) = &self.closed {
            put_varint(&mut out, log.len() as u64);
            log.iter().for_each(|object| put_string(&mut out, object));
        }
        seal(&mut out);
        out
    }

    pub(crate) fn decode(bytes: &[u8], target: &str) -> Result<Self> {
        Self::decode_ours(bytes, target).map_err(|e| match has_slots(bytes) && bytes.starts_with(SIGNATURE) {
            true => in_one_file(target),
            false => e,
        })
    }

    fn decode_ours(bytes: &[u8], target: &str) -> Result<Self> {
        if !bytes.starts_with(SIGNATURE) {
            let native = bytes.starts_with(HDF5);
            let what = if native { "a native HDF5 file" } else { "an object of another kind" };
            return Err(Error::new(target, ErrorKind::NotAContainer { what: what.into() }));
        }
        let (fixed, features) = Fixed::decode_with(bytes.get(..FIXED).unwrap_or(bytes), FEATURES, target)?;
        let fixed = Fixed { sources: features & SOURCES != 0, ..fixed };
        let read = || -> Decoded<Self> {
            let (body, _) = unseal(bytes)?;
            let mut r = Reader::new(body);
            r.take(FIXED)?;
            let (version, base_version, retention) = (r.number64()?, r.number64()?, r.u64()?);
            let (reclaim_epoch, lost) = (r.number64()?, r.number64()?);
            let (root, table, history) = (optional(&mut r)?, optional(&mut r)?, optional(&mut r)?);
            if base_version > version || version >= 1 << 62 {
                return Err("impossible versions");
            }
            let base = Checkpoint { version: base_version, root };
            // Earlier versions of h5lake put heads without a fencing token.
            let fencing_token = if r.remaining() == 0 { MULTI_WRITER_TOKEN } else { r.u64()? };
            let tagged = (features & TAGS != 0).then(|| r.number64()).transpose()?;
            let closed = (features & CLOSED != 0).then(|| log(&mut r, version - base_version)).transpose()?;
            Ok(Self {
                fixed,
                version,
                base,
                table,
                retention,
                reclaim_epoch,
                lost,
                history,
                fencing_token,
                closed,
                tagged,
                intents: features & INTENTS != 0,
            })
        };
        read().map_err(|why| Error::corrupt(target, "head object", why))
    }
}

/// The error for a container of the other kind.
pub(super) fn in_one_file(target: &str) -> Error {
    let what = "is a container in one file, and not one in objects; open it by its local path (in a remote store: copy it \
                to a local file first)";
    Error::new(target, ErrorKind::WrongStorage { what: what.into() })
}

/// The log objects in a closed head with so many records behind its base.
fn log(r: &mut Reader<'_>, records: u64) -> Decoded<Vec<Bytes>> {
    let count = r.varint()?;
    if count != 0 && count != records {
        return Err("a closed head with a part of the log");
    }
    (0..count).map(|_| r.string().map(Bytes::copy_from_slice)).collect()
}

fn optional(r: &mut Reader<'_>) -> Decoded<Option<PageRef>> {
    match r.u8()? {
        0 => Ok(None),
        1 => PageRef::read(r).map(Some),
        _ => Err("neither with nor without a pointer"),
    }
}

/// Reads a container's head; `None` if there is no object.
pub(crate) fn read_head(
    store: &dyn ObjectStore,
    key: &Key,
    target: &str,
) -> Result<Option<(Bytes, Option<Etag>)>> {
    Ok(look_at_head(store, key, target)?.map(|g| (g.bytes, g.meta.etag)))
}

/// The same, decoded. What cannot be decoded is an error: it may be any.
pub(crate) fn read_decoded_head(store: &dyn ObjectStore, key: &Key, target: &str) -> Result<Option<Head>> {
    let there = read_head(store, key, target)?;
    there.map(|(bytes, _)| Head::decode(&bytes, target)).transpose()
}

/// Reads a container's head, and of anything else no more than the front; `None` if there is no object. Damage on the way is not in a
/// second answer.
pub(crate) fn look_at_head(store: &dyn ObjectStore, key: &Key, target: &str) -> Result<Option<GetResult>> {
    let is_whole = |found: &GetResult| {
        !found.bytes.starts_with(SIGNATURE)
            || !Head::decode(&found.bytes, target).is_err_and(|e| is_damage(&e))
    };
    match look_once(store, key, target)? {
        Some(found) if !is_whole(&found) => look_once(store, key, target),
        found => Ok(found),
    }
}

fn look_once(store: &dyn ObjectStore, key: &Key, target: &str) -> Result<Option<GetResult>> {
    let looked = match store.get_front(key, FRONT_BYTES) {
        Ok(front) if front.meta.size > FRONT_BYTES && front.bytes.starts_with(SIGNATURE) => {
            store.get_whole(key, MAX_HEAD_BYTES)
        }
        looked => looked,
    };
    match looked {
        Ok(looked) => Ok(Some(looked)),
        Err(e) if e.kind() == object_stores::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(store_error(target, &e)),
    }
}

/// Puts an object on the condition that it is still the one that `etag` names, as far as the store can check that.
pub(crate) fn put_over(
    store: &dyn ObjectStore,
    key: &Key,
    bytes: impl Into<Bytes>,
    etag: Option<&Etag>,
) -> object_stores::Result<Option<Etag>> {
    let mode = match etag {
        Some(etag) if store.honours(Condition::Update) => PutMode::Update(etag.clone()),
        _ => PutMode::Overwrite,
    };
    put_or_find(store, key, bytes.into(), mode)
}

/// Puts an object whose bytes nobody else would put: if they are there after an error, it is our own.
pub(crate) fn put_or_find(
    store: &dyn ObjectStore,
    key: &Key,
    bytes: Bytes,
    mode: PutMode,
) -> object_stores::Result<Option<Etag>> {
    match store.put(key, PutPayload::from(bytes.clone()), mode) {
        Ok(r) => Ok(r.etag),
        // The answer to a try that had its effect may have been lost, and a repetition then finds the etag changed.
        Err(e) => match store.get_whole_opt(key, bytes.len() as u64) {
            Ok(Some(g)) if g.bytes == bytes => Ok(g.meta.etag),
            // It is longer than ours.
            Err(look) if look.kind() == object_stores::ErrorKind::Corrupt => Err(e),
            Err(look) if !e.kind().is_ambiguous() => Err(unseen(store, key, &e, &look)),
            _ => Err(e),
        },
    }
}

/// The error of a put that was refused, perhaps because of its own earlier try: nobody could look.
fn unseen(
    store: &dyn ObjectStore,
    key: &Key,
    refused: &object_stores::Error,
    look: &object_stores::Error,
) -> object_stores::Error {
    object_stores::Error::new(object_stores::ErrorKind::Unavailable, Operation::Put)
        .at(key)
        .in_store(store.name())
        .because(format!(
            "{refused}; an earlier try may have taken effect, and what is there cannot be read: {look}"
        ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Address;

    #[test]
    fn packs_and_pages_never_change() {
        let names = Names::new(Key::new("dir/c.h5").unwrap(), &[7; 16], "x").unwrap();
        let location = |location| is_immutable(&names.object_key(&location, "x").unwrap());
        assert!(location(Location::Pack([1; 16])) && location(Location::Page([2; 16])));
        assert!(
            !location(Location::Log(5))
                && !is_immutable(&names.head)
                && !is_immutable(&names.key("lock", "x").unwrap())
        );
        let foreign = format!("dir/c.h5/{}/pack/{}", hex(&[1; 16]), hex(&[2; 16]));
        assert!(!is_immutable(&Key::new(foreign).unwrap()));
    }

    #[test]
    fn each_object_has_its_role() {
        let names = Names::new(Key::new("dir/c.h5").unwrap(), &[7; 16], "x").unwrap();
        let role = |key: &Key| role_of("dir/c.h5", key);
        let at = |location| role(&names.object_key(&location, "x").unwrap());
        assert_eq!(at(Location::Pack([1; 16])), Role::Immutable);
        assert_eq!(at(Location::Page([2; 16])), Role::Immutable);
        assert_eq!(at(Location::Log(5)), Role::Record);
        assert_eq!(role(&names.head), Role::Head);
        assert_eq!(role(&names.key("lock", "x").unwrap()), Role::Lock);
        for (text, expected) in [
            ("dir/c.h5.lake/clock/0011", Role::Straight),
            ("dir/c.h5.lake/replaced/0011", Role::Other),
            ("dir/c.h5x", Role::Other),
            ("dir/c.h5x.lake/clock/0011", Role::Other),
            ("another", Role::Other),
        ] {
            assert_eq!(role(&Key::new(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn a_container_holds_its_own_objects() {
        let names = |id| Names::new(Key::new("c.h5").unwrap(), &[id; 16], "x").unwrap();
        let (one, other) = (names(1), names(2));
        assert!(one.holds(&one.head) && one.holds(&one.key("log/1", "x").unwrap()));
        assert!(one.holds(&Key::new("c.h5.lake/replaced/00").unwrap()));
        assert!(!one.holds(&other.key("log/1", "x").unwrap()) && !one.holds(&Key::new("d.h5").unwrap()));
        assert!(!one.holds(&one.lake) && !one.holds(&one.lake.append("x/log/1").unwrap()));
    }

    #[test]
    fn a_manifest_round_trips_and_damage_is_detected() {
        let place = Address { location: Location::Page([9; 16]), offset: 5, length: 6 };
        let head = Head {
            fixed: Fixed { id: [1; 16], base: 0, created: 2, edits: false, tags: false, sources: false },
            version: 7,
            base: Checkpoint { version: 5, root: Some(PageRef { place, crc: 8 }) },
            table: None,
            retention: 600_000,
            reclaim_epoch: 3,
            lost: 2,
            history: Some(PageRef { place, crc: 9 }),
            fencing_token: 77,
            tagged: None,
            closed: None,
            intents: false,
        };
        let closed = |log: &[&'static str]| Some(log.iter().map(|object| Bytes::from(*object)).collect());
        for closed in [None, closed(&[]), closed(&["one", ""])] {
            let tagged = closed.as_ref().map(|log: &Vec<Bytes>| log.len() as u64);
            let head = Head { closed, tagged, intents: tagged.is_some(), ..head.clone() };
            let good = head.encode();
            assert_eq!(Head::decode(&good, "x").unwrap(), head);
            for n in 0..good.len() {
                let mut bad = good.clone();
                bad[n] ^= 2;
                assert!(Head::decode(&bad, "x").is_err(), "byte {n}");
            }
        }
        let part = Head { closed: closed(&["one"]), ..head.clone() }.encode();
        assert!(Head::decode(&part, "x").is_err(), "one record of two");
        // As earlier versions put it.
        let mut early = head.encode();
        early.truncate(early.len() - 12);
        seal(&mut early);
        assert_eq!(Head::decode(&early, "x").unwrap(), Head { fencing_token: MULTI_WRITER_TOKEN, ..head });
    }
}
