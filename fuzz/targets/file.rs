//! A whole container in one file. Every checksum is accepted, so that the fuzzer reaches the code after the checks.
#![no_main]

use std::ops::Bound;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::UNIX_EPOCH;

use h5lake_container::{Access, Target};
use h5lake_fuzz::{more, sample, seeds, walk};
use h5lake_ledger::{Access as LedgerAccess, Ledger, Options};
use libfuzzer_sys::fuzz_target;

/// The folder is in memory, if the system has a file system there.
static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let shared = PathBuf::from("/dev/shm");
    let folder = if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() };
    let folder = folder.expect("no temporary folder");
    let native = folder.path().join(more::FILE);
    std::fs::write(&native, &*more::NATIVE).expect("no native file");
    let native = std::fs::File::options().write(true).open(native).expect("no native file");
    native.set_modified(UNIX_EPOCH + more::MODIFIED).expect("the time of a file cannot be set");
    folder
});

fn make_seeds() -> Vec<(String, Vec<u8>)> {
    let path = FOLDER.path().join("seed.h5");
    let mut all = Vec::new();
    sample::create(&Target::File(path.clone())).expect("the sample cannot be made");
    all.push(("closed".to_owned(), std::fs::read(&path).expect("no sample")));
    let l = Ledger::open_file(
        &path,
        LedgerAccess::ReadWrite,
        Options { checkpoint_bytes: 1, ..Options::default() },
    );
    let l = l.expect("no sample");
    l.put(b"Zfuzz", b"value".to_vec()).and_then(|()| l.commit()).expect("no commit");
    drop(l);
    all.push(("folded".to_owned(), std::fs::read(&path).expect("no sample")));
    let target = Target::File(path.clone());
    sample::create_for_sources(&target).expect("the sample cannot be made");
    more::adopt(&target, more::FILE).expect("no native file");
    all.push(("adopted".to_owned(), std::fs::read(&path).expect("no sample")));
    sample::create(&target).expect("the sample cannot be made");
    more::branch(&target).expect("no branch");
    all.push(("branched".to_owned(), std::fs::read(&path).expect("no sample")));
    all
}

fn use_file(path: &std::path::Path) -> h5lake_ledger::Result<()> {
    {
        let l = Ledger::open_file(path, LedgerAccess::ReadOnly, Options::default())?;
        let _ = l.versions(20);
        let mut after = None;
        for _ in 0..100 {
            let page = l.scan_prefix(b"", after.as_deref(), 50)?;
            let Some((last, _)) = page.last() else { break };
            after = Some(last.clone());
        }
        let _ = l.prev(Bound::Unbounded, Bound::Unbounded);
    }
    let target = Target::File(path.to_owned());
    walk::open_and_walk(&target, Access::ReadOnly);
    more::use_all(&target);
    walk::open_and_walk(&target, Access::ReadWrite);
    let l = Ledger::open_file(path, LedgerAccess::ReadWrite, Options::default())?;
    let _ = l.vacuum();
    Ok(())
}

fuzz_target!(
    init: seeds::write_if_asked(make_seeds),
    |bytes: &[u8]| {
        let path = FOLDER.path().join("c.h5");
        std::fs::write(&path, bytes).expect("a file in memory cannot be written");
        let _ = use_file(&path);
        let _ = std::fs::remove_file(&path);
    }
);
