//! Optional parts of a container besides its own data: chunks in a native file, and a branch. Both are added to
//! samples, and visited.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use h5lake_tools::verify::{Versions, verify};
use h5lake_container::{
    Access, CharSet, Container, CreationOrder, GroupSpec, LastLink, Layout, LinkTarget, ObjectId, OnConflict,
    Options, Resolution, Result, Run, Selection, Target, UNLIMITED,
};
use h5lake_ledger::{At, BranchName, Ledger, NotFollowed, Source, SourceOpener};
use object_stores::{Key, MemoryStore, ObjectStore, PutMode};

use crate::{sample, walk};

/// The place of the native file for a container in a file; the constant below is the one for a container in a store.
pub const FILE: &str = "n";
pub const URL: &str = "s3://b/n";
/// The maximum number of branches of one container that are visited.
const MAX_BRANCHES: usize = 2;
/// The maximum number of bytes of a native file that are copied.
const MAX_COPIED_BYTES: u64 = 1 << 20;

/// The content of the native file.
pub static NATIVE: LazyLock<Vec<u8>> = LazyLock::new(|| (0..4000_u32).map(|n| (n / 7) as u8).collect());

/// A source opener that finds the native file under every URL.
#[derive(Debug)]
struct AnyUrl;

impl SourceOpener for AnyUrl {
    fn open(&self, _url: &str) -> std::result::Result<(Arc<dyn ObjectStore>, Key), NotFollowed> {
        let failed = |why: String| NotFollowed { errno: None, why };
        let (store, key) = (MemoryStore::new(), Key::new(FILE).map_err(|e| failed(e.to_string()))?);
        let put = store.put(&key, NATIVE.clone().into(), PutMode::Overwrite);
        put.map_err(|e| failed(e.to_string()))?;
        Ok((Arc::new(store), key))
    }
}

/// Returns the options for opening containers that have native files.
pub fn options(at: Option<At>) -> Options {
    let source_opener: Option<Arc<dyn SourceOpener>> = Some(Arc::new(AnyUrl));
    let ledger = h5lake_ledger::Options { at, source_opener, ..Default::default() };
    Options { ledger, ..Options::default() }
}

fn ledger(target: &Target, access: Access) -> h5lake_ledger::Result<Ledger> {
    match target {
        Target::File(path) => Ledger::open_file(path, access, Default::default()),
        Target::Objects { store, key, .. } => {
            Ledger::open_objects(store.clone(), key, access, Default::default())
        }
    }
}

/// The time of the last change of the native file [`FILE`], since 1970. It is the same in each run, so that seeds fit the file.
pub const MODIFIED: Duration = Duration::from_secs(1_000_000_000);

/// Adds a source to a container that was made for sources, with a chunked dataset and a contiguous one in the source.
///
/// # Errors
/// Those of containers.
pub fn adopt(target: &Target, place: &str) -> Result<()> {
    let c = Container::open(target, Access::ReadWrite, options(None))?;
    let length = NATIVE.len() as u64;
    let found = AnyUrl.open(place).ok().and_then(|(store, key)| store.head(&key).ok()?.etag);
    let etag = found.filter(|_| place == URL).map(|etag| etag.to_string()).unwrap_or_default();
    let modified = if place == URL { 0 } else { MODIFIED.as_nanos() as u64 };
    let source = Source { place: place.into(), length, modified, etag };
    let number = c.add_source(&source)?;
    let chunked = sample::integers(&[40], &[UNLIMITED], Layout::Chunked { chunk: vec![10] });
    let line = sample::integers(&[300], &[300], Layout::Contiguous);
    for (name, spec) in [(b"foreign", chunked), (b"flowing", line)] {
        let object = c.create_dataset(spec)?;
        c.link_create(c.root(), name, LinkTarget::Hard(object.id()), CharSet::Ascii)?;
        let dataset = c.dataset_of(&object)?;
        if *dataset.layout() == Layout::Contiguous {
            dataset.refer_to_bytes(0, 1200, 100, &mut |at, n| c.extent_in_source(number, at, n, false))?;
            continue;
        }
        for n in 0..4 {
            let extent = c.extent_in_source(number, 1300 + 50 * n, 40, n % 2 == 1)?;
            dataset.refer_to_chunk(&[10 * n], 0, &extent)?;
        }
    }
    c.flush()
}

