//! Permissions of a file that replaces another file or is a copy of it: no user gets access that the other file did not
//! give.

use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::{XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr, getxattr};

/// The bits setuid, setgid and sticky.
const SPECIAL_BITS: u32 = 0o7000;
/// If a folder has this bit, new files get the group of the folder.
const SETGID: u32 = 0o2000;
/// The extended attribute in which Linux stores a file's access control list. The group bits of the mode are then the
/// list's mask (acl(5)).
const ACL: &str = "system.posix_acl_access";
/// Prefixes of extended attributes that a file keeps when its content is replaced. All other attributes belong to the
/// system, or to the content.
const KEPT: [&str; 2] = ["user.", "security.selinux"];
/// The greatest length of the list of names, and of a value (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX` of Linux).
const MAX_XATTR_BYTES: usize = 64 << 10;

/// Gives a new file the attributes of the file that it replaces, as `open(O_TRUNC)` would leave them: owner, group, mode,
/// access control list and extended attributes. Rights that the process cannot set are not given to other users instead: if
/// the new file has another group, that group gets the rights that everybody has.
pub(super) fn keep(old: &File, was: &Metadata, new: &File) -> io::Result<()> {
    let is = new.metadata()?;
    if (was.uid(), was.gid()) != (is.uid(), is.gid()) {
        // A privileged process can set both, and a member of the group can set the group. Otherwise the file belongs to the
        // user that created it.
        let _best_effort =
            fchown(new, Some(was.uid()), Some(was.gid())).or_else(|_| fchown(new, None, Some(was.gid())));
    }
    let has_group = new.metadata()?.gid() == was.gid();
    let list = value(old, ACL);
    let is_open_to_group = has_group && list.is_none();
    let mode = if is_open_to_group { was.mode() } else { without_group(was.mode()) };
    // A change of the owner may have cleared bits that both files had.
    if mode != is.mode() || mode & SPECIAL_BITS != 0 {
        new.set_permissions(Permissions::from_mode(mode))?;
    }
    match list.filter(|_| has_group) {
        // This sets the group bits, too.
        Some(list) => fsetxattr(new, ACL, &list, XattrFlags::empty())?,
        // Removes a list that the folder's default gave. On most file systems there is no such list.
        None => drop(fremovexattr(new, ACL)),
    }
    keep_attributes(old, new);
    Ok(())
}

fn keep_attributes(old: &File, new: &File) {
    let mut names = Vec::with_capacity(MAX_XATTR_BYTES);
    if flistxattr(old, spare_capacity(&mut names)).is_err() {
        return;
    }
    for name in names.split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok()) {
        if KEPT.iter().any(|kept| name.starts_with(kept))
            && let Some(value) = value(old, name)
            && let Err(e) = fsetxattr(new, name, &value, XattrFlags::empty())
        {
            tracing::debug!(name, error = %e, "an extended attribute was not kept");
        }
    }
}

fn value(file: &File, name: &str) -> Option<Vec<u8>> {
    let mut value = Vec::with_capacity(MAX_XATTR_BYTES);
    fgetxattr(file, name, spare_capacity(&mut value)).ok()?;
    Some(value)
}

/// Returns a mode in which the group has only rights that everybody has.
fn without_group(mode: u32) -> u32 {
    mode & !0o2070 | (mode >> 3 & mode & 0o007) << 3
}

/// Returns the mode of a copy at `target` of the file at `source`: users who may not read the source may not read the copy.
/// The umask is applied to it, and the owner may continue the copy. If the source does not exist, no right is removed.
pub fn mode_of_copy(source: &Path, target: &Path) -> u32 {
    let Ok(meta) = source.metadata() else { return 0o666 };
    let mut list = Vec::with_capacity(MAX_XATTR_BYTES);
    let has_list = getxattr(source, ACL, spare_capacity(&mut list)).is_ok();
    let keeps_group = !has_list && Some(meta.gid()) == group_of_new(target);
    let mode = if keeps_group { meta.mode() } else { without_group(meta.mode()) };
    mode & 0o666 | 0o600
}

/// Returns the group that a new file at a path gets.
fn group_of_new(path: &Path) -> Option<u32> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.metadata().ok()?;
    Some(if folder.mode() & SETGID != 0 { folder.gid() } else { nix::unistd::getegid().as_raw() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(file: &File) -> u32 {
        file.metadata().unwrap().mode() & 0o7777
    }

    /// A list that lets one more user read, and gives the group no rights (acl(5); linux/posix_acl_xattr.h).
    fn access_list() -> Vec<u8> {
        const NOBODY: u32 = u32::MAX;
        let entries: [(u16, u16, u32); 5] =
            [(0x01, 6, NOBODY), (0x02, 6, 65_534), (0x04, 0, NOBODY), (0x10, 6, NOBODY), (0x20, 0, NOBODY)];
        let mut list = 2u32.to_le_bytes().to_vec();
        for (tag, bits, id) in entries {
            list.extend_from_slice(&tag.to_le_bytes());
            list.extend_from_slice(&bits.to_le_bytes());
            list.extend_from_slice(&id.to_le_bytes());
        }
        list
    }

    #[test]
    fn another_group_gets_what_everybody_has() {
        for (was, without) in
            [(0o660, 0o600), (0o664, 0o644), (0o640, 0o600), (0o644, 0o644), (0o2775, 0o755), (0o604, 0o604)]
        {
            assert_eq!(without_group(was), without, "{was:o}");
        }
    }

    #[test]
    fn a_file_keeps_its_attributes_and_its_list() {
        let dir = tempfile::tempdir().unwrap();
        let (old, new) = (dir.path().join("old"), dir.path().join("new"));
        let (file, made) = (File::create(&old).unwrap(), File::create(&new).unwrap());
        if let Err(e) = fsetxattr(&file, "user.note", b"mine", XattrFlags::empty()) {
            assert_eq!(
                e,
                rustix::io::Errno::OPNOTSUPP,
                "the file system has attributes, or says that it has none"
            );
            return;
        }
        let has_lists = fsetxattr(&file, ACL, &access_list(), XattrFlags::empty()).is_ok();
        keep(&file, &file.metadata().unwrap(), &made).unwrap();
        assert_eq!(value(&made, "user.note").unwrap(), b"mine");
        assert_eq!((value(&made, ACL), mode(&made)), (value(&file, ACL), mode(&file)));
        if has_lists {
            assert_eq!(mode(&file), 0o660, "what the list lets one user do");
            assert_eq!(mode_of_copy(&old, &new), 0o600);
            let plain = File::create(dir.path().join("plain")).unwrap();
            plain.set_permissions(Permissions::from_mode(0o640)).unwrap();
            keep(&plain, &plain.metadata().unwrap(), &made).unwrap();
            assert_eq!((value(&made, ACL), mode(&made)), (None, 0o640));
        }
    }

    #[test]
    fn a_copy_in_a_folder_of_another_group_is_not_open_to_that() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        File::create(&source).unwrap().set_permissions(Permissions::from_mode(0o660)).unwrap();
        assert_eq!(mode_of_copy(&source, &dir.path().join("copy")), 0o660);
        assert_eq!(mode_of_copy(&dir.path().join("nothing"), &source), 0o666);
        let shared = dir.path().join("shared");
        std::fs::create_dir(&shared).unwrap();
        if std::os::unix::fs::chown(&shared, None, Some(777)).is_ok() {
            std::fs::set_permissions(&shared, Permissions::from_mode(0o2775)).unwrap();
            assert_eq!(mode_of_copy(&source, &shared.join("copy")), 0o600);
        }
    }
}
