//! The progress of a copy: the objects that are made so far, and the work that is pending.
//!
//! An object of the copy is closed as soon as it has a link, and is known by its token from then on. So memory grows
//! by some tens of bytes per object, while an open object takes kilobytes.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::c_ulong;
use std::rc::Rc;

use h5lake_plugin_abi::bindings as sys;

use crate::error::{Error, Result};
use crate::hdf5::id::Id;

/// An original, by the number of its file and its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ObjectKey {
    pub file: c_ulong,
    pub token: u64,
}

impl ObjectKey {
    /// Returns the key of the object that `info` describes.
    ///
    /// # Errors
    /// As for [`number_of`].
    pub fn of(info: &sys::H5O_info2_t) -> Result<Self> {
        Ok(Self { file: info.fileno, token: number_of(&info.token)? })
    }
}

/// Returns the number in a token. Native files and containers use eight bytes of a token, in the same order.
///
/// # Errors
/// For a longer token, which another connector made.
pub(super) fn number_of(token: &sys::H5O_token_t) -> Result<u64> {
    let [a, b, c, d, e, f, g, h, rest @ ..] = token.__data;
    if rest != [0; 8] {
        return Err(Error::unsupported("H5Ocopy of an object of another connector".to_owned()));
    }
    Ok(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
}

/// Returns the token with this number.
pub(super) fn token_of(number: u64) -> sys::H5O_token_t {
    let mut token = sys::H5O_token_t { __data: [0; 16] };
    token.__data[..8].copy_from_slice(&number.to_le_bytes());
    token
}

/// An open object of the copy.
pub(super) struct OpenCopy {
    pub id: Rc<Id>,
    pub token: u64,
}

/// A group with links that are still to be copied.
#[derive(Debug, Clone, Copy)]
pub(super) struct PendingGroup {
    pub original: ObjectKey,
    /// The token of the copy.
    pub copy: u64,
    pub depth: u32,
    /// The path by which the copy reached the group.
    pub path: PathNumber,
}

/// The part of an object that is copied after all objects have been made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The elements of a dataset.
    Elements,
    /// The values of attributes that hold references.
    References,
}

/// The objects that a copy has made so far, and the work that is pending.
#[derive(Default)]
pub(super) struct Progress {
    files: BTreeMap<c_ulong, SourceFile>,
    /// Objects of the copy without a link, by their tokens. Closing them would delete them.
    unlinked: HashMap<u64, Rc<Id>>,
    groups: VecDeque<PendingGroup>,
    /// Copies to which references lead.
    pub referenced: Vec<Rc<Id>>,
    pub paths: Paths,
}

/// A file that contains originals.
#[derive(Default)]
struct SourceFile {
    /// An object of the file, which stays open while work on other objects of the file is pending.
    location: Option<Rc<Id>>,
    /// Tokens of copies by the tokens of their originals.
    copies: BTreeMap<u64, u64>,
    /// Originals with a part that is still to be copied.
    elements: VecDeque<u64>,
    references: VecDeque<u64>,
}

impl Progress {
    /// Returns the token of the copy of an object, if the copy was made.
    pub fn copy_of(&self, original: ObjectKey) -> Option<u64> {
        self.files.get(&original.file)?.copies.get(&original.token).copied()
    }

    /// Notes the copy of an object.
    pub fn add(&mut self, original: ObjectKey, copy: u64) {
        self.files.entry(original.file).or_default().copies.insert(original.token, copy);
    }

    /// Keeps a copy open until it has a link.
    pub fn keep_open(&mut self, copy: &OpenCopy) {
        self.unlinked.insert(copy.token, copy.id.clone());
    }

    /// Returns the copy with this token, if it is open because it has no link.
    pub fn open_copy(&self, token: u64) -> Option<Rc<Id>> {
        self.unlinked.get(&token).cloned()
    }

    /// Closes a copy, which has a link now.
    ///
    /// # Errors
    /// The errors of the close: then part of the copy is missing.
    pub fn close_linked(&mut self, copy: OpenCopy) -> Result<()> {
        self.unlinked.remove(&copy.token);
        Rc::into_inner(copy.id).map_or(Ok(()), Id::close)
    }

    /// Notes a group with links that are still to be copied. `open` is the original.
    ///
    /// # Errors
    /// The errors of the library.
    pub fn add_group(&mut self, group: PendingGroup, open: &Id) -> Result<()> {
        self.stay_at(group.original.file, open)?;
        self.groups.push_back(group);
        Ok(())
    }

    /// Returns the next group with links to be copied.
    pub fn next_group(&mut self) -> Option<PendingGroup> {
        self.groups.pop_front()
    }

