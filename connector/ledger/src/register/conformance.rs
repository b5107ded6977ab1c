//! The suite that the register must pass in every store: at most one of several concurrent swaps with one token takes
//! effect, and a load shows the manifest that a swap put.
//!
//! For a store without conditional puts, the same checks run on the register of one writer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a suite reports by panicking, like every test"
)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Duration;

use bytes::Bytes;
use object_stores::conformance::{Check, Shared};
use object_stores::{Key, ObjectStore};

use super::{Doubt, Load, Register, Swap, SwapRegister, Token, is_conditional, open_to_write};
use crate::error::ErrorKind;
use crate::signatures::SIGNATURE;

/// All checks of the suite. Each check gets a new, empty store.
pub const CHECKS: &[Check] = &[
    ("a register without a manifest loads nothing, and its token stays", absent),
    ("the first swap makes the manifest, and another one over nothing is a doubt", first),
    ("a manifest of any length comes back with the token of its swap", whole),
    ("a token that was replaced replaces nothing", stale),
    ("a swap that is repeated takes effect once", repeated),
    ("a manifest that differs in its nonce alone has a token of its own", nonces),
    ("a load is 'not modified' only if nothing was", unmodified),
    ("of eight first swaps at most one takes effect", first_race),
    ("of eight swaps over one manifest at most one takes effect", race),
    ("of eight writers none loses an increment, or counts it twice", counters),
    ("a reader sees whole manifests, and none again after a later one", readers),
    ("a head object that was deleted is a register without a manifest", deleted),
    ("a second writer shares the register, or is told who writes", second_writer),
];

/// Returns the checks of stores and those of the register. A store must pass all of them to hold containers.
pub fn all_checks() -> Vec<Check> {
    [object_stores::conformance::checks(), CHECKS.to_vec()].concat()
}

/// Limits the time for which registers without conditional puts wait in this process, instead of the time that remote
/// stores need. This is for tests with stores on this machine. Only the first call has an effect.
pub fn expect_puts_within(patience: Duration) {
    let _the_first_one_stays = super::lease_guarded::TEST_PATIENCE.set(patience);
}

const THREADS: usize = 8;

/// Returns a manifest: its sequence, a unique nonce, and a body.
fn manifest(sequence: u64, body: &[u8]) -> Bytes {
    static NONCE: AtomicU64 = AtomicU64::new(0);
    let nonce = NONCE.fetch_add(1, Ordering::Relaxed);
    // Several processes that check one store do not share a counter.
    let process = u64::from(std::process::id());
    // A register reads a long object completely only if it begins as a manifest does.
    [&SIGNATURE[..], &sequence.to_le_bytes(), &nonce.to_le_bytes(), &process.to_le_bytes(), body]
        .concat()
        .into()
}

