//! The state of a simulated store with its clients.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::actor::{Actor, Task};
use super::oracle::Oracle;
use super::scenarios::Scenario;
use super::storage::{Content, Store, Stored};
use crate::core::group::Member;
use crate::core::ids::{ContainerId, Nonce, ObjectId, SessionId};
use crate::core::manifest::Manifest;

/// A swap in transit to the register.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Sent {
    pub(super) actor: usize,
    pub(super) session: SessionId,
    pub(super) task: Task,
    pub(super) nonce: Nonce,
    pub(super) is_cancel: bool,
    /// The version that an exclusive writer continues.
    pub(super) stands: Option<u64>,
    /// The version that a commit was merged with, or the sequence of the manifest for which a deletion was prepared.
    pub(super) on: Option<u64>,
    /// The content that a restore reproduces.
    pub(super) source: Option<Content>,
    pub(super) manifest: Arc<Manifest>,
}

/// A reader that has opened a version, and the objects that it may read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Reader {
    pub(super) version: u64,
    pub(super) content: [u8; 2],
    pub(super) used: Vec<ObjectId>,
}

/// A value in a world that is not a part of its state.
#[derive(Debug, Clone)]
pub(super) struct Beside<T>(pub(super) T);

impl<T> PartialEq for Beside<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl<T> Eq for Beside<T> {}
impl<T> Hash for Beside<T> {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// A store with one name, and all clients that use the name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) scenario: Beside<&'static Scenario>,
    /// True if manifests are encoded and decoded.
    pub(super) encodes: Beside<bool>,
    /// The register: the manifest in the head object, and its token.
    pub(super) head: Arc<Manifest>,
    pub(super) token: u64,
    /// Swaps that are conditional on `token`. All other swaps are refused whenever they arrive.
    pub(super) net: Vec<Sent>,
    pub(super) store: Store,
    /// Objects that may be deleted at any time.
    pub(super) deletes: BTreeSet<ObjectId>,
    /// Second copies of puts that arrive late.
    pub(super) late: Vec<(ObjectId, Arc<Stored>)>,
    pub(super) queue: Vec<Member>,
    pub(super) actors: Vec<Actor>,
    pub(super) readers: Vec<Reader>,
    /// Copies of manifests, for salvage.
    pub(super) copies: Vec<Arc<Manifest>>,
    pub(super) crashes: u8,
    pub(super) lates: u8,
    pub(super) losses: u8,
    pub(super) oracle: Oracle,
    /// True if objects were deleted, or copies of manifests were put, since the last check.
    pub(super) is_unchecked: bool,
    /// The manifest at the last check.
    pub(super) checked: Beside<Option<Arc<Manifest>>>,
}

/// The container of most scenarios.
pub(super) const CONTAINER: ContainerId = ContainerId([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

impl World {
    /// Returns the initial state of a scenario.
    pub(super) fn new(scenario: &'static Scenario) -> Self {
        let mut head = Manifest::absent();
        if !scenario.is_absent {
            head.id = CONTAINER;
        }
        let actors =
            (0..scenario.actors.len()).map(|p| Actor::new(p, 0, head.id, scenario.exclusive >> p & 1 != 0));
        let mut world = Self {
            scenario: Beside(scenario),
            encodes: Beside(true),
            actors: actors.collect(),
            head: Arc::new(head),
            token: 0,
            net: Vec::new(),
            store: Store::default(),
            deletes: BTreeSet::new(),
            late: Vec::new(),
            queue: Vec::new(),
            readers: Vec::new(),
            copies: Vec::new(),
            crashes: scenario.crashes,
            lates: scenario.lates,
            losses: scenario.losses,
            oracle: Oracle::new(),
            is_unchecked: false,
            checked: Beside(None),
        };
        if scenario.joined {
            for p in 0..world.actors.len() {
                world.join_at_once(p);
            }
        }
        world
    }

    /// Deletes objects: at once in most scenarios, which is the worst case, or at any time.
    pub(super) fn delete(&mut self, objects: impl IntoIterator<Item = ObjectId>) {
        self.deletes.extend(objects);
        self.is_unchecked = true;
        if !self.scenario.0.is_lazy {
            for object in std::mem::take(&mut self.deletes) {
                self.store.0.remove(&object);
            }
        }
    }

    /// Loads the manifest and its token. Loads are linearizable.
    pub(super) fn load(&self) -> (Arc<Manifest>, u64) {
        (self.head.clone(), self.token)
    }
}
