//! `h5lake browse`: shows a container in a web browser.

use std::os::unix::process::CommandExt;
use std::path::Path;

use crate::publish::python;
use crate::{Failure, helper, run};

/// Replaces this process with a server on loopback that shows a container, its attributes, plots and images. Returns only if this fails.
///
/// # Errors
///
/// Returns an error if Python does not start.
pub fn run(name: &Path, port: u16, opens_browser: bool) -> Result<(), Failure> {
    let mut command = python::command("_browse")?;
    run::set_environment(&mut command, &[])?;
    command.arg(name).arg(port.to_string()).arg(if opens_browser { "yes" } else { "no" });
    let error = command.exec();
    Err(format!("browse: {} does not start: {error}", helper::python().display()).into())
}