fn sequence_of(manifest: &[u8]) -> Option<u64> {
    manifest.get(SIGNATURE.len()..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

fn body(manifest: &[u8]) -> &[u8] {
    &manifest[SIGNATURE.len() + 24..]
}

fn head() -> Key {
    Key::new("dir/c.h5").unwrap()
}

fn opened(store: &Shared) -> Arc<dyn Register> {
    open_to_write(store, &head(), "dir/c.h5", sequence_of).unwrap()
}

/// Returns a register for each thread; all threads share one register if the store supports only one writer.
fn opened_for_threads(store: &Shared) -> Vec<Arc<dyn Register>> {
    let first = opened(store);
    let more = |_| if is_conditional(store.as_ref()) { opened(store) } else { first.clone() };
    (0..THREADS).map(more).collect()
}

fn reader(store: &Shared) -> SwapRegister {
    SwapRegister::new(store.clone(), head(), "dir/c.h5")
}

fn loaded(register: &dyn Register) -> (Option<Bytes>, Token) {
    match register.load(None).unwrap() {
        Load::Loaded(manifest, token) => (manifest, token),
        Load::NotModified => panic!("a load without a known token is 'not modified'"),
    }
}

fn is_unmodified(register: &dyn Register, known: &Token) -> bool {
    register.load(Some(known)).unwrap() == Load::NotModified
}

/// Swaps without a concurrent client.
fn swapped(register: &dyn Register, over: &Token, manifest: &Bytes) -> Token {
    match register.swap(over, manifest.clone()) {
        Swap::Swapped(token) => token,
        Swap::Doubt(doubt) => panic!("{}", doubt.into_error("a swap over the newest manifest")),
    }
}

/// Checks that a swap over a manifest that was replaced is refused.
fn refused(register: &dyn Register, over: &Token, manifest: Bytes) {
    match register.swap(over, manifest) {
        Swap::Swapped(_) => panic!("a swap took effect over a manifest that was not there"),
        Swap::Doubt(Doubt::Mismatch) => (),
        Swap::Doubt(Doubt::Failed(e) | Doubt::Refused(e)) => {
            panic!("a swap over an old manifest failed: {e}")
        }
    }
}

/// Runs `act` in every thread at the same moment, and returns the answers.
fn race_of<T: Send>(
    registers: &[Arc<dyn Register>],
    act: impl Fn(usize, &dyn Register) -> T + Sync,
) -> Vec<T> {
    let barrier = Barrier::new(registers.len());
    std::thread::scope(|scope| {
        let racers: Vec<_> = registers
            .iter()
            .enumerate()
            .map(|(n, register)| {
                let (barrier, act) = (&barrier, &act);
                scope.spawn(move || {
                    barrier.wait();
                    act(n, register.as_ref())
                })
            })
            .collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    })
}

fn absent(store: &Shared) {
    let register = opened(store);
    let (manifest, token) = loaded(register.as_ref());
    assert!(manifest.is_none() && token.is_absent());
    assert!(is_unmodified(register.as_ref(), &token));
    let reader = reader(store);
    assert!(loaded(&reader).1.is_absent() && is_unmodified(&reader, &token));
}

fn first(store: &Shared) {
    let register = opened(store);
    let nothing = loaded(register.as_ref()).1;
    let one = manifest(1, b"one");
    let token = swapped(register.as_ref(), &nothing, &one);
    assert!(!token.is_absent());
    refused(register.as_ref(), &nothing, manifest(2, b"two"));
    assert_eq!(loaded(register.as_ref()), (Some(one.clone()), token));
    assert_eq!(loaded(&reader(store)).0, Some(one));
}

fn whole(store: &Shared) {
    let register = opened(store);
    let mut token = loaded(register.as_ref()).1;
    for (sequence, length) in [0, 1, 1_000, 14 << 10, 64 << 10, 200_000, 3 << 20].into_iter().enumerate() {
        let bytes: Vec<u8> = (0..length).map(|n| (n * 31 + sequence) as u8).collect();
        let put = manifest(sequence as u64 + 1, &bytes);
        token = swapped(register.as_ref(), &token, &put);
        assert!(loaded(register.as_ref()) == (Some(put.clone()), token.clone()), "{length} bytes");
        assert!(is_unmodified(register.as_ref(), &token), "{length} bytes");
        assert!(loaded(&reader(store)).0 == Some(put), "{length} bytes, by a reader");
    }
}

fn stale(store: &Shared) {
    let register = opened(store);
    let nothing = loaded(register.as_ref()).1;
    let first = swapped(register.as_ref(), &nothing, &manifest(1, b"one"));
    let second = swapped(register.as_ref(), &first, &manifest(2, b"two"));
    let newest = manifest(3, b"three");
    let third = swapped(register.as_ref(), &second, &newest);
    for old in [&nothing, &first, &second] {
        refused(register.as_ref(), old, manifest(4, b"lost"));
        assert!(!is_unmodified(register.as_ref(), old));
    }
    assert_eq!(loaded(register.as_ref()), (Some(newest), third));
}

fn repeated(store: &Shared) {
    let register = opened(store);
    let nothing = loaded(register.as_ref()).1;
    let (one, two) = (manifest(1, b"one"), manifest(2, b"two"));
    let first = swapped(register.as_ref(), &nothing, &one);
    let second = swapped(register.as_ref(), &first, &two);
    // Whatever the answer is, the manifest was put once.
    if let Swap::Swapped(again) = register.swap(&first, two.clone()) {
        assert!(is_unmodified(register.as_ref(), &again));
    }
    let (there, token) = loaded(register.as_ref());
    assert_eq!(there, Some(two));
    refused(register.as_ref(), &first, manifest(3, b"lost"));
    swapped(register.as_ref(), &token, &manifest(3, b"three"));
    assert!(!is_unmodified(register.as_ref(), &second));
    refused(register.as_ref(), &nothing, one);
}

fn nonces(store: &Shared) {
    let register = opened(store);
    let mut tokens = vec![loaded(register.as_ref()).1];
    for sequence in 1..20 {
        let body: &[u8] = if sequence % 2 == 0 { b"even" } else { b"odd." };
        let token = swapped(register.as_ref(), tokens.last().unwrap(), &manifest(sequence, body));
        assert!(!tokens.contains(&token), "a token was given twice");
        tokens.push(token);
    }
    let newest = tokens.pop().unwrap();
    for old in &tokens {
        refused(register.as_ref(), old, manifest(20, b"lost"));
    }
    assert!(is_unmodified(register.as_ref(), &newest));
}

fn unmodified(store: &Shared) {
    let (register, reader) = (opened(store), reader(store));
    let (mut token, mut known) = (loaded(register.as_ref()).1, loaded(&reader).1);
    for sequence in 1..60 {
        let put = manifest(sequence, &[sequence as u8; 40]);
        let next = swapped(register.as_ref(), &token, &put);
        match reader.load(Some(&known)).unwrap() {
            Load::Loaded(Some(found), now) if found == put => known = now,
            other => panic!("{other:?} behind the swap of {sequence}"),
        }
        for _ in 0..2 {
            assert!(is_unmodified(&reader, &known) && is_unmodified(register.as_ref(), &next));
        }
        assert!(!is_unmodified(register.as_ref(), &token));
        token = next;
    }
}

/// Swaps in every thread over one token. Checks that at most one swap takes effect, and that the register has its
/// manifest.
fn one_wins(store: &Shared, registers: &[Arc<dyn Register>], over: &Token, sequence: u64) -> Token {
    let puts: Vec<Bytes> =
        (0..registers.len()).map(|n| manifest(sequence, &vec![n as u8; 100 + 500 * n])).collect();
    let answers = race_of(registers, |n, register| register.swap(over, puts[n].clone()));
    let mut winners = Vec::new();
    for (n, answer) in answers.into_iter().enumerate() {
        match answer {
            Swap::Swapped(token) => winners.push((n, token)),
            Swap::Doubt(Doubt::Mismatch) => (),
            Swap::Doubt(Doubt::Failed(e) | Doubt::Refused(e)) => panic!("a racing swap failed: {e}"),
        }
    }
    // The successful swap may have been answered as a repetition.
    assert!(winners.len() <= 1, "several swaps with one token took effect: {winners:?}");
    let (there, token) = loaded(registers[0].as_ref());
    let n = puts.iter().position(|put| Some(put) == there.as_ref()).expect("one of the manifests is there");
    if let Some((winner, of_swap)) = winners.pop() {
        assert_eq!((winner, of_swap), (n, token.clone()));
    }
    assert_eq!(loaded(&reader(store)).0, there);
    token
}

fn first_race(store: &Shared) {
    let registers = opened_for_threads(store);
    let nothing = loaded(registers[0].as_ref()).1;
    one_wins(store, &registers, &nothing, 1);
}

fn race(store: &Shared) {
    let registers = opened_for_threads(store);
    let mut token = loaded(registers[0].as_ref()).1;
    for sequence in 1..15 {
        token = one_wins(store, &registers, &token, sequence);
    }
}

fn counters(store: &Shared) {
    const EACH: u8 = 6;
    let registers = opened_for_threads(store);
    race_of(&registers, |me, register| {
        for count in 1..=EACH {
            // If the outcome is unknown, a load decides: the manifest is there, or it was not put and never will be.
            loop {
                let (there, token) = loaded(register);
                let mut counts =
                    there.as_deref().map_or([0; THREADS], |there| body(there).try_into().unwrap());
                if counts[me] == count {
                    break;
                }
                counts[me] = count;
                let next = there.as_deref().and_then(sequence_of).unwrap_or(0) + 1;
                if let Swap::Swapped(_) = register.swap(&token, manifest(next, &counts)) {
                    break;
                }
            }
        }
    });
    let there = loaded(registers[0].as_ref()).0.unwrap();
    assert_eq!(body(&there), [EACH; THREADS]);
    assert_eq!(
        sequence_of(&there),
        Some(u64::from(EACH) * THREADS as u64),
        "each swap raises the sequence by one"
    );
}

fn readers(store: &Shared) {
    let (register, is_done) = (opened(store), AtomicBool::new(false));
    let token = loaded(register.as_ref()).1;
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let reader = reader(store);
                let (mut known, mut last) = (loaded(&reader).1, 0);
                while !is_done.load(Ordering::SeqCst) {
                    let Load::Loaded(found, now) = reader.load(Some(&known)).unwrap() else { continue };
                    let found = found.expect("a manifest does not vanish");
                    let sequence = sequence_of(&found).unwrap();
                    assert!(sequence > last, "{sequence} after {last}");
                    assert!(body(&found) == vec![sequence as u8; 20_000 + sequence as usize * 300]);
                    (known, last) = (now, sequence);
                }
            });
        }
        let mut token = token;
        for sequence in 1..40_u64 {
            let body = vec![sequence as u8; 20_000 + sequence as usize * 300];
            token = swapped(register.as_ref(), &token, &manifest(sequence, &body));
        }
        is_done.store(true, Ordering::SeqCst);
    });
}

