//! Compares the ledger with a model, on every kind of storage. The model is a `BTreeMap` and the payloads that its
//! values name.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use common::{Place, places};
use h5lake_ledger::{Access, Extent, Ledger, Options};
use proptest::prelude::*;

/// Values are a tag byte and bytes: 0 plain, 1 an extent with its payload in `Model::payloads`.
type Map = BTreeMap<Vec<u8>, Value>;

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Plain(Vec<u8>),
    Payload(Bytes, Vec<u8>),
}

#[derive(Debug, Clone)]
enum Op {
    Put(u16, u8, u16),
    PutNew(u16, u8, u16),
    Replace(u16, u8, u16),
    Get(u16, u16),
    Many(u16, u16),
    Payload(u16, u32),
    Delete(u16),
    DeleteMany(u16, u16),
    Commit,
    Rollback,
    Vacuum,
    Compact,
    Reopen,
    Refresh,
    /// Refreshes to the writer's version minus this number.
    RefreshUpTo(u64),
    Scan(u8, usize),
    Range(u16, u16),
}

fn key(n: u16) -> Vec<u8> {
    // The keys have two levels, so that prefixes select groups of keys; the lengths of the keys differ.
    let mut k = vec![(n >> 8) as u8, 0xff];
    k.extend_from_slice(format!("key-{:0width$}", n & 0xff, width = 3 + (n % 17) as usize).as_bytes());
    k
}

fn op() -> impl Strategy<Value = Op> {
    let n = || 0u16..1024;
    prop_oneof![
        6 => (n(), any::<u8>(), prop_oneof![4 => 0u16..200, 1 => 2000u16..20000]).prop_map(|(k, b, l)| Op::Put(k, b, l)),
        3 => (n(), any::<u8>(), 0u16..200).prop_map(|(k, b, l)| Op::PutNew(k, b, l)),
        3 => (n(), any::<u8>(), 0u16..200).prop_map(|(k, b, l)| Op::Replace(k, b, l)),
        3 => (n(), 1u16..50).prop_map(|(k, c)| Op::Get(k, c)),
        2 => (n(), 1u16..300).prop_map(|(k, c)| Op::Many(k, c)),
        3 => (n(), prop_oneof![0u32..5000, 60_000u32..200_000]).prop_map(|(k, l)| Op::Payload(k, l)),
        3 => n().prop_map(Op::Delete),
        1 => (n(), 1u16..400).prop_map(|(k, c)| Op::DeleteMany(k, c)),
        4 => Just(Op::Commit),
        1 => Just(Op::Rollback),
        1 => Just(Op::Vacuum),
        1 => Just(Op::Compact),
        1 => Just(Op::Reopen),
        2 => Just(Op::Refresh),
        2 => (0u64..6).prop_map(Op::RefreshUpTo),
        2 => (0u8..4, 0usize..500).prop_map(|(p, l)| Op::Scan(p, l)),
        2 => (n(), n()).prop_map(|(a, b)| Op::Range(a, b)),
    ]
}

fn payload(seed: u16, len: u32) -> Vec<u8> {
    (0..len).map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(u32::from(seed)) >> 13) as u8).collect()
}

struct Run {
    place: Place,
    opts: Options,
    writer: Option<Ledger>,
    reader: Option<Ledger>,
    staged: Map,
    committed: Map,
    read: Map,
    /// The content of each version.
    versions: BTreeMap<u64, Map>,
}

impl Run {
    fn new(place: Place, opts: Options) -> Self {
        let writer = place.create(&opts);
        let reader = place.open(Access::ReadOnly, &opts);
        let versions = [(writer.version(), Map::new())].into();
        let (writer, reader) = (Some(writer), Some(reader));
        let (staged, committed, read) = (Map::new(), Map::new(), Map::new());
        Run { place, opts, writer, reader, staged, committed, read, versions }
    }

    fn w(&self) -> &Ledger {
        self.writer.as_ref().unwrap()
    }

