//! Tests that `h5lake verify` distinguishes intact, damaged and unreadable containers.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use common::{Store, fill, tool};
use h5lake_ledger::{Access, Ledger, Options, Replace, TagName, Tagging};
use object_stores::Key;

fn verify(args: &[&str], name: &str) -> (i32, String) {
    tool(&[&["verify"], args, &[name]].concat())
}

/// Changes a byte in the payload of sevens in a file.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.windows(64).position(|w| w == [7; 64]).unwrap();
    bytes[at + 50_000] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn exit_codes_report_whole_and_damaged_files() {
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
fn damage_to_the_version_of_a_tag_is_named_with_the_tag() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let name = path.to_str().unwrap();
    let options = Options { retention: Some(Duration::ZERO), ..Options::default() };
    let ledger = Ledger::create_file(&path, Replace::Fail, options.clone()).unwrap();
    let extent = fill(&ledger);
    ledger.tag(TagName::new("paper").unwrap(), None, Tagging::default()).unwrap();
    let (key, _) = ledger.scan_prefix(b"H", None, 1).unwrap().remove(0);
    ledger.delete(&key).unwrap();
    ledger.free_payload(&extent).unwrap();
    ledger.commit().unwrap();
    ledger.close().unwrap();
    // Freed space is reused until only the tag retains the version.
    for n in 0..8 {
        let ledger = Ledger::open_file(&path, Access::ReadWrite, options.clone()).unwrap();
        let extent = ledger.write_payload(&[n; 50_000]).unwrap();
        (0..1000_u32)
            .for_each(|key| ledger.put(&[b"Z", &key.to_be_bytes()[..]].concat(), vec![n; 40]).unwrap());
        ledger.commit().unwrap();
        (0..1000_u32).for_each(|key| ledger.delete(&[b"Z", &key.to_be_bytes()[..]].concat()).unwrap());
        ledger.free_payload(&extent).unwrap();
        ledger.commit().unwrap();
        ledger.close().unwrap();
        let (code, said) = tool(&["vacuum", name]);
        assert_eq!(code, 0, "{said}");
    }
    let (code, said) = verify(&[], name);
    assert!(code == 0 && said.contains(" 1 tags, "), "{code} {said}");
    damage(&path);
    let (code, said) = verify(&[], name);
    assert!(code == 2 && said.contains("(in the version of the tag 'paper')"), "{code} {said}");
    let (code, said) = verify(&["--json"], name);
    assert!(code == 2 && said.contains(r#""newest":false"#) && said.contains(r#""tag":"paper""#), "{said}");
    assert_eq!(verify(&["--newest"], name).0, 0);
}

#[test]
fn objects_of_a_store_are_missed_when_they_are_gone_or_short() {
    let at = Store::new();
    let store = at.store.clone();
    let ledger = Ledger::create_objects(store, "a.h5", Replace::Fail, Options::default()).unwrap();
    fill(&ledger);
    let name = at.url_of("a.h5");
    let (code, said) = verify(&[], &name);
    assert!(code == 0 && said.contains("whole"), "with a writer: {code} {said}");
    ledger.close().unwrap();
    assert_eq!(verify(&[], &name).0, 0);
    let (pack, bytes) = at.pack();
    let folder = pack.as_str().rsplit_once('/').unwrap().0;
    at.put(&Key::new(format!("{folder}/{}", "0".repeat(32))).unwrap(), b"left");
    let (code, said) = verify(&[], &name);
    assert!(code == 0 && said.contains("warning: leftover object"), "{code} {said}");
    at.put(&pack, &bytes[..90_000]);
    let (code, said) = verify(&[], &name);
    assert!(code == 2 && said.contains("it has 90000 bytes"), "{code} {said}");
    let mut changed = bytes;
    changed[50_000] ^= 1;
    at.put(&pack, &changed);
    let (code, said) = verify(&[], &name);
    assert!(code == 2 && said.contains("variable-length data of /"), "{code} {said}");
    at.store.delete(&pack).unwrap();
    let (code, said) = verify(&[], &name);
    assert!(code == 2 && said.contains("it is missing"), "{code} {said}");
}

#[test]
fn all_kept_samples_are_whole() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests-py/reader/samples");
    let mut seen = 0;
    for sample in fs::read_dir(samples).unwrap() {
        let sample = sample.unwrap().path();
        common::settle(&sample);
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
