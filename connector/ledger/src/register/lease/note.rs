//! The content of a lease object.

use super::HELD;
use crate::checksum::{seal, unseal};
use crate::codec::{Decoded, Reader, put_string, put_varint};
use crate::error::Holder;
use crate::liveness::{Life, ProcessIdentity};
use crate::process;

/// The first bytes of a lease object.
const SIGNATURE: &[u8] = b"h5lL";
/// The maximum number of dead writers with undrained queues: at this number, a queue must be drained before the next
/// writer can write.
const MAX_QUEUES: usize = 64;

/// The content of a lease object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) holder: Holder,
    pub(super) nonce: [u8; 16],
    /// The identity of the holder's process; `None` on a system that does not provide it.
    pub(super) identity: Option<ProcessIdentity>,
    /// The queues that may have pending uploads: those in the staging directory of the holder, if it has one, and those
    /// of earlier dead writers.
    pub(super) queues: Vec<PendingQueue>,
}

/// A queue of a staging directory, in which operations of a container may be pending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PendingQueue {
    pub(super) host: String,
    pub(super) folder: String,
    /// The queue's name in the directory.
    pub(super) queue: String,
}

impl Note {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = SIGNATURE.to_vec();
        put_string(&mut out, self.holder.host.as_bytes());
        put_varint(&mut out, u64::from(self.holder.pid));
        put_varint(&mut out, self.holder.since);
        out.extend_from_slice(&self.nonce);
        put_varint(&mut out, self.queues.len() as u64);
        for PendingQueue { host, folder, queue } in &self.queues {
            [host, folder, queue].iter().for_each(|text| put_string(&mut out, text.as_bytes()));
        }
        if let Some(identity) = &self.identity {
            identity.encode(&mut out);
        }
        seal(&mut out);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut r = Reader::new(unseal(bytes)?.0);
        if r.take(SIGNATURE.len())? != SIGNATURE {
            return Err("not a lease");
        }
        let host = text(&mut r)?;
        let pid = u32::try_from(r.varint()?).map_err(|_| "an impossible process id")?;
        let holder = Holder { host, pid, since: r.number()? };
        let nonce = r.id()?;
        let count = usize::try_from(r.varint()?).ok().filter(|count| *count <= MAX_QUEUES);
        let mut queues = Vec::new();
        for _ in 0..count.ok_or("too many stages")? {
            queues.push(PendingQueue { host: text(&mut r)?, folder: text(&mut r)?, queue: text(&mut r)? });
        }
        let identity = if r.remaining() == 0 { None } else { Some(ProcessIdentity::read(&mut r)?) };
        Ok(Self { holder, nonce, identity, queues })
    }

    /// Returns whether the holder can still be writing.
    pub(super) fn life(&self) -> Life {
        if HELD.lock().contains(&self.nonce) {
            return Life::Alive;
        }
        match self.identity.as_ref().map(|identity| identity.life(self.holder.pid)) {
            // The process id is that of this process, and none of its handles has the lease.
            Some(Life::Alive) if self.holder.pid == process::id() => Life::Dead,
            Some(life) => life,
            None => Life::Unknown,
        }
    }
}

fn text(r: &mut Reader<'_>) -> Decoded<String> {
    Ok(String::from_utf8_lossy(r.string()?).into_owned())
}
