//! Compares branches with a model: each shows the changes committed to it over the version that it began with, whatever
//! is committed to the main line.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use common::work::{Map, content, stage};
use common::{Place, places};
use h5lake_ledger::{Access, At, BranchName, ErrorKind, Ledger, Options, Writers};
use proptest::prelude::*;

#[derive(Debug, Clone, Copy)]
enum Op {
    /// Makes this many commits to the main line.
    Main(u8),
    /// Makes this many commits to one of a few branches, by the first or the second writer.
    Branch(u8, u8, bool),
    Begin(u8),
    Reopen,
    Crash,
    Vacuum,
    Look,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1u8..6).prop_map(Op::Main),
        8 => (0u8..2, 1u8..6, any::<bool>()).prop_map(|(which, n, second)| Op::Branch(which, n, second)),
        3 => (0u8..2).prop_map(Op::Begin),
        1 => Just(Op::Reopen),
        1 => Just(Op::Crash),
        1 => Just(Op::Vacuum),
        3 => Just(Op::Look),
    ]
}

fn name(n: u8) -> BranchName {
    BranchName::new(&format!("b{n}")).unwrap()
}

/// Compares ranges and their ends with the model.
fn look_around(l: &Ledger, model: &Map) {
    let keys: Vec<Vec<u8>> =
        model.keys().cloned().chain([b"a".to_vec(), b"key-03".to_vec(), b"zz".to_vec()]).collect();
    for key in &keys {
        let key = &key[..];
        let next = l.next(Bound::Excluded(key), Bound::Excluded(b"zzz")).unwrap().map(|(k, _)| k.to_vec());
        let range = (Bound::Excluded(key.to_vec()), Bound::Excluded(b"zzz".to_vec()));
        assert_eq!(next, model.range(range).next().map(|(k, _)| k.clone()));
        let before = l.prev(Bound::Included(b"a"), Bound::Excluded(key)).unwrap().map(|(k, _)| k.to_vec());
        let below = if *key > b"a"[..] {
            model.range(b"a".to_vec()..key.to_vec()).next_back().map(|(k, _)| k.clone())
        } else {
            None
        };
        assert_eq!(before, below);
        assert_eq!(l.get(key).unwrap().is_some(), model.contains_key(key));
    }
    let asked: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    let there: Vec<bool> = l.get_many(&asked).unwrap().iter().map(Option::is_some).collect();
    assert_eq!(there, keys.iter().map(|key| model.contains_key(key)).collect::<Vec<_>>());
    for prefix in [&b"key-"[..], b"", b"F"] {
        for limit in [1, 2, 7, 1000] {
            let (mut all, mut after) = (Vec::new(), None::<Vec<u8>>);
            loop {
                let page = l.scan_prefix(prefix, after.as_deref(), limit).unwrap();
                let is_last = page.len() < limit;
                after = page.last().map(|(k, _)| k.to_vec());
                all.extend(page.into_iter().map(|(k, _)| k.to_vec()));
                if is_last {
                    break;
                }
            }
            let wanted: Vec<_> = model.keys().filter(|key| key.starts_with(prefix)).cloned().collect();
            assert_eq!(all, wanted, "{prefix:?} by {limit}");
        }
    }
}

struct Run {
    place: Place,
    opts: Options,
    main: Ledger,
    main_state: Map,
    branches: BTreeMap<u8, (Vec<Ledger>, Map)>,
    turn: u64,
}

impl Run {
    fn new(place: Place) -> Self {
        // Nothing in a store protects objects that a writer has still to read, and on a slow machine the second writer
        // may lag for long.
        let retention = match &place {
            Place::File(..) => Duration::ZERO,
            Place::Objects(..) => Duration::from_secs(3600),
        };
        let opts = Options { writers: Writers::Many, retention: Some(retention), ..Options::default() };
        let main = place.create(&opts);
        // Keys of the container's own, which are the same in all branches, between other keys.
        let mut main_state = Map::new();
        for n in 0..4 {
            main.put(&[b'F', 0, 0, n], vec![0, n]).unwrap();
            main.put(&[b'A' + n], vec![0, n]).unwrap();
            main_state.extend([(vec![b'F', 0, 0, n], vec![n]), (vec![b'A' + n], vec![n])]);
        }
        main.commit().unwrap();
        Run { place, opts, main, main_state, branches: BTreeMap::new(), turn: 0 }
    }

