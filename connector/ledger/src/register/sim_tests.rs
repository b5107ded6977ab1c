//! Clients of one register with requests that are lost, late or repeated: each change takes effect exactly once, and
//! every reported change is in the register.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use object_stores::sim::{Faults, SimStore};
use object_stores::{
    ErrorKind, Fault, FaultStore, Key, MemoryStore, ObjectStore, ObjectStoreExt, PutMode, Rule, Select,
    Timing,
};

use super::lease_guarded::LeaseGuarded;
use super::{Load, Register, Swap, SwapRegister, Token};

/// The content of the tests' manifests: a list of changes, each with its actor and its number. The sequence is the
/// length of the list.
type Log = Vec<(u8, u8)>;

fn encode(log: &Log, nonce: u64) -> Bytes {
    let mut out = (log.len() as u64).to_le_bytes().to_vec();
    out.extend(nonce.to_le_bytes());
    out.extend(log.iter().flat_map(|(actor, n)| [*actor, *n]));
    out.into()
}

fn decode(manifest: Option<&Bytes>) -> Log {
    let changes = manifest.map_or(&[][..], |manifest| &manifest[16..]);
    changes.chunks(2).map(|change| (change[0], change[1])).collect()
}

fn sequence_of(manifest: &[u8]) -> Option<u64> {
    manifest.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

fn head() -> Key {
    Key::new("c").unwrap()
}

/// Loads until a load succeeds.
fn load(register: &dyn Register) -> (Option<Bytes>, Token) {
    loop {
        if let Ok(Load::Loaded(manifest, token)) = register.load(None) {
            return (manifest, token);
        }
    }
}

/// A mistake of a client of the register, which the tests must detect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// The client puts without a condition.
    Overwrites,
    /// The client takes an error for a swap that did not take effect, and therefore makes a change twice.
    BelievesErrors,
}

/// Appends changes to the log, each once. Returns them with the sequence of each change, if the swap itself reported
/// it.
fn client(
    register: &dyn Register,
    put_over: &dyn Fn(Bytes),
    (actor, changes): (u8, u8),
    mistake: Mistake,
) -> Vec<((u8, u8), Option<usize>)> {
    static NONCE: AtomicU64 = AtomicU64::new(0);
    let mut reported = Vec::new();
    let mut newest = 0;
    for change in (0..changes).map(|n| (actor, n)) {
        let place = 'settled: loop {
            let (there, token) = load(register);
            let mut log = decode(there.as_ref());
            assert!(mistake != Mistake::None || log.len() >= newest, "a load shows an older manifest");
            newest = log.len();
            if mistake != Mistake::BelievesErrors && log.contains(&change) {
                break None;
            }
            log.push(change);
            let manifest = encode(&log, NONCE.fetch_add(1, Ordering::Relaxed));
            if mistake == Mistake::Overwrites {
                put_over(manifest);
                break Some(log.len() - 1);
            }
            // While the register has the manifest that is to be replaced, only the same bytes may be sent again.
            loop {
                if let Swap::Swapped(_) = register.swap(&token, manifest.clone()) {
                    newest = log.len();
                    break 'settled Some(log.len() - 1);
                }
                match register.load(Some(&token)) {
                    Ok(Load::Loaded(..)) => break,
                    Ok(Load::NotModified) | Err(_) => (),
                }
            }
        };
        reported.push((change, place));
    }
    reported
}

/// Runs three clients of one register. Returns the reason if their history is not valid.
fn history(seed: u64, faults: Faults, mistake: Mistake) -> Result<(), String> {
    const CHANGES: u8 = 6;
    let store = SimStore::new(seed, faults);
    let actor = |actor: u8| {
        let store: Arc<dyn ObjectStore> = Arc::new(store.clone());
        let register = SwapRegister::new(store.clone(), head(), "c");
        let put_over = move |manifest: Bytes| {
            let _whatever_comes = store.put(&head(), manifest.into(), PutMode::Overwrite);
        };
        client(&register, &put_over, (actor, CHANGES), mistake)
    };
    let reported = store.run((0..3).map(|n| move || actor(n)).collect());
    let found = store.beneath().get_opt(&head(), None).unwrap().map(|found| found.bytes);
    let log = decode(found.as_ref());
    for (change, place) in reported.into_iter().flatten() {
        match log.iter().filter(|there| **there == change).count() {
            1 => (),
            count => return Err(format!("{change:?} is there {count} times")),
        }
        if place.is_some_and(|place| log.get(place) != Some(&change)) {
            return Err(format!("{change:?} was reported as number {place:?}, and is not there: {log:?}"));
        }
    }
    match log.len() == 3 * usize::from(CHANGES) {
        true => Ok(()),
        false => Err(format!("changes that nobody reported: {log:?}")),
    }
}

