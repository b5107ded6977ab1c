//! Probes how a server treats conditions and checksums.
//!
//! | requests | at a server | that |
//! |---|---|---|
//! | [`ROUNDS`] rounds of [`RACERS`] racing creates, each round with an object of its own | exactly one create of a round wins | honours `If-None-Match: *` |
//! | if no create of a round wins: a read of the object, because the answer to the winner may have been lost | | |
//! | during the first round, a put of a damaged payload | the put is refused because of the damage | compares checksums ([`integrity`](super::integrity)) |
//! | an update from an etag that no version has, together with [`RACERS`] racing updates from the right etag | only one update of the race wins | honours `If-Match` |
//! | if none of these updates wins: the same with etags without quotes | only one update of the race wins | compares etags without their quotes (Ceph's gateway; RFC 9110 section 13.1.1 has quotes) |
//! | (Google's generations have no quotes) | | |
//! | if none of these updates wins: a read of the object, because the answer to the winner may have been lost | | |
//! | deletes | | |
//!
//! The first sign that a condition is not kept ends its part of the probe. A writer that only creates objects does not
//! wait for the updates and deletes.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, future, stream};
use object_store::{ObjectStoreExt as _, PutMode, PutOptions, PutResult, UpdateVersion};

use super::asking::limited;
use super::failure::Failure;
use super::http::{Limits, MAX_DOCUMENT_BYTES};
use super::integrity::is_mismatch;
use super::{Bucket, Client, Path, StoreResult};
use crate::deadline::Budget;
use crate::{ErrorKind, Key};

/// The number of creates and updates that race for one object. A server that checks a condition and then puts, without
/// a lock in between, has several winners in most races of this size.
const RACERS: usize = 4;
/// The number of races of creates. Their later requests use connections that are open already, so that they arrive at
/// the same time.
const ROUNDS: usize = 3;
/// The time limit of deleting the objects of a probe.
const TIDY_TIMEOUT: Duration = Duration::from_secs(30);
/// An etag that no version has.
const NO_ETAG: &str = "00000000000000000000000000000000";
/// A generation that no version has: generations of Google's service are times in microseconds.
const NO_GENERATION: &str = "1";

/// The way in which a server treats a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The server honours the condition.
    Honoured,
    /// The server honours the condition if the etag is written without its quotes.
    HonouredUnquoted,
    /// The store is read-only.
    ReadOnly,
    /// Several of the racing puts took effect, or a put took effect although its condition did not hold.
    Ignored,
    /// The server rejects requests with the condition.
    Refused,
    /// No put with the condition took effect.
    NeverTrue,
    /// The server is OpenStack Swift, through either interface.
    Swift,
    /// The server does not promise to honour the condition.
    NotPromised,
}

impl Verdict {
    pub(super) fn is_honoured(self) -> bool {
        matches!(self, Verdict::Honoured | Verdict::HonouredUnquoted)
    }

    /// Returns the reason why the condition is not used, to follow the name of the condition in a message.
    pub(super) fn why_not(self) -> Option<&'static str> {
        Some(match self {
            Verdict::Honoured | Verdict::HonouredUnquoted => return None,
            Verdict::ReadOnly => "the store is read-only",
            Verdict::Ignored => "the server ignores it, or lets several racing puts win",
            Verdict::Refused => "the server refuses it",
            Verdict::NeverTrue => {
                "the server refused every put with the condition, even if the condition held"
            }
            Verdict::NotPromised => "the server does not promise it",
            Verdict::Swift => "OpenStack Swift checks it without a lock, so that several racing puts can win",
        })
    }

    /// Derives the verdict from the answers to racing puts.
    fn of_race(answers: &[Result<(), Failure>]) -> Result<Verdict, Failure> {
        let mut winners = 0;
        for answer in answers {
            match answer {
                Ok(()) => winners += 1,
                Err(f) if is_refused(f) => (),
                // The server recognises the condition, and rejects it.
                Err(f) if f.kind == ErrorKind::Unsupported => return Ok(Verdict::Refused),
                Err(f) => return Err(f.clone()),
            }
        }
        Ok(match winners {
            0 => Verdict::NeverTrue,
            1 => Verdict::Honoured,
            _ => Verdict::Ignored,
        })
    }
}

/// Returns whether a put was refused because its condition did not hold.
fn is_refused(failure: &Failure) -> bool {
    use ErrorKind::{AlreadyExists, InvalidArgument, NotFound, PreconditionFailed};
    matches!(failure.kind, AlreadyExists | PreconditionFailed | NotFound | InvalidArgument)
}

