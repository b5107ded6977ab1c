//! Attributes that define the meaning of a dataset's numbers: datasets that are joined must agree on them.

use std::ffi::{CStr, c_char};

use h5lake_plugin_abi::bindings as sys;

use super::CrossCopier;
use crate::error::Result;
use crate::hdf5::id::Id;
use crate::hdf5::library::Hid;

/// The attributes of the CF conventions and of netCDF's users' guide by which readers compute values, times and gaps.
const NAMES: [&CStr; 10] = [
    c"units",
    c"calendar",
    c"scale_factor",
    c"add_offset",
    c"_FillValue",
    c"missing_value",
    c"valid_min",
    c"valid_max",
    c"valid_range",
    c"_Unsigned",
];

/// The value of such an attribute.
enum Meaning {
    Text(Vec<u8>),
    Elements { datatype: Id, bytes: Vec<u8> },
}

/// The values of these attributes in a dataset, in their order.
pub(super) struct Meanings(Vec<Option<Meaning>>);

impl Meaning {
    fn is_same(&self, copier: &CrossCopier, other: &Self) -> Result<bool> {
        Ok(match (self, other) {
            (Self::Text(one), Self::Text(other)) => one == other,
            (Self::Elements { datatype: of, bytes }, Self::Elements { datatype, bytes: other_bytes }) => {
                bytes == other_bytes && copier.library.types_equal(of.get(), datatype.get())?
            }
            _ => false,
        })
    }
}

fn shown(meaning: &Option<Meaning>) -> String {
    match meaning {
        None => "none".to_owned(),
        Some(Meaning::Text(text)) => format!("'{}'", String::from_utf8_lossy(text)),
        Some(Meaning::Elements { .. }) => "another value".to_owned(),
    }
}

impl Meanings {
    pub(super) fn of(copier: &CrossCopier, dataset: Hid) -> Result<Self> {
        NAMES.iter().map(|name| copier.meaning(dataset, name)).collect::<Result<_>>().map(Self)
    }

    /// Describes the difference in the next file.
    pub(super) fn difference(&self, copier: &CrossCopier, next: &Self) -> Result<Option<String>> {
        for ((name, first), next) in NAMES.iter().zip(&self.0).zip(&next.0) {
            let is_same = match (first, next) {
                (None, None) => true,
                (Some(first), Some(next)) => first.is_same(copier, next)?,
                _ => false,
            };
            if !is_same {
                let (name, here, there) = (name.to_string_lossy(), shown(next), shown(first));
                return Ok(Some(format!(
                    "its attribute {name} is {here}, and in the first file {there}: the same numbers mean other things there. \
                     Leave the dataset out, or convert one of the files"
                )));
            }
        }
        Ok(None)
    }
}

impl CrossCopier {
    fn meaning(&self, dataset: Hid, name: &CStr) -> Result<Option<Meaning>> {
        if !self.has_attribute(dataset, name)? {
            return Ok(None);
        }
        let table = self.table();
        // SAFETY: the name is terminated; identifiers are checked by the library. A copy of a type outlives its file.
        let (attribute, datatype, space) = unsafe {
            let attribute = self.id((table.H5Aopen)(dataset, name.as_ptr(), sys::H5P_DEFAULT))?;
            let datatype = self.id((table.H5Aget_type)(attribute.get()))?;
            let datatype = self.id((table.H5Tcopy)(datatype.get()))?;
            let space = self.id((table.H5Aget_space)(attribute.get()))?;
            (attribute, datatype, space)
        };
        let (library, of) = (self.library, datatype.get());
        let mut buffer = self.attribute_value(&attribute, &datatype, &space)?;
        if buffer.is_empty() {
            return Ok(Some(Meaning::Elements { datatype, bytes: buffer }));
        }
        if library.is_variable_string(of)? {
            // SAFETY: the library has just put texts, or null, into the buffer; they are freed once.
            let text = unsafe {
                let text = texts(&buffer);
                library.reclaim(of, space.get(), &mut buffer);
                text
            };
            return Ok(Some(Meaning::Text(text)));
        }
        if library.type_class(of)? == sys::H5T_STRING.0 as u8 {
            let end = buffer.iter().rposition(|byte| !matches!(byte, 0 | b' ')).map_or(0, |last| last + 1);
            buffer.truncate(end);
            return Ok(Some(Meaning::Text(buffer)));
        }
        Ok(Some(Meaning::Elements { datatype, bytes: buffer }))
    }
}

/// Returns texts one behind the other, without blanks at their ends.
///
/// # Safety
/// The buffer holds pointers, each null or to a terminated text.
unsafe fn texts(buffer: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    for place in buffer.chunks_exact(size_of::<*const c_char>()) {
        // SAFETY: as the function says; the place has a pointer's size.
        let text = unsafe { place.as_ptr().cast::<*const c_char>().read_unaligned() };
        if !text.is_null() {
            // SAFETY: as the function says.
            all.extend_from_slice(unsafe { CStr::from_ptr(text) }.to_bytes().trim_ascii_end());
        }
    }
    all
}
