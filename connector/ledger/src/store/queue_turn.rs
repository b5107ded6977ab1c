//! The order in which writers with queued commits become leaders.

use std::collections::HashSet;
use std::time::Duration;

use object_stores::{Key, ObjectMeta};

use crate::core::ids::{Nonce, SessionId};
use crate::core::records::MAX_PARTS;

/// The number of checks of the manifest between two listings of the queue, while none of the commits ahead is committed.
const LOOKS_BEFORE_LISTING: u32 = 6;
/// After this number of such listings, the writer of the next commit leads as well, and so on.
const LISTINGS_BEFORE_NEXT: usize = 3;
/// The shortest and the longest pause between two checks.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(500));

/// The name of a queued commit. Names are in the order in which the commits were queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueName {
    /// The time at which the commit was queued, in microseconds since 1970.
    pub(crate) time: u64,
    /// The time at which the same changes were queued for the first time. Since then, they may have been merged and queued again.
    pub(crate) since: u64,
    pub(crate) nonce: Nonce,
}

impl QueueName {
    pub(crate) fn text(&self) -> String {
        let Self { time, since, nonce } = self;
        format!("queue/{time:016x}-{since:016x}-{:016x}-{:x}", nonce.session.0, nonce.count)
    }

    /// Returns the name in a key; `None` if another program gave the name.
    pub(crate) fn of(key: &Key) -> Option<Self> {
        let (_, name) = key.as_str().rsplit_once('/')?;
        let mut parts = name.split('-').map(|part| u64::from_str_radix(part, 16).ok());
        let mut next = || parts.next().flatten();
        let (time, since) = (next()?, next()?);
        Some(Self { time, since, nonce: Nonce { session: SessionId(next()?), count: next()? } })
    }
}

/// The state of a waiting writer: it determines when to check the manifest, when to list the queue, and when to lead.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    /// The commits ahead of this writer's commit in the last listing that are not committed yet. `None` before the first listing.
    ahead: Option<Vec<Key>>,
    /// The checks since the last listing, or since one of the commits ahead was committed.
    looks: u32,
    /// The listings since one of the commits ahead was committed.
    listings: usize,
}

impl Turn {
    /// Returns whether the queue was not listed yet.
    pub(crate) fn is_new(&self) -> bool {
        self.ahead.is_none()
    }

    /// Applies a check of the manifest: `recorded` are the nonces in its newest records. Returns whether to list the queue now: if no other
    /// commit is ahead any more, so that this writer should lead, and after several checks without a change.
    pub(crate) fn wants_listing(&mut self, recorded: &HashSet<Nonce>) -> bool {
        let Some(ahead) = &mut self.ahead else { return true };
        let before = ahead.len();
        ahead.retain(|key| !is_recorded(key, recorded));
        if ahead.len() < before {
            (self.looks, self.listings) = (0, 0);
        }
        self.looks += 1;
        ahead.is_empty() || self.looks > LOOKS_BEFORE_LISTING
    }

    /// Applies a listing of the queue, without the commits that are recorded already. Returns whether the writer of the commit `mine` should
    /// lead: its commit is the first one, or the writers of the commits ahead do not respond.
    pub(crate) fn is_to_lead(&mut self, queued: &[ObjectMeta], mine: &Key) -> bool {
        let ahead: Vec<Key> =
            queued.iter().take_while(|meta| meta.key < *mine).map(|meta| meta.key.clone()).collect();
        let is_same = self.ahead.as_ref().is_some_and(|before| before.first() == ahead.first());
        (self.looks, self.listings) = (0, if is_same { self.listings + 1 } else { 0 });
        let leads = ahead.len() <= self.listings / LISTINGS_BEFORE_NEXT;
        self.ahead = Some(ahead);
        leads
    }

    /// Returns the pause before the next check. In a long queue commits wait longer, and more writers make requests.
    pub(crate) fn pause(&self, round_trip: Duration) -> Duration {
        let ahead = self.ahead.as_ref().map_or(0, Vec::len);
        let shares = (ahead / MAX_PARTS).max(1) as u32;
        (round_trip / 2 * shares).clamp(PAUSES.0, PAUSES.1)
    }
}

/// Returns queued commits in the order in which a leader includes them: of two commits that exclude each other, it includes the
/// one with the changes that have waited longer. So no writer is overtaken for ever.
pub(crate) fn longest_first(mut queued: Vec<ObjectMeta>) -> Vec<ObjectMeta> {
    queued.sort_by_key(|meta| QueueName::of(&meta.key).map(|name| name.since));
    queued
}

/// Returns whether a queued commit has a record.
pub(crate) fn is_recorded(key: &Key, recorded: &HashSet<Nonce>) -> bool {
    QueueName::of(key).is_some_and(|name| recorded.contains(&name.nonce))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(time: u64) -> ObjectMeta {
        queued(time, time)
    }

    fn queued(time: u64, since: u64) -> ObjectMeta {
        let name = QueueName { time, since, nonce: Nonce { session: SessionId(time), count: 1 } };
        let key = Key::new(format!("a.h5.lake/1/{}", name.text())).unwrap();
        assert_eq!(QueueName::of(&key), Some(name));
        ObjectMeta { key, size: 100, etag: None, modified: std::time::SystemTime::UNIX_EPOCH }
    }

    fn recorded(times: &[u64]) -> HashSet<Nonce> {
        times.iter().map(|time| Nonce { session: SessionId(*time), count: 1 }).collect()
    }

    #[test]
    fn changes_that_were_queued_again_keep_their_place() {
        let other = ObjectMeta { key: Key::new("a.h5.lake/1/queue/1").unwrap(), ..meta(1) };
        let sorted = longest_first(vec![meta(2), other.clone(), queued(3, 1), meta(4)]);
        let times = sorted.iter().map(|meta| QueueName::of(&meta.key).map(|name| name.time));
        assert_eq!(times.collect::<Vec<_>>(), [None, Some(3), Some(2), Some(4)]);
    }

    #[test]
    fn a_writer_leads_when_the_commits_ahead_are_recorded() {
        let mut turn = Turn::default();
        assert!(turn.is_new() && turn.wants_listing(&recorded(&[])));
        assert!(!turn.is_to_lead(&[meta(1), meta(2), meta(3)], &meta(3).key));
        assert!(!turn.wants_listing(&recorded(&[1])));
        assert!(turn.wants_listing(&recorded(&[1, 2])));
        assert!(turn.is_to_lead(&[meta(3), meta(4)], &meta(3).key));
    }

    #[test]
    fn a_writer_leads_if_those_ahead_do_not_respond() {
        let mut turn = Turn::default();
        let queue = [meta(1), meta(2), meta(3)];
        let mut listings = 0;
        for looks in 0.. {
            if turn.wants_listing(&recorded(&[])) {
                listings += 1;
                if turn.is_to_lead(&queue, &meta(3).key) {
                    assert!(looks >= 6 * LOOKS_BEFORE_LISTING, "{looks} checks");
                    break;
                }
            }
            assert!(looks < 1000);
        }
        assert_eq!(listings, 2 * LISTINGS_BEFORE_NEXT + 1);
    }
}