/// The findings of the racing creates.
#[derive(Clone, Debug)]
pub(super) struct Created {
    pub(super) verdict: Verdict,
    /// True if the server compares a put with its checksum.
    pub(super) compared: bool,
    /// The version of the first object, if exactly one create of it returned success: its etag or its generation.
    pub(super) version: Option<String>,
}

/// The paths of the objects that a probe puts.
pub(super) struct Places {
    objects: Vec<Path>,
    damaged: Path,
    by_version: bool,
}

impl Places {
    pub(super) fn below(bucket: &Bucket, prefix: Option<&Key>) -> Result<Places, Failure> {
        let name = format!(".h5lake-probe-{:016x}", RandomState::new().hash_one(std::process::id()));
        let at = |suffix: &str| {
            let name = format!("{name}-{suffix}");
            let key = prefix.map_or_else(|| Key::new(&name), |prefix| prefix.join(&name));
            bucket.path(&key.map_err(|e| Failure::new(ErrorKind::InvalidArgument, e.to_string()))?)
        };
        let objects = (0..ROUNDS).map(|n| at(&n.to_string())).collect::<Result<_, _>>()?;
        Ok(Places { objects, damaged: at("damaged")?, by_version: bucket.by_version })
    }
}

async fn put(client: &Client, at: &Path, mode: PutMode, text: String) -> StoreResult<PutResult> {
    client.objects.put_opts(at, text.into(), PutOptions::from(mode)).await
}

/// Returns the version that a put made: its generation if `by_version`, and its etag otherwise.
fn version_of(put: &PutResult, by_version: bool) -> Option<String> {
    if by_version { put.version.clone() } else { put.e_tag.clone() }
}

/// Races creates, and finds out whether checksums are compared. Returns the findings, and the paths of all objects that
/// may exist by now: an object may exist although its put failed.
pub(super) fn ask_creates(bucket: &Bucket, places: &Places) -> (Result<Created, Failure>, Vec<Path>) {
    let mut left = Vec::new();
    let created = race_rounds(bucket, places, &mut left);
    (created, left)
}

fn race_rounds(bucket: &Bucket, places: &Places, left: &mut Vec<Path>) -> Result<Created, Failure> {
    let mut created = Created { verdict: Verdict::NeverTrue, compared: false, version: None };
    let may_compare = bucket.client()?.unsigned.is_some();
    for (round, object) in places.objects.iter().enumerate() {
        let damaged = (round == 0 && may_compare).then(|| places.damaged.clone());
        left.push(object.clone());
        left.extend(damaged.clone());
        let CreateRace { creates, compared, won_unseen } = race_creates(bucket, object.clone(), damaged)?;
        if let Some(Err(refused)) = compared {
            created.compared = is_mismatch(&refused);
        }
        if bucket.maker.is_swift() {
            created.verdict = Verdict::Swift;
            break;
        }
        let winners = creates.iter().filter_map(|answer| answer.as_ref().ok());
        let mut versions = winners.filter_map(|put| version_of(put, bucket.by_version));
        let version = versions.next().filter(|_| versions.next().is_none());
        let answers: Vec<_> = creates.into_iter().map(|answer| answer.map(drop)).collect();
        match Verdict::of_race(&answers)? {
            Verdict::Honoured => created.verdict = Verdict::Honoured,
            // The answer to the winner was lost, and its retry refused.
            Verdict::NeverTrue if won_unseen => created.verdict = Verdict::Honoured,
            Verdict::NeverTrue => (),
            other => {
                created.verdict = other;
                break;
            }
        }
        if round == 0 {
            created.version = version;
        }
    }
    Ok(created)
}

/// The answers to a race of creates.
struct CreateRace {
    creates: Vec<Result<PutResult, Failure>>,
    /// The answer to the put that does not match its checksum.
    compared: Option<Result<(), Failure>>,
    /// True if the object holds the content of one of the creates although each was answered with an error.
    won_unseen: bool,
}

/// Returns the content that the create with number `n` puts.
fn creation(n: usize) -> String {
    format!("probe {n} of conditional puts")
}

