//! Files: containers created, opened, found and deleted.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Once};

use h5lake_container::{Access, Container, FileCreation, Replace, Target, Together};
use h5lake_ledger::{At, Probe};

use crate::config::{Config, NativeFiles};
use crate::error::{Error, Minor, Result};
use crate::handles::Handle;
use crate::handles::open_objects::FileHandle;
use crate::hdf5::file_flags::OpenFlags;
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::plist::{Driver, ListClass};
use crate::names::{self, Place};
use crate::operations::file_options::options;
use crate::operations::group;
use crate::operations::object::OwnHandles;
use crate::operations::object_file;
use crate::operations::pointer_files;
use crate::operations::staging;
use crate::operations::storage::{self as native, NamedFile};
use crate::pointer::{self, Prepared};
use crate::session::collective::{self, CollectiveFile};
use crate::session::registry;
use crate::session::{Session, SessionParts, Swmr};
use crate::transfer::filter_pipeline;

pub(super) const STRONG: u32 = 3;
pub(super) const SEMI: u32 = 2;
const WEAK: u32 = 1;
const DEFAULT: u32 = 0;

/// What every way of opening a container at a place is given.
#[derive(Clone, Copy)]
pub(super) struct OpenRequest<'a> {
    pub(super) library: Library,
    pub(super) config: &'a Config,
    pub(super) place: &'a Place,
    pub(super) name: &'a [u8],
    pub(super) flags: OpenFlags,
    pub(super) access: Hid,
    /// The processes that open it together.
    pub(super) together: Option<Together>,
}

/// `H5Fcreate`. When this returns an empty container lies at the name; what lay there is gone.
pub fn create(
    library: Library,
    config: &Config,
    name: &[u8],
    flags: OpenFlags,
    creation: Hid,
    access: Hid,
) -> Result<Handle> {
    if native::is_new_native(library, config, name, flags, access)? {
        native::check_allowed(config, Minor::CannotCreateFile, "create", name)?;
        return library.create_native_file(name, flags, creation, access, config.native_filters);
    }
    let together = together(library, access)?;
    // A process that looked later could already see what another has made.
    let place = agreed(&together, || {
        let place = names::place_of_new(name, config).map_err(|error| in_the_way(name, flags, error))?;
        check_newest(&place, Minor::CannotCreateFile, "create", name)?;
        check_replaceable(library, &place, name, flags, access)?;
        shareable(&together, place)
    })?;
    let request =
        OpenRequest { library, config, place: &place, name, flags, access, together: part(&together) };
    let make = || make(request, creation);
    let container = match &together {
        None => make()?,
        Some(all) => all.open(Some(&make), &|| reopen_made(request))?,
    };
    keep_place(together.as_ref(), &container, request)?;
    let access_list = library.copy_list(access)?;
    library.fit_page_buffer(access_list.get(), || library.page_size(creation), true)?;
    let swmr = if flags.swmr_write { Swmr::Write } else { Swmr::Off };
    let parts = Parts { container, together, writable: true, swmr };
    start(library, config, name, access_list, parts).map(file_handle)
}

/// Who asks for a new file alone is told that something is there, also where it may not be read (`open(2)`, `O_EXCL`).
fn in_the_way(name: &[u8], flags: OpenFlags, error: Error) -> Error {
    let is_unreadable = error.errno() == Some(libc::EACCES);
    if !(flags.exclusive && is_unreadable && Path::new(OsStr::from_bytes(name)).is_file()) {
        return error;
    }
    let name = String::from_utf8_lossy(name);
    let text = format!("unable to create file: name = '{name}', error message = 'File exists'");
    Error::file(Minor::CannotCreateFile, text, Some(libc::EEXIST))
}

/// Refuses to replace a native file that is open in this library, as native HDF5 does.
fn check_replaceable(
    library: Library,
    place: &Place,
    name: &[u8],
    flags: OpenFlags,
    access: Hid,
) -> Result<()> {
    // With MPI's driver it would have to be opened by all.
    let alone = library.driver(access)? != Driver::Mpi;
    if flags.exclusive || !alone || !native::is_native(place) || !library.is_native_open(name, access)? {
        return Ok(());
    }
    let name = String::from_utf8_lossy(name);
    let text =
        format!("unable to create file: name = '{name}': unable to truncate a file which is already open");
    Err(Error::file(Minor::CannotCreateFile, text, None))
}

