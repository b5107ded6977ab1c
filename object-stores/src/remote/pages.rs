//! Listings with any text as prefix and start, page by page.

use std::time::{Duration, Instant};

use object_store::ObjectStoreExt as _;
use object_store::list::{PaginatedListOptions, PaginatedListResult};
use object_store::path::Error as PathError;

use super::Bucket;
use super::failure::Failure;
use super::kept_names::KeptNames;
use crate::{ErrorKind, Key, ListPage, ObjectMeta};

/// The most keys that S3 returns in a page (ListObjectsV2, `max-keys`).
const MAX_KEYS_PER_PAGE: usize = 1000;
/// The maximum number of consecutive pages without a requested object. Stores return such pages where many objects were
/// deleted.
const MAX_EMPTY_PAGES: usize = 10_000;

/// Returns one page; see [`crate::ObjectStore::list_page`].
pub(super) fn list(
    bucket: &Bucket,
    prefix: &str,
    start_after: Option<&str>,
    limit: usize,
) -> Result<ListPage, Failure> {
    if !begins_a_key(prefix) {
        return Ok(ListPage::default());
    }
    if let Some(object) = of_prefix(bucket, prefix, start_after)? {
        // Every other object of the listing comes after this one.
        return Ok(ListPage { objects: vec![object], more: true });
    }
    let most = limit.clamp(1, MAX_KEYS_PER_PAGE);
    let mut limit = most;
    let offset = start_after.map(|text| without_dots(without_controls(text)));
    let mut offset = offset.filter(|offset| !offset.is_empty()).map(str::to_owned);
    let mut token: Option<String> = None;
    let mut progress = Progress::begin(bucket);
    for _ in 0..MAX_EMPTY_PAGES {
        progress.check_time()?;
        let options = PaginatedListOptions {
            // A token continues the listing that returned it; some stores refuse an offset together with a token.
            offset: offset.clone().filter(|_| token.is_none()),
            max_keys: Some(limit),
            page_token: token.clone(),
            ..PaginatedListOptions::default()
        };
        let page = match ask(bucket, without_dots(prefix), options)? {
            Listed::Page(page) => page,
            // The page is requested in smaller parts, until a part consists of only that key, which is then skipped.
            Listed::Foreign(key) if limit == 1 => {
                progress.reach(&key)?;
                (offset, token) = (Some(key), None);
                continue;
            }
            Listed::Foreign(_) => {
                limit /= 2;
                continue;
            }
        };
        limit = most.min(limit.saturating_mul(2));
        if let Some(last) = page.result.objects.last() {
            progress.reach(last.location.as_ref())?;
        }
        let mut objects = Vec::with_capacity(page.result.objects.len());
        for found in page.result.objects {
            let key = found.location.as_ref();
            let is_wanted = key.starts_with(prefix) && start_after.is_none_or(|after| key > after);
            // Objects of other programs may have names that are no valid keys, such as a name with a segment that is
            // too long.
            if is_wanted && Key::new(key).is_ok() {
                objects.push(bucket.meta(found)?);
            }
        }
        // The next page begins after the last key of this one, so a page out of order would lose objects.
        if !objects.is_sorted_by(|a, b| a.key < b.key) {
            return Err(Failure::new(ErrorKind::Corrupt, "the store lists keys out of order"));
        }
        // Some servers end a listing with an empty token.
        let next = page.page_token.filter(|next| !next.is_empty());
        if next.is_some() && next == token {
            return Err(Failure::new(ErrorKind::Corrupt, "the store's listing goes round in a circle"));
        }
        token = next;
        if !objects.is_empty() || token.is_none() {
            return Ok(ListPage { objects, more: token.is_some() });
        }
    }
    Err(Failure::new(
        ErrorKind::Corrupt,
        format!("the store lists {MAX_EMPTY_PAGES} pages without a key, and no end"),
    ))
}

