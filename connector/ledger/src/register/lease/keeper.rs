//! Renews the leases of idle writers. One thread per process checks which leases are due, as long as there are leases.
//! Separate threads for each store renew the due leases, so that a store that does not answer does not delay renewals
//! in other stores. Several threads per store renew the leases of a slow store in parallel, so that no lease expires in
//! the meantime.
//!
//! A forked child has no such thread and none of its parent's leases: it must not commit to containers that its parent
//! opened. The child's first lease of its own starts another thread. At exit the threads end with the process, whatever
//! they wait for. If that interrupts a renewal, the remaining lease is freed because its process is dead.

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

/// The interval between checks for due leases.
const PERIOD: Duration = Duration::from_secs(5);
/// The maximum duration of one renewal, whatever the store's timeout is: several attempts fit between the due time and
/// the expiry of the lease.
const MAX_RENEWAL: Duration = Duration::from_secs((TERM.as_secs() - RENEW_INTERVAL.as_secs()) / 4);
/// The maximum number of leases of one store that are renewed at the same time.
const MAX_RENEWALS: usize = 8;

type WeakLease = Weak<Mutex<HeldLease>>;

/// A lease, and the global name of its store, because different endpoints can have buckets of the same name.
struct Kept {
    store: String,
    lease: WeakLease,
}

/// The stores in which threads are renewing leases.
type Busy = Arc<Mutex<HashSet<String>>>;

/// The process to which the thread belongs, and the channel to it.
static KEEPER: Mutex<Option<(u32, Sender<Kept>)>> = Mutex::new(None);

/// Registers a lease for renewal until it is dropped. If no thread can be started, only commits renew the lease.
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

/// Renews leases in one store, in threads of their own, unless an earlier renewal in that store is still running.
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

/// Renews leases of one store, several at a time, and the oldest first, because it expires first.
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
            // If no thread can be started, the other threads renew more leases.
            let _it_ends_with_the_leases =
                std::thread::Builder::new().name("h5lake-renew".into()).spawn_scoped(s, work);
        }
        work();
    });
}

/// Returns the time since a lease was renewed; `None` for a lease that is in use.
fn age(lease: &WeakLease) -> Option<Duration> {
    lease.upgrade().and_then(|held| held.try_lock().map(|held| held.age()))
}

/// Returns whether a lease has not been released. A lease that is in use counts as held.
fn is_held(lease: &WeakLease) -> bool {
    lease.upgrade().is_some_and(|held| held.try_lock().is_none_or(|held| !held.released))
}

/// Returns whether a lease is due for renewal. A lease that is in use is being renewed, or was just renewed.
fn is_due(lease: &WeakLease) -> bool {
    lease.upgrade().is_some_and(|held| held.try_lock().is_some_and(|held| held.is_due()))
}

fn renew(lease: &WeakLease) {
    let Some(held) = lease.upgrade() else { return };
    let _operation = deadline::begin_within(MAX_RENEWAL);
    if let Err(e) = held.lock().renew_if_due() {
        // The next commit encounters the same failure and reports it.
        tracing::warn!(error = %e, "the lease of an idle writer was not renewed");
    }
}
