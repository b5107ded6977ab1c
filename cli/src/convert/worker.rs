//! The worker process, which loads a libhdf5 and converts one file.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output};

use h5lake_connector::config::{Config, NamePatterns};
use h5lake_connector::{Adoption, Along, Converter, Export, Join, Lacking, NotHeld};
use serde_json::{Value, json};

use super::Direction;
use crate::Failure;
use crate::helper;
use crate::hidden;
use crate::libhdf5::filter_folders;
use crate::run::plugin_path;

/// The number of objects that a message lists at most.
const MOST_NAMED: usize = 20;

/// Converts one file in a separate process. Returns the parts of the source that the result lacks.
pub fn run(direction: Direction, library: &Path, source: &Path, target: &Path) -> Result<Lacking, Failure> {
    let makes_container = direction == Direction::Import;
    convert(direction.name(), makes_container, library, [source, target], &[])
}

/// Creates a container from native files, local or in a store, in a separate process. Raw data that the container can refer to is listed in
/// `wanted.list` instead of being copied. Returns the parts of the sources that the container lacks.
pub fn adopt(
    library: &Path,
    sources: &[&Path],
    target: &Path,
    wanted: &Adoption<'_>,
) -> Result<Lacking, Failure> {
    let (first, further) = sources.split_first().ok_or("there is no file to adopt")?;
    let joins = wanted.joins.iter().map(|Join { path, along }| match along {
        Along::New => json!([path, null]),
        Along::Existing(dimension) => json!([path, dimension]),
    });
    let joins = Value::from_iter(joins).to_string();
    let folder = Path::new(OsStr::from_bytes(wanted.folder));
    let more: Vec<_> =
        [wanted.list, Path::new(&joins), folder].into_iter().chain(further.iter().copied()).collect();
    let done = convert("adopt", true, library, [first, target], &more);
    done.map_err(|error| plainly(&error.to_string(), sources, wanted.joins).into())
}

/// Rewrites the error of an adoption, so that the name of the file stands once in front of it. If the path of a join is missing, the error
/// names only that path.
fn plainly(error: &str, sources: &[&Path], joins: &[Join]) -> String {
    let named = |text: &str| {
        sources.iter().find_map(|source| {
            let name = source.display().to_string();
            let why = text.strip_prefix(&format!("{name}: "))?.to_owned();
            Some((name, why))
        })
    };
    let Some((mut name, mut why)) = named(error) else { return error.to_owned() };
    while let Some(inner) = named(&why) {
        (name, why) = inner;
    }
    if let Some(path) = missing(&why, joins) {
        why = format!("nothing is at {path}");
    }
    format!("{name}: {why}")
}

/// Returns the path of a join that does not exist in the file, if libhdf5 reports one of its components as missing.
fn missing<'a>(why: &str, joins: &'a [Join]) -> Option<&'a str> {
    let (_, why) = why.split_once("object not found")?;
    let (_, part) = why.split_once("object '")?;
    let (part, _) = part.split_once("' doesn't exist")?;
    let join = joins.iter().find(|join| join.path.split('/').any(|name| name == part))?;
    Some(&join.path)
}

/// Parses the joins in an argument of the worker.
fn joins(text: &OsStr) -> Result<Vec<Join>, Failure> {
    let given: Vec<(String, Option<usize>)> = serde_json::from_str(&text.to_string_lossy())?;
    let along = |dimension: Option<usize>| dimension.map_or(Along::New, Along::Existing);
    Ok(given.into_iter().map(|(path, dimension)| Join { path, along: along(dimension) }).collect())
}

fn convert(
    what: &str,
    makes_container: bool,
    library: &Path,
    [source, target]: [&Path; 2],
    more: &[&Path],
) -> Result<Lacking, Failure> {
    let mut config = Config::from_environment()?;
    if makes_container {
        // The worker writes a local file, which is a container whatever its name is.
        (config.store, config.only) = (None, NamePatterns::default());
    }
    let path = |path: &Path| path.as_os_str().to_owned();
    let mut arguments =
        vec![what.into(), path(library), path(source), path(target), config.to_info_string().into()];
    arguments.extend(more.iter().map(|one| path(one)));
    let done = start(library, &arguments)?;
    let said: Value = serde_json::from_slice(&done.stdout).unwrap_or_default();
    match lacking(&said) {
        Some(lacking) if done.status.success() => Ok(lacking),
        _ => Err(format!("{}: {}", source.display(), reason(&done)).into()),
    }
}

/// Returns the links that were left out as JSON.
pub fn as_json(left_out: &[NotHeld]) -> Value {
    left_out.iter().map(|one| json!({ "path": one.path, "reason": one.reason })).collect()
}

/// Parses the answer of a worker, which [`serve`] printed. Returns `None` if the answer is malformed.
fn lacking(said: &Value) -> Option<Lacking> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let link = |one: &Value| Some(NotHeld { path: text(&one["path"])?, reason: text(&one["reason"])? });
    let links = said["left_out"].as_array()?.iter().map(link).collect::<Option<_>>()?;
    Some(Lacking { user_block: said["user_block"].as_u64()?, links })
}

