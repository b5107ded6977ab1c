//! `h5lake verify` tells whole containers from damaged ones, and from what cannot be read.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use h5lake_ledger::{Extent, Ledger, Options, Replace};
use object_stores::registry::Registry;

fn verify(args: &[&str], name: &str) -> (i32, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_h5lake")).arg("verify").args(args).arg(name).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
}

/// A container with a root group, and one dataset's block that nobody reads as one.
fn fill(ledger: &Ledger) -> Extent {
    let extent = ledger.write_payload(&[7; 100_000]).unwrap();
    // A heap segment of the root group.
    let id = (1u64 << 62) + (1 << 12);
    let key = [&b"H"[..], &id.to_be_bytes(), &[0; 4]].concat();
    let encoded = extent.to_bytes();
    let piece = [&[0x10, 0xa0, 0x8d, 0x06, 0x22, encoded.len() as u8][..], &encoded].concat();
    let value = [&[0x0a, piece.len() as u8][..], &piece, &[0x20, 0xa0, 0x8d, 0x06]].concat();
    ledger.put(b"C", vec![0x08, 2]).unwrap();
    ledger.put(&[&b"O"[..], &id.to_be_bytes()].concat(), vec![0x08, 1, 0x5a, 0]).unwrap();
    ledger.put(&key, value).unwrap();
    ledger.commit().unwrap();
    extent
}

/// Changes a byte in the longest run of sevens of a file.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.windows(64).position(|w| w == [7; 64]).unwrap();
    bytes[at + 50_000] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn files_are_told_apart_by_the_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let name = path.to_str().unwrap();
    let ledger = Ledger::create_file(&path, Replace::Fail, Options::default()).unwrap();
    fill(&ledger);
    let (code, said) = verify(&[], name);
    assert!(code == 0 && said.contains("a.h5: whole"), "with a writer: {code} {said}");
    ledger.close().unwrap();
    let (code, said) = verify(&["--newest"], name);
    assert!(code == 0 && said.contains("a.h5: whole"), "{code} {said}");
    damage(&path);
    let (code, said) = verify(&[], name);
    assert!(
        code == 2 && said.contains("variable-length data of /") && said.contains("payload"),
        "{code} {said}"
    );
    let (code, said) = verify(&["--json"], name);
    assert!(
        code == 2 && said.contains(r#""path":"/""#) && said.contains(r#""whole":false"#),
        "{code} {said}"
    );
    fs::write(&path, b"no container at all").unwrap();
    assert_eq!(verify(&[], name).0, 1);
    assert_eq!(verify(&[], "/nowhere/at/all.h5").0, 1);
}

#[test]
fn objects_of_a_store_are_missed_when_they_are_gone_or_short() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}", dir.path().display());
    let store = Registry::global().open(&url).unwrap();
    let ledger =
        Ledger::create_objects(Arc::clone(&store), "a.h5", Replace::Fail, Options::default()).unwrap();
    fill(&ledger);
    let name = format!("{url}/a.h5");
    let (code, said) = verify(&[], &name);
    assert!(code == 0 && said.contains("whole"), "with a writer: {code} {said}");
    ledger.close().unwrap();
    assert_eq!(verify(&[], &name).0, 0);
    let lake = fs::read_dir(dir.path().join("a.h5.lake")).unwrap().next().unwrap().unwrap().path();
    let pack = fs::read_dir(lake.join("pack")).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(&pack).unwrap();
    fs::write(lake.join("pack").join("0".repeat(32)), b"left").unwrap();
    let (code, said) = verify(&[], &name);
    assert!(code == 0 && said.contains("warning: leftover object"), "{code} {said}");
    fs::write(&pack, &bytes[..90_000]).unwrap();
    let (code, said) = verify(&[], &name);
    assert!(code == 2 && said.contains("it has 90000 bytes"), "{code} {said}");
    fs::remove_file(&pack).unwrap();
    let (code, said) = verify(&[], &name);
    assert!(code == 2 && said.contains("it is missing"), "{code} {said}");
}

#[test]
fn all_kept_samples_are_whole() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests-py/reader/samples");
    let mut seen = 0;
    for sample in fs::read_dir(samples).unwrap() {
        let sample = sample.unwrap().path();
        let names =
            [sample.join("x.h5").display().to_string(), format!("file://{}/objects/x.h5", sample.display())];
        for (name, there) in names.iter().zip([sample.join("x.h5"), sample.join("objects/x.h5")]) {
            if there.exists() {
                let (code, said) = verify(&["-q"], name);
                assert!(code == 0 && said.lines().count() == 2, "{name}: {code} {said}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 9, "{seen} samples");
}
