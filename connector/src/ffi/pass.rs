//! Objects of native files, handed through to the native connector call by call.
//!
//! A native file that is opened while this connector is chosen stays native in all its parts: only its
//! identifiers are ours. Behind each lies a [`NativeHandle`], and each callback that finds one makes the same
//! call to the native connector and returns what that returns, its error frames untouched.

use std::cell::Cell;
use std::ffi::c_void;
use std::sync::Arc;

use h5lake_container::ObjectKind;
use h5lake_plugin_abi::{Hdf5, bindings as sys};

use super::error_stack::{Answer, reported_once};
use super::guard::guard;
use super::handle::Handle;
use super::ids::KeptId;
use super::library::{Hid, Library};
use super::types::check;
use crate::error::{Error, Major, Minor, Result};

/// The native connector of one library.
pub struct NativeConnector {
    library: Library,
    id: KeptId,
}

impl NativeConnector {
    /// The native connector of `library`.
    pub fn of(library: Library) -> Result<Arc<Self>> {
        Ok(Arc::new(Self { library, id: library.native_connector()?.kept() }))
    }

    /// Its identifier.
    pub fn id(&self) -> Hid {
        self.id.get()
    }

    /// Makes a call of the native connector. If it fails, its frames are what is left on the error stack.
    pub(super) fn call<T: Answer>(&self, call: impl FnOnce(&'static Hdf5, Hid) -> T) -> T {
        reported_once(self.library, || call(self.library.table(), self.id()))
    }

    /// Whether identifiers of objects are open on exactly this native file object.
    ///
    /// # Safety
    /// `file` is a native file, open.
    unsafe fn has_open_objects(&self, file: *mut c_void) -> bool {
        const LOCAL_EXCEPT_FILES: u32 = 0x3e;
        let table = self.library.table();
        let mut count = 0_usize;
        // SAFETY: all-zero is a valid value of these plain structures; the file is native, as the caller says.
        unsafe {
            let mut arguments: sys::H5VL_file_get_args_t = std::mem::zeroed();
            arguments.op_type = sys::H5VL_FILE_GET_OBJ_COUNT;
            arguments.args.get_obj_count.types = LOCAL_EXCEPT_FILES;
            arguments.args.get_obj_count.count = &mut count;
            let transfer = table.H5P_LST_DATASET_XFER_ID_g();
            let answer =
                (table.H5VLfile_get)(file, self.id(), &mut arguments, transfer, std::ptr::null_mut());
            answer >= 0 && count > 0
        }
    }

    /// Boxes a native object that native code is about to give an identifier of our connector. A file that native
    /// code has just opened for itself (the target of an external link, a source of a virtual dataset) comes here
    /// too, to be kept inside that file with the *native* connector: it has no open objects yet and stays as it is.
    ///
    /// # Safety
    /// `object` is a native object of this library, of kind `kind`.
    pub(super) unsafe fn wrap(self: Arc<Self>, object: *mut c_void, kind: sys::H5I_type_t) -> *mut c_void {
        if UNWRAPPED.get() {
            return object;
        }
        // SAFETY: as the caller says.
        if kind == sys::H5I_FILE && !unsafe { self.has_open_objects(object) } {
            return object;
        }
        NativeHandle::boxed(self, object)
    }
}

thread_local! {
    /// Whether what is being registered is ours already.
    static UNWRAPPED: Cell<bool> = const { Cell::new(false) };
}

/// Runs a call that registers an object of ours in the context of a native one, in which it would be boxed again.
pub(super) fn unwrapped<T>(register: impl FnOnce() -> T) -> T {
    UNWRAPPED.set(true);
    let registered = register();
    UNWRAPPED.set(false);
    registered
}

/// An open object of a native file.
pub struct NativeHandle {
    connector: Arc<NativeConnector>,
    object: *mut c_void,
    kind: sys::H5I_type_t,
}

impl NativeHandle {
    /// Boxes a native object that nobody else closes, for libhdf5.
    pub(super) fn boxed(connector: Arc<NativeConnector>, object: *mut c_void) -> *mut c_void {
        Self::handle(connector, object).into_pointer()
    }

