//! Requests to a store that fail again and again.

use object_stores::{Damage, ErrorKind, Fault, FaultStore, Rule, Select, Timing};

use super::work::Chance;

const KINDS: [ErrorKind; 4] = [ErrorKind::Io, ErrorKind::Timeout, ErrorKind::Unavailable, ErrorKind::NoSpace];

/// Injects a fault into a dozen of the requests from now on: before their effect, after it, or in their answer.
pub fn fail_often(faults: &FaultStore, c: &mut Chance) {
    let (apart, mut skip) = ([6, 20, 60][c.below(3) as usize], 0);
    for _ in 0..12 {
        skip += 1 + c.below(apart);
        let kind = KINDS[c.below(4) as usize];
        let fault = match c.below(12) {
            0 => Fault::Damage(Damage::Flip(c.below(5000) as usize)),
            1 => Fault::Damage(Damage::Cut(c.below(300) as usize)),
            // A request that fails for lack of space had no effect.
            n if kind == ErrorKind::NoSpace => Fault::Fail(Timing::ALL[n as usize % 2], kind),
            n => Fault::Fail(Timing::ALL[n as usize % 3], kind),
        };
        faults.inject(Rule { select: Select::Any, skip, times: 1 + c.below(3), fault });
    }
}
