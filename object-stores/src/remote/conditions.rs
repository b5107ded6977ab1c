//! Whether a server honours the conditions of puts, and their checksums.
//!
//! Some S3-compatible servers ignore `If-None-Match` and `If-Match` and answer 200 (s3rver does). A commit would then
//! overwrite another writer's without a word. So where the server is not known to honour them, three racing creates
//! of one probe object and an update from an etag that it never had tell; and a damaged payload beside them, whether it
//! compares checksums ([`integrity`](super::integrity)).

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, OnceLock, PoisonError};

use futures_util::future;
use object_store::{ObjectStoreExt as _, PutMode, PutOptions, UpdateVersion};

use super::failure::Failure;
use super::integrity::is_mismatch;
use super::{Answer, Bucket, Client, Path, path};
use crate::{ErrorKind, Key};

const RACERS: usize = 3;

/// What of a put's headers a server does not ignore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Honoured {
    pub(super) create: bool,
    pub(super) update: bool,
    /// What is put is compared with its checksum.
    pub(super) checksum: bool,
}

impl Honoured {
    /// Of who documents them all.
    const ALL: Honoured = Honoured { create: true, update: true, checksum: true };
    /// Of who takes no puts.
    const NONE: Honoured = Honoured { create: false, update: false, checksum: false };
}

/// What is known of a server's conditions.
#[derive(Debug)]
pub(super) enum Conditions {
    /// Nothing is ever written there.
    ReadOnly,
    /// The service documents them.
    Documented,
    /// To be found out at the first conditional put of the process.
    Probed(Probed),
}

/// What was found out, if it was.
#[derive(Debug, Default)]
pub(super) struct Probed {
    known: OnceLock<Honoured>,
    /// Held by who finds out: others wait for that.
    probing: Mutex<()>,
}

impl Conditions {
    pub(super) fn is_read_only(&self) -> bool {
        matches!(self, Conditions::ReadOnly)
    }

    /// What is honoured, if that is known without asking.
    pub(super) fn known(&self) -> Option<Honoured> {
        match self {
            Conditions::ReadOnly => Some(Honoured::NONE),
            Conditions::Documented => Some(Honoured::ALL),
            Conditions::Probed(probed) => probed.known.get().copied(),
        }
    }

    /// What is honoured; if `probe` had to find it out, also the objects that it left behind, which the caller has deleted.
    pub(super) fn get(
        &self,
        probe: impl FnOnce() -> Result<(Honoured, Vec<Path>), Failure>,
    ) -> Result<(Honoured, Vec<Path>), Failure> {
        match self {
            Conditions::ReadOnly => Ok((Honoured::NONE, Vec::new())),
            Conditions::Documented => Ok((Honoured::ALL, Vec::new())),
            Conditions::Probed(probed) => {
                if let Some(honoured) = probed.known.get() {
                    return Ok((*honoured, Vec::new()));
                }
                let _first = probed.probing.lock().unwrap_or_else(PoisonError::into_inner);
                match probed.known.get() {
                    Some(honoured) => Ok((*honoured, Vec::new())),
                    None => {
                        let (found, left) = probe()?;
                        Ok((*probed.known.get_or_init(|| found), left))
                    }
                }
            }
        }
    }
}

/// Finds out with a probe object below `prefix`: two rounds of requests, once in a process and bucket. Where the object may be
/// left behind, that is told: deleting it needs not be waited for alone.
pub(super) fn probe(bucket: &Bucket, prefix: Option<&Key>) -> Result<(Honoured, Vec<Path>), Failure> {
    let name = format!(".h5lake-probe-{:016x}", RandomState::new().hash_one(std::process::id()));
    let at = |name: &str| {
        let key = prefix.map_or_else(|| Key::new(name), |prefix| prefix.join(name));
        path(&key.map_err(|e| Failure::new(ErrorKind::InvalidArgument, e.to_string()))?)
    };
    let (at, damaged) = (at(&name)?, at(&format!("{name}-damaged"))?);
    let mut left = vec![at.clone()];
    let there = damaged.clone();
    let answers = bucket.ask(|client| async move { Ok(ask(client, at, damaged).await) })?;
    let failure = |answer| Failure::of(&answer, &bucket.bucket);
    let creates: Vec<_> = answers.creates.into_iter().map(|a| a.map_err(failure)).collect();
    let create = is_honoured(&creates, 1)?;
    let update = is_honoured(&[answers.update.map_err(failure)], 0)?;
    let checksum = match answers.damaged.map(|answer| answer.map_err(failure)) {
        None => false,
        Some(Err(refused)) => is_mismatch(&refused),
        Some(Ok(())) => {
            left.push(there);
            false
        }
    };
    Ok((Honoured { create, update, checksum }, left))
}

/// Deletes what a probe left behind.
pub(super) async fn tidy(client: Client, left: Vec<Path>) {
    // What stays is a few bytes under a name that says what it is.
    let _the_probe_has_told = future::join_all(left.iter().map(|left| client.objects.delete(left))).await;
}

struct Answers {
    creates: Vec<Answer<()>>,
    update: Answer<()>,
    damaged: Option<Answer<()>>,
}

async fn ask(client: Client, at: Path, damaged: Path) -> Answers {
    let put = |mode: PutMode, text: String| {
        let (objects, at) = (client.objects.clone(), at.clone());
        async move { objects.put_opts(&at, text.into(), PutOptions::from(mode)).await.map(drop) }
    };
    let racers = (0..RACERS).map(|n| put(PutMode::Create, format!("probe {n} of conditional puts")));
    let compare = async {
        match &client.unsigned {
            Some(unsigned) => Some(unsigned.put_damaged(&damaged).await),
            None => None,
        }
    };
    let (creates, damaged) = future::join(future::join_all(racers), compare).await;
    let never = Some("\"00000000000000000000000000000000\"".to_owned());
    let never = UpdateVersion { e_tag: never, version: Some("1".to_owned()) };
    let update = put(PutMode::Update(never), "probe of a conditional replacement".to_owned()).await;
    Answers { creates, update, damaged }
}

/// Whether at most `winners` of the conditional puts succeeded and the others were refused for their condition.
fn is_honoured(answers: &[Result<(), Failure>], winners: usize) -> Result<bool, Failure> {
    for answer in answers {
        match answer {
            Ok(()) => (),
            Err(f) if matches!(f.kind, ErrorKind::AlreadyExists | ErrorKind::PreconditionFailed) => (),
            // The server knows the condition well enough to refuse it.
            Err(f) if f.kind == ErrorKind::Unsupported => return Ok(false),
            Err(f) => return Err(Failure { kind: f.kind, detail: f.detail.clone(), code: f.code.clone() }),
        }
    }
    Ok(answers.iter().filter(|answer| answer.is_ok()).count() <= winners)
}
