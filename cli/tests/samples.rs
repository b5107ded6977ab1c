//! Tests that the tool reads, compares and copies all stored samples, and reports damage as an error.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;
#[path = "common/sample.rs"]
mod sample;

use std::fs;
use std::path::{Path, PathBuf};

use common::{json, settle, tool};
use h5lake_ledger::{Access, Ledger, Options};
use serde_json::Value;

/// Returns the names and paths of all samples.
fn samples() -> Vec<(String, PathBuf)> {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests-py/reader/samples").canonicalize().unwrap();
    let mut found = Vec::new();
    for sample in fs::read_dir(folder).unwrap() {
        let sample = sample.unwrap().path();
        settle(&sample);
        let (file, objects) = (sample.join("x.h5"), sample.join("objects/x.h5"));
        if file.exists() {
            found.push((file.display().to_string(), file));
        } else if objects.exists() {
            found.push((format!("file://{}/objects/x.h5", sample.display()), objects));
        }
    }
    assert!(found.len() >= 9, "{found:?}");
    found
}

/// Returns whether the output of a command contains an error anywhere.
fn has_error(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.contains_key("error") || map.values().any(has_error),
        Value::Array(list) => list.iter().any(has_error),
        _ => false,
    }
}

#[test]
fn all_of_every_sample_is_shown() {
    let mut read = 0;
    for (name, _) in samples() {
        let listed = json(&["tree", "--json", &name]);
        assert!(!has_error(&listed), "{name}: {listed}");
        for object in listed.as_array().unwrap() {
            let path = object["path"].as_str().unwrap();
            if object["kind"] == "soft link" || object["kind"] == "external link" {
                continue;
            }
            let info = json(&["info", "--json", &name, path]);
            assert!(!has_error(&info), "{name}: {info}");
            for attribute in info["attributes"].as_object().unwrap().keys() {
                let shown = json(&["cat", "--json", &name, path, "--attribute", attribute]);
                assert_eq!(
                    Some(&shown["data"]),
                    info["attributes"][attribute].get("value").or(Some(&Value::Null))
                );
            }
            let is_here = object["layout"] != "virtual" && object["layout"] != "external";
            if object["kind"] == "dataset" && is_here {
                read += 1;
                assert_eq!(tool(&["cat", &name, path]).0, 0, "{name} {path}");
                let shown = json(&["cat", "--json", &name, path]);
                assert_eq!(shown["shape"], object["shape"], "{name} {path}");
            }
        }
    }
    assert!(read > 50, "{read} datasets");
}

#[test]
fn every_sample_is_copied_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    for (n, (name, _)) in samples().iter().enumerate() {
        let file = dir.path().join(format!("{n}.h5")).display().to_string();
        let objects = format!("file://{}/store/{n}.h5", dir.path().display());
        for (from, to) in [(name, &file), (&file, &objects)] {
            let (code, said) = tool(&["copy", from, to]);
            assert_eq!(code, 0, "{name}: {said}");
            let (code, said) = tool(&["verify", "-q", to]);
            assert!(code == 0 && said.lines().count() == 2, "{name}: {said}");
            let (code, said) = tool(&["diff", "--storage", name, to]);
            assert_eq!(code, 0, "{name}: {said}");
        }
    }
}

/// Checksums detect changed bytes, or the changed bytes have no effect. The tool never panics, dies of a signal or loops forever.
#[test]
fn damage_ends_with_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.h5");
    let name = path.to_str().unwrap();
    let (mut seed, mut refused) = (0x9e37_79b9_u32, 0);
    for (_, file) in samples().into_iter().filter(|(name, _)| !name.starts_with("file:")) {
        let bytes = fs::read(file).unwrap();
        for _ in 0..12 {
            let mut damaged = bytes.clone();
            for _ in 0..3 {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = (seed >> 8) as usize % damaged.len();
                damaged[at] ^= (seed >> 3) as u8 | 1;
            }
            fs::write(&path, damaged).unwrap();
            for args in [&["tree", "-l", name][..], &["info", name], &["cat", name, "/filtered"]] {
                let code = tool(args).0;
                assert!(code == 0 || code == 1, "{args:?}: {code}");
                refused += code;
            }
        }
    }
    assert!(refused > 0);
}

/// Damage to one dataset does not prevent the other datasets from being compared and listed.
#[test]
fn damage_in_one_dataset_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a.h5"), dir.path().join("b.h5"));
    let made = |path: &Path, last| {
        let c = sample::create(path);
        let numbers: Vec<i32> = (1000..20_000).collect();
        sample::dataset(&c, "damaged", Vec::new(), &numbers);
        sample::dataset(&c, "other", Vec::new(), &[1, last]);
    };
    made(&a, 2);
    made(&b, 3);
    let mut bytes = fs::read(&a).unwrap();
    let wanted: Vec<u8> = (5000..5010).flat_map(i32::to_le_bytes).collect();
    let at = bytes.windows(wanted.len()).position(|part| part == wanted).unwrap();
    bytes[at] ^= 1;
    fs::write(&a, bytes).unwrap();
    let (a, b) = (a.to_str().unwrap(), b.to_str().unwrap());
    let (code, said) = tool(&["diff", a, b]);
    assert!(
        code == 2 && said.contains("? /damaged  not compared") && said.contains("! /other  1 of 2"),
        "{said}"
    );
    assert_eq!(tool(&["ls", "-l", a]).0, 0);
    let (code, said) = tool(&["cat", a, "/damaged"]);
    assert!(code == 1 && said.contains("a.h5"), "{code} {said}");
}

#[test]
fn an_unreadable_header_hides_no_other_object() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let name = path.to_str().unwrap();
    let c = sample::create(&path);
    let id = sample::dataset(&c, "bad", Vec::new(), &[1]).object().id();
    sample::dataset(&c, "good", Vec::new(), &[1]);
    c.flush().unwrap();
    drop(c);
    let ledger = Ledger::open_file(&path, Access::ReadWrite, Options::default()).unwrap();
    let key = [&b"O"[..], &id.0.to_be_bytes()].concat();
    ledger.put(&key, vec![0xff; 3]).unwrap();
    ledger.commit().unwrap();
    ledger.close().unwrap();
    for command in ["ls", "tree"] {
        let (code, said) = tool(&[command, "-l", name]);
        assert!(code == 1 && said.contains("unreadable: ") && said.contains("int32 LE"), "{code} {said}");
        let (code, said) = tool(&[command, "--json", name]);
        assert!(
            code == 1 && said.contains(r#""kind":"unreadable""#) && said.contains("/good"),
            "{code} {said}"
        );
    }
    assert_eq!(tool(&["copy", name, &format!("{name}.copy")]).0, 0);
    assert_eq!(tool(&["diff", name, &format!("{name}.copy")]).0, 1);
}