    /// The handle of a native object that nobody else closes.
    pub(super) fn handle(connector: Arc<NativeConnector>, object: *mut c_void) -> Handle {
        Self::of_kind(connector, object, sys::H5I_BADID)
    }

    /// As [`NativeHandle::handle`], of an object whose kind whoever gets it cannot know.
    pub(super) fn of_kind(
        connector: Arc<NativeConnector>,
        object: *mut c_void,
        kind: sys::H5I_type_t,
    ) -> Handle {
        Handle::Native(Self { connector, object, kind })
    }

    /// Whether it was said to be of this kind.
    pub fn is(&self, kind: ObjectKind) -> bool {
        self.kind
            == match kind {
                ObjectKind::Group => sys::H5I_GROUP,
                ObjectKind::Dataset => sys::H5I_DATASET,
                ObjectKind::Datatype => sys::H5I_DATATYPE,
            }
    }

    /// Closes an object that was not handed on.
    pub fn close(&self) {
        let kind = self.kind;
        self.call(|hdf5, object, connector| {
            let transfer = hdf5.H5P_LST_DATASET_XFER_ID_g();
            let close = match kind {
                sys::H5I_GROUP => hdf5.H5VLgroup_close,
                sys::H5I_DATASET => hdf5.H5VLdataset_close,
                sys::H5I_DATATYPE => hdf5.H5VLdatatype_close,
                _ => return,
            };
            // SAFETY: the object is native, open and of this kind.
            unsafe { close(object, connector, transfer, std::ptr::null_mut()) };
        });
    }

    /// What it is, if it was said when the handle was made.
    pub(super) fn kind(&self) -> sys::H5I_type_t {
        self.kind
    }

    /// The library the object belongs to.
    pub fn library(&self) -> Library {
        self.connector.library
    }

    /// The native connector.
    pub(super) fn connector(&self) -> Arc<NativeConnector> {
        self.connector.clone()
    }

    /// The native object itself.
    pub(super) fn object(&self) -> *mut c_void {
        self.object
    }

