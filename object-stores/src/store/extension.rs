//! Operations that are built from those of every store.

use std::ops::Range;

use bytes::Bytes;

use super::{Etag, GetResult, ObjectMeta, ObjectStore};
use crate::{Error, ErrorKind, Key, Operation, Result};

/// Operations that are built from those of [`ObjectStore`], for every store.
pub trait ObjectStoreExt: ObjectStore {
    /// Iterates over all objects that [`ObjectStore::list_page`] describes, and requests a page when the iterator
    /// reaches it. The iterator ends after the first error.
    fn list(&self, prefix: &str, start_after: Option<&str>) -> Listing<'_, Self> {
        Listing {
            store: self,
            prefix: prefix.to_owned(),
            after: start_after.map(str::to_owned),
            page: Vec::new().into_iter(),
            limit: FIRST_PAGE,
            more: true,
        }
    }

    /// Returns the object's metadata, or `None` if it does not exist.
    ///
    /// # Errors
    /// Those of [`ObjectStore::head`] but [`ErrorKind::NotFound`].
    fn head_opt(&self, key: &Key) -> Result<Option<ObjectMeta>> {
        none_if_missing(self.head(key))
    }

    /// Reads the first `most` bytes of an object, or all of a shorter one.
    ///
    /// # Errors
    /// Those of [`ObjectStore::get`].
    fn get_front(&self, key: &Key, most: u64) -> Result<GetResult> {
        match self.get(key, Some(0..most)) {
            // An empty object has no first byte.
            Err(e) if e.kind() == ErrorKind::ShortRead => {
                let meta = self.head(key)?;
                if meta.size > 0 {
                    return Err(e);
                }
                Ok(GetResult { meta, bytes: Bytes::new() })
            }
            got => got,
        }
    }

    /// Reads the whole of an object that has at most `most` bytes. At most `most` bytes of a longer object are read.
    ///
    /// # Errors
    /// Those of [`ObjectStore::get`]; [`ErrorKind::Corrupt`] if the object is longer.
    fn get_whole(&self, key: &Key, most: u64) -> Result<GetResult> {
        check_whole(self, self.get_front(key, most)?, most)
    }

    /// Reads the whole of an object that has at most `most` bytes, unless its etag is still `known`; returns `None` if
    /// it is.
    ///
    /// # Errors
    /// Those of [`ObjectStore::get_if_changed`]; [`ErrorKind::Corrupt`] if the object is longer.
    fn get_whole_if_changed(&self, key: &Key, most: u64, known: &Etag) -> Result<Option<GetResult>> {
        let got = match self.get_if_changed(key, Some(0..most), known) {
            // An empty object has no first byte.
            Err(e) if e.kind() == ErrorKind::ShortRead => Some(self.get_front(key, most)?),
            got => got?,
        };
        got.map(|got| check_whole(self, got, most)).transpose()
    }

    /// Reads the whole of an object that has at most `most` bytes, or returns `None` if the object does not exist.
    ///
    /// # Errors
    /// Those of [`get_whole`](Self::get_whole) but [`ErrorKind::NotFound`].
    fn get_whole_opt(&self, key: &Key, most: u64) -> Result<Option<GetResult>> {
        none_if_missing(self.get_whole(key, most))
    }

    /// Reads the object, or returns `None` if it does not exist.
    ///
    /// # Errors
    /// Those of [`ObjectStore::get`] but [`ErrorKind::NotFound`].
    fn get_opt(&self, key: &Key, range: Option<Range<u64>>) -> Result<Option<GetResult>> {
        none_if_missing(self.get(key, range))
    }
}

impl<S: ObjectStore + ?Sized> ObjectStoreExt for S {}

/// Checks that a read of the first `most` bytes has returned the whole object.
fn check_whole<S: ObjectStore + ?Sized>(store: &S, got: GetResult, most: u64) -> Result<GetResult> {
    if got.meta.size <= most {
        return Ok(got);
    }
    let why = format!("it has {} bytes, and {most} at most make sense", got.meta.size);
    Err(Error::new(ErrorKind::Corrupt, Operation::Get).at(&got.meta.key).in_store(store.name()).because(why))
}

fn none_if_missing<T>(answer: Result<T>) -> Result<Option<T>> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// An iterator over the objects of a listing. Made by [`ObjectStoreExt::list`].
#[derive(Debug)]
pub struct Listing<'a, S: ObjectStore + ?Sized> {
    store: &'a S,
    prefix: String,
    after: Option<String>,
    page: std::vec::IntoIter<ObjectMeta>,
    limit: usize,
    more: bool,
}

/// The number of objects requested at first: the most that S3 returns (ListObjectsV2, `max-keys`).
const FIRST_PAGE: usize = 1000;

/// The largest number of objects requested at once. Pages grow up to this size, because a store may have to sort all
/// its keys for each page (a directory does).
pub(crate) const LAST_PAGE: usize = 64_000;

impl<S: ObjectStore + ?Sized> Iterator for Listing<'_, S> {
    type Item = Result<ObjectMeta>;

    fn next(&mut self) -> Option<Result<ObjectMeta>> {
        loop {
            if let Some(meta) = self.page.next() {
                return Some(Ok(meta));
            }
            if !self.more {
                return None;
            }
            match self.store.list_page(&self.prefix, self.after.as_deref(), self.limit) {
                Ok(page) => {
                    // An empty page that promises more would never end.
                    self.more = page.more && !page.objects.is_empty();
                    self.limit = LAST_PAGE.min(2 * self.limit);
                    self.after = page.objects.last().map(|meta| meta.key.as_str().to_owned());
                    self.page = page.objects.into_iter();
                }
                Err(e) => {
                    self.more = false;
                    return Some(Err(e));
                }
            }
        }
    }
}
