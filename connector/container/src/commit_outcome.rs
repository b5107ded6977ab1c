//! Containers whose changes can never be committed: another process has replaced or deleted them, or has taken the writer's
//! place.

use crate::{Container, Error, ErrorKind};

/// What a failed commit says of the next ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Recoverability {
    /// Another try may succeed.
    Open,
    /// Stored bytes are damaged that the commit needs: it succeeds only if something else was changed instead.
    Damaged,
    /// No commit through this handle will ever succeed, and what is not committed is lost.
    Lost,
}

impl Container {
    /// Whether nothing can be committed through this handle any more. It can be opened anew beside it.
    pub fn is_lost(&self) -> bool {
        self.writable() && self.ledger.is_broken()
    }

    /// What is to be expected after a flush that failed with `error`.
    pub fn recoverability(&self, error: &Error) -> Recoverability {
        match error.kind() {
            _ if self.is_lost() => Recoverability::Lost,
            ErrorKind::Corrupt => Recoverability::Damaged,
            _ => Recoverability::Open,
        }
    }

    /// Gives up what is not committed, because nobody can try again: the program ends. The container is lost then.
    pub fn abandon(&self, why: &str) {
        self.ledger.abandon(why);
        self.let_go();
    }

    /// The version that was committed last, or that is shown.
    pub fn committed_version(&self) -> u64 {
        self.ledger.version()
    }

    /// Of a container that is lost: lets go of locks, so that others can open it. What is in memory stays readable until the
    /// last of it is closed; what is not may be reclaimed.
    pub fn let_go(&self) {
        if self.is_lost() {
            self.ledger.let_go();
        }
    }
}
