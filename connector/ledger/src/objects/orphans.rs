//! Objects of containers that nothing leads to: the head of one was damaged when it was replaced, so that nobody could say in a
//! tombstone which container that was.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, SystemTime};

use object_stores::{Key, ObjectMeta, ObjectStore, ObjectStoreExt};

use crate::codec::hex;
use crate::error::Result;
use crate::objects::journal::headers;
use crate::objects::manifest::{Names, store_error};
use crate::objects::open::delete_lake;
use crate::objects::replaced::{Current, id_of, tombstones};

/// Nothing is put for so long by a writer whose container has no head yet: it renews its lease each minute.
pub(super) const MIN_IDLE_TIME: Duration = Duration::from_secs(86_400);

/// Deletes the objects of containers under a name to which neither the head nor a tombstone leads, if all of them are older than
/// a day. `now` is by the store's clock.
pub(super) fn sweep(store: &dyn ObjectStore, head: &Key, now: SystemTime, target: &str) -> Result<()> {
    let current = match Current::read(store, head, target)? {
        // The objects may be its own.
        Current::Unknown => return Ok(()),
        Current::Nothing => None,
        Current::Id(id) => Some(id),
    };
    let mut newest = newest_of_each(store, head, current.as_deref(), target)?;
    // Those of copies that are not under way lead nowhere, whether their objects are deleted here or were by an earlier h5lake.
    let in_use: HashSet<String> =
        newest.iter().filter(|(_, put)| !is_idle(now, **put)).map(|(id, _)| id.clone()).collect();
    sweep_headers(store, head, &in_use, now, target)?;
    if newest.is_empty() {
        return Ok(());
    }
    // After the listing: a container that was replaced meanwhile has its tombstone by now.
    let stones = tombstones(store, head, target)?;
    let known: HashSet<&str> = stones.iter().map(|meta| id_of(&meta.key)).collect();
    newest.retain(|id, put| !known.contains(id.as_str()) && is_idle(now, *put));
    for id in newest.keys().filter_map(|id| id_bytes(id)) {
        // Only now: somebody may have put the head since.
        if Current::read(store, head, target)?.may_be(&hex(&id)) {
            return Ok(());
        }
        delete_lake(store, &Names::new(head.clone(), &id, target)?, target)?;
    }
    Ok(())
}

/// Whether what was put last was put so long ago that nobody puts more.
fn is_idle(now: SystemTime, put: SystemTime) -> bool {
    now.duration_since(put).is_ok_and(|age| age >= MIN_IDLE_TIME)
}

/// Deletes headers of the journals of copies that are a day old, but for copies `in_use`.
fn sweep_headers(
    store: &dyn ObjectStore,
    head: &Key,
    in_use: &HashSet<String>,
    now: SystemTime,
    target: &str,
) -> Result<()> {
    for meta in store.list(&headers(head), None) {
        let meta = meta.map_err(|e| store_error(target, &e))?;
        if is_idle(now, meta.modified) && !in_use.contains(id_of(&meta.key)) {
            store.delete(&meta.key).map_err(|e| store_error(target, &e))?;
        }
    }
    Ok(())
}

/// When an object of each container was put last, but for one whose objects may be many.
fn newest_of_each(
    store: &dyn ObjectStore,
    head: &Key,
    but: Option<&str>,
    target: &str,
) -> Result<HashMap<String, SystemTime>> {
    let all = format!("{head}.lake/");
    let mut newest: HashMap<String, SystemTime> = HashMap::new();
    let mut note = |meta: &ObjectMeta| {
        let id = meta.key.as_str().strip_prefix(&all).and_then(|rest| rest.split_once('/'));
        if let Some((id, _)) = id.filter(|(id, _)| id_bytes(id).is_some()) {
            let put = newest.entry(id.to_owned()).or_insert(meta.modified);
            *put = (*put).max(meta.modified);
        }
    };
    let own = but.map(|id| format!("{all}{id}/"));
    let mut after = None;
    loop {
        let mut passed = None;
        for meta in store.list(&all, after.as_deref()) {
            let meta = meta.map_err(|e| store_error(target, &e))?;
            if let Some(own) = own.as_deref().filter(|own| meta.key.as_str().starts_with(own)) {
                // Behind all that begins so: '0' follows upon '/'.
                passed = Some(format!("{}0", own.trim_end_matches('/')));
                break;
            }
            note(&meta);
        }
        match passed {
            Some(behind) => after = Some(behind),
            None => return Ok(newest),
        }
    }
}

