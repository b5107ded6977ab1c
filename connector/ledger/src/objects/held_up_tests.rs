//! Writers that are held up, asleep or idle while others commit, checkpoint and reclaim the records that they would have to follow:
//! what is reported as committed is there, and no number is given twice (design record 066).

mod many;
mod others;
mod single;
mod unguarded;

use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use object_stores::{
    Capabilities, Condition, GetResult, Key, ListPage, MemoryStore, ObjectMeta, ObjectStore, Operation,
    PutMode, PutPayload, PutResult, PutStream,
};

use crate::clock::wrong;
use crate::error::Result;
use crate::extent::Extent;
use crate::ledger::Ledger;
use crate::locks::Mutex;
use crate::options::{Access, Options, Replace, Writers};

const KEY: &str = "c.h5";
const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3600 * SECOND;

/// Objects that are old by the clock of such a store were put so long ago.
const OLD: Duration = Duration::from_secs(25 * 3600);
/// Bytes of a payload that does not go into a record.
const PAYLOAD_BYTES: usize = 300_000;

type Hook = Box<dyn FnOnce() + Send>;

/// A store that does something before the next operation of a kind, or loses some.
struct Hooked {
    inner: Arc<dyn ObjectStore>,
    before_record: Mutex<Option<Hook>>,
    behind_record_get: Mutex<Option<Hook>>,
    before_head_put: Mutex<Option<Hook>>,
    before_list: Mutex<Option<Hook>>,
    before_head_get: Mutex<Option<Hook>>,
    lose_record: Mutex<u32>,
    lose_head_get: Mutex<u32>,
    /// Looks at packs that succeed before one fails.
    lose_pack_look: Mutex<Option<u32>>,
    /// Objects that were put long ago, for all that it says.
    old: Mutex<HashSet<Key>>,
    remote: bool,
}

impl Hooked {
    fn dated(&self, meta: ObjectMeta) -> ObjectMeta {
        match self.old.lock().contains(&meta.key) {
            true => ObjectMeta { modified: meta.modified - OLD, ..meta },
            false => meta,
        }
    }
}

impl std::fmt::Debug for Hooked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl ObjectStore for Hooked {
    fn name(&self) -> String {
        self.inner.name()
    }

    fn capabilities(&self) -> Capabilities {
        let c = self.inner.capabilities();
        match self.remote {
            true => Capabilities { near: false, persistent: true, ..c },
            false => c,
        }
    }

    fn honours(&self, condition: Condition) -> bool {
        self.inner.honours(condition)
    }

    fn get(&self, key: &Key, range: Option<Range<u64>>) -> object_stores::Result<GetResult> {
        if key.as_str() == KEY {
            run(&self.before_head_get);
            lose(&self.lose_head_get, Operation::Get)?;
        }
        let got = self.inner.get(key, range);
        if key.as_str().contains("/log/") {
            run(&self.behind_record_get);
        }
        got
    }

    fn get_into(&self, key: &Key, offset: u64, buf: &mut [u8]) -> object_stores::Result<ObjectMeta> {
        self.inner.get_into(key, offset, buf)
    }

    fn head(&self, key: &Key) -> object_stores::Result<ObjectMeta> {
        let mut left = self.lose_pack_look.lock();
        if key.as_str().contains("/pack/") && left.is_some_and(|left| left == 0) {
            *left = None;
            return Err(object_stores::Error::new(object_stores::ErrorKind::Unavailable, Operation::Head));
        }
        *left = left.map(|left| left - u32::from(key.as_str().contains("/pack/")));
        self.inner.head(key).map(|meta| self.dated(meta))
    }

    fn put(&self, key: &Key, payload: PutPayload, mode: PutMode) -> object_stores::Result<PutResult> {
        if key.as_str() == KEY {
            run(&self.before_head_put);
        }
        if key.as_str().contains("/log/") {
            run(&self.before_record);
            lose(&self.lose_record, Operation::Put)?;
        }
        let put = self.inner.put(key, payload, mode)?;
        self.old.lock().remove(key);
        Ok(put)
    }

    fn put_stream(&self, key: &Key) -> object_stores::Result<Box<dyn PutStream>> {
        self.inner.put_stream(key)
    }

    fn list_page(&self, prefix: &str, after: Option<&str>, limit: usize) -> object_stores::Result<ListPage> {
        run(&self.before_list);
        let ListPage { objects, more } = self.inner.list_page(prefix, after, limit)?;
        Ok(ListPage { objects: objects.into_iter().map(|meta| self.dated(meta)).collect(), more })
    }

    fn delete(&self, key: &Key) -> object_stores::Result<()> {
        self.inner.delete(key)
    }
}

fn run(hook: &Mutex<Option<Hook>>) {
    let hook = hook.lock().take();
    hook.into_iter().for_each(|hook| hook());
}

