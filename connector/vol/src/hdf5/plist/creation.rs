//! The properties of creation lists that the connector needs: reading each one is a call of the library. Most programs
//! create objects with the library's own default lists; their properties never change and are cached.

use std::sync::{Arc, OnceLock};

use h5lake_container::{AllocTime, CreationOrder, FillTime, Filter, Layout};
use h5lake_plugin_abi::MAX_LIBRARIES as SLOTS;

use crate::error::Result;
use crate::hdf5::datatype::check;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::plist::FillDefined;

/// The properties of the creation list of any object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectCreation {
    /// Says whether the creation order of attributes is tracked.
    pub attribute_order: CreationOrder,
    /// True if times are tracked.
    pub track_times: bool,
}

/// The properties of a group creation list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupCreation {
    /// The properties that any object has.
    pub object: ObjectCreation,
    /// Says whether the creation order of links is tracked.
    pub link_order: CreationOrder,
}

/// The properties of a dataset creation list.
#[derive(Debug, Clone)]
pub struct DatasetCreation {
    /// The properties that any object has.
    pub object: ObjectCreation,
    /// The storage layout of the elements.
    pub layout: Layout,
    /// Says whether a fill value is defined, and whether the program or the library defined it.
    pub fill_defined: FillDefined,
    /// The time at which the fill value is written.
    pub fill_time: FillTime,
    /// The time at which space is allocated.
    pub allocation_time: AllocTime,
    /// The filters, as the program gave them.
    pub filters: Vec<Filter>,
    /// True if chunks at the edges are left unfiltered.
    pub unfiltered_edges: bool,
}

static DATASETS: [OnceLock<Arc<DatasetCreation>>; SLOTS] = [const { OnceLock::new() }; SLOTS];
static GROUPS: [OnceLock<GroupCreation>; SLOTS] = [const { OnceLock::new() }; SLOTS];

impl Library {
    /// Reads the creation list of any object.
    ///
    /// # Errors
    /// If `list` is no such list.
    pub fn object_creation(self, list: Hid) -> Result<ObjectCreation> {
        let table = self.table();
        if list == table.H5P_LST_DATASET_CREATE_ID_g() {
            return Ok(self.dataset_creation(list)?.object);
        }
        if list == table.H5P_LST_GROUP_CREATE_ID_g() {
            return Ok(self.group_creation(list)?.object);
        }
        self.read_object_creation(list)
    }

    fn read_object_creation(self, list: Hid) -> Result<ObjectCreation> {
        Ok(ObjectCreation {
            attribute_order: self.attribute_order(list)?,
            track_times: self.tracks_times(list)?,
        })
    }

    /// Reads a group creation list.
    ///
    /// # Errors
    /// If `list` is no such list.
    pub fn group_creation(self, list: Hid) -> Result<GroupCreation> {
        let read = || {
            Ok(GroupCreation { object: self.read_object_creation(list)?, link_order: self.link_order(list)? })
        };
        if list == self.table().H5P_LST_GROUP_CREATE_ID_g() { kept(&GROUPS, self, read) } else { read() }
    }

    /// Reads a dataset creation list.
    ///
    /// # Errors
    /// If `list` is no such list.
    pub fn dataset_creation(self, list: Hid) -> Result<Arc<DatasetCreation>> {
        let read = || {
            let layout = self.layout(list)?;
            let filters = self.filters(list)?;
            Ok(Arc::new(DatasetCreation {
                object: self.read_object_creation(list)?,
                fill_defined: self.fill_defined(list)?,
                fill_time: self.fill_time(list)?,
                allocation_time: self.allocation_time(list, &layout)?,
                // Filters without chunks are refused later, with a better error than the library's here.
                unfiltered_edges: !filters.is_empty()
                    && matches!(layout, Layout::Chunked { .. })
                    && self.has_unfiltered_edges(list)?,
                layout,
                filters,
            }))
        };
        if list == self.table().H5P_LST_DATASET_CREATE_ID_g() { kept(&DATASETS, self, read) } else { read() }
    }
}

impl Library {
    /// Copies the properties of groups from one creation list to another: the limits between compact and dense storage
    /// of attributes and of links, and the expected number of links and length of their names. A file creation list
    /// serves as a source, too: its properties describe the root group.
    ///
    /// # Errors
    /// If an identifier is no such list.
    pub fn copy_group_properties(self, from: Hid, to: Hid) -> Result<()> {
        let table = self.table();
        let (mut first, mut second) = (0, 0);
        // SAFETY: the answers' places outlive the calls; any value may be given.
        unsafe {
            let got = (table.H5Pget_attr_phase_change)(from, &mut first, &mut second);
            check(got, "H5Pget_attr_phase_change")?;
            let set = (table.H5Pset_attr_phase_change)(to, first, second);
            check(set, "H5Pset_attr_phase_change")?;
            let got = (table.H5Pget_link_phase_change)(from, &mut first, &mut second);
            check(got, "H5Pget_link_phase_change")?;
            let set = (table.H5Pset_link_phase_change)(to, first, second);
            check(set, "H5Pset_link_phase_change")?;
            let got = (table.H5Pget_est_link_info)(from, &mut first, &mut second);
            check(got, "H5Pget_est_link_info")?;
            let set = (table.H5Pset_est_link_info)(to, first, second);
            check(set, "H5Pset_est_link_info")
        }
    }
}

/// Returns the cached properties of a library's default list, or reads and caches them.
fn kept<T: Clone>(
    all: &[OnceLock<T>; SLOTS],
    library: Library,
    read: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let Some(place) = all.get(library.slot()) else { return read() };
    if let Some(known) = place.get() {
        return Ok(known.clone());
    }
    let found = read()?;
    Ok(place.get_or_init(|| found).clone())
}
