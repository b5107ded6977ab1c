//! Containers that other processes replaced or deleted while they were written.

use super::many::{all, apart, chunked, find, open, options, part, there, writers};
use super::*;
use h5lake_ledger::locks::Mutex;

fn new() -> FileCreation {
    FileCreation::default()
}

#[test]
fn a_replaced_container_is_lost_and_can_be_reopened() {
    let p = memory();
    let mine = p.create_with(options());
    group(&mine, mine.root(), b"kept by nobody", CreationOrder::default());
    assert!(!mine.is_lost());
    let Target::Objects { store, key, .. } = &p.target else { panic!() };
    h5lake_ledger::Ledger::remove_objects(store, key).unwrap();
    let e = mine.flush().unwrap_err();
    assert!(e.to_string().contains("another process deleted the container"), "{e}");
    assert_eq!((mine.recoverability(&e), mine.is_lost()), (Recoverability::Lost, true));
    // This process may create another container at the same place while the lost one is open.
    let again = Container::create(&p.target, Replace::Truncate, new(), options()).unwrap();
    group(&again, again.root(), b"g", CreationOrder::default());
    again.flush().unwrap();
    mine.let_go();
    assert!(there(&mine, b"kept by nobody"), "what is in memory can be read");
    assert!(Arc::ptr_eq(&Container::open(&p.target, Access::ReadWrite, options()).unwrap(), &again));
    drop(mine);
    find(&apart(&p), b"g");
    find(&again, b"g");
}

#[test]
fn a_transient_error_loses_nothing() {
    let p = file();
    let c = p.create_with(options());
    let passing = Error::new(ErrorKind::NoSpace, "full");
    let damage = Error::new(ErrorKind::Corrupt, "damaged");
    assert_eq!(
        (c.recoverability(&passing), c.recoverability(&damage)),
        (Recoverability::Open, Recoverability::Damaged)
    );
    c.let_go();
    group(&c, c.root(), b"g", CreationOrder::default());
    c.flush().unwrap();
}

/// The reader is opened again even while an object of the old handle is open.
#[test]
fn a_reader_of_a_reclaimed_snapshot_can_be_reopened() {
    let place = memory();
    let retention = Some(std::time::Duration::ZERO);
    let ledger = h5lake_ledger::Options { retention, ..Default::default() };
    let options = Options { ledger, ..Options::default() };
    let spec = || dataset_spec(1, simple(&[4 << 20], &[4 << 20]), Layout::Contiguous);
    let c = place.create_with(options.clone());
    dataset(&c, b"d", spec()).write(&Selection::All, &vec![1; 4 << 20]).unwrap();
    c.flush().unwrap();
    drop(c);
    let reader = place.open(Access::ReadOnly);
    let old = reader.dataset(find(&reader, b"d")).unwrap();
    let writer = Container::open_apart(&place.target, Access::ReadWrite, &options).unwrap();
    writer.dataset(find(&writer, b"d")).unwrap().write(&Selection::All, &vec![2; 4 << 20]).unwrap();
    writer.flush().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(5));
    writer.vacuum().unwrap();
    let mut data = vec![0; 4 << 20];
    let error = old.read(&Selection::All, &mut data).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Gone, "{error}");
    let again = place.open(Access::ReadOnly);
    again.dataset(find(&again, b"d")).unwrap().read(&Selection::All, &mut data).unwrap();
    assert!(data.iter().all(|b| *b == 2));
}

/// A shared writer changes a part of each chunk; other writers replace all chunks, and reclaim the old ones. The batch
/// can no longer be committed.
#[test]
fn a_batch_on_a_reclaimed_version_is_lost() {
    const N: u64 = 50_000;
    let place = memory();
    let at_once = |options: Options| {
        let ledger = h5lake_ledger::Options {
            retention: Some(std::time::Duration::ZERO),
            lock: h5lake_ledger::LockPolicy::Off,
            ..options.ledger
        };
        Options { ledger, ..options }
    };
    let many = at_once(options());
    let c = place.create_with(many.clone());
    let noise: Vec<u8> = (0..N as u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    dataset(&c, b"d", chunked(N, 10_000, true)).write(&Selection::All, &noise).unwrap();
    c.flush().unwrap();
    drop(c);
    let [mine, other] =
        std::array::from_fn(|_| Container::open_apart(&place.target, Access::ReadWrite, &many).unwrap());
    open(&mine, b"d").write(&part(5, 1), &[7; 4]).unwrap();
    let first_of_each = Selection::Hyperslab {
        start: vec![0],
        stride: vec![10_000],
        count: vec![N / 10_000],
        block: vec![1],
    };
    for value in [1, 2] {
        open(&other, b"d").write(&first_of_each, &[value; 20]).unwrap();
        other.flush().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(5));
        let alone = at_once(Options::default());
        Container::open_apart(&place.target, Access::ReadWrite, &alone).unwrap().vacuum().unwrap();
    }
    let e = mine.flush().unwrap_err();
    assert_eq!((e.kind(), mine.recoverability(&e)), (ErrorKind::Gone, Recoverability::Lost), "{e}");
    let again = mine.flush().unwrap_err().to_string();
    assert!(again.contains("reclaimed") && again.contains("reopen"), "{again}");
    mine.let_go();
    drop(mine);
    let there = all(&open(&apart(&place), b"d"));
    assert!(there[..4] == [2; 4] && there[20..24] == noise[20..24]);
}

/// The last changes of a container are committed when its last handle is dropped; if that fails, the loss is reported
/// once.
#[test]
fn an_unreported_loss_is_reported_at_drop() {
    static REPORTED: Mutex<Vec<String>> = Mutex::new(Vec::new());
    crate::report_losses_by(|text| REPORTED.lock().push(text.to_owned()));
    let reported = |p: &Place| REPORTED.lock().extract_if(.., |text| text.contains(&p.target.name())).count();
    let p = file();
    let c = p.create();
    group(&c, c.root(), b"kept", CreationOrder::default());
    c.report_later(Error::new(ErrorKind::Io, format!("{}: a chunk is lost", p.target.name())));
    drop(c);
    assert_eq!(reported(&p), 1);
    find(&p.open(Access::ReadOnly), b"kept");
    for was_reported in [false, true] {
        let p = file();
        let [a, b] = writers(&p, |c| drop(dataset(c, b"d", chunked(100, 50, false))));
        for (c, value) in [(&a, 1), (&b, 2)] {
            open(c, b"d").write(&part(10, 10), &[value; 40]).unwrap();
        }
        a.flush().unwrap();
        // A conflict drops the batch, so that it is not reported again.
        assert!(!was_reported || b.flush().is_err());
        drop(b);
        assert_eq!(reported(&p), usize::from(!was_reported));
    }
}
