//! Copies that move only the changes since they were made: each is equal to its source, whatever happens to both.

use super::*;
use crate::repair::tests::{described, fill};
use crate::verify::{Versions, verify};
use h5lake_ledger::{At, CopyState, Extent, Ledger, TagName, Tagging};
use h5lake_records::record::{AttributeRecord, BlockRecord};
use object_stores::{FaultStore, MemoryStore, ObjectStore, Rule, Select, Timing};
use std::collections::BTreeMap;
use std::time::Duration;

fn options() -> Options {
    let ledger = h5lake_ledger::Options {
        retention: Some(Duration::from_secs(3600)),
        ..h5lake_ledger::Options::default()
    };
    Options { ledger, ..Options::default() }
}

fn copy(source: &Place, target: &Place) -> Copied {
    copy_to(End::new(&source.target, &options()), End::new(&target.target, &options()), &mut |_, _| ())
        .unwrap()
}

fn update(source: &Place, target: &Place) -> Result<UpdatedCopy> {
    update_at(source, target, None)
}

fn update_at(source: &Place, target: &Place, at: Option<u64>) -> Result<UpdatedCopy> {
    let ledger = h5lake_ledger::Options { at: at.map(At::Version), ..options().ledger };
    let from = Options { ledger, ..options() };
    update_copy(End::new(&source.target, &from), End::new(&target.target, &options()), &mut |_, _| ())
}

fn refusal(source: &Place, target: &Place) -> String {
    let e = update(source, target).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidArgument, "{e}");
    let text = e.to_string();
    assert!(text.contains("make a full copy"), "{text}");
    text
}

fn version(place: &Place) -> u64 {
    place.open(Access::ReadOnly).version()
}

fn next_id(place: &Place) -> Option<Bytes> {
    place.open(Access::ReadOnly).ledger().get(keys::NEXT_OBJECT).unwrap()
}

fn id_of(c: &Container, path: &[u8]) -> Option<ObjectId> {
    match c.resolve(c.root(), path, LastLink::Follow, 0) {
        Ok(Resolution::Object { id }) => Some(id),
        _ => None,
    }
}

/// Returns all entries of a version, with the bytes of their payloads in place of the references.
fn content(place: &Place, at: Option<u64>) -> BTreeMap<Vec<u8>, String> {
    let ledger = h5lake_ledger::Options { at: at.map(At::Version), ..options().ledger };
    let o = Options { ledger, ..options() };
    let c = Container::open(&place.target, Access::ReadOnly, o).unwrap();
    let bytes = |encoded: &Bytes, skip: u64, length: Option<u64>| {
        let extent = Extent::decode(encoded).unwrap().0;
        let mut out = vec![0; length.unwrap_or(extent.len()) as usize];
        if !extent.is_empty() {
            c.ledger().read_payload(&extent, skip, &mut out).unwrap();
        }
        Bytes::from(out)
    };
    let mut all = BTreeMap::new();
    h5lake_ledger::each_entry::<Error>(c.ledger(), &[], None, |key, value| {
        let shown = match key.first() {
            Some(&(keys::TAG | keys::ORIGIN)) => return Ok(()),
            Some(&(keys::BLOCK | keys::SEGMENT)) => {
                let mut r: BlockRecord = record::decode(value, String::new)?;
                for piece in r.pieces.iter_mut().filter(|piece| !piece.extent.is_empty()) {
                    (piece.extent, piece.skip) = (bytes(&piece.extent, piece.skip, Some(piece.length)), 0);
                }
                format!("{r:x?}")
            }
            Some(&keys::ATTRIBUTE) => {
                let mut r: AttributeRecord = record::decode(value, String::new)?;
                r.extents.iter_mut().for_each(|extent| *extent = bytes(extent, 0, None));
                format!("{r:x?}")
            }
            _ => format!("{value:x?}"),
        };
        all.insert(key.to_vec(), shown);
        Ok(())
    })
    .unwrap();
    all
}

