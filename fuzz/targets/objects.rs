//! A container in a store: a list of names and bytes becomes its objects.
#![no_main]

use std::sync::Arc;

use h5lake_container::Access;
use h5lake_fuzz::{more, pairs, sample, seeds, walk};
use h5lake_ledger::{Ledger, Options};
use libfuzzer_sys::fuzz_target;
use object_stores::{Key, MemoryStore, ObjectStore, ObjectStoreExt, PutMode};

fn objects(store: &Arc<dyn ObjectStore>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let all = store.list("", None);
    all.map(|found| {
        let key = found.expect("the store cannot be listed").key;
        let bytes = store.get(&key, None).expect("an object is not there").bytes;
        (key.as_str().as_bytes().to_vec(), bytes.to_vec())
    })
    .collect()
}

fn make_seeds() -> Vec<(String, Vec<u8>)> {
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    sample::create(&seeds::in_memory(&store)).expect("the sample cannot be made");
    let mut all = vec![("closed".to_owned(), pairs::encode(&objects(&store)))];
    let options = Options { checkpoint_bytes: 1, ..Options::default() };
    let l = Ledger::open_objects(store.clone(), seeds::KEY, h5lake_ledger::Access::ReadWrite, options);
    let l = l.expect("no sample");
    l.put(b"Zfuzz", b"value".to_vec()).and_then(|()| l.commit()).expect("no commit");
    l.close().expect("no close");
    all.push(("folded".to_owned(), pairs::encode(&objects(&store))));
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let target = seeds::in_memory(&store);
    sample::create_for_sources(&target).expect("the sample cannot be made");
    more::adopt(&target, more::URL).expect("no native file");
    all.push(("adopted".to_owned(), pairs::encode(&objects(&store))));
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let target = seeds::in_memory(&store);
    sample::create(&target).expect("the sample cannot be made");
    more::branch(&target).expect("no branch");
    all.push(("branched".to_owned(), pairs::encode(&objects(&store))));
    all
}

fn use_objects(bytes: &[u8]) -> object_stores::Result<()> {
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    for (name, value) in pairs::decode(bytes) {
        if let Ok(key) = Key::new(String::from_utf8_lossy(name)) {
            store.put(&key, value.to_vec().into(), PutMode::Overwrite)?;
        }
    }
    let target = seeds::in_memory(&store);
    walk::open_and_walk(&target, Access::ReadOnly);
    more::use_all(&target);
    walk::open_and_walk(&target, Access::ReadWrite);
    if let Ok(l) =
        Ledger::open_objects(store, seeds::KEY, h5lake_ledger::Access::ReadWrite, Options::default())
    {
        let _ = (l.versions(20), l.vacuum());
    }
    Ok(())
}

fuzz_target!(
    init: seeds::write_if_asked(make_seeds),
    |bytes: &[u8]| {
        let _ = use_objects(bytes);
    }
);