/// The processes that open a file together, if the access list has MPI's driver. Collective.
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

/// Says, once in a process, that a driver does nothing.
fn tell_of_driver(driver: &str) {
    static TOLD: Once = Once::new();
    TOLD.call_once(|| {
        let text = format!(
            "the file driver '{driver}' has no effect: a container is one file or lies in a store, and all processes write it \
             together, as with H5Pset_fapl_mpio"
        );
        // A closed stderr is no reason to fail.
        writeln!(std::io::stderr(), "h5lake: {text}").ok();
    });
}

/// The settings for creating or opening a file. Where processes do that together and one has bad ones, the others hear of
/// it when they first agree.
///
/// # Errors
/// What is wrong with the settings.
pub fn settings(library: Library, access: Hid, read: Result<Config>) -> Result<Config> {
    match read {
        Err(error) => agreed(&together(library, access)?, || Err(error)),
        settings => settings,
    }
}

/// Told to all who open a file together, if it failed.
fn agreed<T>(together: &Option<Arc<CollectiveFile>>, body: impl FnOnce() -> Result<T>) -> Result<T> {
    match together {
        Some(all) => all.agree(body),
        None => body(),
    }
}

fn part(together: &Option<Arc<CollectiveFile>>) -> Option<Together> {
    together.as_ref().map(|all| all.part())
}

/// A store in memory is seen by one process alone.
fn check_shared(together: &Option<Arc<CollectiveFile>>, place: &Place) -> Result<()> {
    let has_others = together.as_ref().is_some_and(|together| together.has_others());
    if has_others { collective::check_shared(place) } else { Ok(()) }
}

fn shareable(together: &Option<Arc<CollectiveFile>>, place: Place) -> Result<Place> {
    check_shared(together, &place)?;
    Ok(place)
}

/// Makes an empty container.
fn make(request: OpenRequest<'_>, creation: Hid) -> Result<Arc<Container>> {
    let OpenRequest { library, place, flags, access, .. } = request;
    let options = options(request)?;
    let pointer = pointer_files::prepare(place, request.config, flags)?;
    let replace = match flags.exclusive {
        true => Replace::Never,
        false => pointer_files::replacement(place, request.config),
    };
    library.check_user_block(creation, access)?;
    library.check_shared_messages(creation)?;
    let user_block = library.user_block(creation)?;
    let root = h5lake_container::GroupSpec {
        creation_properties: Vec::new().into(),
        ..group::spec_of(library, creation)?
    };
    let new = FileCreation { properties: library.encode_list(creation)?.into(), root, user_block };
    let refused = |error: h5lake_container::Error| {
        failed(Minor::CannotCreateFile, "unable to create file", request, &error)
    };
    let replaced = pointer_files::replaced(place, &options).map_err(refused)?;
    let target = staging::target(request)?;
    let container =
        Container::create(&target, replace, new, options).map_err(
            |error| match pointer_files::is_unlinked(replace, &error) {
                true => pointer_files::unlinked(place, request.name),
                false => refused(error),
            },
        )?;
    if let Some(Err(error)) = pointer.map(Prepared::put) {
        // Nothing was replaced. Without its pointer file the container would keep the next creation away.
        if replace != Replace::Truncate {
            pointer_files::take_back(container, place);
        }
        return Err(error);
    }
    if let Some(replaced) = replaced {
        replaced.done();
    }
    Ok(container)
}

/// Says where a container is that processes write together: one of them gives its room back when all have closed it.
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

/// Opens what another process has made.
fn reopen_made(request: OpenRequest<'_>) -> Result<Arc<Container>> {
    Container::open(&request.place.target, Access::ReadWrite, options(request)?)
        .map_err(|error| failed(Minor::CannotCreateFile, "unable to create file", request, &error))
}

/// Refuses to change an old version, and to make or delete one, or a branch.
fn check_newest(place: &Place, minor: Minor, verb: &str, name: &[u8]) -> Result<()> {
    let Some(at) = place.at else { return Ok(()) };
    let text = format!("unable to {verb} file: name = '{}'", String::from_utf8_lossy(name));
    let said = match at {
        At::Branch(_) => format!("{at} is not made or deleted so; use 'h5lake branch'"),
        _ => format!("{at} is past and can only be read"),
    };
    Err(Error::file(minor, text, Some(libc::EROFS)).with_system_message(said, ""))
}

