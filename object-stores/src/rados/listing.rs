//! Pages of keys in order.
//!
//! RADOS lists names in the order of their hashes, so each page reads all names of the namespace, and retains the
//! lowest. Pages are long for that reason: a listing reads all names once for each of its pages.

use std::collections::BinaryHeap;
use std::io;
use std::ops::ControlFlow;

use h5lake_rados_abi::Read;

use super::client::{MAX_UNDER_WAY, Namespace, object_name};
use super::head::Head;
use super::meta;
use super::parts::PARTS;
use crate::store::extension::LAST_PAGE;
use crate::{Key, ListPage, ObjectMeta};

/// Returns a page of at most `limit` objects, and of no more than the largest page of a listing. A key has at most
/// 1,024 bytes, so the keys of a page take at most 64 MB.
pub(super) fn page(
    space: &Namespace,
    prefix: &str,
    start_after: Option<&str>,
    limit: usize,
) -> io::Result<ListPage> {
    let walk = |take: &mut dyn FnMut(&[u8])| {
        let mut take = |name: &[u8]| {
            take(name);
            ControlFlow::Continue(())
        };
        space.ask(|pool, bound| pool.names(None, bound, &mut take), |()| 0)
    };
    page_of(walk, |keys| describe(space, keys), prefix, start_after, limit)
}

/// Returns a page, from a `walk` over all names and a function that reads the metadata of objects.
fn page_of(
    walk: impl Fn(&mut dyn FnMut(&[u8])) -> io::Result<()>,
    describe: impl Fn(&[Key]) -> io::Result<Vec<ObjectMeta>>,
    prefix: &str,
    start_after: Option<&str>,
    limit: usize,
) -> io::Result<ListPage> {
    let limit = limit.clamp(1, LAST_PAGE);
    let mut after = start_after.map(str::to_owned);
    loop {
        let keys = lowest(&walk, prefix, after.as_deref(), limit + 1)?;
        let more = keys.len() > limit;
        let keys = &keys[..keys.len().min(limit)];
        let objects = describe(keys)?;
        // All of these objects may have been deleted meanwhile, but a page with `more` must not be empty.
        match keys.last() {
            Some(last) if more && objects.is_empty() => after = Some(last.as_str().to_owned()),
            _ => return Ok(ListPage { objects, more }),
        }
    }
}

/// Returns the `count` lowest keys, in order.
fn lowest(
    walk: impl Fn(&mut dyn FnMut(&[u8])) -> io::Result<()>,
    prefix: &str,
    after: Option<&str>,
    count: usize,
) -> io::Result<Vec<Key>> {
    let mut lowest: BinaryHeap<Key> = BinaryHeap::new();
    let mut take = |name: &[u8]| {
        let wanted = str::from_utf8(name).ok().filter(|name| {
            name.starts_with(prefix)
                && after.is_none_or(|after| *name > after)
                && (lowest.len() < count || lowest.peek().is_none_or(|highest| *name < highest.as_str()))
        });
        // A name that is no valid key belongs to the store itself, or to another program.
        if let Some(key) = wanted.and_then(|name| Key::new(name).ok()) {
            lowest.push(key);
            if lowest.len() > count {
                lowest.pop();
            }
        }
    };
    walk(&mut take)?;
    Ok(lowest.into_sorted_vec())
}

/// Reads the metadata of the objects that still exist.
fn describe(space: &Namespace, keys: &[Key]) -> io::Result<Vec<ObjectMeta>> {
    let mut objects = Vec::with_capacity(keys.len());
    for keys in keys.chunks(MAX_UNDER_WAY) {
        let names = keys.iter().map(|key| object_name(key.as_str())).collect::<io::Result<Vec<_>>>()?;
        let reads = names.iter().map(|name| Read { name, offset: 0, buffers: Vec::new(), version: None });
        let reads = reads.collect();
        let answers = space.ask(|pool, bound| Ok(pool.read_all(reads, PARTS, bound)), |_| 0)?;
        for (key, answer) in keys.iter().zip(answers) {
            match answer {
                Err(e) if e.raw_os_error() == Some(libc::ENOENT) => (),
                answer => objects.push(meta(key, &Head::of(answer?)?)),
            }
        }
    }
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::UNIX_EPOCH;

    use super::*;

    fn metas(keys: &[Key]) -> io::Result<Vec<ObjectMeta>> {
        let meta = |key: &Key| ObjectMeta { key: key.clone(), size: 0, modified: UNIX_EPOCH, etag: None };
        Ok(keys.iter().map(meta).collect())
    }

    #[test]
    fn a_listing_reads_all_names_once_per_long_page() {
        let (count, walks) = (100_000, Cell::new(0));
        let walk = |take: &mut dyn FnMut(&[u8])| {
            walks.set(walks.get() + 1);
            // Each name occurs once, but not in the order of the keys: 77,777 and 100,000 have no common divisor.
            (0..count).for_each(|n| take(format!("a/{:06}", n * 77_777_u64 % count).as_bytes()));
            take(b"//part/of/the/store");
            take(b"b/other");
            Ok(())
        };
        let mut listed: Vec<String> = Vec::new();
        loop {
            let after = listed.last().cloned();
            let page = page_of(walk, metas, "a/", after.as_deref(), LAST_PAGE).unwrap();
            listed.extend(page.objects.iter().map(|meta| meta.key.as_str().to_owned()));
            if !page.more {
                break;
            }
        }
        assert_eq!(walks.get(), 2);
        assert!((0..count).map(|n| format!("a/{n:06}")).eq(listed));
    }

    #[test]
    fn a_page_has_no_more_objects_than_it_may() {
        let walk = |take: &mut dyn FnMut(&[u8])| {
            ["c", "a", "b"].into_iter().for_each(|name| take(name.as_bytes()));
            Ok(())
        };
        let keys = |after, limit| {
            let page = page_of(walk, metas, "", after, limit).unwrap();
            let keys: String = page.objects.iter().map(|meta| meta.key.as_str()).collect();
            (keys, page.more)
        };
        assert_eq!(keys(None, 0), ("a".to_owned(), true));
        assert_eq!(keys(None, 2), ("ab".to_owned(), true));
        assert_eq!(keys(Some("a"), usize::MAX), ("bc".to_owned(), false));
    }
}
