//! Parts of blocks that several processes wrote, sent to one process before a commit: the process that wrote most of a
//! block receives the parts of the other processes. Parts that are not sent are merged at the commit.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use h5lake_container::{BlockPart, ChangedBlock, Container};

use super::{CollectiveFile, outcome};
use crate::error::{Error, Minor, Result};

/// The most bytes of the lists of changed blocks, in all processes' lists together.
const LISTS_BYTES: usize = 4 << 20;
/// The most bytes that a process sends at a time, and the least that it may send to each process.
pub(super) const SENT_BYTES: usize = 16 << 20;
pub(super) const LEAST_SENT_BYTES: usize = 16 << 10;
/// The most processes that exchange parts. With more, each would receive too many lists: all blocks are merged
/// instead.
const MOST_PROCESSES: usize = 1 << 13;
/// The bytes of a listed block: its number, and the number of bytes that were written.
const LISTED_BYTES: usize = 16;
/// The bytes of the head of a part in a message: the lengths of its key and its spans.
const HEAD_BYTES: usize = 8;
/// The bytes of each span in a message: its start and its end.
const SPAN_BYTES: usize = 16;

/// The process that takes a block which several processes have written, by the block's number.
type Owners = HashMap<u64, usize>;

impl CollectiveFile {
    /// Brings parts of blocks together: the process that wrote most of a block takes the parts of the other processes.
    /// After an error, each process has its own parts as before. Collective.
    ///
    /// # Errors
    /// If any process failed.
    pub(super) fn bring_parts_together(&self, container: &Container) -> Result<()> {
        let (done, panic) = outcome(catch_unwind(AssertUnwindSafe(|| self.aggregate(container))));
        if panic.is_some() || done.is_err() {
            container.take_back_parts();
        }
        panic.map_or(done, |panic| resume_unwind(panic))
    }

    /// Returns whether processes bring parts together. The result is the same in all processes.
    fn aggregates(&self) -> bool {
        self.has_several_processes() && self.processes.size() <= MOST_PROCESSES
    }

    fn aggregate(&self, container: &Container) -> Result<()> {
        if !self.aggregates() {
            return Ok(());
        }
        let most = LISTS_BYTES / LISTED_BYTES / self.processes.size();
        // The commit reports errors that occur here.
        let mine = caught(|| Ok(container.changed_blocks(most)?)).unwrap_or_default();
        let owners = self.owners(&mine)?;
        if owners.is_empty() {
            return Ok(());
        }
        let me = self.processes.rank();
        let owner = |block: &ChangedBlock| owners.get(&block.number).copied().filter(|owner| *owner != me);
        let given = mine.iter().filter_map(|block| Some((block, owner(block)?)));
        let sent = self.bring(container, given)?;
        tracing::debug!(
            container = container.name(),
            blocks = sent.len(),
            "brought parts of blocks to others"
        );
        sent.iter().for_each(|key| container.give_part(key));
        Ok(())
    }

    /// Decides which process takes which block. The result is the same in all processes.
    fn owners(&self, mine: &[ChangedBlock]) -> Result<Owners> {
        let counts = self.processes.gather(&(mine.len() as u32).to_le_bytes())?;
        let counts = counts.as_chunks::<4>().0.iter().map(|count| u32::from_le_bytes(*count) as usize);
        let counts: Vec<usize> = counts.collect();
        if counts.iter().filter(|count| **count > 0).count() < 2 {
            return Ok(Owners::new());
        }
        let longest = counts.iter().max().copied().unwrap_or(0);
        let mut list = Vec::with_capacity(longest * LISTED_BYTES);
        mine.iter()
            .for_each(|block| list.extend([block.number.to_le_bytes(), block.bytes.to_le_bytes()].concat()));
        list.resize(longest * LISTED_BYTES, 0);
        let all = self.processes.gather(&list)?;
        Ok(choose_owners(&all, &counts, longest))
    }

    /// Sends blocks to the processes that take them, some at a time, and takes the received ones. Returns the keys of
    /// the sent blocks.
    fn bring<'a>(
        &self,
        container: &Container,
        given: impl Iterator<Item = (&'a ChangedBlock, usize)>,
    ) -> Result<Vec<&'a [u8]>> {
        let most = (SENT_BYTES / self.processes.size()).max(LEAST_SENT_BYTES);
        let mut outbox = Outbox { given, container, begun: None, sent: Vec::new() };
        loop {
            let packed = caught(|| Ok(outbox.next_messages(self.processes.size(), most)));
            let (messages, packed) = match packed {
                Ok(messages) => (messages, Ok(())),
                Err(e) => (vec![Vec::new(); self.processes.size()], Err(e)),
            };
            let received = self.processes.exchange_messages(&messages)?;
            let take_all = || received.iter().try_for_each(|message| take(container, message));
            let taken = packed.and_then(|()| caught(take_all));
            let is_more = outbox.begun.is_some();
            let ((), all_flags) = self.processes.exchange(taken, u32::from(is_more), 0)?;
            if all_flags == 0 {
                return Ok(outbox.sent);
            }
        }
    }
}

