//! The entries of a container: a list of keys and values becomes the container's map, which is then visited.
#![no_main]

use std::sync::Arc;

use h5lake_container::Access;
use h5lake_fuzz::{pairs, seeds, walk};
use h5lake_ledger::{Ledger, Options, Replace};
use libfuzzer_sys::fuzz_target;
use object_stores::{MemoryStore, ObjectStore};

fn walk_entries(bytes: &[u8]) -> h5lake_ledger::Result<()> {
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let l = Ledger::create_objects(store.clone(), seeds::KEY, Replace::Fail, Options::default())?;
    for (key, value) in pairs::decode(bytes) {
        l.put(key, value.to_vec())?;
    }
    l.commit()?;
    drop(l);
    let target = seeds::in_memory(&store);
    walk::open_and_walk(&target, Access::ReadOnly);
    walk::open_and_walk(&target, Access::ReadWrite);
    Ok(())
}

fuzz_target!(
    init: seeds::write_if_asked(seeds::entry_seeds),
    |bytes: &[u8]| {
        let _ = walk_entries(bytes);
    }
);
