//! `h5lake run`: runs an unchanged program with h5lake as its HDF5 connector.

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

/// Returns the folder of the plugin, relative to the tool: in a checkout, in an installation prefix, or in a Python environment.
pub fn plugin_folder() -> Result<PathBuf, Failure> {
    let tool = env::current_exe()?;
    let folder = tool.parent().unwrap_or(Path::new("/"));
    let mut candidates =
        vec![folder.join("../plugin"), folder.join("../lib/h5lake/plugin"), folder.join("../h5lake/plugin")];
    candidates.extend(packages_beside(folder).into_iter().map(|packages| packages.join("h5lake/plugin")));
    let found = candidates.into_iter().find(|folder| folder.join(PLUGIN).is_file());
    let found = found.ok_or_else(|| {
        format!("{PLUGIN} was not found next to the tool {}; name its folder in {PATH}", tool.display())
    })?;
    Ok(found)
}

/// Returns the plugin folders that a program uses if the variable is not set: HDF5's default, and the folder of netCDF4's wheel, which only
/// adds its folder if the variable is not set.
fn default_folders(own: &Path) -> Vec<PathBuf> {
    // The packages may be links to folders elsewhere, so the folder next to the plugin is found by name.
    let beside = own.ancestors().nth(2).map(|packages| packages.join("netCDF4/plugins"));
    let folders = [Some(PathBuf::from("/usr/local/hdf5/lib/plugin")), beside];
    folders.into_iter().flatten().filter_map(|folder| folder.canonicalize().ok()).collect()
}

/// Returns the plugin folders for the program: those of the variable, preceded by the folder of this plugin unless they contain it.
pub fn plugin_path() -> Result<OsString, Failure> {
    let Some(named) = env::var_os(PATH) else {
        let own = plugin_folder()?;
        let defaults = default_folders(&own);
        return Ok(env::join_paths([own].into_iter().chain(defaults))?);
    };
    let folders: Vec<PathBuf> =
        env::split_paths(&named).filter(|folder| !folder.as_os_str().is_empty()).collect();
    if folders.iter().any(|folder| folder.join(PLUGIN).is_file()) {
        return Ok(named);
    }
    Ok(env::join_paths([plugin_folder()?].into_iter().chain(folders))?)
}

/// Returns the connector string. Keeps the present one if it names h5lake and there are no further settings, otherwise makes a new one.
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

/// Sets the variables with which a program uses h5lake.
pub fn set_environment(command: &mut Command, settings: &[String]) -> Result<(), Failure> {
    command.env(PATH, plugin_path()?).env(CONNECTOR, connector(settings)?);
    Ok(())
}

/// Replaces this process with the program. Returns only if this fails.
pub fn run(settings: &[String], program: &OsStr, arguments: &[OsString]) -> Result<(), Failure> {
    let mut command = Command::new(program);
    command.args(arguments);
    set_environment(&mut command, settings)?;
    Err(format!("{}: {}", program.display(), command.exec()).into())
}
