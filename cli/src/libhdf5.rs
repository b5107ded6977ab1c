//! Finds the libhdf5 of programs, of Python packages and of the system.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folders in which wheels of Python packages contain their libhdf5. Newer build tools write the names of packages in lower case.
const WHEEL_FOLDERS: [&str; 4] = ["h5py.libs", "tables.libs", "netcdf4.libs", "netCDF4.libs"];
/// The programs of HDF5 itself.
const PROGRAMS: [&str; 3] = ["h5dump", "h5ls", "h5repack"];
/// Names that the dynamic linker may find. 310 is HDF5 1.14, and 320 is HDF5 2.x.
const NAMES: [&str; 6] = [
    "libhdf5.so.320",
    "libhdf5.so.310",
    "libhdf5_serial.so.320",
    "libhdf5_serial.so.310",
    "libhdf5.so",
    "libhdf5_serial.so",
];
/// A Python program that prints the folders in which Python searches for packages.
const FOLDERS: &str = "import sys, site; print('\\n'.join([*sys.path, *site.getsitepackages(), sys.prefix]))";

/// Returns all candidates for a libhdf5, the most likely first: those in the Python environment of this tool, in the environment of
/// `python3`, those of HDF5's programs, and names for the dynamic linker. The last are bare names.
pub fn candidates() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let own = env::current_exe().ok().and_then(|tool| Some(packages_beside(tool.parent()?)));
    for folder in own.unwrap_or_default().into_iter().chain(packages_of_python()) {
        found.extend(beside(&folder));
    }
    found.extend(PROGRAMS.iter().filter_map(|name| library_of(&on_path(name)?).ok()));
    found.extend(NAMES.map(PathBuf::from));
    let mut seen = std::collections::HashSet::new();
    found.retain(|path| seen.insert(path.clone()));
    found
}

/// Returns the folders `lib/python3.*/site-packages` of the prefix that contains the folder of this tool.
pub fn packages_beside(programs: &Path) -> Vec<PathBuf> {
    let Ok(pythons) = programs.join("../lib").read_dir() else { return Vec::new() };
    let mut found: Vec<_> = pythons.flatten().map(|python| python.path()).collect();
    found.sort();
    found.into_iter().map(|python| python.join("site-packages")).collect()
}

fn packages_of_python() -> Vec<PathBuf> {
    let output =
        Command::new("python3").args(["-c", FOLDERS]).stdin(Stdio::null()).stderr(Stdio::null()).output();
    let text = output.map(|done| String::from_utf8_lossy(&done.stdout).into_owned()).unwrap_or_default();
    text.lines().filter(|line| line.starts_with('/')).map(PathBuf::from).collect()
}

/// Returns the libraries of the packages in a folder. A wheel installs them next to the package, and a conda environment in `lib`.
fn beside(packages: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in WHEEL_FOLDERS.into_iter().chain(["lib"]).map(|name| packages.join(name)) {
        let entries = folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.path());
        let mut libraries: Vec<_> = entries.filter(|path| names_libhdf5(path)).collect();
        libraries.sort();
        found.extend(libraries);
    }
    found
}

/// Returns the folders of filter plugins that Python packages install next to the packages with this libhdf5.
pub fn filter_folders(library: &Path) -> Vec<PathBuf> {
    let Some(packages) = library.parent().and_then(Path::parent) else { return Vec::new() };
    let folders = ["hdf5plugin/plugins", "netCDF4/plugins"].map(|name| packages.join(name));
    folders.into_iter().filter(|folder| folder.is_dir()).collect()
}

fn names_libhdf5(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| is_libhdf5(name) && name.contains(".so"))
}

/// Returns the path of a program that PATH finds.
fn on_path(name: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// Returns whether a file name is that of a libhdf5. Names of other libraries, such as libhdf5_hl, do not count.
pub fn is_libhdf5(name: &str) -> bool {
    let rest = name.strip_prefix("libhdf5").unwrap_or_default();
    let variants = ["_serial", "_openmpi", "_mpich", "_parallel"];
    let rest = variants.iter().find_map(|variant| rest.strip_prefix(variant)).unwrap_or(rest);
    rest.starts_with(['.', '-'])
}

/// Returns the library itself, or the libhdf5 that a program loads. An error says why the program loads none.
pub fn library_of(target: &Path) -> Result<PathBuf, String> {
    let path = if target.components().count() == 1 { target.to_str().and_then(on_path) } else { None };
    let path = path.unwrap_or_else(|| target.to_owned());
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !path.is_file() {
        return Err("no such file or program".into());
    }
    if is_libhdf5(&name) {
        return path.canonicalize().map_err(|error| error.to_string());
    }
    let listed = Command::new("ldd").arg(&path).stdin(Stdio::null()).output();
    let listed = listed.map_err(|error| format!("ldd cannot be run: {error}"))?;
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [name, "=>", path, ..] if is_libhdf5(name) && path.starts_with('/') => return Ok(path.into()),
            [name, ..] if is_libhdf5(name) => {
                return Err(format!("{name} is not found: set LD_LIBRARY_PATH"));
            }
            _ => (),
        }
    }
    Err("it is not linked to a shared libhdf5; if it is a script, name the program that it runs".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_of_packages_are_found() {
        for wheel in WHEEL_FOLDERS {
            let folder = tempfile::tempdir().unwrap();
            let libs = folder.path().join(wheel);
            std::fs::create_dir(&libs).unwrap();
            for name in [
                "libhdf5-0a1b.so.310.5.1",
                "libhdf5_hl-0a1b.so.310.0.6",
                "libsz-0a1b.so.2",
                "libhdf5.settings",
            ] {
                std::fs::write(libs.join(name), "").unwrap();
            }
            assert_eq!(beside(folder.path()), [libs.join("libhdf5-0a1b.so.310.5.1")]);
        }
    }
}
