//! A queued operation and its file.
//!
//! The file begins with the object's bytes, so that a range of the object is the same range of the file, and ends with
//! a footer (docs/format.md, "Stage folder").

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use super::content::Content;
use crate::{Etag, Key};

const MAGIC: &[u8; 4] = b"h5lO";
/// The format of operations.
const FORMAT: u8 = 2;
/// The number of bytes after the footer: its length, its checksum, and the magic number.
const TAIL_BYTES: u64 = 12;
/// The maximum length of a footer, in bytes. It bounds the number of keys in a deletion.
const MAX_FOOTER_BYTES: u64 = 64 << 20;
/// The number of bytes that are read at the end of a file at first: most footers are shorter.
const END_BYTES: u64 = 4 << 10;

/// The condition of a put, evaluated when the operation arrives in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// No condition.
    Any,
    /// The object has this etag of the store.
    Etag(Etag),
    /// The object is the one that the operation with this number put.
    Staged(u64),
}

/// The change that an operation makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Put {
        key: Key,
        guard: Guard,
        content: Content,
        /// The content that the put replaces, if it is known.
        over: Option<Content>,
        /// True if the put may run concurrently with other free operations: the object is new, and no other operation refers to it yet.
        is_free: bool,
    },
    Delete(Vec<Key>),
}

/// One queued operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Queued {
    /// The operation's position in the order.
    pub(super) number: u64,
    /// The time at which it was queued, by the store's clock if that is known.
    pub(super) time: SystemTime,
    pub(super) action: Action,
}

impl Queued {
    /// Returns whether the operation may run concurrently with other free operations.
    pub(super) fn is_free(&self) -> bool {
        matches!(self.action, Action::Put { is_free: true, .. })
    }

    /// Returns the keys that the operation changes.
    pub(super) fn keys(&self) -> &[Key] {
        match &self.action {
            Action::Put { key, .. } => std::slice::from_ref(key),
            Action::Delete(keys) => keys,
        }
    }

    /// Returns the number of bytes that the operation uploads.
    pub(super) fn length(&self) -> u64 {
        match &self.action {
            Action::Put { content, .. } => content.length,
            Action::Delete(_) => 0,
        }
    }

    /// Encodes the footer, which follows the object's bytes.
    pub(super) fn footer(time: SystemTime, action: &Action) -> Vec<u8> {
        let mut out = vec![FORMAT];
        let micros = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        put_number(&mut out, u64::try_from(micros).unwrap_or(u64::MAX));
        match action {
            Action::Put { key, guard, content, over, is_free } => {
                out.extend_from_slice(&[0, u8::from(*is_free)]);
                put_text(&mut out, key.as_str());
                put_content(&mut out, *content);
                out.push(u8::from(over.is_some()));
                if let Some(over) = over {
                    put_content(&mut out, *over);
                }
                put_guard(&mut out, guard);
            }
            Action::Delete(keys) => {
                out.push(1);
                put_number(&mut out, keys.len() as u64);
                keys.iter().for_each(|key| put_text(&mut out, key.as_str()));
            }
        }
        let sum = crc_fast::crc32_iscsi(&out);
        let length = out.len() as u32;
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&sum.to_le_bytes());
        out.extend_from_slice(MAGIC);
        out
    }

    /// Reads an operation from its file. The object's bytes are verified only when they are used.
    ///
    /// # Errors
    /// `InvalidData` if the file is damaged; those of the operating system.
    pub(super) fn read(mut file: File, number: u64) -> io::Result<Self> {
        let damaged = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
        let length = file.metadata()?.len();
        let body = length.checked_sub(TAIL_BYTES).ok_or_else(|| damaged("it is cut short"))?;
        let mut end = read_end(&mut file, length, END_BYTES)?;
        let tail = end.len() - TAIL_BYTES as usize;
        let fields = &mut &end[tail..];
        let (Some(footer), Some(sum), Some(magic)) =
            (take::<4>(fields), take::<4>(fields), take::<4>(fields))
        else {
            return Err(damaged("it is cut short"));
        };
        let footer = u64::from(u32::from_le_bytes(footer));
        if magic != *MAGIC || footer > body.min(MAX_FOOTER_BYTES) {
            return Err(damaged("it is no queued operation, or not whole"));
        }
        if footer + TAIL_BYTES > end.len() as u64 {
            end = read_end(&mut file, length, footer + TAIL_BYTES)?;
        }
        let from = end.len() - (footer + TAIL_BYTES) as usize;
        let bytes = &end[from..end.len() - TAIL_BYTES as usize];
        if crc_fast::crc32_iscsi(bytes).to_le_bytes() != sum {
            return Err(damaged("its checksum does not match"));
        }
        let (time, action) = decode(bytes).ok_or_else(|| damaged("its footer makes no sense"))?;
        let queued = Queued { number, time, action };
        if queued.length() != body - footer {
            return Err(damaged("it has another length than its footer says"));
        }
        Ok(queued)
    }
}