/// `H5Fopen`. A reader sees the newest snapshot, and keeps it. An empty file that is opened for writing becomes an
/// empty container, as native HDF5 makes a file of it (`H5F_open` writes the superblock of a file without bytes):
/// programs reserve names with temporary files.
pub fn open(library: Library, config: &Config, name: &[u8], flags: OpenFlags, access: Hid) -> Result<Handle> {
    let together = together(library, access)?;
    match agreed(&together, || native::storage(library, config, name, access, flags.access()))? {
        NamedFile::Native => {
            native::check_allowed(config, Minor::CannotOpenFile, "open", name)?;
            library.open_native_file(name, flags, access, config.native_filters)
        }
        NamedFile::Container(place) => {
            if flags.write && library.driver(access)? != Driver::Default && library.discards_writes(access)? {
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
                together: part(&together),
            };
            let session = match open_container(request, together) {
                Ok(session) => session,
                Err(error) => return object_file::open_instead(request, error),
            };
            check_degree(&session)?;
            pointer_files::leave(&session, &place);
            Ok(file_handle(session))
        }
    }
}

/// Opens a container with the core driver without backing store: as a native file in memory of the same content, for what
/// is changed is to be forgotten.
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

/// What was opened at a place that a name in another file leads to.
pub enum Opened {
    /// A container. Its file has no identifier.
    Container(Arc<Session>),
    /// A native file in a store, by its connector.
    Native(Handle),
}

/// Opens what lies at a place that a name leads to, without giving its file an identifier.
pub fn open_named(
    library: Library,
    config: &Config,
    (name, place): (&[u8], Place),
    flags: OpenFlags,
    access: Hid,
) -> Result<Opened> {
    let together = together(library, access)?;
    let request =
        OpenRequest { library, config, place: &place, name, flags, access, together: part(&together) };
    match open_container(led_to(request), together) {
        Ok(session) => Ok(Opened::Container(session)),
        Err(error) => object_file::open_instead(to_read(request), error).map(Opened::Native),
    }
}

