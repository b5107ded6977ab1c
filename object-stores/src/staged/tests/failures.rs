//! A store that fails, loses answers, or was changed by another writer.

use super::*;

/// Makes the puts of a small container, and returns the number of changes.
fn work(store: &StagedStore) -> Result<u32> {
    let etag = put(store, "head/x", "0", PutMode::Create)?.unwrap();
    commit(store, Some(etag))?;
    Ok(11)
}

/// Makes the puts that follow the first head.
fn commit(store: &StagedStore, mut etag: Option<Etag>) -> Result<()> {
    for n in 1..=3u32 {
        put(store, &format!("pack/{n}"), &format!("pack {n}"), PutMode::Overwrite)?;
        put(store, &format!("note/{n}"), &format!("note {n}"), PutMode::Overwrite)?;
        etag = put(store, "head/x", &n.to_string(), PutMode::Update(etag.unwrap()))?;
    }
    store.delete(&key("pack/1"))
}

fn is_whole(store: &dyn ObjectStore) -> bool {
    let at = |at: &str| read(store, at).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (1..=3).all(|n| at(&format!("note/{n}")) == Some(format!("note {n}")))
        && (2..=3).all(|n| at(&format!("pack/{n}")) == Some(format!("pack {n}")))
        && at("pack/1").is_none()
        && at("head/x").as_deref() == Some("3")
}

/// Whichever request is refused or loses its answer, once or twice: all later operations arrive, and no object is
/// mistaken for another writer's.
#[test]
fn lost_answers_only_cost_time() {
    for nth in 1..11 {
        for timing in Timing::ALL {
            for times in 1..=2 {
                let gate = Gate::new();
                let fault = Fault::Fail(timing, ErrorKind::Timeout);
                gate.faults.inject(Rule { select: Select::Mutating, skip: nth, times, fault });
                let store = gate.staged();
                work(&store).unwrap();
                store.drain().unwrap();
                assert!(is_whole(&*gate.memory), "request {nth}, {timing:?}, {times} times");
            }
        }
    }
}

/// A process that dies at any request leaves a consistent prefix, and the next process uploads the remaining
/// operations.
#[test]
fn pending_uploads_are_resumed_after_a_crash() {
    for nth in 1..11 {
        for timing in Timing::ALL {
            let gate = Gate::new();
            gate.faults.crash_at(nth, timing);
            let store = gate.staged();
            work(&store).unwrap();
            while !gate.faults.is_crashed() {
                std::thread::sleep(Duration::from_millis(1));
            }
            die(store);
            let head: u32 =
                String::from_utf8(gate.there("head/x").unwrap().to_vec()).unwrap().parse().unwrap();
            assert!((1..=head).all(|n| gate.there(&format!("note/{n}")).is_some()));
            gate.open();
            let next = gate.staged();
            assert!(next.has_leftovers().unwrap());
            next.recover(&|_| Ok(None)).unwrap().into_iter().for_each(Brought::remove);
            assert!(is_whole(&*gate.memory), "died at request {nth}, {timing:?}");
            assert!(!next.has_leftovers().unwrap());
            drop(next);
            assert!(gate.folders().is_empty(), "{:?}", gate.folders());
        }
    }
}