    fn on_branch(&self, n: u8, access: Access) -> Ledger {
        self.place.open(access, &Options { at: Some(At::Branch(name(n))), ..self.opts.clone() })
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Main(n) => {
                for _ in 0..n {
                    self.turn += 1;
                    self.main.advance(&|_| false).unwrap();
                    stage(&self.main, &mut self.main_state, self.turn).unwrap();
                    self.main.commit().unwrap();
                }
            }
            Op::Branch(which, n, second) => {
                let Some((writers, state)) = self.branches.get_mut(&which) else { return };
                let l = &writers[usize::from(second)];
                for _ in 0..n {
                    self.turn += 1;
                    l.advance(&|_| false).unwrap();
                    stage(l, state, self.turn).unwrap();
                    l.commit().unwrap();
                }
            }
            Op::Begin(which) => {
                self.main.advance(&|_| false).unwrap();
                if self.main.version() == 0 {
                    return;
                }
                let made = self.main.create_branch(name(which), None);
                if self.branches.contains_key(&which) {
                    assert!(matches!(made.unwrap_err().kind(), ErrorKind::BranchExists { .. }));
                    return;
                }
                made.unwrap();
                let writers = (0..2).map(|_| self.on_branch(which, Access::ReadWrite)).collect();
                self.branches.insert(which, (writers, self.main_state.clone()));
            }
            Op::Reopen | Op::Crash => self.reopen(matches!(op, Op::Crash)),
            Op::Vacuum => {
                self.reopen(false);
                let numbers: Vec<u8> = self.branches.keys().copied().collect();
                let main = std::mem::replace(&mut self.main, self.place.open(Access::ReadOnly, &self.opts));
                main.close().unwrap();
                for n in &numbers {
                    self.branches.get_mut(n).unwrap().0.drain(..).for_each(|l| l.close().unwrap());
                }
                let retention = Some(Duration::ZERO);
                let alone = Options { writers: Writers::One, retention, ..self.opts.clone() };
                let l = self.place.open(Access::ReadWrite, &alone);
                l.vacuum().unwrap();
                l.close().unwrap();
                self.open_all();
            }
            Op::Look => self.look(),
        }
    }

    fn open_all(&mut self) {
        self.main = self.place.open(Access::ReadWrite, &self.opts);
        for n in self.branches.keys().copied().collect::<Vec<_>>() {
            let writers = (0..2).map(|_| self.on_branch(n, Access::ReadWrite)).collect();
            self.branches.get_mut(&n).unwrap().0 = writers;
        }
    }

    fn reopen(&mut self, is_crash: bool) {
        if let (Place::File(_, path), true) = (&self.place, is_crash) {
            // The state after the death of a process. The lock stays with the file that has lost its name.
            let copy = path.with_extension("copy");
            std::fs::copy(path, &copy).unwrap();
            std::fs::rename(&copy, path).unwrap();
        }
        for (writers, _) in self.branches.values_mut() {
            let writers = std::mem::take(writers);
            match is_crash {
                true => std::mem::forget(writers),
                false => writers.into_iter().for_each(|l| l.close().unwrap()),
            }
        }
        let next = self.place.open(Access::ReadOnly, &self.opts);
        let main = std::mem::replace(&mut self.main, next);
        if is_crash {
            std::mem::forget(main);
        } else {
            main.close().unwrap();
        }
        self.open_all();
    }

    fn look(&self) {
        let newest = self.place.open(Access::ReadOnly, &self.opts);
        assert!(content(&newest).unwrap() == self.main_state, "the main line");
        let names: Vec<BranchName> =
            newest.branches().unwrap().into_iter().map(|branch| branch.name).collect();
        assert_eq!(names, self.branches.keys().map(|n| name(*n)).collect::<Vec<_>>());
        for (n, (_, state)) in &self.branches {
            let l = self.on_branch(*n, Access::ReadOnly);
            assert!(content(&l).unwrap() == *state, "branch {n}");
            look_around(&l, state);
        }
    }
}