    /// Makes a call of the native connector on the object; what it answers is the answer. The handle may be gone
    /// after the call (a refreshed object is closed and opened again), so it is not looked at any more.
    pub(super) fn call<T: Answer>(&self, call: impl FnOnce(&'static Hdf5, *mut c_void, Hid) -> T) -> T {
        let (object, connector) = (self.object, self.connector());
        connector.call(|hdf5, id| call(hdf5, object, id))
    }

    /// As [`NativeHandle::call`], for calls that may call functions of the application: what these do is reported as it is
    /// natively, at the price that a failure of the call itself is reported twice.
    pub(super) fn call_back<T>(&self, call: impl FnOnce(&'static Hdf5, *mut c_void, Hid) -> T) -> T {
        call(self.connector.library.table(), self.object, self.connector.id())
    }

    /// Makes a call of the native connector that opens an object, and boxes it.
    pub(super) fn open(
        &self,
        call: impl FnOnce(&'static Hdf5, *mut c_void, Hid) -> *mut c_void,
    ) -> *mut c_void {
        let connector = self.connector();
        let opened = self.call(call);
        if opened.is_null() { opened } else { Self::boxed(connector, opened) }
    }
}

/// The native object behind a pointer of ours, if there is one.
///
/// # Safety
/// `object` is null or one of our handles, open.
pub(super) unsafe fn of<'a>(object: *const c_void) -> Option<&'a NativeHandle> {
    // SAFETY: as the caller says.
    match unsafe { object.cast::<Handle>().as_ref() } {
        Some(Handle::Native(native)) => Some(native),
        _ => None,
    }
}

/// Closes a native object by a call of the native connector. If the call fails the object stays open, and so does
/// the handle; while it runs native code may still unwrap the handle.
///
/// # Safety
/// `object` is one of our handles, and not used again if the call succeeds.
pub(super) unsafe fn close(
    object: *mut c_void,
    call: impl FnOnce(&'static Hdf5, *mut c_void, Hid) -> i32,
) -> Option<i32> {
    // SAFETY: as the caller says.
    let result = unsafe { of(object) }?.call(call);
    if result >= 0 {
        // SAFETY: the native object is closed; nobody has the handle any more.
        drop(unsafe { Handle::take(object) });
    }
    Some(result)
}

/// Two objects that one call names.
pub(super) enum Pair {
    /// Neither is native.
    Ours,
    /// Native both, or native and not given.
    Native(Arc<NativeConnector>, *mut c_void, *mut c_void),
    /// One is native and the other is in a container.
    Mixed(Library),
}

/// Looks at two objects, either of which may be null.
///
/// # Safety
/// Each is null or one of our handles, open.
pub(super) unsafe fn pair(first: *mut c_void, second: *mut c_void) -> Pair {
    // SAFETY: as the caller says.
    let (one, other) = unsafe { (of(first), of(second)) };
    let object = |native: Option<&NativeHandle>| native.map_or(std::ptr::null_mut(), NativeHandle::object);
    match one.or(other) {
        None => Pair::Ours,
        Some(native) if (one.is_none() && !first.is_null()) || (other.is_none() && !second.is_null()) => {
            Pair::Mixed(native.library())
        }
        Some(native) => Pair::Native(native.connector(), object(one), object(other)),
    }
}

/// What a call that names both a native file and a container is told.
pub(super) fn mixed(operation: &str) -> Error {
    Error::unsupported(format!("{operation} between a native HDF5 file and a h5lake container"))
}

/// What code for containers answers when it is given a native object.
pub fn not_a_container() -> Error {
    Error::new(Minor::BadType, "the object is in a native HDF5 file, not in a h5lake container")
}

impl NativeConnector {
    /// The class that the native connector has in this library, asked of one of its objects.
    ///
    /// # Safety
    /// `object` is a native object of this library.
    pub(super) unsafe fn class(&self, object: *mut c_void) -> Result<*const sys::H5VL_class_t> {
        let mut class = std::ptr::null();
        // SAFETY: the object is native; the answer's place outlives the call.
        let result = unsafe {
            (self.library.table().H5VLintrospect_get_conn_cls)(
                object,
                self.id(),
                sys::H5VL_GET_CONN_LVL_TERM,
                &mut class,
            )
        };
        check(result, "H5VLintrospect_get_conn_cls")?;
        if class.is_null() { Err(Error::call("H5VLintrospect_get_conn_cls")) } else { Ok(class) }
    }
}

/// The native datasets of a transfer that names several.
pub(super) struct Many {
    library: Library,
    connector: Option<Arc<NativeConnector>>,
    objects: Vec<*mut c_void>,
}

/// The native objects in an array of handles, or `None` if there are none.
///
/// # Safety
/// The array has `count` entries, each one of our handles, open.
pub(super) unsafe fn many(count: usize, handles: *mut *mut c_void) -> Option<Many> {
    // SAFETY: as the caller says.
    let natives = (0..count).map(|index| unsafe { of(*handles.add(index)) });
    let first = natives.clone().flatten().next()?;
    let objects: Vec<_> = natives.flatten().map(NativeHandle::object).collect();
    let connector = (objects.len() == count).then(|| first.connector());
    Some(Many { library: first.library(), connector, objects })
}

impl Many {
    /// Makes one call of the native connector on all of them. A call that names datasets of containers too is refused.
    pub(super) fn call(
        &mut self,
        operation: &str,
        class: Major,
        call: impl FnOnce(&'static Hdf5, Hid, *mut *mut c_void) -> i32,
    ) -> i32 {
        match &self.connector {
            Some(connector) => {
                connector.call(|hdf5, connector| call(hdf5, connector, self.objects.as_mut_ptr()))
            }
            None => guard(Some(self.library), "h5lake_dataset_transfer", class, -1, || Err(mixed(operation))),
        }
    }
}
