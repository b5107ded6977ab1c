//! The files of a cache: one for each block.
//!
//! `DIR/<two letters>/<hash of the object's name>-<number of the block>` holds, one after the other: "h5lC2"; u32 length of the
//! object's name, and the name; u64 number of the block; u64 the object's length; u64 seconds since 1970 when it was put, and u32 nanoseconds; u32 length of its etag, and the
//! etag; the block's bytes; u32 CRC-32C of all before. Numbers are little-endian.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::private_files::is_private;
use crate::{Etag, Key, ObjectMeta};

const MAGIC: &[u8] = b"h5lC2";
/// How long a file counts as just used: its time is not written again meanwhile.
const TOUCH_INTERVAL: Duration = Duration::from_secs(60);
/// When files are removed, so many sixteenths of the bound are left.
const SIXTEENTHS_LEFT: u64 = 14;

/// The directory `path`, made if it is missing, by its real name. Where others may write to it, it is one in it that is this user's
/// alone: their blocks would be believed.
pub(super) fn make(path: &Path) -> io::Result<PathBuf> {
    // What is kept was fetched with somebody's credentials.
    let private = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    private(path)?;
    let shared = fs::canonicalize(path)?;
    if is_private(&fs::symlink_metadata(&shared)?) {
        return Ok(shared);
    }
    let own = shared.join(format!("h5lake-{}", nix::unistd::geteuid()));
    private(&own)?;
    match fs::symlink_metadata(&own)? {
        found if found.is_dir() && is_private(&found) => Ok(own),
        _ => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!(
                "others may write to {}, and {} is not this user's alone",
                shared.display(),
                own.display()
            ),
        )),
    }
}

/// A part of an object, and what is known of the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) bytes: Bytes,
    size: u64,
    modified: SystemTime,
    etag: Option<Etag>,
}

impl Block {
    pub(super) fn new(meta: &ObjectMeta, bytes: Bytes) -> Self {
        Block { bytes, size: meta.size, modified: meta.modified, etag: meta.etag.clone() }
    }

    pub(super) fn meta(&self, key: &Key) -> ObjectMeta {
        ObjectMeta { key: key.clone(), size: self.size, modified: self.modified, etag: self.etag.clone() }
    }

    fn encode(&self, name: &str, number: u64) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(self.bytes.len() + name.len() + 64);
        out.extend_from_slice(MAGIC);
        put_text(&mut out, Some(name))?;
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&self.size.to_le_bytes());
        let age = self.modified.duration_since(UNIX_EPOCH).ok()?;
        out.extend_from_slice(&age.as_secs().to_le_bytes());
        out.extend_from_slice(&age.subsec_nanos().to_le_bytes());
        put_text(&mut out, self.etag.as_ref().map(Etag::as_str))?;
        out.extend_from_slice(&self.bytes);
        let sum = crc_fast::crc32_iscsi(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        Some(out)
    }

    /// The block in a file's bytes; `None` if they are damaged, another object's, or another block's.
    fn decode(file: Vec<u8>, name: &str, number: u64) -> Option<Self> {
        let end = file.len().checked_sub(4)?;
        let (body, sum) = file.split_at(end);
        if crc_fast::crc32_iscsi(body).to_le_bytes() != sum {
            return None;
        }
        let mut rest = body.strip_prefix(MAGIC)?;
        if take_text(&mut rest)?? != name || u64::from_le_bytes(take(&mut rest)?) != number {
            return None;
        }
        let size = u64::from_le_bytes(take(&mut rest)?);
        let seconds = Duration::from_secs(u64::from_le_bytes(take(&mut rest)?));
        let nanos = Duration::from_nanos(u64::from(u32::from_le_bytes(take(&mut rest)?)));
        let modified = UNIX_EPOCH.checked_add(seconds)?.checked_add(nanos)?;
        let etag = take_text(&mut rest)?.map(Etag::new);
        let at = end - rest.len();
        Some(Block { bytes: Bytes::from(file).slice(at..end), size, modified, etag })
    }
}

