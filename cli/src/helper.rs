//! Processes that work for this one, and end with it however it ends.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use nix::sys::signal::{Signal, raise};

use crate::hidden;

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

/// In a helper: when the process that started it is gone, removes the temporary in which a path lies, and ends this process. libhdf5
/// runs meanwhile, so nothing else may run at that end.
pub fn end_with_starter(made: PathBuf) {
    std::thread::spawn(move || {
        let mut nothing = [0];
        while let Err(error) = io::stdin().read(&mut nothing) {
            if error.kind() != io::ErrorKind::Interrupted {
                break;
            }
        }
        hidden::remove_temporary_of(&made);
        let _not_reached = raise(Signal::SIGKILL);
    });
}
