//! Files mounted on groups: a path that reaches the group continues in the mounted file.

use std::sync::Arc;

use bytes::Bytes;
use h5lake_container::{ObjectId, ObjectKind};

use crate::error::{Error, Minor, Result};
use crate::handles::Handle;
use crate::operations::file;
use crate::operations::path::{Base, Location, root_path};
use crate::session::{MountedOn, Session};

/// Mounts a file (`H5Fmount`): from now on the group at `name` stands for the child's root group.
pub fn mount(handle: &Handle, name: &[u8], child: &Handle) -> Result<()> {
    let point = mount_point(handle, name)?;
    let child = child.session()?;
    if parent_of(&child).is_some() {
        return Err(Error::new(Minor::BadValue, "file is already mounted"));
    }
    if is_above(&point.session, &child) {
        return Err(Error::new(Minor::BadValue, "mount would introduce a cycle"));
    }
    if file::degree_of(&point.session)? != file::degree_of(&child)? {
        let text = "mounted file has different file close degree than parent";
        return Err(Error::new(Minor::BadValue, text));
    }
    if point.session.container.object_info(point.id)?.kind != ObjectKind::Group {
        return Err(Error::new(Minor::BadType, "the mount point is not a group"));
    }
    let mut mounts = point.session.mounts.children.lock();
    if mounts.contains_key(&point.id) {
        return Err(Error::new(Minor::BadValue, "mount point is already in use"));
    }
    let session = Arc::downgrade(&point.session);
    *child.mounts.parent.lock() = Some(MountedOn { session, group: point.id, path: point.path.clone() });
    mounts.insert(point.id, child);
    Ok(())
}

/// Returns whether a file is the container of `child`, or is mounted on it, directly or through other mounts.
fn is_above(session: &Arc<Session>, child: &Session) -> bool {
    let mut above = Some(session.clone());
    while let Some(session) = above {
        if Arc::ptr_eq(&session.container, &child.container) {
            return true;
        }
        above = parent_of(&session);
    }
    false
}

/// Unmounts a file (`H5Funmount`): the group at `name` stands for itself again. The name leads to the root of the file
/// that is mounted there.
pub fn unmount(handle: &Handle, name: &[u8]) -> Result<()> {
    let point = mount_point(handle, name)?;
    let is_root = point.id == point.session.container.root();
    let mounted_on = point.session.mounts.parent.lock().clone().filter(|_| is_root);
    let below = mounted_on.and_then(|on| Some((on.session.upgrade()?, on.group)));
    let (below, group) = below.unwrap_or((point.session, point.id));
    let child = below.mounts.children.lock().remove(&group);
    let child = child.ok_or_else(|| Error::new(Minor::NotFound, "not a mount point"))?;
    child.mounts.parent.lock().take();
    Ok(())
}

/// Returns whether a file is mounted on a group of this file. A path continues in that file: only a caller that opened
/// the group before the mount asks.
pub fn is_mount_point(session: &Session, group: ObjectId) -> bool {
    session.mounts.children.lock().contains_key(&group)
}

/// Returns the files that are mounted on a file, directly or through other mounts.
pub fn mounted_on(session: &Session) -> Vec<Arc<Session>> {
    let children: Vec<_> = session.mounts.children.lock().values().cloned().collect();
    children.into_iter().flat_map(|child| [mounted_on(&child), vec![child]].concat()).collect()
}

/// Commits the other files of the hierarchy in which a file is mounted (`H5Fflush` with `H5F_SCOPE_GLOBAL`).
///
/// # Errors
/// The errors of the commits.
pub fn flush_mounted(handle: &Handle) -> Result<()> {
    let session = handle.session()?;
    let bottom = bottom_of(&session);
    let files = [mounted_on(&bottom), vec![bottom]].concat();
    // All files are tried: other processes wait in the files that they have open together with this process.
    let mut done = Ok(());
    for other in files.iter().filter(|other| !Arc::ptr_eq(other, &session)) {
        done = done.and(other.commit(Ok(())));
    }
    done
}

fn parent_of(session: &Session) -> Option<Arc<Session>> {
    session.mounts.parent.lock().as_ref().and_then(|on| on.session.upgrade())
}

/// Returns the file at the bottom of the hierarchy in which a file is mounted, or the file itself.
pub fn bottom_of(session: &Arc<Session>) -> Arc<Session> {
    let mut bottom = session.clone();
    while let Some(below) = parent_of(&bottom) {
        bottom = below;
    }
    bottom
}

/// Returns the path at which a file is mounted, relative to the file at the bottom; `None` for a file that is not
/// mounted.
///
/// # Errors
/// The errors of finding the path.
pub fn path_of(session: &Session) -> Result<Option<Bytes>> {
    let Some(on) = session.mounts.parent.lock().clone() else { return Ok(None) };
    let Some(below) = on.session.upgrade() else { return Ok(None) };
    let way = path_of(&below)?.unwrap_or_default();
    // The mount point may have other names.
    if let Some(path) = on.path
        && let Some(own) = path_behind(&way, &path)
        && below.container.leads_to(&own, on.group)
    {
        return Ok(Some(path));
    }
    let own = below.container.find_path(on.group)?;
    Ok(own.map(|own| joined(&way, &own)))
}

/// Returns the part of a path behind a mount point, as a path in the file that is mounted there.
pub fn path_behind(way: &Bytes, path: &Bytes) -> Option<Bytes> {
    match path.strip_prefix(&way[..])? {
        b"" => Some(root_path()),
        rest if rest[0] == b'/' => Some(path.slice(way.len()..)),
        _ => None,
    }
}

/// Returns a path in a mounted file, relative to the file at the bottom.
pub fn joined(way: &Bytes, own: &[u8]) -> Bytes {
    if own == b"/" && !way.is_empty() { way.clone() } else { [way, own].concat().into() }
}

/// Returns the group at `name`, or the root of the file that is mounted there: then the new file is mounted on that
/// root.
fn mount_point(handle: &Handle, name: &[u8]) -> Result<Base> {
    let base = Base::of(handle)?;
    let point = Base::from(base.find(&Location::ByName { name, access: 0 })?);
    // A file behind an external link would close with this call.
    if !Arc::ptr_eq(&bottom_of(&point.session), &bottom_of(&base.session)) {
        return Err(Error::new(Minor::BadValue, "mount path cannot contain links to external files"));
    }
    Ok(point)
}