/// A text with its length before it; no text is a length that no text has.
fn put_text(out: &mut Vec<u8>, text: Option<&str>) -> Option<()> {
    let length =
        text.map_or(Some(u32::MAX), |text| u32::try_from(text.len()).ok().filter(|n| *n < u32::MAX))?;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(text.unwrap_or_default().as_bytes());
    Some(())
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (now, later) = rest.split_first_chunk()?;
    *rest = later;
    Some(*now)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a str>> {
    let length = u32::from_le_bytes(take(rest)?);
    if length == u32::MAX {
        return Some(None);
    }
    let (now, later) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = later;
    std::str::from_utf8(now).ok().map(Some)
}

/// FNV-1a, 128 bits. That a file is the right one its content says, not its name.
fn hash(text: &str) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    text.bytes().fold(BASIS, |h, b| (h ^ u128::from(b)).wrapping_mul(PRIME))
}

/// A cache's directory.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    bound: u64,
    /// Bytes added since the directory was last looked through.
    added: AtomicU64,
    looking: Mutex<()>,
}

impl Folder {
    pub(super) fn new(path: PathBuf, bound: u64) -> Self {
        // The first file that is kept makes us look what is there.
        Folder { path, bound, added: AtomicU64::new(bound), looking: Mutex::default() }
    }

    fn file(&self, name: &str, block: u64) -> PathBuf {
        let hash = format!("{:032x}", hash(name));
        self.path.join(&hash[..2]).join(format!("{hash}-{block:x}"))
    }

    /// A block, if it is here and whole. What is damaged is removed.
    pub(super) fn read(&self, name: &str, block: u64) -> Option<Block> {
        let path = self.file(name, block);
        let bytes = fs::read(&path).ok()?;
        let found = Block::decode(bytes, name, block);
        if found.is_none() {
            let _somebody_else_may_have_removed_it = fs::remove_file(&path);
        } else {
            touch(&path);
        }
        found
    }

    /// Keeps a block. What goes wrong costs no more than fetching it again.
    pub(super) fn keep(&self, name: &str, block: u64, what: &Block) {
        let Some(bytes) = what.encode(name, block).filter(|bytes| (bytes.len() as u64) < self.bound) else {
            return;
        };
        if self.write(&self.file(name, block), &bytes).is_err() {
            return;
        }
        let length = bytes.len() as u64;
        let added = self.added.fetch_add(length, Ordering::Relaxed) + length;
        if added > self.bound / 16 {
            self.shrink();
        }
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let folder = path.parent().unwrap_or(&self.path);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.persist(path).map(drop).map_err(|e| e.error)
    }

    /// Forgets an object. The numbers of its blocks are unknown, so its folder is looked through.
    pub(super) fn forget(&self, name: &str) {
        let hash = format!("{:032x}-", hash(name));
        for entry in fs::read_dir(self.path.join(&hash[..2])).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&hash) {
                let _somebody_else_may_have_removed_it = fs::remove_file(entry.path());
            }
        }
    }

    /// Removes what was used longest ago, if there is more than the bound allows.
    fn shrink(&self) {
        let Some(_one_is_enough) = self.looking.try_lock() else { return };
        self.added.store(0, Ordering::Relaxed);
        let mut files = self.files();
        let mut total: u64 = files.iter().map(|(_, length, _)| length).sum();
        if total <= self.bound / 16 * 15 {
            return;
        }
        files.sort_unstable();
        for (_, length, path) in files {
            if total <= self.bound / 16 * SIXTEENTHS_LEFT {
                break;
            }
            if fs::remove_file(path).is_ok() {
                total -= length;
            }
        }
    }

    /// Every file: when it was last used, its length, its path. What a killed process left half written counts too, as old.
    fn files(&self) -> Vec<(SystemTime, u64, PathBuf)> {
        let entries = |path: &Path| fs::read_dir(path).into_iter().flatten().flatten();
        let all = entries(&self.path).flat_map(|folder| entries(&folder.path()).collect::<Vec<_>>());
        all.filter_map(|entry| {
            let found = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            Some((found.modified().ok()?, found.len(), entry.path()))
        })
        .collect()
    }
}

/// Notes that a file was used.
fn touch(path: &Path) {
    let Ok(file) = File::open(path) else { return };
    let is_fresh = file
        .metadata()
        .and_then(|m| m.modified())
        .is_ok_and(|t| t.elapsed().is_ok_and(|e| e < TOUCH_INTERVAL));
    if !is_fresh {
        let _then_it_goes_earlier = file.set_modified(SystemTime::now());
    }
}
