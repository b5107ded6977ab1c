//! The libraries of the setting `store_path`, by the schemes of their URLs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use h5lake_store_abi::Library;
use parking_lot::Mutex;

use crate::settings::is_scheme;
use crate::{Error, ErrorKind, Operation, exit};

/// The variable with a list of libraries, and of folders with libraries, separated by colons.
const VARIABLE: &str = "H5LAKE_STORE_PATH";
/// The maximum number of entries in all lists, and of libraries in one folder.
const MAX_ENTRIES: usize = 64;

/// The entries that the program added with a setting.
static ADDED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
/// The result for the last list of entries.
static LAST: Mutex<Option<(Vec<PathBuf>, Arc<Found>)>> = Mutex::new(None);

/// The libraries that a list of entries leads to.
#[derive(Debug, Default)]
struct Found {
    libraries: Vec<(&'static str, &'static Library)>,
    /// The reasons why files were not used, each with its path.
    problems: Vec<String>,
}

/// Adds a list of libraries and folders to the entries of the process.
pub(crate) fn add_paths(list: &str) {
    let mut added = ADDED.lock();
    for path in std::env::split_paths(list) {
        if !added.contains(&path) && added.len() < MAX_ENTRIES {
            added.push(path);
        }
    }
}

fn entries() -> Vec<PathBuf> {
    let mut entries = ADDED.lock().clone();
    let variable = std::env::var_os(VARIABLE).unwrap_or_default();
    for path in std::env::split_paths(&variable) {
        if !entries.contains(&path) {
            entries.push(path);
        }
    }
    entries.retain(|path| !path.as_os_str().is_empty());
    entries.truncate(MAX_ENTRIES);
    entries
}

/// Returns the libraries of the entries. The first caller loads them; no lock is held meanwhile.
fn look(known: &[&str]) -> Arc<Found> {
    let entries = entries();
    if let Some((_, found)) = LAST.lock().as_ref().filter(|(of, _)| *of == entries) {
        return found.clone();
    }
    let mut found = Found::default();
    for entry in &entries {
        for file in found.files(entry) {
            match Library::load(&file) {
                Ok(library) => {
                    library.at_exit(exit::close_all);
                    found.add(library, known);
                }
                Err(why) => found.problem(&file, &why),
            }
        }
    }
    let found = Arc::new(found);
    *LAST.lock() = Some((entries, found.clone()));
    found
}

impl Found {
    fn problem(&mut self, path: &Path, why: &str) {
        tracing::warn!(library = %path.display(), why, "a store library is not used");
        self.problems.push(format!("{}: {why}", path.display()));
    }

    /// Returns the library files of an entry, in the order of their names.
    fn files(&mut self, entry: &Path) -> Vec<PathBuf> {
        if !entry.is_absolute() {
            self.problem(entry, "not an absolute path");
            return Vec::new();
        }
        if !entry.is_dir() {
            return vec![entry.to_owned()];
        }
        let files = match std::fs::read_dir(entry) {
            Ok(files) => files,
            Err(e) => {
                self.problem(entry, &e.to_string());
                return Vec::new();
            }
        };
        let mut files: Vec<_> = files.flatten().map(|file| file.path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "so"));
        files.sort_unstable();
        if files.len() > MAX_ENTRIES {
            self.problem(entry, &format!("it has more than {MAX_ENTRIES} libraries"));
            files.truncate(MAX_ENTRIES);
        }
        files
    }

    /// Adds a library's schemes. If several libraries have the same scheme, the first one keeps it.
    fn add(&mut self, library: &'static Library, known: &[&str]) {
        for scheme in library.schemes() {
            let other = self.libraries.iter().find(|(taken, _)| taken == scheme).map(|(_, library)| *library);
            match other {
                _ if !is_scheme(scheme) => {
                    self.problem(library.path(), &format!("{scheme:?} is no scheme of a URL"));
                }
                _ if known.contains(scheme) => {
                    self.problem(library.path(), &format!("h5lake has the scheme '{scheme}' itself"));
                }
                Some(other) if std::ptr::eq(other, library) => (),
                Some(other) => {
                    let why = format!("{} has the scheme '{scheme}' already", other.path().display());
                    self.problem(library.path(), &why);
                }
                None => self.libraries.push((scheme, library)),
            }
        }
    }
}

/// Returns the library of a scheme that is not in `known`.
pub(crate) fn find(scheme: &str, known: &[&str]) -> Option<&'static Library> {
    if known.contains(&scheme) || !is_scheme(scheme) {
        return None;
    }
    look(known).libraries.iter().find(|(of, _)| *of == scheme).map(|(_, library)| *library)
}

/// Returns the schemes of all libraries.
pub(crate) fn schemes(known: &[&str]) -> Vec<String> {
    look(known).libraries.iter().map(|(scheme, _)| (*scheme).to_owned()).collect()
}

/// Returns the error for an unknown scheme, with the known schemes, and the libraries that could not be used.
pub(crate) fn unknown(scheme: &str, all: &[String], known: &[&str]) -> Error {
    let all = all.join(", ");
    let mut why = format!("no store is registered for the scheme '{scheme}' (known are {all})");
    match look(known).problems.as_slice() {
        [] if entries().is_empty() => why += "; H5LAKE_STORE_PATH names libraries of other stores",
        [] => (),
        problems => why += &format!("; not used of H5LAKE_STORE_PATH: {}", problems.join("; ")),
    }
    Error::new(ErrorKind::Unsupported, Operation::Open).because(why)
}
