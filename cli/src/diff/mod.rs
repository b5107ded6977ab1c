//! `h5lake diff`: compares two containers, or two versions of one container.

mod chunks;
mod difference;
mod elsewhere;
mod report;
mod stat;
mod unmatched;
mod values;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use h5lake_connector::names::Place;
use h5lake_container::{
    Container, Dataspace, DifferingObjects, Error, ErrorKind, Link, LinkTarget, ObjectId, ObjectKind, Target,
};
use h5lake_ledger::Access;

use self::difference::{Difference, What};
use self::elsewhere::Elsewhere;
use self::report::Report;
use crate::Failure;
use crate::elements::type_of;
use crate::find::{find_version, open_at};
use crate::info::fill_text;
use crate::ls::{absolute, below};
use crate::objects::{DatasetFacts, kind_text, link_text, object, shape_json, shape_text};
use crate::output::Output;
use crate::walk::{Links, Paths, kind_of};

/// The maximum number of pairs of groups that are remembered to compare each pair only once.
const MAX_GROUPS: usize = 1 << 22;
/// The maximum number of differing objects that are found by comparing the maps of two versions. For more, all objects are compared.
const MAX_DIFFERING: usize = 1 << 20;
/// The maximum depth of nested groups, and the maximum length of their paths in bytes. Both bound the memory of a comparison.
const MAX_DEPTH: usize = 1024;
const MAX_PATH: usize = 64 << 10;

/// The arguments of `h5lake diff`.
pub struct Wanted<'a> {
    pub names: [&'a Path; 2],
    /// The path of the object at which the comparison begins.
    pub path: &'a str,
    /// The number of differing elements that are shown for each dataset and attribute.
    pub elements: usize,
    /// True if chunks with differing elements are listed.
    pub chunks: bool,
    /// True if layouts, filters and fill properties are compared, too.
    pub storage: bool,
    /// True if the differences of each object are counted instead of listed.
    pub stat: bool,
    pub output: Output,
}

/// A comparison of two containers.
struct Diff {
    both: [Arc<Container>; 2],
    /// True if both are versions of one container. Parts that are stored at the same location are then equal and need not be read.
    is_same_container: bool,
    /// The objects that can differ, and the groups above them. `None` if every object can differ.
    differing: Option<DifferingObjects>,
    elsewhere: Elsewhere,
    elements: usize,
    chunks: bool,
    storage: bool,
    paths: [Paths; 2],
    report: Report,
    /// The objects of each container that are counted already and can be reached again: the root, and objects with several hard links.
    counted: [HashSet<ObjectId>; 2],
    /// The number of compared bytes of elements, and the estimated total.
    compared: u64,
    about: u64,
}

fn is_same(a: &Target, b: &Target) -> bool {
    match (a, b) {
        (Target::File(a), Target::File(b)) => a == b,
        (Target::Objects { store: a, key, .. }, Target::Objects { store: b, key: other, .. }) => {
            key == other && a.place_of(key) == b.place_of(other)
        }
        _ => false,
    }
}

/// Compares two containers. Returns whether they are equal.
///
/// # Errors
///
/// Returns an error if a container cannot be opened, or if something could not be compared and everything else is equal.
pub fn run(wanted: &Wanted<'_>) -> Result<bool, Failure> {
    let [a, b] = wanted.names;
    let (first, second) = (find_version(a, Access::ReadOnly)?, find_version(b, Access::ReadOnly)?);
    let is_same_container = is_same(&first.0.target, &second.0.target);
    let elsewhere = Elsewhere::of([&first.0.target, &second.0.target]);
    let opened = |name, (place, options): (Place, _)| open_at(name, place, options);
    let both = [opened(a, first)?, opened(b, second)?];
    let ids = [object(&both[0], wanted.path)?, object(&both[1], wanted.path)?];
    let report = Report::begin(wanted.output, wanted.stat)?;
    let counted = both.each_ref().map(|container| HashSet::from([container.root()]));
    let Wanted { elements, chunks, storage, .. } = *wanted;
    let about = both[0].size()?.saturating_add(both[1].size()?);
    let differing = match is_same_container {
        true => both[0].differing_objects(&both[1], MAX_DIFFERING)?,
        false => None,
    };
    let mut diff = Diff {
        both,
        is_same_container,
        differing,
        elsewhere,
        elements,
        chunks,
        storage,
        paths: Default::default(),
        report,
        counted,
        compared: 0,
        about,
    };
    diff.all(&absolute(wanted.path), ids)?;
    let (count, unread) = diff.report.finish()?;
    if count == 0 && unread > 0 {
        return Err(format!("{unread} things could not be compared; nothing else differs").into());
    }
    Ok(count == 0)
}