/// Runs a part that one process does independently: a panic becomes an error, because the other processes wait for the
/// next message.
pub(super) fn caught<T>(body: impl FnOnce() -> Result<T>) -> Result<T> {
    outcome(catch_unwind(AssertUnwindSafe(body))).0
}

/// The blocks that are to be sent.
struct Outbox<'a, 'c, I> {
    given: I,
    container: &'c Container,
    /// The block that is partly sent.
    begun: Option<Sending<'a>>,
    /// The keys of the blocks that are sent.
    sent: Vec<&'a [u8]>,
}

impl<'a, I: Iterator<Item = (&'a ChangedBlock, usize)>> Outbox<'a, '_, I> {
    /// Returns the next messages, one to each process: not much longer than `most` bytes.
    fn next_messages(&mut self, processes: usize, most: usize) -> Vec<Vec<u8>> {
        let mut messages = vec![Vec::new(); processes];
        while let Some(mut sending) = self.begun.take().or_else(|| self.begin()) {
            let message = &mut messages[sending.owner];
            if message.len() < most {
                sending.pack(message, most);
            }
            if !sending.is_done() {
                self.begun = Some(sending);
                break;
            }
            self.sent.push(sending.key);
        }
        messages
    }

    /// Returns the next block that is in memory.
    fn begin(&mut self) -> Option<Sending<'a>> {
        self.given.by_ref().find_map(|(block, owner)| {
            let part = self.container.part_of_block(&block.key)?;
            Some(Sending { key: &block.key, owner, part, span: 0, at: 0, byte: 0 })
        })
    }
}

/// A part of a block on its way to the process that takes it.
struct Sending<'a> {
    key: &'a [u8],
    owner: usize,
    part: BlockPart,
    /// The span that is sent next, the sent bytes of that span, and all sent bytes.
    span: usize,
    at: usize,
    byte: usize,
}

impl Sending<'_> {
    fn is_done(&self) -> bool {
        self.span == self.part.spans.len()
    }

    /// Adds as much to a message as it has space for.
    fn pack(&mut self, message: &mut Vec<u8>, most: usize) {
        let (mut spans, from) = (Vec::new(), self.byte);
        let mut space =
            most.saturating_sub(message.len() + HEAD_BYTES + self.key.len()).max(LEAST_SENT_BYTES);
        while let Some(span) = self.part.spans.get(self.span).filter(|_| space > SPAN_BYTES) {
            let start = span.start + self.at;
            let end = span.end.min(start + space - SPAN_BYTES);
            [start, end].iter().for_each(|at| spans.extend_from_slice(&(*at as u64).to_le_bytes()));
            space -= SPAN_BYTES + (end - start);
            self.byte += end - start;
            (self.span, self.at) =
                if end == span.end { (self.span + 1, 0) } else { (self.span, self.at + end - start) };
        }
        message.extend((self.key.len() as u32).to_le_bytes());
        message.extend(((spans.len() / SPAN_BYTES) as u32).to_le_bytes());
        message.extend_from_slice(self.key);
        message.extend_from_slice(&spans);
        message.extend_from_slice(&self.part.bytes[from..self.byte]);
    }
}

/// Takes the parts that another process has sent.
fn take(container: &Container, mut message: &[u8]) -> Result<()> {
    while !message.is_empty() {
        let (key, part) = unpack(&mut message)
            .ok_or_else(|| Error::new(Minor::CannotOperate, "a message of another process cannot be read"))?;
        container.take_part(key, &part)?;
    }
    Ok(())
}

fn unpack<'a>(message: &mut &'a [u8]) -> Option<(&'a [u8], BlockPart)> {
    let head = message.split_off(..HEAD_BYTES)?;
    let number = |at: usize| head[at..at + 4].try_into().map(u32::from_le_bytes).ok();
    let key = message.split_off(..number(0)? as usize)?;
    let listed = message.split_off(..(number(4)? as usize).checked_mul(SPAN_BYTES)?)?;
    let ends = listed.as_chunks::<8>().0.iter().map(|end| usize::try_from(u64::from_le_bytes(*end)).ok());
    let ends: Vec<usize> = ends.collect::<Option<_>>()?;
    let spans: Vec<_> = ends.chunks(2).map(|span| span[0]..span[1]).collect();
    let length =
        spans.iter().try_fold(0_usize, |sum, span| sum.checked_add(span.end.checked_sub(span.start)?))?;
    let bytes = message.split_off(..length)?.to_vec();
    Some((key, BlockPart { spans, bytes }))
}

