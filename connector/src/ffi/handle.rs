//! The objects handed to libhdf5: a boxed [`Handle`] behind each `void *`.

use std::ffi::c_void;
use std::sync::{Arc, Weak};

use super::library::Library;
use super::native::NativeKind;
use super::pass::{self, NativeHandle};
use crate::error::{Error, Minor, Result};
use crate::native::face;
use crate::session::{AttributeHandle, DatasetHandle, DatatypeHandle, FileHandle, ObjectHandle, Session};

/// What a `void *` of ours points to.
pub enum Handle {
    /// A file that datatypes located in it refer to; owned by its session.
    Anchor(Weak<Session>),
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
    /// An object while it closes: its identifier is still there, and native code that closes a native file looks at every
    /// file and every dataset.
    Closing(Closing),
    /// An open object of a native file.
    Native(NativeHandle),
}

/// What stands for an object that closes.
pub struct Closing {
    library: Library,
    kind: NativeKind,
    /// The native object beneath it, or 0 where nobody has asked for it: then any other of its kind will do, as whoever
    /// asks now looks for objects of another file.
    native: usize,
}

impl Handle {
    /// The session the object was opened in.
    pub fn session(&self) -> Result<Arc<Session>> {
        match self {
            Self::Anchor(session) => session
                .upgrade()
                .ok_or_else(|| Error::new(Minor::BadValue, "the file of this datatype is closed")),
            Self::File(file) => Ok(file.session.clone()),
            Self::Group(object) => Ok(object.session.clone()),
            Self::Dataset(dataset) => Ok(dataset.base.session.clone()),
            Self::Attribute(attribute) => Ok(attribute.session.clone()),
            Self::Datatype(datatype) => Ok(datatype.base.session.clone()),
            Self::Closing(_) => Err(Error::new(Minor::BadValue, "the object is being closed")),
            Self::Native(_) => Err(pass::not_a_container()),
        }
    }

    /// The library the object belongs to.
    pub fn library(&self) -> Option<Library> {
        match self {
            Self::Anchor(session) => session.upgrade().map(|session| session.library),
            Self::File(file) => Some(file.session.library),
            Self::Group(object) => Some(object.session.library),
            Self::Dataset(dataset) => Some(dataset.base.session.library),
            Self::Attribute(attribute) => Some(attribute.session.library),
            Self::Datatype(datatype) => Some(datatype.base.session.library),
            Self::Closing(closing) => Some(closing.library),
            Self::Native(native) => Some(native.library()),
        }
    }

    /// The native object beneath, as libhdf5 takes it. It is made when it is first asked for.
    pub fn native_object(&self) -> Result<*mut c_void> {
        Ok(match self {
            Self::Anchor(_) => self.session()?.face.file()?.pointer(),
            Self::File(file) => file.session.face.file()?.pointer(),
            Self::Group(group) => group.session.face.group()?.pointer(),
            Self::Dataset(dataset) => dataset.native()?.object().pointer(),
            Self::Attribute(attribute) => attribute.session.face.attribute()?.pointer(),
            Self::Datatype(datatype) => datatype.native.pointer(),
            Self::Closing(closing) => match closing.native {
                0 => face::stand_in(closing.library, closing.kind)?,
                native => native as *mut c_void,
            },
            Self::Native(native) => native.object(),
        })
    }

    /// The native object beneath, if it was asked for.
    pub fn made_native_object(&self) -> Option<*mut c_void> {
        Some(match self {
            Self::Anchor(_) => self.session().ok()?.face.made(NativeKind::File)?,
            Self::File(file) => file.session.face.made(NativeKind::File)?,
            Self::Group(group) => group.session.face.made(NativeKind::Group)?,
            Self::Dataset(dataset) => dataset.native.get()?.object().pointer(),
            Self::Attribute(attribute) => attribute.session.face.made(NativeKind::Attribute)?,
            Self::Datatype(datatype) => datatype.native.pointer(),
            Self::Closing(closing) => (closing.native != 0).then_some(closing.native as *mut c_void)?,
            Self::Native(native) => native.object(),
        })
    }

    fn native_kind(&self) -> NativeKind {
        match self {
            Self::Group(_) => NativeKind::Group,
            Self::Dataset(_) => NativeKind::Dataset,
            Self::Attribute(_) => NativeKind::Attribute,
            Self::Datatype(_) => NativeKind::Datatype,
            Self::Closing(closing) => closing.kind,
            Self::Anchor(_) | Self::File(_) | Self::Native(_) => NativeKind::File,
        }
    }

