//! `h5lake repair` copies what is intact, between files and stores, and says what is lost.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use h5lake_ledger::{Ledger, Options, Replace};
use object_stores::registry::Registry;

fn tool(args: &[&str]) -> (i32, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_h5lake")).args(args).env_remove("H5LAKE_STORE").output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap())
}

const ROOT: u64 = (1 << 62) + (1 << 12);

/// A container with a root group, and a heap segment of it.
fn fill(ledger: Ledger) {
    let encoded = ledger.write_payload(&[7; 100_000]).unwrap().to_bytes();
    let key = [&b"H"[..], &ROOT.to_be_bytes(), &[0; 4]].concat();
    let piece = [&[0x10, 0xa0, 0x8d, 0x06, 0x22, encoded.len() as u8][..], &encoded].concat();
    let value = [&[0x0a, piece.len() as u8][..], &piece, &[0x20, 0xa0, 0x8d, 0x06]].concat();
    ledger.put(b"C", vec![0x08, 2]).unwrap();
    ledger.put(&[&b"O"[..], &ROOT.to_be_bytes()].concat(), vec![0x08, 1, 0x5a, 0]).unwrap();
    ledger.put(&key, value).unwrap();
    ledger.commit().unwrap();
    ledger.close().unwrap();
}

/// Files of a folder and of those in it, with their bytes.
fn bytes_of(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => out.extend(bytes_of(&path)),
            false => out.push((path.display().to_string(), fs::read(&path).unwrap())),
        }
    }
    out.sort();
    out
}

#[test]
fn whole_containers_go_from_files_to_stores_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    let store = format!("file://{}/store/b.h5", dir.path().display());
    fill(Ledger::create_file(Path::new(&at("a.h5")), Replace::Fail, Options::default()).unwrap());
    for (from, to) in [(at("a.h5"), store.clone()), (store.clone(), at("c.h5")), (at("a.h5"), at("d.h5"))] {
        let (code, said) = tool(&["repair", &from, &to]);
        assert!(code == 0 && said.contains("nothing was lost"), "{from} {to}: {code} {said}");
        let (code, said) = tool(&["verify", &to]);
        assert!(code == 0 && !said.contains("warning"), "{to}: {code} {said}");
        // What is there is not touched.
        let before = bytes_of(dir.path());
        let (code, said) = tool(&["repair", &from, &to]);
        assert!(code == 1 && said.contains("something is there"), "{code} {said}");
        assert!(bytes_of(dir.path()) == before);
    }
}

#[test]
fn losses_are_listed_and_the_source_stays() {
    let dir = tempfile::tempdir().unwrap();
    let url = format!("file://{}", dir.path().join("store").display());
    let store = Registry::global().open(&url).unwrap();
    fill(Ledger::create_objects(Arc::clone(&store), "a.h5", Replace::Fail, Options::default()).unwrap());
    let lake = fs::read_dir(dir.path().join("store/a.h5.lake")).unwrap().next().unwrap().unwrap().path();
    let pack = fs::read_dir(lake.join("pack")).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(&pack).unwrap();
    let before = bytes_of(&dir.path().join("store"));
    let target = dir.path().join("b.h5");
    let name = target.to_str().unwrap();
    let (code, said) = tool(&["repair", "--json", &format!("{url}/a.h5"), name]);
    assert!(code == 2 && said.contains(r#""whole":false"#), "{code} {said}");
    assert!(said.contains("variable-length data of /") && said.contains("it is missing"), "{said}");
    assert!(bytes_of(&dir.path().join("store")) == before, "the source was changed");
    let (code, said) = tool(&["verify", name]);
    assert!(code == 0 && said.contains("warning: lost data"), "{code} {said}");
    let (code, said) = tool(&["repair", name, &format!("{url}/c.h5")]);
    assert!(code == 2 && said.contains("lost: heap segment"), "{code} {said}");
}

#[test]
fn what_cannot_be_done_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("a.h5"), dir.path().join("b.h5"));
    fs::write(&source, b"no container at all").unwrap();
    let (code, said) = tool(&["repair", source.to_str().unwrap(), target.to_str().unwrap()]);
    assert_eq!(code, 1, "{said}");
    assert_eq!(bytes_of(dir.path()).len(), 1);
    assert_eq!(tool(&["repair", "/nowhere/at/all.h5", target.to_str().unwrap()]).0, 1);
    assert!(!target.exists());
}