    /// Frees the payload that is stored under a key.
    fn release(&self, k: &[u8]) {
        if let Some(Value::Payload(e, _)) = self.staged.get(k) {
            self.w().free_payload(&Extent::decode(e).unwrap().0).unwrap();
        }
    }

    fn put(&mut self, k: Vec<u8>, v: Vec<u8>) {
        self.release(&k);
        let mut stored = vec![0];
        stored.extend_from_slice(&v);
        self.w().put(&k, stored).unwrap();
        self.staged.insert(k, Value::Plain(v));
    }

    fn put_new(&mut self, k: Vec<u8>, v: Vec<u8>) {
        let is_new = self.w().put_new(&k, [&[0], &v[..]].concat()).unwrap();
        assert_eq!(is_new, !self.staged.contains_key(&k));
        if is_new {
            self.staged.insert(k, Value::Plain(v));
        }
    }

    fn replace(&mut self, k: Vec<u8>, v: Vec<u8>) {
        let before = self.w().replace(&k, [&[0], &v[..]].concat()).unwrap();
        assert_eq!(before.is_some(), self.staged.contains_key(&k));
        before.iter().zip(self.staged.get(&k)).for_each(|(v, m)| same(self.w(), v, m));
        self.release(&k);
        self.staged.insert(k, Value::Plain(v));
    }

    fn get(&self, k: &[u8]) {
        for (ledger, model) in [(self.w(), &self.staged), (self.reader.as_ref().unwrap(), &self.read)] {
            let got = ledger.get(k).unwrap();
            assert_eq!(got.is_some(), model.contains_key(k));
            got.iter().zip(model.get(k)).for_each(|(v, m)| same(ledger, v, m));
        }
    }

