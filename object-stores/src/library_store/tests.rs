//! Libraries of stores: the examples pass the suite of all stores, and a violated rule is named.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::conformance;

static FOLDER: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../store-abi")
}

/// Compiles a library from C; each caller gets a file of its own.
fn compiled(source: &str, flags: &[&str]) -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let file = FOLDER.path().join(format!("lib{}.so", COUNT.fetch_add(1, Ordering::Relaxed)));
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let mut compile = Command::new(compiler);
    compile.args([
        "-std=c11",
        "-O1",
        "-g",
        "-shared",
        "-fPIC",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-pthread",
        "-Iinclude",
    ]);
    let done = compile.args(flags).arg(source).arg("-o").arg(&file).current_dir(sources()).status().unwrap();
    assert!(done.success(), "{source} does not compile");
    file
}

/// Opens the store of a URL, with the library at `path`.
fn opened(path: &Path, url: &str) -> Result<Arc<dyn ObjectStore>> {
    let settings = Settings::from([("timeout".to_owned(), "5s".to_owned())]);
    open(Library::load(path).unwrap(), url, &settings)
}

fn passes(path: &Path, url: impl Fn(usize) -> String) {
    let count = AtomicUsize::new(0);
    conformance::run(|| opened(path, &url(count.fetch_add(1, Ordering::Relaxed))).unwrap());
}

#[test]
fn the_shortest_example_passes_the_suite() {
    passes(&compiled("examples/heap_store.c", &[]), |n| format!("heap:suite/{n}"));
}

#[test]
fn the_example_in_a_file_passes_the_suite() {
    let folder = tempfile::tempdir().unwrap();
    let library = compiled("examples/log_store.c", &[]);
    passes(&library, |n| format!("logfile://{}/{n}.log", folder.path().display()));
    // Prefixes of one file are separate stores.
    passes(&library, |n| format!("logfile://{}/one.log/a b/{n}", folder.path().display()));
}

#[test]
fn the_example_in_rust_passes_the_suite() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = ["build", "--quiet", "--package", "h5lake-store-abi", "--example", "memory_store"];
    assert!(Command::new(cargo).args(build).status().unwrap().success());
    let program = std::env::current_exe().unwrap();
    let library = program.ancestors().nth(2).unwrap().join("examples/libmemory_store.so");
    passes(&library, |n| format!("rustmem:suite/{n}"));
}

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn faulty() -> PathBuf {
    static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| compiled("tests/faulty_store.c", &[]));
    LIBRARY.clone()
}

/// Returns a store that violates one rule, with the object `a`, which another store of the library has put there.
fn faulty_store(library: &Path, fault: &str) -> Arc<dyn ObjectStore> {
    let good = opened(library, &format!("faulty:good/{fault}")).unwrap();
    good.put(&key("a"), "0123456789".into(), PutMode::Overwrite).unwrap();
    opened(library, &format!("faulty:{fault}/{fault}")).unwrap()
}

/// Checks that an error names the library and a rule with these words.
fn names_the_rule<T: std::fmt::Debug>(fault: &str, answer: Result<T>, words: &str) {
    let error = answer.expect_err(fault);
    let text = error.to_string();
    assert!(text.contains("faulty_store 1") && text.contains("breaks its interface"), "{fault}: {text}");
    assert!(text.contains(words), "{fault}: {text}");
    // The effect of a write is unknown.
    assert_eq!(error.kind(), ErrorKind::Io, "{fault}");
}

#[test]
fn a_library_with_an_invalid_table_is_refused() {
    let load_error = |table: u32| {
        let file = compiled("tests/faulty_store.c", &[&format!("-DTABLE={table}")]);
        Library::load(&file).map(|library| library.name()).unwrap_err()
    };
    for (table, words) in [
        (3, "needs a newer version"),
        (4, "version 2"),
        (5, "of 24 bytes"),
        (6, "of 0 bytes"),
        (7, "no function 'list'"),
        (8, "its name is missing"),
        (9, "its name is empty or too long"),
        (10, "no scheme"),
        (11, "more than 16 schemes"),
        (12, "list of schemes is missing"),
        (13, "at an address where none can be"),
        (14, "version 0"),
    ] {
        let why = load_error(table);
        assert!(why.contains(words), "{table}: {why}");
    }
    let empty = FOLDER.path().join("text.so");
    std::fs::write(&empty, "no library").unwrap();
    assert!(Library::load(&empty).is_err());
    assert!(Library::load(Path::new("/nowhere/x.so")).is_err());
}

#[test]
fn a_store_that_is_opened_against_the_rules_is_an_error() {
    for (fault, words) in [
        ("no-opened", "gave none"),
        ("null-opened", "at an address where none can be"),
        ("opened-small", "of 8 bytes"),
        ("opened-version-0", "version 0"),
        ("unknown-capability", "0x10000000000"),
        ("no-name", "without a name"),
        ("name-control", "no UTF-8 without control characters"),
        ("long-name", "where 1024 are the most"),
        ("opened-twice", "a second store"),
        ("open-99", "0x63"),
    ] {
        names_the_rule(fault, opened(&faulty(), &format!("faulty:{fault}")), words);
    }
    let error = opened(&faulty(), "faulty:bad-prefix").unwrap_err();
    assert!(error.to_string().contains("no object key"), "{error}");
}

