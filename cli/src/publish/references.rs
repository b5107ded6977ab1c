//! Files of references in fsspec's format, version 1. The JSON is written incrementally, and the file gets its name when it is complete.

use std::collections::BTreeSet;
use std::fs::{File, rename};
use std::io::{BufWriter, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::identity::Identities;
use crate::Failure;
use crate::convert::publish::folder_of;
use crate::hidden::TemporaryFolder;
use crate::output::Bar;

/// The maximum size of consolidated metadata. Longer metadata is left out, because it stays in memory until the end.
const MAX_CONSOLIDATED_BYTES: usize = 64 << 20;
/// The kind of the temporary folders of references.
pub const KIND: &str = "references";
/// The beginning of each file of references that this tool writes.
const BEGINNING: &str = "{\"version\":1,\"h5lake\":";

/// A writer of a file of references.
pub struct References {
    out: BufWriter<File>,
    unfinished: PathBuf,
    _temporaries: TemporaryFolder,
    target: PathBuf,
    is_first: bool,
    /// All metadata documents by their keys. With them, zarr-python can list groups in groups.
    consolidated: String,
    bar: Bar,
    /// The URLs that are referenced.
    urls: BTreeSet<String>,
    /// The number of bytes of the chunks so far.
    done: u64,
    /// The estimated number of bytes of all chunks.
    about: u64,
}

/// Encodes bytes as base64.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Checks that references may be written to a path.
///
/// # Errors
///
/// Returns an error if anything exists at the path, except a file of references that this tool wrote, because overwriting it could destroy
/// data.
pub fn check_target(target: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| format!("{}: {error}", target.display());
    let found = match target.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found.map_err(failed)?,
    };
    let mut head = Vec::new();
    if found.is_file() {
        let mut start = File::open(target).map_err(failed)?.take(BEGINNING.len() as u64);
        start.read_to_end(&mut head).map_err(failed)?;
    }
    if head != BEGINNING.as_bytes() {
        let text = "something is there that is no file of h5lake's references; name another file";
        return Err(format!("{}: {text}", target.display()).into());
    }
    Ok(())
}

impl References {
    /// Creates the file with the permissions `mode`. `shows` is the description of the container that the file contains. The bar shows how
    /// many of about `about` bytes were processed.
    pub fn begin(target: &Path, mode: u32, shows: &Value, about: u64, bar: Bar) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| format!("{}: {error}", target.display());
        target.file_name().ok_or_else(|| format!("{}: names no file", target.display()))?;
        let folder = folder_of(target);
        let temporaries = TemporaryFolder::make(&folder, KIND, target)?;
        let unfinished = temporaries.join("made.json");
        let mut options = File::options();
        let options = options.write(true).create_new(true).mode(mode);
        let out = BufWriter::new(options.open(&unfinished).map_err(failed)?);
        let (target, consolidated, urls) = (target.to_owned(), String::new(), BTreeSet::new());
        let mut made = Self {
            out,
            unfinished,
            _temporaries: temporaries,
            target,
            is_first: true,
            consolidated,
            bar,
            urls,
            done: 0,
            about,
        };
        made.text(&format!("{BEGINNING}{shows},\"refs\":{{"))?;
        Ok(made)
    }

    fn text(&mut self, text: &str) -> Result<(), Failure> {
        let written = self.out.write_all(text.as_bytes());
        Ok(written.map_err(|error| format!("{}: {error}", self.target.display()))?)
    }

    fn entry(&mut self, key: &str, value: &str) -> Result<(), Failure> {
        let comma = if std::mem::take(&mut self.is_first) { "\n" } else { ",\n" };
        self.text(&format!("{comma}{}:{value}", json!(key)))
    }

    /// Writes a metadata document. It is a string in the file, because attributes may be NaN, which JSON does not have.
    pub fn document(&mut self, key: &str, text: &str) -> Result<(), Failure> {
        if self.consolidated.len() <= MAX_CONSOLIDATED_BYTES {
            let comma = if self.consolidated.is_empty() { "" } else { "," };
            self.consolidated.push_str(&format!("{comma}{}:{text}", json!(key)));
        }
        self.entry(key, &json!(text).to_string())
    }

    fn show(&mut self, length: u64) {
        self.done = self.done.saturating_add(length);
        self.bar.show(self.done, self.about);
    }

    /// Writes a chunk with its content.
    pub fn chunk(&mut self, key: &str, bytes: &[u8]) -> Result<(), Failure> {
        self.show(bytes.len() as u64);
        self.entry(key, &format!("\"base64:{}\"", base64(bytes)))
    }

    /// Writes a reference to a chunk.
    pub fn reference(&mut self, key: &str, url: &str, offset: u64, length: u64) -> Result<(), Failure> {
        self.show(length);
        if !self.urls.contains(url) {
            self.urls.insert(url.to_owned());
        }
        self.entry(key, &json!([url, offset, length]).to_string())
    }

    /// Completes the file. When this function returns, the file is on stable storage under its final name. It includes the identities of
    /// the referenced URLs, which standard readers ignore.
    pub fn finish(mut self, identify: &Identities) -> Result<(), Failure> {
        if self.consolidated.len() <= MAX_CONSOLIDATED_BYTES {
            let all = std::mem::take(&mut self.consolidated);
            let text = format!("{{\"metadata\":{{{all}}},\"zarr_consolidated_format\":1}}");
            self.entry(".zmetadata", &json!(text).to_string())?;
        }
        let objects = Value::Object(identify.of(&self.urls)?);
        self.text(&format!("\n}},\"objects\":{objects}}}\n"))?;
        // Another file may have been created at the target since `begin`.
        check_target(&self.target)?;
        let ended = self.out.flush().and_then(|()| self.out.get_ref().sync_all());
        let ended = ended.and_then(|()| rename(&self.unfinished, &self.target));
        let ended = ended.and_then(|()| File::open(folder_of(&self.target))?.sync_all());
        Ok(ended.map_err(|error| format!("{}: {error}", self.target.display()))?)
    }
}
