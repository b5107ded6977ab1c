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
    /// The folder of the holder's stage, if it has one and an identity. Earlier versions do not look for it.
    pub(super) stage: Option<String>,
}

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
            if let Some(stage) = &self.stage {
                put_string(&mut out, stage.as_bytes());
            }
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
        let stage = (r.remaining() > 0).then(|| r.string()).transpose()?;
        let stage = stage.map(|stage| String::from_utf8_lossy(stage).into_owned());
        Ok(Self { holder, nonce, until, identity, stage })
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
