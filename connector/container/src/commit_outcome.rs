//! Containers that can never be committed again, because another process has replaced or deleted them or has fenced
//! their writer.

use crate::{Container, Error, ErrorKind};

/// The prospects of later commits after a failed commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Recoverability {
    /// Another attempt may succeed.
    Open,
    /// The commit needs stored bytes that are damaged. It can succeed only if other objects are changed instead.
    Damaged,
    /// No commit through this handle can ever succeed, and the uncommitted changes are lost.
    Lost,
}

impl Container {
    /// Returns whether commits through this handle have become impossible. The container can be opened again beside
    /// this handle.
    pub fn is_lost(&self) -> bool {
        self.writable() && self.ledger.is_broken()
    }

    /// Returns the prospects of later commits after a flush that failed with `error`.
    pub fn recoverability(&self, error: &Error) -> Recoverability {
        match error.kind() {
            _ if self.is_lost() => Recoverability::Lost,
            ErrorKind::Corrupt => Recoverability::Damaged,
            _ => Recoverability::Open,
        }
    }

    /// Discards the uncommitted changes because the program ends and no later flush can follow. The container is lost
    /// afterwards.
    pub fn abandon(&self, why: &str) {
        self.ledger.abandon(why);
        self.let_go();
    }

    /// Returns the newest version that was committed here, or the version that is shown.
    pub fn committed_version(&self) -> u64 {
        self.ledger.version()
    }

    /// Releases the locks of a lost container, so that other processes can open it. Data in memory stays readable until
    /// the last object is closed; other data may be reclaimed.
    pub fn let_go(&self) {
        if self.is_lost() {
            self.ledger.let_go();
        }
    }
}
