//! Converts between the types of the data model and their records.

use crate::ObjectId;
use crate::record::{
    DatasetRecord, DatatypeRecord, ExternalRecord, FilterRecord, LinkRecord, MappingRecord, SpaceRecord,
};
use crate::types::{
    AllocTime, CharSet, Dataspace, Datatype, ExternalFile, Fill, FillTime, FillValue, Filter, Layout, Link,
    LinkTarget, VirtualMapping, product,
};
use crate::{Error, Result, keys};

/// HDF5's bound on the rank (`H5S_MAX_RANK`).
pub const MAX_RANK: usize = 32;

/// Maximum bytes of an element: HDF5 stores the size in 32 bits.
pub const MAX_ELEMENT: u64 = u32::MAX as u64;

impl From<&Datatype> for DatatypeRecord {
    fn from(t: &Datatype) -> Self {
        Self {
            encoded: t.encoded.clone(),
            size: t.size,
            class: u32::from(t.class),
            has_heap: t.has_heap,
            has_references: t.has_references,
            committed: t.committed.map(|id| id.0),
        }
    }
}

impl TryFrom<DatatypeRecord> for Datatype {
    type Error = Error;

    fn try_from(r: DatatypeRecord) -> Result<Self> {
        let class = u8::try_from(r.class).map_err(|_| Error::corrupt("a type's class is no class"))?;
        if r.size == 0 || r.size > MAX_ELEMENT {
            return Err(Error::corrupt(format!("a type has {} bytes", r.size)));
        }
        Ok(Self {
            encoded: r.encoded,
            size: r.size,
            class,
            has_heap: r.has_heap,
            has_references: r.has_references,
            committed: r.committed.map(ObjectId),
        })
    }
}

/// Returns the type of a record, which must be present.
pub fn datatype(r: &Option<DatatypeRecord>) -> Result<Datatype> {
    r.clone().ok_or_else(|| Error::corrupt("a type is missing"))?.try_into()
}

impl From<&Dataspace> for SpaceRecord {
    fn from(s: &Dataspace) -> Self {
        match s {
            Dataspace::Null => Self::default(),
            Dataspace::Scalar => Self { rank: Some(0), ..Self::default() },
            Dataspace::Simple { dims, max } => Self {
                rank: Some(dims.len() as u32),
                dims: dims.clone(),
                max: max.iter().map(|m| m.wrapping_add(1)).collect(),
            },
        }
    }
}

/// Returns the shape of a record, which must be present.
pub fn space(r: &Option<SpaceRecord>) -> Result<Dataspace> {
    let r = r.as_ref().ok_or_else(|| Error::corrupt("a dataspace is missing"))?;
    let space = match r.rank {
        None => Dataspace::Null,
        Some(0) => Dataspace::Scalar,
        Some(_) => {
            Dataspace::Simple { dims: r.dims.clone(), max: r.max.iter().map(|m| m.wrapping_sub(1)).collect() }
        }
    };
    check_space(&space).map_err(|e| Error::corrupt(e.to_string()))?;
    Ok(space)
}

/// Refuses shapes that no dataspace can have.
pub fn check_space(s: &Dataspace) -> Result<()> {
    let Dataspace::Simple { dims, max } = s else { return Ok(()) };
    if dims.is_empty() || dims.len() > MAX_RANK || dims.len() != max.len() {
        return Err(Error::invalid(format!("a dataspace has rank {} and {} limits", dims.len(), max.len())));
    }
    if dims.iter().zip(max).any(|(d, m)| d > m) {
        return Err(Error::invalid(format!("the dimensions {dims:?} exceed their limits {max:?}")));
    }
    product(dims).map(drop)
}

impl DatasetRecord {
    /// Returns the layout.
    ///
    /// # Errors
    /// `Corrupt` for an unknown layout.
    pub fn layout(&self) -> Result<Layout> {
        Ok(match self.layout {
            0 => Layout::Compact,
            1 => Layout::Contiguous,
            2 => Layout::Chunked { chunk: self.chunk.clone() },
            3 => Layout::Virtual { mappings: self.mappings.iter().map(VirtualMapping::from).collect() },
            4 => Layout::External { files: self.external.iter().map(ExternalFile::from).collect() },
            n => return Err(Error::corrupt(format!("a dataset has the unknown layout {n}"))),
        })
    }

    /// Sets the layout.
    pub fn set_layout(&mut self, layout: &Layout) {
        self.layout = match layout {
            Layout::Compact => 0,
            Layout::Contiguous => 1,
            Layout::Chunked { chunk } => {
                self.chunk = chunk.clone();
                2
            }
            Layout::Virtual { mappings } => {
                self.mappings = mappings.iter().map(MappingRecord::from).collect();
                3
            }
            Layout::External { files } => {
                self.external = files.iter().map(ExternalRecord::from).collect();
                4
            }
        };
    }

