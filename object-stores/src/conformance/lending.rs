//! Lent payloads: a store must release the bytes of a put soon after the put has returned.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Check, Shared, key, pattern};
use crate::{ErrorKind, PutMode, PutPayload};

pub(super) const CHECKS: &[Check] = &[("a put that has returned releases its payload", lets_go)];

/// Observes whether bytes have been freed.
#[derive(Debug)]
pub struct Watch(Arc<AtomicBool>);

impl Watch {
    /// Returns bytes, and a watch that observes when the last reference to them is dropped.
    pub fn over(bytes: Vec<u8>) -> (Bytes, Watch) {
        let gone = Arc::new(AtomicBool::new(false));
        (Bytes::from_owner(Watched(bytes, gone.clone())), Watch(gone))
    }

    /// Returns whether no reference to the bytes is left.
    pub fn is_gone(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Waits until no reference to the bytes is left, for `most` at most; returns whether that happened.
    pub fn wait(&self, most: Duration) -> bool {
        let began = Instant::now();
        while !self.is_gone() && began.elapsed() < most {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.is_gone()
    }
}

struct Watched(Vec<u8>, Arc<AtomicBool>);

impl AsRef<[u8]> for Watched {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.1.store(true, Ordering::SeqCst);
    }
}

fn lets_go(store: &Shared) {
    let wanted = pattern(3 << 20);
    for (n, pieces) in [1, 3].into_iter().enumerate() {
        for mode in [PutMode::Overwrite, PutMode::Create] {
            let (bytes, watch) = Watch::over(wanted.clone());
            let length = wanted.len() / pieces;
            let payload: PutPayload =
                (0..pieces).map(|n| bytes.slice(n * length..(n + 1) * length)).collect();
            drop(bytes);
            // The second put is refused.
            match store.put(&key(&format!("lent-{n}")), payload, mode) {
                Ok(_) => (),
                Err(e) => {
                    assert!(matches!(e.kind(), ErrorKind::AlreadyExists | ErrorKind::Unsupported), "{e}")
                }
            }
            let lets_go = watch.wait(Duration::from_secs(2));
            assert!(lets_go || store.capabilities().keeps_pieces, "{pieces} pieces are kept");
        }
        assert!(super::content(store, &format!("lent-{n}")) == Some(wanted.clone()));
    }
}