/// The record of the arrivals may be outdated by any number of operations: all of them are uploaded again, and no
/// object is mistaken for another writer's.
#[test]
fn uploads_can_be_repeated() {
    let copy = |from: &Path, to: &Path| {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    for nth in 0..=10 {
        let gate = Gate::new();
        let store = gate.staged();
        let etag = put(&store, "head/x", "0", PutMode::Create).unwrap();
        let gate = gate.shut();
        commit(&store, etag).unwrap();
        let (path, kept) = (die(store), tempfile::tempdir().unwrap());
        copy(&path, kept.path());
        gate.open();
        gate.faults.crash_at(nth, Timing::After);
        let drain = |within| {
            let (path, about) = leftovers(gate.dir.path(), None).unwrap().pop().unwrap();
            Leftover::open(&path, about).unwrap().unwrap().drain(gate.store.clone(), within, &|_| Ok(None))
        };
        let first = drain(Duration::from_millis(100));
        assert_eq!(first.is_ok(), nth == 10, "request {nth}");
        drop(first);
        await_end(&path);
        gate.open();
        let _some_is_left = fs::remove_dir_all(&path);
        copy(kept.path(), &path);
        drain(Duration::from_secs(5)).unwrap().remove();
        assert!(is_whole(&*gate.memory), "request {nth}");
    }
}

/// Another writer has committed: the refused head and all later operations stay staged, every call reports the
/// conflict, and no object of the other writer is lost.
#[test]
fn a_conflict_is_reported_and_keeps_pending_uploads() {
    for theirs in ["theirs", "2", "1, and more"] {
        let gate = Gate::new();
        let store = gate.staged();
        let etag = overwrite(&store, "head/x", "0").unwrap();
        let gate = gate.shut();
        overwrite(&store, "note/1", "note 1");
        let first = put(&store, "head/x", "1", PutMode::Update(etag)).unwrap().unwrap();
        overwrite(&store, "pack/late", "x");
        put(&store, "head/x", "3", PutMode::Update(first)).unwrap();
        overwrite(&*gate.memory, "head/x", theirs);
        gate.open();
        let error = store.drain().unwrap_err();
        let text = error.to_string();
        assert_eq!(error.kind(), ErrorKind::StageBroken, "{text}");
        let folder = store.queue.folder.path().display().to_string();
        for part in ["another writer", "head/x", "h5lake drain", &folder] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(gate.there("head/x").unwrap(), theirs);
        assert_eq!(gate.there("note/1").unwrap(), "note 1", "what came before has arrived");
        assert_eq!(gate.there("pack/late"), None, "what comes after has not");
        for again in [
            put(&store, "pack/b", "x", PutMode::Overwrite).map(drop),
            store.delete(&key("pack/c")),
            store.drain(),
        ] {
            assert_eq!(again.unwrap_err().kind(), ErrorKind::StageBroken);
        }
        assert_eq!(read(&store, "pack/late").unwrap(), "x", "it can still be read here");
        assert!(store.is_stuck());
        let path = die(store);
        let (_, about) = leftovers(gate.dir.path(), None).unwrap().pop().unwrap();
        let left = Leftover::open(&path, about.clone()).unwrap().unwrap();
        let refused = left.drain(gate.store.clone(), Duration::from_secs(5), &|_| Ok(None)).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::StageBroken);
        assert_eq!((gate.there("head/x").unwrap(), gate.there("pack/late")), (theirs.into(), None));
        assert!(path.exists());
        await_end(&path);
        Leftover::open(&path, about).unwrap().unwrap().discard().unwrap();
        assert!(gate.folders().is_empty());
    }
}

/// A process dies between two heads, and another writer commits. Heads are sealed: each ends with its own CRC, so that
/// the CRC of the whole is the same for all.
#[test]
fn a_foreign_manifest_of_equal_length_is_not_replaced() {
    let sealed =
        |text: &str| [text.as_bytes(), &crc_fast::crc32_iscsi(text.as_bytes()).to_le_bytes()].concat();
    let head = |store: &dyn ObjectStore, text: &str, mode| {
        store.put(&key("head/x"), PutPayload::from(Bytes::from(sealed(text))), mode).unwrap().etag.unwrap()
    };
    for is_overtaken in [false, true] {
        let gate = Gate::new();
        let store = gate.staged();
        let first = head(&store, "0", PutMode::Create);
        store.drain().unwrap();
        let fault = Fault::Fail(Timing::Before, ErrorKind::Unavailable);
        gate.faults.inject(Rule { select: Select::Mutating, skip: 1, times: u64::MAX, fault });
        let second = head(&store, "1", PutMode::Update(first));
        head(&store, "2", PutMode::Update(second));
        while gate.there("head/x").unwrap() != sealed("1") {
            std::thread::sleep(Duration::from_millis(1));
        }
        let path = die(store);
        if is_overtaken {
            head(&*gate.memory, "9", PutMode::Overwrite);
        }
        gate.open();
        let (_, about) = leftovers(gate.dir.path(), None).unwrap().pop().unwrap();
        let left = Leftover::open(&path, about).unwrap().unwrap();
        let brought = left.drain(gate.store.clone(), Duration::from_secs(5), &|_| Ok(None));
        match is_overtaken {
            false => brought.unwrap().remove(),
            true => assert_eq!(brought.unwrap_err().kind(), ErrorKind::StageBroken),
        }
        assert_eq!(gate.there("head/x").unwrap(), sealed(if is_overtaken { "9" } else { "2" }));
        assert_eq!(path.exists(), is_overtaken);
    }
}

