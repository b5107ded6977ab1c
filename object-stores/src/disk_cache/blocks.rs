//! The files of a cache: one for each block.
//!
//! `DIR/<two letters>/<hash of the object's name>-<number of the block>` contains, in this order: "h5lC2"; u32 length
//! of the object's name, and the name; u64 number of the block; u64 length of the object; u64 seconds since 1970 of its
//! last put, and u32 nanoseconds; u32 length of its etag, and the etag; the block's bytes; u32 CRC-32C of all bytes
//! before it. Numbers are little-endian.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::fs::OFlags;

use crate::beneath::{Beneath, NewFile};
use crate::private_files::is_private;
use crate::{Etag, Key, ObjectMeta};

const MAGIC: &[u8] = b"h5lC2";
/// The time for which a used file is not marked as used again.
const TOUCH_INTERVAL: Duration = Duration::from_secs(60);
/// The prefix of the name of a block that is being written.
const NEW: &str = ".new-";
/// The maximum length of a block's file, in bytes: the block, its object's name and its etag.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// The number of sixteenths of the bound that remain after an eviction.
const SIXTEENTHS_LEFT: u64 = 14;

/// Makes the directory `path` if it is missing, and returns its path without symbolic links. If other users may write
/// to the directory, returns a subdirectory of this user alone, because their blocks could not be trusted.
pub(super) fn make(path: &Path) -> io::Result<PathBuf> {
    // The directory is private, because its content was fetched with the user's credentials.
    let private = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    private(path)?;
    let shared = fs::canonicalize(path)?;
    let folder = Beneath::open(&shared)?;
    if is_private(&folder.own_metadata()?) {
        return Ok(shared);
    }
    let own = format!("h5lake-{}", nix::unistd::geteuid());
    match folder.make_folder(&own, 0o700) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
        _ => {}
    }
    match folder.folder(&own).and_then(|own| own.own_metadata()) {
        Ok(found) if is_private(&found) => Ok(shared.join(own)),
        _ => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("other users may write to {0} or to {0}/{own}", shared.display()),
        )),
    }
}

/// A part of an object, with the object's metadata.
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

    /// Decodes the block in a file's bytes; returns `None` if they are damaged, or belong to another object or another
    /// block.
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

/// Writes a text after its length. A missing text is a length that no text has.
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

/// Hashes a text for use in a name (FNV-1a, 128 bits). The content of a file proves that it is the right one; its name
/// does not.
fn hash(text: &str) -> u128 {
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    text.bytes().fold(BASIS, |h, b| (h ^ u128::from(b)).wrapping_mul(PRIME))
}

/// The directory of a cache.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    bound: u64,
    /// The number of bytes that were added since the directory was last listed.
    added: AtomicU64,
    looking: Mutex<()>,
}

impl Folder {
    pub(super) fn new(path: PathBuf, bound: u64) -> Self {
        // The first block that is added makes the cache list the directory.
        Folder { path, bound, added: AtomicU64::new(bound), looking: Mutex::default() }
    }

    /// Returns a block, if it is cached and intact. A damaged block is removed.
    pub(super) fn read(&self, name: &str, block: u64) -> Option<Block> {
        let (folder, file) = place_of(name, block);
        let folder = self.folder(&folder).ok()?;
        // Only a regular file is a block. Any other entry is replaced when the block is next cached.
        let (opened, found) = folder.file(&file, OFlags::RDONLY).ok()??;
        let block = read_whole(&opened, &found).and_then(|bytes| Block::decode(bytes, name, block));
        if block.is_none() {
            let _somebody_else_may_have_removed_it = folder.remove_file(&file);
        } else {
            touch(&opened, &found);
        }
        block
    }

    /// Caches a block. Errors are ignored, because they only mean that the block is fetched again.
    pub(super) fn keep(&self, name: &str, block: u64, what: &Block) {
        let Some(bytes) = what.encode(name, block).filter(|bytes| (bytes.len() as u64) < self.bound) else {
            return;
        };
        if self.write(place_of(name, block), &bytes).is_err() {
            return;
        }
        let length = bytes.len() as u64;
        let added = self.added.fetch_add(length, Ordering::Relaxed) + length;
        if added > self.bound / 16 {
            self.shrink();
        }
    }

