//! The opened container (first version: kept in this process's memory).

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use object_stores::ObjectStore;

use crate::error::{Error, ErrorKind, Result};
use crate::extent::Extent;
use crate::options::{Access, Identity, Options, Probe, Replace};
use crate::place::Place;

type Map = BTreeMap<Bytes, Bytes>;

#[derive(Debug, Default)]
struct Container {
    id: [u8; 16],
    version: u64,
    map: Arc<Map>,
    payloads: HashMap<u64, Bytes>,
    next: u64,
    writer: bool,
}

static ALL: LazyLock<Mutex<HashMap<String, Arc<Mutex<Container>>>>> = LazyLock::new(Mutex::default);

fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct State {
    version: u64,
    map: Arc<Map>,
    staged: BTreeMap<Bytes, Option<Bytes>>,
    freed: Vec<Extent>,
}

/// An opened container.
#[derive(Debug)]
pub struct Ledger {
    target: String,
    container: Arc<Mutex<Container>>,
    state: Mutex<State>,
    access: Access,
}

impl Ledger {
    fn start(target: String, container: Arc<Mutex<Container>>, access: Access) -> Result<Self> {
        let state = {
            let mut c = lock(&container);
            if access == Access::ReadWrite {
                if c.writer {
                    return Err(Error::new(&target, ErrorKind::Locked { holder: None }));
                }
                c.writer = true;
            }
            State { version: c.version, map: c.map.clone(), staged: BTreeMap::new(), freed: Vec::new() }
        };
        Ok(Self { target, container, state: Mutex::new(state), access })
    }

    fn create(name: String, replace: Replace) -> Result<Self> {
        let mut id = [0u8; 16];
        getrandom::fill(&mut id).map_err(|e| Error::invalid(&name, format!("no random bytes: {e}")))?;
        let c = Arc::new(Mutex::new(Container { id, ..Container::default() }));
        let mut all = lock(&ALL);
        if replace == Replace::Fail && all.contains_key(&name) {
            return Err(Error::new(&name, ErrorKind::AlreadyExists));
        }
        all.insert(name.clone(), c.clone());
        Self::start(name, c, Access::ReadWrite)
    }

    fn open(name: String, access: Access) -> Result<Self> {
        let c = lock(&ALL).get(&name).cloned();
        let c = c.ok_or_else(|| Error::new(&name, ErrorKind::NotFound))?;
        Self::start(name, c, access)
    }

    fn remove(name: &str) -> Result<()> {
        lock(&ALL).remove(name).map(drop).ok_or_else(|| Error::new(name, ErrorKind::NotFound))
    }

    /// Makes a new container in a file and opens it for writing. When this returns, the file is there, whole.
    pub fn create_file(path: &Path, replace: Replace, _opts: Options) -> Result<Self> {
        Self::create(path.display().to_string(), replace)
    }

    /// Opens the container in a file.
    pub fn open_file(path: &Path, access: Access, _opts: Options) -> Result<Self> {
        Self::open(path.display().to_string(), access)
    }

    /// Makes a new container in an object store and opens it for writing.
    pub fn create_objects(
        store: Arc<dyn ObjectStore>,
        key: &str,
        replace: Replace,
        _opts: Options,
    ) -> Result<Self> {
        Self::create(format!("{}/{key}", store.name()), replace)
    }

    /// Opens the container in an object store.
    pub fn open_objects(
        store: Arc<dyn ObjectStore>,
        key: &str,
        access: Access,
        _opts: Options,
    ) -> Result<Self> {
        Self::open(format!("{}/{key}", store.name()), access)
    }

    /// Says what a path holds, without locking it.
    pub fn probe_file(path: &Path) -> Result<Probe> {
        let known = lock(&ALL).contains_key(&path.display().to_string());
        Ok(if known { Probe::Container } else { Probe::NotFound })
    }

    /// Says what a key holds.
    pub fn probe_objects(store: &Arc<dyn ObjectStore>, key: &str) -> Result<Probe> {
        let known = lock(&ALL).contains_key(&format!("{}/{key}", store.name()));
        Ok(if known { Probe::Container } else { Probe::NotFound })
    }

    /// Removes a container's file; refuses what is not a container.
    pub fn remove_file(path: &Path) -> Result<()> {
        Self::remove(&path.display().to_string())
    }

    /// Removes a container from an object store; refuses what is not a container.
    pub fn remove_objects(store: &Arc<dyn ObjectStore>, key: &str) -> Result<()> {
        Self::remove(&format!("{}/{key}", store.name()))
    }

    /// The version that this handle sees; 0 is the new, empty container.
    pub fn version(&self) -> u64 {
        lock(&self.state).version
    }

    /// What the handle may do.
    pub fn access(&self) -> Access {
        self.access
    }

