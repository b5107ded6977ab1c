//! The register of a container in a store: in memory, or in the store with the URL in LEDGER_TEST_STORE.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use std::path::Path;

use h5lake_ledger::register::conformance;

#[test]
fn the_register_conforms() {
    conformance::run(common::store);
}

#[test]
fn the_checks_are_counted() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/s3-servers.md");
    let text = std::fs::read_to_string(page).unwrap();
    let checks = conformance::CHECKS.len();
    assert!(
        text.contains(&format!("the register that each container has ({checks} checks)")),
        "{checks} checks"
    );
}
