//! Files: containers created, opened, found and deleted.

mod by_name;
mod create;

use std::borrow::Cow;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Once};

use h5lake_container::{Container, Target};
use h5lake_ledger::At;

use crate::config::Config;
use crate::error::{Error, Minor, Result};
use crate::handles::Handle;
use crate::handles::open_objects::FileHandle;
use crate::hdf5::file_flags::OpenFlags;
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::plist::{Driver, ListClass};
use crate::names::{self, Place};
use crate::operations::file_options::{locking, options};
use crate::operations::object::OwnHandles;
use crate::operations::object_file;
use crate::operations::pointer_files;
use crate::operations::spread_files;
use crate::operations::staging;
use crate::operations::storage::{self as native, NamedFile};
use crate::pointer;
use crate::session::collective::{self, CollectiveFile};
use crate::session::registry;
use crate::session::{OpenedBy, Session, SessionParts, Swmr};
use crate::transfer::filter_pipeline;

pub use self::by_name::{delete, is_accessible};
pub use self::create::create;

pub(super) const STRONG: u32 = 3;
pub(super) const SEMI: u32 = 2;
const WEAK: u32 = 1;
const DEFAULT: u32 = 0;

/// The arguments of every way to open a container at a place.
#[derive(Clone, Copy)]
pub(super) struct OpenRequest<'a> {
    pub(super) library: Library,
    pub(super) config: &'a Config,
    pub(super) place: &'a Place,
    pub(super) name: &'a [u8],
    pub(super) flags: OpenFlags,
    pub(super) access: Hid,
    /// The processes that open the file together.
    pub(super) together: Option<&'a CollectiveFile>,
}

/// Returns the processes that open a file together, if the access list has MPI's driver. Collective.
fn together(library: Library, access: Hid) -> Result<Option<Arc<CollectiveFile>>> {
    match library.driver(access)? {
        Driver::Mpi => {
            if let Some(driver) = library.spreading_driver(access)? {
                tell_of_driver(driver);
            }
            library.processes(access).map(CollectiveFile::new).map(Some)
        }
        _ => Ok(None),
    }
}

/// Returns the settings with which a name is resolved: processes that open a file together are several writers.
fn for_writers<'a>(config: &'a Config, together: &Option<Arc<CollectiveFile>>) -> Cow<'a, Config> {
    match together.is_some() && !config.many_writers {
        true => Cow::Owned(Config { many_writers: true, ..config.clone() }),
        false => Cow::Borrowed(config),
    }
}

/// Reports on stderr, once in a process, that a driver has no effect.
fn tell_of_driver(driver: &str) {
    static REPORTED: Once = Once::new();
    REPORTED.call_once(|| {
        let text = format!(
            "the file driver '{driver}' has no effect: a container is one file or lies in a store, and all processes write it \
             together, as with H5Pset_fapl_mpio"
        );
        // A closed stderr is no reason to fail.
        writeln!(std::io::stderr(), "h5lake: {text}").ok();
    });
}

/// Returns the settings for creating or opening a file. If processes do so together and the settings of one process
/// are bad, the other processes receive the error at their first exchange.
///
/// # Errors
/// The error in the settings.
pub fn settings(library: Library, access: Hid, read: Result<Config>) -> Result<Config> {
    match read {
        Err(error) => agreed(&together(library, access)?, || Err(error)),
        settings => settings,
    }
}

/// Runs `body`. Reports a failure to all processes that open the file together.
fn agreed<T>(together: &Option<Arc<CollectiveFile>>, body: impl FnOnce() -> Result<T>) -> Result<T> {
    match together {
        Some(all) => all.agree(body),
        None => body(),
    }
}

/// Checks that all processes can reach the store: a store in memory exists in one process only.
fn check_shared(together: &Option<Arc<CollectiveFile>>, place: &Place) -> Result<()> {
    let has_several_processes = together.as_ref().is_some_and(|together| together.has_several_processes());
    if has_several_processes { collective::check_shared(place) } else { Ok(()) }
}

fn shareable(together: &Option<Arc<CollectiveFile>>, place: Place) -> Result<Place> {
    check_shared(together, &place)?;
    Ok(place)
}

/// Notes the location of a container that processes write together: when all have closed the container, one of them
/// reclaims its free space.
fn keep_place(
    together: Option<&Arc<CollectiveFile>>,
    container: &Container,
    request: OpenRequest<'_>,
) -> Result<()> {
    if let Some(together) = together.filter(|_| container.writable()) {
        together.set_place(&request.place.target, options(request)?);
    }
    Ok(())
}

/// Returns whether a name requests an old version, which cannot be written; a branch can be.
fn is_past(place: &Place) -> bool {
    place.at.is_some_and(|at| !matches!(at, At::Branch(_)))
}

