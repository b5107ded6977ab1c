//! Gets credentials from a program.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::answers::of_json;
use super::cache::Issued;
use super::{Got, refused};
use crate::ErrorKind;

/// The time that a program may run that prints credentials.
const PROCESS_TIME: Duration = Duration::from_secs(60);
/// The maximum length of a program's output, in bytes.
const MAX_PROCESS_OUTPUT: u64 = 64 << 10;

/// Runs a program that prints credentials ("Sourcing credentials with an external process" of the AWS SDKs and Tools
/// guide). The program's standard error is the caller's, and is never part of an error, because it may contain secrets.
pub(super) async fn of_process(command: String, profile: String) -> Got<Issued> {
    let why = |e: String| {
        let text = format!("credential_process of the AWS profile '{profile}' {e}");
        refused(ErrorKind::Unauthenticated, text)
    };
    let run = tokio::task::spawn_blocking(move || output_of(&command, PROCESS_TIME));
    let text = run.await.map_err(|_| why("was not run".to_owned()))?.map_err(why)?;
    let document: Value = serde_json::from_str(&text)
        .map_err(|_| why("did not print a JSON document; run the command to see its output".to_owned()))?;
    if document.get("Version").and_then(Value::as_u64) != Some(1) {
        return Err(why("printed a document in which Version is not 1".to_owned()));
    }
    of_json(&text, "SessionToken").map_err(|e| why(format!("printed a document that {e}")))
}

/// Runs a command in a shell, and returns its output.
fn output_of(command: &str, time: Duration) -> Result<String, String> {
    use std::io::Read as _;
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("cannot be run: {e}"))?;
    let (send, output) = std::sync::mpsc::channel();
    let mut pipe = child.stdout.take();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = pipe.as_mut().map(|pipe| pipe.take(MAX_PROCESS_OUTPUT).read_to_end(&mut text));
        let _nobody_waits = send.send(read.is_some_and(|read| read.is_ok()).then_some(text));
    });
    let output = output.recv_timeout(time);
    let Ok(text) = output else {
        let _it_has_ended = child.kill();
        let _it_was_killed = child.wait();
        return Err(format!("did not end within {} seconds", time.as_secs()));
    };
    // A program that closed its output ends soon, unless it has more to print than is read.
    let ends = Instant::now() + Duration::from_secs(1);
    let status = loop {
        match child.try_wait().map_err(|e| format!("cannot be run: {e}"))? {
            Some(status) => break status,
            None if Instant::now() >= ends => {
                let _it_has_ended = child.kill();
                break child.wait().map_err(|e| format!("cannot be run: {e}"))?;
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    if !status.success() {
        return Err(format!("failed: {status}; run the command to see why"));
    }
    let text = text.ok_or_else(|| "has an output that cannot be read".to_owned())?;
    String::from_utf8(text).map_err(|_| "did not print a JSON document".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_end_is_killed() {
        let begun = Instant::now();
        let error = output_of("sleep 60; echo x", Duration::from_millis(200)).unwrap_err();
        assert!(error.contains("did not end within"), "{error}");
        let error = output_of("echo x; exec >&-; exec sleep 60", Duration::from_secs(20)).unwrap_err();
        assert!(error.contains("failed: signal: 9"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert_eq!(output_of("printf \"%s\" 'a b'", Duration::from_secs(20)).unwrap(), "a b");
    }
}
