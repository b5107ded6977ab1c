//! Copies of a snapshot: into a new container, and over a newer version of the same one.

mod incremental;
mod mover;

pub use self::incremental::{UpdatedCopy, update_copy};
use self::mover::Mover;
use crate::end::{End, newest};
use crate::file_mode::options_of_copy;
use crate::repair::fill_user_block;
use h5lake_container::{Access, Options, Target};
use h5lake_ledger::{At, EarlierTry, Ledger, Origin, WholeCopy, Writers};
use h5lake_records::{Error, ErrorKind, Result};

/// The maximum number of attempts to copy a container while writers reclaim the versions that are being copied.
const MAX_COPIES: u32 = 10;

/// The result of a copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// The version that was copied.
    pub from: u64,
    /// The version that the copy created.
    pub to: u64,
    /// Number of entries that were written or deleted.
    pub entries: u64,
    /// Bytes of copied payloads.
    pub bytes: u64,
    /// Bytes of payloads that an earlier attempt had copied, and that were not copied again.
    pub continued: u64,
    /// The reason why an earlier attempt could not be continued, if there was one.
    pub begun_anew: Option<&'static str>,
}

/// Creates a container with the content that `fill` writes. If the origin is known, continues an earlier attempt;
/// returns whether that attempt had copied everything.
fn make(
    to: End<'_>,
    options: h5lake_ledger::Options,
    origin: Option<&Origin>,
    fill: impl FnOnce(&Ledger, EarlierTry) -> Result<()>,
) -> Result<(Ledger, bool)> {
    let Some(origin) = origin else {
        let fill = |to: &Ledger| fill(to, EarlierTry::None);
        return Ok((to.create_whole(options, fill)?, false));
    };
    let WholeCopy { ledger, was_whole } = match to.target {
        Target::File(path) => Ledger::create_copy_file(path, options, origin, fill)?,
        Target::Objects { store, key, .. } => {
            Ledger::create_copy_objects(store.clone(), key, options, origin, fill)?
        }
    };
    Ok((ledger, was_whole))
}

/// Copies, and starts again with a newer version if a writer of a store reclaimed the newest version while it was being read. A
/// requested version is never exchanged for another version.
fn of_newest<T>(options: &Options, mut copy: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..MAX_COPIES {
        match copy() {
            Err(e) if e.kind() == ErrorKind::Gone && options.ledger.at.is_none() => (),
            done => return done,
        }
    }
    copy()
}

/// Returns an error for a branch, or for another container, where a version is required.
fn refuse_other_lines(at: Option<At>, instead: &str) -> Result<()> {
    match at {
        Some(at @ At::Branch(_)) => Err(Error::invalid(format!("{at} is no version of its own; {instead}"))),
        Some(at @ At::Replaced(_)) => {
            let why = "is another container; bring it back with 'h5lake restore NAME ID', or copy it";
            Err(Error::invalid(format!("{at} {why}")))
        }
        _ => Ok(()),
    }
}

/// Copies like [`copy_to`], from a container that will be deleted: the copy records no origin, and
/// no earlier attempt is continued.
///
/// # Errors
/// As for [`copy_to`].
pub fn move_to(from: End<'_>, to: End<'_>, progress: &mut dyn FnMut(u64, u64)) -> Result<Copied> {
    copy_ledger(from, &from.open()?, None, to, progress)
}

/// Copies a container, or the version of it that its options request, to a new one. Other writers may write to the
/// source meanwhile. The target becomes visible only when it is complete. When this returns, the target is
/// committed. `progress` gets the number of copied bytes, and their maximum total. The copy records its origin, for
/// [`update_copy`].
///
/// Data that a killed or failed copy of the same version to the same target had written is not written again. It is
/// retained for a day, except if the target is a store in memory, or a file on a file system without working locks.
///
/// # Errors
/// `AlreadyExists` if the target exists; `Locked` while another copy to it is running; `Corrupt` if a part of the
/// source is damaged; `Gone` if writers reclaimed each version that was read; those of reading the source and of
/// writing. After an error the target does not exist.
pub fn copy_to(from: End<'_>, to: End<'_>, progress: &mut dyn FnMut(u64, u64)) -> Result<Copied> {
    of_newest(from.options, || copy_once(from, to, progress))
}

fn copy_once(from: End<'_>, to: End<'_>, progress: &mut dyn FnMut(u64, u64)) -> Result<Copied> {
    let opened = from.open()?;
    let origin = match opened.origin() {
        // The history of a damaged container may be lost. The copied version can be intact nevertheless.
        Err(e) if matches!(e.kind(), h5lake_ledger::ErrorKind::Corrupt { .. }) => None,
        found => found?,
    };
    copy_ledger(from, &opened, origin, to, progress)
}

