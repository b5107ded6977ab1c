//! Renews the leases of writers that are idle. One thread a process looks which are due, as long as there are any. Some for each
//! store with due ones renew them, so a store that does not answer keeps nobody from renewing what is in another one. Several at
//! a time renew many leases of a slow store before the last of them ends.
//!
//! A forked child has no such thread, and none of its parent's leases: it may not commit to what its parent opened. The first
//! lease of its own starts another thread. At exit the threads end with the process, whatever they wait for; a renewal that is cut
//! off then leaves a lease that the process's death frees.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use object_stores::deadline;

use super::{HeldLease, RENEW_INTERVAL, TERM};
use crate::locks::Mutex;
use crate::process;

/// How often it looks which leases are due.
const PERIOD: Duration = Duration::from_secs(5);
/// How long one renewal may take, whatever the store's timeout is: several tries fit between the time that it is due and the end of
/// the lease.
const MAX_RENEWAL: Duration = Duration::from_secs((TERM.as_secs() - RENEW_INTERVAL.as_secs()) / 4);
/// Leases of one store that are renewed at the same time.
const MAX_RENEWALS: usize = 8;

type WeakLease = Weak<Mutex<HeldLease>>;

/// A lease, and its store: by what its objects are called among all, since endpoints have buckets of the same name.
struct Kept {
    store: String,
    lease: WeakLease,
}

/// The stores that a thread renews leases in.
type Busy = Arc<Mutex<HashSet<String>>>;

/// The process whose thread it is, and how to reach it.
static KEEPER: Mutex<Option<(u32, Sender<Kept>)>> = Mutex::new(None);

/// Has a lease renewed until it is dropped. Where no thread can be had, commits alone renew it.
pub(super) fn keep(held: &Arc<Mutex<HeldLease>>) {
    let kept = Kept { store: held.lock().store.place_of(""), lease: Arc::downgrade(held) };
    let mut keeper = KEEPER.lock();
    let kept = match &*keeper {
        Some((owner, thread)) if *owner == process::id() => match thread.send(kept) {
            Ok(()) => return,
            Err(unsent) => unsent.0,
        },
        _ => kept,
    };
    let (thread, leases) = channel();
    let begun = std::thread::Builder::new().name("h5lake-lease".into()).spawn(move || run(&leases));
    match begun {
        Ok(_) => {
            let _it_listens = thread.send(kept);
            *keeper = Some((process::id(), thread));
        }
        Err(e) => tracing::debug!(error = %e, "no thread to renew leases"),
    }
}

fn run(leases: &Receiver<Kept>) {
    let (mut all, busy): (Vec<Kept>, Busy) = Default::default();
    loop {
        let next = match all.is_empty() {
            true => leases.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => leases.recv_timeout(PERIOD),
        };
        match next {
            Ok(lease) => all.push(lease),
            Err(RecvTimeoutError::Timeout) => (),
            Err(RecvTimeoutError::Disconnected) => return,
        }
        all.retain(|kept| is_held(&kept.lease));
        let mut due: HashMap<&str, Vec<WeakLease>> = HashMap::new();
        for kept in all.iter().filter(|kept| is_due(&kept.lease)) {
            due.entry(&kept.store).or_default().push(kept.lease.clone());
        }
        due.into_iter().for_each(|(store, leases)| renew_in(store, leases, &busy));
    }
}

/// Renews leases in one store, in threads of their own, unless those before are still at it.
fn renew_in(store: &str, leases: Vec<WeakLease>, busy: &Busy) {
    if !busy.lock().insert(store.to_owned()) {
        return;
    }
    let (ends, name) = (busy.clone(), store.to_owned());
    let work = move || {
        renew_all(leases);
        ends.lock().remove(&name);
    };
    if let Err(e) = std::thread::Builder::new().name("h5lake-renew".into()).spawn(work) {
        busy.lock().remove(store);
        tracing::warn!(error = %e, "no thread to renew leases; it is tried again");
    }
}

/// Renews leases of one store, some at a time, and the oldest first: it is the next one to end.
pub(super) fn renew_all(mut leases: Vec<WeakLease>) {
    leases.sort_by_cached_key(|lease| Reverse(age(lease)));
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(lease) = leases.get(next.fetch_add(1, Ordering::Relaxed)) {
            renew(lease);
        }
    };
    std::thread::scope(|s| {
        for _ in 1..leases.len().min(MAX_RENEWALS) {
            // Where no thread can be had, the others renew more of them.
            let _it_ends_with_the_leases =
                std::thread::Builder::new().name("h5lake-renew".into()).spawn_scoped(s, work);
        }
        work();
    });
}

/// How long ago a lease was renewed; `None` for one that is in use.
fn age(lease: &WeakLease) -> Option<Duration> {
    lease.upgrade().and_then(|held| held.try_lock().map(|held| held.age()))
}

/// Whether a lease has not been given back. One that is in use is held.
fn is_held(lease: &WeakLease) -> bool {
    lease.upgrade().is_some_and(|held| held.try_lock().is_none_or(|held| !held.released))
}

/// One that is in use is being renewed, or was just now.
fn is_due(lease: &WeakLease) -> bool {
    lease.upgrade().is_some_and(|held| held.try_lock().is_some_and(|held| held.is_due()))
}

fn renew(lease: &WeakLease) {
    let Some(held) = lease.upgrade() else { return };
    let _operation = deadline::begin_within(MAX_RENEWAL);
    if let Err(e) = held.lock().renew_if_due() {
        // The next commit meets the same, and tells.
        tracing::warn!(error = %e, "the lease of an idle writer was not renewed");
    }
}