/// A request for a file that another one leads to. Natively that is opened for what the other one is open for. What this process
/// has open to write with others is only read so, as they do not hear of it.
fn led_to(request: OpenRequest<'_>) -> OpenRequest<'_> {
    let is_alone = request.flags.write && request.together.is_none();
    if is_alone && Container::is_open_with_others(&request.place.target) { to_read(request) } else { request }
}

/// The same request to read, whatever the file was opened for that has the name.
fn to_read(request: OpenRequest<'_>) -> OpenRequest<'_> {
    OpenRequest { flags: OpenFlags { write: false, ..request.flags }, ..request }
}

/// What was opened as the file of a source of a virtual dataset.
pub enum OpenedSource {
    /// A container.
    Container(Arc<Session>),
    /// A native file in a store, for the time of one callback.
    Native(Id),
}

/// Opens what lies at a place to read elements of a virtual dataset from it.
pub fn open_source(
    library: Library,
    config: &Config,
    (name, place): (&[u8], Place),
    flags: OpenFlags,
    access: Hid,
) -> Result<OpenedSource> {
    let together = together(library, access)?;
    let request =
        OpenRequest { library, config, place: &place, name, flags, access, together: part(&together) };
    match open_container(led_to(request), together) {
        Ok(session) => Ok(OpenedSource::Container(session)),
        Err(error) => {
            let object = object_file::find(to_read(request))?.ok_or(error)?;
            library.open_source_object(name, object).map(OpenedSource::Native)
        }
    }
}

fn open_container(request: OpenRequest<'_>, together: Option<Arc<CollectiveFile>>) -> Result<Arc<Session>> {
    let OpenRequest { library, config, name, flags, access, .. } = request;
    let open = || check_shared(&together, request.place).and_then(|()| open_one(request));
    let container = match &together {
        None => open()?,
        Some(all) => all.open(None, &open)?,
    };
    keep_place(together.as_ref(), &container, request)?;
    let swmr = match (flags.swmr_write, flags.swmr_read) {
        (true, _) => Swmr::Write,
        (_, true) => Swmr::Read,
        _ => Swmr::Off,
    };
    let access_list = library.copy_list(access)?;
    // Few ask for a page buffer, and to decode the list is a tenth of an open.
    let page_size = || {
        let creation = library.decode_list(&container.creation_properties(), ListClass::FileCreate)?;
        library.page_size(creation.get())
    };
    library.fit_page_buffer(access_list.get(), page_size, false)?;
    start(library, config, name, access_list, Parts { container, together, writable: flags.write, swmr })
}

/// Refuses processes that want to write a branch together.
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

fn open_one(request: OpenRequest<'_>) -> Result<Arc<Container>> {
    let OpenRequest { config, place, name, flags, .. } = request;
    if flags.write && !matches!(place.at, Some(At::Branch(_))) {
        check_newest(place, Minor::CannotOpenFile, "open", name)?;
    }
    check_one_process(request)?;
    if let Some(path) = place.pointer.as_deref().filter(|_| flags.write) {
        pointer::check_writable(path)?;
    }
    let mode = flags.access();
    let mut options = options(request)?;
    options.opened.clone_from(&place.opened);
    // A setting for all files means those that are read; what is written is always the newest version.
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

/// The error for a container behind a file driver that is to be changed.
fn source_is_read_only(name: &[u8]) -> Error {
    let text = format!("unable to open file: name = '{}'", String::from_utf8_lossy(name));
    let said = "a container behind a file driver can only be read; open it without the driver to write";
    Error::file(Minor::CannotOpenFile, text, Some(libc::EROFS)).with_system_message(said, "")
}

/// All opens of one file agree on what closing it does to its objects, as those of a native file must (`H5F_open`).
/// Those that links and virtual datasets make do not count: natively a program that opens one of its sources with another
/// degree gets an error, which helps nobody.
fn check_degree(session: &Arc<Session>) -> Result<()> {
    let wanted = degree_of(session)?;
    for other in registry::sessions_beside(session) {
        if other.is_applications.load(Ordering::Relaxed) && degree_of(&other)? != wanted {
            return Err(Error::new(Minor::CannotOpenFile, "file close degree doesn't match"));
        }
    }
    Ok(())
}

/// What closing the file does to its objects. The default is that of HDF5's drivers for local files.
///
/// # Errors
/// If the library cannot say it.
pub fn degree_of(session: &Session) -> Result<u32> {
    let degree = session.library.close_degree(session.access_list.get())?;
    Ok(if degree == DEFAULT { WEAK } else { degree })
}

/// Whether the store has no such container while something else lies at the local path.
fn is_foreign(place: &Place, error: &h5lake_container::Error) -> bool {
    error.kind() == h5lake_container::ErrorKind::NotFound && place.is_taken_locally()
}

fn not_ours(name: &[u8]) -> Error {
    let name = String::from_utf8_lossy(name);
    let text = format!(
        "unable to open file: name = '{name}' is a local file and no container is in the store under it"
    );
    Error::file(Minor::CannotOpenFile, text, None)
}

pub(super) fn file_handle(session: Arc<Session>) -> Handle {
    Handle::File(FileHandle::new(session))
}

/// What a session on a container is made of, beside its names and lists.
struct Parts {
    container: Arc<Container>,
    together: Option<Arc<CollectiveFile>>,
    writable: bool,
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
    let Parts { container, together, writable, swmr } = parts;
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
        swmr,
    })
}

fn failed(minor: Minor, what: &str, request: OpenRequest<'_>, error: &h5lake_container::Error) -> Error {
    let name = String::from_utf8_lossy(request.name);
    // Who gave a plain name may not think of the store.
    let store = match is_of_the_setting(request, error) {
        true => format!(", in the store{}", names::of_the_setting(request.config)),
        false => String::new(),
    };
    Error::file(minor, format!("{what}: name = '{name}'"), error.errno()).with_system_message(error, &store)
}

/// Whether a store that the settings name has failed, and not what was asked of it.
fn is_of_the_setting(request: OpenRequest<'_>, error: &h5lake_container::Error) -> bool {
    use h5lake_container::ErrorKind;
    let Target::Objects { url, .. } = &request.place.target else { return false };
    let failed = matches!(error.kind(), ErrorKind::Io | ErrorKind::PermissionDenied | ErrorKind::NoSpace);
    failed && request.config.store.as_ref() == Some(url)
}

/// Whether `H5Fopen` of this library may find a connector by asking those on the plugin path. HDF5 2.0 to 2.2
/// ask, but then take what the connector opened for a native file, and crash (`H5F__open_api_common` registers it
/// with the connector of the access list).
fn finds_connectors(library: Library) -> bool {
    library.version().0 < 2
}

/// Whether a container or a native file lies at the name (`H5Fis_accessible`). Something else is `false`, a missing
/// file an error, as native files answer.
pub fn is_accessible(library: Library, config: &Config, name: &[u8], access: Hid) -> Result<bool> {
    let chosen = library.is_chosen(access)?;
    if !finds_connectors(library) && !chosen {
        return Ok(false);
    }
    let missing = || {
        Error::file(
            Minor::CannotOpenFile,
            format!("unable to open file: name = '{}'", String::from_utf8_lossy(name)),
            Some(2),
        )
    };
    let place = match native::storage(library, config, name, access, Access::ReadOnly)? {
        NamedFile::Native if chosen && config.native == NativeFiles::Pass => {
            return library.is_native_file(name, access);
        }
        NamedFile::Native => return Ok(false),
        NamedFile::Container(place) => *place,
    };
    if place.source.is_some() {
        return Ok(true);
    }
    if place.is_taken_locally() {
        return Ok(false);
    }
    let probe = match place.target {
        Target::File(path) => h5lake_ledger::Ledger::probe_file(&path),
        Target::Objects { store, key, .. } => h5lake_ledger::Ledger::probe_objects(&*store, &key),
    };
    match probe.map_err(|error| Error::file(Minor::CannotOpenFile, error.to_string(), error.errno()))? {
        Probe::Container => Ok(true),
        Probe::NotFound if lies_locally(name) => Ok(false),
        Probe::NotFound => Err(missing()),
        Probe::NativeHdf5 => Ok(chosen && config.native == NativeFiles::Pass),
        _ => Ok(false),
    }
}

/// Whether a local file has the name, be it in a store's way or not: to who looks at the path it is not missing.
fn lies_locally(name: &[u8]) -> bool {
    Path::new(OsStr::from_bytes(name)).is_file()
}

/// `H5Fdelete`: a container or a native file and all it is made of. Anything else is refused. With MPI's driver all processes
/// call it, as natively: the first one deletes, and all have the same answer.
pub fn delete(library: Library, config: &Config, name: &[u8], access: Hid) -> Result<()> {
    let together = together(library, access)?;
    // A process that looked later could already miss what another has deleted.
    let place = match agreed(&together, || native::storage(library, config, name, access, Access::ReadWrite))?
    {
        NamedFile::Native => {
            native::check_allowed(config, Minor::CannotOperate, "delete", name)?;
            return library.delete_native_file(name, access);
        }
        NamedFile::Container(place) => *place,
    };
    let is_mine = together.as_ref().is_none_or(|all| all.is_first());
    agreed(&together, || if is_mine { delete_container(config, place, name) } else { Ok(()) })
}

fn delete_container(config: &Config, place: Place, name: &[u8]) -> Result<()> {
    check_newest(&place, Minor::CannotOperate, "delete", name)?;
    if place.source.is_some() {
        let text = "a container behind a file driver is not deleted; delete it without the driver";
        return Err(Error::new(Minor::Unsupported, text));
    }
    place.check_removable()?;
    let removed = match &place.target {
        Target::File(path) => {
            let (retention, sync) = (config.retention, config.sync);
            let options = h5lake_ledger::Options { retention, sync, ..Default::default() };
            h5lake_ledger::Ledger::remove_file(path, &options)
        }
        Target::Objects { store, key, .. } => h5lake_ledger::Ledger::remove_objects(store, key),
    };
    if removed.is_ok() {
        let _it_leads_nowhere_then = place.remove_pointer();
    }
    removed.map_err(|error| {
        Error::file(Minor::CannotOperate, format!("unable to delete file: {error}"), error.errno())
    })
}