    /// Drops the object, and with `after` what is left to do of its session. The box stays until all is done, and so does
    /// the native dataset beneath one of ours: with the last object the native file goes, and while it goes native code
    /// looks at every dataset that has an identifier (`H5D_flush_all`), the one included that is being closed.
    #[expect(clippy::boxed_local, reason = "the box is what libhdf5 knows: it must stay where it is")]
    pub fn release<T>(mut self: Box<Self>, after: impl FnOnce(Arc<Session>) -> T) -> Result<T> {
        let session = self.session()?;
        let native = match &*self {
            // There is no stand-in any more.
            Self::Dataset(_) if !session.library.is_to_tell() => self.native_object().ok(),
            _ => self.made_native_object(),
        };
        let native = native.map_or(0, |native| native as usize);
        let dataset = if let Self::Dataset(dataset) = &*self { dataset.native.get().cloned() } else { None };
        let closing = Closing { library: session.library, kind: self.native_kind(), native };
        drop(std::mem::replace(&mut *self, Self::Closing(closing)));
        let result = after(session);
        drop(dataset);
        Ok(result)
    }

    /// Boxes the handle for libhdf5, which gives it back to a close callback.
    pub fn into_pointer(self) -> *mut c_void {
        Box::into_raw(Box::new(self)).cast()
    }

    /// The handle behind a pointer that libhdf5 gives us.
    ///
    /// # Safety
    /// The pointer is null or came from [`Handle::into_pointer`] and has not been closed.
    pub unsafe fn from_pointer<'a>(pointer: *const c_void) -> Result<&'a Self> {
        // SAFETY: as the caller says.
        unsafe { pointer.cast::<Self>().as_ref() }
            .ok_or_else(|| Error::argument("an object is a null pointer"))
    }

    /// As [`Handle::from_pointer`], to change it.
    ///
    /// # Safety
    /// As [`Handle::from_pointer`], and nothing else refers to the handle meanwhile.
    pub unsafe fn from_pointer_mut<'a>(pointer: *mut c_void) -> Result<&'a mut Self> {
        // SAFETY: as the caller says.
        unsafe { pointer.cast::<Self>().as_mut() }
            .ok_or_else(|| Error::argument("an object is a null pointer"))
    }

    /// Takes a handle back for good.
    ///
    /// # Safety
    /// As [`Handle::from_pointer`], and the pointer is not used again.
    pub unsafe fn take(pointer: *mut c_void) -> Result<Box<Self>> {
        if pointer.is_null() {
            return Err(Error::argument("an object is a null pointer"));
        }
        // SAFETY: not null, and as the caller says.
        Ok(unsafe { Box::from_raw(pointer.cast()) })
    }
}

/// A file handle that lives as long as its session, for datatypes that are located in the file.
pub struct Anchor(*mut Handle);

// SAFETY: the handle behind it is only read, and a `Weak` may be read from any thread.
unsafe impl Send for Anchor {}
// SAFETY: as above.
unsafe impl Sync for Anchor {}

impl Anchor {
    /// The anchor of a session that is being made.
    pub fn new(session: Weak<Session>) -> Self {
        Self(Box::into_raw(Box::new(Handle::Anchor(session))))
    }

    /// What libhdf5 takes as the file object.
    pub fn pointer(&self) -> *mut c_void {
        self.0.cast()
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        // SAFETY: made in `new`, freed once; the session closes its located types before it drops this.
        drop(unsafe { Box::from_raw(self.0) });
    }
}

impl Library {
    /// Gives an object an identifier of its own, for the callbacks of an application that iterates. The object
    /// is closed with the identifier.
    pub fn register(self, handle: Handle) -> Result<super::ids::Id> {
        use h5lake_plugin_abi::bindings as sys;
        let kind = match &handle {
            Handle::Anchor(_) | Handle::File(_) | Handle::Closing(_) => sys::H5I_FILE,
            Handle::Group(_) => sys::H5I_GROUP,
            Handle::Dataset(_) => sys::H5I_DATASET,
            Handle::Attribute(_) => sys::H5I_ATTR,
            Handle::Datatype(_) => sys::H5I_DATATYPE,
            // Native code registers these itself.
            Handle::Native(_) => sys::H5I_BADID,
        };
        let pointer = handle.into_pointer();
        // SAFETY: the pointer is an object of the connector that is being called.
        let id = unsafe { (self.table().H5VLwrap_register)(pointer, kind) };
        let registered = super::ids::Id::from_call(self, id, "H5VLwrap_register");
        if registered.is_err() {
            // SAFETY: libhdf5 did not take it.
            drop(unsafe { Handle::take(pointer) });
        }
        registered
    }
}
