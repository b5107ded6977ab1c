//! The tool on a file of which most was deleted.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::path::Path;
use std::process::Command;

use h5lake_ledger::{Ledger, Options, Replace};

/// Data, and then so many keys that their pages take a megabyte; the data is deleted.
fn make(path: &Path) {
    let l = Ledger::create_file(path, Replace::Fail, Options::default()).unwrap();
    // What a container has to have to be opened as one.
    l.put(b"C", vec![0x08, 1]).unwrap();
    let front = l.write_payload(&vec![7; 20 << 20]).unwrap();
    l.put(b"front", front.to_bytes()).unwrap();
    l.commit().unwrap();
    for n in 0..10_000u32 {
        l.put(format!("key-{n}").as_bytes(), vec![n as u8; 80]).unwrap();
    }
    l.commit().unwrap();
    l.free_payload(&front).unwrap();
    l.delete(b"front").unwrap();
    l.commit().unwrap();
    l.close().unwrap();
}

#[test]
fn one_vacuum_leaves_a_file_as_long_as_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    make(&path);
    let before = path.metadata().unwrap().len();
    let done = Command::new(env!("CARGO_BIN_EXE_h5lake")).arg("vacuum").arg(&path).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let after = path.metadata().unwrap().len();
    assert!(before > 20 << 20 && after < 2 << 20, "{before} {after}");
    let told = String::from_utf8(done.stdout).unwrap();
    assert!(told.contains(&format!(": {} bytes given back", before - after)), "{told}");
}