    fn delete(&mut self, k: Vec<u8>) {
        self.release(&k);
        self.w().delete(&k).unwrap();
        self.staged.remove(&k);
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Put(k, b, l) => self.put(key(k), vec![b; l as usize]),
            Op::PutNew(k, b, l) => self.put_new(key(k), vec![b; l as usize]),
            Op::Replace(k, b, l) => self.replace(key(k), vec![b; l as usize]),
            Op::Get(k, c) => (k..k.saturating_add(c)).for_each(|k| self.get(&key(k))),
            Op::Many(k, c) => {
                (k..k.saturating_add(c)).for_each(|k| self.put(key(k), k.to_le_bytes().to_vec()))
            }
            Op::Payload(k, l) => {
                let data = payload(k, l);
                let e = self.w().write_payload(&data).unwrap().to_bytes();
                let k = key(k);
                self.release(&k);
                let mut stored = vec![1];
                stored.extend_from_slice(&e);
                self.w().put(&k, stored).unwrap();
                self.staged.insert(k, Value::Payload(e, data));
            }
            Op::Delete(k) => self.delete(key(k)),
            Op::DeleteMany(k, c) => (k..k.saturating_add(c)).for_each(|k| self.delete(key(k))),
            Op::Commit => {
                let before = self.w().version();
                let after = self.w().commit().unwrap();
                assert!(after == before || after == before + 1);
                self.committed = self.staged.clone();
                self.versions.insert(after, self.staged.clone());
            }
            Op::Rollback => {
                self.w().rollback().unwrap();
                self.staged = self.committed.clone();
            }
            // Staged changes, including their payloads, remain staged.
            Op::Vacuum => drop(self.w().vacuum().unwrap()),
            Op::Compact => self.compact(),
            Op::Reopen => {
                self.writer.take().unwrap().close().unwrap();
                self.writer = Some(self.place.open(Access::ReadWrite, &self.opts));
                self.staged = self.committed.clone();
            }
            Op::Refresh => {
                let r = self.reader.as_ref().unwrap();
                let before = r.version();
                assert_eq!(r.refresh().unwrap(), r.version() != before);
                self.read = self.committed.clone();
                assert_eq!(r.version(), self.w().version());
            }
            Op::RefreshUpTo(back) => {
                let r = self.reader.as_ref().unwrap();
                let (before, last) = (r.version(), self.w().version().saturating_sub(back));
                assert_eq!(r.refresh_up_to(last).unwrap(), r.version() != before);
                assert!(r.version() >= last.max(before) && r.version() <= self.w().version());
                self.read = self.versions[&r.version()].clone();
            }
            Op::Scan(p, limit) => self.scan(p, limit),
            Op::Range(a, b) => self.range(&key(a), &key(b)),
        }
    }

    /// Moves every payload that is worth moving, as the layer above does.
    fn compact(&mut self) {
        let w = self.writer.as_ref().unwrap();
        let compaction_plan = w.compaction_plan(u64::MAX).unwrap();
        for (k, v) in &mut self.staged {
            let Value::Payload(e, _) = v else { continue };
            let old = Extent::decode(e).unwrap().0;
            if !compaction_plan.holds(&old) {
                continue;
            }
            if let Some(new) = w.move_payload(&old).unwrap() {
                w.free_payload(&old).unwrap();
                *e = new.to_bytes();
                w.put(k, [&[1], &e[..]].concat()).unwrap();
            }
        }
    }

    fn scan(&self, p: u8, limit: usize) {
        let expect: Vec<_> = self.staged.iter().filter(|(k, _)| k.starts_with(&[p])).take(limit).collect();
        let got = self.w().scan_prefix(&[p], None, limit).unwrap();
        assert_eq!(got.len(), expect.len());
        for ((k, v), (mk, mv)) in got.iter().zip(expect) {
            assert_eq!(k, mk);
            same(self.w(), v, mv);
        }
    }

    fn range(&self, a: &[u8], b: &[u8]) {
        for (lo, hi) in [
            (Bound::Included(a), Bound::Excluded(b)),
            (Bound::Excluded(a), Bound::Included(b)),
            (Bound::Unbounded, Bound::Excluded(a)),
            (Bound::Excluded(b), Bound::Unbounded),
        ] {
            let possible = match (lo, hi) {
                (Bound::Included(x) | Bound::Excluded(x), Bound::Included(y) | Bound::Excluded(y)) => x < y,
                _ => true,
            };
            let mut model = possible.then(|| self.staged.range::<[u8], _>((lo, hi))).into_iter().flatten();
            let next = self.w().next(lo, hi).unwrap();
            let prev = self.w().prev(lo, hi).unwrap();
            assert_eq!(next.map(|e| e.0.to_vec()), model.clone().next().map(|e| e.0.clone()));
            assert_eq!(prev.map(|e| e.0.to_vec()), model.next_back().map(|e| e.0.clone()));
        }
    }

    fn check(&self) {
        all_same(self.w(), &self.staged);
        all_same(self.reader.as_ref().unwrap(), &self.read);
    }
}

fn same(l: &Ledger, v: &[u8], model: &Value) {
    match model {
        Value::Plain(m) => assert_eq!(&v[1..], m),
        Value::Payload(e, data) => {
            assert_eq!(&v[1..], e);
            let e = Extent::decode(&v[1..]).unwrap().0;
            let mut buf = vec![0; data.len()];
            l.read_payload(&e, 0, &mut buf).unwrap();
            assert!(buf == *data);
            let (from, to) = (data.len() / 3, data.len() * 2 / 3);
            l.read_payload(&e, from as u64, &mut buf[..to - from]).unwrap();
            assert!(buf[..to - from] == data[from..to]);
        }
    }
}

fn all_same(l: &Ledger, model: &Map) {
    let got = l.scan_prefix(&[], None, usize::MAX).unwrap();
    assert_eq!(got.len(), model.len());
    for ((k, v), (mk, mv)) in got.iter().zip(model) {
        assert_eq!(k, mk);
        same(l, v, mv);
        assert_eq!(l.get(k).unwrap().as_ref(), Some(v));
    }
}