/// Fails if a libhdf5 cannot be loaded, or is too old.
pub fn probe(library: &Path) -> Result<(), String> {
    let done = start(library, &["probe".into(), library.as_os_str().to_owned()])
        .map_err(|error| error.to_string())?;
    if done.status.success() { Ok(()) } else { Err(reason(&done)) }
}

/// Starts this program as a worker. Its libhdf5 finds the plugin in the same folders as programs under `h5lake run`. It finds further
/// filters in the folders of HDF5_PLUGIN_PATH and in the plugin folders next to the library.
fn start(library: &Path, arguments: &[OsString]) -> Result<Output, Failure> {
    let named = plugin_path()?;
    let folders = std::env::split_paths(&named).chain(filter_folders(library));
    let folders = std::env::join_paths(folders.filter(|folder| folder.is_dir()))?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("convert-one").arg("--").args(arguments);
    command.env_remove("HDF5_VOL_CONNECTOR").env("HDF5_PLUGIN_PATH", folders);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("H5LAKE_") && !text.starts_with("H5LAKE_LOG") {
            command.env_remove(name);
        }
    }
    Ok(helper::output(&mut command)?)
}

/// Returns the reason why a worker failed.
fn reason(done: &Output) -> String {
    let said = String::from_utf8_lossy(&done.stderr);
    let said = said.trim().trim_start_matches("h5lake: ");
    match done.status.signal() {
        Some(signal) => format!("signal {signal} ended libhdf5: {said}"),
        None if said.is_empty() => format!("libhdf5 ended the process, {}", done.status),
        None => said.to_owned(),
    }
}

/// Runs the worker process. The arguments are `probe LIBRARY`, `import|export LIBRARY SOURCE TARGET SETTINGS`, or `adopt LIBRARY SOURCE
/// TARGET SETTINGS LIST JOINS FOLDER SOURCE…`.
pub fn serve(arguments: &[OsString]) -> Result<(), Failure> {
    let text = |n: usize| arguments.get(n).map(OsString::as_os_str).unwrap_or_default();
    hidden::end_with_starter(text(3).into());
    let settings = text(4).to_str().unwrap_or_default();
    let converter = Converter::load(Path::new(text(1)), settings).map_err(|error| error.to_string())?;
    let done = match text(0).to_str() {
        Some("probe") => Lacking { user_block: 0, links: Vec::new() },
        Some("import") => converter.import(Path::new(text(2)), text(3)).map_err(|error| error.to_string())?,
        Some("export") => export(&converter, arguments)?,
        Some("adopt") => {
            let further = arguments.get(8..).unwrap_or_default().iter().map(OsString::as_os_str);
            let sources: Vec<_> = [text(2)].into_iter().chain(further).collect();
            let (list, joins, folder) = (Path::new(text(5)), &joins(text(6))?, text(7).as_bytes());
            let done = converter.adopt(&sources, text(3), &Adoption { list, folder, joins });
            done.map_err(|error| error.to_string())?
        }
        _ => return Err("this command is for the tool itself; use 'h5lake import' or 'h5lake export'".into()),
    };
    println!("{}", json!({ "user_block": done.user_block, "left_out": as_json(&done.links) }));
    Ok(())
}

/// Exports a container in the oldest file format that can represent all of its content. Writes nothing if no format can.
fn export(converter: &Converter, arguments: &[OsString]) -> Result<Lacking, Failure> {
    let [_, _, source, target, ..] = arguments else { return Err("a name is missing".into()) };
    let mut refused = Vec::new();
    for is_newer in [false, true] {
        let done = converter.export(source, Path::new(target), is_newer);
        match done.map_err(|error| error.to_string())? {
            Export::Made(lacking) => return Ok(lacking),
            Export::Refused(what) => refused = what,
        }
    }
    let what = "objects or attributes that native HDF5 cannot hold, so nothing was written";
    Err(listed(what, &refused).into())
}

/// Lists the parts of a source that its target would lack. `what` says what these parts are.
pub fn listed(what: &str, refused: &[NotHeld]) -> String {
    let mut text = format!("has {} {what}:", refused.len());
    for one in refused.iter().take(MOST_NAMED) {
        text.push_str(&format!("\n  {one}"));
    }
    if refused.len() > MOST_NAMED {
        text.push_str(&format!("\n  and {} more", refused.len() - MOST_NAMED));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_adoptions_name_a_file_once_and_a_missing_path_alone() {
        let sources = [Path::new("/a/1.h5"), Path::new("/a/2.h5")];
        let joins = [Join { path: "/g/x".to_owned(), along: Along::New }];
        let said = |error: &str| plainly(error, &sources, &joins);
        let nothing = "unable to open object: object not found: can't find object: object 'x' doesn't exist";
        assert_eq!(said(&format!("/a/1.h5: /a/2.h5: {nothing}")), "/a/2.h5: nothing is at /g/x");
        assert_eq!(said("/a/1.h5: /a/1.h5: /x has no such dimension"), "/a/1.h5: /x has no such dimension");
        let another = nothing.replace("'x'", "'y'");
        assert_eq!(said(&format!("/a/1.h5: {another}")), format!("/a/1.h5: {another}"));
        assert_eq!(said("no file to adopt"), "no file to adopt");
    }
}