#[test]
fn a_branch_shows_the_containers_own_entries_that_came_later() {
    for place in places() {
        let opts = Options { writers: Writers::Many, ..Options::default() };
        let main = place.create(&opts);
        main.put(b"key-1", vec![0, 1]).unwrap();
        main.commit().unwrap();
        main.create_branch(name(0), None).unwrap();
        let branch =
            place.open(Access::ReadWrite, &Options { at: Some(At::Branch(name(0))), ..opts.clone() });
        assert_eq!(branch.take_numbers(b"N", 5, 1).unwrap(), 1);
        branch.put(b"Z", vec![0, 7]).unwrap();
        branch.put(b"key-2", vec![0, 2]).unwrap();
        branch.commit().unwrap();
        let keys: Vec<_> =
            branch.scan_prefix(b"", None, 100).unwrap().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, [&b"N"[..], b"Z", b"key-1", b"key-2"]);
        assert!(main.take_numbers(b"N", 1, 1).unwrap() >= 6, "the counter is that of the container");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn branches_show_their_own_commits_over_their_base(ops in prop::collection::vec(op(), 1..40)) {
        for place in places() {
            let mut run = Run::new(place);
            ops.iter().for_each(|op| run.step(*op));
            run.look();
        }
    }
}

#[test]
fn keys_that_changed_are_found_in_logs_and_pages() {
    for place in places() {
        for checkpoint_bytes in [0, 1 << 30] {
            let opts = Options { checkpoint_bytes, ..Options::default() };
            let l = place.create(&opts);
            let mut states = vec![Map::new()];
            for n in 0..30 {
                let mut state = states[n].clone();
                stage(&l, &mut state, n as u64).unwrap();
                l.commit().unwrap();
                states.push(state);
                if n % 7 == 3 {
                    let tag = h5lake_ledger::TagName::new(&format!("t{n}")).unwrap();
                    l.tag(tag, None, h5lake_ledger::Tagging::default()).unwrap();
                }
            }
            for n in [3, 10, 17, 24] {
                let at = h5lake_ledger::TagName::new(&format!("t{n}")).map(At::Tag);
                let old = place.open(Access::ReadOnly, &Options { at, ..opts.clone() });
                let found: Vec<Vec<u8>> =
                    l.keys_changed_since(&old).unwrap().iter().map(|k| k.to_vec()).collect();
                let (before, now) = (content(&old).unwrap(), content(&l).unwrap());
                let differing: Vec<&Vec<u8>> =
                    before.keys().chain(now.keys()).filter(|k| before.get(*k) != now.get(*k)).collect();
                // A payload may have moved, or its value may have been restored, so more keys may be found.
                assert!(differing.iter().all(|key| found.contains(key)), "{n}");
                assert!(
                    found
                        .iter()
                        .all(|key| key[0] == b'T' || before.contains_key(key) || now.contains_key(key))
                );
            }
        }
    }
}

/// A vacuum without retention records this in the manifest. Writers with a retention of one hour relied on their own
/// setting before, and committed over records that were gone.
#[test]
fn branches_outlast_a_vacuum_that_keeps_nothing() {
    use Op::{Begin, Branch, Main, Vacuum};
    let mut first =
        vec![Begin(1), Main(12), Begin(0), Vacuum, Branch(0, 3, false), Main(2), Branch(0, 5, false)];
    first.extend([Main(19), Branch(0, 4, false), Main(4), Branch(0, 7, false), Main(5), Branch(0, 5, false)]);
    first.extend([Main(1), Branch(0, 5, false), Main(5), Branch(0, 1, false)]);
    let mut second =
        vec![Main(4), Vacuum, Main(9), Begin(1), Branch(1, 8, false), Main(3), Begin(0), Main(9)];
    second.extend([Branch(0, 5, false), Main(9), Branch(0, 4, false), Main(7), Branch(0, 7, false), Main(2)]);
    second.extend([Branch(0, 2, false), Main(1)]);
    for ops in [first, second] {
        for place in places() {
            let mut run = Run::new(place);
            ops.iter().for_each(|op| run.step(*op));
            run.look();
        }
    }
}
