//! Property lists.

use std::ffi::{c_char, c_uint, c_ulong};

use h5lake_container::encoded::{ListKind, check_property_list, without_defaults};
use h5lake_container::{AllocTime, CharSet, CreationOrder, FillTime, Filter, Layout};
use h5lake_ledger::locks::assert_none_held;
use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Result};
use crate::hdf5::datatype::check;
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};

pub mod connector;
mod copy;
pub mod creation;
mod dataset_access;
pub mod drivers;
pub mod external_link;
pub mod file;
pub mod transfer;
pub mod user;
pub mod virtual_sources;

/// The bytes behind an encoding that a library may write to by mistake.
const ENCODING_SLACK: usize = 64;

/// The property lists that HDF5 programs pass to h5lake, by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListClass {
    /// `H5P_ATTRIBUTE_CREATE`
    AttributeCreate,
    /// `H5P_DATASET_ACCESS`
    DatasetAccess,
    /// `H5P_DATASET_CREATE`
    DatasetCreate,
    /// `H5P_DATATYPE_CREATE`
    DatatypeCreate,
    /// `H5P_FILE_CREATE`
    FileCreate,
    /// `H5P_GROUP_CREATE`
    GroupCreate,
}

impl ListClass {
    /// Returns the class in encodings; `None` for classes that are never stored.
    fn encoded(self) -> Option<ListKind> {
        match self {
            Self::AttributeCreate => Some(ListKind::Attribute),
            Self::DatasetCreate => Some(ListKind::Dataset),
            Self::DatatypeCreate => Some(ListKind::Datatype),
            Self::FileCreate => Some(ListKind::File),
            Self::GroupCreate => Some(ListKind::Group),
            Self::DatasetAccess => None,
        }
    }
}

/// A file access list's file driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// The library's default: the program chose none.
    Default,
    /// One of MPI's drivers.
    Mpi,
    /// Any other driver: an explicit choice of storage.
    Explicit,
}

/// A property list that is copied before it is changed: making and closing a copy takes longer than everything else
/// that is done with most lists.
#[derive(Debug)]
pub struct ListOnWrite {
    library: Library,
    given: Hid,
    own: Option<Id>,
}

impl ListOnWrite {
    /// Takes the given list.
    pub fn new(library: Library, given: Hid) -> Self {
        Self { library, given, own: None }
    }

    /// Returns the list, for reading.
    pub fn get(&self) -> Hid {
        self.own.as_ref().map_or(self.given, Id::get)
    }

    /// Returns a copy of the list, for changing.
    ///
    /// # Errors
    /// If the library cannot copy the list.
    pub fn for_change(&mut self) -> Result<Hid> {
        let own = match self.own.take() {
            Some(own) => own,
            None => self.library.copy_list(self.given)?,
        };
        Ok(self.own.insert(own).get())
    }
}

/// How a dataset's fill value is defined (`H5D_fill_value_t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FillDefined {
    /// The fill value is undefined.
    Undefined,
    /// The library's default: zeros.
    Default,
    /// The application's fill value.
    User,
}

impl Library {
    /// Makes a list of a class with all defaults.
    pub fn default_list(self, class: ListClass) -> Result<Id> {
        let table = self.table();
        let class = match class {
            ListClass::AttributeCreate => table.H5P_CLS_ATTRIBUTE_CREATE_ID_g(),
            ListClass::DatasetAccess => table.H5P_CLS_DATASET_ACCESS_ID_g(),
            ListClass::DatasetCreate => table.H5P_CLS_DATASET_CREATE_ID_g(),
            ListClass::DatatypeCreate => table.H5P_CLS_DATATYPE_CREATE_ID_g(),
            ListClass::FileCreate => table.H5P_CLS_FILE_CREATE_ID_g(),
            ListClass::GroupCreate => table.H5P_CLS_GROUP_CREATE_ID_g(),
        };
        // SAFETY: the class is the library's own.
        Id::from_call(self, unsafe { (table.H5Pcreate)(class) }, "H5Pcreate")
    }