fn assert_equal(source: &Place, at: Option<u64>, target: &Place) {
    let (wanted, present) = (content(source, at), content(target, None));
    for key in wanted.keys().chain(present.keys()) {
        // If a copy moves to an older version, the counter of ids continues.
        let is_equal = wanted.get(key) == present.get(key) || (at.is_some() && key == keys::NEXT_OBJECT);
        assert!(is_equal, "{key:02x?}");
    }
    let report = verify(&target.target, &Options::default(), Versions::All, &mut |_, _| ()).unwrap();
    assert!(report.is_whole() && report.found.is_empty(), "{:?}", report.found);
}

/// A stream of pseudo-random numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn noise(&mut self, n: u64) -> Vec<u8> {
        (0..n).map(|_| self.roll(256) as u8).collect()
    }
}

/// Changes something in the source.
fn change(place: &Place, dice: &mut Dice) {
    let c = Container::open(&place.target, Access::ReadWrite, options()).unwrap();
    for _ in 0..=dice.roll(3) {
        let (root, g) = (c.root(), id_of(&c, b"/g").unwrap());
        match dice.roll(10) {
            0 | 1 => {
                let run = Run { offset: dice.roll(590_000), count: 1 + dice.roll(9000) };
                let long = c.dataset(id_of(&c, b"/long").unwrap()).unwrap();
                long.write(&Selection::Runs(vec![run]), &dice.noise(run.count * 4)).unwrap();
            }
            2 => {
                let d = c.dataset(id_of(&c, b"/filtered").unwrap()).unwrap();
                let run = Run { offset: dice.roll(9000), count: 900 };
                d.write(&Selection::Runs(vec![run]), &dice.noise(7200)).unwrap();
            }
            3 => {
                let a = c.attr_open(g, b"big").unwrap();
                let data = dice.noise(90_000);
                a.write(&data).unwrap();
            }
            4 => drop(c.heap_put(id_of(&c, b"/texts").unwrap(), &dice.noise(20_000)).unwrap()),
            5 => {
                let name = format!("new {}", dice.roll(4));
                let n = 1 + dice.roll(60_000);
                if id_of(&c, format!("/{name}").as_bytes()).is_none() {
                    let spec =
                        dataset_spec(1, simple(&[n], &[UNLIMITED]), Layout::Chunked { chunk: vec![9000] });
                    let d = dataset(&c, name.as_bytes(), spec);
                    d.write(&Selection::All, &dice.noise(n)).unwrap();
                }
            }
            6 => {
                let name = format!("new {}", dice.roll(4));
                if id_of(&c, format!("/{name}").as_bytes()).is_some() {
                    c.link_delete(root, name.as_bytes()).unwrap();
                }
            }
            7 => {
                let d = c.dataset(id_of(&c, b"/plain").unwrap()).unwrap();
                d.set_extent(&[50 + dice.roll(100), 100]).unwrap();
            }
            8 => {
                let name = format!("group {}", dice.roll(1 << 40));
                group(&c, g, name.as_bytes(), CreationOrder::default());
            }
            _ => drop(c.ledger().vacuum().unwrap()),
        }
    }
    c.flush().unwrap();
}

/// Runs an operation that changes a copy's storage but not its content.
fn tend(place: &Place, dice: &mut Dice) {
    match dice.roll(4) {
        0 => drop(Container::vacuum_patiently(&place.target, &options(), Duration::ZERO).unwrap()),
        1 => {
            let c = Container::open(&place.target, Access::ReadWrite, options()).unwrap();
            let name = TagName::new(&format!("tag-{}", dice.roll(3))).unwrap();
            c.ledger().tag(name, None, Tagging { replace: true, ..Tagging::default() }).unwrap();
        }
        2 => drop(Container::open(&place.target, Access::ReadWrite, options()).unwrap()),
        _ => (),
    }
}

