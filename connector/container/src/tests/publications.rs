//! References to the bytes of a published version read the same bytes, whatever is written, closed and compacted later.

use super::*;
use h5lake_ledger::{HeldSpace, Ledger, Options as LedgerOptions};
use object_stores::Key;
use std::time::Duration;

const SIDE: u64 = 400_000;

fn options() -> Options {
    let ledger = LedgerOptions { retention: Some(Duration::ZERO), ..LedgerOptions::default() };
    Options { ledger, ..Options::default() }
}

fn noise(seed: u32, n: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(2_654_435_761) | 1;
    let step = |_| {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        x as u8
    };
    (0..n).map(step).collect()
}

/// Publishes the newest version of a container that is not open; returns the held space and the version.
fn publish(place: &Place) -> (HeldSpace, u64) {
    let ledger = open(place);
    let tag = ledger.publish(None).unwrap().tag;
    let again = ledger.publish(tag.version.as_ref().map(|v| h5lake_ledger::At::Version(v.number))).unwrap();
    let same = h5lake_ledger::Tag { tagged: tag.tagged, ..again.tag };
    assert_eq!((again.is_new, same), (false, tag.clone()), "published once");
    let space = ledger.held_space(&tag.name).unwrap();
    ledger.close().unwrap();
    (space, tag.name.published_version().unwrap())
}

fn open(place: &Place) -> Ledger {
    let o = options().ledger;
    match &place.target {
        Target::File(path) => Ledger::open_file(path, Access::ReadWrite, o).unwrap(),
        Target::Objects { store, key, .. } => {
            Ledger::open_objects(store.clone(), key, Access::ReadWrite, o).unwrap()
        }
    }
}

/// Returns the bytes at a location, without any code of this project.
fn bytes_at(place: &Place, object: Option<&str>, offset: u64, length: u64) -> Option<Vec<u8>> {
    let range = offset as usize..(offset + length) as usize;
    match (&place.target, object) {
        (Target::File(path), None) => std::fs::read(path).unwrap().get(range).map(<[u8]>::to_vec),
        (Target::Objects { store, .. }, Some(object)) => {
            let found = store.get(&Key::new(object).unwrap(), None).unwrap();
            found.bytes.get(range).map(<[u8]>::to_vec)
        }
        _ => panic!("a place of the other kind"),
    }
}

/// Returns all locations of the chunks of a version, with their bytes.
fn places_of(place: &Place, held: &HeldSpace, version: u64) -> Vec<(PlaceOf, Vec<u8>)> {
    let mut o = options();
    o.ledger.at = Some(h5lake_ledger::At::Version(version));
    let c = Container::open(&place.target, Access::ReadOnly, o).unwrap();
    let mut found = Vec::new();
    for link in c.next_links(&mut LinkPages::of(c.root())).unwrap() {
        let LinkTarget::Hard(id) = link.target else { continue };
        let d = c.dataset(id).unwrap();
        let mut after = None;
        loop {
            let page = d.blocks_after(held, after.as_deref()).unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.coords.clone());
            for piece in page.iter().flat_map(|block| &block.pieces) {
                let Some(p) = &piece.place else { continue };
                assert!(p.end >= p.offset + piece.length);
                let at =
                    PlaceOf { object: p.object.clone(), offset: p.offset, length: piece.length, end: p.end };
                let bytes = bytes_at(place, at.object.as_deref(), at.offset, at.length).unwrap();
                found.push((at, bytes));
            }
        }
    }
    found
}

struct PlaceOf {
    object: Option<String>,
    offset: u64,
    length: u64,
    end: u64,
}

fn fill(c: &Arc<Container>, seed: u32) {
    for i in 0..12u8 {
        let layout = Layout::Chunked { chunk: vec![100_000] };
        let d = dataset(c, &[b'a' + i], dataset_spec(1, simple(&[SIDE], &[UNLIMITED]), layout));
        d.write(&Selection::All, &noise(seed + u32::from(i), SIDE as usize)).unwrap();
        c.flush().unwrap();
    }
}

