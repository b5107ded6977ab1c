//! Copies that continue where an earlier attempt ended.
//!
//! The head object lists each copy in progress with the session that makes it, and a [journal](super::journal) below the copy's id lists
//! the objects that are stored. The next attempt takes over the copy by a swap that puts its own session into the entry. From then on the
//! earlier session cannot publish the copy, so objects that the journal does not name may be deleted.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use object_stores::{Key, ObjectMeta, ObjectStore, ObjectStoreExt};

use super::committer::{Committer, load};
use super::draft::{Beginning, make};
use super::fetch::Fetcher;
use super::journal::{Journal, header_key, parts_prefix};
use super::names::{Names, object_of};
use super::open::delete_lake;
use super::reclaim::MAX_SESSION_DAYS;
use super::store_clock::today;
use super::{ObjectStorage, head, replaced};
use crate::address::Address;
use crate::core::change::Change;
use crate::core::ids::{ContainerId, ObjectId};
use crate::core::manifest::{CopyEntry, Manifest};
use crate::core::session::Mode;
use crate::error::{Result, store_error};
use crate::journal::{
    EarlierTry, JournalHeader, JournalPart, MAX_HEADER_BYTES, MAX_JOURNAL_BYTES, MAX_PART_BYTES,
};
use crate::options::Options;
use crate::origin::Origin;
use crate::register;

/// The number of parts that are requested in parallel.
const PARTS_PER_FETCH: usize = 12;

/// A copy that was begun or continued.
pub(crate) struct BegunCopy {
    pub(crate) storage: ObjectStorage,
    pub(crate) earlier: EarlierTry,
}

/// Begins a container that will be a copy of `origin`, or continues such a copy. The copy is not published before it is complete.
///
/// # Errors
/// `AlreadyExists`; `Locked` while another copy to the name is in progress; those of the store.
pub(crate) fn create_copy(
    store: Arc<dyn ObjectStore>,
    key: &str,
    opts: &Options,
    origin: &Origin,
) -> Result<BegunCopy> {
    let mut beginning = Beginning::new(store, key, opts)?;
    if !beginning.store.capabilities().persistent {
        let storage = beginning.begin()?;
        return Ok(BegunCopy { storage, earlier: EarlierTry::None });
    }
    let found = Tries { origin }.find(&mut beginning)?;
    let (storage, journal, earlier) = match found {
        Found::Continues(id, content) => {
            let header = JournalHeader { copy: id.0, origin: origin.clone() };
            let journal = Journal::behind(header, content.next, &content.packs);
            (beginning.storage(id)?, journal, EarlierTry::Continues(content.values))
        }
        other => {
            let storage = beginning.begin()?;
            let journal = Journal::new(JournalHeader { copy: storage.id.0, origin: origin.clone() });
            let earlier = match other {
                Found::Discarded(why) => EarlierTry::Discarded(why),
                _ => EarlierTry::None,
            };
            (storage, journal, earlier)
        }
    };
    storage.with_writer(|w| {
        w.journal = Some(journal);
        Ok(())
    })?;
    Ok(BegunCopy { storage, earlier })
}

/// The result of the search for earlier attempts.
enum Found {
    Nothing,
    Continues(ContainerId, Content),
    Discarded(&'static str),
}

/// The content of an attempt's journal.
#[derive(Default)]
struct Content {
    values: BTreeMap<Bytes, Bytes>,
    packs: HashMap<ObjectId, u64>,
    parts: HashSet<Key>,
    /// The number of the next part.
    next: u64,
}

struct Tries<'a> {
    origin: &'a Origin,
}

impl Tries<'_> {
    /// Continues an attempt at a copy of this origin, if there is one. Other attempts are discarded.
    fn find(&self, beginning: &mut Beginning<'_>) -> Result<Found> {
        let entries = beginning.committer.known().copies.clone();
        let mut found = Found::Nothing;
        for entry in entries {
            // A container that is being restored under this name was a container before, and must not be discarded.
            if replaced::is_kept(beginning.store.as_ref(), &beginning.key, entry.id, &beginning.target)? {
                continue;
            }
            let names = Names::new(beginning.key.clone(), entry.id, &beginning.target)?;
            let why = match header(beginning, &names)? {
                Header::Of(header) if header.origin == *self.origin && header.copy == entry.id.0 => {
                    if matches!(found, Found::Continues(..)) {
                        continue;
                    }
                    if let Some(content) = take_over(beginning, entry, &names)? {
                        found = Found::Continues(entry.id, content);
                        continue;
                    }
                    Some("the journal of an earlier try is damaged")
                }
                Header::Of(_) => Some("an earlier try was of another version or container"),
                Header::Damaged => Some("the journal of an earlier try is damaged"),
                Header::Missing => None,
            };
            // Without the lease, the process that makes this copy may still be running.
            if beginning.has_lease() {
                discard(beginning, entry.id, &names)?;
                if let (Some(why), Found::Nothing) = (why, &found) {
                    found = Found::Discarded(why);
                }
            }
        }
        Ok(found)
    }
}