    /// Makes a copy of a property list.
    pub fn copy_list(self, id: Hid) -> Result<Id> {
        assert_none_held("functions of a property list");
        // SAFETY: any value may be given; a bad one is an error.
        Id::from_call(self, unsafe { (self.table().H5Pcopy)(id) }, "H5Pcopy")
    }

    /// Makes a copy of a dataset access list; returns `None` for the class's own default list, which must not be
    /// changed.
    pub fn copy_dataset_access(self, id: Hid) -> Result<Option<Id>> {
        let is_default = id == sys::H5P_DEFAULT || id == self.table().H5P_LST_DATASET_ACCESS_ID_g();
        if is_default { Ok(None) } else { self.copy_list(id).map(Some) }
    }

    /// Returns HDF5's portable encoding of a property list (`H5Pencode2`) without the properties that have HDF5's default
    /// values; empty if all properties have them.
    pub fn encode_list(self, id: Hid) -> Result<Vec<u8>> {
        if id == sys::H5P_DEFAULT || self.is_default_list(id) {
            return Ok(Vec::new());
        }
        let (table, mut size) = (self.table(), 0_usize);
        let access = table.H5P_LST_FILE_ACCESS_ID_g();
        // SAFETY: a null buffer requests the size.
        check(unsafe { (table.H5Pencode2)(id, std::ptr::null_mut(), &mut size, access) }, "H5Pencode2")?;
        // HDF5 2.0.0 reports two bytes too few if a chunk's dimensions need 64 bits, but writes them.
        let mut bytes = vec![0_u8; size.saturating_add(ENCODING_SLACK)];
        // SAFETY: the buffer has more than `size` bytes.
        check(unsafe { (table.H5Pencode2)(id, bytes.as_mut_ptr().cast(), &mut size, access) }, "H5Pencode2")?;
        bytes.truncate(size);
        // A list with properties of later versions of HDF5 stays whole.
        Ok(without_defaults(&bytes).unwrap_or(bytes))
    }

    fn is_default_list(self, id: Hid) -> bool {
        let table = self.table();
        [
            table.H5P_LST_DATASET_CREATE_ID_g(),
            table.H5P_LST_GROUP_CREATE_ID_g(),
            table.H5P_LST_ATTRIBUTE_CREATE_ID_g(),
            table.H5P_LST_DATATYPE_CREATE_ID_g(),
            table.H5P_LST_FILE_CREATE_ID_g(),
        ]
        .contains(&id)
    }

    /// Decodes a list encoded by [`Library::encode_list`].
    pub fn decode_list(self, encoded: &[u8], class: ListClass) -> Result<Id> {
        if encoded.is_empty() {
            return self.default_list(class);
        }
        let kind = class.encoded().ok_or_else(|| Error::argument("lists of this class are never stored"))?;
        check_property_list(encoded, kind).map_err(|why| Error::damaged_encoding("property list", why))?;
        // SAFETY: the encoding is a sound one and ends within its bytes: it was just checked.
        Id::from_call(self, unsafe { (self.table().H5Pdecode)(encoded.as_ptr().cast()) }, "H5Pdecode")
    }

    /// Returns whether missing groups on a path are to be made (`H5Pset_create_intermediate_group`).
    pub fn creates_intermediate_groups(self, link_creation: Hid) -> Result<bool> {
        if self.is_link_creation_default(link_creation) {
            return Ok(false);
        }
        let mut flag: c_uint = 0;
        // SAFETY: the answer's place outlives the call.
        let result = unsafe { (self.table().H5Pget_create_intermediate_group)(link_creation, &mut flag) };
        check(result, "H5Pget_create_intermediate_group")?;
        Ok(flag > 0)
    }

    /// Returns the character set of a name (of a link or an attribute).
    pub fn character_set(self, list: Hid) -> Result<CharSet> {
        let table = self.table();
        if self.is_link_creation_default(list) || list == table.H5P_LST_ATTRIBUTE_CREATE_ID_g() {
            return Ok(CharSet::Ascii);
        }
        let mut set = sys::H5T_CSET_ASCII;
        // SAFETY: the answer's place outlives the call.
        check(unsafe { (table.H5Pget_char_encoding)(list, &mut set) }, "H5Pget_char_encoding")?;
        Ok(if set == sys::H5T_CSET_UTF8 { CharSet::Utf8 } else { CharSet::Ascii })
    }

