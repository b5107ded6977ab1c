//! The objects handed to libhdf5: a boxed [`Handle`] behind each `void *`.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::sync::{Arc, OnceLock, Weak};

use h5lake_plugin_abi::{MAX_LIBRARIES, bindings as sys};

use crate::error::{Error, Minor, Result};
use crate::handles::native_handle::{NativeHandle, not_a_container};
use crate::handles::open_objects::{
    AttributeHandle, DatasetHandle, DatatypeHandle, FileHandle, ObjectHandle,
};
use crate::handles::request::RequestHandle;
use crate::hdf5::anchor::Anchor;
use crate::hdf5::id::Id;
use crate::hdf5::library::Library;
use crate::hdf5::native::NativeKind;
use crate::native::shadow_file;
use crate::session::Session;
use crate::transfer::context;
use crate::transfer::filter_pipeline;

pub mod block;
pub mod identifiers;
pub mod mapping_index;
pub mod native_files;
pub mod native_handle;
pub mod native_path;
pub mod open_objects;
pub mod open_sources;
pub mod request;
pub mod source_name;
pub mod virtual_layout;

/// The object behind a `void *` of ours.
pub enum Handle {
    /// The file of an object, as libhdf5 sees it; owned by its session.
    Anchor(Weak<Session>),
    /// The file to which datatypes in containers refer: the file for which this thread converts elements.
    Types(Library),
    /// An open file.
    File(FileHandle),
    /// An open group.
    Group(ObjectHandle),
    /// An open dataset.
    Dataset(DatasetHandle),
    /// An open attribute.
    Attribute(AttributeHandle),
    /// An open committed datatype.
    Datatype(DatatypeHandle),
    /// An object that is being closed: its identifier still exists, and native code that closes a native file checks
    /// every file and every dataset.
    Closing(Closing),
    /// An open object of a native file.
    Native(NativeHandle),
    /// A request that an event set waits for. libhdf5 asks for its context as for an object's.
    Request(RequestHandle),
}

/// The order of a call relative to background transfers and flushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOrder {
    /// The call waits until all transfers and flushes on its container have ended.
    Behind,
    /// The call does not touch elements, and waits for flushes only.
    Beside,
}

/// The stand-in of an object that is being closed.
pub struct Closing {
    library: Library,
    kind: NativeKind,
    /// The native object beneath the handle, or 0 if it was never needed. Then any other object of its kind serves,
    /// because native code that asks now is searching for objects of another file.
    native: usize,
}

impl Handle {
    /// Refuses a call that a filter makes on the file of the chunk that it is filtering.
    ///
    /// # Errors
    /// If this thread runs filters on a chunk of the object's file.
    pub fn check_not_filtering(&self) -> Result<()> {
        match filter_pipeline::is_filtering().then(|| self.session()) {
            Some(Ok(session)) => filter_pipeline::check_not_filtering(&session.container),
            _ => Ok(()),
        }
    }

    /// Returns the session the object was opened in.
    pub fn session(&self) -> Result<Arc<Session>> {
        match self {
            Self::Anchor(session) => session
                .upgrade()
                .ok_or_else(|| Error::new(Minor::BadValue, "the file of this object is closed")),
            Self::Types(_) => context::session().ok_or_else(|| {
                Error::new(Minor::BadValue, "a datatype of a container is used outside of a transfer")
            }),
            Self::File(file) => Ok(file.session.clone()),
            Self::Group(object) => Ok(object.session.clone()),
            Self::Dataset(dataset) => Ok(dataset.base.session.clone()),
            Self::Attribute(attribute) => Ok(attribute.session.clone()),
            Self::Datatype(datatype) => Ok(datatype.base.session.clone()),
            Self::Closing(_) => Err(Error::new(Minor::BadValue, "the object is being closed")),
            Self::Native(_) => Err(not_a_container()),
            Self::Request(_) => Err(Error::argument("a request of an event set is no object")),
        }
    }

    /// Returns the session of an open object.
    fn own_session(&self) -> Option<&Session> {
        match self {
            Self::File(file) => Some(&file.session),
            Self::Group(object) => Some(&object.session),
            Self::Dataset(dataset) => Some(&dataset.base.session),
            Self::Attribute(attribute) => Some(&attribute.session),
            Self::Datatype(datatype) => Some(&datatype.base.session),
            Self::Anchor(_) | Self::Types(_) | Self::Closing(_) | Self::Native(_) | Self::Request(_) => None,
        }
    }

