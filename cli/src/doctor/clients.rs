//! Checks HDF5 clients: finds the libhdf5 that each client loads, and checks that it creates containers.

use std::ffi::OsStr;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use h5lake_connector::config::{Config, NamePatterns};
use h5lake_ledger::{Ledger, Probe};
use serde_json::Value;

use super::{Report, Wanted};
use crate::Failure;
use crate::libhdf5::library_of;

const PROBE: &str = include_str!("probe.py");
const MODULES: [&str; 3] = ["h5py", "tables", "netCDF4"];
/// The oldest HDF5 version that supports VOL connectors of this kind.
const OLDEST: [u64; 3] = [1, 14, 0];

/// The results of a probe.
#[derive(Default)]
struct Facts {
    absent: Option<String>,
    module: Option<String>,
    is_static: bool,
    library: Option<String>,
    version: Option<[u64; 3]>,
    has_plugin: bool,
    /// The stderr of the process.
    /// The signal that ended the process.
    said: String,
    signal: Option<i32>,
}

impl Facts {
    fn of(done: &Output) -> Self {
        let mut facts = Self {
            said: String::from_utf8_lossy(&done.stderr).into_owned(),
            signal: done.status.signal(),
            ..Self::default()
        };
        for line in String::from_utf8_lossy(&done.stdout).lines() {
            let Some(said) = line.strip_prefix("probe ").and_then(|text| serde_json::from_str(text).ok())
            else {
                continue;
            };
            facts.take(&said);
        }
        facts
    }

    fn take(&mut self, said: &Value) {
        let text = |key: &str| said[key].as_str().map(str::to_owned);
        self.absent = text("absent").or(self.absent.take());
        self.module = text("module").or(self.module.take());
        self.library = text("library").or(self.library.take());
        self.is_static |= said["static"] == true;
        self.has_plugin |= said["plugin"] == true;
        if let Some([a, b, c]) = said["version"].as_array().map(Vec::as_slice) {
            self.version = Some([a, b, c].map(|number| number.as_u64().unwrap_or_default()));
        }
    }

    /// Returns the reason for a failure: a line of the plugin if there is one, otherwise the innermost frame of HDF5's error stack.
    fn why(&self) -> Option<String> {
        let frames: Vec<&str> =
            self.said.lines().filter_map(|line| line.split_once("(): ").map(|(_, why)| why)).collect();
        let ours = frames.iter().find(|why| why.starts_with("h5lake: ")).copied();
        let plain = self.said.lines().find(|line| line.starts_with("h5lake: "));
        plain.or(ours).or(frames.last().copied()).map(|why| why.trim().to_owned())
    }
}

/// Examines all clients.
pub fn all(wanted: &Wanted<'_>, config: Option<&Config>, report: &mut Report) -> Result<(), Failure> {
    let folder = std::env::temp_dir().join(format!("h5lake-doctor-{}", crate::hidden::random()?));
    // The folder is private, because the examined programs write files into it.
    let private = std::fs::DirBuilder::new().mode(0o700).create(&folder);
    private.map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut seen = 0;
    if wanted.targets.is_empty() {
        for module in MODULES {
            seen += usize::from(examine(wanted, config, module, "", &folder, report));
        }
    }
    for target in wanted.targets {
        seen += usize::from(program(wanted, config, target, &folder, report));
    }
    let _left_at_worst = std::fs::remove_dir_all(&folder);
    if seen == 0 {
        report.problem("clients", "none was found", "name a Python (--python), a program or a library");
    }
    Ok(())
}

fn program(
    wanted: &Wanted<'_>,
    config: Option<&Config>,
    target: &Path,
    folder: &Path,
    report: &mut Report,
) -> bool {
    let label = target.display().to_string();
    match library_of(target) {
        Ok(library) => {
            report.tell(&label, "");
            examine(wanted, config, "", &library.display().to_string(), folder, report)
        }
        Err(why) => {
            report.problem(label, why, "name another program, or the library itself");
            false
        }
    }
}

