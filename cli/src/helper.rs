//! Helper processes that end together with this process, even if it is killed.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};

/// The names of the Python interpreter.
const PYTHONS: [&str; 2] = ["python3", "python"];

/// Returns the Python interpreter: the one next to the tool, where a wheel installs it, otherwise the first one on PATH.
pub fn python() -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|tool| Some(tool.parent()?.to_owned()));
    let found =
        beside.and_then(|folder| PYTHONS.iter().map(|name| folder.join(name)).find(|path| path.is_file()));
    found.unwrap_or_else(|| PYTHONS[0].into())
}

/// Runs a helper process to its end. Its standard input is a pipe without input that closes when this process ends, so that the helper
/// notices the end. The helper gets a separate process group, so that Ctrl-C ends only this process and the helper can clean up.
pub fn output(command: &mut Command) -> io::Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn()?;
    let held = child.stdin.take();
    let done = child.wait_with_output();
    drop(held);
    done
}

/// A process that deletes a temporary file or folder when this process ends, even by SIGKILL. Dropping the value ends the process.
pub struct Remover {
    child: Child,
    /// The write end of the pipe, which closes when this process ends.
    _held: Option<ChildStdin>,
}

impl Remover {
    /// Starts the process for a temporary file or folder.
    pub fn start(temporary: &Path) -> io::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("remove-temporary").arg("--").arg(temporary);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn()?;
        let _held = child.stdin.take();
        Ok(Self { child, _held })
    }
}

impl Drop for Remover {
    fn drop(&mut self) {
        // The owner has already deleted the temporary.
        let _it_may_have_ended = self.child.kill();
        let _its_end_is_enough = self.child.wait();
    }
}

/// Returns when the process that started this one has ended, or has closed the standard input of this process.
pub fn wait_for_starter() {
    let mut nothing = [0];
    while let Err(error) = io::stdin().read(&mut nothing) {
        if error.kind() != io::ErrorKind::Interrupted {
            break;
        }
    }
}
