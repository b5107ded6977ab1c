//! Whether a server honours the conditions of puts, and their checksums.
//!
//! Some S3-compatible servers ignore `If-None-Match` and `If-Match` and answer 200 (s3rver does). A commit would then
//! overwrite another writer's without a word. So where the server is not known to honour them, three racing creates
//! of one probe object tell, and a damaged payload beside them, whether it compares checksums
//! ([`integrity`](super::integrity)); then an update from an etag that the object never had. Nobody waits for that one who
//! only creates.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future;
use object_store::{ObjectStoreExt as _, PutMode, PutOptions, UpdateVersion};
use parking_lot::{Mutex, MutexGuard};

use super::asking::{PendingRequest, limited};
use super::failure::Failure;
use super::http::{Limits, MAX_DOCUMENT_BYTES};
use super::integrity::is_mismatch;
use super::{Bucket, Client, Path, StoreResult, path};
use crate::deadline::Budget;
use crate::per_process::PerProcess;
use crate::{Condition, ErrorKind, Key};

const RACERS: usize = 3;
/// Time for deleting what a probe left behind.
const TIDY_TIMEOUT: Duration = Duration::from_secs(30);

/// What is known of a server's conditions.
#[derive(Debug)]
pub(super) enum Conditions {
    /// Nothing is ever written there.
    ReadOnly,
    /// The service documents them.
    Documented,
    /// To be found out before the first conditional put of the process.
    Probed(Probed),
}

/// What was found out.
#[derive(Debug)]
pub(super) struct Probed {
    created: OnceLock<Created>,
    updates: OnceLock<bool>,
    /// Held by who finds out: others wait for that. What is under way in a process does not come to an end in its child.
    probing: PerProcess<Mutex<Option<UnderWay>>>,
}

impl Default for Probed {
    fn default() -> Self {
        Probed { created: OnceLock::new(), updates: OnceLock::new(), probing: PerProcess::new() }
    }
}

/// What the creates told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Created {
    /// Creates are honoured.
    honoured: bool,
    /// What is put is compared with its checksum.
    compared: bool,
}

/// The update that follows.
type UnderWay = PendingRequest<StoreResult<()>>;

impl Conditions {
    pub(super) fn is_read_only(&self) -> bool {
        matches!(self, Conditions::ReadOnly)
    }

    /// Whether what is put is known to be compared with its checksum.
    pub(super) fn compares(&self) -> bool {
        match self {
            Conditions::ReadOnly => false,
            Conditions::Documented => true,
            Conditions::Probed(probed) => probed.created.get().is_some_and(|created| created.compared),
        }
    }

    /// Whether a condition is honoured, found out below `prefix` if it is not known.
    pub(super) fn honour(
        &self,
        condition: Condition,
        bucket: &Bucket,
        prefix: Option<&Key>,
    ) -> Result<bool, Failure> {
        match (self, condition) {
            (Conditions::ReadOnly, _) => Ok(false),
            (Conditions::Documented, _) => Ok(true),
            (Conditions::Probed(probed), Condition::Create) => probed.creates(bucket, prefix),
            (Conditions::Probed(probed), Condition::Update) => probed.updates(bucket, prefix),
        }
    }
}

impl Probed {
    fn probing(&self) -> MutexGuard<'_, Option<UnderWay>> {
        let Ok(mutex) = self.probing.get_or_make(|| Ok::<_, std::convert::Infallible>(Mutex::default()));
        mutex.lock()
    }

    fn creates(&self, bucket: &Bucket, prefix: Option<&Key>) -> Result<bool, Failure> {
        if let Some(known) = self.created.get() {
            return Ok(known.honoured);
        }
        let mut under_way = self.probing();
        // Somebody else may have been quicker.
        if self.created.get().is_none() {
            let at = Places::below(prefix)?;
            let (found, left) = ask_creates(bucket, &at)?;
            let (client, at) = (bucket.client()?.clone(), at.object);
            let update = ask_update(client.clone(), at);
            let told = async { Ok(update.await) };
            *under_way = bucket.start_and_go_on(MAX_DOCUMENT_BYTES, told, tidy(client, left)).ok();
            let _nobody_else_could = self.created.set(found);
        }
        Ok(self.created.get().is_some_and(|created| created.honoured))
    }

    fn updates(&self, bucket: &Bucket, prefix: Option<&Key>) -> Result<bool, Failure> {
        if let Some(known) = self.updates.get() {
            return Ok(*known);
        }
        self.creates(bucket, prefix)?;
        let mut under_way = self.probing();
        if let Some(known) = self.updates.get() {
            return Ok(*known);
        }
        let answer = match under_way.take() {
            Some(asked) => bucket.wait(asked)?,
            None => ask_update_anew(bucket, Places::below(prefix)?.object)?,
        };
        let honoured = is_honoured(&[answer.map_err(|e| Failure::of(&e, &bucket.bucket))], 0)?;
        Ok(*self.updates.get_or_init(|| honoured))
    }
}