#[test]
fn an_updated_copy_equals_a_full_copy() {
    for (seed, from, to) in [
        (1, file as fn() -> Place, file as fn() -> Place),
        (2, file, memory),
        (3, memory, file),
        (4, memory, memory),
    ] {
        let (source, target, mut dice) = (from(), to(), Dice(seed));
        fill(&source);
        copy(&source, &target);
        for round in 0..12 {
            let (before, shown) = (version(&source), version(&target));
            change(&source, &mut dice);
            tend(&target, &mut dice);
            let at = (round % 4 == 3).then(|| 1 + dice.roll(before));
            let (tended, ids) = (version(&target), next_id(&target));
            let done = update_at(&source, &target, at).unwrap();
            assert_eq!(done.copied.from, at.unwrap_or_else(|| version(&source)));
            let is_moved = done.copied.from != done.before;
            assert_eq!(done.copied.to, tended + u64::from(is_moved), "{shown} {done:?}");
            assert_equal(&source, at, &target);
            assert!(next_id(&target) >= ids, "an id would be used again");
            if at.is_some() {
                update(&source, &target).unwrap();
                assert_equal(&source, None, &target);
            }
        }
    }
}

#[test]
fn only_changes_are_copied_and_an_unchanged_source_makes_no_commit() {
    for (source, target) in [(file(), memory()), (memory(), file())] {
        fill(&source);
        let full = copy(&source, &target);
        let (shown, made) = (version(&source), version(&target));
        let done = update(&source, &target).unwrap();
        assert_eq!((done.before, done.copied.from, done.copied.to), (shown, shown, made));
        assert_eq!((done.copied.entries, done.copied.bytes), (0, 0));
        assert_eq!(version(&target), made);
        let c = Container::open(&source.target, Access::ReadWrite, options()).unwrap();
        let long = c.dataset(id_of(&c, b"/long").unwrap()).unwrap();
        long.write(&Selection::Runs(vec![Run { offset: 300_000, count: 10_000 }]), &[7; 40_000]).unwrap();
        drop((long, c));
        let mut reported = (0, 0);
        let done = update_copy(
            End::new(&source.target, &options()),
            End::new(&target.target, &options()),
            &mut |done, of| reported = (done, of),
        )
        .unwrap();
        // Only the written bytes are copied, and not the whole block.
        assert_eq!(done.copied.bytes, 40_000, "of {}", full.bytes);
        assert!(reported.0 == 40_000 && (40_000..100_000).contains(&reported.1), "{reported:?}");
        assert_eq!((done.before, done.copied.to), (shown, made + 1));
        assert_equal(&source, None, &target);
    }
}

#[test]
fn a_target_that_is_no_copy_of_the_source_is_refused() {
    for place in [file, memory] {
        let (source, target, other) = (place(), place(), place());
        fill(&source);
        fill(&other);
        assert!(refusal(&source, &other).contains("is not known to be a copy"));
        copy(&source, &target);
        assert!(refusal(&other, &target).contains("is a copy of another container"));
        assert!(refusal(&target, &source).contains("is not known to be a copy"));
        // A copy of a copy is a copy of the first copy.
        let second = place();
        copy(&target, &second);
        assert!(refusal(&source, &second).contains("is a copy of another container"));
        update(&target, &second).unwrap();
        // Another writer has changed the copy, even if it undid its change.
        let before = content(&target, None);
        for _ in 0..2 {
            let c = Container::open(&target.target, Access::ReadWrite, options()).unwrap();
            match id_of(&c, b"/mine") {
                None => drop(group(&c, c.root(), b"mine", CreationOrder::default())),
                Some(_) => c.link_delete(c.root(), b"mine").unwrap(),
            }
            c.flush().unwrap();
            drop(c);
            change(&source, &mut Dice(9));
            let now = content(&target, None);
            assert!(refusal(&source, &target).contains("was written after it was copied"));
            assert_eq!(content(&target, None), now);
        }
        assert_ne!(content(&target, None), before, "the counter of ids went on");
    }
}