/// Runs one race, and at the same time puts a payload that does not match its checksum.
fn race_creates(bucket: &Bucket, object: Path, damaged: Option<Path>) -> Result<CreateRace, Failure> {
    let (creates, compared, won_unseen) = bucket.ask(|client| async move {
        let racers = (0..RACERS).map(|n| put(&client, &object, PutMode::Create, creation(n)));
        let compared = async {
            match (&client.unsigned, damaged) {
                (Some(unsigned), Some(at)) => Some(unsigned.put_damaged(&at).await),
                _ => None,
            }
        };
        let (creates, compared) = future::join(future::join_all(racers), compared).await;
        let won_unseen =
            creates.iter().all(Result::is_err) && holds(&client, &object, creation).await.unwrap_or(false);
        Ok((creates, compared, won_unseen))
    })?;
    let failure = |answer| Failure::of(&answer, &bucket.bucket);
    let creates = creates.into_iter().map(|answer| answer.map_err(failure)).collect();
    Ok(CreateRace { creates, compared: compared.map(|answer| answer.map_err(failure)), won_unseen })
}

/// The answers to a race of updates: one from a wrong etag, which the server has to refuse, and several from the right
/// etag, one of which has to win.
#[derive(Debug)]
pub(super) struct UpdateRace {
    wrong: StoreResult<()>,
    right: Vec<StoreResult<()>>,
    /// True if the object holds the content of one of the updates although each was answered with an error: the answer
    /// to the winner was lost.
    won_unseen: bool,
}

impl UpdateRace {
    fn verdict(self, bucket: &str) -> Result<Verdict, Failure> {
        let answered = |answer: StoreResult<()>| answer.map_err(|e| Failure::of(&e, bucket));
        let right: Vec<_> = self.right.into_iter().map(answered).collect();
        match answered(self.wrong) {
            Ok(()) => Ok(Verdict::Ignored),
            Err(f) if f.kind == ErrorKind::Unsupported => Ok(Verdict::Refused),
            Err(f) if is_refused(&f) => match Verdict::of_race(&right)? {
                Verdict::NeverTrue if self.won_unseen => Ok(Verdict::Honoured),
                verdict => Ok(verdict),
            },
            Err(f) => Err(f),
        }
    }

    fn has_winner(&self) -> bool {
        self.won_unseen || self.right.iter().any(Result::is_ok)
    }
}

/// The answers to updates with generations or quoted etags, and to updates with unquoted etags if none of the quoted ones took effect.
#[derive(Debug)]
pub(super) struct UpdateAnswer {
    first: UpdateRace,
    unquoted: Option<UpdateRace>,
}

impl UpdateAnswer {
    /// Derives the verdict on the server of `bucket`.
    ///
    /// # Errors
    /// The failure in an answer that says nothing about the condition.
    pub(super) fn verdict(self, bucket: &str) -> Result<Verdict, Failure> {
        match (self.first.verdict(bucket)?, self.unquoted) {
            (Verdict::NeverTrue, Some(unquoted)) => Ok(match unquoted.verdict(bucket)? {
                Verdict::Honoured => Verdict::HonouredUnquoted,
                other => other,
            }),
            (verdict, _) => Ok(verdict),
        }
    }
}

/// Races updates of the objects that the creates made. `version` is that of the first object, if it is known.
pub(super) async fn ask_updates(
    client: Client,
    places: Places,
    version: Option<String>,
) -> StoreResult<UpdateAnswer> {
    let [raced, other, ..] = &places.objects[..] else {
        return Err(object_store::Error::NotImplemented {
            operation: "a probe of fewer than two objects".into(),
            implementer: "h5lake".into(),
        });
    };
    let by_version = places.by_version;
    let version = match version {
        Some(version) => version,
        None => overwrite(&client, raced, by_version).await?,
    };
    // The object `other` may not exist: then the server would refuse the wrong update because of that.
    let race =
        async |right: UpdateVersion, wrong| race_updates(&client, [(other, wrong), (raced, right)]).await;
    let of_etag = |etag: String| UpdateVersion { e_tag: Some(etag), version: None };
    if by_version {
        let of = |version| UpdateVersion { e_tag: None, version: Some(version) };
        let first = race(of(version), of(NO_GENERATION.to_owned())).await?;
        return Ok(UpdateAnswer { first, unquoted: None });
    }
    let quoted = |etag: &str| of_etag(format!("\"{}\"", bare(etag)));
    let first = race(quoted(&version), quoted(NO_ETAG)).await?;
    if first.has_winner() {
        return Ok(UpdateAnswer { first, unquoted: None });
    }
    let version = overwrite(&client, raced, by_version).await?;
    let unquoted = race(of_etag(bare(&version).to_owned()), of_etag(NO_ETAG.to_owned())).await?;
    Ok(UpdateAnswer { first, unquoted: Some(unquoted) })
}

