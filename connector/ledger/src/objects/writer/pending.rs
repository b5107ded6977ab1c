//! A commit from when its record is made until the store has said what became of it.
//!
//! A store that gives no answer may have done what it was asked for, may do it later, or never. So the record is kept with
//! its nonce, and the same bytes are put again: whatever becomes of the earlier try, the log has this record once, or another
//! writer's.

use std::time::Duration;

use bytes::Bytes;
use object_stores::{Condition, ErrorKind as StoreKind, Key, ObjectStoreExt, PutMode, PutPayload};

use super::ObjectWriter;
use crate::address::{Address, Location};
use crate::clock::Moment;
use crate::error::{Error, ErrorKind, Result};
use crate::history::Mark;
use crate::objects::lease::{Lease, RENEW_INTERVAL, TERM};
use crate::objects::manifest::{Head, MAX_LOG_OBJECT_BYTES, store_error};
use crate::objects::object_usage::UsageDelta;
use crate::objects::parse_log;
use crate::storage::Commit;
use crate::wal::record::Author;

/// How often a record is put that the store says is there and does not show.
const MAX_ATTEMPTS: u32 = 5;
const ATTEMPT_INTERVAL: Duration = Duration::from_millis(20);
/// For so long after a look at its lease nobody can have taken it: one that is young is not renewed.
const SURE_TIME: Duration = TERM.saturating_sub(RENEW_INTERVAL);

/// A commit whose end is not known.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) version: u64,
    pub(super) nonce: u64,
    pub(super) time: u64,
    /// The log object.
    pub(super) bytes: Bytes,
    /// Bytes of the record in it.
    pub(super) record_length: u64,
    pub(super) notes: UsageDelta,
    /// What it gives back and is needed after all, should it not be made.
    pub(super) kept: Vec<Address>,
    /// An earlier try may arrive yet.
    pub(super) in_doubt: bool,
    /// When it was known to be the next one.
    pub(super) since: Moment,
}

/// What became of a log object that was to be created.
pub(super) enum CreateOutcome {
    /// It is there, and ours.
    Ours,
    /// Another writer's has its name.
    Others,
    /// It is not there, and will not be.
    Failed(Error),
    /// Nobody can tell.
    Unknown(Error),
}

/// Whose log object is there.
enum PendingOutcome {
    Ours,
    Others,
    /// What there is makes no sense, for this reason.
    Damaged(&'static str),
    Nothing,
}

impl ObjectWriter {
    /// Whether a commit's end is not known.
    pub(in crate::objects) fn is_pending(&self) -> bool {
        self.pending.is_some() || self.pending_head.is_some()
    }

    /// What commits say of room that are under way.
    pub(super) fn notes_under_way(&self) -> impl Iterator<Item = &UsageDelta> {
        let record = self.pending.iter().map(|p| &p.notes);
        record.chain(self.pending_head.iter().map(|p| &p.notes)).chain(&self.queued)
    }

    /// What commits under way gain in a room: bytes in use.
    pub(super) fn pending_live(&self, location: &Location) -> u64 {
        self.notes_under_way().filter_map(|notes| notes.gained.get(location)).sum()
    }

    /// Finds out what became of the commit that is pending, by putting its record again where it is not there.
    pub(crate) fn settle(&mut self) -> Result<Commit> {
        if self.pending_head.is_some() {
            return self.settle_head();
        }
        let Some(p) = &self.pending else {
            return Err(Error::invalid(&self.target, "no commit is pending"));
        };
        let (version, nonce, bytes, doubted) = (p.version, p.nonce, p.bytes.clone(), p.in_doubt);
        let since = p.since;
        if doubted {
            self.renew_staged_packs()?;
        }
        let created = match self.create_log(version, nonce, bytes) {
            // Without a lease somebody else may write all the time.
            CreateOutcome::Ours if !self.shared && (self.lease.is_none() || since.elapsed() > SURE_TIME) => {
                self.check_in_time(version, since)
            }
            created => created,
        };
        match created {
            CreateOutcome::Ours => Ok(Commit::Done(self.take_in_pending())),
            CreateOutcome::Failed(e) if !doubted => {
                self.take_back_pending();
                Err(e)
            }
            CreateOutcome::Failed(e) | CreateOutcome::Unknown(e) => {
                if let Some(p) = &mut self.pending {
                    p.in_doubt = true;
                }
                // Whoever has lost the lease cannot say that nothing was changed.
                let is_lost = *e.kind() == ErrorKind::Conflict;
                Ok(Commit::InDoubt(if is_lost { self.doubt(since.elapsed()) } else { e }))
            }
            CreateOutcome::Others => {
                self.take_back_pending();
                self.overtaken = true;
                Err(Error::new(&self.target, ErrorKind::Conflict))
            }
        }
    }

