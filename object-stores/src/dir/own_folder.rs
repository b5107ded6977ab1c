//! The store's own folders: `.object-store` in its root, and in the folders of the containers that it locks.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::beneath::Beneath;

/// The name that no segment of a key may have.
pub(super) const RESERVED: &str = ".object-store";

/// The number of times that a folder is made because another process removed it before its use.
const MAX_ATTEMPTS: u32 = 1000;
/// The sticky bit: in a folder with this bit only the owner of a name may remove or rename it.
const STICKY: u32 = 0o1000;

/// Opens the folder `sub` of the store's own folder in `home`, a folder below the root, and makes both if they are missing. `home`
/// itself is not made.
///
/// # Errors
/// `PermissionDenied` if the folder is another user's, and those of opening and making it; a symbolic link is not followed.
pub(super) fn make(root: &Beneath, home: &str, sub: &str) -> io::Result<Beneath> {
    let below = if home.is_empty() { RESERVED.to_owned() } else { format!("{home}/{RESERVED}") };
    let home = if home.is_empty() { "." } else { home };
    let mut opened = root.folder(&below).and_then(|own| Ok((own.folder(sub)?, own)));
    for _ in 0..MAX_ATTEMPTS {
        match opened {
            Ok((folder, own)) => {
                check_owner(&own, || root.folder(home))?;
                return Ok(folder);
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        // The permissions are those of the folder around, with the bit that keeps the group of new files: every user who may make
        // names there may use the store.
        let mode = root.metadata(home)?.mode() & 0o2777;
        make_one(root, &below, mode)?;
        opened = match make_one(root, &format!("{below}/{sub}"), mode) {
            // The other folder was removed again.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(e),
            Err(e) => return Err(e),
            Ok(()) => root.folder(&below).and_then(|own| Ok((own.folder(sub)?, own))),
        };
    }
    Err(io::Error::other("the store's own folder was removed again and again"))
}

/// Opens the folder `.object-store` of the root; `None` if that folder does not exist.
///
/// # Errors
/// As for [`make`].
pub(super) fn open(root: &Beneath) -> io::Result<Option<Beneath>> {
    match root.folder(RESERVED) {
        Ok(own) => check_owner(&own, || root.folder(".")).map(|()| Some(own)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn make_one(root: &Beneath, path: &str, mode: u32) -> io::Result<()> {
    match root.make_folder(path, mode) {
        // The umask may have removed some permissions.
        Ok(()) => match root.set_mode(path, Permissions::from_mode(mode)) {
            // Another process may have removed the folder.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        },
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    }
}

/// Checks that no other user owns the store's own folder in a folder like /tmp, where every user can make it and only its owner can
/// remove it. That owner could replace files that are being written, and hold the locks.
fn check_owner(own: &Beneath, home: impl FnOnce() -> io::Result<Beneath>) -> io::Result<()> {
    let owner = own.own_metadata()?.uid();
    if owner == nix::unistd::geteuid().as_raw() {
        return Ok(());
    }
    let home = home()?.own_metadata()?;
    if home.mode() & STICKY == 0 || owner == home.uid() || owner == 0 {
        return Ok(());
    }
    let why = format!(
        "{RESERVED} belongs to user {owner}, and the folder around it has the sticky bit, as /tmp has; \
         keep the store in a folder of your own"
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}
