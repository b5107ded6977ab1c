//! Which call fails, and how.

use bytes::Bytes;

use crate::{ErrorKind, Operation};

/// The calls that a rule or a counter is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// Every call.
    Any,
    /// Calls that can change what the store holds ([`Operation::is_mutating`]).
    Mutating,
    /// Calls that cannot.
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

/// When a call fails, seen from its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// Nothing happened.
    Before,
    /// A part of it happened: half of the keys of a `delete_many`, half of the bytes of a stream's
    /// write. All other effects are atomic, and have not happened.
    During,
    /// It happened, but the caller gets an error: a dropped answer.
    After,
}

impl Timing {
    /// Every timing.
    pub const ALL: [Timing; 3] = [Timing::Before, Timing::During, Timing::After];
}

/// What is done to the bytes that a get or a get_into gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Only the first bytes arrive. A get gives them as if they were all; a get_into, which has to
    /// notice, fails with [`ErrorKind::ShortRead`].
    Cut(usize),
    /// One bit of the byte at this position is flipped (of the last byte, if there are fewer).
    Flip(usize),
}

impl Damage {
    /// Damages in place, and gives the number of bytes that arrive.
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

/// What happens to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails with an error of this kind.
    Fail(Timing, ErrorKind),
    /// Its bytes are damaged. Rules with it count gets only.
    Damage(Damage),
}

/// A fault, and the calls that it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The calls that are counted.
    pub select: Select,
    /// How many of them pass before the fault strikes.
    pub skip: u64,
    /// How many it strikes then; `u64::MAX` for all.
    pub times: u64,
    /// What it does.
    pub fault: Fault,
}

impl Rule {
    /// The `n`th selected call from now on (the next one is 0) fails, once.
    pub fn fail_nth(select: Select, n: u64, timing: Timing, kind: ErrorKind) -> Self {
        Rule { select, skip: n, times: 1, fault: Fault::Fail(timing, kind) }
    }

    /// The `n`th get or get_into from now on (the next one is 0) gives damaged bytes, once.
    pub fn damage_nth(n: u64, damage: Damage) -> Self {
        Rule { select: Select::Reading, skip: n, times: 1, fault: Fault::Damage(damage) }
    }

    fn covers(&self, operation: Operation) -> bool {
        let gives_bytes = matches!(operation, Operation::Get | Operation::GetInto);
        self.select.covers(operation) && (gives_bytes || matches!(self.fault, Fault::Fail(..)))
    }
}

/// What a call is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    Fail(Timing, ErrorKind),
    Damage(Damage),
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Each with the number of calls that it has counted.
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

    /// Counts a call and says what becomes of it.
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

    /// Every rule counts the call; the first that strikes it decides.
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