/// The answer to a head is lost and the process dies, and then another writer commits over that head.
#[test]
fn a_replaced_manifest_with_an_unseen_answer_is_reported() {
    for count in 1..=3 {
        let gate = Gate::new();
        let store = gate.staged();
        let mut etag = overwrite(&store, "head/x", "0").unwrap();
        store.drain().unwrap();
        gate.faults.crash_at(0, Timing::After);
        for n in 1..=count {
            etag = put(&store, "head/x", &n.to_string(), PutMode::Update(etag)).unwrap().unwrap();
        }
        while !gate.faults.is_crashed() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let path = die(store);
        assert_eq!(gate.there("head/x").unwrap(), "1");
        overwrite(&*gate.memory, "head/x", "theirs");
        gate.open();
        let next = gate.staged();
        assert_eq!(next.recover(&|_| Ok(None)).unwrap_err().kind(), ErrorKind::StageBroken);
        assert_eq!(gate.there("head/x").unwrap(), "theirs");
        assert!(path.exists() && next.has_leftovers().unwrap());
    }
}

/// The store does not answer the first head, which may have arrived or not. The next put of a head is not queued
/// either: until the store has accepted a head, another writer may have been faster, and the program has to learn that
/// at once.
#[test]
fn a_manifest_is_queued_only_after_one_was_accepted() {
    for timing in Timing::ALL {
        let gate = Gate::new();
        let store = gate.staged();
        gate.faults.inject(Rule::fail_nth(Select::Mutating, 0, timing, ErrorKind::Timeout));
        assert!(put(&store, "head/x", "1", PutMode::Create).unwrap_err().kind().is_ambiguous());
        let etag = match gate.there("head/x") {
            None => {
                overwrite(&*gate.memory, "head/x", "theirs");
                let error = put(&store, "head/x", "1", PutMode::Create).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::AlreadyExists);
                continue;
            }
            Some(_) => store.head(&key("head/x")).unwrap().etag.unwrap(),
        };
        let theirs = overwrite(&*gate.memory, "head/x", "theirs").unwrap();
        let error = put(&store, "head/x", "2", PutMode::Update(etag)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PreconditionFailed);
        put(&store, "head/x", "2", PutMode::Update(theirs)).unwrap();
        assert_eq!(gate.there("head/x").unwrap(), "2");
    }
}

/// No head is queued for a store without conditions, because it would replace another writer's head when it arrived.
#[test]
fn manifests_bypass_staging_over_a_store_without_conditions() {
    let gate = Gate::without_conditions();
    let store = gate.staged();
    gate.trace.start_journal();
    for n in 1..=2 {
        overwrite(&store, &format!("pack/{n}"), "p");
        overwrite(&store, &format!("head/{n}"), &n.to_string());
        overwrite(&store, "head/x", &n.to_string());
        assert_eq!(gate.there("head/x").unwrap(), n.to_string());
    }
    let keys: Vec<_> = gate.trace.take_journal().into_iter().map(|call| call.key).collect();
    assert_eq!(keys, ["pack/1", "head/1", "head/x", "pack/2", "head/2", "head/x"]);
    // A head is not put if an object that it names does not arrive.
    let fault = Fault::Fail(Timing::Before, ErrorKind::PermissionDenied);
    gate.faults.inject(Rule { select: Select::Mutating, skip: 0, times: u64::MAX, fault });
    overwrite(&store, "pack/3", "p");
    for at in ["head/3", "head/x"] {
        assert!(put(&store, at, "3", PutMode::Overwrite).is_err());
    }
    let path = die(store);
    gate.open();
    let (_, about) = leftovers(gate.dir.path(), None).unwrap().pop().unwrap();
    let left = Leftover::open(&path, about).unwrap().unwrap();
    assert_eq!(left.waiting().operations, 1);
    left.drain(gate.store.clone(), Duration::from_secs(5), &|_| Ok(None)).unwrap().remove();
    assert_eq!((gate.there("head/3"), gate.there("head/x").unwrap()), (None, "2".into()));
}

/// A permanent failure is reported at once, and a later wait tries again.
#[test]
fn a_refusal_is_reported_without_a_long_wait() {
    let gate = Gate::new();
    let fault = Fault::Fail(Timing::Before, ErrorKind::PermissionDenied);
    gate.faults.inject(Rule { select: Select::Mutating, skip: 0, times: u64::MAX, fault });
    let store = gate.staged();
    overwrite(&store, "pack/a", "x");
    let begun = Instant::now();
    let error = store.drain().unwrap_err();
    assert!(error.to_string().contains("permission denied"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10) && store.is_stuck());
    gate.open();
    store.drain().unwrap();
    assert!(gate.there("pack/a").is_some() && !store.is_stuck());
}