    /// Waits for background work on the object's container, as `order` says.
    #[inline]
    pub fn complete(&self, order: CallOrder) {
        match (self.own_session(), order) {
            (None, _) => {}
            (Some(session), CallOrder::Behind) => session.complete(),
            (Some(session), CallOrder::Beside) => session.complete_flushes(),
        }
    }

    /// Returns the library the object belongs to.
    pub fn library(&self) -> Option<Library> {
        match self {
            Self::Anchor(session) => session.upgrade().map(|session| session.library),
            Self::Types(library) => Some(*library),
            Self::File(file) => Some(file.session.library),
            Self::Group(object) => Some(object.session.library),
            Self::Dataset(dataset) => Some(dataset.base.session.library),
            Self::Attribute(attribute) => Some(attribute.session.library),
            Self::Datatype(datatype) => Some(datatype.base.session.library),
            Self::Closing(closing) => Some(closing.library),
            Self::Native(native) => Some(native.library()),
            Self::Request(request) => Some(request.library()),
        }
    }

    /// Returns the native object beneath the handle, for use by libhdf5. It is made when it is first needed.
    pub fn native_object(&self) -> Result<*mut c_void> {
        Ok(match self {
            Self::Anchor(_) => self.session()?.shadow.file()?.pointer(),
            // Outside of conversions libhdf5 only asks for sizes, which are the same in all native files.
            Self::Types(library) => match context::session() {
                Some(session) => session.shadow.file()?.pointer(),
                None => shadow_file::stand_in(*library, NativeKind::File)?,
            },
            Self::File(file) => file.session.shadow.file()?.pointer(),
            Self::Group(group) => group.session.shadow.group()?.pointer(),
            Self::Dataset(dataset) => dataset.native()?.object().pointer(),
            Self::Attribute(attribute) => attribute.session.shadow.attribute()?.pointer(),
            Self::Datatype(datatype) => datatype.native.pointer(),
            Self::Closing(closing) => match closing.native {
                0 => shadow_file::stand_in(closing.library, closing.kind)?,
                native => native as *mut c_void,
            },
            Self::Native(native) => native.object(),
            Self::Request(_) => return Err(Error::argument("a request of an event set is no object")),
        })
    }

    /// Returns the native object beneath the handle, if it was ever needed.
    pub fn made_native_object(&self) -> Option<*mut c_void> {
        Some(match self {
            Self::Anchor(_) | Self::Types(_) => self.session().ok()?.shadow.made(NativeKind::File)?,
            Self::File(file) => file.session.shadow.made(NativeKind::File)?,
            Self::Group(group) => group.session.shadow.made(NativeKind::Group)?,
            Self::Dataset(dataset) => dataset.native.get()?.object().pointer(),
            Self::Attribute(attribute) => attribute.session.shadow.made(NativeKind::Attribute)?,
            Self::Datatype(datatype) => datatype.native.pointer(),
            Self::Closing(closing) => (closing.native != 0).then_some(closing.native as *mut c_void)?,
            Self::Native(native) => native.object(),
            Self::Request(_) => return None,
        })
    }

    fn native_kind(&self) -> NativeKind {
        match self {
            Self::Group(_) => NativeKind::Group,
            Self::Dataset(_) => NativeKind::Dataset,
            Self::Attribute(_) => NativeKind::Attribute,
            Self::Datatype(_) => NativeKind::Datatype,
            Self::Closing(closing) => closing.kind,
            Self::Anchor(_) | Self::Types(_) | Self::File(_) | Self::Native(_) | Self::Request(_) => {
                NativeKind::File
            }
        }
    }

