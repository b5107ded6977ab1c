//! A conditional read passes through each wrapper as one request: a wrapper that read the metadata first and then the
//! object would send two requests, and could transfer the bytes of an unchanged object.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use object_stores::staged::{Role, StageOptions};
use object_stores::{
    Capabilities, Condition, DiskCache, Etag, FaultStore, GetResult, Key, LatencyStore, ListPage,
    MemoryStore, ObjectMeta, ObjectStore, ObservedStore, Pace, PrefixStore, PutMode, PutPayload, PutResult,
    PutStream, Result, StagedStore, TraceStore,
};

/// Counts conditional reads and all other reads.
#[derive(Default)]
struct Counting {
    inner: MemoryStore,
    conditional: AtomicU64,
    other_requests: AtomicU64,
}

impl fmt::Debug for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Counting {
    fn other(&self) -> &MemoryStore {
        self.other_requests.fetch_add(1, Ordering::Relaxed);
        &self.inner
    }
}

impl ObjectStore for Counting {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn honours(&self, condition: Condition) -> bool {
        self.inner.honours(condition)
    }

    fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<GetResult> {
        self.other().get(key, range)
    }

    fn get_if_changed(
        &self,
        key: &Key,
        range: Option<Range<u64>>,
        known: &Etag,
    ) -> Result<Option<GetResult>> {
        self.conditional.fetch_add(1, Ordering::Relaxed);
        self.inner.get_if_changed(key, range, known)
    }

    fn get_into(&self, key: &Key, offset: u64, buf: &mut [u8]) -> Result<ObjectMeta> {
        self.other().get_into(key, offset, buf)
    }

    fn head(&self, key: &Key) -> Result<ObjectMeta> {
        self.other().head(key)
    }

    fn put(&self, key: &Key, payload: PutPayload, mode: PutMode) -> Result<PutResult> {
        self.inner.put(key, payload, mode)
    }

    fn put_stream(&self, key: &Key) -> Result<Box<dyn PutStream>> {
        self.inner.put_stream(key)
    }

    fn list_page(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<ListPage> {
        self.inner.list_page(prefix, after, limit)
    }

    fn delete(&self, key: &Key) -> Result<()> {
        self.inner.delete(key)
    }
}

type Wrap = Box<dyn Fn(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>>;

/// Returns each wrapper of this crate, by the name of its type.
fn wrappers(folder: &Path) -> Vec<(&'static str, Wrap)> {
    let (cache, stage) = (folder.join("cache"), folder.join("stage"));
    let options = move || StageOptions {
        dir: stage.clone(),
        bound: 1 << 20,
        sync: false,
        patience: std::time::Duration::from_secs(10),
        url: "memory:".into(),
        key: "c".into(),
    };
    vec![
        ("DiskCache", Box::new(move |s| Arc::new(DiskCache::open(s, &cache, 1 << 30, |_| true).unwrap()))),
        ("FaultStore", Box::new(|s| Arc::new(FaultStore::new(s)))),
        ("LatencyStore", Box::new(|s| Arc::new(LatencyStore::new(s, Pace::default())))),
        ("ObservedStore", Box::new(|s| Arc::new(ObservedStore::new(s)))),
        ("PrefixStore", Box::new(|s| Arc::new(PrefixStore::new(s, Key::new("p").unwrap())))),
        (
            "StagedStore",
            Box::new(move |s| Arc::new(StagedStore::open(s, options(), |_| Role::Other).unwrap())),
        ),
        ("TraceStore", Box::new(|s| Arc::new(TraceStore::new(s)))),
    ]
}

#[test]
fn each_wrapper_passes_a_conditional_read_through_as_one() {
    let folder = tempfile::tempdir().unwrap();
    for (name, wrap) in wrappers(folder.path()) {
        let counting = Arc::new(Counting::default());
        let store = wrap(counting.clone());
        let key = Key::new("a/b").unwrap();
        let put = |text: &'static str| {
            store.put(&key, text.into(), PutMode::Overwrite).unwrap();
            if let Some(stage) = store.stage() {
                stage.drain().unwrap();
            }
            store.head(&key).unwrap().etag.unwrap()
        };
        let first = put("first");
        let ask = |known: &Etag| {
            let before = [&counting.conditional, &counting.other_requests].map(|n| n.load(Ordering::Relaxed));
            let got = store.get_if_changed(&key, Some(0..100), known).unwrap();
            let after = [&counting.conditional, &counting.other_requests].map(|n| n.load(Ordering::Relaxed));
            let requests = [after[0] - before[0], after[1] - before[1]];
            // A stage cannot translate its own etag into that of the store beneath if another version has arrived
            // since. It reads the new version.
            let is_new_to_a_stage = got.is_some() && store.stage().is_some();
            let wanted = if is_new_to_a_stage { [0, 1] } else { [1, 0] };
            assert_eq!(requests, wanted, "{name}");
            got.map(|got| got.bytes)
        };
        assert_eq!(ask(&first), None, "{name}");
        let second = put("second");
        assert_eq!(ask(&first).unwrap(), "second", "{name}");
        assert_eq!(ask(&second), None, "{name}");
    }
}

/// Finds the wrappers in the source: types with a member `inner` that implement the trait.
#[test]
fn the_list_of_wrappers_is_complete() {
    fn sources(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut all = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
    let mut found = BTreeSet::new();
    for source in &all {
        for (_, behind) in source.split("impl ObjectStore for ").skip(1).map(|part| ((), part)) {
            let name: String = behind.chars().take_while(char::is_ascii_alphanumeric).collect();
            let declared = all.iter().find_map(|source| source.split_once(&format!("struct {name} {{")));
            let members = declared.map_or("", |(_, behind)| behind.split('}').next().unwrap());
            if members.contains("inner: Arc<dyn ObjectStore>") {
                found.insert(name);
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let listed: BTreeSet<String> =
        wrappers(folder.path()).into_iter().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(found, listed);
}
