//! Test that the tool ends without an error if the reader of its output closes the pipe.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::process::{Command, Stdio};

use h5lake_ledger::{Ledger, Options, Replace};

#[test]
fn a_closed_pipe_is_the_end_of_the_output() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let ledger = Ledger::create_file(&path, Replace::Fail, Options::default()).unwrap();
    ledger.put(b"C", vec![0x08, 2]).unwrap();
    ledger.commit().unwrap();
    ledger.close().unwrap();
    for command in ["versions", "vacuum"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut tool = Command::new(env!("CARGO_BIN_EXE_h5lake"));
        let done = tool.arg(command).arg(&path).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert!(done.status.success() && done.stderr.is_empty(), "{command}: {done:?}");
    }
}