/// A container's id, of 32 hexadecimal digits as they are written.
pub(super) fn id_bytes(text: &str) -> Option<[u8; 16]> {
    let id = u128::from_str_radix(text, 16).ok()?.to_be_bytes();
    (hex(&id) == text).then_some(id)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_stores::{DirStore, PutMode, PutPayload, dir};

    use super::*;
    use crate::ledger::Ledger;
    use crate::options::{Access, Options, Replace};

    fn keys(store: &dyn ObjectStore) -> usize {
        store.list("", None).count()
    }

    #[test]
    fn what_a_damaged_head_led_to_goes_a_day_after_it_was_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(DirStore::open(dir.path(), dir::Sync::Process).unwrap());
        let make = |key: &str, value: &'static str| {
            let l =
                Ledger::create_objects(store.clone(), key, Replace::Atomically, Options::default()).unwrap();
            l.write_payload(&[7; 100_000]).and_then(|p| l.put(b"p", p.to_bytes())).unwrap();
            l.put(b"k", value).unwrap();
            l.commit().unwrap();
            l.close().unwrap();
        };
        make("x.h5", "another name");
        let others = keys(store.as_ref());
        make("x", "lost");
        let one = keys(store.as_ref()) - others;
        let head = Key::new("x").unwrap();
        let mut damaged = store.get(&head, None).unwrap().bytes.to_vec();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0xff;
        store.put(&head, PutPayload::from(damaged), PutMode::Overwrite).unwrap();
        let at = |hours: u64| SystemTime::now() + Duration::from_secs(hours * 3600);
        sweep(store.as_ref(), &head, at(48), "x").unwrap();
        assert_eq!(keys(store.as_ref()), others + one, "they may be those of the damaged head");
        make("x", "new");
        assert_eq!(keys(store.as_ref()), others + 2 * one - 1);
        sweep(store.as_ref(), &head, at(23), "x").unwrap();
        assert_eq!(
            keys(store.as_ref()),
            others + 2 * one - 1,
            "a new container may be about to get its head"
        );
        sweep(store.as_ref(), &head, at(25), "x").unwrap();
        assert_eq!(keys(store.as_ref()), others + one);
        // One that was replaced whole is kept for its own time.
        make("x", "newer");
        let kept = keys(store.as_ref());
        sweep(store.as_ref(), &head, at(48), "x").unwrap();
        assert_eq!(keys(store.as_ref()), kept);
        for (key, value) in [("x", "newer"), ("x.h5", "another name")] {
            let l = Ledger::open_objects(store.clone(), key, Access::ReadOnly, Options::default()).unwrap();
            assert_eq!(l.get(b"k").unwrap().unwrap(), value);
        }
        // A name that nothing is under any more.
        store.delete(&head).unwrap();
        for meta in tombstones(store.as_ref(), &head, "x").unwrap() {
            store.delete(&meta.key).unwrap();
        }
        sweep(store.as_ref(), &head, at(48), "x").unwrap();
        assert_eq!(keys(store.as_ref()), others);
    }

    /// What a killed copy left stays for a day, and then goes with its journal. An earlier h5lake leaves the header alone.
    #[test]
    fn what_a_copy_left_goes_after_a_day() {
        use crate::journal::EarlierTry;
        use crate::origin::Origin;
        let origin = Origin { id: [1; 16], version: 1, time: 1, host: "node".into(), pid: 1 };
        let opts = Options { journal_bytes: 50_000, ..Options::default() };
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn ObjectStore> = Arc::new(DirStore::open(dir.path(), dir::Sync::Process).unwrap());
        let give_up = |l: &Ledger, _: EarlierTry| {
            let value = l.write_payload(&[7; 400_000])?.to_bytes();
            l.note_copied(b"k", &value, 400_000)?;
            // Only what has arrived is noted.
            l.note_copied(b"k", &value, 400_000)?;
            Err(l.fail(crate::ErrorKind::Conflict))
        };
        let fail =
            || Ledger::create_copy_objects(store.clone(), "x", opts.clone(), &origin, give_up).unwrap_err();
        let head = Key::new("x").unwrap();
        let at = |hours: u64| SystemTime::now() + Duration::from_secs(hours * 3600);
        for is_swept_before in [false, true] {
            fail();
            assert_eq!(store.list(&headers(&head), None).count(), 1);
            let left = keys(store.as_ref());
            sweep(store.as_ref(), &head, at(23), "x").unwrap();
            assert_eq!(keys(store.as_ref()), left);
            if is_swept_before {
                for meta in store.list("x.lake/", None).map(|meta| meta.unwrap()) {
                    if !meta.key.as_str().starts_with(&headers(&head)) {
                        store.delete(&meta.key).unwrap();
                    }
                }
            }
            sweep(store.as_ref(), &head, at(25), "x").unwrap();
            assert_eq!(keys(store.as_ref()), 0);
        }
    }
}
