//! The content of a lease object.

use super::HELD;
use crate::checksum::{seal, unseal};
use crate::codec::{Decoded, Reader, put_string, put_varint};
use crate::error::Holder;
use crate::liveness::{Life, ProcessIdentity};
use crate::process;

/// The first bytes of a lease object.
const SIGNATURE: &[u8] = b"h5lL";
/// More dead writers than so many do not leave a rest each: the first has to be drained before the next one writes.
const MAX_RESTS: usize = 64;

/// The content of a lease object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) holder: Holder,
    pub(super) nonce: [u8; 16],
    /// Missing on a system that does not tell.
    pub(super) identity: Option<ProcessIdentity>,
    /// Where operations may wait that have not arrived: in the stage of the holder, if it has one, and of dead writers before it.
    pub(super) rests: Vec<Rest>,
}

/// A queue of a stage, in which operations of a container may wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rest {
    pub(super) host: String,
    pub(super) folder: String,
    /// The queue's name in the folder.
    pub(super) queue: String,
}

impl Note {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = SIGNATURE.to_vec();
        put_string(&mut out, self.holder.host.as_bytes());
        put_varint(&mut out, u64::from(self.holder.pid));
        put_varint(&mut out, self.holder.since);
        out.extend_from_slice(&self.nonce);
        put_varint(&mut out, self.rests.len() as u64);
        for Rest { host, folder, queue } in &self.rests {
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
        let count = usize::try_from(r.varint()?).ok().filter(|count| *count <= MAX_RESTS);
        let mut rests = Vec::new();
        for _ in 0..count.ok_or("too many stages")? {
            rests.push(Rest { host: text(&mut r)?, folder: text(&mut r)?, queue: text(&mut r)? });
        }
        let identity = if r.remaining() == 0 { None } else { Some(ProcessIdentity::read(&mut r)?) };
        Ok(Self { holder, nonce, identity, rests })
    }

    /// Returns whether the holder can still be writing.
    pub(super) fn life(&self) -> Life {
        if HELD.lock().contains(&self.nonce) {
            return Life::Alive;
        }
        match self.identity.as_ref().map(|identity| identity.life(self.holder.pid)) {
            // This very process, and no handle of it has the lease.
            Some(Life::Alive) if self.holder.pid == process::id() => Life::Dead,
            Some(life) => life,
            None => Life::Unknown,
        }
    }
}

fn text(r: &mut Reader<'_>) -> Decoded<String> {
    Ok(String::from_utf8_lossy(r.string()?).into_owned())
}
