//! Renews the leases of writers that are idle: one thread a process, which waits as long as there is none.
//!
//! A forked child has no such thread, and none of its parent's leases: it may not commit to what its parent opened. The first
//! lease of its own starts another thread. At exit the thread ends with the process, whatever it waits for; a renewal that is cut
//! off then leaves a lease that the process's death frees.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::HeldLease;
use crate::locks::Mutex;
use crate::objects::lock;
use crate::process;

/// How often it looks which leases are due.
const PERIOD: Duration = Duration::from_secs(5);

type WeakLease = Weak<Mutex<HeldLease>>;

/// The process whose thread it is, and how to reach it.
static KEEPER: Mutex<Option<(u32, Sender<WeakLease>)>> = Mutex::new(None);

/// Has a lease renewed until it is dropped. Where no thread can be had, commits alone renew it.
pub(super) fn keep(held: &Arc<Mutex<HeldLease>>) {
    let mut keeper = lock(&KEEPER);
    if let Some((owner, thread)) = &*keeper
        && *owner == process::id()
        && thread.send(Arc::downgrade(held)).is_ok()
    {
        return;
    }
    let (thread, leases) = channel();
    let begun = std::thread::Builder::new().name("h5lake-lease".into()).spawn(move || run(&leases));
    match begun {
        Ok(_) => {
            let _it_listens = thread.send(Arc::downgrade(held));
            *keeper = Some((process::id(), thread));
        }
        Err(e) => tracing::debug!(error = %e, "no thread to renew leases"),
    }
}

fn run(leases: &Receiver<WeakLease>) {
    let mut all: Vec<WeakLease> = Vec::new();
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
        all.retain(renew);
    }
}

/// Renews one if it is due; false once it is given back.
fn renew(lease: &WeakLease) -> bool {
    let Some(held) = lease.upgrade() else { return false };
    let mut held = lock(&held);
    if let Err(e) = held.renew_if_due() {
        // The next commit meets the same, and tells.
        tracing::warn!(error = %e, "the lease of an idle writer was not renewed");
    }
    !held.released
}