/// Where the probe puts what.
struct Places {
    object: Path,
    damaged: Path,
}

impl Places {
    fn below(prefix: Option<&Key>) -> Result<Places, Failure> {
        let name = format!(".h5lake-probe-{:016x}", RandomState::new().hash_one(std::process::id()));
        let at = |name: &str| {
            let key = prefix.map_or_else(|| Key::new(name), |prefix| prefix.join(name));
            path(&key.map_err(|e| Failure::new(ErrorKind::InvalidArgument, e.to_string()))?)
        };
        Ok(Places { object: at(&name)?, damaged: at(&format!("{name}-damaged"))? })
    }
}

async fn put(client: &Client, at: &Path, mode: PutMode, text: String) -> StoreResult<()> {
    client.objects.put_opts(at, text.into(), PutOptions::from(mode)).await.map(drop)
}

/// One round of requests, once in a process and bucket: what they told, and what they left behind.
fn ask_creates(bucket: &Bucket, at: &Places) -> Result<(Created, Vec<Path>), Failure> {
    let (object, damaged) = (at.object.clone(), at.damaged.clone());
    let (creates, compared) = bucket.ask(|client| async move {
        let text = |n| format!("probe {n} of conditional puts");
        let racers = (0..RACERS).map(|n| put(&client, &object, PutMode::Create, text(n)));
        let compared = async {
            match &client.unsigned {
                Some(unsigned) => Some(unsigned.put_damaged(&damaged).await),
                None => None,
            }
        };
        Ok(future::join(future::join_all(racers), compared).await)
    })?;
    let failure = |answer| Failure::of(&answer, &bucket.bucket);
    let creates: Vec<_> = creates.into_iter().map(|answer| answer.map_err(failure)).collect();
    let honoured = is_honoured(&creates, 1)?;
    let mut left = vec![at.object.clone()];
    let compared = match compared.map(|answer| answer.map_err(failure)) {
        None => false,
        Some(Err(refused)) => is_mismatch(&refused),
        Some(Ok(())) => {
            left.push(at.damaged.clone());
            false
        }
    };
    Ok((Created { honoured, compared }, left))
}

/// An update that has to be refused, of an object that is there.
async fn ask_update(client: Client, at: Path) -> StoreResult<()> {
    let never = Some("\"00000000000000000000000000000000\"".to_owned());
    let never = UpdateVersion { e_tag: never, version: Some("1".to_owned()) };
    put(&client, &at, PutMode::Update(never), "probe of a conditional replacement".to_owned()).await
}

/// The same with an object of its own: the answer to the first one was lost.
fn ask_update_anew(bucket: &Bucket, at: Path) -> Result<StoreResult<()>, Failure> {
    bucket.ask(|client| async move {
        put(&client, &at, PutMode::Overwrite, "probe of a conditional replacement".to_owned()).await?;
        let answer = ask_update(client.clone(), at.clone()).await;
        tidy(client, vec![at]).await;
        Ok(answer)
    })
}

/// Deletes what a probe left behind.
async fn tidy(client: Client, left: Vec<Path>) {
    // Nobody waits for it; it ends all the same.
    let limits = Limits::new(Arc::new(Budget::new(TIDY_TIMEOUT)), MAX_DOCUMENT_BYTES, Arc::default());
    let deleting = async { Ok(future::join_all(left.iter().map(|left| client.objects.delete(left))).await) };
    // What stays is a few bytes under a name that says what it is.
    let _the_probe_has_told = limited(limits, deleting).await;
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
