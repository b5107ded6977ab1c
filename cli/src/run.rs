//! `h5lake run`: a program that cannot be changed, with h5lake as its HDF5 connector.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use h5lake_connector::config::Config;

use crate::Failure;
use crate::libhdf5::packages_beside;

const PLUGIN: &str = "libh5lake.so";
const PATH: &str = "HDF5_PLUGIN_PATH";
const CONNECTOR: &str = "HDF5_VOL_CONNECTOR";

/// Where the plugin lies, from the tool's own place: in a checkout, in a prefix, and in a Python environment.
pub fn plugin_folder() -> Result<PathBuf, Failure> {
    let tool = env::current_exe()?;
    let folder = tool.parent().unwrap_or(Path::new("/"));
    let mut candidates =
        vec![folder.join("../plugin"), folder.join("../lib/h5lake/plugin"), folder.join("../h5lake/plugin")];
    candidates.extend(packages_beside(folder).into_iter().map(|packages| packages.join("h5lake/plugin")));
    let found = candidates.into_iter().find(|folder| folder.join(PLUGIN).is_file());
    let found = found.ok_or_else(|| {
        format!("{PLUGIN} is not beside the tool {}; name its folder in {PATH}", tool.display())
    })?;
    Ok(found)
}

/// The folders that a program would have taken without the variable: HDF5's own, and that of netCDF4's wheel, which names it only
/// if the variable is not set.
fn default_folders(own: &Path) -> Vec<PathBuf> {
    // Packages may be links to folders elsewhere: what lies beside ours is found by name.
    let beside = own.ancestors().nth(2).map(|packages| packages.join("netCDF4/plugins"));
    let folders = [Some(PathBuf::from("/usr/local/hdf5/lib/plugin")), beside];
    folders.into_iter().flatten().filter_map(|folder| folder.canonicalize().ok()).collect()
}

/// The folders of plugins for the program: those that were named; ours before them, unless it is among them.
pub fn plugin_path() -> Result<OsString, Failure> {
    let Some(named) = env::var_os(PATH) else {
        let own = plugin_folder()?;
        let others = default_folders(&own);
        return Ok(env::join_paths([own].into_iter().chain(others))?);
    };
    let folders: Vec<PathBuf> =
        env::split_paths(&named).filter(|folder| !folder.as_os_str().is_empty()).collect();
    if folders.iter().any(|folder| folder.join(PLUGIN).is_file()) {
        return Ok(named);
    }
    Ok(env::join_paths([plugin_folder()?].into_iter().chain(folders))?)
}

/// The connector string: ours as it is, or the bare name where another connector or none is named.
fn connector(settings: &[String]) -> Result<OsString, Failure> {
    let present = env::var_os(CONNECTOR).unwrap_or_default();
    if settings.is_empty()
        && present.to_str().and_then(|text| text.split_whitespace().next()) == Some("h5lake")
    {
        Config::from_environment()?;
        return Ok(present);
    }
    let config = Config::parse(&settings.join(" "))?;
    Ok(format!("h5lake {}", config.to_info_string()).trim_end().into())
}

/// Becomes the program. Returns only if that fails.
pub fn run(settings: &[String], program: &OsStr, arguments: &[OsString]) -> Result<(), Failure> {
    let mut command = Command::new(program);
    command.args(arguments).env(PATH, plugin_path()?).env(CONNECTOR, connector(settings)?);
    Err(format!("{}: {}", program.display(), command.exec()).into())
}
