//! A directory store used by several processes at once. Each child is this test's own binary, run
//! again with a task in its environment.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use object_stores::dir::Sync;
use object_stores::{DirStore, ErrorKind, GetResult, Key, ObjectStore, ObjectStoreExt, PutMode, PutPayload};

const TASK: &str = "OBJECT_STORES_TEST_TASK";
const ROOT: &str = "OBJECT_STORES_TEST_ROOT";
const ROUNDS: usize = 200;

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn open(root: &Path) -> DirStore {
    DirStore::open(root.join("store"), Sync::Process).unwrap()
}

/// Runs the task of a child; does nothing when the suite itself runs this.
#[test]
fn child() {
    let (Ok(task), Some(root)) = (std::env::var(TASK), std::env::var_os(ROOT)) else { return };
    let root = Path::new(&root);
    let store = open(root);
    let (task, number) = task.rsplit_once(' ').unwrap();
    fs::write(root.join(format!("ready-{number}")), "").unwrap();
    wait_until(|| root.join("go").exists());
    match task {
        "create" => create(&store, number),
        "update" => update(&store),
        "mixed" => mixed(&store, number),
        "until killed" => write_until_killed(&store, number),
        other => panic!("no task {other}"),
    }
    fs::write(root.join(format!("done-{number}")), "").unwrap();
}

fn wait_until(done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "nothing happens");
        sleep(Duration::from_micros(200));
    }
}