    /// What to think of a log object that was created only after the lease may have ended. Another writer may have taken it into its
    /// base; or its own was there, is in the base, and deleted. Where nothing refuses an object that comes late, another's may have
    /// been replaced.
    fn check_in_time(&self, version: u64, since: Moment) -> CreateOutcome {
        match self.is_unchallenged() {
            Ok(true) => (),
            Ok(false) => return CreateOutcome::Unknown(self.doubt(since.elapsed())),
            Err(e) => return CreateOutcome::Unknown(e),
        }
        let took_in =
            |head: &Head| head.fixed.id == self.manifest.head.fixed.id && head.base.version >= version;
        match self.head_there() {
            Ok(head) if head.as_ref().is_some_and(took_in) => {
                CreateOutcome::Unknown(self.doubt(since.elapsed()))
            }
            Ok(_) => CreateOutcome::Ours,
            Err(e) => CreateOutcome::Unknown(e),
        }
    }

    /// Whether no other writer can have put a log object that this one has replaced.
    fn is_unchallenged(&self) -> Result<bool> {
        match &self.lease {
            Some(lease) if !self.store.honours(Condition::Create) => lease.is_ours(),
            _ => Ok(true),
        }
    }

    /// The error for a record of which nobody can tell any more whether others took it in.
    pub(in crate::objects) fn doubt(&self, away: Duration) -> Error {
        let why = format!(
            "this writer was held up for {} s while another one committed and reclaimed what it builds on, so its commit \
             may be missing; open the container again and look",
            away.as_secs()
        );
        Error::new(&self.target, ErrorKind::Broken { why })
    }

    /// The record is in the log: its version is the newest. Returns the log object's bytes.
    fn take_in_pending(&mut self) -> u64 {
        let Some(p) = self.pending.take() else { return 0 };
        let length = p.bytes.len() as u64;
        self.manifest.tail.add(p.version, p.bytes);
        (self.version, self.last_time) = (p.version, p.time);
        self.wrote = true;
        self.forget_since();
        self.forget_freed(&p.notes);
        self.payloads.inline.clear();
        self.payloads.inline_gaps.clear();
        let bytes = p.record_length + p.notes.gained.values().sum::<u64>();
        self.newest = Some(Mark {
            version: p.version,
            reclaim_epoch: 0,
            time: p.time,
            bytes,
            author: Author::myself(),
        });
        self.usage.obsolete += p.notes.freed.bytes();
        match &mut self.usage.table {
            None => self.usage.unread.push((p.time, p.notes.encode().into())),
            Some(table) => {
                // Checked when it was freed; were it wrong all the same, an object stays for ever.
                if let Err(why) = table.replay(&p.notes, p.time) {
                    tracing::warn!(why, "bytes are not given back");
                }
            }
        }
        if p.version >= self.manifest.head.version + super::COMMITS_PER_HEAD
            && (!self.shared || p.version.is_multiple_of(super::COMMITS_PER_HEAD))
        {
            self.hint();
        }
        length
    }

    /// The record will never be in the log: what it would have said is for the next one to say.
    fn take_back_pending(&mut self) {
        if let Some(mut p) = self.pending.take() {
            p.notes.freed.remove_all(&p.kept);
            self.take_back(p.notes);
        }
    }

    /// A commit is made: what it gives back was given back anew, where it was rolled back while it was in doubt. That does not count
    /// twice.
    pub(super) fn forget_freed(&mut self, notes: &UsageDelta) {
        self.gave_up = false;
        self.payloads.notes.freed.remove_all(notes.freed.iter());
    }

    /// The next record has to say what these notes say, unless they were rolled back meanwhile: then what the commit put is garbage,
    /// and what it gave back is in use.
    pub(in crate::objects) fn take_back(&mut self, notes: UsageDelta) {
        if std::mem::take(&mut self.gave_up) {
            return;
        }
        let since = std::mem::replace(&mut self.payloads.notes, notes);
        for (location, bytes) in since.gained {
            self.gain(location, bytes);
        }
        for place in since.freed {
            // What was written for that record and given back since was never in use.
            match self.payloads.notes.gained.get_mut(&place.location) {
                Some(bytes) => *bytes = bytes.saturating_sub(place.length),
                None => self.payloads.notes.freed.push(place),
            }
        }
    }

