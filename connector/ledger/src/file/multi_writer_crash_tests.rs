//! One of two writers dies at each of its writes, or its disk is full. The other writer continues, and no commit is lost or
//! incomplete.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::ErrorKind;
use crate::extent::Extent;
use crate::file::file_io::{FileIo, on_no_disk};
use crate::file::free_space::ReclaimRule;
use crate::file::locks::Locks;
use crate::file::log::{LoggedRecord, newest_slot, records};
use crate::file::resync::resyncing;
use crate::file::sim_file::{Fault, SimFile};
use crate::file::space_delta::SpaceDelta;
use crate::file::superblock::{FIXED, Fixed};
use crate::file::{FileStorage, lock};
use crate::ledger::Ledger;
use crate::locks::Mutex;
use crate::options::{Access, LockPolicy, Options, SyncPolicy, Writers};
use crate::storage::{Checkpoint, StorageCheckpoints, StoragePayloads, StorageReads};
use crate::work::{Chance, Map, content, data};

/// A writer's file that other writers use, too. It fails from a given write on.
#[derive(Debug)]
struct Mortal {
    file: SimFile,
    /// The number of writes that succeed; below zero the writer is dead.
    left: AtomicI64,
    /// True if half of the last write arrives.
    torn: bool,
}

impl Mortal {
    fn change(&self, data: Option<(&[u8], u64)>, whole: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match self.left.fetch_sub(1, Ordering::Relaxed) {
            1.. => whole(),
            0 => {
                if let Some((data, at)) = data.filter(|_| self.torn) {
                    self.file.write_at(&data[..data.len() / 2], at)?;
                }
                Err(io::Error::other("died"))
            }
            _ => Err(io::Error::other("dead")),
        }
    }
}

