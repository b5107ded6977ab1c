//! A concurrent writer is stopped while it holds the commit lock.

use std::sync::Arc;

use crate::error::ErrorKind;
use crate::file::locks::Locks;
use crate::ledger::Ledger;
use crate::options::{Access, LockPolicy, Options, Replace, Writers};

/// A process that was stopped during its commit holds the commit lock. A writer that has nothing to commit closes without waiting
/// for that process, and leaves the checkpoint to the next writer.
#[test]
fn a_close_waits_for_no_commit_of_another_writer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.h5");
    let options = Options { writers: Writers::Many, ..Options::default() };
    let l = Ledger::create_file(&path, Replace::Fail, options.clone()).unwrap();
    for n in 0..40u8 {
        l.put(&[n], vec![n; 2000]).unwrap();
        l.commit().unwrap();
    }
    // The writer is killed before it writes a checkpoint.
    std::mem::forget(l);
    let stopped = Arc::new(std::fs::File::options().read(true).write(true).open(&path).unwrap());
    let stopped = Locks::writer(&stopped, LockPolicy::Required, Writers::Many, "x").unwrap().unwrap();
    stopped.enter("x").unwrap();
    let reader = Ledger::open_file(&path, Access::ReadWrite, options.clone()).unwrap();
    assert_eq!(reader.get(&[7]).unwrap().unwrap().len(), 2000);
    reader.close().unwrap();
    stopped.leave();
    let next = Ledger::open_file(&path, Access::ReadWrite, options).unwrap();
    next.put(b"k", "v").unwrap();
    next.commit().unwrap();
    next.close().unwrap();
}

/// The error names the process.
#[test]
fn a_commit_that_another_writer_holds_up_names_that_one() {
    let named = tempfile::NamedTempFile::new().unwrap();
    let open = || Arc::new(named.reopen().unwrap());
    let [stopped, waits] =
        [0, 1].map(|_| Locks::writer(&open(), LockPolicy::Required, Writers::Many, "x").unwrap().unwrap());
    stopped.enter("x").unwrap();
    assert!(waits.begin_checkpoint());
    let refused = waits.enter("x").unwrap_err();
    let ErrorKind::CommitsLocked { processes, .. } = refused.kind() else { panic!("{refused}") };
    assert_eq!((&processes[..], refused.errno()), (&[std::process::id()][..], Some(11)));
    assert!(refused.to_string().contains("has held the commit lock"), "{refused}");
}
