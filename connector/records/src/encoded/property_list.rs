//! Creation property lists as `H5Pencode2` encodes them: a version, the class, and each property's name and value.

use super::bytes::{Bytes, Checked};
use super::dataspace::dataspace;
use super::datatype::check_datatype;

/// The version of the encoding.
const ENCODING: u8 = 0;
/// HDF5's bound on the rank of a dataset.
const MAX_RANK: u8 = 32;
/// Maximum number of filters of a pipeline (`H5Z_MAX_NFILTERS`).
const MAX_FILTERS: u64 = 32;
/// The largest number of a filter (`H5Z_FILTER_MAX`).
const MAX_FILTER: u32 = 65_535;
/// Bytes of a filter's name in an encoding (`H5Z_COMMON_NAME_LEN`). A longer name is truncated, and has no NUL then.
const FILTER_NAME: usize = 12;
/// The name of the property with the filters.
const PIPELINE: &[u8] = b"pline";
/// The class of a layout that HDF5 2.0 writes if a chunk's dimensions need 64 bits. A version follows it.
const EXTENDED: u8 = 255;

/// The class of a creation property list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListKind {
    /// A file creation property list.
    File,
    /// A dataset creation property list.
    Dataset,
    /// A group creation property list.
    Group,
    /// A datatype creation property list.
    Datatype,
    /// An attribute creation property list.
    Attribute,
}

impl ListKind {
    /// Returns the class's number in encodings (`H5P_plist_type_t`).
    fn number(self) -> u8 {
        match self {
            Self::File => 3,
            Self::Dataset => 5,
            Self::Group => 9,
            Self::Datatype => 11,
            Self::Attribute => 14,
        }
    }

    fn numbered(number: u8) -> Option<Self> {
        [Self::File, Self::Dataset, Self::Group, Self::Datatype, Self::Attribute]
            .into_iter()
            .find(|kind| kind.number() == number)
    }

    /// Returns whether a list of this class has the properties of another class: file creation lists are also group
    /// creation lists.
    fn has_those_of(self, other: Self) -> bool {
        self == other || (self == Self::File && other == Self::Group)
    }
}

/// Checks the encoding of a creation property list of a class.
///
/// # Errors
/// The error in the encoding.
pub fn check_property_list(encoded: &[u8], kind: ListKind) -> Checked<()> {
    each_property(encoded, kind, &mut |_, _| Ok(()))
}

/// Returns the numbers of the filters in the encoding of a dataset creation list, in their order.
///
/// # Errors
/// The error in the encoding.
pub fn listed_filters(encoded: &[u8]) -> Checked<Vec<i32>> {
    let mut filters = Vec::new();
    each_property(encoded, ListKind::Dataset, &mut |name, property| {
        if name == PIPELINE {
            filters = filter_numbers(&mut Bytes::new(&property[name.len() + 1..]))?;
        }
        Ok(())
    })?;
    Ok(filters)
}

/// Properties with the values that every version of HDF5 gives a new list, as `H5Pencode2` writes them. `H5Pdecode` begins
/// with such a list, so a stored list need not contain them.
const DEFAULTS: [&[u8]; 7] = [
    b"efl\0\x01\0",
    b"pline\0\x04\x01\0",
    b"layout\0\x01",
    b"dset_oh_minimize\0\0",
    b"min dense attr\0\x04\x06\0\0\0",
    b"max compact attr\0\x04\x08\0\0\0",
    b"object header flags\0 ",
];

/// Returns the encoding of a list without the properties that have HDF5's default values; empty if none remains.
///
/// # Errors
/// The error in the encoding.
pub fn without_defaults(encoded: &[u8]) -> Checked<Vec<u8>> {
    let kind =
        encoded.get(1).and_then(|number| ListKind::numbered(*number)).ok_or("it is of an unknown class")?;
    let mut shorter = Vec::new();
    each_property(encoded, kind, &mut |_, property| {
        if !DEFAULTS.contains(&property) {
            shorter.extend_from_slice(property);
        }
        Ok(())
    })?;
    if shorter.is_empty() {
        return Ok(shorter);
    }
    Ok([&[ENCODING, kind.number()], &shorter[..], &[0]].concat())
}

/// Calls `visit` for each property with its name and all its bytes, which begin with the name.
pub(super) fn each_property<'a>(
    encoded: &'a [u8],
    kind: ListKind,
    visit: &mut dyn FnMut(&'a [u8], &'a [u8]) -> Checked<()>,
) -> Checked<()> {
    let mut bytes = Bytes::new(encoded);
    if bytes.u8()? != ENCODING {
        return Err("it has an unknown version");
    }
    if bytes.u8()? != kind.number() {
        return Err("it is that of a list of another class");
    }
    loop {
        let before = bytes.remaining();
        let name = bytes.name()?;
        if name.is_empty() {
            return Ok(());
        }
        property(&mut bytes, name, kind)?;
        visit(name, &before[..before.len() - bytes.remaining().len()])?;
    }
}

