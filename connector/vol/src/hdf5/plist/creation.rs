//! What creation lists say, as far as the connector asks: each question is a call of the library. Most programs create
//! with the library's own default lists, whose answers never change and are kept.

use std::sync::{Arc, OnceLock};

use h5lake_container::{AllocTime, CreationOrder, FillTime, Filter, Layout};
use h5lake_plugin_abi::MAX_LIBRARIES as SLOTS;

use crate::error::Result;
use crate::hdf5::datatype::check;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::plist::FillDefined;

/// What the creation list of any object says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectCreation {
    /// Whether the order of attributes is kept.
    pub attribute_order: CreationOrder,
    /// Whether times are kept.
    pub track_times: bool,
}

/// What a group creation list says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupCreation {
    /// What it says of any object.
    pub object: ObjectCreation,
    /// Whether the order of links is kept.
    pub link_order: CreationOrder,
}

/// What a dataset creation list says.
#[derive(Debug, Clone)]
pub struct DatasetCreation {
    /// What it says of any object.
    pub object: ObjectCreation,
    /// How the elements are laid out.
    pub layout: Layout,
    /// Whether there is a fill value, and whose.
    pub fill_defined: FillDefined,
    /// When it is written.
    pub fill_time: FillTime,
    /// When room is taken.
    pub allocation_time: AllocTime,
    /// The filters, as they were given.
    pub filters: Vec<Filter>,
    /// Whether chunks at the edges are left unfiltered.
    pub unfiltered_edges: bool,
}

static DATASETS: [OnceLock<Arc<DatasetCreation>>; SLOTS] = [const { OnceLock::new() }; SLOTS];
static GROUPS: [OnceLock<GroupCreation>; SLOTS] = [const { OnceLock::new() }; SLOTS];

impl Library {
    /// What the creation list of any object says.
    ///
    /// # Errors
    /// If it is none.
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

    /// What a group creation list says.
    ///
    /// # Errors
    /// If it is none.
    pub fn group_creation(self, list: Hid) -> Result<GroupCreation> {
        let read = || {
            Ok(GroupCreation { object: self.read_object_creation(list)?, link_order: self.link_order(list)? })
        };
        if list == self.table().H5P_LST_GROUP_CREATE_ID_g() { kept(&GROUPS, self, read) } else { read() }
    }

    /// What a dataset creation list says.
    ///
    /// # Errors
    /// If it is none.
    pub fn dataset_creation(self, list: Hid) -> Result<Arc<DatasetCreation>> {
        let read = || {
            let layout = self.layout(list)?;
            let filters = self.filters(list)?;
            Ok(Arc::new(DatasetCreation {
                object: self.read_object_creation(list)?,
                fill_defined: self.fill_defined(list)?,
                fill_time: self.fill_time(list)?,
                allocation_time: self.allocation_time(list, &layout)?,
                // Filters without chunks are refused later, in better words than the library's here.
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
    /// Gives a group creation list what another one says of groups: when attributes and links are stored in another way, how many
    /// links are expected and how long their names are, and the order of links. A file creation list is one, too: it speaks of the root.
    ///
    /// # Errors
    /// What are no such lists.
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

/// What was read of a library's default list before, or is read now.
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
