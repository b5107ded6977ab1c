//! Copies that are abandoned leave a journal, and the next attempt adopts the data that was copied already.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use common::hooked::{Hooked, When};
use h5lake_ledger::{
    Access, EarlierTry, Error, ErrorKind, Extent, Ledger, Options, Origin, Probe, WholeCopy,
};
use object_stores::{
    Condition, DirStore, FaultStore, Key, MemoryStore, ObjectStore, ObjectStoreExt, Rule, Select, Timing, dir,
};

const PAYLOAD: usize = 70_000;

fn options() -> Options {
    Options { journal_bytes: 3 * PAYLOAD as u64, ..Options::default() }
}

fn origin(version: u64) -> Origin {
    Origin { id: [7; 16], version, time: 1 << 50, host: "node".into(), pid: 7 }
}

/// The destination of a copy.
enum To {
    File(PathBuf),
    Objects(Arc<dyn ObjectStore>),
}

type Fill<'a> = &'a mut dyn FnMut(&Ledger, EarlierTry) -> Result<(), Error>;

impl To {
    fn copy(&self, of: &Origin, fill: Fill<'_>) -> Result<WholeCopy, Error> {
        match self {
            Self::File(path) => Ledger::create_copy_file(path, options(), of, fill),
            Self::Objects(store) => Ledger::create_copy_objects(store.clone(), "c", options(), of, fill),
        }
    }

    fn probe(&self) -> Probe {
        match self {
            Self::File(path) => Ledger::probe_file(path).unwrap(),
            Self::Objects(store) => Ledger::probe_objects(store.as_ref(), "c").unwrap(),
        }
    }

    fn open(&self) -> Ledger {
        match self {
            Self::File(path) => Ledger::open_file(path, Access::ReadOnly, options()).unwrap(),
            Self::Objects(store) => {
                Ledger::open_objects(store.clone(), "c", Access::ReadOnly, options()).unwrap()
            }
        }
    }

    /// Returns the names of all files or objects except the container's own.
    fn beside(&self) -> Vec<String> {
        match self {
            Self::File(path) => std::fs::read_dir(path.parent().unwrap())
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name != "c")
                .collect(),
            Self::Objects(store) => {
                let all = store.list("", None).map(|meta| meta.unwrap().key.to_string());
                all.filter(|key| key.contains("/copy/")).collect()
            }
        }
    }
}

fn directory(path: &Path) -> Arc<dyn ObjectStore> {
    Arc::new(DirStore::open(path, dir::Sync::Process).unwrap())
}

fn both() -> (tempfile::TempDir, [To; 2]) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("folder")).unwrap();
    let file = To::File(dir.path().join("folder/c"));
    let store = To::Objects(directory(&dir.path().join("store")));
    (dir, [file, store])
}

fn data(n: u8) -> Vec<u8> {
    (0..PAYLOAD).map(|i| (i as u8).wrapping_mul(31).wrapping_add(n)).collect()
}

/// Puts payloads under the keys from `from` to `to`.
fn put(l: &Ledger, from: u8, to: u8) -> Result<(), Error> {
    for n in from..to {
        let value = l.write_payload(&data(n))?.to_bytes();
        l.put(&[n], value.clone())?;
        l.note_copied(&[n], &value, PAYLOAD as u64)?;
    }
    Ok(())
}

fn failure() -> Error {
    Extent::decode(&[]).unwrap_err()
}

/// Abandons a copy after 20 payloads.
fn give_up(to: &To, of: &Origin) {
    let given_up = to.copy(of, &mut |l, _| put(l, 0, 20).and_then(|()| Err(failure())));
    assert!(matches!(given_up.unwrap_err().kind(), ErrorKind::Corrupt { .. }));
    assert_eq!(to.probe(), Probe::NotFound);
}

fn taken_over(l: &Ledger, values: &BTreeMap<Bytes, Bytes>) -> Result<u8, Error> {
    for (key, value) in values {
        assert!(l.adopt_payload(&Extent::decode(value).unwrap().0)?);
        l.put(key, value.clone())?;
    }
    // The keys are in order, without a gap.
    Ok(values.len() as u8)
}