    /// Returns the fill properties.
    ///
    /// # Errors
    /// `Corrupt` for an unknown status or time.
    pub fn fill(&self) -> Result<Fill> {
        let bad = |what| Error::corrupt(format!("a dataset has an unknown {what}"));
        Ok(Fill {
            value: match self.fill_status {
                0 => FillValue::Undefined,
                1 => FillValue::Default,
                2 => FillValue::User(self.fill_value.clone()),
                _ => return Err(bad("fill status")),
            },
            time: match self.fill_time {
                0 => FillTime::Alloc,
                1 => FillTime::Never,
                2 => FillTime::IfSet,
                _ => return Err(bad("fill time")),
            },
            allocate: match self.allocate {
                1 => AllocTime::Early,
                2 => AllocTime::Late,
                3 => AllocTime::Incremental,
                _ => return Err(bad("allocation time")),
            },
        })
    }

    /// Sets the fill properties.
    pub fn set_fill(&mut self, fill: &Fill) {
        self.fill_status = match &fill.value {
            FillValue::Undefined => 0,
            FillValue::Default => 1,
            FillValue::User(v) => {
                self.fill_value = v.clone();
                2
            }
        };
        self.fill_time = match fill.time {
            FillTime::Alloc => 0,
            FillTime::Never => 1,
            FillTime::IfSet => 2,
        };
        self.allocate = match fill.allocate {
            AllocTime::Early => 1,
            AllocTime::Late => 2,
            AllocTime::Incremental => 3,
        };
    }
}

impl From<&VirtualMapping> for MappingRecord {
    fn from(m: &VirtualMapping) -> Self {
        Self {
            file: m.file.clone(),
            dataset: m.dataset.clone(),
            source: m.source.clone(),
            place: m.place.clone(),
        }
    }
}

impl From<&MappingRecord> for VirtualMapping {
    fn from(r: &MappingRecord) -> Self {
        Self {
            file: r.file.clone(),
            dataset: r.dataset.clone(),
            source: r.source.clone(),
            place: r.place.clone(),
        }
    }
}

impl From<&ExternalFile> for ExternalRecord {
    fn from(f: &ExternalFile) -> Self {
        Self { name: f.name.clone(), offset: f.offset, size: f.size.wrapping_add(1) }
    }
}

impl From<&ExternalRecord> for ExternalFile {
    fn from(r: &ExternalRecord) -> Self {
        Self { name: r.name.clone(), offset: r.offset, size: r.size.wrapping_sub(1) }
    }
}

impl From<&Filter> for FilterRecord {
    fn from(f: &Filter) -> Self {
        Self { id: f.id, flags: f.flags, name: f.name.clone(), client_data: f.client_data.clone() }
    }
}

impl From<FilterRecord> for Filter {
    fn from(r: FilterRecord) -> Self {
        Self { id: r.id, flags: r.flags, name: r.name, client_data: r.client_data }
    }
}

impl LinkRecord {
    /// Creates the record of a link. It contains the name only if the name is too long for a key.
    pub fn new(name: &[u8], target: LinkTarget, creation_order: Option<i64>, cset: CharSet) -> Self {
        let name = keys::beside(name);
        let mut r = Self { creation_order, utf8: cset == CharSet::Utf8, name, ..Self::default() };
        match target {
            LinkTarget::Hard(id) => r.hard = Some(id.0),
            LinkTarget::Soft(path) => r.soft = Some(path),
            LinkTarget::External { file, path, flags } => {
                (r.file, r.data, r.flags) = (Some(file), path, flags);
            }
            LinkTarget::UserDefined { class, data } => (r.class, r.data) = (Some(class), data),
        }
        r
    }

    /// Returns the link, of which `name` is the name.
    ///
    /// # Errors
    /// `Corrupt` for a link without a target.
    pub fn link(self, name: &[u8]) -> Result<Link> {
        let target = if let Some(id) = self.hard {
            LinkTarget::Hard(ObjectId(id))
        } else if let Some(path) = self.soft {
            LinkTarget::Soft(path)
        } else if let Some(file) = self.file {
            LinkTarget::External { file, path: self.data, flags: self.flags }
        } else if let Some(class) = self.class {
            LinkTarget::UserDefined { class, data: self.data }
        } else {
            return Err(Error::corrupt(format!("the link {} leads nowhere", show(name))));
        };
        let cset = cset(self.utf8);
        Ok(Link { name: name.to_vec(), target, creation_order: self.creation_order, cset })
    }
}

/// Returns the character set for a flag.
pub fn cset(utf8: bool) -> CharSet {
    if utf8 { CharSet::Utf8 } else { CharSet::Ascii }
}

/// Formats a name for a message.
pub fn show(name: &[u8]) -> String {
    format!("'{}'", String::from_utf8_lossy(name))
}