    /// Closes the object behind a pointer, and calls `after` for the remaining work of its session. The handle remains
    /// until all is done, and so does the native dataset beneath a dataset handle. The native file is closed with the
    /// last object, and meanwhile native code checks every dataset that has an identifier (`H5D_flush_all`), including
    /// the dataset that is being closed.
    ///
    /// # Errors
    /// If the object's session has ended; then the object is left as it is.
    ///
    /// # Safety
    /// As for [`Handle::from_pointer`], and the pointer is not used again once this has succeeded. Until then libhdf5 may
    /// read the handle through the same pointer, in this thread: so no box and no reference of it exist here while it
    /// changes.
    pub unsafe fn release<T>(pointer: *mut c_void, after: impl FnOnce(Arc<Session>) -> T) -> Result<T> {
        let place = pointer.cast::<Self>();
        let (session, closing, dataset) = {
            // SAFETY: as the caller says.
            let handle = unsafe { Self::from_pointer(pointer) }?;
            let session = handle.session()?;
            let native = match handle {
                // No stand-in can be made any more.
                Self::Dataset(_) if !session.library.is_to_tell() => handle.native_object().ok(),
                _ => handle.made_native_object(),
            };
            let native = native.map_or(0, |native| native as usize);
            let dataset =
                if let Self::Dataset(dataset) = handle { dataset.native.get().cloned() } else { None };
            let closing = Closing { library: session.library, kind: handle.native_kind(), native };
            (session, closing, dataset)
        };
        // SAFETY: the place holds a handle, and nothing refers to it just now.
        let open = unsafe { place.replace(Self::Closing(closing)) };
        drop(open);
        let result = after(session);
        drop(dataset);
        // SAFETY: boxed by `into_pointer`; the pointer is not used any more.
        drop(unsafe { Box::from_raw(place) });
        Ok(result)
    }

    /// Boxes the handle for libhdf5, which returns it to a close callback.
    pub fn into_pointer(self) -> *mut c_void {
        Box::into_raw(Box::new(self)).cast()
    }

    /// Returns the handle behind a pointer that libhdf5 passes to us.
    ///
    /// # Safety
    /// The pointer is null or came from [`Handle::into_pointer`] and has not been closed.
    pub unsafe fn from_pointer<'a>(pointer: *const c_void) -> Result<&'a Self> {
        // SAFETY: as the caller says.
        unsafe { pointer.cast::<Self>().as_ref() }
            .ok_or_else(|| Error::argument("an object is a null pointer"))
    }

    /// Takes ownership of a handle again.
    ///
    /// # Safety
    /// As for [`Handle::from_pointer`], and the pointer is not used again.
    pub unsafe fn take(pointer: *mut c_void) -> Result<Box<Self>> {
        if pointer.is_null() {
            return Err(Error::argument("an object is a null pointer"));
        }
        // SAFETY: not null, and as the caller says.
        Ok(unsafe { Box::from_raw(pointer.cast()) })
    }
}

/// The file object to which the located types of each slot's library refer. It is never freed: libhdf5 keeps types
/// until the process ends.
static TYPE_ANCHORS: [OnceLock<Anchor>; MAX_LIBRARIES] = [const { OnceLock::new() }; MAX_LIBRARIES];

/// Returns the anchor of a library's datatypes in containers.
pub fn anchor_of_types(library: Library) -> &'static Anchor {
    // SAFETY: it is a handle, and holds a number.
    TYPE_ANCHORS[library.slot()].get_or_init(|| unsafe { Anchor::of(Handle::Types(library)) })
}

/// Returns the anchor of a session that is being made.
pub fn anchor_of(session: Weak<Session>) -> Anchor {
    // SAFETY: it is a handle, and a `Weak` may be read from any thread.
    unsafe { Anchor::of(Handle::Anchor(session)) }
}

impl Library {
    /// Gives an object an identifier of its own, for an application's callbacks during an iteration. The object is
    /// closed with the identifier.
    pub fn register(self, handle: Handle) -> Result<Id> {
        let kind = match &handle {
            Handle::Anchor(_) | Handle::Types(_) | Handle::File(_) | Handle::Closing(_) => sys::H5I_FILE,
            Handle::Group(_) => sys::H5I_GROUP,
            Handle::Dataset(_) => sys::H5I_DATASET,
            Handle::Attribute(_) => sys::H5I_ATTR,
            Handle::Datatype(_) => sys::H5I_DATATYPE,
            // Native code registers these objects itself.
            Handle::Native(_) | Handle::Request(_) => sys::H5I_BADID,
        };
        let pointer = handle.into_pointer();
        // SAFETY: the pointer is an object of the connector that is being called.
        let id = unsafe { (self.table().H5VLwrap_register)(pointer, kind) };
        let registered = Id::from_call(self, id, "H5VLwrap_register");
        if registered.is_err() {
            // SAFETY: libhdf5 did not take it.
            drop(unsafe { Handle::take(pointer) });
        }
        registered
    }
}