fn run(place: Place, ops: &[Op], bytes: u64, spill_bytes: u64) {
    // Freed space of a file is not quarantined: pins alone protect the reader, so space that is reused too early is
    // noticed. There are no pins in a store.
    let retention = matches!(place, Place::File(..)).then_some(std::time::Duration::ZERO);
    let opts = Options {
        checkpoint_bytes: bytes,
        spill_bytes,
        cache_bytes: 64 << 10,
        retention,
        ..Options::default()
    };
    let mut r = Run::new(place, opts);
    for (n, op) in ops.iter().enumerate() {
        r.step(op);
        if n % 16 == 0 {
            r.check();
        }
    }
    r.check();
    r.step(&Op::Commit);
    r.step(&Op::Reopen);
    r.check();
}

/// Returns the number of random histories. The environment can reduce it for a slow store.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(64)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_ledger_is_the_model(
        ops in proptest::collection::vec(op(), 1..120),
        bytes in prop_oneof![Just(0u64), Just(4096), Just(1 << 20)],
        spill_bytes in prop_oneof![Just(700u64), Just(20_000), Just(u64::MAX)],
    ) {
        for place in places() {
            run(place, &ops, bytes, spill_bytes);
        }
    }
}

#[test]
fn the_longest_keys_and_long_values() {
    for place in places() {
        let opts = Options { checkpoint_bytes: 0, ..Options::default() };
        let l = place.create(&opts);
        let long = |n: u8| [vec![b'k'; h5lake_ledger::MAX_KEY - 1], vec![n]].concat();
        for n in 0..40 {
            l.put(&long(n), vec![n; 70_000]).unwrap();
            if n % 3 == 0 {
                l.commit().unwrap();
            }
        }
        l.put(b"", "empty key").unwrap();
        l.put(b"empty value", "").unwrap();
        l.put(b"big", vec![7; 9 << 20]).unwrap();
        l.commit().unwrap();
        assert!(l.put(&[0; h5lake_ledger::MAX_KEY + 1], "").is_err());
        l.close().unwrap();
        let r = place.open(Access::ReadOnly, &opts);
        assert_eq!(r.scan_prefix(b"", None, 100).unwrap().len(), 43);
        for n in 0..40 {
            assert_eq!(r.get(&long(n)).unwrap().unwrap(), vec![n; 70_000]);
        }
        assert_eq!(r.get(b"").unwrap().unwrap(), "empty key");
        assert_eq!(r.get(b"empty value").unwrap().unwrap(), "");
        assert_eq!(r.get(b"big").unwrap().unwrap(), vec![7; 9 << 20]);
    }
}

#[test]
fn more_checkpoints_follow_a_checkpoint_of_an_empty_map() {
    let ops = [
        Op::Delete(0),
        Op::Commit,
        Op::Reopen,
        Op::Vacuum,
        Op::Many(255, 106),
        Op::Commit,
        Op::Reopen,
        Op::Many(393, 251),
        Op::Refresh,
        Op::Payload(0, 1),
    ];
    for place in places() {
        run(place, &ops, 4096, u64::MAX);
    }
}

#[test]
fn a_reader_moves_no_further_than_it_is_asked_to_and_keeps_what_it_needs() {
    for place in places() {
        let opts = Options { checkpoint_bytes: 1 << 20, ..Options::default() };
        let mut r = Run::new(place, Options { retention: Some(std::time::Duration::ZERO), ..opts });
        // Each commit frees the payloads of the commit before it.
        let write = |r: &mut Run, commits: u8| {
            for n in 0..commits {
                r.step(&Op::Payload(1, 20_000 + u32::from(n)));
                r.step(&Op::Put(100, n, 10));
                r.step(&Op::Commit);
            }
        };
        for version in [2, 3, 9] {
            write(&mut r, 6);
            r.step(&Op::RefreshUpTo(r.w().version() - version));
            assert_eq!(r.reader.as_ref().unwrap().version(), version);
            r.step(&Op::RefreshUpTo(r.w().version()));
            r.check();
        }
        if matches!(r.place, Place::File(..)) {
            // Freed space is quarantined for as long as the reader stays at its version.
            write(&mut r, 30);
            r.check();
        }
        r.step(&Op::Refresh);
        r.check();
    }
}
