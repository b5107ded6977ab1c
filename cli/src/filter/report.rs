//! Output of a search, as text or JSON. Each match is written as soon as it is found.

use h5lake_container::{Container, Dataset, InlineHeap};
use serde_json::json;

use super::Wanted;
use super::search::{Found, Read};
use crate::Failure;
use crate::elements::Type;
use crate::elements::value::Decoder;
use crate::ls::absolute;
use crate::objects::shape_json;
use crate::output::{Output, Sink};
use crate::walk::Paths;

/// A writer of matches.
pub struct Report<'a> {
    out: Sink,
    of: &'a Type,
    decoder: Decoder<'a>,
    is_json: bool,
    shows: bool,
    written: u64,
}

impl<'a> Report<'a> {
    pub fn begin(
        container: &'a Container,
        dataset: &Dataset,
        of: &'a Type,
        wanted: &Wanted<'_>,
        paths: &'a mut Paths,
    ) -> Result<Self, Failure> {
        let is_json = wanted.output == Output::Json;
        let mut out = Sink::new(is_json);
        if is_json {
            let path = json!(absolute(wanted.path));
            let (expression, shape) = (json!(wanted.expression), shape_json(&dataset.space()).0);
            let head = format!("{{\"path\":{path},\"expression\":{expression},\"type\":{}", of.json());
            out.text(&format!("{head},\"shape\":{shape},"))?;
            if !wanted.count {
                out.text("\"matches\":[")?;
            }
        }
        let decoder = Decoder::new(container, InlineHeap::default(), paths);
        Ok(Self { out, of, decoder, is_json, shows: !wanted.count, written: 0 })
    }

    pub fn end(mut self, read: &Read) -> Result<(), Failure> {
        let line = if self.is_json { self.summary_json(read) } else { summary(read) };
        self.out.line(&line)?;
        self.out.finish()
    }

    fn summary_json(&self, read: &Read) -> String {
        let chunks = read
            .chunks
            .map(|(all, chunks)| json!({ "written": all, "read": chunks, "searched": read.searched }));
        let bytes = json!({ "stored": read.bytes.0, "read": read.bytes.1 });
        let end = if !self.shows {
            ""
        } else if self.written == 0 {
            "],"
        } else {
            "\n],"
        };
        let fields = [
            ("count", json!(read.count)),
            ("complete", json!(read.is_complete)),
            ("chunks", json!(chunks)),
            ("bytes", bytes),
        ];
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{end}{}}}", fields.join(","))
    }
}

impl Found for Report<'_> {
    fn found(&mut self, at: &[u64], element: &[u8]) -> Result<(), Failure> {
        let item = self.decoder.decode(self.of, element)?;
        let text = match self.is_json {
            false => format!("{at:?}: {}\n", item.text()),
            true => {
                let before = if self.written == 0 { "\n" } else { ",\n" };
                format!("{before}{}", json!({ "index": at, "value": item.json() }))
            }
        };
        self.written += 1;
        self.out.text(&text)
    }
}

/// Returns the summary line: the number of matches, and the chunks and bytes that were read.
fn summary(read: &Read) -> String {
    let matches = match (read.count, read.is_complete) {
        (1, true) => "1 element matches".to_owned(),
        (n, true) => format!("{n} elements match"),
        (n, false) => format!("the first {n} elements that match; there are more"),
    };
    let (stored, bytes) = read.bytes;
    match read.chunks {
        Some((all, chunks)) if read.searched > 0 => format!(
            "{matches}; the store searched {} of {all} chunks, {chunks} were read, {bytes} of {stored} bytes came",
            read.searched
        ),
        Some((all, chunks)) => {
            format!("{matches}; {chunks} of {all} chunks were read, {bytes} of {stored} bytes")
        }
        None => format!("{matches}; {bytes} of {stored} bytes were read"),
    }
}
