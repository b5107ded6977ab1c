//! Checks the environment variables, and the plugin folders that they name.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use h5lake_connector::config::Config;
use object_stores::shell_quoted;

use super::Report;
use crate::run;

const CONNECTOR: &str = "HDF5_VOL_CONNECTOR";
const PATH: &str = "HDF5_PLUGIN_PATH";
const NAME: &str = "h5lake";
/// The maximum size of a file that is examined as a plugin.
const MAX_PLUGIN: u64 = 1 << 30;

/// Reports the settings. Returns them if they are valid.
pub fn settings(report: &mut Report) -> Option<Config> {
    let value = env::var(CONNECTOR).unwrap_or_default();
    let shown = if value.is_empty() { "(not set)".to_owned() } else { value.clone() };
    match value.split_whitespace().next() {
        Some(NAME) => report.tell(CONNECTOR, shown),
        None => report.problem(
            CONNECTOR,
            format!("{shown}: new files are native, and HDF5 2.x opens no container"),
            format!("export {CONNECTOR}={NAME}, or start programs by 'h5lake run'"),
        ),
        Some(other) => report.problem(
            CONNECTOR,
            format!("{shown}: it names the connector '{other}'"),
            format!("export {CONNECTOR}={NAME}"),
        ),
    }
    let mut variables: Vec<_> =
        env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("H5LAKE_")).collect();
    variables.sort();
    for (name, value) in variables {
        report.tell(name.to_string_lossy(), value.to_string_lossy());
    }
    if env::var_os("HDF5_PLUGIN_PRELOAD").is_some_and(|value| value == "::") {
        report.problem("HDF5_PLUGIN_PRELOAD", ":: forbids all plugins", "unset HDF5_PLUGIN_PRELOAD");
    }
    match Config::from_environment() {
        Ok(config) => Some(config),
        Err(error) => {
            report.problem(
                "settings",
                error.to_string(),
                "correct what it names; 'h5lake settings' lists all",
            );
            None
        }
    }
}

/// Checks each folder of `HDF5_PLUGIN_PATH`.
pub fn plugin_folders(report: &mut Report) {
    let value = env::var_os(PATH).unwrap_or_default();
    let folders: Vec<PathBuf> =
        env::split_paths(&value).filter(|folder| !folder.as_os_str().is_empty()).collect();
    if folders.is_empty() {
        report.problem(PATH, "no folder of plugins is named", naming_ours(&[]));
        return;
    }
    report.tell(PATH, value.to_string_lossy());
    let mut found = 0;
    for folder in &folders {
        found += plugins_in(folder, report);
    }
    if found == 0 {
        let what = "none of these folders holds a libh5lake.so that loads";
        report.problem(PATH, what, naming_ours(&folders));
    }
}

/// Returns the command that sets `HDF5_PLUGIN_PATH` to the folder of the plugin next to this tool, followed by the existing folders.
fn naming_ours(folders: &[PathBuf]) -> String {
    let Ok(own) = run::plugin_folder() else {
        return format!(
            "export {PATH}=FOLDER, the folder of libh5lake.so: the wheel and a release's archive have it, and 'make plugin' makes it \
             in a checkout of the sources"
        );
    };
    // The path is absolute, because programs may be started in other folders.
    let own = own.canonicalize().unwrap_or(own);
    let there = folders.iter().filter(|folder| folder.is_dir() && **folder != own);
    let all = [&own].into_iter().chain(there).map(|folder| folder.display().to_string());
    format!("export {PATH}={}", shell_quoted(&all.collect::<Vec<_>>().join(":")))
}

fn holds(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|part| part == text.as_bytes())
}

/// The kind of a file in a plugin folder.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    OurPlugin,
    OtherPlugin,
    /// A library without the functions of a plugin. HDF5 loads it nevertheless.
    Library,
    Other,
}

impl Kind {
    fn of(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // HDF5 opens every file with a name that begins with lib and contains .so (H5PL__find_plugin_in_path).
        if !(name.starts_with("lib") && name.contains(".so") && path.is_file()) {
            return Self::Other;
        }
        let is_small = path.metadata().is_ok_and(|found| found.len() <= MAX_PLUGIN);
        let bytes = if is_small { std::fs::read(path).unwrap_or_default() } else { Vec::new() };
        match holds(&bytes, "H5PLget_plugin_info") {
            false => Self::Library,
            // Only h5lake plugins contain this message, which they print when they cannot be loaded (plugin-abi).
            true if holds(&bytes, "h5lake: not loaded") => Self::OurPlugin,
            true => Self::OtherPlugin,
        }
    }
}

/// Reports the files of a plugin folder. Returns the number of h5lake plugins that can be loaded.
fn plugins_in(folder: &Path, report: &mut Report) -> usize {
    let entries = match folder.read_dir() {
        Ok(entries) => entries,
        Err(error) => {
            let what = format!("{}: {error}", folder.display());
            let fix = "leave this folder out, or correct its name; folders are separated by ':'";
            report.problem(PATH, what, fix);
            return 0;
        }
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let found: Vec<_> = paths.iter().map(|path| (path.as_path(), Kind::of(path))).collect();
    let has = |wanted| found.iter().any(|(_, kind)| *kind == wanted);
    if !has(Kind::OurPlugin) && !has(Kind::OtherPlugin) {
        let what = format!("{} holds no HDF5 plugin", folder.display());
        report.problem(PATH, what, "leave this folder out: HDF5 loads each library in it");
        return 0;
    }
    for (path, kind) in &found {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match kind {
            Kind::OtherPlugin => report.tell(name, format!("{} is another plugin", path.display())),
            // Other files are reported only in the folder of the h5lake plugin. In folders of other plugins, as in netCDF4's wheel, they are not examined.
            Kind::Library | Kind::Other if has(Kind::OurPlugin) => {
                let effect = if *kind == Kind::Library {
                    "HDF5 loads it into every program"
                } else {
                    "it does not belong here"
                };
                let what = format!("{} is no HDF5 plugin: {effect}", path.display());
                report.problem(name, what, "take it out of that folder");
            }
            _ => (),
        }
    }
    found.iter().filter(|(path, kind)| *kind == Kind::OurPlugin && loads(path, report)).count()
}

/// Reports an h5lake plugin. Returns whether it can be loaded.
fn loads(path: &Path, report: &mut Report) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some(why) = why_not_loaded(path) else {
        report.tell(name, format!("{} is the h5lake plugin, and loads", path.display()));
        return true;
    };
    let fix = "install the wheel that was made for this machine, or build the plugin on this machine from the sources";
    report.problem(name, format!("it cannot be loaded: {why}"), fix);
    false
}

/// Tries to load a library into a process of `true` with LD_PRELOAD. Returns the dynamic linker's message if it cannot be loaded.
fn why_not_loaded(library: &Path) -> Option<String> {
    let mut nothing = Command::new("true");
    nothing.env("LD_PRELOAD", library).stdin(Stdio::null()).stdout(Stdio::null());
    let done = nothing.output().ok()?;
    let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    (!said.is_empty()).then_some(said)
}
