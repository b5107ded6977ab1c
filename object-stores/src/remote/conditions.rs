//! Finds out whether a server honours the conditions and checksums of puts.
//!
//! Some servers ignore `If-None-Match` and `If-Match`, some compare them without a lock, some refuse requests that they
//! should accept. A commit would then overwrite another writer's commit without an error, or never succeed. So a server
//! is probed ([`probe`]) unless its conditions are documented: once for each process, endpoint and bucket. Software
//! that is known to break its promises is not trusted, whatever its answers say ([`maker`](super::maker)).
//!
//! The result is remembered while the process runs, whatever prefix, credentials or timeout the next store has: none of
//! these changes how the server behaves. Other processes of the user learn for a day that a server on another machine
//! honours the conditions ([`probe_file`](super::probe_file)).

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use super::asking::PendingRequest;
use super::failure::Failure;
use super::http::MAX_DOCUMENT_BYTES;
use super::probe::{self, Created, Places, UpdateAnswer, Verdict};
use super::probe_file::ProbeFile;
use super::server::Description;
use super::{Bucket, StoreResult};
use crate::per_process::PerProcess;
use crate::{Condition, Key};

/// The number of servers and buckets that are remembered; the oldest entry is evicted first.
const MAX_REMEMBERED: usize = 64;

/// The maximum number of probes until one is answered completely.
const MAX_PROBES: u32 = 6;
/// A probe that fails within this time failed because a connection broke.
const BROKEN_WITHIN: Duration = Duration::from_secs(1);

/// The time for which the failure of a probe counts as the answer to the next probe.
const FAILURE_COUNTS: Duration = Duration::from_secs(1);

/// The knowledge about a server's conditions.
#[derive(Debug)]
pub(super) enum Conditions {
    /// The store is read-only.
    ReadOnly,
    /// The verdict is known for all servers of this kind, which honour no condition.
    Known(Verdict),
    /// The service documents that it honours conditions.
    Documented,
    /// The server is probed before the first conditional put of the process.
    Probed(Arc<Probed>),
    /// The conditions that the server promises when it is opened; each promised condition is probed as well.
    Promised(Arc<OnceLock<Description>>, Arc<Probed>),
}

/// The results of a probe.
#[derive(Debug)]
pub(super) struct Probed {
    created: OnceLock<Created>,
    updates: OnceLock<Verdict>,
    /// Locked by the thread that probes; other threads wait for it. A probe in progress is not continued in a forked
    /// child.
    probing: PerProcess<Mutex<Probing>>,
    /// The file with the result of another process, if results for this server are stored.
    file: Option<ProbeFile>,
}

/// The state between the requests of a probe.
#[derive(Debug, Default)]
struct Probing {
    under_way: Option<UnderWay>,
    /// The end of the last probe of creates that failed, and its failure. An operation asks for several conditions, and
    /// would otherwise wait for the timeout of a server that does not answer each time.
    failed: Option<(Instant, Failure)>,
}

/// The race of updates, which follows the creates.
type UnderWay = PendingRequest<StoreResult<UpdateAnswer>>;

/// The endpoint, the bucket, and whether all payloads have to be signed.
type Place = (String, String, bool);

static REMEMBERED: Mutex<Vec<(Place, Arc<Probed>)>> = Mutex::new(Vec::new());

impl Conditions {
    /// Returns what the process knows of a bucket at `endpoint`. `signs_all` is true if all payloads have to be signed.
    /// `file` contains the result of another process.
    pub(super) fn remembered(
        endpoint: &str,
        bucket: &str,
        signs_all: bool,
        file: Option<ProbeFile>,
    ) -> Conditions {
        let place = (endpoint.to_owned(), bucket.to_owned(), signs_all);
        let mut remembered = REMEMBERED.lock();
        if let Some((_, probed)) = remembered.iter().find(|(known, _)| *known == place) {
            return Conditions::Probed(probed.clone());
        }
        let probed = Arc::new(Probed::new(file));
        if remembered.len() == MAX_REMEMBERED {
            remembered.remove(0);
        }
        remembered.push((place, probed.clone()));
        Conditions::Probed(probed)
    }

    /// Returns the conditions of a server that reports itself what it promises.
    pub(super) fn promised(name: &str) -> Conditions {
        match Conditions::remembered(name, "", true, None) {
            Conditions::Probed(probed) => Conditions::Promised(Arc::default(), probed),
            other => other,
        }
    }

    /// Returns whether the server's promises are known, or no promises are expected.
    pub(super) fn knows_promises(&self) -> bool {
        !matches!(self, Conditions::Promised(promises, _) if promises.get().is_none())
    }

    /// Records the server's promises.
    pub(super) fn set_promises(&self, described: Description) {
        if let Conditions::Promised(promises, _) = self {
            let _first_answer_wins = promises.set(described);
        }
    }

    /// Returns whether the server promises to filter.
    pub(super) fn filters(&self) -> bool {
        matches!(self, Conditions::Promised(promises, _) if promises.get().is_some_and(|promises| promises.filters))
    }

    pub(super) fn is_read_only(&self) -> bool {
        matches!(self, Conditions::ReadOnly)
    }

    /// Returns whether the server is known to compare puts with their checksums.
    pub(super) fn compares(&self) -> bool {
        match self {
            Conditions::ReadOnly | Conditions::Known(_) | Conditions::Promised(..) => false,
            Conditions::Documented => true,
            Conditions::Probed(probed) => probed.created.get().is_some_and(|created| created.compared),
        }
    }