impl FileIo for Mortal {
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_at(buf, at)
    }

    fn write_at(&self, data: &[u8], at: u64) -> io::Result<()> {
        self.change(Some((data, at)), || self.file.write_at(data, at))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(None, || self.file.set_len(len))
    }

    fn available(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    on_no_disk!();

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

/// Opens `file` as a concurrent writer, with locks on another file that stands for it.
fn open(file: &SimFile, locks_on: &Path, left: i64, torn: bool) -> Ledger {
    let options = Options { writers: Writers::Many, checkpoint_bytes: 1200, ..Options::default() };
    open_with(file, locks_on, Arc::new(Mortal { file: file.clone(), left: left.into(), torn }), options)
}

fn open_with(file: &SimFile, locks_on: &Path, raw: Arc<dyn FileIo>, options: Options) -> Ledger {
    let storage = storage_with(file, locks_on, raw, options.clone());
    Ledger::start(Box::new(storage), Access::ReadWrite, &options).unwrap()
}

fn storage_with(file: &SimFile, locks_on: &Path, raw: Arc<dyn FileIo>, options: Options) -> FileStorage {
    let mut head = [0; FIXED];
    file.read_at(&mut head, 0).unwrap();
    let fixed = Fixed::decode(&head, "fake").unwrap();
    let beside = Arc::new(File::options().read(true).write(true).open(locks_on).unwrap());
    let locks = Locks::writer(&beside, LockPolicy::Required, Writers::Many, "fake").unwrap().unwrap();
    let storage = FileStorage {
        target: "fake".into(),
        raw,
        fixed,
        file: None,
        locks: Mutex::new(locks),
        lock_policy: LockPolicy::Required,
        handle: Mutex::new(Some(beside)),
        opener: std::process::id().into(),
        writer: Some(Mutex::default()),
        rule: ReclaimRule { least: 0, courtesy: 0 },
        options,
        seen: Mutex::default(),
        known: Mutex::default(),
        clock: Default::default(),
        tagged: None,
        journal: Default::default(),
        earlier_end: None,
        gone: Default::default(),
    };
    assert!(lock(&storage.seen).is_none());
    storage
}

/// Stages the changes of one commit under the writer's own keys.
fn stage(l: &Ledger, writer: &str, n: u64, model: &mut Map) -> Result<(), crate::Error> {
    for k in 0..3 {
        let key = format!("{writer}{}", (n + k) % 5).into_bytes();
        if let Some(old) = l.get(&key)?
            && old[0] == 1
        {
            l.free_payload(&Extent::decode(&old[1..])?.0)?;
        }
        let bytes = data(n * 3 + k, [20, 700, 3000, 40_000][((n + k) % 4) as usize]);
        let mut v = vec![u8::from(bytes.len() > 300)];
        match v[0] {
            0 => v.extend_from_slice(&bytes),
            _ => l.write_payload(&bytes)?.encode(&mut v),
        }
        l.put(&key, v)?;
        model.insert(key, bytes);
    }
    Ok(())
}

const ROUNDS: u64 = 10;

/// Runs both writers, one after the other. Returns the expected content with and without the commit during which the first
/// one died.
fn scenario(file: &SimFile, locks_on: &Path, left: i64, torn: bool) -> (Map, Map, i64) {
    let mut first = Some(open(file, locks_on, i64::MAX, false));
    // Its writes are counted from here.
    first = first.map(|l| {
        drop(l);
        open(file, locks_on, left, torn)
    });
    let second = open(file, locks_on, i64::MAX, false);
    let (mut sure, mut maybe) = (Map::new(), Map::new());
    for n in 0..ROUNDS {
        if let Some(l) = &first {
            let mut model = sure.clone();
            match stage(l, "a", n, &mut model).and_then(|()| l.commit()) {
                Ok(_) => (sure, maybe) = (model.clone(), model),
                Err(_) => {
                    maybe = model;
                    first = None;
                }
            }
        }
        let (mut b, mut c) = (sure.clone(), maybe.clone());
        stage(&second, "b", n, &mut b).unwrap();
        second.commit().unwrap_or_else(|e| panic!("after a death at {left}: {e}"));
        c.extend(b.iter().filter(|(k, _)| k[0] == b'b').map(|(k, v)| (k.clone(), v.clone())));
        (sure, maybe) = (b, c);
    }
    (sure, maybe, first.map_or(0, |_| 1))
}

#[test]
fn a_writer_that_dies_at_any_write_blocks_no_other_writer() {
    let locks_on = tempfile::NamedTempFile::new().unwrap();
    let mut deaths = 0;
    for left in 0.. {
        let mut lived = 0;
        for torn in [false, true] {
            let file = SimFile::container();
            let (sure, maybe, alive) = scenario(&file, locks_on.path(), left, torn);
            lived += alive;
            let what = format!("death at write {left}, torn: {torn}");
            let r = file.open(Access::ReadOnly, &Options::default()).unwrap();
            let found = content(&r).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(found == sure || found == maybe, "{what}: other content");
            // An exclusive writer continues, and finds the free space consistent.
            let alone = file.open(Access::ReadWrite, &Options::default()).unwrap();
            let mut model = found;
            for n in 0..3 {
                stage(&alone, "c", n, &mut model).unwrap();
                alone.commit().unwrap_or_else(|e| panic!("{what}, going on: {e}"));
            }
            alone.vacuum().unwrap_or_else(|e| panic!("{what}, tidying: {e}"));
            assert!(content(&alone).unwrap() == model, "{what}: other content after going on");
        }
        if lived == 2 {
            break;
        }
        deaths += 1;
    }
    assert!(deaths > 30, "{deaths} deaths are too few to prove much");
}

/// After the sync of a slot has failed, other writers can read that slot. So its record must stay unchanged, whatever its writer attempts
/// next.
#[test]
fn a_slot_with_a_failed_sync_is_not_overwritten() {
    for by_numbers in [false, true] {
        for failing in 1..6 {
            let file = SimFile::container();
            let locks_on = tempfile::NamedTempFile::new().unwrap();
            let options = Options { writers: Writers::Many, sync: SyncPolicy::Commit, ..Options::default() };
            let raw = || resyncing(Arc::new(file.clone()), options.sync, options.writers);
            let l = open_with(&file, locks_on.path(), raw(), options.clone());
            let mut model = Map::new();
            stage(&l, "a", 1, &mut model).unwrap();
            l.commit().unwrap();
            file.fail_syncs(failing, u64::MAX, false);
            let (mut failed, mut staged) = (0, model.clone());
            for n in 2..8 {
                let numbers = if by_numbers { l.take_numbers(b"numbers", 1, 0).map(drop) } else { Ok(()) };
                let done = numbers.and_then(|()| stage(&l, "a", n, &mut staged)).and_then(|()| l.commit());
                match done {
                    Ok(_) => model = staged.clone(),
                    Err(e) => {
                        assert!(matches!(e.kind(), ErrorKind::Broken { .. }), "{e}");
                        failed += 1;
                    }
                }
            }
            assert!(failed > 2, "{failed} with sync {failing}");
            drop(l);
            file.fail_syncs(1, 0, false);
            // The next writer, and a reader after it, find all acknowledged data.
            let next = open_with(&file, locks_on.path(), raw(), options);
            next.put(b"next", "1").unwrap();
            next.commit().unwrap();
            let found = content(&next).unwrap();
            assert!(model.keys().all(|key| found.contains_key(key)), "with sync {failing}");
            let reader = file.open(Access::ReadOnly, &Options::default()).unwrap();
            assert!(content(&reader).unwrap() == found);
        }
    }
}

/// A concurrent writer that syncs reads a commit of another writer that was not synced. It must not reuse the space that
/// this commit freed.
#[test]
fn a_syncing_writer_does_not_reuse_space_freed_by_an_unsynced_remote_commit() {
    let file = SimFile::container();
    let locks_on = tempfile::NamedTempFile::new().unwrap();
    let open = |sync| {
        let options = Options { writers: Writers::Many, sync, ..Options::default() };
        let raw = resyncing(Arc::new(file.clone()), sync, Writers::Many);
        open_with(&file, locks_on.path(), raw, options)
    };
    let sectors = || {
        let mut sectors = 0;
        file.after_power_loss(|| {
            sectors += 1;
            false
        });
        sectors
    };
    let first = open(SyncPolicy::Commit);
    let old = first.write_payload(&data(1, 300_000)).unwrap();
    first.put(b"k", [&[1], &old.to_bytes()[..]].concat()).unwrap();
    first.commit().unwrap();
    let second = open(SyncPolicy::Process);
    second.free_payload(&old).unwrap();
    second.put(b"k", [&[0], &data(2, 20)[..]].concat()).unwrap();
    second.commit().unwrap();
    drop(second);
    (0..2).for_each(|_| drop(first.advance(&|_| false).unwrap()));
    let mut earlier_sectors = sectors();
    first.write_payload(&data(3, 300_000)).unwrap();
    // Only the payload of the unsynced changes arrives.
    let left = file.after_power_loss(|| {
        earlier_sectors -= 1;
        earlier_sectors < 0
    });
    let left = SimFile::of(left).open(Access::ReadOnly, &Options::default()).unwrap();
    let value = [data(1, 300_000), data(2, 20)][left.version() as usize - 1].clone();
    assert_eq!(content(&left).unwrap(), Map::from([(b"k".to_vec(), value)]));
    // The commit makes the version durable, though this writer staged nothing itself.
    assert_eq!(first.commit().unwrap(), 2);
    let left = SimFile::of(file.after_power_loss(|| false));
    assert_eq!(left.open(Access::ReadOnly, &Options::default()).unwrap().version(), 2);
}

/// Records of other writers are applied completely or not at all: if reading them fails in between, the earlier state is
/// restored, and the next attempt reads them again.
#[test]
fn a_failed_read_of_remote_commits_is_repeated() {
    let file = SimFile::container();
    let locks_on = tempfile::NamedTempFile::new().unwrap();
    let options = Options { writers: Writers::Many, ..Options::default() };
    let first = storage_with(&file, locks_on.path(), Arc::new(file.clone()), options);
    first.poll_commits(u64::MAX).unwrap().unwrap();
    first.with_writer(|w, raw, _| w.load(raw).map(drop)).unwrap();
    let second = open(&file, locks_on.path(), i64::MAX, false);
    for n in 0..3 {
        second.put(b"k", second.write_payload(&data(n, 20_000)).unwrap().to_bytes()).unwrap();
        second.commit().unwrap();
    }
    let slot = newest_slot(&file, "fake").unwrap();
    let records = records(&file, &slot, slot.base_version, "fake").unwrap();
    let used = |l: &LoggedRecord| SpaceDelta::decode(&l.record.notes).unwrap().used;
    // The runs that the second record allocates are already in use, as far as the first writer knows.
    let spoilt = used(&records[1])[0];
    let spoil = first.with_writer(|w, raw, _| Ok(w.load(raw)?.replay_use(spoilt.0, spoilt.1)));
    spoil.unwrap().unwrap();
    let e = first.poll_commits(u64::MAX).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::Corrupt { .. }), "{e}");
    let commits = first.poll_commits(u64::MAX).unwrap().unwrap();
    assert_eq!((commits.version, commits.records.len()), (3, 3));
    for (offset, length) in records.iter().flat_map(used) {
        let is_in_use = first.with_writer(|w, raw, _| Ok(w.load(raw)?.in_use(offset, length)));
        assert!(is_in_use.unwrap(), "another's payload at {offset} counts as free");
    }
}

