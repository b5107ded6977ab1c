//! What a lock object says.

use super::LIVE;
use crate::checksum::{seal, unseal};
use crate::codec::{Decoded, Reader, put_string, put_varint};
use crate::error::Holder;
use crate::liveness::{Life, ProcessIdentity};
use crate::objects::lock;
use crate::process;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) holder: Holder,
    pub(super) nonce: [u8; 16],
    /// Seconds since 1970 by the holder's clock. Earlier versions of h5lake go by it.
    pub(super) until: u64,
    /// Earlier versions do not say it.
    pub(super) identity: Option<ProcessIdentity>,
    /// Where operations may wait that have not arrived: in the stage of the holder, if it has one and an identity, and of dead writers
    /// before it. Earlier versions say the first folder alone, or nothing.
    pub(super) rests: Vec<Rest>,
}

/// A queue of a stage, in which operations of a container may wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rest {
    pub(super) host: String,
    pub(super) folder: String,
    /// The queue's name in the folder. Earlier versions do not say it.
    pub(super) queue: Option<String>,
}

/// More dead writers than so many do not leave a rest each: the first has to be drained before the next one writes.
const MAX_RESTS: usize = 64;

impl Note {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = b"h5lW".to_vec();
        put_string(&mut out, self.holder.host.as_bytes());
        put_varint(&mut out, u64::from(self.holder.pid));
        put_varint(&mut out, self.holder.since);
        out.extend_from_slice(&self.nonce);
        put_varint(&mut out, self.until);
        if let Some(identity) = &self.identity {
            identity.encode(&mut out);
            self.encode_rests(&mut out);
        }
        seal(&mut out);
        out
    }

    pub(super) fn decode(bytes: &[u8]) -> Decoded<Self> {
        let mut r = Reader::new(unseal(bytes)?.0);
        if r.take(4)? != b"h5lW" {
            return Err("not a lock");
        }
        let host = String::from_utf8_lossy(r.string()?).into_owned();
        let pid = u32::try_from(r.varint()?).map_err(|_| "no pid")?;
        let holder = Holder { host, pid, since: r.number()? };
        let (nonce, until) = (r.id()?, r.number()?);
        let identity = if r.remaining() == 0 { None } else { Some(ProcessIdentity::read(&mut r)?) };
        let rests = Self::decode_rests(&mut r, &holder.host)?;
        Ok(Self { holder, nonce, until, identity, rests })
    }

    /// The first folder stands alone, as earlier versions know it.
    fn encode_rests(&self, out: &mut Vec<u8>) {
        let Some(first) = self.rests.first() else { return };
        put_string(out, first.folder.as_bytes());
        put_varint(out, self.rests.len() as u64);
        for Rest { host, folder, queue } in &self.rests {
            for text in [host, folder, queue.as_deref().unwrap_or_default()] {
                put_string(out, text.as_bytes());
            }
        }
    }

    fn decode_rests(r: &mut Reader<'_>, host: &str) -> Decoded<Vec<Rest>> {
        if r.remaining() == 0 {
            return Ok(Vec::new());
        }
        let folder = text(r)?;
        if r.remaining() == 0 {
            return Ok(vec![Rest { host: host.to_owned(), folder, queue: None }]);
        }
        let count = usize::try_from(r.varint()?).ok().filter(|count| *count <= MAX_RESTS);
        let mut rests = Vec::new();
        for _ in 0..count.ok_or("too many stages")? {
            let (host, folder, queue) = (text(r)?, text(r)?, text(r)?);
            rests.push(Rest { host, folder, queue: Some(queue).filter(|queue| !queue.is_empty()) });
        }
        Ok(rests)
    }

    /// Whether whoever wrote this can still be writing.
    pub(super) fn life(&self) -> Life {
        if lock(&LIVE).contains(&self.nonce) {
            return Life::Alive;
        }
        let Some(identity) = &self.identity else { return Life::Unknown };
        match identity.life(self.holder.pid) {
            // This very process, and no handle of it has the lease.
            Life::Alive if self.holder.pid == process::id() => Life::Dead,
            life => life,
        }
    }
}

fn text(r: &mut Reader<'_>) -> Decoded<String> {
    Ok(String::from_utf8_lossy(r.string()?).into_owned())
}