fn check(to: &To, count: u8) {
    check_content(to, count);
    assert!(to.beside().is_empty(), "{:?}", to.beside());
}

fn check_content(to: &To, count: u8) {
    let l = to.open();
    for n in 0..count {
        let e = Extent::decode(&l.get(&[n]).unwrap().unwrap()).unwrap().0;
        let mut bytes = vec![0; PAYLOAD];
        l.read_payload(&e, 0, &mut bytes).unwrap();
        assert!(bytes == data(n), "{n}");
    }
}

#[test]
fn a_copy_continues_from_its_journal() {
    let (_dir, places) = both();
    for to in &places {
        give_up(to, &origin(3));
        assert!(!to.beside().is_empty());
        let mut had = 0;
        let made = to.copy(&origin(3), &mut |l, earlier| {
            let EarlierTry::Continues(values) = earlier else { panic!("{earlier:?}") };
            had = taken_over(l, &values)?;
            // No payload is adopted twice.
            let first = Extent::decode(&values[&Bytes::from_static(&[0])]).unwrap().0;
            assert!(!l.adopt_payload(&first)?);
            put(l, had, 24)
        });
        let made = made.unwrap();
        assert!(!made.was_whole && (15..=20).contains(&had), "{had}");
        made.ledger.close().unwrap();
        check(to, 24);
    }
}

#[test]
fn another_origin_finds_nothing() {
    let (_dir, places) = both();
    for to in &places {
        give_up(to, &origin(3));
        let made = to.copy(&origin(4), &mut |l, earlier| {
            assert!(matches!(earlier, EarlierTry::Discarded(_)), "{earlier:?}");
            put(l, 0, 24)
        });
        made.unwrap().ledger.close().unwrap();
        check(to, 24);
    }
}

/// A short copy leaves nothing, and neither does a copy with a journal that lists no payloads.
#[test]
fn without_a_part_nothing_stays() {
    let (_dir, places) = both();
    for to in &places {
        let none = |to: &To| match to {
            To::File(_) => to.beside().is_empty(),
            // The head object says that no container exists.
            To::Objects(store) => store.list("", None).all(|meta| meta.unwrap().key.as_str() == "c"),
        };
        to.copy(&origin(3), &mut |l, _| put(l, 0, 2).and_then(|()| Err(failure()))).unwrap_err();
        assert!(none(to));
        let made = to.copy(&origin(3), &mut |l, earlier| {
            assert!(matches!(earlier, EarlierTry::None));
            put(l, 0, 2)
        });
        made.unwrap().ledger.close().unwrap();
        check(to, 2);
    }
}

/// The small payloads of a copy are retained when the commit of the copy is checkpointed at once and the journal is deleted.
#[test]
fn small_payloads_of_a_copy_stay_when_its_commit_is_checkpointed() {
    let small = |n: u8| vec![n; 20_000];
    let fill = |l: &Ledger, from: u8| {
        let put = |n: u8| l.put(&[100 + n], l.write_payload(&small(n))?.to_bytes());
        (0..5).try_for_each(put).and_then(|()| self::put(l, from, 20))
    };
    let opts = || Options { checkpoint_bytes: 0, ..options() };
    for tries in [0, 1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let store = directory(dir.path());
        let to = To::Objects(store.clone());
        (0..tries).for_each(|_| give_up(&to, &origin(1)));
        let fill = |l: &Ledger, earlier| match earlier {
            EarlierTry::Continues(values) => fill(l, taken_over(l, &values)?),
            _ => fill(l, 0),
        };
        Ledger::create_copy_objects(store, "c", opts(), &origin(1), fill).unwrap().ledger.close().unwrap();
        assert_eq!(to.beside(), Vec::<String>::new(), "{tries}");
        check(&to, 20);
        let l = to.open();
        for n in 0..5 {
            let e = Extent::decode(&l.get(&[100 + n]).unwrap().unwrap()).unwrap().0;
            let mut found = vec![0; 20_000];
            l.read_payload(&e, 0, &mut found).unwrap();
            assert_eq!(found, small(n), "{tries}");
        }
    }
}