    /// Creates the log object of a version, and finds out what happened if the answer does not say.
    pub(super) fn create_log(&self, version: u64, nonce: u64, bytes: Bytes) -> CreateOutcome {
        let key = match self.names.object_key(&Location::Log(version), &self.target) {
            Ok(key) => key,
            Err(e) => return CreateOutcome::Failed(e),
        };
        if !self.store.honours(Condition::Create) {
            match self.whose(version, nonce) {
                Ok(PendingOutcome::Others) => return CreateOutcome::Others,
                Ok(PendingOutcome::Damaged(why)) => {
                    return CreateOutcome::Failed(self.damaged_record(version, why));
                }
                Err(e) => return CreateOutcome::Failed(self.unlike_existing(&e)),
                Ok(_) => (),
            }
        }
        let mut looks = 0;
        loop {
            let put = match self.put_record(&key, &bytes) {
                // What an earlier try did is not known.
                Err(e) if looks > 0 => return CreateOutcome::Unknown(e),
                Err(e) => return CreateOutcome::Failed(e),
                Ok(put) => put,
            };
            let e = match put {
                Ok(()) => return CreateOutcome::Ours,
                // Nothing of this writer arrives any more, whatever is there.
                Err(e) if e.kind() == StoreKind::StageBroken => return CreateOutcome::Failed(self.fail(&e)),
                Err(e) => e,
            };
            // Whether the store refused it because of what is there: perhaps because of its own earlier try.
            let refused = matches!(e.kind(), StoreKind::AlreadyExists | StoreKind::PreconditionFailed);
            match self.whose(version, nonce) {
                // What failed after its effect may not be durable yet: it is asked for once more.
                Ok(PendingOutcome::Ours) if refused || looks > 0 => return CreateOutcome::Ours,
                Ok(PendingOutcome::Ours) => (),
                Ok(PendingOutcome::Others) => return CreateOutcome::Others,
                Ok(PendingOutcome::Damaged(why)) => {
                    return CreateOutcome::Unknown(self.damaged_record(version, why));
                }
                // One that is just being created is refused to others, and not shown yet.
                Ok(PendingOutcome::Nothing) if refused && looks < MAX_ATTEMPTS => {
                    std::thread::sleep(ATTEMPT_INTERVAL)
                }
                Ok(PendingOutcome::Nothing) if !refused && !e.kind().is_ambiguous() => {
                    return CreateOutcome::Failed(self.fail(&e));
                }
                Ok(PendingOutcome::Nothing) | Err(_) => {
                    return CreateOutcome::Unknown(self.unlike_existing(&e));
                }
            }
            looks += 1;
        }
    }

    /// Puts a log object. Where the store would replace another's, the lock alone keeps others away. It is looked at right before, and
    /// the put ends when the lease does.
    ///
    /// # Errors
    /// Those of the look; then nothing was put.
    fn put_record(&self, key: &Key, bytes: &Bytes) -> Result<object_stores::Result<()>> {
        let payload = PutPayload::from(bytes.clone());
        if self.store.honours(Condition::Create) {
            return Ok(self.store.put(key, payload, PutMode::Create).map(drop));
        }
        let _in_time = self.lease.as_ref().map(Lease::begin_unguarded).transpose()?;
        Ok(self.store.put(key, payload, PutMode::Overwrite).map(drop))
    }

    fn whose(&self, version: u64, nonce: u64) -> object_stores::Result<PendingOutcome> {
        let Ok(key) = self.names.object_key(&Location::Log(version), &self.target) else {
            return Ok(PendingOutcome::Nothing);
        };
        let Some(found) = self.store.get_whole_opt(&key, MAX_LOG_OBJECT_BYTES)? else {
            return Ok(PendingOutcome::Nothing);
        };
        Ok(match parse_log(&found.bytes) {
            Ok(logged) if logged.record.header.nonce == nonce => PendingOutcome::Ours,
            Ok(_) => PendingOutcome::Others,
            // There, or on its way: it may be this writer's all the same.
            Err(why) => PendingOutcome::Damaged(why),
        })
    }

    fn damaged_record(&self, version: u64, why: &str) -> Error {
        let what = format!("log object of version {version}, of which nobody can tell whose commit it is");
        Error::corrupt(&self.target, what, why)
    }

    /// An error of a put, as the store's: that an object of ours exists does not mean that the container does.
    fn unlike_existing(&self, e: &object_stores::Error) -> Error {
        match e.kind() {
            StoreKind::AlreadyExists | StoreKind::PreconditionFailed => {
                let what = format!("{e}; the store does not show what it refuses to replace, flush again");
                Error::new(&self.target, ErrorKind::Store { errno: e.errno(), what })
            }
            _ => store_error(&self.target, e),
        }
    }
}
