//! The statistic of `h5lake diff --stat`: the number of differences of each object, and a summary.

use serde_json::{Value, json};

use super::difference::{Difference, Unmatched, What};
use super::unmatched::Subtree;
use crate::Failure;
use crate::objects::shown;
use crate::output::{JsonArray, Sink};

/// The numbers of added, changed and removed items.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    added: u64,
    changed: u64,
    removed: u64,
}

/// The elements of a dataset that differ.
#[derive(Debug)]
struct Elements {
    differing: u64,
    of: u64,
    bytes: Option<u64>,
    /// The number of chunks that contain them, if it was requested, and whether more chunks contain them.
    chunks: Option<(usize, bool)>,
}

/// The differences of one object, or the link that only one of the containers has.
#[derive(Debug, Default)]
struct Object {
    path: String,
    /// The link, if it has no counterpart.
    unmatched: Option<(Side, String, Option<Subtree>)>,
    attributes: Counts,
    /// The last attribute that was counted as changed. An attribute can have several differences.
    attribute: Option<String>,
    properties: Vec<(&'static str, String, String)>,
    elements: Option<Elements>,
    unread: Vec<String>,
}

/// The container that has an unmatched link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    First,
    Second,
}

/// The sums over all objects.
#[derive(Debug, Default)]
struct Summary {
    objects: Counts,
    links: Counts,
    attributes: Counts,
    elements: u64,
    unread: u64,
}

/// A statistic that is written object by object.
pub(super) struct Stat {
    object: Object,
    summary: Summary,
    array: Option<JsonArray>,
}

impl Stat {
    /// Begins a statistic, as text or as a JSON object.
    pub(super) fn begin(out: &mut Sink, is_json: bool) -> Result<Self, Failure> {
        let array = match is_json {
            true => {
                out.text("{\"objects\":")?;
                Some(JsonArray::begin(out)?)
            }
            false => None,
        };
        Ok(Self { object: Object::default(), summary: Summary::default(), array })
    }

    /// Adds a difference, and writes the object before it if that is another object.
    pub(super) fn add(&mut self, out: &mut Sink, difference: Difference) -> Result<(), Failure> {
        if difference.path != self.object.path {
            self.write(out)?;
            self.object.path = difference.path;
        }
        self.object.add(difference.attribute, difference.what);
        Ok(())
    }

    /// Writes the last object and the summary.
    pub(super) fn end(mut self, out: &mut Sink) -> Result<(), Failure> {
        self.write(out)?;
        let summary = self.summary;
        match self.array {
            Some(array) => {
                array.end(out)?;
                out.line(&format!(",\"summary\":{}}}", summary.json()))
            }
            None => summary.text().map_or(Ok(()), |text| out.line(&text)),
        }
    }

    /// Writes the object to which the last differences belong.
    fn write(&mut self, out: &mut Sink) -> Result<(), Failure> {
        let object = std::mem::take(&mut self.object);
        if object.path.is_empty() {
            return Ok(());
        }
        self.summary.add(&object);
        match &mut self.array {
            Some(array) => array.add(out, &object.json()),
            None => out.line(&object.line()),
        }
    }
}

impl Object {
    fn add(&mut self, attribute: Option<String>, what: What) {
        match (attribute, what) {
            (_, What::Unread(why)) => self.unread.push(why),
            (Some(_), What::Added(_)) => self.attributes.added += 1,
            (Some(_), What::Removed(_)) => self.attributes.removed += 1,
            (Some(name), _) => {
                if self.attribute.as_ref() != Some(&name) {
                    self.attributes.changed += 1;
                    self.attribute = Some(name);
                }
            }
            (None, What::Added(Unmatched { text, objects })) => {
                self.unmatched = Some((Side::Second, text, objects));
            }
            (None, What::Removed(Unmatched { text, objects })) => {
                self.unmatched = Some((Side::First, text, objects));
            }
            (None, What::Changed { what, from, to }) => self.properties.push((what, from, to)),
            (None, What::Elements { differing, of, bytes, chunks, .. }) => {
                let chunks = chunks.map(|chunks| (chunks.at.len(), chunks.has_more));
                self.elements = Some(Elements { differing, of, bytes, chunks });
            }
        }
    }

