//! Finds the HDF5 names of affected objects.

use super::VerifyFinding;
use super::cursor::{Cursor, LINKS};
use bytes::Bytes;
use h5lake_ledger::verify::{Finding, Item, Verifier};
use h5lake_records::ObjectId;
use h5lake_records::Result;
use h5lake_records::keys;
use h5lake_records::record::{AttributeRecord, HeaderRecord, LinkRecord};
use prost::Message;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

/// Maximum number of objects for which a path is searched; further objects are reported by id.
const MAX_NAMED: usize = 10_000;
/// Maximum depth of a path that is found.
const MAX_DEPTH: usize = 64;

/// The group and the name of one link to each object.
#[derive(Default)]
struct Parents {
    of: HashMap<u64, (u64, Vec<u8>)>,
}

impl Parents {
    /// Finds links that lead to these objects, and to the groups on the way, in one pass over all links per level.
    fn of(v: &Verifier, wanted: HashSet<u64>) -> Result<Self> {
        let mut parents = Self::default();
        let mut wanted: HashSet<u64> =
            wanted.into_iter().filter(|id| *id != ObjectId::ROOT.0).take(MAX_NAMED).collect();
        for _ in 0..MAX_DEPTH {
            if wanted.is_empty() {
                break;
            }
            let mut next = HashSet::new();
            let mut links = Cursor::new(v, &LINKS)?;
            while let Some(item) = links.take()? {
                let Item::Entry(key, value) = item else { continue };
                let Ok(LinkRecord { hard: Some(target), name, .. }) = LinkRecord::decode(value) else {
                    continue;
                };
                if !wanted.contains(&target) || parents.of.contains_key(&target) {
                    continue;
                }
                let Some(group) = keys::id(&key) else { continue };
                parents.of.insert(target, (group, keys::name(&key, &name).to_vec()));
                if group != ObjectId::ROOT.0 && !parents.of.contains_key(&group) {
                    next.insert(group);
                }
            }
            wanted = next;
        }
        Ok(parents)
    }

    /// Returns the path of an object, or a description without it.
    fn path(&self, id: u64) -> std::result::Result<String, String> {
        let (mut at, mut parts, mut steps) = (id, Vec::new(), 0);
        while at != ObjectId::ROOT.0 {
            let Some((group, name)) = self.of.get(&at).filter(|_| steps <= MAX_DEPTH) else {
                return Err(format!("object {id:#x}"));
            };
            parts.push(String::from_utf8_lossy(name).into_owned());
            (at, steps) = (*group, steps + 1);
        }
        parts.reverse();
        Ok(format!("/{}", parts.join("/")))
    }
}

/// Returns the keys of a finding.
fn keys_of(f: &Finding) -> impl Iterator<Item = &Bytes> {
    let range = f.keys.iter().flat_map(|(from, to)| std::iter::once(from).chain(to));
    f.key.iter().chain(range)
}

/// Adds the names of affected objects to findings.
pub(crate) fn named(v: &Verifier, list: Vec<Finding>) -> Result<Vec<VerifyFinding>> {
    let ids: HashSet<u64> =
        list.iter().flat_map(keys_of).filter_map(|key| keys::id(without_branch(key))).collect();
    let parents = Parents::of(v, ids)?;
    let mut chunks = HashMap::new();
    list.into_iter().map(|f| name(v, &parents, &mut chunks, f)).collect()
}

/// Returns the dimensions of a dataset's chunks, if it is chunked.
fn chunk_of<'c>(
    v: &Verifier,
    known: &'c mut HashMap<u64, Option<Vec<u64>>>,
    id: u64,
) -> Result<&'c Option<Vec<u64>>> {
    match known.entry(id) {
        Entry::Occupied(there) => Ok(there.into_mut()),
        Entry::Vacant(place) => {
            let header = v.value(&keys::of(keys::HEADER, id))?;
            let header = header.and_then(|value| HeaderRecord::decode(value).ok());
            Ok(place.insert(header.and_then(|h| h.dataset).filter(|d| d.layout == 2).map(|d| d.chunk)))
        }
    }
}

