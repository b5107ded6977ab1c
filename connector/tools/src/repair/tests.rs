//! Repairs of whole containers, and of containers in which something is damaged.

use super::*;
use crate::End;
use crate::verify::Versions;
use h5lake_container::testing::{
    Place, attr_spec, dataset, dataset_spec, file, group, memory, simple, tracked,
};
use h5lake_container::{Access, Container, GroupSpec, Options, Selection};
use h5lake_records::{CharSet, Filter, Index, Layout, LinkTarget, ObjectId, Order, UNLIMITED};
use object_stores::{ObjectStoreExt, PutMode, PutPayload};

const NAMES: [&[u8]; 5] = [b"small", b"long", b"plain", b"filtered", b"texts"];
/// The byte value by which payloads are found in the stored bytes.
const PLAIN: u8 = 0xa7;

fn noise(n: usize, seed: u32) -> Vec<u8> {
    (0..n as u32).map(|i| ((i ^ seed).wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Creates a container with every kind of object; returns the id of a heap blob.
pub(crate) fn fill(place: &Place) -> [u8; 16] {
    let c = place.create();
    let g = group(&c, c.root(), b"g", tracked());
    c.link_create(g, b"soft", LinkTarget::Soft(b"/g".to_vec()), CharSet::Utf8).unwrap();
    c.link_create(c.root(), b"z", LinkTarget::Hard(g), CharSet::Utf8).unwrap();
    c.attr_create(g, b"small", attr_spec(4, 4)).unwrap().write(&[1; 16]).unwrap();
    c.attr_create(g, b"big", attr_spec(1, 90_000)).unwrap().write(&noise(90_000, 1)).unwrap();
    let small = dataset(&c, b"small", dataset_spec(4, simple(&[10], &[10]), Layout::Contiguous));
    small.write(&Selection::All, &[3; 40]).unwrap();
    let long = dataset(&c, b"long", dataset_spec(4, simple(&[600_000], &[600_000]), Layout::Contiguous));
    long.write(&Selection::All, &noise(2_400_000, 2)).unwrap();
    let mut spec =
        dataset_spec(8, simple(&[100, 100], &[UNLIMITED; 2]), Layout::Chunked { chunk: vec![50, 60] });
    let plain = dataset(&c, b"plain", spec.clone());
    let mut data = noise(80_000, 3);
    // Fills the first chunk.
    for row in 0..50 {
        data[row * 800..row * 800 + 480].fill(PLAIN);
    }
    plain.write(&Selection::All, &data).unwrap();
    spec.filters = vec![Filter { id: 1, flags: 0, name: Vec::new(), client_data: vec![6] }];
    dataset(&c, b"filtered", spec).write(&Selection::All, &noise(80_000, 4)).unwrap();
    let texts = dataset(&c, b"texts", dataset_spec(4, simple(&[10], &[10]), Layout::Compact));
    texts.write(&Selection::All, &[9; 40]).unwrap();
    let blob = c.heap_put(texts.object().id(), &vec![0xb8; 40_000]).unwrap();
    for n in 0..300u32 {
        let inner = group(&c, g, format!("group {n}").as_bytes(), tracked());
        c.attr_create(inner, b"n", attr_spec(4, 1)).unwrap().write(&n.to_le_bytes()).unwrap();
    }
    c.flush().unwrap();
    blob
}

fn id(c: &Container, group: ObjectId, name: &[u8]) -> ObjectId {
    match c.link(group, name).unwrap().unwrap().target {
        LinkTarget::Hard(id) => id,
        other => panic!("{other:?}"),
    }
}

/// Returns everything that the interface reports about a container: a line for each object, and unreadable data as
/// errors.
pub(crate) fn described(place: &Place, blob: &[u8; 16]) -> Vec<String> {
    let c = place.open(Access::ReadOnly);
    let mut out = vec![format!("{:?} {}", c.creation_properties(), c.user_block())];
    let mut groups = vec![(String::new(), c.root())];
    let mut seen = HashSet::from([c.root()]);
    while let Some((path, g)) = groups.pop() {
        out.push(format!("{path}/ {:?}", c.object_info(g).unwrap()));
        for a in c.attrs(g, Index::Name, Order::Increasing).unwrap() {
            let value = c.attr_open(g, &a.name).unwrap().read().map(|b| b.to_vec()).ok();
            out.push(format!("{path} {a:?} {value:?}"));
        }
        for l in c.links(g, Index::Name, Order::Increasing).unwrap() {
            out.push(format!("{path} {l:?}"));
            if let LinkTarget::Hard(to) = l.target
                && seen.insert(to)
                && c.object_info(to).unwrap().kind == h5lake_records::ObjectKind::Group
            {
                groups.push((format!("{path}/{}", String::from_utf8_lossy(&l.name)), to));
            }
        }
    }
    for name in NAMES {
        let Ok(Some(link)) = c.link(c.root(), name) else { continue };
        let LinkTarget::Hard(id) = link.target else { continue };
        let d = c.dataset(id).unwrap();
        let mut data = vec![0; (d.space().points().unwrap() * d.datatype().size) as usize];
        out.push(format!("{id:?} {:?} {:?} {:?}", d.space(), d.datatype(), d.layout()));
        let read = d.read(&Selection::All, &mut data).map_err(|e| e.kind());
        out.push(format!("{id:?} {read:?} {:x?}", read.is_ok().then_some(data)));
    }
    let mut text = vec![0; 40_000];
    let read = c.heap_get(blob, &mut text).map_err(|e| e.kind());
    out.push(format!("blob {read:?} {:x?}", read.is_ok().then_some(text)));
    out
}

fn mend(from: &Place, to: &Place) -> Repaired {
    repair(
        End::new(&from.target, &Options::default()),
        End::new(&to.target, &Options::default()),
        &mut |_, _| (),
    )
    .unwrap()
}

/// Checks that the target is intact, except for warnings about data that is marked as lost.
fn check(place: &Place) -> usize {
    let report = verify::verify(&place.target, &Options::default(), Versions::All, &mut |_, _| ()).unwrap();
    assert!(report.is_whole(), "{:#?}", report.found);
    assert!(report.found.iter().all(|f| f.kind == "lost data"), "{:#?}", report.found);
    report.found.len()
}

#[test]
fn an_undamaged_container_is_copied_unchanged() {
    for from in [file(), memory()] {
        let blob = fill(&from);
        let was = described(&from, &blob);
        let other = file();
        for to in [file(), memory(), other] {
            let done = mend(&from, &to);
            assert!(done.is_whole() && done.found == 0 && done.objects == 307, "{:?}", done.lost);
            assert_eq!(check(&to), 0);
            assert!(described(&to, &blob) == was);
            // The next object gets an unused id.
            let c = to.open(Access::ReadWrite);
            let new = c.create_group(GroupSpec::default()).unwrap();
            assert!(c.find_path(new.id()).unwrap().is_none());
            drop((new, c));
            let again = repair(
                End::new(&from.target, &Options::default()),
                End::new(&to.target, &Options::default()),
                &mut |_, _| (),
            );
            assert_eq!(again.unwrap_err().kind(), ErrorKind::AlreadyExists);
        }
    }
}

#[test]
fn tags_and_branches_that_are_not_copied_are_reported() {
    for place in [file(), memory()] {
        fill(&place);
        let opened = place.target.open_ledger(Access::ReadWrite, Options::default().ledger);
        let ledger = opened.unwrap();
        ledger.tag(h5lake_ledger::TagName::new("paper").unwrap(), None, Default::default()).unwrap();
        ledger.create_branch(h5lake_ledger::BranchName::new("fix").unwrap(), None).unwrap();
        ledger.close().unwrap();
        let done = mend(&place, &file());
        assert!(!done.is_whole() && done.lost.is_empty(), "{done:?}");
        assert_eq!((done.tags, done.branches), (vec!["paper".to_owned()], vec!["fix".to_owned()]));
    }
}

/// Changes a byte in the middle of the first `run` consecutive bytes with the value `byte`.
pub(crate) fn spoil(place: &Place, byte: u8, run: usize) {
    let change = |all: &mut Vec<u8>| match all.windows(run).position(|w| w.iter().all(|b| *b == byte)) {
        Some(at) => {
            all[at + run / 2] ^= 1;
            true
        }
        None => false,
    };
    match &place.target {
        Target::File(path) => {
            let mut all = std::fs::read(path).unwrap();
            assert!(change(&mut all));
            std::fs::write(path, all).unwrap();
        }
        Target::Objects { store, .. } => {
            let changed = store.list("", None).map(|m| m.unwrap().key).filter(|key| {
                let mut all = store.get(key, None).unwrap().bytes.to_vec();
                let is_changed = change(&mut all);
                if is_changed {
                    store.put(key, PutPayload::from(Bytes::from(all)), PutMode::Overwrite).unwrap();
                }
                is_changed
            });
            assert!(changed.count() > 0);
        }
    }
}

/// Returns the number of lines that are in only one of two lists.
fn differing(a: &[String], b: &[String]) -> usize {
    a.iter().filter(|line| !b.contains(line)).count()
}

#[test]
fn a_lost_chunk_answers_an_error_until_it_is_written_whole() {
    for (from, to) in [(file(), memory()), (memory(), file())] {
        let blob = fill(&from);
        let was = described(&from, &blob);
        spoil(&from, PLAIN, 20_000);
        let done = mend(&from, &to);
        let lost: Vec<_> = done.lost.iter().map(|f| f.what.as_str()).collect();
        assert_eq!(lost, ["chunk [0, 0] of /plain"], "{:#?}", done.lost);
        assert_eq!(check(&to), 1);
        assert_eq!(differing(&was, &described(&to, &blob)), 1);
        let c = to.open(Access::ReadWrite);
        let d = c.dataset(id(&c, c.root(), b"plain")).unwrap();
        let part = |start: u64, n: u64| Selection::Hyperslab {
            start: vec![start, 0],
            stride: vec![1, 1],
            count: vec![n, 60],
            block: vec![1, 1],
        };
        let mut out = vec![0; 50 * 60 * 8];
        let e = d.read(&part(0, 50), &mut out).unwrap_err();
        assert!(e.kind() == ErrorKind::Corrupt && e.to_string().contains("was lost"), "{e}");
        d.read(&part(50, 50), &mut out).unwrap();
        // The new elements are readable, and all other elements stay lost.
        d.write(&part(0, 20), &vec![5; 20 * 60 * 8]).unwrap();
        c.flush().unwrap();
        d.read(&part(0, 50), &mut out).unwrap_err();
        d.write(&part(0, 50), &vec![6; 50 * 60 * 8]).unwrap();
        c.flush().unwrap();
        drop((d, c));
        assert_eq!(check(&to), 0);
        let c = to.open(Access::ReadOnly);
        c.dataset(id(&c, c.root(), b"plain")).unwrap().read(&part(0, 50), &mut out).unwrap();
        assert!(out.iter().all(|b| *b == 6));
    }
}

/// A chunk that was written in parts has several payloads.
#[test]
fn undamaged_parts_of_a_damaged_chunk_are_kept_without_needless_writes() {
    const ROWS: u64 = 40_000;
    for (from, to) in [(file(), memory()), (memory(), file())] {
        let c = from.create();
        let spec = dataset_spec(1, simple(&[ROWS], &[ROWS]), Layout::Chunked { chunk: vec![ROWS] });
        let d = dataset(&c, b"plain", spec);
        let part = |start: u64, n: u64| Selection::Hyperslab {
            start: vec![start],
            stride: vec![1],
            count: vec![n],
            block: vec![1],
        };
        let data = noise(ROWS as usize, 5);
        for (start, n) in [(0, 15_000), (25_000, 15_000)] {
            d.write(&part(start, n), &data[start as usize..(start + n) as usize]).unwrap();
            c.flush().unwrap();
        }
        d.write(&part(16_000, 8000), &[PLAIN; 8000]).unwrap();
        c.flush().unwrap();
        drop((d, c));
        spoil(&from, PLAIN, 7000);
        let done = mend(&from, &to);
        let lost: Vec<_> = done.lost.iter().map(|f| f.what.as_str()).collect();
        assert_eq!(lost, ["chunk [0] of /plain"], "{:#?}", done.lost);
        assert_eq!(check(&to), 1);
        let c = to.open(Access::ReadOnly);
        let d = c.dataset(id(&c, c.root(), b"plain")).unwrap();
        let mut out = vec![0; 15_000];
        for start in [0, 25_000] {
            d.read(&part(start, 15_000), &mut out).unwrap();
            assert!(out == data[start as usize..][..15_000]);
        }
        d.read(&part(16_000, 10), &mut out[..10]).unwrap_err();
        drop((d, c));
    }
}

#[test]
fn a_lost_chunk_can_be_deleted_and_copied_again() {
    let (from, to, third) = (file(), memory(), file());
    fill(&from);
    spoil(&from, PLAIN, 20_000);
    mend(&from, &to);
    let again = mend(&to, &third);
    assert_eq!(again.lost.len(), 1, "{:#?}", again.lost);
    assert_eq!(check(&third), 1);
    let c = third.open(Access::ReadWrite);
    c.link_delete(c.root(), b"plain").unwrap();
    c.flush().unwrap();
    c.vacuum().unwrap();
    drop(c);
    assert_eq!(check(&third), 0);
}

#[test]
fn lost_attributes_and_blobs_are_named_and_nothing_else_is_lost() {
    let from = file();
    let blob = fill(&from);
    let was = described(&from, &blob);
    spoil(&from, 0xb8, 30_000);
    let to = memory();
    let done = mend(&from, &to);
    assert_eq!(done.lost.len(), 1, "{:#?}", done.lost);
    assert_eq!(done.lost[0].what, "variable-length data of /texts");
    assert_eq!(differing(&was, &described(&to, &blob)), 1);
    assert_eq!(check(&to), 1);

    let (from, to) = (file(), file());
    let blob = fill(&from);
    let was = described(&from, &blob);
    let Target::File(path) = &from.target else { panic!() };
    let mut all = std::fs::read(path).unwrap();
    let value = &noise(90_000, 1)[..10_000];
    let at = all.windows(value.len()).position(|w| w == value).unwrap();
    all[at + 100] ^= 1;
    std::fs::write(path, all).unwrap();
    let done = mend(&from, &to);
    let lost: Vec<_> = done.lost.iter().map(|f| f.what.as_str()).collect();
    assert_eq!(lost, ["attribute big of /g"], "{:#?}", done.lost);
    assert_eq!(check(&to), 0);
    // The attribute, and the number of attributes.
    assert_eq!(differing(&was, &described(&to, &blob)), 2);
}

#[test]
fn lost_entries_cost_what_they_held_and_no_more() {
    type Change = fn(&Container);
    let cases: [(Change, &[&str]); 4] = [
        (
            |c| drop(c.ledger().put(&keys::of(keys::HEADER, id(c, c.root(), b"plain").0), &b"\xff"[..])),
            &["/plain", "link plain in /"],
        ),
        (
            |c| {
                drop(
                    c.ledger()
                        .put(&keys::named(keys::ATTRIBUTE, id(c, c.root(), b"g").0, b"small"), &b"\xff"[..]),
                )
            },
            &["attribute small of /g"],
        ),
        (
            |c| drop(c.ledger().put(&keys::block(id(c, c.root(), b"plain").0, &[1, 1]), &b"\xff"[..])),
            &["chunk [50, 60] of /plain"],
        ),
        (
            |c| drop(c.ledger().delete(&keys::of(keys::HEADER, id(c, c.root(), b"long").0))),
            &["link long in /", "/long"],
        ),
    ];
    for (change, wanted) in cases {
        for (from, to) in [(file(), memory()), (memory(), file())] {
            let blob = fill(&from);
            let c = from.open(Access::ReadWrite);
            change(&c);
            c.flush().unwrap();
            drop(c);
            let done = mend(&from, &to);
            let lost: HashSet<_> = done.lost.iter().map(|f| f.what.as_str()).collect();
            assert_eq!(lost, wanted.iter().copied().collect(), "{:#?}", done.lost);
            check(&to);
            described(&to, &blob);
        }
    }
}

#[test]
fn objects_of_a_lost_group_are_in_lost_and_found() {
    let (from, to) = (file(), file());
    let blob = fill(&from);
    let c = from.open(Access::ReadWrite);
    let g = id(&c, c.root(), b"g");
    c.ledger().delete(&keys::of(keys::HEADER, g.0)).unwrap();
    c.flush().unwrap();
    drop(c);
    let done = mend(&from, &to);
    assert_eq!(done.found, 300, "{:#?}", done.lost);
    check(&to);
    described(&to, &blob);
    let c = to.open(Access::ReadOnly);
    assert!(c.link(c.root(), b"g").unwrap().is_none());
    let place = id(&c, c.root(), b"lost+found");
    assert_eq!(c.links(place, Index::Name, Order::Increasing).unwrap().len(), 300);
}

/// Damages every page in turn: the target is intact, and each read returns the original data or an error.
#[test]
fn no_damaged_page_invents_data() {
    let from = file();
    let blob = fill(&from);
    let was: HashSet<String> = described(&from, &blob).into_iter().collect();
    let Target::File(path) = &from.target else { panic!() };
    let good = std::fs::read(path).unwrap();
    let starts: Vec<usize> =
        good.windows(4).enumerate().filter(|(_, w)| *w == b"h5lP").map(|(at, _)| at).collect();
    let mut repaired = 0;
    for at in &starts {
        let mut bad = good.clone();
        bad[at + 40] ^= 1;
        std::fs::write(path, &bad).unwrap();
        let to = file();
        let done = repair(
            End::new(&from.target, &Options::default()),
            End::new(&to.target, &Options::default()),
            &mut |_, _| (),
        );
        let Ok(done) = done else { continue };
        check(&to);
        let now = described(&to, &blob);
        let lost: Vec<_> = now.iter().filter(|line| !was.contains(*line)).collect();
        let is_less = was.iter().any(|line| !now.contains(line));
        assert!(!done.is_whole() || (lost.is_empty() && !is_less), "{lost:#?}");
        for line in &lost {
            // Data is equal or an error; only counts and /lost+found differ.
            let is_data = line.contains("Ok(())");
            assert!(!is_data, "made up: {}", line.chars().take(300).collect::<String>());
        }
        repaired += usize::from(!done.is_whole());
    }
    assert!(repaired > 3, "{repaired} of {}", starts.len());
}

/// Sources are searched before anything is copied. A page that may contain some is treated like any other damaged page.
#[test]
fn no_damaged_page_aborts_a_repair() {
    let from = file();
    let c = from.create();
    for n in 0..1200u32 {
        group(&c, c.root(), format!("a group with a name of some length {n}").as_bytes(), tracked());
    }
    c.flush().unwrap();
    drop(c);
    let Target::File(path) = &from.target else { panic!() };
    let whole = std::fs::read(path).unwrap();
    let mut lossy = 0;
    for at in (4608..whole.len()).step_by(2048) {
        let mut damaged = whole.clone();
        damaged[at..(at + 64).min(whole.len())].fill(0x55);
        std::fs::write(path, damaged).unwrap();
        let to = file();
        match repair(
            End::new(&from.target, &Options::default()),
            End::new(&to.target, &Options::default()),
            &mut |_, _| (),
        ) {
            Ok(done) => lossy += usize::from(!done.is_whole()),
            Err(e) => assert!(e.to_string().contains("no version of it can be opened"), "byte {at}: {e}"),
        }
    }
    assert!(lossy > 20, "{lossy}");
}

/// The slots lead to everything that a container holds.
#[test]
fn a_damaged_head_costs_nothing_behind_the_signature() {
    let from = file();
    let blob = fill(&from);
    let was = described(&from, &blob);
    let Target::File(path) = &from.target else { panic!() };
    let whole = std::fs::read(path).unwrap();
    for at in [16, 20, 24, 28, 36, 44, 52, 60, 63] {
        let mut damaged = whole.clone();
        // The change must not produce a later format, because its number is trusted.
        damaged[at] ^= if at == 16 { 2 } else { 1 };
        std::fs::write(path, damaged).unwrap();
        let to = file();
        let done = mend(&from, &to);
        assert!(!done.is_whole(), "byte {at}");
        assert_eq!(check(&to), 0);
        assert!(described(&to, &blob) == was, "byte {at}");
    }
    let other = file();
    let Target::File(path) = &other.target else { panic!() };
    std::fs::write(path, &whole[..64]).unwrap();
    let none = repair(
        End::new(&other.target, &Options::default()),
        End::new(&file().target, &Options::default()),
        &mut |_, _| (),
    );
    assert!(none.is_err());
}