/// The outcome of a copy's swap is unknown. If the swap did not take effect, the copy is not visible, and the next
/// attempt completes it.
#[test]
fn a_copy_with_an_unknown_outcome_is_continued_by_the_next_attempt() {
    for timing in [Timing::Before, Timing::After] {
        let dir = tempfile::tempdir().unwrap();
        let store = directory(dir.path());
        let faulty = FaultStore::new(store.clone());
        let (faults, kind) = (faulty.clone(), object_stores::ErrorKind::Timeout);
        let is_filled = Arc::new(AtomicBool::new(false));
        let is_last = is_filled.clone();
        let hook = move |when: When, key: &Key| {
            if when == When::BeforePut && key.as_str() == "c" && is_last.load(Ordering::Relaxed) {
                faults.inject(Rule::fail_nth(Select::Mutating, 0, timing, kind));
                faults.inject(Rule::fail_nth(Select::Reading, 0, Timing::Before, kind));
            }
        };
        let to = To::Objects(Arc::new(Hooked { inner: Arc::new(faulty.clone()), hook: Box::new(hook) }));
        let doubtful = to.copy(&origin(1), &mut |l, _| {
            put(l, 0, 20)?;
            is_filled.store(true, Ordering::Relaxed);
            Ok(())
        });
        assert!(matches!(doubtful.unwrap_err().kind(), ErrorKind::Store { .. }), "{timing:?}");
        faulty.clear();
        let to = To::Objects(store.clone());
        if timing == Timing::After {
            let again = to.copy(&origin(1), &mut |l, _| put(l, 0, 20));
            assert_eq!(*again.unwrap_err().kind(), ErrorKind::AlreadyExists);
            let l = Ledger::open_objects(store, "c", Access::ReadWrite, options()).unwrap();
            l.vacuum().unwrap();
            l.close().unwrap();
            check(&to, 20);
            continue;
        }
        assert_eq!(to.probe(), Probe::NotFound, "{timing:?}");
        let made = to.copy(&origin(1), &mut |l, earlier| match earlier {
            EarlierTry::Continues(values) => put(l, taken_over(l, &values)?, 20),
            _ => put(l, 0, 20),
        });
        let made = made.unwrap();
        assert!(!made.was_whole);
        made.ledger.close().unwrap();
        check(&to, 20);
        assert_eq!(to.beside(), Vec::<String>::new());
    }
}

/// A store in memory ends with its process, so a failed copy leaves nothing there.
#[test]
fn nothing_stays_in_memory() {
    let store = Arc::new(MemoryStore::new());
    give_up(&To::Objects(store.clone()), &origin(3));
    let left: Vec<_> = store.list("", None).map(|meta| meta.unwrap().key.to_string()).collect();
    assert_eq!(left, ["c"], "the head says that nothing is there");
}

/// OpenStack Swift has no conditional puts.
#[test]
fn stores_without_conditional_creation_continue_too() {
    let dir = tempfile::tempdir().unwrap();
    let store = common::without_conditions(FaultStore::new(directory(dir.path())));
    assert!(!store.honours(Condition::Create));
    let to = To::Objects(Arc::new(store));
    give_up(&to, &origin(3));
    let mut had = 0;
    let made = to.copy(&origin(3), &mut |l, earlier| {
        let EarlierTry::Continues(values) = earlier else { panic!("{earlier:?}") };
        had = taken_over(l, &values)?;
        put(l, had, 24)
    });
    made.unwrap().ledger.close().unwrap();
    assert!(had >= 15, "{had}");
    check(&to, 24);
}

/// A creator of another container of that name removes the data that a copy left.
#[test]
fn another_creator_removes_the_files_of_an_unfinished_copy() {
    let (_dir, [to, _]) = both();
    give_up(&to, &origin(3));
    let To::File(path) = &to else { panic!() };
    let l = Ledger::create_file(path, h5lake_ledger::Replace::Fail, Options::default()).unwrap();
    l.close().unwrap();
    assert!(to.beside().is_empty());
}

