//! A store that fails, loses answers, or was changed by another writer.

use super::*;

/// Puts what a small container would, and answers with the number of changes.
fn work(store: &StagedStore) -> Result<u32> {
    let etag = put(store, "head/x", "0", PutMode::Create)?.unwrap();
    commit(store, Some(etag))?;
    Ok(11)
}

/// What follows the first head, which has an etag where the store takes one for a condition.
fn commit(store: &StagedStore, mut etag: Option<Etag>) -> Result<()> {
    let create = if etag.is_some() { PutMode::Create } else { PutMode::Overwrite };
    for n in 1..=3u32 {
        put(store, &format!("pack/{n}"), &format!("pack {n}"), PutMode::Overwrite)?;
        put(store, &format!("log/{n}"), &format!("log {n}"), create.clone())?;
        let update = etag.clone().map_or(PutMode::Overwrite, PutMode::Update);
        let told = put(store, "head/x", &n.to_string(), update)?;
        etag = etag.and(told);
    }
    store.delete(&key("pack/1"))
}

fn is_whole(store: &dyn ObjectStore) -> bool {
    let at = |at: &str| read(store, at).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (1..=3).all(|n| at(&format!("log/{n}")) == Some(format!("log {n}")))
        && (2..=3).all(|n| at(&format!("pack/{n}")) == Some(format!("pack {n}")))
        && at("pack/1").is_none()
        && at("head/x").as_deref() == Some("3")
}

/// Whichever request is refused or has its answer lost, once or twice: the rest follows, and nothing is taken for another's.
#[test]
fn lost_answers_cost_time() {
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

/// A process that dies at any request leaves a beginning that makes sense, and the next one brings the rest.
#[test]
fn after_a_crash_the_rest_is_brought() {
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
            assert!((1..=head).all(|n| gate.there(&format!("log/{n}")).is_some()));
            gate.open();
            let next = gate.staged();
            assert!(next.has_leftovers().unwrap());
            next.recover(&|_| true).unwrap().into_iter().for_each(Brought::remove);
            assert!(is_whole(&*gate.memory), "died at request {nth}, {timing:?}");
            assert!(!next.has_leftovers().unwrap());
            drop(next);
            assert!(gate.folders().is_empty(), "{:?}", gate.folders());
        }
    }
}