/// Runs the probe with the environment of this process, with two differences: files are not created in the store of the settings, and
/// `only=` is ignored, so that every file becomes a container.
fn probe(
    wanted: &Wanted<'_>,
    config: Option<&Config>,
    arguments: [&OsStr; 3],
    folder: &Path,
) -> std::io::Result<Facts> {
    let python = match wanted.python.components().count() {
        // The name is searched on PATH.
        1 => wanted.python.to_owned(),
        _ => std::path::absolute(wanted.python)?,
    };
    let mut command = Command::new(python);
    command.args(["-c", PROBE]).args(arguments).current_dir(folder).stdin(Stdio::null());
    let names_ours = std::env::var("HDF5_VOL_CONNECTOR")
        .is_ok_and(|value| value.split_whitespace().next() == Some("h5lake"));
    if let (Some(config), true) = (config, names_ours) {
        let config = Config { store: None, only: NamePatterns::default(), ..config.clone() };
        command.env("HDF5_VOL_CONNECTOR", format!("h5lake {}", config.to_info_string()).trim_end());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("H5LAKE_"))
        {
            command.env_remove(name);
        }
    }
    Ok(Facts::of(&command.output()?))
}

/// Lets one client create a file, and reports the result. Returns whether the client is installed.
fn examine(
    wanted: &Wanted<'_>,
    config: Option<&Config>,
    module: &str,
    library: &str,
    folder: &Path,
    report: &mut Report,
) -> bool {
    let made = folder.join("made.h5");
    let _not_there = std::fs::remove_file(&made);
    let arguments = [module.as_ref(), library.as_ref(), made.as_os_str()];
    let facts = match probe(wanted, config, arguments, folder) {
        Ok(facts) => facts,
        Err(error) => {
            let what = format!("{} cannot be run: {error}", wanted.python.display());
            report.problem(
                module,
                what,
                "name a Python with --python: it also loads the libraries of other programs",
            );
            return false;
        }
    };
    if let Some(why) = &facts.absent {
        report.tell(module, format!("not there ({why})"));
        return false;
    }
    if let Some(module) = &facts.module {
        report.tell(module, format!("of {}", wanted.python.display()));
    }
    if facts.is_static {
        let fix = "use a build of it with a shared libhdf5: a static one finds no plugin";
        report.problem("  loads", "no shared libhdf5", fix);
        return true;
    }
    let Some(version) = facts.version else {
        let said = facts.said.lines().last().unwrap_or("no reason was given").to_owned();
        report.problem("  loads", format!("it could not be asked: {said}"), "does it start by itself?");
        return true;
    };
    let number = version.map(|part| part.to_string()).join(".");
    report.tell("  loads", format!("HDF5 {number}: {}", facts.library.as_deref().unwrap_or(library)));
    if version < OLDEST {
        report.problem(
            "  makes",
            format!("native files: HDF5 {number} is too old, h5lake needs 1.14.0 or later"),
            "install a client with HDF5 1.14.0 or later: h5py from 3.10 on has it",
        );
    } else {
        outcome(&facts, &made, report);
    }
    true
}

/// Reports the kind of the file that a client created. If the file is not a container, reports a remedy.
fn outcome(facts: &Facts, made: &Path, report: &mut Report) {
    let what = match Ledger::probe_file(made) {
        Ok(Probe::Container) => {
            report.tell("  makes", "a container: the plugin is found and used");
            return;
        }
        Ok(Probe::NativeHdf5) => "a native file",
        _ => "no file",
    };
    let why = facts.why();
    let mut text = match facts.signal {
        Some(signal) => {
            format!("{what}: signal {signal} ended it, as HDF5 2.x does when it does not find its connector")
        }
        None => what.to_owned(),
    };
    if let Some(why) = &why {
        text = format!("{text}: {why}");
    }
    let fix = match &why {
        Some(why) if why.starts_with("h5lake: ") => {
            "correct what the message names in HDF5_VOL_CONNECTOR or H5LAKE_*"
        }
        _ if report.problems() > 0 => "correct the problems above first",
        _ if !facts.has_plugin => {
            "the plugin was not loaded: does the client change HDF5_PLUGIN_PATH itself?"
        }
        _ => "report this with the lines above",
    };
    report.problem("  makes", text, fix);
}