/// A writer commits continuously, so that commits occur between any two steps of a copy.
#[test]
fn copies_beside_a_writer_know_their_origin_and_can_be_updated() {
    for source in places() {
        let c = source.create_with(options());
        let d = dataset(&c, b"d", dataset_spec(4, simple(&[1000], &[1000]), Layout::Contiguous));
        c.flush().unwrap();
        let is_done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                for n in 0..=255u8 {
                    for _ in 0..20 {
                        if is_done.load(std::sync::atomic::Ordering::Relaxed) {
                            return;
                        }
                        d.write(&Selection::All, &[n; 4000]).unwrap();
                        c.flush().unwrap();
                    }
                }
            });
            for target in (0..12).flat_map(|_| places()) {
                let copied = copy(&source, &target);
                let shown = target.open(Access::ReadOnly).ledger().copy_state().unwrap();
                let is_known = matches!(&shown, CopyState::Shows(origin) if origin.version == copied.from);
                assert!(is_known, "{shown:?}, a copy of version {}", copied.from);
                let updated = update(&source, &target).unwrap();
                assert_eq!(updated.before, copied.from);
                let bytes = target.open(Access::ReadOnly).dataset(d.object().id()).unwrap();
                let mut read = vec![0; 4000];
                bytes.read(&Selection::All, &mut read).unwrap();
                assert!(read.iter().all(|byte| *byte == read[0]), "a mixture of versions");
            }
            is_done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }
}

/// Each checkpoint in a store without a retention time deletes the objects that the previous version needed.
#[test]
fn a_copy_restarts_if_a_writer_deletes_the_objects_being_read() {
    let ledger = h5lake_ledger::Options {
        retention: Some(Duration::ZERO),
        checkpoint_records: 1,
        checkpoint_bytes: 1,
        ..Default::default()
    };
    let reclaiming = Options { ledger, ..Options::default() };
    for source in places() {
        let c = source.create_with(reclaiming.clone());
        let all: Vec<_> = (0..4u8)
            .map(|n| {
                let spec = dataset_spec(1, simple(&[300_000], &[300_000]), Layout::Contiguous);
                dataset(&c, &[b'd', b'0' + n], spec)
            })
            .collect();
        let write = |value: u8| {
            all.iter().for_each(|d| d.write(&Selection::All, &[value; 300_000]).unwrap());
            c.flush().unwrap();
        };
        write(1);
        for target in places() {
            let mut left = 3;
            let mut move_on = |_, _| {
                if left > 0 {
                    left -= 1;
                    (0..3).for_each(|n| write(10 * left + n));
                    c.vacuum().unwrap();
                }
            };
            let o = Options::default();
            copy_to(End::new(&source.target, &o), End::new(&target.target, &o), &mut move_on).unwrap();
            assert!(left < 3, "nothing came between");
            let c = target.open(Access::ReadOnly);
            let first = |name: &[u8]| {
                let d = c.dataset(id_of(&c, name).unwrap()).unwrap();
                let mut read = vec![0; 300_000];
                d.read(&Selection::All, &mut read).unwrap();
                assert!(read.iter().all(|byte| *byte == read[0]));
                read[0]
            };
            let value = first(b"/d0");
            assert!((1..4).all(|n| first(&[b'/', b'd', b'0' + n]) == value), "a mixture of versions");
        }
    }
}

