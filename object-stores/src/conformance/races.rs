//! Checks of concurrent operations.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::{Check, Shared, content, key, pattern, put};
use crate::{Condition, ErrorKind, ObjectStoreExt, PutMode, PutPayload};

pub(super) const CHECKS: &[Check] = &[
    ("of eight creators one wins", creators),
    ("of eight updates one wins", updaters),
    ("no increment is lost", counter),
    ("a reader never sees a mixture", mixture),
    ("puts and deletes in one directory do not disturb each other", busy_directory),
];

const THREADS: usize = 8;

/// Runs `act` in every thread at the same moment, and returns the answers.
fn race<T: Send>(act: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(THREADS);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|i| {
                let (barrier, act) = (&barrier, &act);
                scope.spawn(move || {
                    barrier.wait();
                    act(i)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Asserts that exactly one of the answers is a success and every other one is the error `loss`; returns the winner's
/// index.
fn one_winner<T: std::fmt::Debug>(answers: Vec<crate::Result<T>>, loss: ErrorKind) -> usize {
    let mut winners = Vec::new();
    for (i, answer) in answers.into_iter().enumerate() {
        match answer {
            Ok(_) => winners.push(i),
            Err(e) => assert_eq!(e.kind(), loss, "{e}"),
        }
    }
    assert_eq!(winners.len(), 1, "the winners are {winners:?}");
    winners[0]
}

fn creators(store: &Shared) {
    if !store.honours(Condition::Create) {
        return;
    }
    for round in 0..20 {
        let text = format!("race/{round}/log");
        let answers = race(|i| {
            // The lengths differ, so that a mixture is noticed.
            let payload = PutPayload::from(vec![i as u8; 100 + i * 1000]);
            store.put(&key(&text), payload, PutMode::Create)
        });
        let winner = one_winner(answers, ErrorKind::AlreadyExists);
        assert_eq!(content(store, &text).unwrap(), vec![winner as u8; 100 + winner * 1000]);
    }
}

fn updaters(store: &Shared) {
    if !store.honours(Condition::Update) {
        return;
    }
    let at = key("race/head");
    let mut etag = store.put(&at, "start".into(), PutMode::Overwrite).unwrap().etag.unwrap();
    for round in 0..20u8 {
        // The content is new each time, because an etag that is a digest changes only with the content.
        let answers = race(|i| store.put(&at, vec![i as u8, round].into(), PutMode::Update(etag.clone())));
        let winner = one_winner(answers, ErrorKind::PreconditionFailed);
        let now = store.get(&at, None).unwrap();
        assert_eq!(now.bytes, vec![winner as u8, round]);
        etag = now.meta.etag.unwrap();
    }
}

fn counter(store: &Shared) {
    if !store.honours(Condition::Update) {
        return;
    }
    let at = key("counter");
    put(store, "counter", &0u32.to_le_bytes());
    race(|_| {
        for _ in 0..10 {
            loop {
                let now = store.get(&at, None).unwrap();
                let next = u32::from_le_bytes(now.bytes[..].try_into().unwrap()) + 1;
                let mode = PutMode::Update(now.meta.etag.unwrap());
                match store.put(&at, PutPayload::copy_from(&next.to_le_bytes()), mode) {
                    Ok(_) => break,
                    Err(e) => assert_eq!(e.kind(), ErrorKind::PreconditionFailed, "{e}"),
                }
            }
        }
    });
    assert_eq!(content(store, "counter").unwrap(), (10 * THREADS as u32).to_le_bytes());
}

/// Records the end of a writer, also if it failed, because the readers must not wait for it.
struct Over<'a>(&'a AtomicUsize);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn mixture(store: &Shared) {
    let versions: Vec<Vec<u8>> = (0..3).map(|v| pattern(50_000 + v * 9_000)).collect();
    let version_of = |bytes: &[u8]| versions.iter().position(|version| version == bytes);
    put(store, "mix", &versions[0]);
    let at = key("mix");
    let running = AtomicUsize::new(2);
    race(|i| {
        if i < 2 {
            let _over = Over(&running);
            for round in 0..30 {
                let bytes = &versions[(i + round) % 3];
                if round % 2 == 0 {
                    put(store, "mix", bytes);
                } else {
                    let mut stream = store.put_stream(&at).unwrap();
                    bytes.chunks(20_000).for_each(|piece| stream.write(piece).unwrap());
                    stream.finish().unwrap();
                }
            }
            return;
        }
        while running.load(Ordering::SeqCst) > 0 {
            let got = store.get(&at, None).unwrap();
            assert!(version_of(&got.bytes).is_some(), "a mixture of versions");
            assert_eq!(got.meta.size, got.bytes.len() as u64);
            assert!(store.head(&at).unwrap().size >= 50_000);
        }
    });
}

fn busy_directory(store: &Shared) {
    race(|i| {
        for round in 0..40 {
            let text = format!("busy/{}/{i}-{round}", round % 3);
            put(store, &text, text.as_bytes());
            assert_eq!(content(store, &text).unwrap(), text.as_bytes());
            store.delete(&key(&text)).unwrap();
        }
    });
    assert_eq!(store.list("", None).count(), 0);
}