fn name(
    v: &Verifier,
    parents: &Parents,
    chunks: &mut HashMap<u64, Option<Vec<u64>>>,
    f: Finding,
) -> Result<VerifyFinding> {
    let (key, range) = (f.key.clone(), f.keys.clone());
    let mut found = VerifyFinding::unnamed(f);
    if let Some(key) = key {
        let id = keys::id(without_branch(&key)).filter(|_| key.len() >= 9);
        let path = id.map(|id| parents.path(id));
        found.path = path.clone().and_then(std::result::Result::ok);
        let object = path.map(|p| p.unwrap_or_else(|other| other)).unwrap_or_default();
        found.what = match key.first().copied().unwrap_or_default() {
            keys::BLOCK => {
                let coords = keys::coords(&key);
                match id.map(|id| chunk_of(v, chunks, id)).transpose()? {
                    Some(Some(chunk)) => {
                        let at: Vec<u64> =
                            coords.iter().zip(chunk).map(|(c, n)| c.saturating_mul(*n)).collect();
                        let what = format!("chunk {at:?} of {object}");
                        found.chunk = Some(at);
                        what
                    }
                    _ => format!("block {coords:?} of {object}"),
                }
            }
            keys::ATTRIBUTE => {
                let long =
                    v.value(&key)?.and_then(|value| AttributeRecord::decode(value).ok()).map(|a| a.name);
                let name = String::from_utf8_lossy(keys::name(&key, &long.unwrap_or_default())).into_owned();
                let what = format!("attribute {name} of {object}");
                found.attribute = Some(name);
                what
            }
            keys::LINK => {
                let name = String::from_utf8_lossy(keys::tail(&key)).into_owned();
                format!("link {name} in {object}")
            }
            keys::SEGMENT | keys::USAGE => format!("variable-length data of {object}"),
            keys::HEADER | keys::ORPHAN => object,
            keys::TAG => format!("the tag {}", String::from_utf8_lossy(key.get(1..).unwrap_or_default())),
            keys::ORIGIN => "the origin".into(),
            keys::BRANCH if id.is_some() => format!("{object} in {}", branch_of(&key)),
            keys::BRANCH => branch_of(&key),
            _ => "the container's record".into(),
        };
    } else if let Some((from, to)) = range {
        let end = |key: &Bytes| match (key.first(), keys::id(key)) {
            (Some(letter), Some(id)) => {
                let object = parents.path(id).unwrap_or_else(|other| other);
                format!("{} of {object}", kind_of(*letter))
            }
            (Some(letter), None) => format!("the {}", kind_of(*letter)),
            (None, _) => "the first entry".into(),
        };
        let to =
            to.as_ref().map_or_else(|| "the last entry".into(), |to| format!("what is before {}", end(to)));
        found.what = format!("all entries from {} to {to}", end(&from));
    }
    Ok(found)
}

/// Returns a key without the prefix of its branch, if it has one.
fn without_branch(key: &[u8]) -> &[u8] {
    // A zero byte ends the name of a branch. No record of a branch begins with one.
    let tail = key.strip_prefix(&[keys::BRANCH]);
    let end = tail.and_then(|tail| tail.iter().position(|byte| *byte == 0)).filter(|end| *end > 0);
    tail.zip(end).map_or(key, |(tail, end)| &tail[end + 1..])
}

/// Returns the branch to which an entry belongs.
fn branch_of(key: &[u8]) -> String {
    let name = key.get(1..).unwrap_or_default();
    let name =
        name.strip_prefix(&[0]).unwrap_or_else(|| name.split(|byte| *byte == 0).next().unwrap_or_default());
    format!("the branch {}", String::from_utf8_lossy(name))
}

/// Describes the entries of a letter.
fn kind_of(letter: u8) -> &'static str {
    match letter {
        keys::ATTRIBUTE => "attributes",
        keys::BLOCK => "elements",
        keys::SEGMENT | keys::USAGE => "variable-length data",
        keys::LINK => "links",
        keys::HEADER => "header",
        keys::ORPHAN => "mark",
        keys::TAG => "tags",
        keys::ORIGIN => "origin",
        keys::BRANCH => "branches",
        _ => "container's record",
    }
}
