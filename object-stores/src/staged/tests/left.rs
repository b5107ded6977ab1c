//! The content of a staging folder is trusted only as far as it is verified.

use super::*;

/// Returns a stage with three operations of a process that has died, and its folder.
fn left() -> (Gate, PathBuf) {
    let gate = Gate::new().shut();
    let store = gate.staged();
    for n in 1..=3 {
        overwrite(&store, &format!("note/{n}"), &format!("note {n}"));
    }
    let path = die(store);
    gate.open();
    (gate, path)
}

fn open(gate: &Gate) -> Leftover {
    let (path, about) = leftovers(gate.dir.path(), None).unwrap().pop().unwrap();
    Leftover::open(&path, about).unwrap().unwrap()
}

fn drain(gate: &Gate, left: Leftover) -> Result<Arrival> {
    let brought = left.drain(gate.store.clone(), Duration::from_secs(5), &|_| Ok(None))?;
    let arrival = brought.arrival;
    brought.remove();
    Ok(arrival)
}

#[test]
fn a_staging_directory_names_its_container() {
    let (gate, path) = left();
    let left = open(&gate);
    let about = left.about().clone();
    assert_eq!(
        (about.url.as_str(), about.key.as_str(), about.pid),
        ("memory://x", "head", std::process::id())
    );
    assert_eq!(left.waiting(), Arrival { operations: 3, bytes: 18 });
    assert!(left.damage().is_none() && has_operations(&path));
    assert!(Leftover::open(&path, about).unwrap().is_none(), "it is in use");
    assert_eq!(drain(&gate, left).unwrap(), Arrival { operations: 3, bytes: 18 });
    assert_eq!(gate.there("note/3").unwrap(), "note 3");
    assert!(gate.folders().is_empty() && leftovers(gate.dir.path(), None).unwrap().is_empty());
}

/// Operations before the damage arrive. The damaged operation and the later ones remain in the folder.
#[test]
fn damage_stops_the_upload() {
    type Damage = fn(&std::path::Path);
    let damages: [(&str, Damage, Option<u32>); 6] = [
        ("cut", |file| fs::write(file, &fs::read(file).unwrap()[..9]).unwrap(), Some(1)),
        ("emptied", |file| fs::write(file, "").unwrap(), Some(1)),
        ("gone", |file| fs::remove_file(file).unwrap(), Some(1)),
        ("its bytes", |file| flip(file, 0), Some(1)),
        ("its footer", |file| flip(file, 20), Some(1)),
        (
            "a link",
            |file| {
                fs::remove_file(file).unwrap();
                std::os::unix::fs::symlink("/etc/hostname", file).unwrap();
            },
            Some(1),
        ),
    ];
    for (what, damage, arrives) in damages {
        let (gate, path) = left();
        damage(&folder::file_of(&path, 2));
        let error = drain(&gate, open(&gate)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::StageBroken, "{what}: {error}");
        let there = (1..=3).filter(|n| gate.there(&format!("note/{n}")).is_some()).count() as u32;
        assert_eq!(Some(there), arrives, "{what}");
        assert!(path.exists(), "{what}");
    }
}

