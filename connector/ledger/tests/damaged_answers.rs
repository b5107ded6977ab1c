//! One answer of a store is damaged in transit, with or without a cache that stores it. Readers must find the stored
//! bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::work::{Map, content, work};
use h5lake_ledger::{Access, Ledger, Options, Replace};
use object_stores::dir::Sync;
use object_stores::{Damage, DirStore, DiskCache, FaultStore, ObjectStore, Rule, Select};
use tempfile::TempDir;

const KEY: &str = "dir/name.h5";
const DAMAGES: [Damage; 4] = [Damage::Flip(10), Damage::Flip(5000), Damage::Cut(0), Damage::Cut(700)];

/// Creates a container with pages, records and payloads in packs.
fn made() -> (TempDir, Arc<dyn ObjectStore>, Map) {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn ObjectStore> = Arc::new(DirStore::open(dir.path(), Sync::Process).unwrap());
    let o = Options { checkpoint_bytes: 20_000, ..Options::default() };
    let l = Ledger::create_objects(store.clone(), KEY, Replace::Atomically, o).unwrap();
    let (_, states, done) = work(&l, &Map::new(), 12);
    done.unwrap();
    l.close().unwrap();
    (dir, store, states.into_iter().last().unwrap())
}

fn behind_cache(store: Arc<dyn ObjectStore>, cache: Option<&Path>) -> Arc<dyn ObjectStore> {
    match cache {
        Some(path) => Arc::new(DiskCache::open(store, path, 1 << 30, Ledger::is_immutable_object).unwrap()),
        None => store,
    }
}

/// Returns the content that a new reader finds, and the number of its requests.
fn read(
    store: &Arc<dyn ObjectStore>,
    cache: Option<&Path>,
    rule: Option<Rule>,
) -> (Result<Map, String>, u64) {
    let faults = FaultStore::new(store.clone());
    rule.into_iter().for_each(|rule| faults.inject(rule));
    let way = behind_cache(Arc::new(faults.clone()), cache);
    let o = Options { cache_bytes: 0, ..Options::default() };
    let l = Ledger::open_objects(way, KEY, Access::ReadOnly, o);
    let found = l.and_then(|l| content(&l)).map_err(|e| e.to_string());
    (found, faults.calls(Select::Reading))
}

#[test]
fn damage_on_the_way_is_read_again_and_not_kept() {
    let (_dir, store, model) = made();
    let (found, requests) = read(&store, None, None);
    assert!(found.unwrap() == model && requests > 10, "{requests} requests");
    let mut failed = 0;
    for n in 0..requests {
        for damage in DAMAGES {
            for is_cached in [false, true] {
                let cache = is_cached.then(|| tempfile::tempdir().unwrap());
                let cache = cache.as_ref().map(TempDir::path);
                match read(&store, cache, Some(Rule::damage_nth(n, damage))).0 {
                    Ok(found) => assert!(found == model, "read {n}, {damage:?}, cached {is_cached}"),
                    // An object that does not begin as a head object is not read again.
                    Err(_) => failed += 1,
                }
                let (found, _) = read(&store, cache, None);
                assert!(
                    found.as_ref() == Ok(&model),
                    "{:?} behind read {n}, {damage:?}, cached {is_cached}",
                    found.err()
                );
            }
        }
    }
    assert!(failed <= 4, "{failed} readers were told of damage");
}

/// Damage of the stored bytes is reported.
#[test]
fn damage_in_the_store_is_reported() {
    let (dir, store, _) = made();
    let mut packs = 0;
    let lake = dir.path().join("dir/name.h5.lake");
    let below = |path: &Path| std::fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).collect::<Vec<_>>();
    for pack in below(&lake)
        .iter()
        .filter(|id| id.is_dir())
        .flat_map(|id| below(id))
        .filter(|object| object.is_file())
    {
        let mut bytes = std::fs::read(&pack).unwrap();
        bytes.iter_mut().for_each(|byte| *byte ^= 1);
        std::fs::write(&pack, bytes).unwrap();
        packs += 1;
    }
    assert!(packs > 0);
    let error = read(&store, None, None).0.unwrap_err();
    assert!(error.contains("damaged"), "{error}");
}
