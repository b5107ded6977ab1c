//! The entry of a source in a container: a native file with raw data that the container shows (docs/format.md, "Sources").

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_stores::registry::is_url;
use object_stores::{Key, ObjectStore};

use crate::codec::{Decoded, Reader, put_string, put_varint};

/// The first byte of the key of a source; its number follows.
pub const SOURCE: u8 = b'F';
/// The form of the entries that this build writes and reads.
const FORM: u8 = 1;
/// The maximum length of a place, in bytes.
const MAX_PLACE: usize = 65_536;

/// The reason why a URL in a container is not followed.
#[derive(Debug, Clone)]
pub struct NotFollowed {
    /// The error number, if there is one.
    pub errno: Option<i32>,
    /// The obstacle.
    pub why: String,
}

/// Finds the stores of sources.
pub trait SourceOpener: fmt::Debug + Send + Sync {
    /// Returns the store and the key that a URL in a container names.
    ///
    /// # Errors
    /// The reason why the URL is not followed.
    fn open(&self, url: &str) -> std::result::Result<(Arc<dyn ObjectStore>, Key), NotFollowed>;
}

/// A native file with raw data that a container shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The location of the file: an absolute path, a URL, or a path relative to the folder of the container's file.
    pub place: Vec<u8>,
    /// The length in bytes.
    pub length: u64,
    /// The time of the last change, in nanoseconds since 1970-01-01 UTC; 0 if unknown, which no reader accepts for a local file.
    pub modified: u64,
    /// The etag of an object in a store; empty if the store provides no etag.
    pub etag: String,
}

impl Source {
    /// Encodes the value of the source's entry.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![FORM];
        put_string(&mut out, &self.place);
        put_varint(&mut out, self.length);
        put_varint(&mut out, self.modified);
        put_string(&mut out, self.etag.as_bytes());
        out
    }

    /// Decodes the value of an entry.
    ///
    /// # Errors
    /// The fault of the value.
    pub fn decode(value: &[u8]) -> std::result::Result<Self, &'static str> {
        let mut r = Reader::new(value);
        let source = Self::read(&mut r)?;
        if r.remaining() > 0 { Err("more bytes than a source has") } else { Ok(source) }
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        if r.u8()? != FORM {
            return Err("an unknown form of a source");
        }
        let place = r.string()?.to_vec();
        if place.is_empty() || place.len() > MAX_PLACE || place.contains(&0) {
            return Err("an impossible place of a source");
        }
        let (length, modified) = (r.number()?, r.number()?);
        let etag = String::from_utf8(r.string()?.to_vec()).map_err(|_| "an etag that is no text")?;
        Ok(Self { place, length, modified, etag })
    }

    /// Returns the key of the entry with this number.
    pub fn key(number: u32) -> Vec<u8> {
        let mut key = vec![SOURCE];
        key.extend_from_slice(&number.to_be_bytes());
        key
    }

    /// Returns the number in a key, if the key is that of a source.
    pub fn number(key: &[u8]) -> Option<u32> {
        let (letter, number) = key.split_first()?;
        (*letter == SOURCE).then(|| number.try_into().ok().map(u32::from_be_bytes)).flatten()
    }

    /// Returns the URL of an object in a store; `None` for a path.
    pub fn url(&self) -> Option<&str> {
        let text = std::str::from_utf8(&self.place).ok()?;
        is_url(text).then_some(text)
    }

    /// Returns whether reads of the source go over a network.
    pub fn is_remote(&self) -> bool {
        self.url().is_some_and(|url| !url.starts_with("file:") && !url.starts_with("memory:"))
    }

    /// Returns the path of a local file, for a container in `folder`; `None` for an object, and for a relative place
    /// without a folder.
    pub fn path(&self, folder: Option<&Path>) -> Option<PathBuf> {
        use std::os::unix::ffi::OsStrExt;
        if self.url().is_some() {
            return None;
        }
        let path = Path::new(std::ffi::OsStr::from_bytes(&self.place));
        if path.is_absolute() { Some(path.to_owned()) } else { folder.map(|folder| folder.join(path)) }
    }

    /// Returns the same source for a container with a file in `folder`: with a relative place if the source is in that folder or below,
    /// otherwise with an absolute place. `was` is the folder of the container that has the source now.
    ///
    /// # Errors
    /// The fault of the source's place.
    pub fn seen_from(
        &self,
        was: Option<&Path>,
        folder: Option<&Path>,
    ) -> std::result::Result<Self, &'static str> {
        use std::os::unix::ffi::OsStrExt;
        if self.url().is_some() {
            return Ok(self.clone());
        }
        let path = self.path(was).ok_or("a relative place in a container that lies in no folder")?;
        let below = folder.and_then(|folder| path.strip_prefix(folder).ok()).filter(|below| {
            let plain = |part| matches!(part, std::path::Component::Normal(_));
            !below.as_os_str().is_empty() && below.components().all(plain)
        });
        let place = below.unwrap_or(&path).as_os_str().as_bytes().to_vec();
        let new = Self { place, ..self.clone() };
        // A name that looks like a URL stays absolute.
        Ok(if new.url().is_some() {
            Self { place: path.as_os_str().as_bytes().to_vec(), ..new }
        } else {
            new
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(place: &str) -> Source {
        Source { place: place.into(), length: 5, modified: 7, etag: "e".into() }
    }

    #[test]
    fn valid_entries_round_trip_and_invalid_entries_are_refused() {
        let source = at("/d/native.h5");
        let bytes = source.encode();
        assert_eq!(Source::decode(&bytes), Ok(source));
        for cut in 0..bytes.len() {
            assert!(Source::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        assert!(Source::decode(&[&bytes[..], &[0]].concat()).is_err());
        for place in ["", "a\0b"] {
            assert!(Source::decode(&at(place).encode()).is_err(), "{place:?}");
        }
        assert!(Source::decode(&Source { place: vec![b'a'; MAX_PLACE + 1], ..at("") }.encode()).is_err());
        assert!(Source::decode(&Source { length: u64::MAX, ..at("a") }.encode()).is_err());
        assert_eq!(Source::number(&Source::key(7)), Some(7));
        assert_eq!(Source::number(b"F123456"), None);
    }

    #[test]
    fn places_move_with_their_container() {
        let (was, new) = (Path::new("/a"), Path::new("/a/b"));
        let seen = |place: &str, from: &Path, to: Option<&Path>| {
            String::from_utf8(at(place).seen_from(Some(from), to).unwrap().place).unwrap()
        };
        assert_eq!(seen("n.h5", was, Some(was)), "n.h5");
        assert_eq!(seen("b/n.h5", was, Some(new)), "n.h5");
        assert_eq!(seen("n.h5", was, Some(new)), "/a/n.h5");
        assert_eq!(seen("../n.h5", was, Some(Path::new("/a"))), "/a/../n.h5");
        assert_eq!(seen("n.h5", was, None), "/a/n.h5");
        assert_eq!(seen("s3://b/n.h5", was, Some(new)), "s3://b/n.h5");
        assert!(at("n.h5").seen_from(None, None).is_err());
    }
}