/// The links with one name in the first and in the second group. At least one of them exists.
type Pair = [Option<Link>; 2];

/// Two groups that are being compared, with the next link of each group.
struct Level {
    path: String,
    links: [Links; 2],
    next: Pair,
}

impl Diff {
    fn tell(&mut self, path: &str, attribute: Option<&str>, what: What) -> Result<(), Failure> {
        let (path, attribute) = (path.to_owned(), attribute.map(str::to_owned));
        self.report.add(Difference { path, attribute, what })
    }

    fn changed(
        &mut self,
        path: &str,
        attribute: Option<&str>,
        what: &'static str,
        ab: [String; 2],
    ) -> Result<(), Failure> {
        let [from, to] = ab;
        self.tell(path, attribute, What::Changed { what, from, to })
    }

    fn changed_unless_equal(
        &mut self,
        path: &str,
        what: &'static str,
        ab: [String; 2],
    ) -> Result<(), Failure> {
        if ab[0] == ab[1] { Ok(()) } else { self.changed(path, None, what, ab) }
    }

    /// Compares two objects and all objects below them.
    fn all(&mut self, path: &str, ids: [ObjectId; 2]) -> Result<(), Failure> {
        let mut levels = Vec::new();
        if self.can_differ(ids) && self.objects(path, ids)? {
            levels.push(self.level(path.to_owned(), ids)?);
        }
        let mut seen = HashSet::from([ids]);
        while let Some(level) = levels.last_mut() {
            let Some((path, pair)) = Self::take(&self.both, level)? else {
                levels.pop();
                continue;
            };
            let Some(ids) = self.links(&path, &pair)? else { continue };
            // Several hard links can lead to the same pair, also back to a group above.
            if !self.can_differ(ids) || seen.contains(&ids) {
                continue;
            }
            // A statistic counts an object with several names once.
            if self.report.is_stat() && self.has_several_links(ids)? {
                seen.insert(ids);
            }
            if !self.objects(&path, ids)? {
                continue;
            }
            seen.insert(ids);
            if seen.len() > MAX_GROUPS || levels.len() >= MAX_DEPTH || path.len() > MAX_PATH {
                let why = "there are too many groups, or too many below one another; name this path to go on from it";
                self.tell(&path, None, What::Unread(why.into()))?;
                continue;
            }
            levels.push(self.level(path, ids)?);
        }
        Ok(())
    }

    /// Returns whether two objects, or objects below them, can differ.
    fn can_differ(&self, [a, b]: [ObjectId; 2]) -> bool {
        a != b || self.differing.as_ref().is_none_or(|differing| differing.contains(a))
    }

    fn level(&self, path: String, [a, b]: [ObjectId; 2]) -> Result<Level, Failure> {
        let mut links = [Links::of(a), Links::of(b)];
        let next = [links[0].next(&self.both[0])?, links[1].next(&self.both[1])?];
        Ok(Level { path, links, next })
    }

    /// Returns the links that come next by name, from one group or from both.
    fn take(both: &[Arc<Container>; 2], level: &mut Level) -> Result<Option<(String, Pair)>, Failure> {
        let name = match &level.next {
            [None, None] => return Ok(None),
            [Some(link), None] | [None, Some(link)] => link.name.clone(),
            [Some(a), Some(b)] => a.name.clone().min(b.name.clone()),
        };
        let mut taken = [None, None];
        for n in 0..2 {
            if level.next[n].as_ref().is_some_and(|link| link.name == name) {
                let following = level.links[n].next(&both[n])?;
                taken[n] = std::mem::replace(&mut level.next[n], following);
            }
        }
        Ok(Some((below(&level.path, &name), taken)))
    }