enum Header {
    Missing,
    Damaged,
    Of(JournalHeader),
}

/// Returns the bytes of an object; `None` if the object does not exist. If the object is longer than `most`, returns no bytes, which are no
/// valid journal.
fn bytes(store: &dyn ObjectStore, key: &Key, most: u64, target: &str) -> Result<Option<Bytes>> {
    match store.get_whole_opt(key, most) {
        Err(e) if e.kind() == object_stores::ErrorKind::Corrupt => Ok(Some(Bytes::new())),
        got => Ok(got.map_err(|e| store_error(target, &e))?.map(|got| got.bytes)),
    }
}

fn header(beginning: &Beginning<'_>, names: &Names) -> Result<Header> {
    let key = header_key(names, &beginning.target)?;
    let found = bytes(beginning.store.as_ref(), &key, MAX_HEADER_BYTES, &beginning.target)?;
    let Some(found) = found else { return Ok(Header::Missing) };
    Ok(JournalHeader::decode(&found).map_or(Header::Damaged, Header::Of))
}

/// Takes over an attempt, and deletes the objects that its journal does not name. Returns `None` if the journal is too long to be valid.
fn take_over(beginning: &mut Beginning<'_>, entry: CopyEntry, names: &Names) -> Result<Option<Content>> {
    let day = today(beginning.store.as_ref());
    let change = Change::BeginCopy { id: entry.id, day, over: Some(entry.session) };
    let fetcher = beginning.fetcher(names.clone());
    make(&mut beginning.committer, &fetcher, change)?;
    let target = &beginning.target;
    let prefix = format!("{}/", names.lake);
    let objects = beginning.store.list(&prefix, None).collect::<object_stores::Result<Vec<_>>>();
    let objects = objects.map_err(|e| store_error(target, &e))?;
    let Some(content) = read(beginning.store.as_ref(), entry.id, names, &objects, target)? else {
        return Ok(None);
    };
    let header = header_key(names, target)?;
    let object = |key: &Key| key.as_str().strip_prefix(&prefix).and_then(object_of);
    let stays = |key: &Key| {
        *key == header
            || content.parts.contains(key)
            || object(key).is_some_and(|object| content.packs.contains_key(&object))
    };
    let surplus: Vec<Key> = objects.iter().map(|meta| &meta.key).filter(|key| !stays(key)).cloned().collect();
    if !surplus.is_empty() {
        beginning.store.delete_many(&surplus).map_err(|e| store_error(target, &e))?;
    }
    Ok(Some(content))
}

/// Reads a journal. Parts that are damaged, belong to another copy or name a missing object are omitted. Returns `None` if the journal is
/// too long to be valid.
fn read(
    store: &dyn ObjectStore,
    copy: ContainerId,
    names: &Names,
    objects: &[ObjectMeta],
    target: &str,
) -> Result<Option<Content>> {
    let (parts, all) = (parts_prefix(names), format!("{}/", names.lake));
    let size = |meta: &ObjectMeta| Some((object_of(meta.key.as_str().strip_prefix(&all)?)?, meta.size));
    let sizes: HashMap<ObjectId, u64> = objects.iter().filter_map(size).collect();
    let parts: Vec<&ObjectMeta> =
        objects.iter().filter(|meta| meta.key.as_str().starts_with(&parts)).collect();
    if parts.iter().fold(0, |sum: u64, meta| sum.saturating_add(meta.size)) > MAX_JOURNAL_BYTES {
        return Ok(None);
    }
    let mut content = Content::default();
    for some in parts.chunks(PARTS_PER_FETCH) {
        for (meta, part) in some.iter().zip(fetch(store, some, target)?) {
            let Some(part) = part.filter(|part| part.copy == copy.0) else { continue };
            let there = |(id, length): &(ObjectId, u64)| sizes.get(id) == Some(length);
            let Some(named) = part.objects().filter(|named| named.iter().all(there)) else { continue };
            content.packs.extend(named);
            content.parts.insert(meta.key.clone());
            content.next = content.next.max(part.number.saturating_add(1));
            content.values.extend(part.entries);
        }
    }
    Ok(Some(content))
}

