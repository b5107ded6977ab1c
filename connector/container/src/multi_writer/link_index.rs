//! An index of links by target object, built once per merge: the merge needs it for each object that another writer
//! deleted, and for each link that both sides changed.

use super::RemoteChanges;
use super::tree::hard;
use crate::container::State;
use crate::{Container, Result};
use bytes::Bytes;
use h5lake_records::keys;
use h5lake_records::record::{LinkRecord, decode};
use std::collections::HashMap;

/// A group, and the name of a link in it.
type NamedLink = (u64, String);

/// Links by target object. Each list is built when it is first needed.
#[derive(Default)]
pub(super) struct LinkIndex {
    /// The keys of staged links.
    staged: Option<HashMap<u64, Vec<Bytes>>>,
    /// A link that this batch removes.
    removed: Option<HashMap<u64, NamedLink>>,
    /// A link that another writer removed.
    remotely_removed: Option<HashMap<u64, NamedLink>>,
}

fn named(key: &[u8], r: &LinkRecord) -> Option<NamedLink> {
    let name = String::from_utf8_lossy(keys::name(key, &r.name)).into_owned();
    Some((keys::id(key)?, format!("/{name}")))
}

fn remotely_removed_links(remote: &RemoteChanges) -> HashMap<u64, NamedLink> {
    let mut links = HashMap::new();
    for (key, their) in remote.theirs.iter().filter(|(key, _)| key.first() == Some(&keys::LINK)) {
        let before = their.before.clone().and_then(|before| decode::<LinkRecord>(before, String::new).ok());
        let Some(before) = before else { continue };
        if let (Some(id), Some(link)) = (before.hard, named(key, &before)) {
            links.entry(id).or_insert(link);
        }
    }
    links
}

impl Container {
    /// Returns the keys of staged links that lead to an object.
    pub(super) fn staged_links_to(&self, s: &mut State, id: u64) -> Result<Vec<Bytes>> {
        if s.remote.links.staged.is_none() {
            let mut all = HashMap::<u64, Vec<Bytes>>::new();
            for (key, value) in self.ledger.staged(&[keys::LINK]) {
                look_at(&mut s.remote);
                if let Some(target) = hard(value.as_ref())? {
                    all.entry(target).or_default().push(key);
                }
            }
            s.remote.links.staged = Some(all);
        }
        let all = s.remote.links.staged.as_ref().and_then(|all| all.get(&id)).cloned().unwrap_or_default();
        // Some links may have been discarded since the list was built.
        Ok(all.into_iter().filter(|key| self.ledger.is_staged(key)).collect())
    }

    /// Returns the group and the name of a link to an object that this batch removes.
    pub(super) fn removed_link(&self, s: &mut State, id: u64) -> Result<NamedLink> {
        if s.remote.links.removed.is_none() {
            let mut all = HashMap::new();
            for (key, value) in self.ledger.staged(&[keys::LINK]) {
                look_at(&mut s.remote);
                let Some(before) = self.ledger.base(&key)? else { continue };
                let before: LinkRecord = decode(before, || "a link".into())?;
                let now = hard(value.as_ref())?;
                let Some(target) = before.hard.filter(|target| now != Some(*target)) else { continue };
                if let Some(link) = named(&key, &before) {
                    all.entry(target).or_insert(link);
                }
            }
            s.remote.links.removed = Some(all);
        }
        let all = s.remote.links.removed.as_ref();
        Ok(all.and_then(|all| all.get(&id)).cloned().unwrap_or((id, String::new())))
    }

    /// Returns the group and the name of a link to an object that another writer removed.
    pub(super) fn remotely_removed_link(&self, s: &mut State, id: u64) -> Option<NamedLink> {
        if s.remote.links.remotely_removed.is_none() {
            s.remote.links.remotely_removed = Some(remotely_removed_links(&s.remote));
        }
        s.remote.links.remotely_removed.as_ref()?.get(&id).cloned()
    }

    /// Discards the index, because links move to other keys.
    pub(super) fn forget_links(&self, s: &mut State) {
        s.remote.links = LinkIndex::default();
    }
}

/// Counts the read of a link, for tests.
fn look_at(_remote: &mut RemoteChanges) {
    #[cfg(test)]
    {
        _remote.looks += 1;
    }
}