/// The note of what arrived may be behind by any number: all of it is brought again, and nothing is taken for another's.
#[test]
fn what_has_arrived_may_be_brought_again() {
    let copy = |from: &Path, to: &Path| {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    };
    for (conditional, nth) in [true, false].into_iter().flat_map(|c| (0..=10).map(move |nth| (c, nth))) {
        let gate = if conditional { Gate::new() } else { Gate::without_conditions() };
        let store = gate.staged();
        let mode = if conditional { PutMode::Create } else { PutMode::Overwrite };
        let etag = put(&store, "head/x", "0", mode).unwrap();
        store.drain().unwrap();
        let gate = gate.shut();
        commit(&store, etag.filter(|_| conditional)).unwrap();
        let (path, kept) = (die(store), tempfile::tempdir().unwrap());
        copy(&path, kept.path());
        gate.open();
        gate.faults.crash_at(nth, Timing::After);
        let drain = |within| {
            let (path, about) = leftovers(gate.dir.path(), None).unwrap().pop().unwrap();
            Leftover::open(&path, about).unwrap().unwrap().drain(
                gate.store.clone(),
                within,
                &|_| true,
                is_past,
            )
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

/// Another writer has committed: what follows stays, every call says so, and nothing of the other is lost.
#[test]
fn a_conflict_is_told_and_keeps_what_did_not_arrive() {
    for (at, theirs) in [("log/2", "theirs"), ("log/2", "log 2, and more"), ("head/x", "theirs")] {
        let gate = Gate::new();
        let store = gate.staged();
        overwrite(&store, "head/x", "0");
        let gate = gate.shut();
        let etag = store.head(&key("head/x")).unwrap().etag.unwrap();
        for n in 1..=2 {
            put(&store, &format!("log/{n}"), &format!("log {n}"), PutMode::Create).unwrap();
        }
        put(&store, "head/x", "2", PutMode::Update(etag)).unwrap();
        overwrite(&store, "pack/late", "x");
        overwrite(&*gate.memory, at, theirs);
        gate.open();
        let told = store.drain().unwrap_err();
        let text = told.to_string();
        assert_eq!(told.kind(), ErrorKind::StageBroken, "{text}");
        let folder = store.queue.folder.path().display().to_string();
        for part in ["another writer", at, "h5lake drain", &folder] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(gate.there(at).unwrap(), theirs);
        assert_eq!(gate.there("log/1").unwrap(), "log 1", "what came before has arrived");
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
        let refused = left.drain(gate.store.clone(), Duration::from_secs(5), &|_| true, is_past).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::StageBroken);
        assert!(path.exists());
        while folder::is_ours(&path) {
            std::thread::sleep(Duration::from_millis(2));
        }
        Leftover::open(&path, about).unwrap().unwrap().discard().unwrap();
        assert!(gate.folders().is_empty());
    }
}

/// A process dies between two heads, and another writer commits. Heads are sealed: each ends with its own CRC, so that the CRC of the
/// whole is the same for all.
#[test]
fn anothers_head_of_the_same_length_stays() {
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
        let brought = left.drain(gate.store.clone(), Duration::from_secs(5), &|_| true, is_past);
        match is_overtaken {
            false => brought.unwrap().remove(),
            true => assert_eq!(brought.unwrap_err().kind(), ErrorKind::StageBroken),
        }
        assert_eq!(gate.there("head/x").unwrap(), sealed(if is_overtaken { "9" } else { "2" }));
        assert_eq!(path.exists(), is_overtaken);
    }
}

/// A store without conditions: records and heads are looked at before they are put.
#[test]
fn a_store_without_conditions_is_looked_at() {
    let without = |gate: &Gate| -> Arc<dyn ObjectStore> {
        Arc::new(FaultStore::new(gate.store.clone()).without_create().without_update())
    };
    for conflicts in [false, true] {
        let gate = Gate::new();
        let store = staged(&without(&gate), &gate.dir);
        overwrite(&store, "head/x", "0");
        let gate = gate.shut();
        overwrite(&store, "log/1", "a first try");
        overwrite(&store, "log/1", "log 1");
        overwrite(&store, "head/x", "1");
        overwrite(&store, "head/x", "2");
        if conflicts {
            overwrite(&*gate.memory, "head/x", "theirs");
        }
        gate.open();
        match conflicts {
            false => store.drain().unwrap(),
            true => assert_eq!(store.drain().unwrap_err().kind(), ErrorKind::StageBroken),
        }
        assert_eq!(gate.there("log/1").unwrap(), "log 1");
        assert_eq!(gate.there("head/x").unwrap(), if conflicts { "theirs" } else { "2" });
    }
    let gate = Gate::new();
    let store = staged(&without(&gate), &gate.dir);
    overwrite(&*gate.memory, "log/1", "theirs");
    overwrite(&store, "log/1", "mine");
    assert_eq!(store.drain().unwrap_err().kind(), ErrorKind::StageBroken);
    assert_eq!(gate.there("log/1").unwrap(), "theirs");
}

/// What does not pass by itself is told at once, and a later wait tries again.
#[test]
fn a_refusal_is_told_without_a_long_wait() {
    let gate = Gate::new();
    let fault = Fault::Fail(Timing::Before, ErrorKind::PermissionDenied);
    gate.faults.inject(Rule { select: Select::Mutating, skip: 0, times: u64::MAX, fault });
    let store = gate.staged();
    overwrite(&store, "pack/a", "x");
    let begun = Instant::now();
    let told = store.drain().unwrap_err();
    assert!(told.to_string().contains("permission denied"), "{told}");
    assert!(begun.elapsed() < Duration::from_secs(10) && store.is_stuck());
    gate.open();
    store.drain().unwrap();
    assert!(gate.there("pack/a").is_some() && !store.is_stuck());
}