/// Reads the last `most` bytes of a file of `length` bytes.
fn read_end(file: &mut File, length: u64, most: u64) -> io::Result<Vec<u8>> {
    let most = most.min(length);
    file.seek(SeekFrom::Start(length - most))?;
    let mut bytes = vec![0; most as usize];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Reads the object's bytes in an operation's file, and verifies their length and checksum.
///
/// # Errors
/// `InvalidData` if they are not the queued bytes; those of the operating system.
pub(super) fn read_content(file: File, content: Content) -> io::Result<Bytes> {
    let length = usize::try_from(content.length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(length).map_err(|_| io::ErrorKind::OutOfMemory)?;
    file.take(content.length).read_to_end(&mut bytes)?;
    if !content.is_of(&bytes) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "its bytes are damaged"));
    }
    Ok(Bytes::from(bytes))
}

fn put_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn put_content(out: &mut Vec<u8>, content: Content) {
    put_number(out, content.length);
    put_number(out, content.sum);
}

fn put_guard(out: &mut Vec<u8>, guard: &Guard) {
    match guard {
        Guard::Any => out.push(0),
        Guard::Etag(etag) => {
            out.push(2);
            put_text(out, etag.as_str());
        }
        Guard::Staged(number) => {
            out.push(3);
            put_number(out, *number);
        }
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (now, later) = rest.split_first_chunk()?;
    *rest = later;
    Some(*now)
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    take(rest).map(u64::from_le_bytes)
}

fn take_byte(rest: &mut &[u8]) -> Option<u8> {
    take(rest).map(|[byte]| byte)
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let length = u32::from_le_bytes(take(rest)?);
    let (now, later) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = later;
    std::str::from_utf8(now).ok()
}

fn take_key(rest: &mut &[u8]) -> Option<Key> {
    Key::new(take_text(rest)?).ok()
}

fn take_content(rest: &mut &[u8]) -> Option<Content> {
    Some(Content { length: take_number(rest)?, sum: take_number(rest)? })
}

fn take_guard(rest: &mut &[u8]) -> Option<Guard> {
    Some(match take_byte(rest)? {
        0 => Guard::Any,
        2 => Guard::Etag(Etag::new(take_text(rest)?)),
        3 => Guard::Staged(take_number(rest)?),
        _ => return None,
    })
}

fn take_put(rest: &mut &[u8]) -> Option<Action> {
    let is_free = match take_byte(rest)? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let (key, content) = (take_key(rest)?, take_content(rest)?);
    let over = match take_byte(rest)? {
        0 => None,
        1 => Some(take_content(rest)?),
        _ => return None,
    };
    Some(Action::Put { key, guard: take_guard(rest)?, content, over, is_free })
}

fn decode(mut bytes: &[u8]) -> Option<(SystemTime, Action)> {
    let rest = &mut bytes;
    if take_byte(rest)? != FORMAT {
        return None;
    }
    let time = UNIX_EPOCH.checked_add(Duration::from_micros(take_number(rest)?))?;
    let action = match take_byte(rest)? {
        0 => take_put(rest)?,
        1 => {
            let count = take_number(rest)?;
            // Each key takes at least five bytes, so the list cannot become longer than the footer, whatever the count.
            let keys: Option<Vec<Key>> = (0..count).map(|_| take_key(rest)).collect();
            Action::Delete(keys?)
        }
        _ => return None,
    };
    rest.is_empty().then_some((time, action))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actions() -> Vec<Action> {
        let key = |text: &str| Key::new(text).unwrap();
        let content = Content::of(b"bytes");
        let put = |guard, over, is_free| Action::Put { key: key("a/b"), guard, content, over, is_free };
        vec![
            put(Guard::Any, None, true),
            put(Guard::Etag(Etag::new("\"e\"")), Some(Content::of(b"old")), false),
            put(Guard::Staged(7), Some(Content::of(b"")), false),
            Action::Delete(Vec::new()),
            Action::Delete((0..2000).map(|n| key(&format!("dir/{n}"))).collect()),
        ]
    }

    fn file_of(action: &Action, time: SystemTime) -> Vec<u8> {
        let bytes: &[u8] = if matches!(action, Action::Put { .. }) { b"bytes" } else { b"" };
        [bytes, &Queued::footer(time, action)].concat()
    }

    #[test]
    fn an_operation_round_trips_and_damage_is_detected() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        let time = UNIX_EPOCH + Duration::from_micros(1_795_168_800_000_001);
        for action in actions() {
            let good = file_of(&action, time);
            std::fs::write(&path, &good).unwrap();
            let read = Queued::read(File::open(&path).unwrap(), 3).unwrap();
            assert_eq!(read, Queued { number: 3, time, action: action.clone() });
            let footer = good.len() - read.length() as usize;
            for n in (0..footer.min(300)).chain(footer.saturating_sub(20)..footer) {
                let mut bad = good.clone();
                bad[read.length() as usize + n] ^= 4;
                std::fs::write(&path, &bad).unwrap();
                assert!(
                    Queued::read(File::open(&path).unwrap(), 3).is_err(),
                    "{action:?}: byte {n} of the footer"
                );
            }
            for length in [0, 5, good.len() - 1] {
                std::fs::write(&path, &good[..length]).unwrap();
                assert!(Queued::read(File::open(&path).unwrap(), 3).is_err(), "{length} bytes");
            }
            std::fs::write(&path, [b"more".as_slice(), &good].concat()).unwrap();
            assert!(Queued::read(File::open(&path).unwrap(), 3).is_err(), "bytes in front");
        }
    }

    #[test]
    fn an_inconsistent_footer_is_refused() {
        for (n, mut lies) in actions().iter().map(|action| file_of(action, UNIX_EPOCH)).enumerate() {
            // The checksum is right, but the format is unknown.
            let at = if n < 3 { 5 } else { 0 };
            lies[at] = 9;
            let footer = lies.len() - 12;
            let sum = crc_fast::crc32_iscsi(&lies[at..footer]);
            lies[footer + 4..footer + 8].copy_from_slice(&sum.to_le_bytes());
            let dir = tempfile::tempdir().unwrap();
            std::fs::write(dir.path().join("x"), &lies).unwrap();
            assert!(Queued::read(File::open(dir.path().join("x")).unwrap(), 1).is_err());
        }
        let mut huge = vec![FORMAT];
        put_number(&mut huge, 0);
        huge.push(1);
        put_number(&mut huge, u64::MAX);
        assert_eq!(decode(&huge), None, "no memory is allocated");
    }

    #[test]
    fn the_bytes_are_checked_when_they_are_used() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, b"bytes and more").unwrap();
        assert_eq!(read_content(File::open(&path).unwrap(), Content::of(b"bytes")).unwrap(), "bytes");
        assert!(read_content(File::open(&path).unwrap(), Content::of(b"bytez")).is_err());
        assert!(read_content(File::open(&path).unwrap(), Content { length: 99, sum: 0 }).is_err());
    }
}