const SEEDS: u64 = 300;

#[test]
fn each_change_takes_effect_once_whatever_the_network_does() {
    for faults in [Faults::NONE, Faults::LOST, Faults::ALL] {
        for seed in 0..SEEDS {
            history(seed, faults, Mistake::None).unwrap_or_else(|e| panic!("seed {seed}, {faults:?}: {e}"));
        }
    }
}

#[test]
fn clients_that_go_wrong_are_noticed() {
    for (mistake, faults) in [(Mistake::Overwrites, Faults::NONE), (Mistake::BelievesErrors, Faults::LOST)] {
        let noticed = (0..50).filter(|seed| history(*seed, faults, mistake).is_err()).count();
        assert!(noticed > 10, "{mistake:?}: {noticed} of 50");
    }
}

#[test]
fn the_register_conforms_in_memory_and_in_a_directory() {
    super::conformance::run(|| Arc::new(MemoryStore::new()));
    let folder = tempfile::tempdir().unwrap();
    super::conformance::run(|| {
        let fresh = tempfile::tempdir_in(&folder).unwrap().keep();
        Arc::new(object_stores::DirStore::open(fresh, Default::default()).unwrap())
    });
}

#[test]
fn the_register_conforms_without_conditional_puts() {
    super::conformance::run(|| {
        Arc::new(FaultStore::new(Arc::new(MemoryStore::new())).without_create().without_update())
    });
}

/// Returns how many numbers occur in several names of the folder.
fn ties(store: &dyn ObjectStore) -> usize {
    let names: Vec<String> =
        store.list("c.lake/head/", None).map(|found| found.unwrap().key.to_string()).collect();
    names
        .windows(2)
        .filter(|pair| pair[0].split_once('-').unwrap().0 == pair[1].split_once('-').unwrap().0)
        .count()
}

/// Two writers that both believe they hold the lease, because a user took it away: a lost commit is noticed.
#[test]
fn two_writers_without_conditions_lose_no_commit_unnoticed() {
    let (mut lossy, mut whole) = (0, 0);
    for seed in 0..SEEDS {
        let store = SimStore::new(seed, Faults { late: 40, unanswered: 20, ..Faults::NONE });
        let bare: Arc<dyn ObjectStore> =
            Arc::new(FaultStore::new(Arc::new(store.clone())).without_create().without_update());
        let write = |actor: u8| {
            let mut reported = Vec::new();
            for n in 0..12 {
                // A user deletes the lease, taking it for that of a dead writer.
                let _whatever_comes = bare.delete(&Key::new("c.lake/lease").unwrap());
                let patience = Duration::ZERO;
                let Ok(register) = LeaseGuarded::open_with(&bare, &head(), "c", sequence_of, patience) else {
                    continue;
                };
                let Ok(Load::Loaded(there, token)) = register.load(None) else { continue };
                let mut log = decode(there.as_ref());
                log.push((actor, n));
                let nonce = u64::from(actor) << 8 | u64::from(n);
                if let Swap::Swapped(_) = register.swap(&token, encode(&log, nonce)) {
                    reported.push((actor, n));
                }
            }
            reported
        };
        let reported = store.run((0..2).map(|n| move || write(n)).collect());
        let beneath = store.beneath();
        let bare_beneath: Arc<dyn ObjectStore> =
            Arc::new(FaultStore::new(beneath.clone()).without_create().without_update());
        beneath.delete(&Key::new("c.lake/lease").unwrap()).unwrap();
        let last = LeaseGuarded::open_with(&bare_beneath, &head(), "c", sequence_of, Duration::ZERO).unwrap();
        let log = decode(load(&last).0.as_ref());
        let missing = reported.iter().flatten().filter(|change| !log.contains(change)).count();
        lossy += usize::from(missing > 0);
        whole += usize::from(missing == 0);
        assert!(
            missing == 0 || ties(beneath.as_ref()) > 0,
            "seed {seed}: {missing} commits are lost, and nothing tells"
        );
    }
    assert!(lossy > 5 && whole > 5, "{lossy} histories with losses, {whole} without");
}