/// No client of the register deletes the head object, but a tool may.
fn deleted(store: &Shared) {
    if !is_conditional(store.as_ref()) {
        return;
    }
    let register = opened(store);
    let token = swapped(register.as_ref(), &loaded(register.as_ref()).1, &manifest(1, b"one"));
    store.delete(&head()).unwrap();
    match register.load(Some(&token)).unwrap() {
        Load::Loaded(None, now) => assert!(now.is_absent()),
        other => panic!("{other:?}"),
    }
    refused(register.as_ref(), &token, manifest(2, b"lost"));
    assert!(loaded(register.as_ref()).1.is_absent(), "a swap over a manifest makes none");
    swapped(register.as_ref(), &loaded(register.as_ref()).1, &manifest(2, b"two"));
}

fn second_writer(store: &Shared) {
    let register = opened(store);
    let token = swapped(register.as_ref(), &loaded(register.as_ref()).1, &manifest(1, b"one"));
    match open_to_write(store, &head(), "dir/c.h5", sequence_of) {
        Ok(second) => {
            assert!(is_conditional(store.as_ref()), "a store without conditions has two writers");
            swapped(second.as_ref(), &token, &manifest(2, b"two"));
            refused(register.as_ref(), &token, manifest(2, b"lost"));
        }
        Err(e) => {
            assert!(!is_conditional(store.as_ref()), "{e}");
            let ErrorKind::Locked { holder: Some(holder), .. } = e.kind() else { panic!("{e}") };
            assert_eq!(holder.pid, std::process::id());
            drop(register);
            let next = opened(store);
            swapped(next.as_ref(), &loaded(next.as_ref()).1, &manifest(2, b"two"));
        }
    }
    assert_eq!(body(&loaded(&reader(store)).0.unwrap()), b"two");
}

/// Runs every check, each on a new store of `fresh`, which must be empty.
///
/// # Panics
/// If the register fails a check.
pub fn run(fresh: impl Fn() -> Arc<dyn ObjectStore>) {
    for (name, check) in CHECKS {
        let store = fresh();
        eprintln!("{}: {name}", store.name());
        check(&store);
    }
}
