//! Tests that the entries for file(1) recognize containers, manifests and pointer files.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Returns the root folder of the project.
fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Returns the description of file(1) with only these entries, or `None` if file(1) is not installed.
fn kind_of(path: &Path) -> Option<String> {
    let magic = project().join("packaging/magic/h5lake");
    let done = Command::new("file").arg("--brief").arg("-m").arg(magic).arg(path).output().ok()?;
    assert!(done.status.success() && done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
    Some(String::from_utf8(done.stdout).unwrap().trim_end().to_owned())
}

#[test]
fn file_names_containers_manifests_and_pointer_files() {
    let samples = project().join("tests-py/reader/samples");
    if kind_of(&samples).is_none() {
        eprintln!("skipped: file(1) is not installed");
        return;
    }
    let mut seen = [0; 2];
    for sample in samples.read_dir().unwrap() {
        let sample = sample.unwrap().path();
        let (file, manifest) = (sample.join("x.h5"), sample.join("objects/x.h5"));
        let (path, kind, seen) = match file.exists() {
            true => (file, "in one file", &mut seen[0]),
            false => (manifest, "manifest of a container in an object store", &mut seen[1]),
        };
        let bytes = std::fs::read(&path).unwrap();
        // The magic bytes follow the user block, if there is one.
        let at = bytes.windows(16).position(|window| window == b"\x89HDF\r\n\x1a\n\x4Ch5lake\0").unwrap();
        let format = bytes[at + 16];
        assert_eq!(
            kind_of(&path),
            Some(format!("h5lake container, format {format}, {kind}")),
            "{}",
            path.display()
        );
        *seen += 1;
    }
    assert!(seen[0] >= 9 && seen[1] >= 9, "{seen:?}");

    let dir = tempfile::tempdir().unwrap();
    let pointer = dir.path().join("pointer.h5");
    let url = format!("file://{}", samples.join("dir-closed/objects").display());
    let linked = Command::new(env!("CARGO_BIN_EXE_h5lake"))
        .args(["link", &format!("{url}/x.h5")])
        .arg(&pointer)
        .status()
        .unwrap();
    assert!(linked.success());
    assert_eq!(kind_of(&pointer), Some(format!("h5lake pointer file, format 1, to a container in {url}")));
    // The entries leave native HDF5 files to the entries of the system.
    assert_eq!(kind_of(&samples.join("adopted/native.h5")).as_deref(), Some("data"));
}
