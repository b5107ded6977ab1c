//! Errors of the store while the batches of two writers are merged: no change is lost.

use super::many::{all, check, chunked, find, open, options, part};
use super::*;
use object_stores::{Damage, FaultStore, ObjectStore, Rule, Select, Timing};

const N: u64 = 12_000;
const CHUNK: u64 = 6_000;

fn place(store: Arc<dyn ObjectStore>) -> Place {
    let url = format!("merged in {}", store.place_of("c.h5"));
    Place::at(Target::Objects { store, key: "c.h5".into(), url })
}

/// Creates a container in memory, accessible directly and through a fault injector.
pub(super) fn places() -> (Place, Place, FaultStore) {
    let memory: Arc<dyn ObjectStore> = Arc::new(MemoryStore::new());
    let faults = FaultStore::new(memory.clone());
    (place(memory), place(Arc::new(faults.clone())), faults)
}

/// Returns bytes that filters cannot compress, so that blocks are payloads.
fn noise(count: u64, salt: u64) -> Vec<u8> {
    (0..count * 4).map(|i| ((i + salt).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

fn put(wanted: &mut [u8], start: u64, data: &[u8]) {
    wanted[start as usize * 4..][..data.len()].copy_from_slice(data);
}

/// Flushes with a fault at the nth call of a kind; returns whether there was such a call.
fn flush_with_fault(c: &Container, faults: &FaultStore, (select, n): (Select, u64)) -> (Result<()>, bool) {
    flush_with(c, faults, Rule::fail_nth(select, n, Timing::Before, object_stores::ErrorKind::Io))
}

/// Flushes with a fault; returns whether the fault occurred.
fn flush_with(c: &Container, faults: &FaultStore, rule: Rule) -> (Result<()>, bool) {
    faults.inject(rule);
    let flushed = c.flush();
    let is_struck = faults.struck() > 0;
    faults.clear();
    (flushed, is_struck)
}

/// For each n, the nth call of a flush to the store fails; the next flush commits the changes for which an error was
/// returned.
fn with_faults(fault: impl Fn(u64) -> Rule, gzip: bool, shrinks: bool) {
    let mut struck = 0;
    for n in 0.. {
        let (p, of_b, faults) = places();
        let mut wanted = noise(N, 1);
        let c = p.create_with(options());
        dataset(&c, b"d", chunked(N, CHUNK, gzip)).write(&Selection::All, &wanted).unwrap();
        drop(c);
        let a = Container::open_apart(&p.target, Access::ReadWrite, &options()).unwrap();
        let b = Container::open_apart(&of_b.target, Access::ReadWrite, &options()).unwrap();
        for (writer, salt) in [(&a, 2), (&b, 3)] {
            let d = open(writer, b"d");
            for chunk in 0..2 {
                let (start, data) = (chunk * CHUNK + salt * 1000, noise(900, salt));
                d.write(&part(start, 900), &data).unwrap();
                put(&mut wanted, start, &data);
            }
        }
        if shrinks {
            open(&a, b"d").set_extent(&[N - 500]).unwrap();
            wanted.truncate((N - 500) as usize * 4);
        }
        a.flush().unwrap();
        let rule = fault(n);
        let (flushed, is_struck) = flush_with(&b, &faults, rule);
        if let Err(e) = flushed {
            let text = e.to_string();
            assert!(
                ["injected fault", "damaged", "ends early"].iter().any(|part| text.contains(part)),
                "{rule:?}: {e}"
            );
            b.flush().unwrap_or_else(|e| panic!("{rule:?}, after {text}: {e}"));
        }
        drop((a, b));
        let c = check(&p);
        assert!(all(&open(&c, b"d")) == wanted, "{rule:?}, gzip {gzip}, shrinks {shrinks}");
        if !is_struck {
            break;
        }
        struck += 1;
    }
    assert!(struck > 0, "{:?}: there was no such call", fault(0));
}

#[test]
fn an_error_while_blocks_are_merged_loses_no_change() {
    let fails = |select| move |n| Rule::fail_nth(select, n, Timing::Before, object_stores::ErrorKind::Io);
    for gzip in [false, true] {
        for shrinks in [false, true] {
            with_faults(fails(Select::Reading), gzip, shrinks);
            with_faults(fails(Select::Mutating), gzip, shrinks);
        }
    }
}

#[test]
fn a_damaged_answer_while_blocks_are_merged_loses_no_change() {
    for damage in [Damage::Flip(20), Damage::Flip(4000), Damage::Cut(0), Damage::Cut(40)] {
        for shrinks in [false, true] {
            with_faults(|n| Rule::damage_nth(n, damage), false, shrinks);
        }
    }
}

/// Returns the options of a writer that reads every page again.
fn forgetful() -> Options {
    let mut options = options();
    options.ledger.cache_bytes = 0;
    options
}

/// Lets an exclusive writer move everything into new pages, which the other writers have to read again.
fn rebase(p: &Place) {
    Container::open_apart(&p.target, Access::ReadWrite, &Options::default()).unwrap().vacuum().unwrap();
}

#[test]
fn a_conflict_is_reported_despite_later_errors() {
    let mut errors = 0;
    for n in 0.. {
        let (p, of_b, faults) = places();
        let c = p.create_with(options());
        for name in [b"d", b"e", b"f"] {
            dataset(&c, name, chunked(N, CHUNK, true)).write(&Selection::All, &noise(N, 1)).unwrap();
        }
        drop(c);
        let a = Container::open_apart(&p.target, Access::ReadWrite, &options()).unwrap();
        let b = Container::open_apart(&of_b.target, Access::ReadWrite, &forgetful()).unwrap();
        let held = [&b"d"[..], b"e", b"f"].map(|name| open(&b, name));
        open(&a, b"d").write(&part(5, 10), &noise(10, 2)).unwrap();
        held[0].write(&part(5, 10), &noise(10, 3)).unwrap();
        a.flush().unwrap();
        drop(a);
        rebase(&p);
        let (flushed, is_struck) = flush_with_fault(&b, &faults, (Select::Reading, n));
        let e = flushed.unwrap_err();
        if e.kind() != ErrorKind::Conflict {
            errors += 1;
            assert!(e.to_string().contains("injected fault"), "{n}: {e}");
            assert_eq!(b.flush().unwrap_err().kind(), ErrorKind::Conflict, "{n}: dropped in silence");
        }
        if !is_struck {
            break;
        }
    }
    assert!(errors > 0, "no call failed");
}

#[test]
fn an_error_while_groups_are_joined_loses_nothing() {
    let mut errors = 0;
    for select in [Select::Reading, Select::Mutating] {
        for n in 0.. {
            let (p, of_b, faults) = places();
            let c = p.create_with(options());
            for n in 0..300 {
                group(&c, c.root(), format!("other {n}").as_bytes(), CreationOrder::default());
            }
            drop(c);
            let a = Container::open_apart(&p.target, Access::ReadWrite, &options()).unwrap();
            let b = Container::open_apart(&of_b.target, Access::ReadWrite, &forgetful()).unwrap();
            for (writer, name) in [(&a, "a"), (&b, "b")] {
                let run = group(writer, writer.root(), b"run", CreationOrder::default());
                let day = group(writer, run, b"day", CreationOrder::default());
                group(writer, day, name.as_bytes(), CreationOrder::default());
                writer.attr_create(day, name.as_bytes(), attr_spec(1, 1)).unwrap().write(&[7]).unwrap();
            }
            a.flush().unwrap();
            drop(a);
            rebase(&p);
            let (flushed, is_struck) = flush_with_fault(&b, &faults, (select, n));
            if let Err(e) = flushed {
                assert!(e.to_string().contains("injected fault"), "{n}: {e}");
                errors += 1;
                b.flush().unwrap();
            }
            drop(b);
            let c = check(&p);
            let day = find(&c, b"run/day");
            for name in [b"a", b"b"] {
                c.attr_open(day, name).unwrap();
                find(&c, &[b"run/day/", &name[..]].concat());
            }
            if !is_struck {
                break;
            }
        }
    }
    assert!(errors > 0, "no call failed");
}
