//! Checks during the work of a writer that deletes unneeded data at once.

use super::*;
use crate::repair::tests::spoil;
use h5lake_container::testing::{Place, dataset, dataset_spec, file, memory, simple};
use h5lake_container::{Container, Dataset, Selection};
use h5lake_records::Layout;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of the dataset that the writer changes continuously.
const BYTES: usize = 400_000;

/// Each commit is a checkpoint, and the objects of the previous version are deleted.
fn reclaiming() -> Options {
    let ledger = h5lake_ledger::Options {
        retention: Some(Duration::ZERO),
        checkpoint_records: 1,
        checkpoint_bytes: 1,
        ..Default::default()
    };
    Options { ledger, ..Options::default() }
}

fn container(place: &Place) -> (Arc<Container>, Arc<Dataset>) {
    let c = place.create_with(reclaiming());
    let bytes = || dataset_spec(1, simple(&[BYTES as u64], &[BYTES as u64]), Layout::Contiguous);
    dataset(&c, b"a", bytes()).write(&Selection::All, &[0xa7; BYTES]).unwrap();
    let d = dataset(&c, b"d", bytes());
    d.write(&Selection::All, &[1; BYTES]).unwrap();
    c.flush().unwrap();
    (c, d)
}

fn move_on(c: &Container, d: &Dataset) {
    for n in 0..4 {
        d.write(&Selection::All, &[n; BYTES]).unwrap();
        c.flush().unwrap();
    }
    // If something is damaged, the vacuum fails after it has deleted everything that it could.
    let _of_a_damaged_container = c.vacuum();
}

/// Checks the container, while a writer commits at the first step of each of the first `checks` checks.
fn check_beside(place: &Place, (c, d): &(Arc<Container>, Arc<Dataset>), checks: u32) -> Result<Report> {
    let (mut left, mut last) = (checks, u64::MAX);
    verify(&place.target, &Options::default(), Versions::All, &mut |done, _| {
        let begins = done < last;
        last = done;
        if begins && left > 0 {
            left -= 1;
            move_on(c, d);
        }
    })
}

#[test]
fn a_check_restarts_if_a_writer_deletes_the_objects_being_read() {
    for place in [memory(), file()] {
        let open = container(&place);
        for checks in 0..5 {
            let report = check_beside(&place, &open, checks).unwrap();
            assert!(report.found.iter().all(|f| f.severity == Severity::Warning), "{:#?}", report.found);
            assert!(report.is_whole() && report.objects == 3);
        }
    }
}

#[test]
fn a_check_that_is_always_overtaken_says_so_and_a_pin_keeps_it_from_that() {
    let place = memory();
    let e = check_beside(&place, &container(&place), u32::MAX).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Gone, "{e}");
    assert!(e.to_string().contains("set a retention time"), "{e}");
    let place = file();
    assert!(check_beside(&place, &container(&place), u32::MAX).unwrap().is_whole());
}

#[test]
fn damage_is_reported_although_a_writer_deletes_the_objects_being_read() {
    for place in [memory(), file()] {
        let open = container(&place);
        spoil(&place, 0xa7, 100_000);
        for checks in [0, 1, u32::MAX] {
            let report = check_beside(&place, &open, checks);
            match report {
                Ok(report) => {
                    let damage = report.found.iter().filter(|f| f.severity == Severity::Damage);
                    let hit: Vec<_> = damage.map(|f| f.path.as_deref()).collect();
                    assert!(
                        !hit.is_empty() && hit.iter().all(|path| *path == Some("/a")),
                        "{:#?}",
                        report.found
                    );
                }
                // The check did not reach the damage.
                Err(e) => assert!(checks == u32::MAX && e.kind() == ErrorKind::Gone, "{e}"),
            }
        }
    }
}
