//! Runs everything that reads a container, then operations that change it. An operation may fail; it must not panic,
//! run without an end, or take more memory than the container's bytes justify.

use std::collections::BTreeSet;
use std::sync::Arc;

use h5lake_container::{
    Access, Container, CopyOptions, Dataset, Index, LinkTarget, ObjectId, ObjectKind, Order, Result, Run,
    Selection, Target,
};

use crate::more;

/// The maximum number of visited chunks: a dataset that is allocated as a whole may have any number.
const MAX_CHUNKS: usize = 1000;
/// The maximum number of visited objects.
const OBJECTS: usize = 64;
/// The maximum size of a dataset that is read whole, in bytes.
const WHOLE: u64 = 1 << 18;

/// Opens a container, visits its content, and changes it if `access` permits.
pub fn open_and_walk(target: &Target, access: Access) {
    let Ok(c) = Container::open(target, access, more::options(None)) else { return };
    let ids = read(&c);
    if access == Access::ReadWrite {
        change(&c, &ids);
    }
}

/// Reads the whole content. Returns the objects found.
pub fn read(c: &Arc<Container>) -> BTreeSet<ObjectId> {
    let (mut found, mut ahead) = (BTreeSet::new(), vec![c.root()]);
    while let Some(id) = ahead.pop() {
        if found.len() >= OBJECTS || !found.insert(id) {
            continue;
        }
        let Ok(info) = c.object_info(id) else { continue };
        let _ = attributes(c, id);
        let _ = c.comment(id);
        match info.kind {
            ObjectKind::Group => {
                let _ = group(c, id, &mut ahead);
            }
            ObjectKind::Dataset => {
                if let Ok(d) = c.dataset(id) {
                    let _ = dataset(&d);
                    let _ = chunks(&d);
                }
            }
            ObjectKind::Datatype => drop(c.datatype(id)),
        }
        let _ = c.find_path(id);
    }
    found
}

fn attributes(c: &Arc<Container>, id: ObjectId) -> Result<()> {
    let _ = c.attrs(id, Index::CreationOrder, Order::Decreasing);
    let _ = c.attr_at(id, Index::CreationOrder, Order::Increasing, 1);
    for a in c.attrs(id, Index::Name, Order::Increasing)? {
        if let Ok(a) = c.attr_open(id, &a.name) {
            let _ = (a.storage_size(), a.read());
            blobs(c, &a.read_with_heap()?.0);
        }
    }
    Ok(())
}

/// Reads the strings that elements refer to, whether or not the elements are strings.
fn blobs(c: &Arc<Container>, elements: &[u8]) {
    for element in elements.chunks_exact(20).take(8) {
        if let Some(id) = element.last_chunk::<16>() {
            let _ = c.heap_len(id);
            let _ = c.heap_get(id, &mut [0; 40]);
        }
    }
}

fn group(c: &Arc<Container>, id: ObjectId, ahead: &mut Vec<ObjectId>) -> Result<()> {
    let _ = (c.group_info(id), c.link_at(id, Index::CreationOrder, Order::Decreasing, 0));
    let _ = c.links(id, Index::CreationOrder, Order::Increasing);
    for link in c.links(id, Index::Name, Order::Native)? {
        let _ = c.link(id, &link.name);
        if let LinkTarget::Hard(to) = link.target {
            ahead.push(to);
        }
    }
    Ok(())
}

fn dataset(d: &Dataset) -> Result<()> {
    let (points, size) = (d.points()?, d.datatype().size);
    if points > 0 && points.checked_mul(size).is_some_and(|n| n <= WHOLE) {
        let mut out = vec![0; (points * size) as usize];
        d.read(&Selection::All, &mut out)?;
        blobs(d.object().container(), &out);
    } else if points > 0 && size <= WHOLE {
        let mut out = vec![0; size as usize];
        for offset in [0, points / 2, points - 1] {
            d.read(&Selection::Runs(vec![Run { offset, count: 1 }]), &mut out)?;
        }
    }
    Ok(())
}

fn chunks(d: &Dataset) -> Result<()> {
    let _ = (d.storage_size(), d.space_status(), d.has_chunks());
    let mut walk = d.chunks()?;
    for _ in 0..MAX_CHUNKS {
        if walk.next_chunk()?.is_none() {
            break;
        }
    }
    for n in (0..d.chunk_count()?.min(9)).rev() {
        let info = d.chunk_at(n)?;
        let _ = (d.chunk_at_coords(&info.offset), d.read_chunk(&info.offset));
    }
    Ok(())
}

/// Changes each object, and finally deletes all of them.
pub fn change(c: &Arc<Container>, ids: &BTreeSet<ObjectId>) {
    for id in ids {
        let _ = c.set_comment(*id, Some(b"another"));
        if let Ok(d) = c.dataset(*id) {
            let _ = resize(&d);
        }
        let _ = c.attr_delete(*id, b"small");
    }
    let _ = c.flush();
    let _ = c.copy_object(c.root(), c, CopyOptions::default(), &mut |_, _, elements| Ok(elements));
    for link in c.links(c.root(), Index::Name, Order::Native).unwrap_or_default() {
        let _ = c.link_delete(c.root(), &link.name);
    }
    let _ = c.flush();
}

fn resize(d: &Dataset) -> Result<()> {
    let size = d.datatype().size;
    if size <= WHOLE {
        let _ = d.write(&Selection::Runs(vec![Run { offset: 1, count: 1 }]), &vec![5; size as usize]);
    }
    let mut dims = d.space().dims().to_vec();
    for n in 0..dims.len() {
        dims[n] = dims[n].saturating_sub(1) / 2;
        let _ = d.set_extent(&dims);
    }
    dims.iter_mut().for_each(|n| *n = n.saturating_mul(3));
    d.set_extent(&dims)
}
