//! Tests for the locations to which names lead.

use super::*;

/// Returns the settings of a store that has whole paths as keys.
fn in_store_of(store: &str) -> Config {
    Config { store: Some(store.to_owned()), root: Some("/".to_owned()), ..Config::default() }
}

fn place(name: &str, store: Option<&str>) -> String {
    let config = Config { store: store.map(str::to_owned), ..Config::default() };
    match super::place(name.as_bytes(), &config).unwrap().target {
        Target::File(path) => path.display().to_string(),
        Target::Objects { key, url, .. } => format!("{url} {key}"),
    }
}

#[test]
fn plain_names_are_local_files_or_keys() {
    assert_eq!(place("a/b.h5", None), "a/b.h5");
    assert_eq!(place("C:b.h5", None), "C:b.h5");
    assert_eq!(place("./a//b.h5", Some("memory:m")), "memory:m a/b.h5");
    let here = std::env::current_dir().unwrap().join("b.h5").display().to_string();
    assert_eq!(place(&here, Some("memory:m")), "memory:m b.h5");
}

/// The error of a name outside the root has the number of a missing file, so that clients which then create the file
/// get the reason why it cannot be created.
#[test]
fn a_name_outside_the_root_leads_only_to_a_file_that_exists() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.h5").display().to_string();
    let config = Config { store: Some("memory:m".to_owned()), ..Config::default() };
    let lies = |purpose| place_for(path.as_bytes(), &config, purpose);
    for (purpose, errno) in [(Purpose::Open(Access::ReadOnly), 2), (Purpose::Create, 22)] {
        let error = lies(purpose).err().unwrap();
        assert_eq!(error.errno(), Some(errno));
        let error = error.to_string();
        let here = std::env::current_dir().unwrap().display().to_string();
        assert!(error.contains(&format!("root '{here}'")) && error.contains("H5LAKE_ROOT"), "{error}");
    }
    std::fs::write(&path, b"\x89HDF\r\n\x1a\n\0 and more").unwrap();
    let found = lies(Purpose::Open(Access::ReadOnly)).unwrap();
    assert!(matches!(found.target, Target::File(_)) && found.found() == Some(Probe::NativeHdf5));
    assert!(lies(Purpose::Create).is_err());
}

/// A pointer file there would overwrite the container's manifest.
#[test]
fn a_path_that_is_the_object_itself_needs_no_pointer() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    std::fs::create_dir(root.join("sub")).unwrap();
    std::os::unix::fs::symlink(root.join("sub"), root.join("link")).unwrap();
    std::os::unix::fs::symlink("sub/x.h5", root.join("other.h5")).unwrap();
    let at = |store: &str, path: &Path| {
        let config = Config { store: Some(store.to_owned()), ..Config::default() };
        let target = in_store(store, "", "sub/x.h5", &config).unwrap();
        is_object_itself(&target, path)
    };
    let store = format!("file://{}", root.display());
    for exists in [false, true] {
        assert!(at(&store, &root.join("sub/x.h5")) && at(&store, &root.join("sub/./x.h5")));
        assert!(at(&store, &root.join("link/x.h5")), "through a symbolic link");
        assert!(!at(&store, &root.join("x.h5")) && !at("memory:m", &root.join("sub/x.h5")));
        assert!(at(&store, &root.join("other.h5")), "a link to the object, there or not: {exists}");
        std::fs::write(root.join("sub/x.h5"), "").unwrap();
    }
    // The whole path is the key in a store that is the root directory.
    let name = root.join("y.h5").display().to_string();
    let place = super::place_of_new(name.as_bytes(), &in_store_of("file:///")).unwrap();
    assert!(place.pointer.is_none() && place.route == Route::Name);
}

#[test]
fn a_pointer_file_leads_where_no_other_store_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let [name, one, other] = ["p.h5", "one", "other"].map(|n| folder.path().join(n).display().to_string());
    let [one, other] = [one, other].map(|path| format!("file://{path}"));
    let pointer = Pointer { store: one.clone(), key: "k".to_owned() };
    pointer::link(name.as_ref(), &pointer, SyncPolicy::Process).unwrap();
    let key = name.trim_start_matches('/');
    let lies = |store: Option<&str>, purpose: Purpose| {
        let config = store.map_or_else(Config::default, in_store_of);
        let place = place_for(name.as_bytes(), &config, purpose).map_err(|e| e.to_string())?;
        let at_pointer = place.route == Route::Pointer;
        match place.target {
            Target::Objects { key, url, .. } => {
                assert_eq!(at_pointer, url == one, "{url}");
                Ok((url, key))
            }
            Target::File(path) => Err(path.display().to_string()),
        }
    };
    let at = |store: &str, key: &str| Ok((store.to_owned(), key.to_owned()));
    for purpose in [Purpose::Open(Access::ReadOnly), Purpose::Open(Access::ReadWrite), Purpose::Create] {
        assert_eq!(lies(None, purpose), at(&one, "k"));
        assert_eq!(lies(Some(&one), purpose), at(&one, "k"));
        assert_eq!(lies(Some("memory:m"), purpose), at("memory:m", key));
        assert!(lies(Some("nowhere://x"), purpose).is_err_and(|e| e.contains("nowhere")));
    }
    for purpose in [Purpose::Open(Access::ReadOnly), Purpose::Open(Access::ReadWrite)] {
        assert_eq!(lies(Some(&other), purpose), at(&one, "k"));
    }
    assert_eq!(lies(Some(&other), Purpose::Create), at(&other, key));
}