/// On a full disk a checkpoint releases reserved space without blocks, and reads the free list again. The records that it
/// contains are replayed then, too, because they say which space is in use.
#[test]
fn the_free_list_of_a_checkpoint_on_a_full_disk_has_no_used_space() {
    let file = SimFile::container();
    file.be_sparse();
    let locks_on = tempfile::NamedTempFile::new().unwrap();
    let shared = || {
        let options = Options { writers: Writers::Many, ..Options::default() };
        let storage = storage_with(&file, locks_on.path(), Arc::new(file.clone()), options);
        storage.poll_commits(u64::MAX).unwrap().unwrap();
        storage
    };
    let first = shared();
    let second = open(&file, locks_on.path(), i64::MAX, false);
    for n in 0..3 {
        second.put(b"k", second.write_payload(&data(n, 20_000)).unwrap().to_bytes()).unwrap();
        second.commit().unwrap();
    }
    first.poll_commits(u64::MAX).unwrap().unwrap();
    // The writer reserves more than it writes, and the remaining reservation has no blocks.
    first.write_payload(&data(9, 100), 0, &mut |_| {}).unwrap();
    first
        .with_writer(|w, _, _| {
            w.growth.is_full = true;
            Ok(())
        })
        .unwrap();
    assert!(first.begin_checkpoint());
    first.checkpoint_commit(Checkpoint { version: 3, root: None }).unwrap();
    let slot = newest_slot(&file, "fake").unwrap();
    assert_eq!(slot.base_version, 3);
    let third = shared();
    for logged in records(&file, &slot, 0, "fake").unwrap() {
        for (offset, length) in SpaceDelta::decode(&logged.record.notes).unwrap().used {
            let is_in_use = third.with_writer(|w, raw, _| Ok(w.load(raw)?.in_use(offset, length)));
            assert!(is_in_use.unwrap(), "a payload at {offset} counts as free");
        }
    }
}

