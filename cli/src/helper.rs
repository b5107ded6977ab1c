//! Processes that work for this one, and end with it however it ends.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};

/// The names of the Python interpreter.
const PYTHONS: [&str; 2] = ["python3", "python"];

/// The Python interpreter of this tool: the one beside the tool, where a wheel is installed, or else the first one on PATH.
pub fn python() -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|tool| Some(tool.parent()?.to_owned()));
    let found =
        beside.and_then(|folder| PYTHONS.iter().map(|name| folder.join(name)).find(|path| path.is_file()));
    found.unwrap_or_else(|| PYTHONS[0].into())
}

/// Runs a helper to its end. Its standard input is a pipe that nobody writes to, so the helper sees when this process is gone. It gets a
/// process group of its own: Ctrl-C ends this process, and the helper then clears up.
pub fn output(command: &mut Command) -> io::Result<Output> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn()?;
    let held = child.stdin.take();
    let done = child.wait_with_output();
    drop(held);
    done
}

/// A process that removes a temporary when this one is gone, however it ends: by SIGKILL, too. It ends when this is dropped.
pub struct Remover {
    child: Child,
    /// The end of the pipe that closes with this process.
    _held: Option<ChildStdin>,
}

impl Remover {
    /// Starts one for a temporary of this tool.
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
        // Whoever drops it has removed what could be removed.
        let _it_may_have_ended = self.child.kill();
        let _its_end_is_enough = self.child.wait();
    }
}

/// Returns when the process that started this one is gone, or has let go of this one's standard input.
pub fn wait_for_starter() {
    let mut nothing = [0];
    while let Err(error) = io::stdin().read(&mut nothing) {
        if error.kind() != io::ErrorKind::Interrupted {
            break;
        }
    }
}