    /// Compares two links with the same name. Returns the objects if both are hard links.
    fn links(&mut self, path: &str, pair: &Pair) -> Result<Option<[ObjectId; 2]>, Failure> {
        let text = |n: usize, link: &Link| match link.target {
            LinkTarget::Hard(id) => crate::objects::object_text(&self.both[n], id, false),
            _ => Ok(link_text(&link.target)),
        };
        match pair {
            [Some(a), Some(b)] => match (&a.target, &b.target) {
                (LinkTarget::Hard(a), LinkTarget::Hard(b)) => return Ok(Some([*a, *b])),
                (one, other) if one == other => (),
                _ => {
                    let ab = [text(0, a)?, text(1, b)?];
                    self.changed(path, None, "link", ab)?;
                }
            },
            [Some(a), None] => {
                let unmatched = self.unmatched(0, a, text(0, a)?)?;
                self.tell(path, None, What::Removed(unmatched))?;
            }
            [None, Some(b)] => {
                let unmatched = self.unmatched(1, b, text(1, b)?)?;
                self.tell(path, None, What::Added(unmatched))?;
            }
            [None, None] => (),
        }
        Ok(None)
    }

    /// Compares two objects without the objects below them. Returns whether both are groups.
    fn objects(&mut self, path: &str, ids: [ObjectId; 2]) -> Result<bool, Failure> {
        let [a, b] = [kind_of(&self.both[0], ids[0])?, kind_of(&self.both[1], ids[1])?];
        let (Some(a), Some(b)) = (a, b) else {
            let why = "an object that a link leads to is not there; run 'h5lake verify'";
            self.tell(path, None, What::Unread(why.into()))?;
            return Ok(false);
        };
        if a != b {
            self.changed(path, None, "kind", [kind_text(a).into(), kind_text(b).into()])?;
            return Ok(false);
        }
        let compared = self.attributes(path, ids);
        self.report_if_damaged(path, compared)?;
        let compared = match a {
            ObjectKind::Group => return Ok(true),
            ObjectKind::Dataset => self.datasets(path, ids),
            ObjectKind::Datatype => self.types(path, ids),
        };
        self.report_if_damaged(path, compared)?;
        Ok(false)
    }

    /// Reports damage to an object as not compared, so that the comparison continues with the other objects.
    fn report_if_damaged(&mut self, path: &str, compared: Result<(), Failure>) -> Result<(), Failure> {
        let Err(error) = compared else { return Ok(()) };
        match error.downcast_ref::<Error>().map(Error::kind) {
            Some(ErrorKind::Corrupt | ErrorKind::OutOfRange) => {
                self.tell(path, None, What::Unread(error.to_string()))
            }
            _ => Err(error),
        }
    }

    fn types(&mut self, path: &str, ids: [ObjectId; 2]) -> Result<(), Failure> {
        let of = |n: usize| Ok::<_, Failure>(type_of(&*self.both[n].datatype(ids[n])?)?);
        let (a, b) = (of(0)?, of(1)?);
        if a == b { Ok(()) } else { self.changed(path, None, "type", [a.to_string(), b.to_string()]) }
    }

    /// Compares two shapes. Returns whether the elements can be compared.
    fn shapes(
        &mut self,
        path: &str,
        attribute: Option<&str>,
        a: &Dataspace,
        b: &Dataspace,
    ) -> Result<bool, Failure> {
        if shape_json(a) != shape_json(b) || matches!(a, Dataspace::Null) != matches!(b, Dataspace::Null) {
            self.changed(path, attribute, "shape", [shape_text(a), shape_text(b)])?;
        }
        Ok(a.dims() == b.dims() && matches!(a, Dataspace::Null) == matches!(b, Dataspace::Null))
    }

    fn datasets(&mut self, path: &str, ids: [ObjectId; 2]) -> Result<(), Failure> {
        let [a, b] = [self.both[0].dataset(ids[0])?, self.both[1].dataset(ids[1])?];
        let facts = |dataset| DatasetFacts::of(dataset);
        let (first, second) = (facts(&a)?, facts(&b)?);
        let mut is_comparable = self.shapes(path, None, &first.space, &second.space)?;
        if first.of != second.of {
            self.changed(path, None, "type", [first.type_text(), second.type_text()])?;
            is_comparable = false;
        }
        if self.storage {
            self.changed_unless_equal(path, "layout", [first.layout_text(), second.layout_text()])?;
            self.changed_unless_equal(path, "filters", [first.filters_text(), second.filters_text()])?;
            self.changed_unless_equal(path, "fill properties", [fill_text(a.fill()), fill_text(b.fill())])?;
        }
        if is_comparable { self.elements_of(path, [&a, &b]) } else { Ok(()) }
    }
}