/// Refuses to change an old version, and to make or delete an old version or a branch.
fn check_newest(place: &Place, minor: Minor, verb: &str, name: &[u8]) -> Result<()> {
    let Some(at) = place.at else { return Ok(()) };
    let text = format!("unable to {verb} file: name = '{}'", String::from_utf8_lossy(name));
    let said = match at {
        At::Branch(_) => format!("{at} is not made or deleted so; use 'h5lake branch'"),
        _ => format!("{at} is an old version, which can only be read"),
    };
    Err(Error::file(minor, text, Some(libc::EROFS)).with_system_message(said, ""))
}

/// Opens a file (`H5Fopen`). A reader sees the newest snapshot, and remains on it. An empty file that is opened for
/// writing becomes an empty container, because native HDF5 makes a file of it, too (`H5F_open` writes the superblock
/// of a file without bytes): programs reserve names with temporary files.
pub fn open(library: Library, config: &Config, name: &[u8], flags: OpenFlags, access: Hid) -> Result<Handle> {
    let together = together(library, access)?;
    let of_writers = for_writers(config, &together);
    match agreed(&together, || native::storage(library, &of_writers, name, access, flags.access()))? {
        NamedFile::Native => {
            native::check_allowed(config, Minor::CannotOpenFile, "open", name)?;
            library.open_native_file(name, flags, access, config.native_filters)
        }
        NamedFile::Container(place) => {
            if is_forgotten(library, flags, access)? {
                return open_in_memory(library, config, name, flags, access);
            }
            if flags.write && place.is_vacant() {
                let creation = library.default_list(ListClass::FileCreate)?;
                return create(library, config, name, flags, creation.get(), access);
            }
            let request = OpenRequest {
                library,
                config,
                place: &place,
                name,
                flags,
                access,
                together: together.as_deref(),
            };
            let session = match open_container(request, together.clone(), OpenedBy::Program) {
                Ok(session) => session,
                Err(error) => return spread_files::open_instead(request, error),
            };
            check_degree(&session)?;
            pointer_files::leave(&session, &place);
            Ok(file_handle(session))
        }
    }
}

/// Returns whether changes of a file are to be discarded: it is opened with the core driver without a backing store.
fn is_forgotten(library: Library, flags: OpenFlags, access: Hid) -> Result<bool> {
    Ok(flags.write && library.driver(access)? != Driver::Default && library.discards_writes(access)?)
}

/// Opens a container with the core driver without a backing store: as a native file in memory with the same content,
/// because all changes are to be discarded.
fn open_in_memory(
    library: Library,
    config: &Config,
    name: &[u8],
    flags: OpenFlags,
    access: Hid,
) -> Result<Handle> {
    let mut image = library.image_of_file(name, access)?;
    let list = library.with_image(access, &mut image)?;
    // The driver takes an image only under a name that no file has (H5FD__core_open).
    let name = [name, b" (in memory)"].concat();
    library.open_native_file(&name, flags, list.get(), config.native_filters)
}

/// A file that was opened through a name in another file.
pub enum Opened {
    /// A container. Its file has no identifier.
    Container(Arc<Session>),
    /// A native file in a store, or a native file in memory in place of a container, with its connector.
    Native(Handle),
}

/// Opens the file at a place to which a name leads, without giving the file an identifier.
pub fn open_named(
    library: Library,
    config: &Config,
    (name, place): (&[u8], Place),
    flags: OpenFlags,
    access: Hid,
) -> Result<Opened> {
    if is_forgotten(library, flags, access)? {
        return open_in_memory(library, config, name, flags, access).map(Opened::Native);
    }
    let together = together(library, access)?;
    let request =
        OpenRequest { library, config, place: &place, name, flags, access, together: together.as_deref() };
    match open_container(led_to(request), together.clone(), OpenedBy::Link) {
        Ok(session) => Ok(Opened::Container(session)),
        Err(error) => object_file::open_instead(to_read(request), error).map(Opened::Native),
    }
}