/// Returns an etag without its quotes.
pub(super) fn bare(etag: &str) -> &str {
    etag.strip_prefix('"').and_then(|etag| etag.strip_suffix('"')).unwrap_or(etag)
}

/// Puts an object without a condition, and returns this version.
async fn overwrite(client: &Client, at: &Path, by_version: bool) -> StoreResult<String> {
    let put = put(client, at, PutMode::Overwrite, "probe of conditional replacements".to_owned()).await?;
    Ok(version_of(&put, by_version).unwrap_or_default())
}

/// Returns whether an object has the content of one of the racing puts. If the answer to a put was lost and the client
/// repeats the put, the server refuses the second try because the first one took effect.
async fn holds(client: &Client, at: &Path, content: impl Fn(usize) -> String) -> StoreResult<bool> {
    let there = client.objects.get(at).await?.bytes().await?;
    Ok((0..=RACERS).any(|n| there == content(n)))
}

/// Returns the content that the update with number `n` puts.
fn replacement(n: usize) -> String {
    format!("probe {n} of a conditional replacement")
}

/// Sends one update of the first object from a version that it does not have, and [`RACERS`] updates of the second object from the
/// version that it has.
async fn race_updates(client: &Client, objects: [(&Path, UpdateVersion); 2]) -> StoreResult<UpdateRace> {
    let [(other, wrong), (raced, right)] = objects;
    let update = |at, version, n: usize| async move {
        put(client, at, PutMode::Update(version), replacement(n)).await.map(drop)
    };
    let wrong = update(other, wrong, 0);
    let right = future::join_all((1..=RACERS).map(|n| update(raced, right.clone(), n)));
    let (wrong, right) = future::join(wrong, right).await;
    let won_unseen = right.iter().all(Result::is_err) && holds(client, raced, replacement).await?;
    Ok(UpdateRace { wrong, right, won_unseen })
}

/// Races updates with objects of its own, because the answer to the first probe was lost.
pub(super) fn ask_updates_anew(
    bucket: &Bucket,
    places: Places,
) -> Result<StoreResult<UpdateAnswer>, Failure> {
    bucket.ask(|client| async move {
        let left = places.objects.clone();
        let answer = async {
            for object in &left {
                overwrite(&client, object, places.by_version).await?;
            }
            ask_updates(client.clone(), places, None).await
        }
        .await;
        tidy(client, left).await;
        Ok(answer)
    })
}

/// Deletes the objects that a probe put.
pub(super) async fn tidy(client: Client, left: Vec<Path>) {
    // No caller waits for the deletes, but the time limit still applies.
    let budget = Arc::new(Budget::new(TIDY_TIMEOUT));
    let limits = Limits::new(budget, MAX_DOCUMENT_BYTES, Arc::default(), Arc::default());
    let deleting = async {
        let left = stream::iter(left.into_iter().map(Ok)).boxed();
        Ok(client.objects.delete_stream(left).collect::<Vec<_>>().await)
    };
    // Objects that are not deleted have a few bytes each, under a name that explains them.
    let _probe_has_reported = limited(limits, deleting).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn race(answers: &[Result<(), ErrorKind>]) -> Result<Verdict, ErrorKind> {
        let answers: Vec<_> =
            answers.iter().map(|answer| answer.map_err(|kind| Failure::new(kind, ""))).collect();
        Verdict::of_race(&answers).map_err(|f| f.kind)
    }

    #[test]
    fn a_race_has_one_winner_or_the_condition_is_not_used() {
        use ErrorKind::{AlreadyExists, PreconditionFailed, Timeout, Unsupported};
        assert_eq!(race(&[Ok(()), Err(AlreadyExists), Err(PreconditionFailed)]), Ok(Verdict::Honoured));
        assert_eq!(race(&[Ok(()), Ok(()), Err(AlreadyExists)]), Ok(Verdict::Ignored));
        assert_eq!(race(&[Err(PreconditionFailed), Err(PreconditionFailed)]), Ok(Verdict::NeverTrue));
        assert_eq!(race(&[Err(Unsupported), Ok(())]), Ok(Verdict::Refused));
        assert_eq!(race(&[Ok(()), Err(Timeout)]), Err(Timeout), "no answer arrived");
    }

    #[test]
    fn quotes_are_removed_in_pairs() {
        assert_eq!(bare("\"abc\""), "abc");
        assert_eq!(bare("abc"), "abc");
        assert_eq!(bare("\""), "\"");
        assert_eq!(bare("W/\"abc\""), "W/\"abc\"");
    }
}
