//! Readers of a container in an object store after its objects were replaced by those of an older copy.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::sync::Arc;

use h5lake_ledger::{Access, Ledger, Options, Replace};
use object_stores::{Key, MemoryStore, ObjectStore, ObjectStoreExt, PutMode, PutPayload};

const KEY: &str = "c.h5";

type Objects = Vec<(Key, bytes::Bytes)>;

fn objects(store: &dyn ObjectStore) -> Objects {
    let keys = store.list("", None).map(|found| found.unwrap().key);
    keys.map(|key| (key.clone(), store.get(&key, None).unwrap().bytes)).collect()
}

fn put_back(store: &dyn ObjectStore, backup: &Objects) {
    objects(store).iter().for_each(|(key, _)| store.delete(key).unwrap());
    for (key, bytes) in backup {
        store.put(key, PutPayload::from(bytes.clone()), PutMode::Overwrite).unwrap();
    }
}

fn write(store: &Arc<dyn ObjectStore>, commits: u64, key: &'static str, value: &str) {
    let l = Ledger::open_objects(store.clone(), KEY, Access::ReadWrite, Options::default()).unwrap();
    for n in 0..commits {
        l.put(key.as_bytes(), format!("{value} {n}")).unwrap();
        l.commit().unwrap();
    }
    l.close().unwrap();
}

fn read(store: &Arc<dyn ObjectStore>) -> Ledger {
    Ledger::open_objects(store.clone(), KEY, Access::ReadOnly, Options::default()).unwrap()
}

fn all(l: &Ledger) -> Vec<(Vec<u8>, Vec<u8>)> {
    let entries = l.scan_prefix(b"", None, usize::MAX).unwrap();
    entries.into_iter().map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
}

#[test]
fn an_older_copy_that_goes_on_is_read_from_its_base() {
    for commits in 3..8 {
        let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
        Ledger::create_objects(store.clone(), KEY, Replace::Fail, Options::default())
            .unwrap()
            .close()
            .unwrap();
        write(&store, 2, "y", "the backup's");
        let backup = objects(store.as_ref());
        write(&store, 2, "x", "of the old history");
        let reader = read(&store);
        put_back(store.as_ref(), &backup);
        write(&store, commits, "y", "of the new history");
        assert!(reader.refresh().unwrap(), "{commits} commits");
        assert_eq!(all(&reader), all(&read(&store)), "{commits} commits");
        assert!(!reader.refresh().unwrap());
        write(&store, 1, "x", "the newest");
        assert!(reader.refresh().unwrap());
        assert_eq!(all(&reader), all(&read(&store)));
    }
}
