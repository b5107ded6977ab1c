//! The object under a key: its metadata, and how it is replaced and removed.
//!
//! A replacement has to know the parts of the object that it replaces, to remove them afterwards. Most objects have
//! none, so the write itself asserts that: it takes one round trip. If the assertion fails, the parts are read, and
//! asserted by the next write.

use std::io;

use bytes::Bytes;
use h5lake_rados_abi::{Answer, WriteOperation};

use super::MAX_TRIES;
use super::client::{MAX_UNDER_WAY, Namespace};
use super::parts::{Manifest, PARTS};
use crate::{Error, ErrorKind, Etag, Key, Operation, PutMode, PutResult, Result};

/// The number of pieces that are passed to librados one by one; more pieces are concatenated before.
const MAX_PIECES: usize = 16;

/// The metadata of an object.
#[derive(Clone, Debug)]
pub(super) struct Head {
    /// The length of the whole object, including all parts.
    pub(super) size: u64,
    /// Seconds since 1970.
    pub(super) modified: i64,
    pub(super) version: u64,
    pub(super) parts: Option<Manifest>,
}

impl Head {
    /// Decodes the metadata in an answer.
    ///
    /// # Errors
    /// `InvalidData` if the list of parts is damaged.
    pub(super) fn of(answer: Answer) -> io::Result<Head> {
        let parts = answer.attribute.filter(|value| !value.is_empty());
        let parts = parts.map(|value| Manifest::decode(&value)).transpose()?;
        let size = parts.as_ref().map_or(answer.size, |parts| parts.size);
        Ok(Head { size, modified: answer.modified, version: answer.version, parts })
    }
}

/// Returns the etag of a version.
pub(super) fn etag(version: u64) -> Etag {
    Etag::new(version.to_string())
}

/// Returns the version of an etag, if this store could have returned the etag.
fn version(etag: &Etag) -> Option<u64> {
    let version: u64 = etag.as_str().parse().ok()?;
    (version > 0 && etag.as_str() == version.to_string()).then_some(version)
}

/// The content that an object gets: bytes, or parts that have been written already.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content<'a> {
    Pieces(&'a [Bytes]),
    Parts(&'a Manifest),
}

impl Content<'_> {
    fn bytes(&self) -> usize {
        match self {
            Content::Pieces(pieces) => pieces.iter().map(Bytes::len).sum(),
            Content::Parts(_) => 0,
        }
    }

    /// Adds the content to a write of an object that exists by then, and had the parts `replaced`.
    fn add_to(&self, operation: WriteOperation, replaced: Option<&Manifest>) -> WriteOperation {
        match self {
            Content::Parts(parts) => {
                operation.write_full(&[]).set_attribute(PARTS, parts.encode().as_bytes())
            }
            Content::Pieces(pieces) => {
                let mut filled = pieces.iter().filter(|piece| !piece.is_empty());
                let operation = if pieces.len() > MAX_PIECES {
                    operation.write_full(&pieces.concat())
                } else {
                    let operation = operation.write_full(filled.next().map_or(&[], |piece| piece));
                    filled.fold(operation, |operation, piece| operation.append(piece))
                };
                if replaced.is_some() { operation.remove_attribute(PARTS) } else { operation }
            }
        }
    }
}

/// Adds the assertion that the object has these parts, or none.
fn assert_parts(operation: WriteOperation, parts: Option<&Manifest>) -> WriteOperation {
    let value = parts.map(Manifest::encode).unwrap_or_default();
    operation.assert_attribute(PARTS, value.as_bytes())
}

/// Returns whether a write failed because the object had other parts than it asserted.
fn has_other_parts(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ECANCELED)
}

fn is_number(error: &io::Error, number: i32) -> bool {
    error.raw_os_error() == Some(number)
}

impl Namespace {
    /// Puts an object that consists of some pieces.
    pub(super) fn put(
        &self,
        key: &Key,
        pieces: &[Bytes],
        mode: &PutMode,
        operation: Operation,
    ) -> Result<PutResult> {
        self.put_content(key, Content::Pieces(pieces), mode, operation)
    }