/// A program that does not know origins copies them unchanged, and writes without reading them.
#[test]
fn a_program_without_origins_makes_no_void_origin_valid() {
    let (source, target, theirs) = (file(), file(), file());
    fill(&source);
    copy(&source, &target);
    let (Target::File(from), Target::File(to)) = (&target.target, &theirs.target) else { panic!() };
    let old = Ledger::open_file(from, Access::ReadOnly, Default::default()).unwrap();
    let made = Ledger::create_whole_file(to, Default::default(), |to: &Ledger| -> Result<()> {
        for (key, value) in old.scan_prefix(b"", None, usize::MAX)? {
            if matches!(key.first(), Some(&(b'C' | keys::HEADER | keys::ORIGIN))) {
                to.put(&key, value)?;
            }
        }
        Ok(())
    });
    made.unwrap().close().unwrap();
    assert_eq!(version(&theirs), version(&target));
    assert!(refusal(&source, &theirs).contains("is not known to be a copy"));
}

#[test]
fn an_update_from_a_reclaimed_source_version_is_refused() {
    for place in [file, memory] {
        let (source, target) = (place(), place());
        fill(&source);
        copy(&source, &target);
        let ledger = h5lake_ledger::Options { retention: Some(Duration::ZERO), ..Default::default() };
        let o = Options { ledger, ..Options::default() };
        let lose = || {
            for n in 0..4 {
                let c = Container::open(&source.target, Access::ReadWrite, o.clone()).unwrap();
                let d = c.dataset(id_of(&c, b"/long").unwrap()).unwrap();
                d.write(&Selection::All, &vec![n; 2_400_000]).unwrap();
                drop(d);
                c.flush().unwrap();
                c.vacuum().unwrap();
                std::thread::sleep(Duration::from_millis(20));
                c.vacuum().unwrap();
            }
        };
        // A tag retains the version.
        let c = Container::open(&source.target, Access::ReadWrite, o.clone()).unwrap();
        let (name, shown) = (TagName::new("copied").unwrap(), c.version());
        c.ledger().tag(name, None, Tagging::default()).unwrap();
        drop(c);
        lose();
        let kept = source.open(Access::ReadOnly).versions(usize::MAX).unwrap();
        assert!(kept.iter().all(|v| v.number > shown), "{kept:?}");
        assert_eq!(update(&source, &target).unwrap().before, shown);
        assert_equal(&source, None, &target);
        let c = Container::open(&source.target, Access::ReadWrite, o.clone()).unwrap();
        c.ledger().untag(name).unwrap();
        drop(c);
        lose();
        let text = refusal(&source, &target);
        assert!(text.contains("no longer keeps"), "{text}");
    }
}

/// The source's files are restored from a copy, and written again: the version numbers are the same, but the versions
/// differ.
#[test]
fn a_source_that_was_put_back_is_known() {
    let (source, target, mut dice) = (file(), file(), Dice(5));
    fill(&source);
    let Target::File(path) = &source.target else { panic!() };
    let backup = std::fs::read(path).unwrap();
    copy(&source, &target);
    let first = version(&target);
    change(&source, &mut dice);
    update(&source, &target).unwrap();
    let shown = version(&source);
    assert_eq!(version(&target), first + 1);
    std::fs::write(path, &backup).unwrap();
    assert!(refusal(&source, &target).contains("no longer keeps"));
    while version(&source) < shown + 2 {
        change(&source, &mut dice);
    }
    let text = refusal(&source, &target);
    assert!(text.contains("another version") && text.contains("backup"), "{text}");
}

#[test]
fn an_update_disturbs_no_writer_of_the_target_and_readers_see_one_version() {
    for place in [file, memory] {
        let (source, target) = (place(), place());
        let blob = fill(&source);
        copy(&source, &target);
        let before = described(&target, &blob);
        let reader = target.open(Access::ReadOnly);
        change(&source, &mut Dice(3));
        drop(reader);
        let writer = Container::open(&target.target, Access::ReadWrite, options()).unwrap();
        assert_eq!(update(&source, &target).unwrap_err().kind(), ErrorKind::Locked);
        drop(writer);
        assert_eq!(described(&target, &blob), before);
        update(&source, &target).unwrap();
        assert_equal(&source, None, &target);
    }
}

