//! What readers of this process knew of containers when they closed them, for whoever opens one again: a program that polls
//! a file while another writes reads what is new, and not the log from the last checkpoint on and the same pages, each time.

use std::collections::VecDeque;
use std::sync::Mutex;

use crate::file::head::Slot;
use crate::file::lock;
use crate::space::Snapshot;

/// Containers that are remembered.
const CONTAINERS: usize = 4;
/// Shorter logs are read as quickly as they are looked for, in records.
const SHORTEST: u64 = 4;
/// Longer ones are not kept, in bytes.
const LONGEST: u64 = 256 << 10;

/// A container's id, and the file that it was in.
type Key = ([u8; 16], Option<(u64, u64)>);

struct Remembered {
    key: Key,
    slot: Slot,
    snapshot: Snapshot,
}

/// The one closed last is the last.
static REMEMBERED: Mutex<VecDeque<Remembered>> = Mutex::new(VecDeque::new());

/// Keeps what a reader saw by `slot`.
pub(crate) fn keep(key: Key, slot: Slot, snapshot: Snapshot) {
    let worth = snapshot.log_records >= SHORTEST || !snapshot.pages.is_empty();
    if !worth || snapshot.log_bytes > LONGEST {
        return;
    }
    let mut all = lock(&REMEMBERED);
    all.retain(|r| r.key != key);
    if all.len() >= CONTAINERS {
        all.pop_front();
    }
    all.push_back(Remembered { key, slot, snapshot });
}

/// Takes out what is known of a container.
pub(crate) fn take(key: Key) -> Option<(Slot, Snapshot)> {
    let mut all = lock(&REMEMBERED);
    let at = all.iter().position(|r| r.key == key)?;
    all.remove(at).map(|r| (r.slot, r.snapshot))
}
