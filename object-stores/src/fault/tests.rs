use super::*;
use crate::{MemoryStore, ObjectStoreExt};

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn store() -> (MemoryStore, FaultStore) {
    let inner = MemoryStore::new();
    (inner.clone(), FaultStore::new(Arc::new(inner)))
}

fn put(store: &dyn ObjectStore, at: &str) -> Result<PutResult> {
    store.put(&key(at), "0123456789".into(), PutMode::Overwrite)
}

#[test]
fn conforms_without_rules() {
    crate::conformance::run(|| Arc::new(store().1));
    let outer = tempfile::tempdir().unwrap();
    crate::conformance::run(|| {
        let dir = tempfile::tempdir_in(outer.path()).unwrap().keep();
        Arc::new(FaultStore::new(Arc::new(crate::DirStore::open(dir, Default::default()).unwrap())))
    });
}

#[test]
fn conforms_without_conditions() {
    crate::conformance::run(|| Arc::new(store().1.without_create()));
    crate::conformance::run(|| Arc::new(store().1.without_update()));
    crate::conformance::run(|| Arc::new(store().1.without_create().without_update()));
}

#[test]
fn the_nth_call_fails_before_or_after_its_effect() {
    for timing in Timing::ALL {
        let (inner, store) = store();
        store.inject(Rule::fail_nth(Select::One(Operation::Put), 1, timing, ErrorKind::Timeout));
        put(&store, "a").unwrap();
        store.head(&key("a")).unwrap();
        let failed = put(&store, "b").unwrap_err();
        assert_eq!((failed.kind(), failed.key()), (ErrorKind::Timeout, Some("b")));
        assert_eq!(inner.head_opt(&key("b")).unwrap().is_some(), timing == Timing::After);
        put(&store, "c").unwrap();
        assert_eq!(store.struck(), 1);
        assert_eq!((store.mutations(), store.calls(Select::Any), store.calls(Select::Reading)), (3, 4, 1));
    }
}

#[test]
fn a_rule_applies_the_configured_number_of_times() {
    let (_, store) = store();
    let fault = Fault::Fail(Timing::Before, ErrorKind::Unavailable);
    store.inject(Rule { select: Select::Mutating, skip: 1, times: 2, fault });
    let answers: Vec<_> = (0..5).map(|_| put(&store, "a").is_ok()).collect();
    assert_eq!(answers, [true, false, false, true, true]);
    store.inject(Rule { select: Select::Any, skip: 0, times: u64::MAX, fault });
    assert!((0..50).all(|_| store.head(&key("a")).is_err()));
    store.clear();
    store.head(&key("a")).unwrap();
    assert_eq!(store.calls(Select::Any), 1);
}

#[test]
fn a_failed_effect_reports_its_own_failure() {
    let (_, store) = store();
    put(&store, "a").unwrap();
    store.inject(Rule::fail_nth(Select::Any, 0, Timing::After, ErrorKind::Timeout));
    let refused = store.put(&key("a"), "x".into(), PutMode::Create).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
}

#[test]
fn bytes_are_truncated_or_flipped() {
    let (_, store) = store();
    put(&store, "a").unwrap();
    let at = key("a");
    for damage in [Damage::Cut(4), Damage::Cut(0), Damage::Cut(10), Damage::Cut(99)] {
        let Damage::Cut(len) = damage else { unreachable!() };
        store.inject(Rule::damage_nth(0, damage));
        // Reading metadata returns no bytes, so the damage strikes only the get.
        store.head(&at).unwrap();
        let got = store.get(&at, None).unwrap();
        assert_eq!((&got.bytes[..], got.meta.size), (&b"0123456789"[..len.min(10)], 10));
        store.inject(Rule::damage_nth(0, damage));
        let answer = store.get_into(&at, 0, &mut [0; 10]);
        assert_eq!(answer.err().map(|e| e.kind()), (len < 10).then_some(ErrorKind::ShortRead));
    }
    store.inject(Rule::damage_nth(0, Damage::Flip(3)));
    assert_eq!(store.get(&at, Some(1..6)).unwrap().bytes, "123\x245");
    store.inject(Rule::damage_nth(0, Damage::Flip(77)));
    let mut buf = [0; 2];
    store.get_into(&at, 0, &mut buf).unwrap();
    assert_eq!(&buf, b"0!");
    assert_eq!(store.get(&at, None).unwrap().bytes, "0123456789", "the store itself is whole");
}

