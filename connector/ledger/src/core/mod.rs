//! The core: a container is a register, and every change is one swap of it.
//!
//! # The register
//!
//! A container's head object holds one [`manifest`]: the complete, immutable state of the container. A store offers two
//! operations on the head object:
//!
//! ```text
//! load() -> (Manifest, Token)        swap(Token, Manifest) -> Swapped | Doubt
//! ```
//!
//! A swap takes effect if the head object still has the token. Objects are put before the swap that names them, under
//! names that no other session can use. No clock, lease or listing decides whether a change is committed.
//!
//! ```text
//!   session 7-1                 head object                    session 9-1
//!   ───────────                 ───────────                    ───────────
//!   put 7-1 (pack)
//!   load ─────────────────────▶ manifest 41, token a ◀──────── load
//!   apply(commit)                                              apply(tag)
//!   swap(a, 42) ──────────────▶ manifest 42, token b
//!                               refused              ◀──────── swap(a, 42')
//!                               manifest 42, token b ◀──────── load: a doubt is settled by a load
//!                               manifest 43, token c ◀──────── swap(b, 43)
//! ```
//!
//! # A change
//!
//! A [`change::Change`] is a value. [`apply::apply`] is the function from one manifest and one change to the next
//! manifest, or to the reason why the change does not apply. A change states what it read, so `apply` needs no pages: a
//! commit names the version that it was merged with, and a reclaim names the tables that it planned on.
//! Every swap checks its preconditions on the very manifest that it replaces.
//!
//! A [`session::Session`] turns events into actions. Every answer to a swap but "swapped" is a doubt: its outcome is
//! unknown. A doubt is settled by a load, and [`settle::settle`] is the one function that decides whether a change took
//! effect: a commit leaves a record with its nonce, and all other changes are repeatable.
//!
//! # The line
//!
//! The versions of a container are its [`line::Line`]: a root (a page tree that the core never reads), and records over
//! it. A record holds the commits of one swap. The newest record is inline in the manifest; older ones move into
//! segments, which a client puts between commits. A checkpoint makes a new root and ends an era of the [`history`].
//!
//! # Reclaim
//!
//! An extent that was named from *b* on, and no longer since *d*, is reclaimed when no holder is in [b, d). Holders are
//! tagged and retained versions. This one rule serves history, tags and publications.
//!
//! ```text
//!   versions              10 ─────── 20 ─────── 30 ─────── 40          retained: from the horizon on
//!   extent A              b ════════════════════ d                     dead at 30
//!   tag "paper"                       ▲ 20                             holds A: 10 <= 20 < 30
//!   extent B              b ═══════ d                                  dead at 20, no holder: reclaimed once the horizon is 20
//! ```
//!
//! Records list the objects and extents that a commit gained and freed. A *fold* applies them to the tables of
//! [`usage`]: bytes in use of each object, and the dead lists. A [`reclaim`] plans on the tables, and its swap names
//! new ones. A [`sweep`] deletes the objects that neither a manifest nor a listed session can need: it lists first, and
//! loads the manifest afterwards.
//!
//! # What the core does not do
//!
//! The core makes no request, reads no clock and draws no random number. The caller stores pages, objects and queue objects, and
//! decides how long it waits. The simulator checks that invariants hold for every order, loss, repetition and delay of requests.
//! Each rule of the protocol is marked by `rule!` at the place that keeps it; a test breaks each rule once, and the simulator
//! has to find the harm.

#[macro_use]
mod rules;

pub(crate) mod apply;
pub(crate) mod change;
pub(crate) mod events;
pub(crate) mod frame;
pub(crate) mod group;
pub(crate) mod history;
pub(crate) mod ids;
mod life;
pub(crate) mod line;
pub(crate) mod manifest;
pub(crate) mod reclaim;
pub(crate) mod records;
pub(crate) mod references;
pub(crate) mod runs;
pub(crate) mod salvage;
pub(crate) mod session;
pub(crate) mod settle;
pub(crate) mod sweep;
pub(crate) mod usage;

#[cfg(test)]
mod encoding_tests;
#[cfg(test)]
mod imports_tests;
#[cfg(test)]
mod session_tests;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod size_tests;