/// A library waits within its call while it reports that a store is refused, and closes that store itself.
#[test]
fn a_refused_store_remains_owned_by_the_library() {
    let library = compiled("tests/faulty_store.c", &[]);
    let closes = || {
        let store = opened(&library, "faulty:closes").unwrap();
        store.head(&key("a")).unwrap_err().to_string()
    };
    for refused in ["opened-small", "unknown-capability", "no-name", "name-control", "long-name"] {
        assert!(opened(&library, &format!("faulty:{refused}")).is_err());
    }
    assert!(closes().contains("0 closed, 0 within a call"), "{}", closes());
    // The store was closed. Stores that were accepted before their call failed are closed once the call has returned.
    for taken in ["opened-twice", "fails-behind-opened"] {
        assert!(opened(&library, &format!("faulty:{taken}")).is_err());
    }
    assert!(closes().contains("3 closed, 0 within a call"), "{}", closes());
}

#[test]
fn the_example_in_a_file_closes_each_descriptor_once() {
    let folder = tempfile::tempdir().unwrap();
    let damaged = folder.path().join("damaged.log");
    std::fs::write(&damaged, [b'x'; 64]).unwrap();
    let library = compiled("tests/strict_log_store.c", &[]);
    let store = opened(&library, &format!("logfile://{}", damaged.display())).unwrap();
    let error = store.delete(&key("a")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[test]
fn a_read_against_the_rules_is_an_error() {
    for (fault, words) in [
        ("no-object", "bytes before their object"),
        ("null-object", "at an address where none can be"),
        ("crooked-object", "at an address where none can be"),
        ("small-object", "of 16 bytes"),
        ("large-object", "of 1073741824 bytes"),
        ("object-twice", "a second object"),
        ("other-key", "answered with \"other\""),
        ("long-key", "of 3000 bytes"),
        ("bad-key", "no UTF-8"),
        ("no-etag", "gave no etag"),
        ("empty-etag", "gave no etag"),
        ("long-etag", "where 255 are the most"),
        ("control-etag", "no UTF-8 without control characters"),
        ("huge-object", "has 9223372036854775808 bytes"),
        ("bad-time", "which is none"),
        ("bytes-first", "before their object"),
        ("opened-again", "none was asked for"),
        ("no-bytes", "10 are missing"),
        ("few-bytes", "1 are missing"),
        ("null-bytes", "at no address"),
        ("huge-bytes", "impossible length"),
        ("many-bytes", "more bytes"),
        ("code-99", "0x63"),
        ("negative", "0xfffffffb"),
        ("retry-nothing", "0x100"),
        ("exists", "no answer to such a call"),
    ] {
        let store = faulty_store(&faulty(), fault);
        names_the_rule(fault, store.get(&key("a"), None), words);
        names_the_rule(fault, store.get_into(&key("a"), 0, &mut [0; 10]), words);
    }
    // Only the length is wrong: a caller that requests bytes beyond the content notices.
    let store = faulty_store(&faulty(), "longer-object");
    names_the_rule("longer-object", store.get(&key("a"), None), "1000 are missing");
    // Fields of a later version, and missing optional fields, do no harm.
    for fine in ["newer-object", "no-key", "payload-again"] {
        let store = faulty_store(&faulty(), fine);
        assert_eq!(store.get(&key("a"), Some(2..5)).unwrap().bytes, "234", "{fine}");
        store.put(&key("b"), "x".into(), PutMode::Overwrite).unwrap();
    }
}

#[test]
fn a_conditional_read_against_the_rules_is_an_error() {
    for (fault, words) in [
        ("unchanged-object", "is unchanged, and gave one"),
        ("unchanged-retry", "0x500"),
        ("no-object", "bytes before their object"),
        ("few-bytes", "1 are missing"),
        ("code-99", "0x63"),
    ] {
        let store = faulty_store(&faulty(), fault);
        names_the_rule(fault, store.get_if_changed(&key("a"), None, &Etag::new("another")), words);
    }
    // A library that sends an unchanged object wastes bytes, but does no other harm.
    let store = faulty_store(&faulty(), "none");
    let known = store.head(&key("a")).unwrap().etag.unwrap();
    assert!(store.get_if_changed(&key("a"), None, &known).unwrap().is_none());
}

#[test]
fn a_write_or_a_removal_against_the_rules_is_an_error() {
    for (fault, words) in [
        ("no-object", "did not say which"),
        ("object-twice", "a second object"),
        ("other-key", "answered with \"other\""),
        ("no-etag", "gave no etag"),
        ("longer-object", "says that it wrote 1003 bytes"),
        ("payload-nowhere", "without a place for it"),
        ("payload-beyond", "of a payload of 3"),
        ("exists", "no answer to such a call"),
        ("code-99", "0x63"),
    ] {
        let store = faulty_store(&faulty(), fault);
        names_the_rule(fault, store.put(&key("b"), "abc".into(), PutMode::Overwrite), words);
        let mut stream = store.put_stream(&key("b")).unwrap();
        stream.write(b"abc").unwrap();
        names_the_rule(fault, stream.finish(), words);
    }
    let store = faulty_store(&faulty(), "answers-remove");
    names_the_rule("answers-remove", store.delete(&key("a")), "none were asked for");
}

#[test]
fn a_listing_against_the_rules_is_an_error() {
    for (fault, words) in [
        ("unsorted", "out of the order"),
        ("repeated", "out of the order"),
        ("ignores-prefix", "below the prefix"),
        ("ignores-after", "out of the order"),
        ("endless", "more than 2 objects"),
        ("more-of-nothing", "more behind nothing"),
        ("long-key", "of 3000 bytes"),
        ("bad-key", "no UTF-8"),
        ("escaping-key", ""),
        ("no-etag", "gave no etag"),
        ("small-object", "of 16 bytes"),
    ] {
        let store = faulty_store(&faulty(), fault);
        let good = opened(&faulty(), &format!("faulty:good/{fault}")).unwrap();
        for name in ["b", "c", "d"] {
            good.put(&key(name), "x".into(), PutMode::Overwrite).unwrap();
        }
        let (prefix, after) = match fault {
            "ignores-prefix" => ("b", None),
            "ignores-after" => ("", Some("c")),
            _ => ("", None),
        };
        names_the_rule(fault, store.list_page(prefix, after, 2), words);
    }
}

#[test]
fn a_library_that_answers_late_or_elsewhere_is_not_trusted_any_more() {
    for fault in ["late", "other-thread"] {
        let library = compiled("tests/faulty_store.c", &[]);
        let store = faulty_store(&library, fault);
        let _this_call_may_be_over_by_then = store.head(&key("a"));
        names_the_rule(fault, store.head(&key("a")), "after that had returned, or from another thread");
        // No other store of the library works either, but other libraries do.
        names_the_rule(fault, opened(&library, "faulty:good"), "no call of it can be trusted");
        assert!(opened(&faulty(), "faulty:good").is_ok());
    }
}

#[test]
fn promised_but_broken_conditions_are_not_used() {
    for (fault, condition, words) in [
        ("ignores-creates", Condition::Create, "lets several racing writes win"),
        ("looks-before", Condition::Create, "lets several racing writes win"),
        ("refuses-creates", Condition::Create, "refuses every write"),
        ("ignores-updates", Condition::Update, "replaces a version that is gone"),
        ("plain", Condition::Create, "does not promise it"),
        ("plain", Condition::Update, "does not promise it"),
    ] {
        let store = opened(&faulty(), &format!("faulty:{fault}/conditions-{fault}")).unwrap();
        assert!(!store.honours(condition), "{fault}");
        assert!(store.why_not(condition).unwrap().contains(words), "{fault}: {:?}", store.why_not(condition));
        let mode = match condition {
            Condition::Create => PutMode::Create,
            Condition::Update => PutMode::Update(Etag::new("1")),
        };
        let refused = store.put(&key("new"), "x".into(), mode).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported, "{refused}");
        // The probe left no objects.
        assert!(store.list_page("", None, 9).unwrap().objects.is_empty(), "{fault}");
    }
    let good = opened(&faulty(), "faulty:good").unwrap();
    assert!(good.honours(Condition::Create) && good.honours(Condition::Update));
}

#[test]
fn unpromised_capabilities_are_not_used() {
    // Its reads refuse ranges, its listings are unordered, and neither checks conditions that it does not promise.
    passes(&compiled("tests/faulty_store.c", &[]), |n| format!("faulty:unordered/{n}"));
}

#[test]
fn errors_are_repeated_if_that_may_help_and_only_then() {
    let library = compiled("tests/faulty_store.c", &[]);
    let store = faulty_store(&library, "flaky");
    assert_eq!(store.get(&key("a"), None).unwrap().bytes, "0123456789");
    store.put(&key("b"), "x".into(), PutMode::Overwrite).unwrap();
    let permanent = faulty_store(&library, "permanent").get(&key("a"), None).unwrap_err();
    assert_eq!(permanent.kind(), ErrorKind::Unavailable);
    assert_eq!(faulty_store(&library, "denied").head(&key("a")).unwrap_err().errno(), Some(13));
    let begun = Instant::now();
    let settings = Settings::from([("timeout".to_owned(), "1s".to_owned())]);
    let store = open(Library::load(&library).unwrap(), "faulty:always-flaky", &settings).unwrap();
    let error = store.head(&key("a")).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Timeout), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5), "the time is bounded");
    let text = faulty_store(&library, "detail").head(&key("a")).unwrap_err().to_string();
    assert!(text.contains("the disk is on fire") && text.contains("faulty_store 1"), "{text}");
}