/// Adds a branch that changes one item of every kind, and concurrent changes in the main line.
///
/// # Errors
/// Those of containers.
pub fn branch(target: &Target) -> Result<()> {
    let main = ledger(target, Access::ReadWrite)?;
    let name = BranchName::new("fix").unwrap_or_else(|| unreachable!("it is a name"));
    main.create_branch(name, None)?;
    main.close()?;
    let b = Container::open(target, Access::ReadWrite, options(Some(At::Branch(name))))?;
    let group = b.create_group(GroupSpec { link_order: CreationOrder::default(), ..GroupSpec::default() })?;
    b.link_create(b.root(), b"new", LinkTarget::Hard(group.id()), CharSet::Ascii)?;
    b.link_delete(b.root(), b"k")?;
    change(&b, b"p", 5)?;
    change(&b, b"c", 6)?;
    if let Some(strings) = dataset(&b, b"s")? {
        let mut element = [0; 20];
        element[4..].copy_from_slice(&b.heap_put(strings.object().id(), b"of a branch")?);
        strings.write(&Selection::Runs(vec![Run { offset: 1, count: 1 }]), &element)?;
    }
    b.set_comment(group.id(), Some(b"of a branch"))?;
    b.flush()?;
    drop((group, b));
    let c = Container::open(target, Access::ReadWrite, options(None))?;
    change(&c, b"p", 7)?;
    c.set_comment(c.root(), Some(b"of the main line"))?;
    c.flush()
}

fn dataset(c: &Arc<Container>, path: &[u8]) -> Result<Option<Arc<h5lake_container::Dataset>>> {
    Ok(match c.resolve(c.root(), path, LastLink::Follow, 1)? {
        Resolution::Object { id } => Some(c.dataset(id)?),
        _ => None,
    })
}

fn change(c: &Arc<Container>, path: &[u8], at: u64) -> Result<()> {
    let Some(dataset) = dataset(c, path)? else { return Ok(()) };
    let offset = at.min(dataset.points()?.saturating_sub(1));
    dataset.write(&Selection::Runs(vec![Run { offset, count: 1 }]), &[9; 4])
}

/// Checks a container, copies the data that it refers to, and writes, merges and deletes its branches.
pub fn use_all(target: &Target) {
    let _ = verify(target, &options(None), Versions::Newest, &mut |_, _| ());
    let branches = ledger(target, Access::ReadOnly).and_then(|l| l.branches()).unwrap_or_default();
    for (n, branch) in branches.into_iter().take(MAX_BRANCHES).enumerate() {
        let shown = options(Some(At::Branch(branch.name)));
        if let Ok(b) = Container::open(target, Access::ReadWrite, shown) {
            let ids = walk::read(&b);
            ids.iter().take(4).for_each(|id| _ = b.set_comment(ObjectId(id.0), Some(b"changed")));
            let _ = b.flush();
        }
        let on_conflict = if n == 0 { OnConflict::Last } else { OnConflict::Fail };
        let _ = Container::merge_branch(target, branch.name, &Options { on_conflict, ..options(None) });
        let _ = Container::delete_branch(target, branch.name, &options(None));
    }
    if let Ok(c) = Container::open(target, Access::ReadWrite, options(None)) {
        let bytes: u64 = c.referenced().map_or(0, |all| all.values().map(|of| of.bytes).sum());
        if (1..=MAX_COPIED_BYTES).contains(&bytes) {
            let _ = c.materialize(&mut |_| ());
        }
    }
}