    /// Notes that a part of an object is still to be copied. `open` is the original.
    ///
    /// # Errors
    /// The errors of the library.
    pub fn defer(&mut self, part: Part, original: ObjectKey, open: &Id) -> Result<()> {
        self.stay_at(original.file, open)?;
        let file = self.files.entry(original.file).or_default();
        match part {
            Part::Elements => file.elements.push_back(original.token),
            Part::References => file.references.push_back(original.token),
        }
        Ok(())
    }

    /// Returns the next object with a part that is still to be copied.
    pub fn next_deferred(&mut self) -> Option<(Part, ObjectKey)> {
        self.files.iter_mut().find_map(|(number, file)| {
            let key = |token| ObjectKey { file: *number, token };
            let references = file.references.pop_front().map(|token| (Part::References, key(token)));
            references.or_else(|| file.elements.pop_front().map(|token| (Part::Elements, key(token))))
        })
    }

    /// Returns an open object of a file for which work was pending.
    pub fn location(&self, file: c_ulong) -> Option<Rc<Id>> {
        self.files.get(&file)?.location.clone()
    }

    fn stay_at(&mut self, file: c_ulong, open: &Id) -> Result<()> {
        let location = &mut self.files.entry(file).or_default().location;
        if location.is_none() {
            *location = Some(Rc::new(open.library().share(open.get())?));
        }
        Ok(())
    }

    /// Closes the copies that have no link of their own.
    ///
    /// # Errors
    /// The error of the first copy that could not be closed: part of it is missing.
    pub fn close(self) -> Result<()> {
        let Self { unlinked, referenced, .. } = self;
        drop(referenced);
        unlinked.into_values().filter_map(Rc::into_inner).map(Id::close).fold(Ok(()), Result::and)
    }
}

/// The number of a path in [`Paths`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PathNumber(u32);

impl PathNumber {
    /// The path of the object at which a copy begins.
    pub const TOP: Self = Self(0);
}

/// Paths of groups, each as a name below another path.
#[derive(Default)]
pub(super) struct Paths {
    /// For each path: the path above it, and the end of its name in `names`.
    nodes: Vec<(u32, u32)>,
    names: Vec<u8>,
}

impl Paths {
    /// Notes a path: a name below another path. Beyond 4 GiB of names, paths are no longer distinguished.
    pub fn below(&mut self, above: PathNumber, name: &[u8]) -> PathNumber {
        let end = self.names.len() + name.len();
        let (Ok(number), Ok(end)) = (u32::try_from(self.nodes.len() + 1), u32::try_from(end)) else {
            return above;
        };
        self.names.extend_from_slice(name);
        self.nodes.push((above.0, end));
        PathNumber(number)
    }

    /// Returns the path with a slash before each name; empty for the top.
    pub fn path(&self, number: PathNumber) -> Vec<u8> {
        let (mut names, mut at) = (Vec::new(), number.0);
        while let Some(index) = at.checked_sub(1) {
            let index = index as usize;
            let Some((above, end)) = self.nodes.get(index).copied() else { break };
            let begin =
                index.checked_sub(1).and_then(|before| self.nodes.get(before)).map_or(0, |node| node.1);
            names.push(&self.names[begin as usize..end as usize]);
            at = above;
        }
        names.iter().rev().flat_map(|name| [b"/", *name].concat()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_by_their_numbers() {
        let mut paths = Paths::default();
        let a = paths.below(PathNumber::TOP, b"a");
        let b = paths.below(PathNumber::TOP, b"bc");
        let below = paths.below(a, b"d");
        let deeper = paths.below(below, b"e");
        assert_eq!(paths.path(PathNumber::TOP), b"");
        assert_eq!(paths.path(a), b"/a");
        assert_eq!(paths.path(b), b"/bc");
        assert_eq!(paths.path(deeper), b"/a/d/e");
    }

    #[test]
    fn tokens_have_eight_significant_bytes() {
        assert_eq!(number_of(&token_of(u64::MAX - 5)).unwrap(), u64::MAX - 5);
        let mut other = token_of(1);
        other.__data[8] = 1;
        assert!(number_of(&other).is_err());
    }

    #[test]
    fn deferred_parts_come_in_order_and_references_first() {
        let mut progress = Progress::default();
        let key = |token| ObjectKey { file: 7, token };
        progress.add(key(1), 11);
        let file = progress.files.entry(7).or_default();
        file.elements.extend([1, 2]);
        file.references.push_back(3);
        let order: Vec<_> = std::iter::from_fn(|| progress.next_deferred()).collect();
        assert_eq!(order, [(Part::References, key(3)), (Part::Elements, key(1)), (Part::Elements, key(2))]);
        assert_eq!(progress.copy_of(key(1)), Some(11));
        assert_eq!(progress.copy_of(ObjectKey { file: 8, token: 1 }), None);
    }
}