    /// Returns whether the link differs, and not the objects that it leads to.
    fn has_other_link(&self) -> bool {
        self.properties.iter().any(|(what, ..)| *what == "link")
    }

    /// Returns whether only the reasons are known why something was not compared.
    fn is_unread(&self) -> bool {
        let Self { unmatched, attributes, properties, elements, .. } = self;
        unmatched.is_none() && *attributes == Counts::default() && properties.is_empty() && elements.is_none()
    }

    fn line(&self) -> String {
        let path = shown(self.path.as_bytes());
        if let Some((side, text, objects)) = &self.unmatched {
            let mark = if *side == Side::First { '-' } else { '+' };
            return format!("{mark} {path}  {}", unmatched_text(text, *objects));
        }
        let mark = if self.is_unread() { '?' } else { '!' };
        let properties = self.properties.iter().map(|(what, from, to)| format!("{what}: {from} -> {to}"));
        let elements = self.elements.iter().map(Elements::text);
        let unread = self.unread.iter().map(|why| format!("not compared: {why}"));
        let attributes = self.attributes.text("attribute", ["added", "changed", "removed"]);
        let parts: Vec<_> = attributes.into_iter().chain(properties).chain(elements).chain(unread).collect();
        format!("{mark} {path}  {}", parts.join("; "))
    }

    fn json(&self) -> Value {
        let change = match &self.unmatched {
            Some((Side::Second, _, Some(_))) => "created",
            Some((Side::First, _, Some(_))) => "deleted",
            Some((Side::Second, ..)) => "link added",
            Some((Side::First, ..)) => "link removed",
            None if self.is_unread() => "not compared",
            None if self.has_other_link() => "link changed",
            None => "changed",
        };
        let mut made = json!({ "path": self.path, "change": change });
        if let Some((_, text, objects)) = &self.unmatched {
            made["is"] = json!(text);
            if let Some(Subtree { objects, bytes }) = objects {
                made["objects"] = json!(objects);
                made["bytes"] = json!(bytes);
            }
            return made;
        }
        let property = |(what, from, to): &(&str, String, String)| {
            ((*what).to_owned(), json!({ "from": from, "to": to }))
        };
        made["attributes"] = self.attributes.json();
        made["properties"] = Value::Object(self.properties.iter().map(property).collect());
        made["elements"] = self.elements.as_ref().map(Elements::json).into();
        made["not_compared"] = json!(self.unread);
        made
    }
}

/// Describes a link without a counterpart, and the objects that it leads to.
fn unmatched_text(text: &str, objects: Option<Subtree>) -> String {
    let Some(Subtree { objects, bytes }) = objects else { return text.to_owned() };
    let bytes = if bytes > 0 { format!(", {} bytes", grouped(bytes)) } else { String::new() };
    match objects {
        1 => format!("{text}{bytes}"),
        _ => format!("{text}, {} objects{bytes}", grouped(objects)),
    }
}

impl Elements {
    fn text(&self) -> String {
        let Self { differing, of, bytes, chunks } = self;
        let bytes = bytes.map_or_else(String::new, |bytes| format!(", {} bytes", grouped(bytes)));
        let chunks = chunks.map_or_else(String::new, |(count, has_more)| {
            let more = if has_more { "more than " } else { "" };
            format!(", in {more}{} {}", grouped(count as u64), plural("chunk", count as u64))
        });
        let (verb, count) = (if *of == 1 { "differs" } else { "differ" }, grouped(*of));
        format!("{} of {count} {} {verb}{bytes}{chunks}", grouped(*differing), plural("element", *of))
    }

    fn json(&self) -> Value {
        let Self { differing, of, bytes, chunks } = self;
        let (count, has_more) = chunks.unzip();
        json!({ "differing": differing, "of": of, "bytes": bytes, "chunks": count, "more_chunks": has_more })
    }
}