    fn write(&self, (folder, file): (String, String), bytes: &[u8]) -> io::Result<()> {
        match Beneath::open_itself(&self.path)?.make_folder(&folder, 0o700) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return Err(e),
            _ => {}
        }
        let mut new = NewFile::make(&Arc::new(self.folder(&folder)?), NEW, 0o600)?;
        new.write_all(bytes)?;
        new.publish_here(&file)
    }

    /// Opens one of the folders that contain blocks. Fails if other users may write to it, because the folder could
    /// then contain their blocks.
    fn folder(&self, name: &str) -> io::Result<Beneath> {
        let folder = Beneath::open_itself(&self.path)?.folder(name)?;
        if is_private(&folder.own_metadata()?) {
            return Ok(folder);
        }
        Err(io::ErrorKind::PermissionDenied.into())
    }

    /// Removes the blocks of an object. Their numbers are unknown, so the folder is listed.
    pub(super) fn forget(&self, name: &str) {
        let (folder, of_object) = (place_of(name, 0).0, format!("{:032x}-", hash(name)));
        let Ok(folder) = self.folder(&folder) else { return };
        for entry in folder.entries().into_iter().flatten().flatten() {
            if entry.name.to_str().is_some_and(|name| name.starts_with(&of_object) && is_block(name)) {
                let _somebody_else_may_have_removed_it = folder.remove_file(&entry.name);
            }
        }
    }

    /// Evicts the least recently used blocks, if there are more than the bound allows.
    fn shrink(&self) {
        let Some(_one_is_enough) = self.looking.try_lock() else { return };
        self.added.store(0, Ordering::Relaxed);
        let mut files = self.files();
        let mut total: u64 = files.iter().map(|(_, length, _)| length).sum();
        if total <= self.bound / 16 * 15 {
            return;
        }
        files.sort_unstable();
        for (_, length, (folder, name)) in files {
            if total <= self.bound / 16 * SIXTEENTHS_LEFT {
                break;
            }
            if self.folder(&folder).and_then(|folder| folder.remove_file(&name)).is_ok() {
                total -= length;
            }
        }
    }

    /// Lists every file of the cache: the time of its last use, its length, its folder and its name. A half-written
    /// block of a killed process counts too. A file with any other name does not belong to the cache.
    fn files(&self) -> Vec<(SystemTime, u64, (String, String))> {
        let Ok(all) = Beneath::open_itself(&self.path) else { return Vec::new() };
        let mut files = Vec::new();
        for entry in all.entries().into_iter().flatten().flatten() {
            let Some(folder) = entry.name.to_str().filter(|name| is_hex(name, 2)) else { continue };
            let Ok(inside) = self.folder(folder) else { continue };
            for entry in inside.entries().into_iter().flatten().flatten() {
                let Some(name) = entry.name.to_str().filter(|name| is_block(name) || name.starts_with(NEW))
                else {
                    continue;
                };
                let Ok(found) = inside.metadata(name) else { continue };
                if let (true, Ok(used)) = (found.is_file(), found.modified()) {
                    files.push((used, found.len(), (folder.to_owned(), name.to_owned())));
                }
            }
        }
        files
    }
}

/// Returns the folder of a block, and its file's name in the folder.
fn place_of(name: &str, block: u64) -> (String, String) {
    let hash = format!("{:032x}", hash(name));
    (hash[..2].to_owned(), format!("{hash}-{block:x}"))
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns whether a name is that of a block.
fn is_block(name: &str) -> bool {
    name.split_once('-')
        .is_some_and(|(hash, block)| is_hex(hash, 32) && u64::from_str_radix(block, 16).is_ok())
}

/// Reads a file, unless it is too long to be a block's.
fn read_whole(mut file: &File, found: &Metadata) -> Option<Vec<u8>> {
    let length = usize::try_from(found.len()).ok().filter(|_| found.len() <= MAX_FILE_BYTES)?;
    let mut bytes = Vec::with_capacity(length);
    file.read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Records that a file was used.
fn touch(file: &File, found: &Metadata) {
    let is_fresh = found.modified().is_ok_and(|t| t.elapsed().is_ok_and(|e| e < TOUCH_INTERVAL));
    if !is_fresh {
        let _then_it_goes_earlier = file.set_modified(SystemTime::now());
    }
}