/// Fails so often as that says.
fn lose(left: &Mutex<u32>, operation: Operation) -> object_stores::Result<()> {
    let mut left = left.lock();
    if *left == 0 {
        return Ok(());
    }
    *left -= 1;
    Err(object_stores::Error::new(object_stores::ErrorKind::Timeout, operation))
}

struct World {
    store: Arc<MemoryStore>,
    hooked: Arc<Hooked>,
}

impl World {
    /// A container that many writers have written.
    fn new() -> Self {
        Self::made_by(options(0))
    }

    fn hooked(store: &Arc<MemoryStore>, remote: bool) -> Arc<Hooked> {
        Self::hooked_over(store.clone(), remote)
    }

    fn hooked_over(inner: Arc<dyn ObjectStore>, remote: bool) -> Arc<Hooked> {
        Arc::new(Hooked {
            inner,
            before_record: Mutex::default(),
            behind_record_get: Mutex::default(),
            before_head_put: Mutex::default(),
            before_list: Mutex::default(),
            before_head_get: Mutex::default(),
            lose_record: Mutex::default(),
            lose_head_get: Mutex::default(),
            lose_pack_look: Mutex::default(),
            old: Mutex::default(),
            remote,
        })
    }

    fn made_by(options: Options) -> Self {
        wrong::BY.set(0);
        let store = Arc::new(MemoryStore::new());
        let hooked = Self::hooked(&store, false);
        let l = Ledger::create_objects(store.clone(), KEY, Replace::Fail, options).unwrap();
        l.put(b"begin", "it").unwrap();
        l.commit().unwrap();
        l.close().unwrap();
        Self { store, hooked }
    }

    /// A writer that asked for a retention time of so many seconds.
    fn writer(&self, retention: u64) -> Ledger {
        Ledger::open_objects(self.hooked.clone(), KEY, Access::ReadWrite, options(retention)).unwrap()
    }

    /// A writer that is alone.
    fn alone(&self) -> Ledger {
        Ledger::open_objects(self.store.clone(), KEY, Access::ReadWrite, alone(0)).unwrap()
    }

    /// What a vacuum does to packs that no version names.
    fn delete_packs(&self) {
        self.packs().iter().for_each(|key| self.store.delete(key).unwrap());
    }

    fn packs(&self) -> Vec<Key> {
        let key = |meta: &ObjectMeta| meta.key.as_str().contains("/pack/").then(|| meta.key.clone());
        let packs: Vec<Key> =
            self.store.list_page("", None, 1000).unwrap().objects.iter().filter_map(key).collect();
        assert!(!packs.is_empty());
        packs
    }

    /// A writer puts a payload, long ago for all that the store says, and stages what leads to it.
    fn stage_old_payload(&self, l: &Ledger) {
        let mut value = Vec::new();
        l.write_payload(&vec![7; PAYLOAD_BYTES]).unwrap().encode(&mut value);
        l.send_payloads().unwrap();
        l.put(b"slow", value).unwrap();
        self.hooked.old.lock().extend(self.packs());
    }

    /// Reads that payload.
    fn check_payload(&self) {
        let l = Ledger::open_objects(self.store.clone(), KEY, Access::ReadOnly, Options::default()).unwrap();
        let stored = l.get(b"slow").unwrap().unwrap();
        let mut read = vec![0; PAYLOAD_BYTES];
        l.read_payload(&Extent::decode(&stored).unwrap().0, 0, &mut read).unwrap();
        assert!(read == vec![7; PAYLOAD_BYTES]);
    }

    fn value(&self, key: &[u8]) -> Option<Vec<u8>> {
        let l = Ledger::open_objects(self.store.clone(), KEY, Access::ReadOnly, Options::default()).unwrap();
        l.get(key).unwrap().map(|v| v.to_vec())
    }
}

/// A checkpoint at each eighth commit.
fn options(retention: u64) -> Options {
    let retention = Some(Duration::from_secs(retention));
    Options { writers: Writers::Many, checkpoint_bytes: 0, retention, ..Options::default() }
}

fn commits(l: &Ledger, times: u64) {
    for n in 0..times {
        if l.is_one_of_many() {
            l.advance(&|_| false).unwrap();
        }
        l.put(b"other", format!("{n}")).unwrap();
        l.commit().unwrap();
    }
}

/// Commits, and reclaims the records of that as soon as any clock allows it.
fn commit_and_reclaim(l: &Ledger) {
    commits(l, 20);
    wrong::BY.set(wrong::BY.get() + HOUR);
    commits(l, 20);
}

/// What was reported is there; what is not there was not reported.
fn is_told(w: &World, key: &[u8], done: Result<u64>) -> bool {
    let is_there = w.value(key).is_some();
    if done.is_ok() {
        assert!(is_there, "a commit was reported and is not there");
    }
    done.is_ok()
}

fn alone(retention: u64) -> Options {
    Options { writers: Writers::One, ..options(retention) }
}