fn stored_in(store: Arc<dyn ObjectStore>, what: &str) -> Place {
    let url = format!("{what} {}", store.place_of("c.h5"));
    Place::at(Target::Objects { store, key: "c.h5".into(), url })
}

/// A read of the source, or a call to the target's store, fails: the copy stays unchanged, and can be updated.
#[test]
fn an_error_leaves_a_copy_that_can_be_updated() {
    let memory: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let source = stored_in(memory.clone(), "source");
    fill(&source);
    for is_source in [true, false] {
        let there: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
        let faults = FaultStore::new(if is_source { memory.clone() } else { there.clone() });
        let (failing, target) = (stored_in(Arc::new(faults.clone()), "failing"), stored_in(there, "whole"));
        let (from, to) = if is_source { (&failing, &target) } else { (&source, &failing) };
        copy(&source, &target);
        let (mut dice, mut errors, mut shown) = (Dice(11), 0, content(&source, None));
        for n in (0..12).chain((12..).step_by(7)) {
            let c = Container::open(&source.target, Access::ReadWrite, options()).unwrap();
            let (d, data) = (c.dataset(id_of(&c, b"/plain").unwrap()).unwrap(), dice.noise(4000));
            d.write(&Selection::Runs(vec![Run { offset: 0, count: 500 }]), &data).unwrap();
            drop((d, c));
            let wanted = content(&source, None);
            let select = if is_source { Select::Reading } else { Select::Any };
            faults.inject(Rule::fail_nth(select, n, Timing::Before, object_stores::ErrorKind::Io));
            let done = update(from, to);
            let struck = faults.struck();
            faults.clear();
            errors += u32::from(done.is_err());
            let now = content(&target, None);
            assert!(now == wanted || (done.is_err() && now == shown), "{n}: a mixture");
            update(&source, &target).unwrap();
            shown = wanted;
            if struck == 0 {
                break;
            }
        }
        assert_equal(&source, None, &target);
        // Only the two reads of the head object cannot be repeated.
        assert!(errors >= 2, "{errors} errors");
    }
}

/// The process of the copy dies at each call that changes the target's store: the target is a copy of either version,
/// and the next update makes it a copy of the newest one.
#[test]
fn an_update_that_dies_leaves_one_version_or_the_other() {
    let (source, mut dice) = (file(), Dice(7));
    fill(&source);
    for timing in [Timing::Before, Timing::After] {
        for n in 0.. {
            let memory: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
            let faults = FaultStore::new(memory.clone());
            let (target, dying) = (stored_in(memory, "whole"), stored_in(Arc::new(faults.clone()), "dying"));
            copy(&source, &target);
            let (shown, before) = (version(&source), content(&target, None));
            change(&source, &mut dice);
            let c = Container::open(&source.target, Access::ReadWrite, options()).unwrap();
            let data = dice.noise(80_000);
            c.dataset(id_of(&c, b"/filtered").unwrap()).unwrap().write(&Selection::All, &data).unwrap();
            drop(c);
            faults.crash_at(faults.mutations() + n, timing);
            let done = update(&source, &dying);
            let crashed = faults.is_crashed();
            let (now, wanted) = (content(&target, None), content(&source, None));
            assert!(now == before || now == wanted, "{timing:?} {n}: a mixture");
            if !crashed {
                assert!(n > 3, "it makes {n} calls");
                assert_eq!(done.unwrap().before, shown);
                break;
            }
            let Target::Objects { store, key, .. } = &target.target else { panic!() };
            let lock = Ledger::lock_holder(store.as_ref(), key).unwrap();
            if let Some(lock) = lock {
                Ledger::break_lock(store.as_ref(), key, &lock).unwrap();
            }
            let again = update(&source, &target).unwrap();
            assert!([shown, version(&source)].contains(&again.before), "{again:?}");
            assert_equal(&source, None, &target);
        }
    }
}
