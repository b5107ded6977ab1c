//! Whether a server honours the conditions of puts, and their checksums.
//!
//! Some servers ignore `If-None-Match` and `If-Match`, some compare them without a lock, some refuse what they should take.
//! A commit would then overwrite another writer's without a word, or never succeed. So a server that does not document its
//! conditions is asked ([`probe`]), once for each process, endpoint and bucket. A server that is known not to
//! keep what its answers say is not trusted, whatever they say ([`maker`](super::maker)).
//!
//! What was found out is remembered while the process runs, whichever prefix, credentials or time-out the next store has:
//! none of these changes what the server does. It is not kept for other processes, because the server may be another one then.

use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard};

use super::asking::PendingRequest;
use super::failure::Failure;
use super::http::MAX_DOCUMENT_BYTES;
use super::probe::{self, Created, Places, UpdateAnswer, Verdict};
use super::server::Description;
use super::{Bucket, StoreResult};
use crate::per_process::PerProcess;
use crate::{Condition, Key};

/// Servers and buckets of which something is remembered; the oldest one is forgotten first.
const MAX_REMEMBERED: usize = 64;

/// What is known of a server's conditions.
#[derive(Debug)]
pub(super) enum Conditions {
    /// Nothing is ever written there.
    ReadOnly,
    /// The same for all servers of the kind, which honour none.
    Known(Verdict),
    /// The service documents them.
    Documented,
    /// To be found out before the first conditional put of the process.
    Probed(Arc<Probed>),
    /// The same of what the server promises, which is known when it is opened.
    Promised(Arc<OnceLock<Description>>, Arc<Probed>),
}

/// What was found out.
#[derive(Debug)]
pub(super) struct Probed {
    created: OnceLock<Created>,
    updates: OnceLock<Verdict>,
    /// Held by who finds out: others wait for that. What is under way in a process does not come to an end in its child.
    probing: PerProcess<Mutex<Option<UnderWay>>>,
}

impl Default for Probed {
    fn default() -> Self {
        Probed { created: OnceLock::new(), updates: OnceLock::new(), probing: PerProcess::new() }
    }
}

/// The updates that follow the creates.
type UnderWay = PendingRequest<StoreResult<UpdateAnswer>>;

/// A server and a bucket, and whether long payloads may go unsigned there.
type Place = (String, String, bool);

static REMEMBERED: Mutex<Vec<(Place, Arc<Probed>)>> = Mutex::new(Vec::new());

impl Conditions {
    /// What the process knows of a bucket at `endpoint`, all of whose payloads may have to be signed.
    pub(super) fn remembered(endpoint: &str, bucket: &str, signs_all: bool) -> Conditions {
        let place = (endpoint.to_owned(), bucket.to_owned(), signs_all);
        let mut remembered = REMEMBERED.lock();
        if let Some((_, probed)) = remembered.iter().find(|(known, _)| *known == place) {
            return Conditions::Probed(probed.clone());
        }
        let probed = Arc::<Probed>::default();
        if remembered.len() == MAX_REMEMBERED {
            remembered.remove(0);
        }
        remembered.push((place, probed.clone()));
        Conditions::Probed(probed)
    }

    /// Conditions of a server that says itself what it promises.
    pub(super) fn promised(name: &str) -> Conditions {
        match Conditions::remembered(name, "", true) {
            Conditions::Probed(probed) => Conditions::Promised(Arc::default(), probed),
            other => other,
        }
    }

    /// Whether it is known what the server promises.
    pub(super) fn is_told(&self) -> bool {
        !matches!(self, Conditions::Promised(told, _) if told.get().is_none())
    }

    /// The server promises this.
    pub(super) fn tell(&self, described: Description) {
        if let Conditions::Promised(told, _) = self {
            let _who_was_first_tells = told.set(described);
        }
    }

    /// Whether the server promises to filter.
    pub(super) fn filters(&self) -> bool {
        matches!(self, Conditions::Promised(told, _) if told.get().is_some_and(|told| told.filters))
    }

    pub(super) fn is_read_only(&self) -> bool {
        matches!(self, Conditions::ReadOnly)
    }

    /// Whether what is put is known to be compared with its checksum.
    pub(super) fn compares(&self) -> bool {
        match self {
            Conditions::ReadOnly | Conditions::Known(_) | Conditions::Promised(..) => false,
            Conditions::Documented => true,
            Conditions::Probed(probed) => probed.created.get().is_some_and(|created| created.compared),
        }
    }

    /// What the server does with a condition, found out below `prefix` if it is not known.
    ///
    /// # Errors
    /// Those of the requests that would tell.
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
            (Conditions::Promised(told, probed), condition) => match (told.get(), condition) {
                (Some(Description { creates: true, .. }), Condition::Create) => {
                    probed.creates(bucket, prefix)
                }
                // Updates are tried with what creates made.
                (Some(Description { creates: true, updates: true, .. }), Condition::Update) => {
                    probed.updates(bucket, prefix)
                }
                _ => Ok(Verdict::NotPromised),
            },
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

    fn creates(&self, bucket: &Bucket, prefix: Option<&Key>) -> Result<Verdict, Failure> {
        if let Some(known) = self.created.get() {
            return Ok(known.verdict);
        }
        let mut under_way = self.probing();
        // Somebody else may have been quicker.
        if let Some(known) = self.created.get() {
            return Ok(known.verdict);
        }
        let places = Places::below(bucket, prefix)?;
        let client = bucket.client()?.clone();
        let (found, left) = probe::ask_creates(bucket, &places);
        let tidy_alone = |left| {
            let nothing = async { Ok(()) };
            let _nobody_waits =
                bucket.start_and_go_on(MAX_DOCUMENT_BYTES, nothing, probe::tidy(client.clone(), left));
        };
        let found = match found {
            Ok(found) => found,
            Err(e) => {
                tidy_alone(left);
                return Err(e);
            }
        };
        if !found.verdict.is_honoured() {
            // One condition alone guards no container, and what a server does to creates it does to updates.
            let _nobody_else_could = self.updates.set(found.verdict);
            tidy_alone(left);
        } else {
            let update = probe::ask_updates(client.clone(), places, found.etag.clone());
            let told = async { Ok(update.await) };
            *under_way = bucket.start_and_go_on(MAX_DOCUMENT_BYTES, told, probe::tidy(client, left)).ok();
        }
        Ok(self.created.get_or_init(|| found).verdict)
    }

    fn updates(&self, bucket: &Bucket, prefix: Option<&Key>) -> Result<Verdict, Failure> {
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
            None => probe::ask_updates_anew(bucket, Places::below(bucket, prefix)?)?,
        };
        let answer = answer.map_err(|e| Failure::of(&e, &bucket.bucket))?;
        let verdict = answer.verdict(&bucket.bucket)?;
        if let Some(why) = verdict.why_not() {
            tracing::warn!(
                bucket = %bucket.bucket,
                "If-Match is not used: {why}; the lock object alone keeps a second writer away"
            );
        }
        Ok(*self.updates.get_or_init(|| verdict))
    }
}
