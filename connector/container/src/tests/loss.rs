//! Containers that others replaced or deleted while they were written.

use super::many::{apart, find, options, there};
use super::*;

fn new() -> FileCreation {
    FileCreation::default()
}

#[test]
fn what_was_replaced_is_lost_and_opens_anew() {
    let p = memory();
    let mine = p.create_with(options());
    group(&mine, mine.root(), b"kept by nobody", CreationOrder::default());
    assert!(!mine.is_lost());
    let Target::Objects { store, key, .. } = &p.target else { panic!() };
    h5lake_ledger::Ledger::remove_objects(store.as_ref(), key).unwrap();
    let e = mine.flush().unwrap_err();
    assert!(e.to_string().contains("another process deleted the container"), "{e}");
    assert_eq!((mine.outlook(&e), mine.is_lost()), (Outlook::Lost, true));
    // This process may make another one at its place while the lost one is open.
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
fn an_error_that_may_pass_loses_nothing() {
    let p = file();
    let c = p.create_with(options());
    let passing = Error::new(ErrorKind::NoSpace, "full");
    let damage = Error::new(ErrorKind::Corrupt, "damaged");
    assert_eq!((c.outlook(&passing), c.outlook(&damage)), (Outlook::Open, Outlook::Damaged));
    c.let_go();
    group(&c, c.root(), b"g", CreationOrder::default());
    c.flush().unwrap();
}