/// A complete copy with a remaining journal header was deleted, and is retained since. A process that was restoring it died midway, so that
/// the manifest lists the copy.
#[test]
fn a_retained_container_is_no_unfinished_copy() {
    let dir = tempfile::tempdir().unwrap();
    let store = directory(dir.path());
    let to = To::Objects(store.clone());
    give_up(&to, &origin(3));
    let header = to.beside().into_iter().find(|key| key.ends_with("/copy/header")).unwrap();
    let header = object_stores::Key::new(header).unwrap();
    let kept = store.get_whole_opt(&header, 1 << 20).unwrap().unwrap().bytes;
    let made = to.copy(&origin(3), &mut |l, earlier| {
        let EarlierTry::Continues(values) = earlier else { panic!("{earlier:?}") };
        let had = taken_over(l, &values)?;
        put(l, had, 24)
    });
    let first = made.unwrap();
    let id = first.ledger.identity().id;
    first.ledger.close().unwrap();
    let again = Ledger::open_objects(store.clone(), "c", Access::ReadWrite, options()).unwrap();
    again.put(b"later", "1").unwrap();
    again.commit().unwrap();
    again.close().unwrap();
    Ledger::remove_objects(&store, "c").unwrap();
    store.put(&header, kept.into(), object_stores::PutMode::Overwrite).unwrap();
    let faulty = FaultStore::new(store.clone());
    faulty.crash_at(2, Timing::Before);
    let dies: Arc<dyn ObjectStore> = Arc::new(faulty);
    Ledger::restore_objects(&dies, "c", "").unwrap_err();
    let holder = Ledger::lock_holder(store.as_ref(), "c").unwrap().unwrap();
    Ledger::break_lock(store.as_ref(), "c", &holder).unwrap();
    let made = to.copy(&origin(3), &mut |l, earlier| {
        assert!(matches!(earlier, EarlierTry::None), "{earlier:?}");
        put(l, 0, 24)
    });
    let made = made.unwrap();
    assert!(!made.was_whole);
    made.ledger.close().unwrap();
    check_content(&to, 24);
    let [replaced] = &Ledger::replaced_objects(store.as_ref(), "c").unwrap()[..] else {
        panic!("one is kept")
    };
    assert_eq!(replaced.id, hex(&id));
    Ledger::restore_objects(&store, "c", &hex(&id)).unwrap();
    let l = to.open();
    assert_eq!(l.get(b"later").unwrap().unwrap(), "1");
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A user who may put files into the folder could have made the existing file, and could still write to it.
#[test]
fn a_file_that_another_user_may_have_created_is_not_continued() {
    use std::os::unix::fs::{MetadataExt, chown};

    type Spoil = fn(&Path);
    let linked: Spoil = |path| std::fs::hard_link(path, path.with_extension("link")).unwrap();
    let owned_by_another: Spoil = |path| {
        // Only root can change the owner of a file.
        let _stays_own = chown(path, Some(65_534), None);
    };
    for (spoil, of) in
        [(linked, "new"), (linked, "copy"), (owned_by_another, "new"), (owned_by_another, "copy")]
    {
        let dir = tempfile::tempdir().unwrap();
        let to = To::File(dir.path().join("c"));
        give_up(&to, &origin(3));
        let left = dir.path().join(format!(".c.h5lake-{of}"));
        spoil(&left);
        let meta = left.metadata().unwrap();
        let is_own = meta.uid() == dir.path().metadata().unwrap().uid() && meta.nlink() == 1;
        let mut was_taken = false;
        let copied = to.copy(&origin(3), &mut |l, earlier| {
            was_taken = matches!(earlier, EarlierTry::Continues(_));
            put(l, 0, 20)
        });
        let copied = copied.unwrap();
        assert_eq!(was_taken, is_own, "{of}");
        copied.ledger.close().unwrap();
        let made = dir.path().join("c").metadata().unwrap();
        assert_eq!((made.uid(), made.nlink()), (dir.path().metadata().unwrap().uid(), 1));
    }
}
