//! The faults of the simulated network.

use super::Chance;
use crate::Operation;

/// The frequency of each fault, per 1,000 requests. A read can only be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The request does not arrive, and the caller gets an error.
    pub lost: u32,
    /// The change takes effect, but the caller gets an error.
    pub unanswered: u32,
    /// The answer is lost, and the client sends the request again before it returns: the caller gets the second answer.
    pub sent_again: u32,
    /// The caller gets an error, and the change takes effect afterwards if its condition still holds.
    pub late: u32,
    /// The caller gets an answer, and the request arrives once more afterwards.
    pub repeated: u32,
}

impl Faults {
    /// No faults: the scheduler decides only the order.
    pub const NONE: Faults = Faults { lost: 0, unanswered: 0, sent_again: 0, late: 0, repeated: 0 };
    /// Requests and answers are lost. When a call has returned, none of its requests is in flight.
    pub const LOST: Faults = Faults { lost: 30, unanswered: 30, sent_again: 30, late: 0, repeated: 0 };
    /// Requests also arrive late, and more than once.
    pub const ALL: Faults = Faults { lost: 30, unanswered: 30, sent_again: 30, late: 30, repeated: 30 };

    /// Draws the fate of a request.
    pub(super) fn draw(&self, operation: Operation, chance: &mut Chance) -> Fate {
        let mut left = chance.below(1000);
        let is_slow = chance.below(2) == 0;
        let fates = [
            (self.lost, Fate::Lost),
            (self.unanswered, Fate::Unanswered),
            (self.sent_again, Fate::SentAgain),
            (self.late, Fate::Late),
            (self.repeated, Fate::Repeated),
        ];
        for (share, fate) in fates {
            if left < u64::from(share) && (operation.is_mutating() || fate == Fate::Lost) {
                return fate;
            }
            left = left.saturating_sub(u64::from(share));
        }
        Fate::Passed { is_slow }
    }
}

/// The fate of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The request arrives. If the answer is slow, other requests take their turn before it returns.
    Passed {
        is_slow: bool,
    },
    Lost,
    Unanswered,
    SentAgain,
    Late,
    Repeated,
}

impl Fate {
    pub(super) fn name(self) -> &'static str {
        match self {
            Fate::Passed { .. } => "passed",
            Fate::Lost => "the request was lost",
            Fate::Unanswered => "the answer was lost",
            Fate::SentAgain => "the request was sent again",
            Fate::Late => "the request arrives late",
            Fate::Repeated => "the request arrives again",
        }
    }
}
