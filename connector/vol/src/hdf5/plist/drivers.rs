//! File drivers that lay out native files for large machines, by their names: containers do not use them.

use std::ffi::CStr;

use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Result};
use crate::hdf5::datatype::check;
use crate::hdf5::id::Id;
use crate::hdf5::library::{Hid, Library};
use crate::hdf5::saved_errors::silently;

/// Drivers that spread one native file over several, among the processes of an MPI program.
const SPREADING: [&CStr; 2] = [c"subfiling", c"ioc"];
/// Drivers that move elements between a file and the memory of graphics processors.
const OF_PROCESSORS: [&CStr; 1] = [c"gds"];

/// A driver that spreads one native file over several local ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpreadingDriver {
    /// Members of one size, with numbers in their names.
    Family,
    /// Metadata in one file, raw data in another.
    Split,
    /// A file for each kind of data.
    Multi,
}

impl Library {
    /// Returns the name of the driver of a file access list, if it spreads a file over several
    /// (`H5Pset_fapl_subfiling`).
    ///
    /// # Errors
    /// If the library cannot make a list for the comparison.
    pub fn spreading_driver(self, access: Hid) -> Result<Option<&'static str>> {
        self.driver_among(access, &SPREADING)
    }

    /// Returns the name of the driver of a file access list, if it reads and writes memory of graphics processors.
    ///
    /// # Errors
    /// As for [`spreading_driver`](Self::spreading_driver).
    pub fn processor_driver(self, access: Hid) -> Result<Option<&'static str>> {
        self.driver_among(access, &OF_PROCESSORS)
    }

    /// Makes a copy of a file access list with a driver that opens files like HDF5's tools do: members of any size,
    /// and names with the usual endings.
    ///
    /// # Errors
    /// If the library cannot make it, or was built without the driver.
    pub fn with_driver(self, access: Hid, driver: SpreadingDriver) -> Result<Id> {
        let (table, list, default) = (self.table(), self.copy_list(access)?, sys::H5P_DEFAULT);
        let of = list.get();
        // SAFETY: the list is open, the endings are terminated, and null pointers stand for default values.
        let set = unsafe {
            match driver {
                SpreadingDriver::Family => Some((table.H5Pset_fapl_family)(of, 0, default)),
                SpreadingDriver::Split => table
                    .H5Pset_fapl_split
                    .map(|set| set(of, c"-m.h5".as_ptr(), default, c"-r.h5".as_ptr(), default)),
                SpreadingDriver::Multi => {
                    let (map, lists, names, addresses) =
                        (std::ptr::null(), std::ptr::null(), std::ptr::null(), std::ptr::null());
                    table.H5Pset_fapl_multi.map(|set| set(of, map, lists, names, addresses, true))
                }
            }
        };
        let set =
            set.ok_or_else(|| Error::unsupported(format!("the file driver {driver:?} of this libhdf5")))?;
        check(set, "H5Pset_fapl")?;
        Ok(list)
    }

    fn driver_among(self, access: Hid, names: &[&'static CStr]) -> Result<Option<&'static str>> {
        let table = self.table();
        for name in names {
            // SAFETY: a terminated name. A driver that a list has is registered.
            if unsafe { (table.H5FDis_driver_registered_by_name)(name.as_ptr()) } <= 0 {
                continue;
            }
            // SAFETY: the class of file access lists.
            let list = unsafe { (table.H5Pcreate)(table.H5P_CLS_FILE_ACCESS_ID_g()) };
            let list = Id::from_call(self, list, "H5Pcreate")?;
            // SAFETY: a terminated name, no configuration; drivers that require one refuse. Any list may be given.
            let is_it = silently(self, || unsafe {
                (table.H5Pset_driver_by_name)(list.get(), name.as_ptr(), std::ptr::null()) >= 0
                    && (table.H5Pget_driver)(list.get()) == (table.H5Pget_driver)(access)
            });
            if is_it {
                return Ok(name.to_str().ok());
            }
        }
        Ok(None)
    }
}