#[test]
fn the_folder_of_a_local_name_begins_at_the_root() {
    let folder = |name: &str, store: Option<&str>| {
        let config = Config { store: store.map(str::to_owned), ..Config::default() };
        String::from_utf8(folder_of(name.as_bytes(), &config)).unwrap()
    };
    let here = std::env::current_dir().unwrap().display().to_string();
    assert_eq!(folder("a.h5", None), format!("{here}/"));
    assert_eq!(folder("d/a.h5", Some("s3://bucket")), format!("{here}/d/"));
    assert_eq!(folder("/d/a.h5", None), "/d/");
    assert_eq!(folder("s3://bucket/d/a.h5", None), "s3://bucket/d/");
    assert_eq!(folder("d/a.h5", Some("memory:m")), "d/");
    assert_eq!(folder("memory:m/a", None), "memory:m/");
}

#[test]
fn a_scheme_in_the_name_chooses_the_store() {
    assert_eq!(place("memory:x", None), "memory: x");
    assert_eq!(place("memory:m/x", Some("file:///tmp")), "memory:m x");
}

#[test]
fn a_name_may_ask_for_a_version() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let at = |name: &str| super::place(path(name).as_bytes(), &Config::default()).map(|place| place.at);
    assert_eq!(at("a.h5@v=3").unwrap(), None, "nothing lies at a.h5");
    std::fs::write(path("a.h5"), "x").unwrap();
    assert_eq!(at("a.h5@v=3").unwrap(), Some(At::Version(3)));
    assert_eq!(at("a.h5@t=1970-01-02").unwrap(), Some(At::Time(86_400_000_000)));
    assert_eq!(at("a.h5@tag=paper").unwrap(), TagName::new("paper").map(At::Tag));
    assert_eq!(at("a.h5@branch=fix").unwrap(), BranchName::new("fix").map(At::Branch));
    assert!(at("a.h5@branch=a b").is_err());
    assert!(at("a.h5@v=x").is_err() && at("a.h5@t=soon").is_err() && at("a.h5@tag=a b").is_err());
    std::fs::write(path("a.h5@v=3"), "x").unwrap();
    assert_eq!(at("a.h5@v=3").unwrap(), None, "a file has that very name");
}

#[test]
fn remote_stores_are_cached_if_configured() {
    let dir = tempfile::tempdir().unwrap();
    let path = Some(dir.path().join("cache").display().to_string());
    let config = Config { disk_cache: path.clone(), ..Config::default() };
    let shown = |name: &str, config: &Config| match super::place(name.as_bytes(), config).unwrap().target {
        Target::Objects { store, .. } => format!("{store:?}"),
        Target::File(path) => path.display().to_string(),
    };
    assert!(shown("https://127.0.0.1:1/dir/x", &config).starts_with("DiskCache"));
    assert!(!shown("https://127.0.0.1:1/dir/x", &Config::default()).starts_with("DiskCache"));
    assert!(!shown("memory:m/x", &config).starts_with("DiskCache"));
    std::fs::remove_dir(dir.path().join("cache")).unwrap();
    std::fs::write(dir.path().join("cache"), "").unwrap();
    // A cache that cannot be made is not used.
    assert!(!shown("https://127.0.0.1:1/dir/x", &config).starts_with("DiskCache"));
}

#[test]
fn names_that_match_no_pattern_are_local() {
    let config = Config::parse("only=*.h5l store=memory:m").unwrap();
    let lies = |name: &str| match super::place(name.as_bytes(), &config).unwrap().target {
        Target::File(path) => path.display().to_string(),
        Target::Objects { key, url, .. } => format!("{url} {key}"),
    };
    assert_eq!((lies("x/a.h5l"), lies("x/a.h5")), ("memory:m x/a.h5l".into(), "x/a.h5".into()));
    assert_eq!(lies("memory:n/a.h5"), "memory:n a.h5", "a URL chooses its store itself");
    let is_left = |name: &str| is_left_to_native(name.as_bytes(), &config);
    assert!(!is_left("a.h5l") && !is_left("a.h5l@v=3") && !is_left("a.h5l@t=2026-11-20"));
    assert!(is_left("a.h5") && is_left("a.h5@v=3") && !is_left_to_native(b"a.h5", &Config::default()));
}

#[test]
fn an_unknown_scheme_is_named() {
    let error = super::place(b"gopher://host/x", &Config::default()).err().unwrap().to_string();
    assert!(error.contains("gopher") && !error.contains("'store'"), "{error}");
}

#[test]
fn a_store_of_the_settings_is_named_by_its_key() {
    let config = Config { store: Some("gopher://host".to_owned()), ..Config::default() };
    let error = super::place(b"x", &config).err().unwrap().to_string();
    assert!(error.contains("gopher") && error.contains("key 'store'"), "{error}");
}