/// Returns the object with the prefix as its key. The listings of `object_store` leave this object out on Azure.
fn of_prefix(
    bucket: &Bucket,
    prefix: &str,
    start_after: Option<&str>,
) -> Result<Option<ObjectMeta>, Failure> {
    let is_before = start_after.is_none_or(|after| after < prefix);
    let Some(key) = Key::new(prefix).ok().filter(|_| is_before && bucket.kept_names == KeptNames::Azure)
    else {
        return Ok(None);
    };
    // Azure has no object with a name that it would change.
    let Ok(path) = bucket.path(&key) else { return Ok(None) };
    let found = bucket.ask(|client| async move { client.objects.head(&path).await });
    match found {
        Ok(found) => bucket.meta(found).map(Some),
        Err(failure) if failure.kind == ErrorKind::NotFound => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The progress of a listing. A server that makes no progress would be queried forever, because each answer prolongs the budget
/// of the caller's operation.
struct Progress {
    begun: Instant,
    timeout: Duration,
    /// The last key of the previous page.
    last: Option<String>,
}

impl Progress {
    fn begin(bucket: &Bucket) -> Progress {
        Progress { begun: Instant::now(), timeout: bucket.timeout(), last: None }
    }

    /// Ends a listing if its pages contain none of the requested objects, however quickly the pages arrive.
    fn check_time(&self) -> Result<(), Failure> {
        if self.begun.elapsed() <= self.timeout {
            return Ok(());
        }
        let time = self.timeout.as_secs_f32();
        let why = format!(
            "the pages of a listing held no object for {time} seconds, by the setting 'timeout'; raise it if so many objects were \
             deleted here"
        );
        Err(Failure::new(ErrorKind::Timeout, why))
    }

    /// Records the last key of a page. It must be greater than the last key of the previous page.
    fn reach(&mut self, key: &str) -> Result<(), Failure> {
        if self.last.as_deref().is_some_and(|last| key <= last) {
            let why = "the store lists the same keys again, and not those behind them: it ignores where a listing is to go on";
            return Err(Failure::new(ErrorKind::Corrupt, why));
        }
        self.last = Some(key.to_owned());
        Ok(())
    }
}

/// A store's answer to a request for a page.
enum Listed {
    Page(PaginatedListResult),
    /// The page contains a name that is no valid key, such as one with an empty segment. `object_store` returns no
    /// object of such a page.
    Foreign(String),
}

fn ask(bucket: &Bucket, prefix: &str, options: PaginatedListOptions) -> Result<Listed, Failure> {
    let prefix = prefix.to_owned();
    bucket.ask(|client| async move {
        let Some(pages) = client.pages else {
            let operation = "a listing".to_owned();
            let implementer = "a web server".to_owned();
            return Err(object_store::Error::NotImplemented { operation, implementer });
        };
        match pages.list_paginated(Some(&prefix), options).await {
            Ok(page) => Ok(Listed::Page(page)),
            Err(object_store::Error::InvalidPath {
                source: PathError::EmptySegment { path } | PathError::BadSegment { path, .. },
            }) => Ok(Listed::Foreign(path)),
            Err(other) => Err(other),
        }
    })
}

/// Returns whether a key can begin with `prefix`. Other prefixes are not sent to a server, because servers treat them
/// differently.
fn begins_a_key(prefix: &str) -> bool {
    let mut segments = prefix.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_whole = segments.peek().is_some();
        if is_whole && matches!(segment, "" | "." | "..") {
            return false;
        }
    }
    !prefix.chars().any(char::is_control)
}

/// Returns the text before the first control character. No key contains one, and XML cannot represent all of them; keys
/// between the shortened text and the whole are filtered out afterwards.
fn without_controls(text: &str) -> &str {
    text.split(char::is_control).next().unwrap_or(text)
}

/// Returns the text before the first segment that is `.` or `..`: MinIO refuses such segments anywhere, though a key
/// may begin with dots. Keys between the shortened text and the whole are filtered out afterwards.
fn without_dots(text: &str) -> &str {
    let mut end = 0;
    for segment in text.split('/') {
        if matches!(segment, "." | "..") {
            return &text[..end];
        }
        end += segment.len() + 1;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_no_key_are_known() {
        for prefix in ["", "a", "a/", ".", "..", "a/.", "a/..b/c", "a b"] {
            assert!(begins_a_key(prefix), "{prefix:?}");
        }
        for prefix in ["/", "/a", "./", "../", "a//", "a/./", "a/../b", "a\0", "\u{85}"] {
            assert!(!begins_a_key(prefix), "{prefix:?}");
        }
        assert_eq!(
            (without_controls("a/b\0c"), without_controls("\0"), without_controls("a")),
            ("a/b", "", "a")
        );
        let shortened = ["..", "a/.", "a/../b", "..a/.b", "a/b/", ""].map(without_dots);
        assert_eq!(shortened, ["", "a/", "a/", "..a/.b", "a/b/", ""]);
    }
}