fn copy_ledger(
    from: End<'_>,
    opened: &Ledger,
    origin: Option<Origin>,
    to: End<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Copied> {
    let own = h5lake_container::read_record(opened, from.target)?;
    let offset = opened.offset_in_file();
    let user_block = offset.unwrap_or(own.user_block);
    let sources = opened.has_sources()?;
    let ledger = h5lake_ledger::Options { user_block, at: None, sources, ..options_of_copy(from, to) };
    let mut done = Copied { from: opened.version(), ..Copied::default() };
    let set = origin.clone();
    let fill = |made: &Ledger, earlier: EarlierTry| -> Result<()> {
        fill_user_block(from.target, offset.unwrap_or(0), made)?;
        let mut progress = with_size(opened, progress)?;
        let mut mover = Mover::new(opened, made, done, &mut progress);
        let moved = mover.all(earlier);
        done = mover.done;
        moved?;
        set.map_or(Ok(()), |origin| Ok(made.set_origin(origin)?))
    };
    let (made, was_whole) = make(to, ledger, origin.as_ref(), fill)?;
    if was_whole {
        done.continued = made.size()?;
    }
    done.to = made.version();
    made.close_committed()?;
    Ok(done)
}

/// Makes an old version the newest version again, as a new version: the versions in between are retained for as long as they
/// would have been otherwise. The restoration takes the writer's lock; if shared writers have the file open, it runs as one
/// more shared writer. It starts again if another writer commits meanwhile. In a file, the differences are copied. In a store, the new
/// version refers to the payloads of the old version, and no payload is copied. When this returns, the new version is committed. If the
/// newest version is the requested version, nothing is done.
///
/// # Errors
/// `Locked` when another process writes; `OutOfRange` for a version that is not kept; `Corrupt` if something of it
/// is damaged; those of the ledger. After an error the newest version is unchanged.
pub fn restore_version(
    target: &Target,
    options: &Options,
    at: At,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Copied> {
    refuse_other_lines(Some(at), "merge it with 'h5lake branch --merge'")?;
    let plain = newest(options);
    for attempt in 0..MAX_RESTORE_ATTEMPTS {
        let to = open_exclusive_or_shared(target, &plain)?;
        if let Some(done) = restore_in(&to, target, &plain, at, progress)? {
            to.close_committed()?;
            return Ok(done);
        }
        to.wait_before_retry(attempt);
    }
    let text = format!(
        "cannot restore {at}: other writers have committed in each of {MAX_RESTORE_ATTEMPTS} attempts; try again"
    );
    Err(Error::new(ErrorKind::Conflict, text))
}

/// The maximum number of attempts of a restoration that other writers overtake.
const MAX_RESTORE_ATTEMPTS: u32 = 20;

/// Opens a container for writing: as the exclusive writer, or as a shared writer if shared writers have the file open.
fn open_exclusive_or_shared(target: &Target, options: &h5lake_ledger::Options) -> Result<Ledger> {
    match target.open_ledger(Access::ReadWrite, options.clone()) {
        Err(e) if e.kind() == ErrorKind::Locked && matches!(target, Target::File(_)) => {
            let many = h5lake_ledger::Options { writers: Writers::Many, ..options.clone() };
            target.open_ledger(Access::ReadWrite, many).map_err(|_| e)
        }
        opened => opened,
    }
}

/// Bytes that are copied from a store before the size of the container is requested, because that request lists the
/// objects of all its versions.
const BYTES_BEFORE_SIZE: u64 = 64 << 20;

/// Returns a function that reports how many bytes were copied, and their maximum total. From a store, the total equals
/// the copied bytes until many bytes were copied.
fn with_size<'a>(
    from: &'a Ledger,
    progress: &'a mut dyn FnMut(u64, u64),
) -> Result<impl FnMut(u64) + use<'a>> {
    let is_file = from.offset_in_file().is_some();
    let mut size = if is_file { Some(from.size()?) } else { None };
    Ok(move |bytes| {
        if size.is_none() && bytes >= BYTES_BEFORE_SIZE {
            size = Some(from.size().unwrap_or(0));
        }
        progress(bytes, size.unwrap_or(0).max(bytes));
    })
}

/// Makes an old version the newest one. Returns `None`, and changes nothing, if another writer committed meanwhile.
fn restore_in(
    to: &Ledger,
    target: &Target,
    options: &h5lake_ledger::Options,
    at: At,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Option<Copied>> {
    let from =
        target.open_ledger(Access::ReadOnly, h5lake_ledger::Options { at: Some(at), ..options.clone() })?;
    let mut done = Copied { from: from.version(), to: to.version(), ..Copied::default() };
    if done.from == done.to {
        return Ok(Some(done));
    }
    let mut progress = with_size(&from, progress)?;
    let Some(()) = unless_overtaken(to.begin_restore())? else { return Ok(None) };
    let mut mover = Mover::new(&from, to, done, &mut progress);
    if let Err(e) = mover.restore() {
        to.rollback()?;
        return Err(e);
    }
    done = mover.done;
    let committed = match to.is_shared() {
        true => to.try_commit()?,
        false => unless_overtaken(to.commit())?,
    };
    Ok(committed.map(|version| Copied { to: version, ..done }))
}

/// Returns `None` if a concurrent writer of a store committed beside the holder of the lease, which then cannot commit any more.
fn unless_overtaken<T>(done: h5lake_ledger::Result<T>) -> Result<Option<T>> {
    match done {
        Err(e) if *e.kind() == h5lake_ledger::ErrorKind::Conflict => Ok(None),
        done => Ok(Some(done?)),
    }
}
