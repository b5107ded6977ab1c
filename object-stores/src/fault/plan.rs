//! Decides which call fails, and how.

use bytes::Bytes;

use crate::{ErrorKind, Operation};

/// The calls that a rule or a counter covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// Every call.
    Any,
    /// Calls that can change the content of the store ([`Operation::is_mutating`]).
    Mutating,
    /// Calls that cannot change the content of the store.
    Reading,
    /// Calls of one operation.
    One(Operation),
}

impl Select {
    fn covers(self, operation: Operation) -> bool {
        match self {
            Select::Any => true,
            Select::Mutating => operation.is_mutating(),
            Select::Reading => !operation.is_mutating(),
            Select::One(one) => one == operation,
        }
    }
}

/// The moment at which a call fails, relative to its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// The call has had no effect.
    Before,
    /// The call has had a part of its effect: half of the keys of a `delete_many`, or half of the bytes of a stream's
    /// write. All other effects are atomic, and have not happened.
    During,
    /// The call has had its effect, but the caller gets an error, as when an answer is lost.
    After,
}

impl Timing {
    /// Every timing.
    pub const ALL: [Timing; 3] = [Timing::Before, Timing::During, Timing::After];
}

/// The damage to the bytes that a get or a get_into returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Only the first bytes arrive. A get returns them as if they were all; a get_into, which has to notice, fails with
    /// [`ErrorKind::ShortRead`].
    Cut(usize),
    /// One bit of the byte at this position is flipped (of the last byte, if there are fewer).
    Flip(usize),
}

impl Damage {
    /// Damages the bytes in place, and returns the number of bytes that arrive.
    pub(super) fn strike(self, bytes: &mut [u8]) -> usize {
        match self {
            Damage::Cut(len) => return len.min(bytes.len()),
            Damage::Flip(at) => {
                let last = bytes.len().saturating_sub(1);
                if let Some(byte) = bytes.get_mut(at.min(last)) {
                    *byte ^= 0x10;
                }
            }
        }
        bytes.len()
    }

    pub(super) fn applied_to(self, bytes: Bytes) -> Bytes {
        let mut bytes = bytes.to_vec();
        let kept = self.strike(&mut bytes);
        bytes.truncate(kept);
        Bytes::from(bytes)
    }
}

/// The fault of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call fails with an error of this kind.
    Fail(Timing, ErrorKind),
    /// The bytes of the call are damaged. Rules with this fault count gets only.
    Damage(Damage),
}

/// A fault, and the calls that it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The calls that are counted.
    pub select: Select,
    /// The number of these calls that pass before the fault strikes.
    pub skip: u64,
    /// The number of calls that it strikes after that; `u64::MAX` for all.
    pub times: u64,
    /// The fault.
    pub fault: Fault,
}

impl Rule {
    /// The `n`th selected call from now on (the next one is 0) fails, once.
    pub fn fail_nth(select: Select, n: u64, timing: Timing, kind: ErrorKind) -> Self {
        Rule { select, skip: n, times: 1, fault: Fault::Fail(timing, kind) }
    }

    /// Returns a rule that damages the bytes of the `n`th get or get_into from now on (the next one is 0), once.
    pub fn damage_nth(n: u64, damage: Damage) -> Self {
        Rule { select: Select::Reading, skip: n, times: 1, fault: Fault::Damage(damage) }
    }

    fn covers(&self, operation: Operation) -> bool {
        let gives_bytes = matches!(operation, Operation::Get | Operation::GetInto);
        self.select.covers(operation) && (gives_bytes || matches!(self.fault, Fault::Fail(..)))
    }
}

/// The decision about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    Fail(Timing, ErrorKind),
    Damage(Damage),
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The rules, each with the number of calls that it has counted.
    rules: Vec<(Rule, u64)>,
    crash: Option<(u64, Timing)>,
    crashed: bool,
    calls: [u64; Operation::ALL.len()],
    struck: u64,
}

impl Plan {
    pub(super) fn inject(&mut self, rule: Rule) {
        self.rules.push((rule, 0));
    }

    pub(super) fn crash_at(&mut self, n: u64, timing: Timing) {
        self.crash = Some((n, timing));
    }

    pub(super) fn is_crashed(&self) -> bool {
        self.crashed
    }

    pub(super) fn struck(&self) -> u64 {
        self.struck
    }

    pub(super) fn calls(&self, select: Select) -> u64 {
        let covered = Operation::ALL.into_iter().filter(|operation| select.covers(*operation));
        covered.map(|operation| self.calls[operation as usize]).sum()
    }

    /// Counts a call and decides what happens to it.
    pub(super) fn next(&mut self, operation: Operation) -> Verdict {
        let mutations = self.calls(Select::Mutating);
        self.calls[operation as usize] += 1;
        let verdict =
            self.crash_verdict(operation, mutations).unwrap_or_else(|| self.rule_verdict(operation));
        if verdict != Verdict::Pass {
            self.struck += 1;
        }
        verdict
    }

    fn crash_verdict(&mut self, operation: Operation, mutations: u64) -> Option<Verdict> {
        if self.crashed {
            return Some(Verdict::Fail(Timing::Before, ErrorKind::Unavailable));
        }
        let (n, timing) = self.crash?;
        if !operation.is_mutating() || mutations < n {
            return None;
        }
        self.crashed = true;
        Some(Verdict::Fail(timing, ErrorKind::Unavailable))
    }

    /// Counts the call in every rule; the first rule that strikes it decides.
    fn rule_verdict(&mut self, operation: Operation) -> Verdict {
        let mut verdict = Verdict::Pass;
        for (rule, counted) in self.rules.iter_mut().filter(|(rule, _)| rule.covers(operation)) {
            let strikes = *counted >= rule.skip && *counted - rule.skip < rule.times;
            *counted += 1;
            if strikes && verdict == Verdict::Pass {
                verdict = match rule.fault {
                    Fault::Fail(timing, kind) => Verdict::Fail(timing, kind),
                    Fault::Damage(damage) => Verdict::Damage(damage),
                };
            }
        }
        verdict
    }
}
