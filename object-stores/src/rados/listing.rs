//! Pages of keys in order.
//!
//! RADOS lists names in the order of their hashes, so each page looks at all names of the namespace, and keeps the lowest.

use std::collections::BinaryHeap;
use std::io;
use std::ops::ControlFlow;

use h5lake_rados_abi::Read;

use super::client::{MAX_UNDER_WAY, Namespace, object_name};
use super::head::Head;
use super::meta;
use super::parts::PARTS;
use crate::{Key, ListPage, ObjectMeta};

/// Objects of a page, at most.
const MAX_PAGE: usize = 1000;

pub(super) fn page(
    space: &Namespace,
    prefix: &str,
    start_after: Option<&str>,
    limit: usize,
) -> io::Result<ListPage> {
    let limit = limit.clamp(1, MAX_PAGE);
    let mut after = start_after.map(str::to_owned);
    loop {
        let keys = lowest(space, prefix, after.as_deref(), limit + 1)?;
        let more = keys.len() > limit;
        let keys = &keys[..keys.len().min(limit)];
        let objects = describe(space, keys)?;
        // All of them may have been deleted meanwhile: a page that says that there is more is never empty.
        match keys.last() {
            Some(last) if more && objects.is_empty() => after = Some(last.as_str().to_owned()),
            _ => return Ok(ListPage { objects, more }),
        }
    }
}

/// The `count` lowest keys, in order.
fn lowest(space: &Namespace, prefix: &str, after: Option<&str>, count: usize) -> io::Result<Vec<Key>> {
    let mut lowest: BinaryHeap<Key> = BinaryHeap::with_capacity(count + 1);
    let mut take = |name: &[u8]| {
        let wanted = str::from_utf8(name).ok().filter(|name| {
            name.starts_with(prefix)
                && after.is_none_or(|after| *name > after)
                && (lowest.len() < count || lowest.peek().is_none_or(|highest| *name < highest.as_str()))
        });
        // What is no key belongs to the store itself, or to somebody else.
        if let Some(key) = wanted.and_then(|name| Key::new(name).ok()) {
            lowest.push(key);
            if lowest.len() > count {
                lowest.pop();
            }
        }
        ControlFlow::Continue(())
    };
    space.ask(|pool, bound| pool.names(None, bound, &mut take), |()| 0)?;
    Ok(lowest.into_sorted_vec())
}

/// What the objects say of themselves, those that are still there.
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