/// Reads some parts; `None` for damaged parts.
fn fetch(store: &dyn ObjectStore, some: &[&ObjectMeta], target: &str) -> Result<Vec<Option<JournalPart>>> {
    let get = |key: &Key| -> Result<Option<JournalPart>> {
        let found = bytes(store, key, MAX_PART_BYTES, target)?;
        Ok(found.and_then(|bytes| JournalPart::decode(&bytes).ok()))
    };
    std::thread::scope(|s| {
        let get = &get;
        let ask = |meta: &&ObjectMeta| {
            let key = meta.key.clone();
            (meta.key.clone(), std::thread::Builder::new().spawn_scoped(s, move || get(&key)))
        };
        let asked: Vec<_> = some.iter().map(ask).collect();
        asked
            .into_iter()
            .map(|(key, thread)| match thread {
                Ok(thread) => thread.join().unwrap_or_else(|_| get(&key)),
                Err(_) => get(&key),
            })
            .collect()
    })
}

/// Ends an attempt: takes it over, and deletes its objects and then its entry. If this process dies in between, the entry remains for the
/// next attempt.
fn discard(beginning: &mut Beginning<'_>, id: ContainerId, names: &Names) -> Result<()> {
    let fetcher = beginning.fetcher(names.clone());
    let over = beginning.committer.known().copier(id);
    let day = today(beginning.store.as_ref());
    make(&mut beginning.committer, &fetcher, Change::BeginCopy { id, day, over })?;
    if !replaced::is_kept(beginning.store.as_ref(), &names.head, id, &beginning.target)? {
        delete_lake(beginning.store.as_ref(), names, &beginning.target)?;
    }
    expel(&mut beginning.committer, &fetcher, id).map(drop)
}

/// Removes the newest entry of a copy. Returns the manifest without it.
pub(super) fn expel(committer: &mut Committer, fetcher: &Fetcher, id: ContainerId) -> Result<Arc<Manifest>> {
    committer.refresh()?;
    let known = committer.known();
    let Some(session) = known.copier(id) else { return Ok(known) };
    // The name may lead to another container by now.
    let mut of_now = committer.next(known.id, Mode::Exclusive)?;
    make(&mut of_now, fetcher, Change::Expel { sessions: Vec::new(), copies: vec![(id, session)] })?;
    Ok(of_now.known())
}

/// Removes the entries of copies that no attempt has continued for more than a day.
pub(super) fn expel_abandoned(
    store: &Arc<dyn ObjectStore>,
    head: &Key,
    now: &Manifest,
    target: &Arc<str>,
) -> Result<()> {
    let today = today(store.as_ref());
    let dead: Vec<_> = now.copies.iter().filter(|entry| today > entry.day + MAX_SESSION_DAYS).collect();
    let Some(first) = dead.first() else { return Ok(()) };
    let register = register::open_to_write(store, head, target, head::sequence_of)?;
    let found = load(register.as_ref(), target)?;
    let names = Names::new(head.clone(), first.id, target)?;
    let fetcher = Fetcher::new(store.clone(), names, target.clone());
    let mut committer = Committer::new(register, target.clone(), found.0.id, Mode::Exclusive, found)?;
    let copies = dead.iter().map(|entry| (entry.id, entry.session)).collect();
    make(&mut committer, &fetcher, Change::Expel { sessions: Vec::new(), copies })
}

/// Deletes the objects of a copy that has no entry any more, unless the copy became a container.
pub(super) fn delete_given_up(
    store: &dyn ObjectStore,
    known: &Manifest,
    names: &Names,
    id: ContainerId,
    target: &str,
) -> Result<()> {
    // The manifest is checked first: a retained container got its tombstone before it left the manifest.
    if known.id == id || known.lists_copy(id) || replaced::is_kept(store, &names.head, id, target)? {
        return Ok(());
    }
    delete_lake(store, names, target)
}

impl JournalPart {
    /// Returns the objects that the part needs, with their lengths; `None` if it needs anything else.
    fn objects(&self) -> Option<Vec<(ObjectId, u64)>> {
        let whole = |place: &Address| {
            ObjectId::of(place).filter(|_| place.offset == 0).map(|object| (object, place.length))
        };
        self.places.iter().map(whole).collect()
    }
}
