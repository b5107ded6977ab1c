//! Links that both changed.

use super::Contest;
use crate::container::State;
use crate::convert::show;
use crate::record::{self, LinkRecord};
use crate::{Container, Result, keys};
use bytes::Bytes;

fn decode(value: &Option<Bytes>) -> Result<Option<LinkRecord>> {
    let what = || "a link that two writers changed".to_owned();
    value.as_ref().map(|v| record::decode(v.clone(), what)).transpose()
}

impl Container {
    /// The same link, or the removal of the same, is what both wanted; else the first has it.
    pub(super) fn merge_link(&self, s: &mut State, c: Contest) -> Result<()> {
        let [base, theirs, ours] = [decode(&c.base)?, decode(&c.theirs)?, decode(&c.ours)?];
        let content = |r: &Option<LinkRecord>| r.clone().map(|r| LinkRecord { creation_order: None, ..r });
        let same = content(&theirs) == content(&ours);
        let group = keys::id(&c.key).unwrap_or_default();
        let last = if same || !self.last_wins { &theirs } else { &ours };
        // Our counts in headers say what we did to the base; what is done is to theirs.
        let hard = |r: &Option<LinkRecord>| r.as_ref().and_then(|r| r.hard);
        for (link, count) in [(hard(&theirs), -1), (hard(last), 1), (hard(&base), 1), (hard(&ours), -1)] {
            if let Some(id) = link {
                s.others.fixes.entry(id).or_default().links += count;
            }
        }
        let there = |r: &Option<LinkRecord>| i64::from(r.is_some());
        s.others.fixes.entry(group).or_default().entries +=
            (there(last) - there(&theirs)) - (there(&ours) - there(&base));
        if !same {
            let long = [&ours, &theirs, &base].into_iter().flatten().map(|r| r.name.clone()).next();
            let name = keys::name(&c.key, long.as_deref().unwrap_or_default()).to_vec();
            if !self.last_wins {
                self.conflict(s, &c.key, group, format!(", link {},", show(&name)));
            }
        }
        if same || !self.last_wins {
            self.ledger.unstage(&c.key)?;
        } else {
            self.ledger.merged(&c.key);
        }
        s.lists.forget(group);
        Ok(())
    }
}