    /// Returns how the server treats a condition. If that is unknown, probes the server with objects below `prefix`.
    ///
    /// # Errors
    /// Those of the requests of the probe.
    pub(super) fn verdict(
        &self,
        condition: Condition,
        bucket: &Bucket,
        prefix: Option<&Key>,
    ) -> Result<Verdict, Failure> {
        match (self, condition) {
            (Conditions::ReadOnly, _) => Ok(Verdict::ReadOnly),
            (Conditions::Known(verdict), _) => Ok(*verdict),
            (Conditions::Documented, _) => Ok(Verdict::Honoured),
            (Conditions::Promised(promises, probed), condition) => match (promises.get(), condition) {
                (Some(Description { creates: true, .. }), Condition::Create) => {
                    probed.creates(bucket, prefix)
                }
                // Updates are probed with the objects that the creates made.
                (Some(Description { creates: true, updates: true, .. }), Condition::Update) => {
                    probed.updates(bucket, prefix)
                }
                _ => Ok(Verdict::NotPromised),
            },
            // Also a server of which an earlier probe is stored may have been replaced by Swift.
            (Conditions::Probed(_), _) if bucket.maker.is_swift() => Ok(Verdict::Swift),
            (Conditions::Probed(probed), Condition::Create) => probed.creates(bucket, prefix),
            (Conditions::Probed(probed), Condition::Update) => probed.updates(bucket, prefix),
        }
    }
}

/// Probes again, with other objects, if a connection broke. The answers of a race cannot be requested again. A server that does not answer
/// at all has taken longer, and is not probed again.
fn repeated<T>(mut probe: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    for _ in 1..MAX_PROBES {
        let begun = Instant::now();
        match probe() {
            Err(f) if f.kind.is_ambiguous() && begun.elapsed() < BROKEN_WITHIN => {
                tracing::debug!(error = ?f, "a probe of conditional puts failed, and is repeated");
            }
            done => return done,
        }
    }
    probe()
}

impl Probed {
    fn new(file: Option<ProbeFile>) -> Self {
        Probed { created: OnceLock::new(), updates: OnceLock::new(), probing: PerProcess::new(), file }
    }

    fn probing(&self) -> MutexGuard<'_, Probing> {
        let Ok(mutex) = self.probing.get_or_make(|| Ok::<_, std::convert::Infallible>(Mutex::default()));
        mutex.lock()
    }

    fn creates(&self, bucket: &Bucket, prefix: Option<&Key>) -> Result<Verdict, Failure> {
        if let Some(known) = self.created.get() {
            return Ok(known.verdict);
        }
        let mut probing = self.probing();
        // Another thread may have finished the probe meanwhile.
        if let Some(known) = self.created.get() {
            return Ok(known.verdict);
        }
        if let Some((_, failure)) = probing.failed.as_ref().filter(|(end, _)| end.elapsed() < FAILURE_COUNTS)
        {
            return Err(failure.clone());
        }
        if let Some((created, updates)) = self.file.as_ref().and_then(ProbeFile::load) {
            let _nobody_else_could = self.updates.set(updates);
            return Ok(self.created.get_or_init(|| created).verdict);
        }
        let client = bucket.client()?.clone();
        let mut left = Vec::new();
        let found = repeated(|| {
            let places = Places::below(bucket, prefix)?;
            let (found, put) = probe::ask_creates(bucket, &places);
            left.extend(put);
            found.map(|found| (found, places))
        });
        let tidy_alone = |left| {
            let nothing = async { Ok(()) };
            let _nobody_waits =
                bucket.start_with_follow_up(MAX_DOCUMENT_BYTES, nothing, probe::tidy(client.clone(), left));
        };
        let (found, places) = match found {
            Ok(found) => found,
            Err(e) => {
                tidy_alone(left);
                probing.failed = Some((Instant::now(), e.clone()));
                return Err(e);
            }
        };
        if !found.verdict.is_honoured() {
            // A single condition is not enough to protect a container, and a server that mishandles creates mishandles
            // updates too.
            let _nobody_else_could = self.updates.set(found.verdict);
            tidy_alone(left);
        } else {
            let update = probe::ask_updates(client.clone(), places, found.version.clone());
            let work = async { Ok(update.await) };
            probing.under_way =
                bucket.start_with_follow_up(MAX_DOCUMENT_BYTES, work, probe::tidy(client, left)).ok();
        }
        Ok(self.created.get_or_init(|| found).verdict)
    }

    fn updates(&self, bucket: &Bucket, prefix: Option<&Key>) -> Result<Verdict, Failure> {
        if let Some(known) = self.updates.get() {
            return Ok(*known);
        }
        self.creates(bucket, prefix)?;
        let mut probing = self.probing();
        if let Some(known) = self.updates.get() {
            return Ok(*known);
        }
        let verdict = repeated(|| {
            let answer = match probing.under_way.take() {
                Some(asked) => bucket.wait(asked)?,
                None => probe::ask_updates_anew(bucket, Places::below(bucket, prefix)?)?,
            };
            answer.map_err(|e| Failure::of(&e, &bucket.bucket))?.verdict(&bucket.bucket)
        })?;
        if let Some(why) = verdict.why_not() {
            tracing::warn!(
                bucket = %bucket.bucket,
                "If-Match is not used: {why}; the lock object alone keeps a second writer away"
            );
        }
        if let (Some(file), Some(created)) = (&self.file, self.created.get()) {
            file.save(created, verdict);
        }
        Ok(*self.updates.get_or_init(|| verdict))
    }
}
