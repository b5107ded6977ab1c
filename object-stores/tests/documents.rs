//! Numbers in the documents.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

fn document(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Returns the number of methods of a trait that have no body.
fn required_methods(source: &str, name: &str) -> usize {
    let (_, body) = source.split_once(&format!("pub trait {name}")).unwrap();
    let (body, _) = body.split_once("\n}\n").unwrap();
    body.lines().filter(|line| line.starts_with("    fn ") && line.ends_with(';')).count()
}

#[test]
fn the_methods_to_implement_are_counted() {
    let (source, text) = (document("src/store.rs"), document("../docs/backends.md"));
    assert_eq!((required_methods(&source, "ObjectStore"), required_methods(&source, "PutStream")), (10, 3));
    assert!(text.contains("`ObjectStore` (ten methods) and `PutStream` (three)"));
}

#[cfg(feature = "conformance")]
#[test]
fn the_checks_are_counted() {
    let checks = object_stores::conformance::checks().len();
    assert!(
        document("../docs/s3-servers.md")
            .contains(&format!("the suite of all stores there ({checks} checks)")),
        "{checks} checks"
    );
}
