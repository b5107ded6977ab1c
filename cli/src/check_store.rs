//! `h5lake check-store`: checks that a store keeps the promises that containers rely on.
//!
//! The checks are the conformance suites of object stores and of registers, which every store of h5lake passes. Each check runs in a
//! separate process, below a separate prefix, so that a store library that crashes or hangs ends only one check. Objects that a check
//! leaves behind are deleted.

use std::hash::{BuildHasher, RandomState};
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use h5lake_connector::config::Config;
use h5lake_ledger::register::conformance;
use object_stores::registry::{self, Registry, Settings, split_scheme};
use object_stores::{Condition, Key, ObjectStore, ObjectStoreExt, PrefixStore, PutMode, printable_lines};
use serde_json::{Value, json};

use crate::Failure;
use crate::output::{Output, Sink};

/// The time limit of one check. The longest check writes 2,500 objects.
const MAX_CHECK_TIME: Duration = Duration::from_secs(600);
/// The interval at which a running check is polled.
const POLL: Duration = Duration::from_millis(10);
/// The number of characters of a failure's reason that are shown.
const MAX_REASON: usize = 400;
/// The names of the parts that are no checks: the description of the store, and the deletion of leftover objects.
const DESCRIBE: &str = "describe";
const CLEAN: &str = "clean";

/// The result of a process that ran one part.
struct Ended {
    status: Option<ExitStatus>,
    said: String,
    reason: String,
}

impl Ended {
    fn is_well(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// Returns the reason why the process failed.
    fn why(&self) -> String {
        let reason: String = self.reason.chars().take(MAX_REASON).collect();
        match self.status {
            None => format!("no answer within {} s", MAX_CHECK_TIME.as_secs()),
            Some(status) => match status.signal() {
                Some(signal) => format!("signal {signal} ended the process {reason}"),
                None if reason.is_empty() => format!("the process ended, {status}"),
                None => reason,
            },
        }
    }
}

/// Checks the store at a URL. Returns whether the store honours both conditions of puts and passed every check.
///
/// # Errors
///
/// Returns an error if the store cannot be opened or written.
pub fn run(url: &str, output: Output) -> Result<bool, Failure> {
    let prefix = format!("h5lake-check-{:016x}", RandomState::new().hash_one(std::process::id()));
    let part = |below: String, what: &str| part(url, &format!("{prefix}/{below}"), what);
    let described = part("conditions".to_owned(), DESCRIBE)?;
    if !described.is_well() {
        return Err(format!("the store cannot be used: {}", described.why()).into());
    }
    let mut report: Value = serde_json::from_str(&described.said)?;
    let mut out = Sink::new(output == Output::Json);
    let is_json = output == Output::Json;
    if !is_json {
        for line in described_lines(&report) {
            out.line(&line)?;
        }
    }
    let (mut checks, mut failed) = (Vec::new(), 0);
    for (n, (name, _)) in conformance::all_checks().iter().enumerate() {
        let ended = part(n.to_string(), name)?;
        if !ended.is_well() {
            failed += 1;
            let _remaining_objects_are_known_by_their_prefix = part(n.to_string(), CLEAN);
        }
        if is_json {
            let reason = (!ended.is_well()).then(|| ended.why());
            checks.push(json!({ "name": name, "passed": ended.is_well(), "reason": reason }));
        } else if ended.is_well() {
            out.line(&format!("passed  {name}"))?;
        } else {
            out.line(&format!("FAILED  {name}: {}", ended.why()))?;
        }
        out.flush()?;
    }
    let passed = conformance::all_checks().len() - failed;
    if is_json {
        report["checks"] = checks.into();
        (report["passed"], report["failed"]) = (passed.into(), failed.into());
        out.line(&report.to_string())?;
    } else {
        out.line(&format!("{passed} passed, {failed} failed"))?;
        out.line(conclusion(has_both(&report), failed))?;
    }
    out.finish()?;
    Ok(failed == 0 && has_both(&report))
}

/// Returns whether the store honours both conditions of puts.
fn has_both(report: &Value) -> bool {
    ["create", "update"].iter().all(|condition| report[condition]["holds"] == true)
}

/// Returns the last line, which says what the checks mean for containers.
fn conclusion(has_both: bool, failed: usize) -> &'static str {
    match (failed, has_both) {
        (0, true) => "containers here can have many writers (writers=many)",
        (0, false) => "containers here have one writer at a time",
        _ => "do not store containers here before the failed checks are understood: data may be lost",
    }
}