    fn is_link_creation_default(self, list: Hid) -> bool {
        list == sys::H5P_DEFAULT || list == self.table().H5P_LST_LINK_CREATE_ID_g()
    }

    /// Returns the number of soft links that may be followed (`H5Pset_nlinks`).
    pub fn maximum_links(self, link_access: Hid) -> Result<usize> {
        const DEFAULT: usize = 16;
        if self.is_default_link_access(link_access) {
            return Ok(DEFAULT);
        }
        let mut count = 0_usize;
        // SAFETY: the answer's place outlives the call.
        check(unsafe { (self.table().H5Pget_nlinks)(link_access, &mut count) }, "H5Pget_nlinks")?;
        Ok(count)
    }

    /// Returns whether a group tracks and indexes the creation order of its links.
    pub fn link_order(self, group_creation: Hid) -> Result<CreationOrder> {
        let mut flags: c_uint = 0;
        // SAFETY: the answer's place outlives the call.
        let result = unsafe { (self.table().H5Pget_link_creation_order)(group_creation, &mut flags) };
        check(result, "H5Pget_link_creation_order")?;
        Ok(creation_order(flags))
    }

    /// Returns whether an object tracks and indexes the creation order of its attributes.
    pub fn attribute_order(self, object_creation: Hid) -> Result<CreationOrder> {
        let mut flags: c_uint = 0;
        // SAFETY: the answer's place outlives the call.
        let result = unsafe { (self.table().H5Pget_attr_creation_order)(object_creation, &mut flags) };
        check(result, "H5Pget_attr_creation_order")?;
        Ok(creation_order(flags))
    }

    /// Returns whether an object tracks times.
    pub fn tracks_times(self, object_creation: Hid) -> Result<bool> {
        let mut track = false;
        check(
            // SAFETY: the answer's place outlives the call.
            unsafe { (self.table().H5Pget_obj_track_times)(object_creation, &mut track) },
            "H5Pget_obj_track_times",
        )?;
        Ok(track)
    }

    /// Returns the file driver that a list chooses.
    pub fn driver(self, file_access: Hid) -> Result<Driver> {
        let table = self.table();
        // SAFETY: any value may be given; a bad one is negative.
        let (chosen, default) = unsafe {
            ((table.H5Pget_driver)(file_access), (table.H5Pget_driver)(table.H5P_LST_FILE_ACCESS_ID_g()))
        };
        if chosen < 0 || default < 0 {
            return Err(Error::call("H5Pget_driver"));
        }
        if chosen == default || self.is_object_driver(chosen) {
            return Ok(Driver::Default);
        }
        let mut features: c_ulong = 0;
        // SAFETY: the answer's place outlives the call.
        check(unsafe { (table.H5FDdriver_query)(chosen, &mut features) }, "H5FDdriver_query")?;
        let mpi = features & c_ulong::from(sys::H5FD_FEAT_HAS_MPI) != 0;
        Ok(if mpi { Driver::Mpi } else { Driver::Explicit })
    }

    /// Returns two flags: whether the list requests file locking, and whether it ignores locks that the file system
    /// does not support.
    pub fn file_locking(self, file_access: Hid) -> Result<(bool, bool)> {
        let (mut locking, mut ignore) = (true, true);
        // SAFETY: the answers' places outlive the call.
        let result = unsafe { (self.table().H5Pget_file_locking)(file_access, &mut locking, &mut ignore) };
        check(result, "H5Pget_file_locking")?;
        Ok((locking, ignore))
    }

    /// Returns the flags of an object copy (`H5O_COPY_*`).
    pub fn copy_flags(self, copy: Hid) -> Result<u32> {
        let mut flags: c_uint = 0;
        // SAFETY: the answer's place outlives the call.
        check(unsafe { (self.table().H5Pget_copy_object)(copy, &mut flags) }, "H5Pget_copy_object")?;
        Ok(flags)
    }