impl Counts {
    /// Returns the counts that are not zero, separated by commas. `None` if all are zero.
    fn text(self, of: &str, names: [&str; 3]) -> Option<String> {
        let counts = [self.added, self.changed, self.removed].into_iter().zip(names);
        let mut texts: Vec<String> = Vec::new();
        for (count, name) in counts.filter(|(count, _)| *count > 0) {
            // The kind of the items stands in the first text only: `1 attribute added, 2 removed`.
            let of = if texts.is_empty() { format!(" {}", plural(of, count)) } else { String::new() };
            texts.push(format!("{}{of} {name}", grouped(count)));
        }
        (!texts.is_empty()).then(|| texts.join(", "))
    }

    fn json(self) -> Value {
        json!({ "added": self.added, "changed": self.changed, "removed": self.removed })
    }

    fn add(&mut self, other: Self) {
        self.added += other.added;
        self.changed += other.changed;
        self.removed += other.removed;
    }
}

impl Summary {
    fn add(&mut self, object: &Object) {
        match &object.unmatched {
            Some((Side::Second, _, Some(subtree))) => self.objects.added += subtree.objects,
            Some((Side::First, _, Some(subtree))) => self.objects.removed += subtree.objects,
            Some((Side::Second, ..)) => self.links.added += 1,
            Some((Side::First, ..)) => self.links.removed += 1,
            None if object.is_unread() => (),
            None if object.has_other_link() => self.links.changed += 1,
            None => self.objects.changed += 1,
        }
        self.attributes.add(object.attributes);
        self.elements = self.elements.saturating_add(object.elements.as_ref().map_or(0, |e| e.differing));
        self.unread += object.unread.len() as u64;
    }

    /// Returns the summary as one line: `3 objects changed, 1 created, 2 deleted, 4,000 elements differ`. `None` if nothing differs.
    fn text(&self) -> Option<String> {
        let Counts { added, changed, removed } = self.objects;
        // Changed objects come first, as in the summary of git.
        let objects = Counts { added: changed, changed: added, removed };
        let objects = objects.text("object", ["changed", "created", "deleted"]);
        let links = self.links.text("link", ["added", "changed", "removed"]);
        let attributes = self.attributes.text("attribute", ["added", "changed", "removed"]);
        let elements = (self.elements > 0).then(|| {
            let verb = if self.elements == 1 { "differs" } else { "differ" };
            format!("{} {} {verb}", grouped(self.elements), plural("element", self.elements))
        });
        let unread = (self.unread > 0).then(|| format!("{} not compared", grouped(self.unread)));
        let parts: Vec<_> = [objects, links, attributes, elements, unread].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    fn json(&self) -> Value {
        let Counts { added, changed, removed } = self.objects;
        json!({
            "changed": changed, "created": added, "deleted": removed, "links": self.links.json(),
            "attributes": self.attributes.json(), "elements": self.elements, "not_compared": self.unread,
        })
    }
}

fn plural(noun: &str, count: u64) -> String {
    if count == 1 { noun.to_owned() } else { format!("{noun}s") }
}

/// Returns a number with commas between groups of three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let begins_group = |at: usize| at > 0 && (digits.len() - at).is_multiple_of(3);
    let group = |(at, digit)| [Some(',').filter(|_| begins_group(at)), Some(digit)];
    digits.chars().enumerate().flat_map(group).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_commas() {
        let numbers = [0, 7, 999, 1000, 65_536, 1_234_567, u64::MAX];
        let wanted = ["0", "7", "999", "1,000", "65,536", "1,234,567", "18,446,744,073,709,551,615"];
        assert_eq!(numbers.map(grouped), wanted);
    }

    #[test]
    fn the_summary_has_only_differences() {
        assert_eq!(Summary::default().text(), None);
        let objects = Counts { added: 1, changed: 3, removed: 2 };
        let summary = Summary { objects, elements: 4000, ..Summary::default() };
        assert_eq!(summary.text().unwrap(), "3 objects changed, 1 created, 2 deleted, 4,000 elements differ");
        let links = Counts { removed: 1, ..Counts::default() };
        let summary = Summary { links, elements: 1, unread: 2, ..Summary::default() };
        assert_eq!(summary.text().unwrap(), "1 link removed, 1 element differs, 2 not compared");
    }
}