/// Starts the children, and releases them at the same moment when all are ready.
fn start(root: &Path, task: &str, count: usize) -> Vec<Child> {
    let children = (0..count)
        .map(|number| {
            Command::new(std::env::current_exe().unwrap())
                .args(["child", "--exact", "--nocapture"])
                .env(TASK, format!("{task} {number}"))
                .env(ROOT, root)
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    wait_until(|| (0..count).all(|number| root.join(format!("ready-{number}")).exists()));
    fs::write(root.join("go"), "").unwrap();
    children
}

fn finish(root: &Path, children: Vec<Child>) {
    for (number, mut child) in children.into_iter().enumerate() {
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(child.wait().unwrap().success(), "child {number}: {said}");
        assert!(root.join(format!("done-{number}")).exists(), "child {number} did not do its task");
    }
}

fn staged(root: &Path) -> usize {
    fs::read_dir(root.join("store/.object-store/tmp")).map_or(0, Iterator::count)
}

fn create(store: &DirStore, number: &str) {
    for round in 0..ROUNDS {
        let payload = PutPayload::copy_from(number.repeat(1 + round * 20).as_bytes());
        match store.put(&key(&format!("log/{round:04}")), payload, PutMode::Create) {
            // Outside of the race, each child that believes to have won records that.
            Ok(_) => store
                .put(&key(&format!("won/{round:04}/{number}")), PutPayload::new(), PutMode::Overwrite)
                .map(drop)
                .unwrap(),
            Err(e) => assert_eq!(e.kind(), ErrorKind::AlreadyExists, "{e}"),
        }
    }
}

#[test]
fn one_of_several_creating_processes_wins() {
    let dir = tempfile::tempdir().unwrap();
    let children = start(dir.path(), "create", 6);
    finish(dir.path(), children);
    let store = open(dir.path());
    let mut winners = [0; 6];
    for round in 0..ROUNDS {
        let won: Vec<_> =
            store.list(&format!("won/{round:04}/"), None).map(|meta| meta.unwrap().key).collect();
        assert_eq!(won.len(), 1, "round {round}: {won:?}");
        let winner = won[0].file_name();
        winners[winner.parse::<usize>().unwrap()] += 1;
        let content = store.get(&key(&format!("log/{round:04}")), None).unwrap().bytes;
        assert_eq!(content, winner.repeat(1 + round * 20).as_bytes());
    }
    assert_eq!(staged(dir.path()), 0);
    eprintln!("rounds won by each process: {winners:?}");
}

fn increment(store: &DirStore, at: &Key) {
    loop {
        let now = store.get(at, None).unwrap();
        let next = u64::from_le_bytes(now.bytes[..].try_into().unwrap()) + 1;
        let mode = PutMode::Update(now.meta.etag.unwrap());
        match store.put(at, PutPayload::copy_from(&next.to_le_bytes()), mode) {
            Ok(_) => return,
            Err(e) => assert_eq!(e.kind(), ErrorKind::PreconditionFailed, "{e}"),
        }
    }
}

fn update(store: &DirStore) {
    for _ in 0..ROUNDS {
        increment(store, &key("a/counter"));
    }
}

#[test]
fn increments_of_several_processes_add_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let at = key("a/counter");
    store.put(&at, PutPayload::copy_from(&0u64.to_le_bytes()), PutMode::Create).unwrap();
    let children = start(dir.path(), "update", 4);
    finish(dir.path(), children);
    let total = u64::from_le_bytes(store.get(&at, None).unwrap().bytes[..].try_into().unwrap());
    assert_eq!(total, 4 * ROUNDS as u64);
    assert_eq!(staged(dir.path()), 0);
}

/// Process 0 replaces and deletes without a condition, while the other processes update.
fn mixed(store: &DirStore, number: &str) {
    let at = key("mixed/head");
    if number == "0" {
        (0..ROUNDS).for_each(|generation| replace_and_delete(store, &at, generation));
        return;
    }
    let over = store.root().parent().unwrap().join("done-0");
    let start = Instant::now();
    while !over.exists() && start.elapsed() < Duration::from_secs(60) {
        if let Some(now) = store.get_opt(&at, None).unwrap() {
            update_of_its_generation(store, &at, now);
        }
    }
}

fn text_of(got: &GetResult) -> &str {
    std::str::from_utf8(&got.bytes).unwrap()
}

/// Puts a generation that no other process starts; updates keep the generation that they read. So the object after the
/// put is of this generation, and after the delete there is no object.
fn replace_and_delete(store: &DirStore, at: &Key, generation: usize) {
    store.put(at, format!("{generation} 0").into_bytes().into(), PutMode::Overwrite).unwrap();
    // Check for as long as an update takes.
    for _ in 0..3 {
        let now = store.get(at, None).unwrap();
        let found = text_of(&now).split(' ').next().unwrap();
        assert_eq!(found, generation.to_string(), "an update undid the put");
    }
    store.delete(at).unwrap();
    for _ in 0..3 {
        assert!(store.head_opt(at).unwrap().is_none(), "an update undid the delete");
    }
}

fn update_of_its_generation(store: &DirStore, at: &Key, now: GetResult) {
    let (generation, count) = text_of(&now).split_once(' ').unwrap();
    let next = format!("{generation} {}", count.parse::<u64>().unwrap() + 1);
    match store.put(at, next.into_bytes().into(), PutMode::Update(now.meta.etag.unwrap())) {
        Ok(_) => {}
        Err(e) => assert_eq!(e.kind(), ErrorKind::PreconditionFailed, "{e}"),
    }
}

#[test]
fn an_update_never_undoes_an_unseen_put_or_delete() {
    let dir = tempfile::tempdir().unwrap();
    let children = start(dir.path(), "mixed", 4);
    finish(dir.path(), children);
}

fn write_until_killed(store: &DirStore, number: &str) {
    // The loop is bounded, in case that the parent has died and cannot kill this process.
    for round in 0..100_000u64 {
        let at = key(&format!("data/{number}"));
        let whole = vec![round as u8; 200_000];
        store.put(&at, whole.clone().into(), PutMode::Overwrite).unwrap();
        let mut stream = store.put_stream(&at).unwrap();
        whole.chunks(30_000).for_each(|piece| stream.write(piece).unwrap());
        stream.finish().unwrap();
        increment(store, &key("counter"));
    }
}

#[test]
fn killed_processes_leave_whole_objects_free_locks_and_sweepable_files() {
    let mut left = 0;
    for delay in [5, 11, 23, 47] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let counter = key("counter");
        store.put(&counter, PutPayload::copy_from(&0u64.to_le_bytes()), PutMode::Create).unwrap();
        let mut children = start(dir.path(), "until killed", 3);
        sleep(Duration::from_millis(delay));
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        for meta in store.list("data/", None) {
            let bytes = store.get(&meta.unwrap().key, None).unwrap().bytes;
            assert!(bytes.len() == 200_000 && bytes.iter().all(|byte| *byte == bytes[0]));
        }
        left += staged(dir.path());
        increment(&store, &counter);
        store.sweep(Duration::ZERO).unwrap();
        assert_eq!(staged(dir.path()), 0);
    }
    eprintln!("{left} unfinished files were left and swept");
}