    /// Returns the storage layout of a dataset creation list.
    pub fn layout(self, creation: Hid) -> Result<Layout> {
        if let Some(elsewhere) = self.layout_elsewhere(creation)? {
            return Ok(elsewhere);
        }
        let table = self.table();
        // SAFETY: any value may be given; a bad one is negative.
        match unsafe { (table.H5Pget_layout)(creation) } {
            sys::H5D_COMPACT => Ok(Layout::Compact),
            sys::H5D_CONTIGUOUS => Ok(Layout::Contiguous),
            sys::H5D_CHUNKED => {
                const MAXIMUM_RANK: usize = 32;
                let mut chunk = vec![0_u64; MAXIMUM_RANK];
                // SAFETY: the array has as many entries as HDF5 can have dimensions.
                let rank = unsafe { (table.H5Pget_chunk)(creation, MAXIMUM_RANK as i32, chunk.as_mut_ptr()) };
                chunk.truncate(usize::try_from(rank).map_err(|_| Error::call("H5Pget_chunk"))?);
                Ok(Layout::Chunked { chunk })
            }
            _ => Err(Error::call("H5Pget_layout")),
        }
    }

    /// Returns the time at which storage is allocated, in the layout of the list.
    pub fn allocation_time(self, creation: Hid, layout: &Layout) -> Result<AllocTime> {
        let mut time = sys::H5D_ALLOC_TIME_DEFAULT;
        // SAFETY: the answer's place outlives the call.
        check(unsafe { (self.table().H5Pget_alloc_time)(creation, &mut time) }, "H5Pget_alloc_time")?;
        Ok(match time {
            sys::H5D_ALLOC_TIME_EARLY => AllocTime::Early,
            sys::H5D_ALLOC_TIME_INCR => AllocTime::Incremental,
            sys::H5D_ALLOC_TIME_LATE => AllocTime::Late,
            // The default depends on the layout: compact early, contiguous late, chunked incremental.
            _ => match layout {
                Layout::Compact => AllocTime::Early,
                Layout::Contiguous | Layout::External { .. } => AllocTime::Late,
                _ => AllocTime::Incremental,
            },
        })
    }

    /// Returns the time at which fill values are written.
    pub fn fill_time(self, creation: Hid) -> Result<FillTime> {
        let mut time = sys::H5D_FILL_TIME_IFSET;
        // SAFETY: the answer's place outlives the call.
        check(unsafe { (self.table().H5Pget_fill_time)(creation, &mut time) }, "H5Pget_fill_time")?;
        Ok(match time {
            sys::H5D_FILL_TIME_ALLOC => FillTime::Alloc,
            sys::H5D_FILL_TIME_NEVER => FillTime::Never,
            _ => FillTime::IfSet,
        })
    }

    /// Makes a dataset creation list fill storage when it is allocated.
    pub fn set_fill_time_alloc(self, creation: Hid) -> Result<()> {
        // SAFETY: plain values; a bad one is an error.
        let result = unsafe { (self.table().H5Pset_fill_time)(creation, sys::H5D_FILL_TIME_ALLOC) };
        check(result, "H5Pset_fill_time")
    }

    /// Returns whether a fill value is defined, by the program or by the library.
    pub fn fill_defined(self, creation: Hid) -> Result<FillDefined> {
        let mut state = sys::H5D_FILL_VALUE_DEFAULT;
        check(
            // SAFETY: the answer's place outlives the call.
            unsafe { (self.table().H5Pfill_value_defined)(creation, &mut state) },
            "H5Pfill_value_defined",
        )?;
        Ok(match state {
            sys::H5D_FILL_VALUE_UNDEFINED => FillDefined::Undefined,
            sys::H5D_FILL_VALUE_USER_DEFINED => FillDefined::User,
            _ => FillDefined::Default,
        })
    }

    /// Returns the filter pipeline of a dataset creation list.
    pub fn filters(self, creation: Hid) -> Result<Vec<Filter>> {
        // SAFETY: any value may be given; a bad one is negative.
        let count = unsafe { (self.table().H5Pget_nfilters)(creation) };
        let count = u32::try_from(count).map_err(|_| Error::call("H5Pget_nfilters"))?;
        (0..count).map(|index| self.filter(creation, index)).collect()
    }