/// Checks the value of a property. Unknown properties are refused, because `H5Pdecode` has no lengths to skip them
/// either.
fn property(bytes: &mut Bytes<'_>, name: &[u8], kind: ListKind) -> Checked<()> {
    let value: Option<fn(&mut Bytes<'_>) -> Checked<()>> = match kind {
        ListKind::Attribute => of_attribute(name),
        _ => of_object(name)
            .or_else(|| of_dataset(name).filter(|_| kind.has_those_of(ListKind::Dataset)))
            .or_else(|| of_group(name).filter(|_| kind.has_those_of(ListKind::Group)))
            .or_else(|| of_file(name).filter(|_| kind.has_those_of(ListKind::File))),
    };
    value.ok_or(
        "it has a property that lists of its class do not have, or that only later versions of HDF5 know",
    )?(bytes)
}

type Value = fn(&mut Bytes<'_>) -> Checked<()>;

fn of_attribute(name: &[u8]) -> Option<Value> {
    match name {
        b"character_encoding" => Some(|b| at_most(b, 1)),
        _ => None,
    }
}

fn of_object(name: &[u8]) -> Option<Value> {
    Some(match name {
        b"max compact attr" | b"min dense attr" => |b| below(b, 1 << 16),
        b"object header flags" => |b| at_most(b, 0x3f),
        PIPELINE => |b| filter_numbers(b).map(drop),
        _ => return None,
    })
}

fn of_dataset(name: &[u8]) -> Option<Value> {
    Some(match name {
        b"layout" => layout,
        b"fill_value" => fill,
        b"alloc_time_state" => |b| at_most_unsigned(b, 1),
        b"efl" => external_files,
        b"dset_oh_minimize" => |b| at_most(b, 1),
        _ => return None,
    })
}

fn of_group(name: &[u8]) -> Option<Value> {
    Some(match name {
        b"group info" => |b| b.take(12).map(drop),
        b"link info" => |b| b.unsigned().map(drop),
        _ => return None,
    })
}

fn of_file(name: &[u8]) -> Option<Value> {
    Some(match name {
        b"free_space_threshold" => |b| b.sized_integer().map(drop),
        b"block_size" => user_block,
        b"file_space_page_size" => page_size,
        b"symbol_leaf" => |b| below(b, 1 << 15),
        b"btree_rank" => ranks,
        b"addr_byte_num" | b"obj_byte_num" => size_of_numbers,
        b"num_shmsg_indexes" => |b| at_most_unsigned(b, 8),
        b"shmsg_message_types" | b"shmsg_message_minsize" => |b| several(b, 8).map(drop),
        b"shmsg_list_max" | b"shmsg_btree_min" => |b| b.unsigned().map(drop),
        b"file_space_strategy" => |b| at_most(b, 3),
        b"free_space_persist" => |b| at_most(b, 1),
        _ => return None,
    })
}

const OUT_OF_RANGE: &str = "a property has a value that it cannot have";

fn at_most(bytes: &mut Bytes<'_>, most: u8) -> Checked<()> {
    if bytes.u8()? <= most { Ok(()) } else { Err(OUT_OF_RANGE) }
}

fn at_most_unsigned(bytes: &mut Bytes<'_>, most: u32) -> Checked<()> {
    if bytes.unsigned()? <= most { Ok(()) } else { Err(OUT_OF_RANGE) }
}

fn below(bytes: &mut Bytes<'_>, bound: u32) -> Checked<()> {
    if bytes.unsigned()? < bound { Ok(()) } else { Err(OUT_OF_RANGE) }
}

/// Reads the size of an unsigned integer, and `count` integers of that size.
fn several(bytes: &mut Bytes<'_>, count: usize) -> Checked<Vec<u32>> {
    if bytes.u8()? != 4 {
        return Err("an unsigned integer has another size than 4 bytes");
    }
    (0..count).map(|_| bytes.u32()).collect()
}

fn ranks(bytes: &mut Bytes<'_>) -> Checked<()> {
    let all = several(bytes, 2)?;
    if all.iter().all(|rank| (1..1 << 15).contains(rank)) { Ok(()) } else { Err(OUT_OF_RANGE) }
}

/// Checks the size of a user block: 0, or a power of two (`H5Pset_userblock`).
fn user_block(bytes: &mut Bytes<'_>) -> Checked<()> {
    let size = bytes.sized_integer()?;
    if size == 0 || (size >= 512 && size.is_power_of_two()) { Ok(()) } else { Err(OUT_OF_RANGE) }
}

/// Checks a page size as `H5Pset_file_space_page_size` does, because libhdf5 divides by it.
fn page_size(bytes: &mut Bytes<'_>) -> Checked<()> {
    if (512..=1 << 30).contains(&bytes.sized_integer()?) { Ok(()) } else { Err(OUT_OF_RANGE) }
}

fn size_of_numbers(bytes: &mut Bytes<'_>) -> Checked<()> {
    if matches!(bytes.u8()?, 2 | 4 | 8 | 16) { Ok(()) } else { Err(OUT_OF_RANGE) }
}

fn layout(bytes: &mut Bytes<'_>) -> Checked<()> {
    match bytes.u8()? {
        0 | 1 => Ok(()),
        2 => chunk(bytes, 4),
        3 => mappings(bytes),
        EXTENDED if (bytes.u8()?, bytes.u8()?) == (1, 2) => chunk(bytes, 8),
        _ => Err("a layout is of an unknown class"),
    }
}

/// Checks the dimensions of a chunk, each an integer of `width` bytes.
fn chunk(bytes: &mut Bytes<'_>, width: usize) -> Checked<()> {
    let rank = bytes.u8()?;
    if rank > MAX_RANK {
        return Err("a chunk has too many dimensions");
    }
    for _ in 0..rank {
        if bytes.integer(width)? == 0 {
            return Err("a chunk has no elements");
        }
    }
    Ok(())
}

/// Checks the sources of a virtual layout.
fn mappings(bytes: &mut Bytes<'_>) -> Checked<()> {
    let count = bytes.u64()?;
    // libhdf5 allocates memory by the count; each mapping takes more bytes than this.
    if count > bytes.remaining().len() as u64 / 32 {
        return Err("a virtual layout has more sources than bytes");
    }
    for _ in 0..count {
        bytes.name()?;
        bytes.name()?;
        dataspace(bytes)?;
        dataspace(bytes)?;
    }
    Ok(())
}

fn fill(bytes: &mut Bytes<'_>) -> Checked<()> {
    at_most(bytes, 3)?;
    at_most(bytes, 2)?;
    let size = bytes.u64()? as i64;
    let Ok(length @ 1..) = u64::try_from(size) else {
        return if size >= -1 { Ok(()) } else { Err(OUT_OF_RANGE) };
    };
    bytes.take_long(length)?;
    let length_of_type = bytes.sized_integer()?;
    let datatype = check_datatype(bytes.take_long(length_of_type)?)?;
    if u64::from(datatype.size) != length {
        return Err("a fill value has another size than its type");
    }
    if datatype.has_pointers {
        return Err("a fill value holds pointers of the program that stored it");
    }
    Ok(())
}

fn external_files(bytes: &mut Bytes<'_>) -> Checked<()> {
    for _ in 0..bytes.sized_integer()? {
        let length = bytes.sized_integer()?;
        let name = bytes.take_long(length)?;
        if name.iter().position(|b| *b == 0).is_none_or(|end| end + 1 != name.len()) {
            return Err("a name of an external file has another length than is said");
        }
        let (offset, _size) = (bytes.sized_integer()?, bytes.sized_integer()?);
        if i64::try_from(offset).is_err() {
            return Err(OUT_OF_RANGE);
        }
    }
    Ok(())
}

/// Reads the numbers of the filters of a pipeline.
fn filter_numbers(bytes: &mut Bytes<'_>) -> Checked<Vec<i32>> {
    if bytes.u8()? != 4 {
        return Err("an unsigned integer has another size than 4 bytes");
    }
    let count = bytes.sized_integer()?;
    if count > MAX_FILTERS {
        return Err("it has more filters than are possible");
    }
    let mut numbers = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let (id, flags) = (bytes.u32()?, bytes.u32()?);
        if id > MAX_FILTER || flags > 0xff {
            return Err("a filter has an impossible number or impossible flags");
        }
        numbers.push(id as i32);
        if bytes.u8()? != 0 {
            // libhdf5 copies the name up to the next NUL, however far that is, and drops the copy.
            if !bytes.remaining().contains(&0) {
                return Err("a filter's name has no end");
            }
            bytes.take(FILTER_NAME)?;
        }
        let values = bytes.sized_integer()?;
        let length = values.checked_mul(4).ok_or("a filter has more parameters than can be counted")?;
        bytes.take_long(length)?;
    }
    Ok(numbers)
}
