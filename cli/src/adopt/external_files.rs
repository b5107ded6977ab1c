//! Elements of native datasets that are stored in external files (`H5Pset_external`). The external files become sources of the container,
//! or their bytes are copied into it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use h5lake_container::{Container, Dataset, ExternalFile, Layout, Run, Selection};
use h5lake_ledger::Source;

use super::changed;
use crate::Failure;

/// The environment variable with the folder in which libhdf5 looks for external files with relative names, instead of the working folder.
const PREFIX: &str = "HDF5_EXTFILE_PREFIX";
/// The number of bytes that are copied at a time.
const BLOCK_BYTES: u64 = 4 << 20;

/// The external files of a native file, each with the length and time that it had when it was first needed.
pub struct ExternalFiles {
    /// The folder of the native file, which replaces `${ORIGIN}` in the prefix.
    folder: PathBuf,
    known: Vec<Known>,
}

/// An external file, and the number of its source once the container refers to it.
struct Known {
    path: PathBuf,
    source: Source,
    number: Option<u32>,
}

impl ExternalFiles {
    pub fn of_native_in(folder: PathBuf) -> Self {
        Self { folder, known: Vec::new() }
    }

    /// Returns the parts of external files that hold the elements of a dataset, in the order of the elements.
    pub fn parts(&mut self, dataset: &Dataset, path: &str, files: &[ExternalFile]) -> Result<Parts, Failure> {
        let all = dataset.points()?.checked_mul(dataset.datatype().size);
        let all = all.ok_or_else(|| format!("{path} has more bytes than can be counted"))?;
        let (mut parts, mut at) = (Vec::new(), 0);
        for file in files {
            let length = file.size.min(all - at);
            if length > 0 {
                let (path, has) = self.look_at(&file.name).map_err(|why| {
                    let name = String::from_utf8_lossy(&file.name).escape_debug().to_string();
                    let what = format!("{path} has elements in the external file '{name}': {why}");
                    format!("{what}; set {PREFIX} to its folder ('${{ORIGIN}}' is that of the native file)")
                })?;
                parts.push(Part { path, first: at, offset: file.offset, length, has });
            }
            at += length;
        }
        Ok(Parts(parts))
    }

    /// Returns the canonical path of an external file and its length. Remembers the file for [`Self::check_unchanged`].
    fn look_at(&mut self, name: &[u8]) -> Result<(PathBuf, u64), Failure> {
        let path = self.path(name).canonicalize()?;
        if let Some(known) = self.known.iter().find(|known| known.path == path) {
            return Ok((path, known.source.length));
        }
        let source = Source::of_file(&path)?;
        let length = source.length;
        self.known.push(Known { path: path.clone(), source, number: None });
        Ok((path, length))
    }

    /// Makes the dataset refer to the bytes of its parts, and adds each external file to the sources of the container.
    pub fn refer(
        &mut self,
        container: &Container,
        dataset: &Dataset,
        parts: &Parts,
        has_checksums: bool,
    ) -> Result<(), Failure> {
        for part in &parts.0 {
            let known = self.known.iter_mut().find(|known| known.path == part.path);
            let known = known.ok_or("an external file is not known")?;
            let number = match known.number {
                Some(number) => number,
                None => *known.number.insert(container.add_source(&known.source)?),
            };
            dataset.refer_to_bytes(part.first, part.length, part.offset, &mut |offset, length| {
                container.extent_in_source(number, offset, length, has_checksums)
            })?;
        }
        Ok(())
    }

    /// Returns the path at which libhdf5 opens an external file (H5Dint.c, `H5D__build_file_prefix`).
    fn path(&self, name: &[u8]) -> PathBuf {
        let prefix = std::env::var_os(PREFIX).unwrap_or_default();
        let folder = match prefix.as_bytes().strip_prefix(b"${ORIGIN}") {
            Some(rest) => [self.folder.as_os_str().as_bytes(), rest].concat(),
            None if prefix == "." => Vec::new(),
            None => prefix.into_encoded_bytes(),
        };
        Path::new(OsStr::from_bytes(&folder)).join(OsStr::from_bytes(name))
    }

    /// Fails if an external file was changed since it was first needed.
    pub fn check_unchanged(&self) -> Result<(), Failure> {
        for Known { path, source, .. } in &self.known {
            let now = Source::of_file_at_once(path);
            if now.map_err(|error| format!("{}: {error}", path.display()))? != *source {
                return Err(changed(path));
            }
        }
        Ok(())
    }
}

/// A range of the dataset's bytes, and the external file that holds it.
struct Part {
    path: PathBuf,
    /// The offset of the part among the bytes of all elements.
    first: u64,
    /// The offset of the part in the external file.
    offset: u64,
    length: u64,
    /// The length of the external file.
    has: u64,
}

/// The parts of external files that hold all elements of a dataset.
pub struct Parts(Vec<Part>);

impl Parts {
    pub fn bytes(&self) -> u64 {
        self.0.iter().map(|part| part.length).sum()
    }

    /// Returns the reason why the elements have to be copied, or `None` if the container can refer to them.
    pub fn obstacle(&self, dataset: &Dataset) -> Option<&'static str> {
        let is_whole = |part: &Part| part.offset.checked_add(part.length).is_some_and(|end| end <= part.has);
        if *dataset.layout() != Layout::Contiguous {
            return Some("external storage that can grow: the copy has chunks");
        }
        (!self.0.iter().all(is_whole)).then_some("external files that end before the elements do")
    }

    /// Copies the elements into the dataset. Elements behind the end of an external file are zeros, as in the native connector.
    pub fn copy(&self, dataset: &Dataset) -> Result<(), Failure> {
        let size = dataset.datatype().size;
        let (step, points) = ((BLOCK_BYTES / size).max(1), dataset.points()?);
        let mut at = 0;
        while at < points {
            let count = step.min(points - at);
            let mut bytes = vec![0; usize::try_from(count * size)?];
            self.read(at * size, &mut bytes)?;
            dataset.write(&Selection::Runs(vec![Run { offset: at, count }]), &bytes)?;
            at += count;
        }
        Ok(())
    }

    /// Reads bytes of the elements. Bytes that no external file holds are left unchanged.
    fn read(&self, at: u64, out: &mut [u8]) -> Result<(), Failure> {
        let end = at + out.len() as u64;
        for part in self.0.iter().filter(|part| part.first < end && at < part.first + part.length) {
            let (low, high) = (part.first.max(at), (part.first + part.length).min(end));
            let place = &mut out[(low - at) as usize..(high - at) as usize];
            let file = File::open(&part.path);
            let read = file.and_then(|file| read_or_leave(&file, place, part.offset + (low - part.first)));
            read.map_err(|error| format!("{}: {error}", part.path.display()))?;
        }
        Ok(())
    }
}

/// Fills `out` from the file. Leaves the bytes behind the end of the file unchanged.
fn read_or_leave(file: &File, mut out: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !out.is_empty() {
        match file.read_at(out, offset) {
            Ok(0) => break,
            Ok(count) => {
                out = &mut out[count..];
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
