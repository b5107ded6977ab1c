//! Seeds: the initial inputs of a target, made from the sample container.

use std::path::Path;
use std::sync::Arc;

use h5lake_container::Target;
use h5lake_ledger::{Access, Ledger, Options};
use object_stores::{MemoryStore, ObjectStore};

use crate::{pairs, sample};

/// The key of containers in stores.
pub const KEY: &str = "c";

/// Writes seeds and ends the process if the environment requests it.
pub fn write_if_asked(make: impl FnOnce() -> Vec<(String, Vec<u8>)>) {
    let Some(folder) = std::env::var_os("H5LAKE_FUZZ_SEEDS") else { return };
    for (name, seed) in make() {
        std::fs::write(Path::new(&folder).join(name), seed).expect("a seed cannot be written");
    }
    std::process::exit(0);
}

/// Returns the target of a container in a store in memory.
pub fn in_memory(store: &Arc<dyn ObjectStore>) -> Target {
    Target::Objects { store: store.clone(), key: KEY.into(), url: "memory:fuzz".into() }
}

/// Returns the entries of the sample.
pub fn entries() -> Vec<(Vec<u8>, Vec<u8>)> {
    let store: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    sample::create(&in_memory(&store)).expect("the sample cannot be made");
    let l = Ledger::open_objects(store, KEY, Access::ReadOnly, Options::default()).expect("no sample");
    let all = l.scan_prefix(b"", None, usize::MAX).expect("the sample cannot be read");
    all.into_iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect()
}

/// Returns the entries as seeds: all together, and each kind by itself.
pub fn entry_seeds() -> Vec<(String, Vec<u8>)> {
    let all = entries();
    let mut seeds = vec![("all".to_owned(), pairs::encode(&all))];
    for kind in b"OLABHU" {
        let some: Vec<_> =
            all.iter().filter(|(k, _)| k.first() == Some(kind) || k.len() == 1).cloned().collect();
        seeds.push(((*kind as char).to_string(), pairs::encode(&some)));
    }
    seeds
}
