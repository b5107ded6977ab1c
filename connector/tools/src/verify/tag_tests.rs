//! Damage that affects only tags and bases of branches.

use super::*;
use crate::repair::tests::spoil;
use h5lake_container::testing::{Place, dataset, dataset_spec, file, group, places, simple, tracked};
use h5lake_container::{Access, Container, Selection};
use h5lake_ledger::{At, BranchName, TagName, Tagging};
use h5lake_records::{Layout, LinkTarget};
use std::time::Duration;

/// The byte value of data that the newest version no longer has.
const OLD: u8 = 0xa7;

fn without_retention() -> Options {
    let ledger = h5lake_ledger::Options { retention: Some(Duration::ZERO), ..Default::default() };
    Options { ledger, ..Options::default() }
}

fn name(text: &str) -> TagName {
    TagName::new(text).unwrap()
}

/// Retains the newest version by a tag or a branch, in a separate commit.
fn keep(p: &Place, keeper: &str) {
    let ledger = p.target.open_ledger(Access::ReadWrite, without_retention().ledger).unwrap();
    match keeper.strip_prefix("branch-") {
        Some(branch) => drop(ledger.create_branch(BranchName::new(branch).unwrap(), None).unwrap()),
        None => drop(ledger.tag(name(keeper), None, Tagging::default()).unwrap()),
    }
    ledger.close().unwrap();
}

/// Creates a version with a dataset that only a tag or a branch retains: the newest version has other data, and no
/// version between them is retained.
fn kept_by(p: &Place, keeper: &str) {
    let c = p.create_with(without_retention());
    let d = dataset(&c, b"d", dataset_spec(4, simple(&[50_000], &[50_000]), Layout::Contiguous));
    d.write(&Selection::All, &[OLD; 200_000]).unwrap();
    // Exceeds the length of a log, so that the close writes a checkpoint.
    for n in 0..400 {
        group(&c, c.root(), format!("group {n}").as_bytes(), tracked());
    }
    drop((d, c));
    keep(p, keeper);
    for n in 0..8u8 {
        let c = Container::open(&p.target, Access::ReadWrite, without_retention()).unwrap();
        for part in 0..50 {
            c.link_delete(c.root(), format!("group {}", part * 8 + n as usize).as_bytes()).unwrap();
        }
        let LinkTarget::Hard(id) = c.link(c.root(), b"d").unwrap().unwrap().target else { panic!() };
        c.dataset(id).unwrap().write(&Selection::All, &[n; 200_000]).unwrap();
        c.flush().unwrap();
        c.vacuum().unwrap();
    }
}

fn found(p: &Place, versions: Versions) -> Report {
    verify(&p.target, &Options::default(), versions, &mut |_, _| ()).unwrap()
}

#[test]
fn damage_to_a_version_that_a_tag_or_a_branch_alone_keeps_is_named_with_it() {
    for keeper in ["paper", "branch-fix"] {
        for p in places() {
            kept_by(&p, keeper);
            let report = found(&p, Versions::All);
            assert!(report.found.is_empty(), "{:#?}", report.found);
            spoil(&p, OLD, 100_000);
            let report = found(&p, Versions::All);
            let reported: Vec<_> =
                report.found.iter().map(|f| (f.kind, f.path.as_deref(), f.tag.as_deref())).collect();
            assert_eq!(reported, [("payload", Some("/d"), Some(keeper))], "{:#?}", report.found);
            assert!(found(&p, Versions::Newest).is_whole());
        }
    }
}

/// Returns whether all entries of the tagged version can be read.
fn is_readable(p: &Place, keeper: &str) -> bool {
    let ledger = h5lake_ledger::Options { at: Some(At::Tag(name(keeper))), ..Default::default() };
    let opened = p.target.open_ledger(Access::ReadOnly, ledger);
    opened.is_ok_and(|ledger| ledger.scan_prefix(&[], None, usize::MAX).is_ok())
}

#[test]
fn each_damaged_page_of_a_base_is_found() {
    let p = file();
    kept_by(&p, "branch-fix");
    let Target::File(path) = &p.target else { panic!() };
    let good = std::fs::read(path).unwrap();
    let pages = good.windows(4).enumerate().filter(|(_, w)| *w == b"h5lP").map(|(at, _)| at);
    let mut unreadable = 0;
    for at in pages {
        let mut bad = good.clone();
        bad[at + 20] ^= 1;
        std::fs::write(path, &bad).unwrap();
        if is_readable(&p, "branch-fix") {
            continue;
        }
        unreadable += 1;
        let report = found(&p, Versions::All);
        assert!(!report.is_whole(), "the page at byte {at}");
        assert!(report.found.iter().all(|f| f.kind != "base of a branch"), "{:#?}", report.found);
    }
    assert!(unreadable > 0);
}

/// Writes entries that no h5lake writes.
fn forge(p: &Place, entries: &[(&[u8], &[u8])]) {
    let ledger = p.target.open_ledger(Access::ReadWrite, Options::default().ledger).unwrap();
    for (key, value) in entries {
        ledger.put(key, value.to_vec()).unwrap();
    }
    ledger.commit().unwrap();
    ledger.close().unwrap();
}

#[test]
fn names_of_tags_and_branches_that_are_none_are_damage() {
    for p in places() {
        drop(p.create());
        forge(&p, &[(b"Tx; touch pwned #", b"1"), (b"T\x1b[31mred\x07", b"1"), (b"T\xff", b"1")]);
        forge(&p, &[(b"V\0a b", b"1"), (b"V\0fine", b"no record")]);
        let report = found(&p, Versions::All);
        let reported: Vec<_> = report.found.iter().map(|f| (f.kind, f.at.as_str())).collect();
        let wanted = [
            ("tag", "tag \\x1b[31mred\\x07"),
            ("tag", "tag x; touch pwned #"),
            ("tag", "tag \\xff"),
            ("branch", "branch a b"),
            ("branch", "branch fine"),
        ];
        assert_eq!(reported, wanted, "{report:?}");
        assert_eq!((report.damaged, report.is_whole()), (5, false));
        assert!(report.found[0].why.contains("h5lake repair"), "{:?}", report.found[0]);
    }
}