/// A head object that a late put made outdated does not cause the writer to lose the newest manifest.
#[test]
fn the_newest_manifest_counts_wherever_it_is() {
    let memory: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let store: Arc<dyn ObjectStore> =
        Arc::new(FaultStore::new(memory.clone()).without_create().without_update());
    let open = || LeaseGuarded::open_with(&store, &head(), "c", sequence_of, Duration::ZERO).unwrap();
    let register = open();
    let mut token = load(&register).1;
    let mut log = Log::new();
    let mut put = Vec::new();
    for n in 0..40 {
        log.push((0, n));
        put.push(encode(&log, u64::from(n)));
        match register.swap(&token, put.last().unwrap().clone()) {
            Swap::Swapped(next) => token = next,
            Swap::Doubt(doubt) => panic!("{}", doubt.into_error("c")),
        }
    }
    let kept = memory.list("c.lake/head/", None).count();
    assert!((3..25).contains(&kept), "{kept} manifests of 40 are kept");
    memory.put(&head(), put[38].clone().into(), PutMode::Overwrite).unwrap();
    assert_eq!(load(&register), (Some(put[39].clone()), token.clone()));
    memory.delete(&head()).unwrap();
    drop(register);
    let register = open();
    assert_eq!(load(&register), (Some(put[39].clone()), token));
    // A container that another tool copied from a store with conditional puts has no numbered manifests.
    for found in memory.list("c.lake/head/", None) {
        memory.delete(&found.unwrap().key).unwrap();
    }
    memory.put(&head(), put[39].clone().into(), PutMode::Overwrite).unwrap();
    let (there, token) = load(&register);
    assert_eq!(decode(there.as_ref()).len(), 40);
    log.push((0, 40));
    assert!(matches!(register.swap(&token, encode(&log, 40)), Swap::Swapped(_)));
}

/// Readers load the head object, and the next writer loads its register: an interrupted swap took effect for both, or
/// for neither.
#[test]
fn readers_and_the_next_writer_agree_after_an_interrupted_swap() {
    let (mut put, mut unput) = (0, 0);
    for (n, timing) in (0..12).flat_map(|n| Timing::ALL.map(|timing| (n, timing))) {
        let bare = FaultStore::new(Arc::new(MemoryStore::new())).without_create().without_update();
        let store: Arc<dyn ObjectStore> = Arc::new(bare.clone());
        let open = || LeaseGuarded::open_with(&store, &head(), "c", sequence_of, Duration::ZERO).unwrap();
        let register = open();
        let Swap::Swapped(token) = register.swap(&load(&register).1, encode(&vec![(0, 0)], 0)) else {
            panic!("a swap without faults")
        };
        let until_the_end = u64::MAX;
        let fault = Fault::Fail(timing, ErrorKind::Timeout);
        bare.inject(Rule { select: Select::Any, skip: n, times: until_the_end, fault });
        let swapped = register.swap(&token, encode(&vec![(0, 0), (0, 1)], 1));
        drop(register);
        bare.clear();
        let read = load(&SwapRegister::new(store.clone(), head(), "c")).0;
        assert_eq!(load(&open()).0, read, "request {n}, {timing:?}");
        match decode(read.as_ref()).len() {
            2 => put += 1,
            _ => unput += 1,
        }
        assert!(
            decode(read.as_ref()).len() == 2 || matches!(swapped, Swap::Doubt(_)),
            "request {n}, {timing:?}"
        );
    }
    assert!(put > 0 && unput > 0, "{put} histories with the swap, {unput} without");
}