#[test]
fn a_stream_is_truncated() {
    for timing in Timing::ALL {
        let (inner, store) = store();
        store.inject(Rule::fail_nth(Select::One(Operation::StreamWrite), 1, timing, ErrorKind::Io));
        let mut stream = store.put_stream(&key("s")).unwrap();
        stream.write(b"first").unwrap();
        assert_eq!(stream.write(b"second").unwrap_err().kind(), ErrorKind::Io);
        assert_eq!(stream.finish().unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(inner.usage().0, 0);
    }
}

#[test]
fn the_finish_of_a_stream_fails_before_or_after_its_effect() {
    for timing in Timing::ALL {
        let (inner, store) = store();
        store.inject(Rule::fail_nth(Select::One(Operation::StreamFinish), 0, timing, ErrorKind::Timeout));
        let mut stream = store.put_stream(&key("s")).unwrap();
        stream.write(b"first").unwrap();
        assert_eq!(stream.finish().unwrap_err().kind(), ErrorKind::Timeout);
        assert_eq!(inner.usage().0, usize::from(timing == Timing::After));
    }
}

#[test]
fn half_of_many_keys_are_deleted() {
    let (inner, store) = store();
    let keys: Vec<_> = (0..6).map(|i| key(&format!("d/{i}"))).collect();
    keys.iter().for_each(|key| assert!(put(&store, key.as_str()).is_ok()));
    store.inject(Rule::fail_nth(Select::Mutating, 0, Timing::During, ErrorKind::Unavailable));
    store.delete_many(&keys).unwrap_err();
    let left: Vec<_> = inner.list("", None).map(|meta| meta.unwrap().key.to_string()).collect();
    assert_eq!(left, ["d/3", "d/4", "d/5"]);
}

/// Makes eight mutating calls of every kind, with reads in between.
fn scenario(store: &dyn ObjectStore) -> Result<()> {
    put(store, "a")?;
    store.get(&key("a"), None)?;
    let mut stream = store.put_stream(&key("b"))?;
    stream.write(b"b")?;
    stream.finish()?;
    store.list("", None).collect::<Result<Vec<_>>>()?;
    store.put_stream(&key("c"))?.abort()?;
    store.delete(&key("a"))?;
    store.delete_many(&[key("b"), key("x")])
}

#[test]
fn a_crash_applies_at_every_mutating_call_and_stops_later_calls() {
    let (_, counted) = store();
    scenario(&counted).unwrap();
    assert_eq!(counted.mutations(), 8);
    // The objects that exist after each number of calls.
    let states = ["", "a", "a", "a", "ab", "ab", "ab", "b", ""];
    for n in 0..8 {
        for timing in Timing::ALL {
            let (inner, store) = store();
            store.crash_at(n, timing);
            assert_eq!(scenario(&store).unwrap_err().kind(), ErrorKind::Unavailable);
            assert!(store.is_crashed());
            assert_eq!(store.head(&key("a")).unwrap_err().kind(), ErrorKind::Unavailable);
            assert!(put(&store, "z").is_err() && store.list("", None).next().unwrap().is_err());
            let found: String = inner.list("", None).map(|meta| meta.unwrap().key.to_string()).collect();
            let done = n as usize + usize::from(timing == Timing::After);
            // The last call deletes "b" in the first half of its keys.
            let expected = if n == 7 && timing == Timing::During { "" } else { states[done] };
            assert_eq!(found, expected, "call {n}, {timing:?}");
        }
    }
    let (_, beyond) = store();
    beyond.crash_at(8, Timing::Before);
    scenario(&beyond).unwrap();
    assert!(!beyond.is_crashed());
}