/// Adapts a request for a file that another file leads to. The native connector opens it with the access of the other
/// file. A container that this process has open for writing together with other processes is only read in this way,
/// because the other processes do not take part. The same holds for an old version, which cannot be written.
fn led_to(request: OpenRequest<'_>) -> OpenRequest<'_> {
    let is_alone = request.flags.write && request.together.is_none();
    match is_past(request.place) || is_alone && Container::is_open_collectively(&request.place.target) {
        true => to_read(request),
        false => request,
    }
}

/// Returns the request with read-only access, whatever the access of the file that holds the name.
fn to_read(request: OpenRequest<'_>) -> OpenRequest<'_> {
    OpenRequest { flags: OpenFlags { write: false, ..request.flags }, ..request }
}

/// A file that was opened for a source of a virtual dataset.
pub enum OpenedSource {
    /// A container.
    Container(Arc<Session>),
    /// A native file in a store, open for one callback.
    Native(Id),
}

/// Opens the file at a place to transfer elements of a virtual dataset. The file is opened read-only if it cannot be
/// opened for writing, for example because another process has it open for writing.
pub fn open_source(
    library: Library,
    config: &Config,
    (name, place): (&[u8], Place),
    flags: OpenFlags,
    access: Hid,
) -> Result<OpenedSource> {
    let together = together(library, access)?;
    let request =
        OpenRequest { library, config, place: &place, name, flags, access, together: together.as_deref() };
    let opened =
        open_container(led_to(request), together.clone(), OpenedBy::Link).or_else(|error| {
            match flags.write && !error.is_of_nothing_there() {
                true => open_container(to_read(request), together.clone(), OpenedBy::Link).map_err(|_| error),
                false => Err(error),
            }
        });
    match opened {
        Ok(session) => Ok(OpenedSource::Container(session)),
        Err(error) => object_file::open_source(to_read(request), error).map(OpenedSource::Native),
    }
}

/// Lets the processes that write a local file together find out how they lock it.
fn agree_on_locks(all: &CollectiveFile, request: OpenRequest<'_>) -> Result<()> {
    if !request.flags.write {
        return Ok(());
    }
    all.agree_on_locks(&request.place.target, locking(request.library, request.access))
}

/// Opens a container in all processes of `together`. One process alone that reads a container which it has open for writing
/// with other processes opens it like a process without MPI.
fn open_container(
    request: OpenRequest<'_>,
    together: Option<Arc<CollectiveFile>>,
    opened_by: OpenedBy,
) -> Result<Arc<Session>> {
    let reads_alone =
        !request.flags.write && !together.as_ref().is_some_and(|all| all.has_several_processes());
    let (request, together) = match reads_alone && Container::is_open_collectively(&request.place.target) {
        true => (OpenRequest { together: None, ..request }, None),
        false => (request, together),
    };
    let OpenRequest { library, config, name, flags, access, .. } = request;
    let open = || check_shared(&together, request.place).and_then(|()| open_one(request));
    let container = match &together {
        None => open()?,
        Some(all) => {
            agree_on_locks(all, request)?;
            all.open(None, &open, flags.access())?
        }
    };
    keep_place(together.as_ref(), &container, request)?;
    let swmr = match (flags.swmr_write, flags.swmr_read) {
        (true, _) => Swmr::Write,
        (_, true) => Swmr::Read,
        _ => Swmr::Off,
    };
    let access_list = library.copy_list(access)?;
    // Few programs request a page buffer, and decoding the list takes a tenth of the time of an open.
    let page_size = || {
        let creation = library.decode_list(&container.creation_properties(), ListClass::FileCreate)?;
        library.page_size(creation.get())
    };
    library.fit_page_buffer(access_list.get(), page_size, false)?;
    let parts = Parts { container, together, writable: flags.write, opened_by, swmr };
    start(library, config, name, access_list, parts)
}

/// Refuses to let processes write a branch together.
fn check_one_process(request: OpenRequest<'_>) -> Result<()> {
    let (Some(at @ At::Branch(_)), true, true) =
        (request.place.at, request.together.is_some(), request.flags.write)
    else {
        return Ok(());
    };
    let text = format!(
        "unable to open file: {at} is not written by processes together (MPI); let each open it for itself"
    );
    Err(Error::new(Minor::Unsupported, text))
}

/// Refuses to open for writing, or to replace, a file that the program opened to read and closed while objects of the
/// file stayed open. Native HDF5 does so, too: the program is not aware that it still reads.
fn check_not_left_open(request: OpenRequest<'_>, minor: Minor, verb: &str) -> Result<()> {
    let found = Container::found_open(&request.place.target).filter(|found| !found.writable());
    if !found.is_some_and(|found| registry::is_left_open(&found)) {
        return Ok(());
    }
    let name = String::from_utf8_lossy(request.name);
    let text = format!(
        "unable to {verb} file: name = '{name}': file is already open for read-only, because objects of it are open that were \
         reached through a file which is closed; close them first"
    );
    Err(Error::file(minor, text, None))
}

fn open_one(request: OpenRequest<'_>) -> Result<Arc<Container>> {
    let OpenRequest { config, place, name, flags, .. } = request;
    if flags.write && is_past(place) {
        check_newest(place, Minor::CannotOpenFile, "open", name)?;
    }
    check_one_process(request)?;
    if flags.write {
        check_not_left_open(request, Minor::CannotOpenFile, "open")?;
    }
    if let Some(path) = place.pointer.as_deref().filter(|_| flags.write) {
        pointer::check_writable(path)?;
    }
    let mode = flags.access();
    let mut options = options(request)?;
    options.opened.clone_from(&place.opened);
    // A setting for all files applies to files that are read; a write always applies to the newest version.
    options.ledger.at = place.at.or(config.at.filter(|_| !flags.write));
    let target = if flags.write { staging::target(request)? } else { place.target.clone() };
    let opened = match &place.source {
        Some(_) if flags.write => return Err(source_is_read_only(name)),
        Some(source) => Container::open_source(&String::from_utf8_lossy(name), source.clone(), options),
        None => Container::open(&target, mode, options),
    };
    let opened = opened.map_err(|error| {
        if is_foreign(place, &error) {
            return not_ours(name);
        }
        failed(Minor::CannotOpenFile, "unable to open file", request, &error)
    })?;
    filter_pipeline::check_not_filtering(&opened)?;
    Ok(opened)
}

/// Returns the error for writing a container behind a file driver.
fn source_is_read_only(name: &[u8]) -> Error {
    let text = format!("unable to open file: name = '{}'", String::from_utf8_lossy(name));
    let said = "a container behind a file driver can only be read; open it without the driver to write";
    Error::file(Minor::CannotOpenFile, text, Some(libc::EROFS)).with_system_message(said, "")
}

/// Checks that all opens of one file agree on the file close degree, as the opens of a native file must (`H5F_open`).
/// Sessions opened by links and virtual datasets do not count: in the native connector a program that opens one of its
/// sources with another degree gets an error, which is of no use.
fn check_degree(session: &Arc<Session>) -> Result<()> {
    let wanted = degree_of(session)?;
    for other in registry::sessions_beside(session) {
        if other.is_applications.load(Ordering::Relaxed) && degree_of(&other)? != wanted {
            return Err(Error::new(Minor::CannotOpenFile, "file close degree doesn't match"));
        }
    }
    Ok(())
}

/// Returns the file close degree of a session. The default is that of HDF5's drivers for local files.
///
/// # Errors
/// If the library cannot read the list.
pub fn degree_of(session: &Session) -> Result<u32> {
    let degree = session.library.close_degree(session.access_list.get())?;
    Ok(if degree == DEFAULT { WEAK } else { degree })
}

/// Returns whether the store has no such container while a file of another kind is at the local path.
fn is_foreign(place: &Place, error: &h5lake_container::Error) -> bool {
    error.kind() == h5lake_container::ErrorKind::NotFound && place.is_taken_locally()
}

fn not_ours(name: &[u8]) -> Error {
    let is_folder = std::fs::metadata(OsStr::from_bytes(name)).is_ok_and(|found| found.is_dir());
    let name = String::from_utf8_lossy(name);
    if is_folder {
        let text = format!(
            "unable to open file: name = '{name}' is a folder, and no container is in the store under it"
        );
        return Error::file(Minor::CannotOpenFile, text, Some(libc::EISDIR));
    }
    let text = format!(
        "unable to open file: name = '{name}' is a local file and no container is in the store under it"
    );
    Error::file(Minor::CannotOpenFile, text, None)
}

pub(super) fn file_handle(session: Arc<Session>) -> Handle {
    Handle::File(FileHandle::new(session))
}

/// The parts of a session on a container, beside its names and lists.
struct Parts {
    container: Arc<Container>,
    together: Option<Arc<CollectiveFile>>,
    writable: bool,
    opened_by: OpenedBy,
    swmr: Swmr,
}

fn start(
    library: Library,
    config: &Config,
    name: &[u8],
    access_list: Id,
    parts: Parts,
) -> Result<Arc<Session>> {
    let (config, name) = (config.clone(), name.to_vec());
    let Parts { container, together, writable, opened_by, swmr } = parts;
    let handles = &OwnHandles;
    Session::start(SessionParts {
        library,
        handles,
        container,
        together,
        config,
        name,
        access_list,
        writable,
        opened_by,
        swmr,
    })
}

fn failed(minor: Minor, what: &str, request: OpenRequest<'_>, error: &h5lake_container::Error) -> Error {
    let name = String::from_utf8_lossy(request.name);
    // A user who gave a plain name may not be aware of the store.
    let store = match is_of_the_setting(request, error) {
        true => format!(", in the store{}", names::of_the_setting(request.config)),
        false => String::new(),
    };
    Error::file(minor, format!("{what}: name = '{name}'"), error.errno()).with_system_message(error, &store)
}

/// Returns whether the store that the settings name has failed, rather than the requested operation.
fn is_of_the_setting(request: OpenRequest<'_>, error: &h5lake_container::Error) -> bool {
    use h5lake_container::ErrorKind;
    let Target::Objects { url, .. } = &request.place.target else { return false };
    let failed = matches!(error.kind(), ErrorKind::Io | ErrorKind::PermissionDenied | ErrorKind::NoSpace);
    failed && request.config.store.as_ref() == Some(url)
}