fn dataset_at(c: &Arc<Container>, name: u8) -> Option<Arc<Dataset>> {
    match c.link(c.root(), &[name]).unwrap()?.target {
        LinkTarget::Hard(id) => Some(c.dataset(id).unwrap()),
        _ => None,
    }
}

#[test]
fn references_always_read_the_same_bytes() {
    for place in places() {
        let c = place.create_with(options());
        fill(&c, 1);
        // Creates holes, so that a compaction has much to move to the front.
        for name in b'a'..b'g' {
            c.link_delete(c.root(), &[name]).unwrap();
        }
        c.flush().unwrap();
        drop(c);
        let (held, version) = publish(&place);
        let first = places_of(&place, &held, version);
        assert!(first.len() >= 24, "{}", first.len());
        let mut all = vec![(version, held, first)];
        for round in 0..12u32 {
            let c = Container::open(&place.target, Access::ReadWrite, options()).unwrap();
            for name in b'g'..b'm' {
                let Some(d) = dataset_at(&c, name) else { continue };
                match round {
                    8 => c.link_delete(c.root(), &[name]).unwrap(),
                    _ => d.write(&Selection::All, &noise(100 + round, SIDE as usize)).unwrap(),
                }
                c.flush().unwrap();
            }
            if round % 3 == 1 {
                c.vacuum().unwrap();
            }
            drop(c);
            if round == 3 {
                let (held, version) = publish(&place);
                let found = places_of(&place, &held, version);
                all.push((version, held, found));
            }
            for (version, _, found) in &all {
                for (at, bytes) in found {
                    let now = bytes_at(&place, at.object.as_deref(), at.offset, at.end - at.offset);
                    let now = now.expect("the bytes behind a payload are there, too");
                    assert!(now[..at.length as usize] == bytes[..], "version {version} at {}", at.offset);
                }
            }
        }
        for (version, _, _) in &all {
            let ledger = open(&place);
            ledger.untag(h5lake_ledger::TagName::publication(*version)).unwrap();
            ledger.close().unwrap();
        }
    }
}

#[test]
fn a_vacuum_does_not_move_pinned_payloads() {
    let place = file();
    let c = place.create_with(options());
    fill(&c, 1);
    for name in b'a'..b'g' {
        c.link_delete(c.root(), &[name]).unwrap();
    }
    c.flush().unwrap();
    drop(c);
    let (held, version) = publish(&place);
    let before = places_of(&place, &held, version);
    let o = Options {
        ledger: LedgerOptions { retention: Some(Duration::ZERO), ..options().ledger },
        ..options()
    };
    Container::vacuum_patiently(&place.target, &o, Duration::from_secs(5)).unwrap();
    let newest = Ledger::open_file(
        match &place.target {
            Target::File(path) => path,
            Target::Objects { .. } => unreachable!(),
        },
        Access::ReadOnly,
        options().ledger,
    );
    let newest = newest.unwrap().version();
    let after = places_of(&place, &held, newest);
    let offsets = |found: &[(PlaceOf, Vec<u8>)]| found.iter().map(|(at, _)| at.offset).collect::<Vec<_>>();
    assert_eq!(offsets(&before), offsets(&after), "a second copy of what is held would be of no use");
}

#[test]
fn data_outside_a_publication_has_no_location() {
    let place = file();
    let c = place.create_with(options());
    fill(&c, 1);
    drop(c);
    let (held, _) = publish(&place);
    let c = Container::open(&place.target, Access::ReadWrite, options()).unwrap();
    let d = dataset_at(&c, b'a').unwrap();
    d.write(&Selection::All, &noise(9, SIDE as usize)).unwrap();
    c.flush().unwrap();
    let error = d.blocks_after(&held, None).unwrap_err().to_string();
    assert!(error.contains("the publication does not hold it"), "{error}");
}