/// Returns the lines that describe a store, which are shown before its checks.
fn described_lines(report: &Value) -> Vec<String> {
    let mut lines = vec![format!("{}", report["name"].as_str().unwrap_or_default())];
    for (condition, what) in [("create", "create if absent"), ("update", "update if unchanged")] {
        lines.push(match report[condition]["why_not"].as_str() {
            None => format!("holds   {what}"),
            Some(why) => format!("is not  {what}: {why}"),
        });
    }
    for (capability, what) in
        [("persistent", "objects outlive the process"), ("nested_keys", "'a' beside 'a/b'")]
    {
        lines.push(format!("{}  {what}", if report[capability] == true { "holds " } else { "is not" }));
    }
    lines
}

/// Runs one part in a separate process.
fn part(url: &str, prefix: &str, what: &str) -> Result<Ended, Failure> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["check-store-part", "--", url, prefix, what]);
    // Without a cache directory, the store is probed, even if the result of an earlier probe is stored.
    command.env("XDG_CACHE_HOME", "/dev/null");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let texts = [child.stdout.take().map(reading), child.stderr.take().map(reading)];
    let status = waited(&mut child)?;
    let [said, reason] = texts.map(|thread| thread.and_then(|thread| thread.join().ok()).unwrap_or_default());
    let reason = reason.trim().trim_start_matches("h5lake: ").replace('\n', " ");
    Ok(Ended { status, said, reason })
}

/// Reads the output of a process in a thread, so that the process never blocks on a full pipe.
fn reading(mut from: impl std::io::Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _partial_output_is_shown = from.by_ref().take(1 << 20).read_to_end(&mut bytes);
        let _the_excess_is_dropped = std::io::copy(&mut from, &mut std::io::sink());
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Waits for a process. Kills the process after [`MAX_CHECK_TIME`] and then returns `None`.
fn waited(child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begun.elapsed() > MAX_CHECK_TIME {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

/// Runs one part in the process that was started for it. The arguments are `URL PREFIX WHAT`. A check that fails ends the process, with the
/// reason on stderr.
///
/// # Errors
///
/// Returns an error if the store cannot be opened, or answers with an error.
pub fn serve(arguments: &[String]) -> Result<(), Failure> {
    let [url, prefix, what] = arguments else {
        return Err("this command is for the tool itself; use 'h5lake check-store'".into());
    };
    let store = opened(url, prefix)?;
    if what == DESCRIBE {
        try_to_write(&store)?;
        println!("{}", description(&store));
        return Ok(());
    }
    if what != CLEAN {
        let checks = conformance::all_checks();
        let (_, check) = checks.iter().find(|(name, _)| name == what).ok_or("there is no such check")?;
        std::panic::set_hook(Box::new(|panic| {
            let text = panic.payload();
            let text =
                text.downcast_ref::<String>().map(String::as_str).or(text.downcast_ref::<&str>().copied());
            eprintln!("{}", printable_lines(text.unwrap_or("the check failed")));
            std::process::exit(i32::from(crate::FOUND));
        }));
        check(&store);
    }
    clean(&store)
}

fn opened(url: &str, prefix: &str) -> Result<Arc<dyn ObjectStore>, Failure> {
    let config = Config::from_environment()?;
    if let Some(paths) = &config.store_path {
        registry::add_store_path(paths);
    }
    let mut settings = Settings::new();
    if let (Some(timeout), Some((scheme, _))) = (config.timeout, split_scheme(url))
        && registry::has_timeout(&scheme)
    {
        settings.insert("timeout".to_owned(), format!("{}s", timeout.as_secs()));
    }
    let store = Registry::global().open_with(url, &settings)?;
    Ok(Arc::new(PrefixStore::new(store, Key::new(prefix)?)))
}

/// Puts an object and deletes it, because the capabilities of a kind of store do not show that this store can be written.
///
/// # Errors
///
/// Returns an error if the object cannot be put.
fn try_to_write(store: &Arc<dyn ObjectStore>) -> Result<(), Failure> {
    let key = Key::new("written")?;
    let put = store.put(&key, "h5lake".into(), PutMode::Overwrite);
    put.map_err(|error| format!("it cannot be written: {error}"))?;
    let _the_checks_tell_of_deletions = store.delete(&key);
    Ok(())
}

fn description(store: &Arc<dyn ObjectStore>) -> Value {
    let capabilities = store.capabilities();
    let of = |condition| json!({ "holds": store.honours(condition), "why_not": store.why_not(condition) });
    let name = store.name();
    json!({
        "name": name.rsplit_once("/h5lake-check-").map_or(&*name, |(name, _)| name),
        "create": of(Condition::Create),
        "update": of(Condition::Update),
        "persistent": capabilities.persistent,
        "nested_keys": capabilities.nested_keys,
        "remote": capabilities.remote,
    })
}

/// Deletes all objects that a check left behind.
fn clean(store: &Arc<dyn ObjectStore>) -> Result<(), Failure> {
    let keys: Vec<Key> =
        store.list("", None).map(|meta| meta.map(|meta| meta.key)).collect::<Result<_, _>>()?;
    Ok(store.delete_many(&keys)?)
}