    /// Puts an object, and removes the parts of the object that it replaced.
    pub(super) fn put_content(
        &self,
        key: &Key,
        content: Content<'_>,
        mode: &PutMode,
        operation: Operation,
    ) -> Result<PutResult> {
        let failed = |e| self.error(operation, e).at(key);
        self.ask_for_time().map_err(failed)?;
        let (version, replaced) = match mode {
            PutMode::Create => (self.create(key, content).map_err(failed)?, None),
            PutMode::Overwrite => self.overwrite(key, content).map_err(failed)?,
            PutMode::Update(etag) => {
                let refused = |e: io::Error| match e.raw_os_error() {
                    Some(libc::ENOENT) => {
                        Error::new(ErrorKind::PreconditionFailed, operation).at(key).in_store(&self.name)
                    }
                    _ => failed(e),
                };
                let missing = || refused(io::Error::from_raw_os_error(libc::ENOENT));
                self.update(key, content, version(etag).ok_or_else(missing)?).map_err(refused)?
            }
        };
        if let Some(parts) = replaced {
            self.discard_parts(parts.upload, Some(parts.count()));
        }
        Ok(PutResult { etag: Some(etag(version)) })
    }

    fn create(&self, key: &Key, content: Content<'_>) -> io::Result<u64> {
        self.write(key.as_str(), content.bytes(), |operation| content.add_to(operation.create(true), None))
    }

    fn overwrite(&self, key: &Key, content: Content<'_>) -> io::Result<(u64, Option<Manifest>)> {
        for _ in 0..MAX_TRIES {
            match self.create(key, content) {
                Err(e) if is_number(&e, libc::EEXIST) => (),
                answer => return answer.map(|version| (version, None)),
            }
            let mut replaced = None;
            for _ in 0..MAX_TRIES {
                let parts = replaced.clone();
                let written = self.write(key.as_str(), content.bytes(), |operation| {
                    content.add_to(assert_parts(operation, parts.as_ref()), parts.as_ref())
                });
                match written {
                    Ok(version) => return Ok((version, parts)),
                    Err(e) if is_number(&e, libc::ENOENT) => break,
                    Err(e) if !has_other_parts(&e) => return Err(e),
                    Err(_) => match self.read_head(key.as_str(), 0, &mut [], None) {
                        Ok((head, _)) => replaced = head.parts,
                        Err(e) if is_number(&e, libc::ENOENT) => break,
                        Err(e) => return Err(e),
                    },
                }
            }
        }
        Err(io::Error::from_raw_os_error(libc::EAGAIN))
    }

    fn update(&self, key: &Key, content: Content<'_>, version: u64) -> io::Result<(u64, Option<Manifest>)> {
        let write = |parts: Option<&Manifest>| {
            self.write(key.as_str(), content.bytes(), |operation| {
                let operation = assert_parts(operation.assert_version(version), parts);
                content.add_to(operation, parts)
            })
        };
        match write(None) {
            Err(e) if has_other_parts(&e) => {
                // The parts of a version never change.
                let (head, _) = self.read_head(key.as_str(), 0, &mut [], Some(version))?;
                write(head.parts.as_ref()).map(|version| (version, head.parts))
            }
            answer => answer.map(|version| (version, None)),
        }
    }

    /// Deletes objects, some at the same time. Tries all of them, and returns the first error.
    pub(super) fn delete_all(&self, keys: &[Key], operation: Operation) -> Result<()> {
        let mut first = Ok(());
        for keys in keys.chunks(MAX_UNDER_WAY) {
            let names: Vec<_> = keys.iter().map(|key| key.as_str().to_owned()).collect();
            let answers = self.write_all(&names, |operation| assert_parts(operation, None).remove());
            for (key, answer) in keys.iter().zip(answers) {
                let deleted = match answer {
                    Err(e) if has_other_parts(&e) => self.delete_with_parts(key),
                    Err(e) if !is_number(&e, libc::ENOENT) => Err(e),
                    _ => Ok(()),
                };
                first = first.and(deleted.map_err(|e| self.error(operation, e).at(key)));
            }
        }
        first
    }

    fn delete_with_parts(&self, key: &Key) -> io::Result<()> {
        for _ in 0..MAX_TRIES {
            let head = match self.read_head(key.as_str(), 0, &mut [], None) {
                Err(e) if is_number(&e, libc::ENOENT) => return Ok(()),
                head => head?.0,
            };
            let parts = head.parts.as_ref();
            match self.write(key.as_str(), 0, |operation| assert_parts(operation, parts).remove()) {
                Err(e) if is_number(&e, libc::ENOENT) => return Ok(()),
                Err(e) if !has_other_parts(&e) => return Err(e),
                Err(_) => (),
                Ok(_) => {
                    if let Some(parts) = parts {
                        self.discard_parts(parts.upload, Some(parts.count()));
                    }
                    return Ok(());
                }
            }
        }
        Err(io::Error::from_raw_os_error(libc::EAGAIN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_are_versions_and_other_texts_are_none() {
        assert_eq!(version(&etag(7)), Some(7));
        for other in ["", "0", "07", "+7", "-1", "\"7\"", "seven", "18446744073709551616"] {
            assert_eq!(version(&Etag::new(other)), None, "{other}");
        }
    }
}
