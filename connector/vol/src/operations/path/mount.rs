//! Files mounted on groups: a path that reaches the group goes on in the mounted file.

use std::sync::Arc;

use h5lake_container::ObjectKind;

use crate::error::{Error, Minor, Result};
use crate::handles::Handle;
use crate::operations::file;
use crate::operations::path::{Base, Location};
use crate::session::Session;

/// `H5Fmount`: from now on the group at `name` stands for the child's root group.
pub fn mount(handle: &Handle, name: &[u8], child: &Handle) -> Result<()> {
    let point = mount_point(handle, name)?;
    let child = child.session()?;
    if child.mounts.parent.lock().as_ref().is_some_and(|(below, _)| below.strong_count() > 0) {
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
    *child.mounts.parent.lock() = Some((Arc::downgrade(&point.session), point.id));
    mounts.insert(point.id, child);
    Ok(())
}

/// Whether a file is the container of `child`, or is mounted on it, directly or on what is mounted there.
fn is_above(session: &Arc<Session>, child: &Session) -> bool {
    let mut above = Some(session.clone());
    while let Some(session) = above {
        if Arc::ptr_eq(&session.container, &child.container) {
            return true;
        }
        above = session.mounts.parent.lock().as_ref().and_then(|(below, _)| below.upgrade());
    }
    false
}

/// `H5Funmount`: the group at `name` is itself again.
pub fn unmount(handle: &Handle, name: &[u8]) -> Result<()> {
    let point = mount_point(handle, name)?;
    let child = point.session.mounts.children.lock().remove(&point.id);
    let child = child.ok_or_else(|| Error::new(Minor::NotFound, "not a mount point"))?;
    child.mounts.parent.lock().take();
    Ok(())
}

/// The files that are mounted on one, and on those.
pub fn mounted_on(session: &Session) -> Vec<Arc<Session>> {
    let children: Vec<_> = session.mounts.children.lock().values().cloned().collect();
    children.into_iter().flat_map(|child| [mounted_on(&child), vec![child]].concat()).collect()
}

/// `H5Fflush` with `H5F_SCOPE_GLOBAL`: commits the other files of the hierarchy that a file is mounted in.
///
/// # Errors
/// Those of the commits.
pub fn flush_others(handle: &Handle) -> Result<()> {
    let session = handle.session()?;
    let mut top = session.clone();
    while let Some(below) = parent_of(&top) {
        top = below;
    }
    let others = [mounted_on(&top), vec![top]].concat();
    // All of them: other processes wait in what they have open together with this one.
    let mut done = Ok(());
    for other in others.iter().filter(|other| !Arc::ptr_eq(other, &session)) {
        done = done.and(other.commit(Ok(())));
    }
    done
}

fn parent_of(session: &Session) -> Option<Arc<Session>> {
    session.mounts.parent.lock().as_ref().and_then(|(below, _)| below.upgrade())
}

/// The path at which a file is mounted, seen from the file at the bottom; nothing for one that is not.
///
/// # Errors
/// Those of looking for the path.
pub fn path_of(session: &Session) -> Result<Option<Vec<u8>>> {
    let Some((below, group)) = session.mounts.parent.lock().clone() else { return Ok(None) };
    let Some(below) = below.upgrade() else { return Ok(None) };
    let Some(path) = below.container.find_path(group)? else { return Ok(None) };
    Ok(Some(match path_of(&below)? {
        Some(way) => [way, path].concat(),
        None => path,
    }))
}

/// The group at `name`, whatever is mounted there.
fn mount_point(handle: &Handle, name: &[u8]) -> Result<Base> {
    let base = Base::of(handle)?;
    let place = match name.strip_suffix(b"/.").unwrap_or(name) {
        b"." | b"/" => return Ok(base),
        name => base.link_place(&Location::ByName { name, access: 0 }, None)?,
    };
    let holder = Base { session: place.session, id: place.group, path: None };
    holder.find_without_mounts(&place.name)
}