/// Decides which process takes each block that several processes have listed: the one that wrote most of the block. If
/// several wrote as much, the block's number decides, so that each of them gets some blocks.
fn choose_owners(lists: &[u8], counts: &[usize], longest: usize) -> Owners {
    let mut claims: HashMap<u64, Vec<(u64, usize)>> = HashMap::new();
    for (process, (list, count)) in lists.chunks(longest * LISTED_BYTES).zip(counts).enumerate() {
        for entry in list.as_chunks::<8>().0.chunks(2).take(*count) {
            let [number, bytes] = [entry[0], entry[1]].map(u64::from_le_bytes);
            claims.entry(number).or_default().push((bytes, process));
        }
    }
    claims.retain(|_, claims| claims.len() > 1);
    let owner = |(number, claims): (u64, Vec<(u64, usize)>)| {
        let most = claims.iter().map(|(bytes, _)| *bytes).max().unwrap_or(0);
        let equal: Vec<usize> =
            claims.into_iter().filter(|(bytes, _)| *bytes == most).map(|(_, process)| process).collect();
        (number, equal[(number % equal.len() as u64) as usize])
    };
    claims.into_iter().map(owner).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sending(key: &[u8], spans: Vec<std::ops::Range<usize>>) -> Sending<'_> {
        let length = spans.iter().map(|span| span.len()).sum();
        let bytes = (0..length).map(|n: usize| (n % 251) as u8).collect();
        Sending { key, owner: 0, part: BlockPart { spans, bytes }, span: 0, at: 0, byte: 0 }
    }

    #[test]
    fn a_part_arrives_as_it_was_in_as_many_messages_as_it_takes() {
        let most = LEAST_SENT_BYTES;
        for spans in [
            vec![0..4, 6..7],
            vec![3..5, 9..10],
            vec![0..1, 2..3 * most],
            (0..2 * most).step_by(8).map(|at| at..at + 3).collect(),
        ] {
            let mut sending = sending(b"a key", spans);
            let (mut arrived, mut messages) = (vec![0; 3 * most], 0);
            while !sending.is_done() {
                let mut message = Vec::new();
                sending.pack(&mut message, most);
                assert!(message.len() <= most + HEAD_BYTES + sending.key.len());
                let mut rest = &message[..];
                let (key, part) = unpack(&mut rest).unwrap();
                assert!(key == b"a key" && rest.is_empty() && !part.bytes.is_empty());
                let mut bytes = &part.bytes[..];
                part.spans
                    .iter()
                    .for_each(|r| arrived[r.clone()].copy_from_slice(bytes.split_off(..r.len()).unwrap()));
                messages += 1;
            }
            let mut bytes = &sending.part.bytes[..];
            let mut wanted = vec![0; 3 * most];
            sending
                .part
                .spans
                .iter()
                .for_each(|r| wanted[r.clone()].copy_from_slice(bytes.split_off(..r.len()).unwrap()));
            assert!(arrived == wanted && bytes.is_empty() && messages <= 5, "{messages} messages");
        }
    }

    #[test]
    fn a_message_that_is_cut_or_lies_is_refused() {
        let mut message = Vec::new();
        sending(b"key", vec![0..4, 8..12]).pack(&mut message, LEAST_SENT_BYTES);
        assert!(unpack(&mut &message[..]).is_some());
        assert!((0..message.len()).all(|length| unpack(&mut &message[..length]).is_none()));
        let start = HEAD_BYTES + 3;
        message[start..start + 8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(unpack(&mut &message[..]).is_none());
    }

    #[test]
    fn the_largest_writer_owns_a_block_and_ties_are_spread() {
        let list = |blocks: &[(u64, u64)]| {
            let mut list: Vec<u8> = blocks
                .iter()
                .flat_map(|(n, bytes)| [n.to_le_bytes(), bytes.to_le_bytes()].concat())
                .collect();
            list.resize(4 * LISTED_BYTES, 0);
            list
        };
        let lists =
            [list(&[(7, 10), (8, 1), (9, 5), (10, 5)]), list(&[(7, 9), (9, 5), (10, 5)]), list(&[(7, 11)])];
        let owners = choose_owners(&lists.concat(), &[4, 3, 1], 4);
        assert_eq!(owners, Owners::from([(7, 2), (9, 1), (10, 0)]), "8 is of one process");
    }
}
