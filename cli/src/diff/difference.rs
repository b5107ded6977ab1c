//! A difference between two containers, as text and as JSON.

use serde_json::{Value, json};

use super::chunks::{DifferingChunks, position};
use super::unmatched::Subtree;
use crate::objects::shown;

/// A difference between the containers.
pub(super) struct Difference {
    pub(super) path: String,
    /// The name of the attribute that differs, or `None` if the object itself differs.
    pub(super) attribute: Option<String>,
    pub(super) what: What,
}

/// An object, a link or an attribute that only one of the containers has.
pub(super) struct Unmatched {
    /// Its description.
    pub(super) text: String,
    /// The objects at and below it. `None` if they are not counted, or if it is a name of an object that both containers have.
    pub(super) objects: Option<Subtree>,
}

pub(super) enum What {
    /// The second container has an object, a link or an attribute that the first does not have.
    Added(Unmatched),
    /// The first container has an object, a link or an attribute that the second does not have.
    Removed(Unmatched),
    /// A property differs, such as the kind, the shape, the type or the target of a link.
    Changed { what: &'static str, from: String, to: String },
    /// Elements differ.
    Elements {
        differing: u64,
        of: u64,
        /// The number of bytes of the differing elements, or `None` if the elements contain references or variable-length data.
        bytes: Option<u64>,
        first: Vec<(Vec<u64>, Value, Value)>,
        /// The chunks that contain the differing elements, if they are requested and the dataset has chunks.
        chunks: Option<DifferingChunks>,
    },
    /// The tool cannot compare something. Contains the reason.
    Unread(String),
}

impl Difference {
    pub(super) fn line(&self) -> String {
        let path = shown(self.path.as_bytes());
        let place = match &self.attribute {
            Some(name) => format!("{path} @{}", shown(name.as_bytes())),
            None => path,
        };
        match &self.what {
            What::Added(unmatched) => format!("+ {place}  {}", unmatched.text),
            What::Removed(unmatched) => format!("- {place}  {}", unmatched.text),
            What::Changed { what, from, to } => format!("! {place}  {what}: {from} -> {to}"),
            What::Unread(why) => format!("? {place}  not compared: {why}"),
            What::Elements { differing, of, first, chunks, .. } => {
                let first = first.iter().map(|(at, a, b)| format!("\n    {}  {a} -> {b}", position(at)));
                let first: String = first.collect();
                let chunks = chunks.as_ref().map_or_else(String::new, DifferingChunks::text);
                format!("! {place}  {differing} of {of} elements differ{chunks}{first}")
            }
        }
    }

    pub(super) fn json(&self) -> Value {
        let mut made = match &self.what {
            What::Added(unmatched) => json!({ "change": "added", "to": unmatched.text }),
            What::Removed(unmatched) => json!({ "change": "removed", "from": unmatched.text }),
            What::Changed { what, from, to } => json!({ "change": what, "from": from, "to": to }),
            What::Unread(why) => json!({ "change": "not compared", "why": why }),
            What::Elements { differing, of, first, chunks, .. } => {
                let one = |(at, a, b): &(Vec<u64>, Value, Value)| json!({ "at": at, "from": a, "to": b });
                let first: Value = first.iter().map(one).collect();
                let mut made =
                    json!({ "change": "elements", "differing": differing, "elements": of, "first": first });
                if let Some(chunks) = chunks {
                    made["chunks"] = json!(chunks.at);
                    made["more_chunks"] = json!(chunks.has_more);
                }
                made
            }
        };
        made["path"] = json!(self.path);
        made["attribute"] = json!(self.attribute);
        made
    }
}