    /// The value under a key, staged changes included.
    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let s = lock(&self.state);
        Ok(match s.staged.get(key) {
            Some(v) => v.clone(),
            None => s.map.get(key).cloned(),
        })
    }

    /// The smallest entry in a range.
    pub fn next(&self, after: Bound<&[u8]>, end: Bound<&[u8]>) -> Result<Option<(Bytes, Bytes)>> {
        let s = lock(&self.state);
        Ok(merged(&s).range::<[u8], _>((after, end)).next().map(|(k, v)| (k.clone(), v.clone())))
    }

    /// The greatest entry in a range.
    pub fn prev(&self, start: Bound<&[u8]>, before: Bound<&[u8]>) -> Result<Option<(Bytes, Bytes)>> {
        let s = lock(&self.state);
        Ok(merged(&s).range::<[u8], _>((start, before)).next_back().map(|(k, v)| (k.clone(), v.clone())))
    }

    /// Up to `limit` entries whose keys begin with `prefix`, in order, behind the key `after`.
    pub fn scan_prefix(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>> {
        let s = lock(&self.state);
        let start = match after {
            Some(a) if a >= prefix => Bound::Excluded(a),
            _ => Bound::Included(prefix),
        };
        let all = merged(&s);
        let range = all.range::<[u8], _>((start, Bound::Unbounded));
        let wanted = range.take_while(|(k, _)| k.starts_with(prefix)).take(limit);
        Ok(wanted.map(|(k, v)| (k.clone(), v.clone())).collect())
    }

    fn writable(&self) -> Result<MutexGuard<'_, State>> {
        match self.access {
            Access::ReadWrite => Ok(lock(&self.state)),
            Access::ReadOnly => Err(Error::new(&self.target, ErrorKind::ReadOnly)),
        }
    }

    /// Stages a put.
    pub fn put(&self, key: &[u8], value: impl Into<Bytes>) -> Result<()> {
        self.writable()?.staged.insert(Bytes::copy_from_slice(key), Some(value.into()));
        Ok(())
    }

    /// Stages a delete; deleting what is not there is no error.
    pub fn delete(&self, key: &[u8]) -> Result<()> {
        self.writable()?.staged.insert(Bytes::copy_from_slice(key), None);
        Ok(())
    }

    /// Writes a payload now; it becomes part of the container when a value that holds its extent commits.
    pub fn write_payload(&self, data: &[u8]) -> Result<Extent> {
        let _s = self.writable()?;
        let mut c = lock(&self.container);
        let at = c.next;
        c.next += data.len() as u64;
        c.payloads.insert(at, Bytes::copy_from_slice(data));
        Ok(Extent::of(Place::file(at, data.len() as u64), data))
    }

    /// Reads a part of a payload, exactly `buf.len()` bytes from `offset` on.
    pub fn read_payload(&self, e: &Extent, offset: u64, buf: &mut [u8]) -> Result<()> {
        let c = lock(&self.container);
        let found = c.payloads.get(&e.place().offset).and_then(|p| {
            let from = usize::try_from(offset).ok()?;
            p.get(from..from.checked_add(buf.len())?)
        });
        match found {
            Some(part) => buf.copy_from_slice(part),
            None if buf.is_empty() => (),
            None => return Err(Error::invalid(&self.target, "the range is outside of the payload")),
        }
        Ok(())
    }

    /// Stages the return of a payload's space.
    pub fn free_payload(&self, e: &Extent) -> Result<()> {
        self.writable()?.freed.push(e.clone());
        Ok(())
    }

    /// Makes all staged changes one new version. Does nothing when nothing is staged.
    pub fn commit(&self) -> Result<u64> {
        let mut s = self.writable()?;
        if !s.staged.is_empty() || !s.freed.is_empty() {
            let mut c = lock(&self.container);
            c.map = Arc::new(merged(&s));
            c.version += 1;
            s.version = c.version;
            s.map = c.map.clone();
            s.staged.clear();
            s.freed.clear();
        }
        Ok(s.version)
    }

    /// Forgets all staged changes.
    pub fn rollback(&self) -> Result<()> {
        let mut s = self.writable()?;
        s.staged.clear();
        s.freed.clear();
        Ok(())
    }

    /// Moves a reader to the newest version; true if that is another one.
    pub fn refresh(&self) -> Result<bool> {
        let mut s = lock(&self.state);
        let c = lock(&self.container);
        let changed = s.version != c.version;
        s.version = c.version;
        s.map = c.map.clone();
        Ok(changed)
    }

    /// Bytes of keys and values that are staged.
    pub fn staged_bytes(&self) -> u64 {
        let s = lock(&self.state);
        s.staged.iter().map(|(k, v)| (k.len() + v.as_ref().map_or(0, Bytes::len)) as u64).sum()
    }

    /// Bytes that the container takes in its file or store.
    pub fn size(&self) -> Result<u64> {
        Ok(lock(&self.container).next)
    }

    /// What makes this container the same as another opened one.
    pub fn identity(&self) -> Identity {
        Identity { id: lock(&self.container).id, file: None, key: self.target.clone() }
    }

    /// Closes the handle; what is staged is forgotten.
    pub fn close(self) -> Result<()> {
        Ok(())
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if self.access == Access::ReadWrite {
            lock(&self.container).writer = false;
        }
    }
}

fn merged(s: &State) -> Map {
    let mut m = (*s.map).clone();
    for (k, v) in &s.staged {
        match v {
            Some(v) => drop(m.insert(k.clone(), v.clone())),
            None => drop(m.remove(k)),
        }
    }
    m
}