    fn filter(self, creation: Hid, index: u32) -> Result<Filter> {
        let mut values = vec![0_u32; 32];
        loop {
            let (mut flags, mut count, mut configuration) = (0_u32, values.len(), 0_u32);
            let mut name = [0 as c_char; 256];
            // SAFETY: the buffers have the sizes that are given along.
            let id = unsafe {
                (self.table().H5Pget_filter2)(
                    creation,
                    index,
                    &mut flags,
                    &mut count,
                    values.as_mut_ptr(),
                    name.len(),
                    name.as_mut_ptr(),
                    &mut configuration,
                )
            };
            if id < 0 {
                return Err(Error::call("H5Pget_filter2"));
            }
            if count > values.len() {
                values.resize(count, 0);
                continue;
            }
            values.truncate(count);
            let name = name.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
            return Ok(Filter { id, flags, name, client_data: values });
        }
    }
}

impl Library {
    /// Sets the creation orders that a group tracks, on a list that the application gets.
    pub fn set_orders(self, creation: Hid, links: CreationOrder, attributes: CreationOrder) -> Result<()> {
        let flags = |order: CreationOrder| {
            let tracked = if order.tracked { sys::H5P_CRT_ORDER_TRACKED } else { 0 };
            tracked | if order.indexed { sys::H5P_CRT_ORDER_INDEXED } else { 0 }
        };
        // SAFETY: any value may be given; a bad one is an error.
        unsafe {
            check(
                (self.table().H5Pset_link_creation_order)(creation, flags(links)),
                "H5Pset_link_creation_order",
            )?;
            check(
                (self.table().H5Pset_attr_creation_order)(creation, flags(attributes)),
                "H5Pset_attr_creation_order",
            )
        }
    }
}

impl Library {
    /// Sets whether an object tracks times, on a list that the application gets.
    pub fn set_track_times(self, creation: Hid, track: bool) -> Result<()> {
        // SAFETY: any value may be given; a bad one is an error.
        let result = unsafe { (self.table().H5Pset_obj_track_times)(creation, track) };
        check(result, "H5Pset_obj_track_times")
    }
}

fn creation_order(flags: u32) -> CreationOrder {
    CreationOrder {
        tracked: flags & sys::H5P_CRT_ORDER_TRACKED != 0,
        indexed: flags & sys::H5P_CRT_ORDER_INDEXED != 0,
    }
}

impl Library {
    /// Removes the fill value from a dataset creation list.
    pub fn clear_fill_value(self, creation: Hid) -> Result<()> {
        let table = self.table();
        // SAFETY: a null value makes the fill value undefined.
        let result =
            unsafe { (table.H5Pset_fill_value)(creation, table.H5T_NATIVE_INT_g(), std::ptr::null()) };
        check(result, "H5Pset_fill_value")
    }
}

impl Library {
    /// Refuses any list that is not an attribute access list. libhdf5 leaves this check to connectors for some lists.
    ///
    /// # Errors
    /// If `list` is no such list.
    pub fn check_attribute_access(self, list: Hid) -> Result<()> {
        let table = self.table();
        let (default, class) = (table.H5P_LST_ATTRIBUTE_ACCESS_ID_g(), table.H5P_CLS_ATTRIBUTE_ACCESS_ID_g());
        self.check_list(list, default, class, "not an attribute access property list")
    }

    /// Refuses any list that is neither a group access list nor a link access list; group access lists are a kind of
    /// link access lists.
    ///
    /// # Errors
    /// If `list` is no such list.
    pub fn check_group_access(self, list: Hid) -> Result<()> {
        let table = self.table();
        let (default, class) = (table.H5P_LST_GROUP_ACCESS_ID_g(), table.H5P_CLS_LINK_ACCESS_ID_g());
        self.check_list(list, default, class, "not a group access property list")
    }

    fn check_list(self, list: Hid, default: Hid, class: Hid, otherwise: &str) -> Result<()> {
        if list == sys::H5P_DEFAULT || list == default {
            return Ok(());
        }
        // SAFETY: any value may be given; a bad one is an error.
        let is_one = unsafe { (self.table().H5Pisa_class)(list, class) };
        if is_one > 0 { Ok(()) } else { Err(Error::argument(otherwise)) }
    }
}