/// On a full disk a checkpoint releases reserved space, and reads the free list again. The records that it contains are
/// replayed then, too, because they say which space is in use.
#[test]
fn a_checkpoint_after_a_full_disk_knows_the_used_space() {
    for seed in 0..6 {
        let (file, mut c) = (SimFile::container(), Chance::new(seed));
        file.be_sparse();
        let locks_on = tempfile::NamedTempFile::new().unwrap();
        let options = Options { writers: Writers::Many, checkpoint_bytes: 30_000, ..Options::default() };
        let [first, second] =
            [0, 1].map(|_| open_with(&file, locks_on.path(), Arc::new(file.clone()), options.clone()));
        for n in 0..60 {
            let what = format!("seed {seed}, step {n}");
            if c.below(4) == 0 {
                file.fail_at(1 + c.below(3), Fault::Full);
            }
            first.put(&[c.below(6) as u8], data(n, 9_000)).unwrap();
            if let Err(e) = first.commit() {
                assert!(matches!(e.kind(), ErrorKind::NoSpace { errno: 28 }), "{what}: {e}");
                first.rollback().unwrap();
            }
            file.revive();
            second.advance(&|_| true).unwrap_or_else(|e| panic!("{what}: {e}"));
            // This reads the free list.
            let extent = second.write_payload(&data(n, 5_000)).unwrap_or_else(|e| panic!("{what}: {e}"));
            second.put(b"second", extent.to_bytes()).unwrap();
            second.commit().unwrap_or_else(|e| panic!("{what}: {e}"));
            first.advance(&|_| true).unwrap_or_else(|e| panic!("{what}: {e}"));
            let mut read = vec![0; 5_000];
            first.read_payload(&extent, 0, &mut read).unwrap();
            assert!(read == data(n, 5_000), "{what}");
        }
    }
}