fn flip(file: &std::path::Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_foreign_folder_is_left_unchanged() {
    for (name, text) in [
        ("about.json", "{}"),
        ("about.json", "not JSON"),
        ("about.json", r#"{"format":2,"url":"u","key":"k","place":"p","host":"h","pid":1,"sync":true}"#),
        ("about.json", r#"{"format":1,"url":"u","key":"k","place":"p","host":"h","pid":1}"#),
        (
            "about.json",
            r#"{"format":1,"url":"u","key":"k","place":"p","host":"h","pid":99999999999,"sync":true}"#,
        ),
    ] {
        let (gate, path) = left();
        fs::write(path.join(name), text).unwrap();
        assert!(leftovers(gate.dir.path(), None).unwrap().is_empty(), "{text}");
    }
    let (gate, path) = left();
    fs::write(path.join("arrived"), [0; 12]).unwrap();
    let (at, about) = leftovers(gate.dir.path(), None).unwrap().pop().unwrap();
    assert!(Leftover::open(&at, about).is_err(), "what arrived is not known");
    fs::create_dir(gate.dir.path().join("empty")).unwrap();
    fs::write(gate.dir.path().join("file"), "x").unwrap();
    assert_eq!(leftovers(gate.dir.path(), None).unwrap().len(), 1);
    assert!(leftovers(&gate.dir.path().join("none"), None).unwrap().is_empty());
    // Other users may have written to the folder.
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    assert!(leftovers(gate.dir.path(), None).unwrap().is_empty());
}

#[test]
fn objects_of_another_container_are_left_unchanged() {
    let (gate, _) = left();
    let second = |left: &Leftover| Ok(left.pending().nth(1).map(|pending| pending.keys()[0].clone()));
    let refused = open(&gate).drain(gate.store.clone(), Duration::from_secs(5), &second).unwrap_err();
    for part in ["note/2", "replaced since", "3 operations (18 bytes)", "h5lake drain --discard"] {
        assert!(refused.to_string().contains(part), "{part}: {refused}");
    }
    assert_eq!(gate.there("note/1"), None);
    let elsewhere: Arc<dyn ObjectStore> = Arc::new(MemoryStore::named("stage-elsewhere"));
    assert!(open(&gate).drain(elsewhere.clone(), Duration::from_secs(5), &|_| Ok(None)).is_err());
    assert_eq!(elsewhere.list("", None).count(), 0);
    // The writer that replaced the container continues without the operations of the old container.
    let next = gate.staged();
    assert!(next.recover(&second).unwrap().is_empty());
    assert_eq!((gate.there("note/1"), next.has_leftovers().unwrap()), (None, true));
    // Without an answer no operation is uploaded, and none is considered foreign.
    let unknown = |_: &Leftover| Err(Error::new(ErrorKind::Unavailable, Operation::Get));
    assert_eq!(next.recover(&unknown).unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!((gate.there("note/1"), next.has_leftovers().unwrap()), (None, true));
}

/// The function that checks whether a leftover is foreign reads the operations as they were staged.
#[test]
fn pending_operations_are_readable_before_upload() {
    let gate = Gate::new().shut();
    let store = gate.staged();
    overwrite(&store, "pack/a", "hello");
    store.delete_many(&[key("pack/b"), key("pack/c")]).unwrap();
    overwrite(&store, "pack/d", "damaged");
    let path = die(store);
    flip(&folder::file_of(&path, 3), 0);
    let left = open(&gate);
    let pending: Vec<_> = left.pending().collect();
    let deleted: Vec<_> = pending.iter().map(Pending::is_deletion).collect();
    assert_eq!(deleted, [false, true, false]);
    assert_eq!((pending[0].keys(), pending[0].read().unwrap()), ([key("pack/a")].as_slice(), "hello".into()));
    assert_eq!((pending[1].keys().len(), pending[1].read().unwrap()), (2, Bytes::new()));
    assert_eq!(pending[2].read().unwrap_err().kind(), std::io::ErrorKind::InvalidData);
}

/// A head is a commit: a pending head that another writer's head keeps from arriving is reported, even if no other
/// operation is pending.
#[test]
fn a_single_refused_manifest_is_reported_and_keeps_its_folder() {
    for count in 1..=2 {
        let gate = Gate::new();
        let store = gate.staged();
        let mut etag = overwrite(&store, "head/x", "0").unwrap();
        let gate = gate.shut();
        for n in 1..=count {
            etag = put(&store, "head/x", &n.to_string(), PutMode::Update(etag)).unwrap().unwrap();
        }
        let path = die(store);
        gate.open();
        overwrite(&*gate.memory, "head/x", "theirs");
        for _ in 0..2 {
            let error = drain(&gate, open(&gate)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::StageBroken);
            for part in ["another writer", "head/x", &format!("{count} operations")] {
                assert!(error.to_string().contains(part), "{part}: {error}");
            }
            assert_eq!(gate.there("head/x").unwrap(), "theirs");
            await_end(&path);
            assert_eq!(open(&gate).waiting().operations, count);
        }
    }
}

/// Links in the folder of stages may come from another user who may write there, or from an archive.
#[test]
fn links_to_other_folders_are_no_queues_and_are_retained() {
    use std::os::unix::fs::symlink;
    let outer = tempfile::tempdir().unwrap();
    let (gate, path) = left();
    let elsewhere = outer.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    symlink(&elsewhere, &path).unwrap();
    let before = fs::read_dir(&elsewhere).unwrap().count();
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(leftovers(gate.dir.path(), None).unwrap().is_empty());
    assert!(!is_drained(gate.dir.path(), name) && has_operations(&path));
    assert!(folder::Folder::adopt(&path).is_err());
    assert!(folder::remove(&path).is_err());
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), before);
    // An operation's file that is not a regular file counts as damage, and a file with another name is not deleted.
    fs::remove_file(&path).unwrap();
    fs::rename(&elsewhere, &path).unwrap();
    let operation = folder::file_of(&path, 2);
    fs::remove_file(&operation).unwrap();
    nix::unistd::mkfifo(&operation, nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::write(path.join("thesis.tex"), "precious").unwrap();
    let refused = drain(&gate, open(&gate)).unwrap_err();
    assert!(refused.to_string().contains("no regular file"), "{refused}");
    let (at, about) = leftovers(gate.dir.path(), None).unwrap().pop().unwrap();
    while folder::is_ours(&at) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(Leftover::open(&at, about).unwrap().unwrap().discard().is_err(), "the folder is not empty");
    let names: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["thesis.tex"]);
}
