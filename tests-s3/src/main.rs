//! Runs a command with an S3 server on loopback, which ends with the command:
//!
//!     h5lake-tests-s3 tests-py/run --connector 'h5lake store=s3://lake/{work}'
//!
//! The command finds the server through the variables of AWS's tools. Without a command the program prints the
//! variables, serves until its standard input ends, and answers each line there with the number of requests since the
//! previous line.
//!
//! With `--latency MS` before the command every request takes this much longer. With `--memory MIB` this much memory is
//! allocated and freed before the first request: a system that is slow to supply fresh memory then does not affect the
//! measurement, if the allocator retains freed memory (with glibc: `GLIBC_TUNABLES`, `arena_max=1`, `mmap_threshold`
//! and `trim_threshold` above that size).
//!
//!     h5lake-tests-s3 --conformance s3://bucket/prefix
//!
//! starts no server: it runs the suites of all stores and of the register below that URL, against the store that the
//! environment configures.

use std::ffi::OsStr;
use std::hint::black_box;
use std::io::{Error, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode};
use std::time::Duration;

use h5lake_ledger::register::conformance;
use h5lake_tests_s3::{Behaviour, Server};
use object_stores::{Condition, Registry};

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(e) => {
            eprintln!("h5lake-tests-s3: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> std::io::Result<ExitCode> {
    let mut words = std::env::args_os().skip(1).peekable();
    if words.next_if(|word| word == OsStr::new("--conformance")).is_some() {
        let url = words.next().and_then(|word| word.into_string().ok());
        return conform(&url.ok_or_else(|| Error::other("--conformance takes the URL of a store"))?);
    }
    let mut behaviour = Behaviour::default();
    if words.next_if(|word| word == OsStr::new("--latency")).is_some() {
        let time = words.next().and_then(|word| word.to_str()?.parse().ok());
        behaviour.latency =
            Duration::from_millis(time.ok_or_else(|| Error::other("--latency takes milliseconds"))?);
    }
    if words.next_if(|word| word == OsStr::new("--memory")).is_some() {
        let memory = words.next().and_then(|word| word.to_str()?.parse::<usize>().ok());
        let memory = memory.and_then(|mebibytes| mebibytes.checked_mul(1 << 20));
        drop(black_box(vec![1_u8; memory.ok_or_else(|| Error::other("--memory takes mebibytes"))?]));
    }
    let server = Server::start(behaviour)?;
    let Some(program) = words.next() else {
        for (name, value) in server.variables() {
            println!("export {name}={value}");
        }
        std::io::stdout().flush()?;
        for line in std::io::stdin().lines() {
            line?;
            println!("{}", server.take_requests().len());
        }
        return Ok(ExitCode::SUCCESS);
    };
    let status = Command::new(program).args(words).envs(server.variables()).status()?;
    let requests = server.take_requests().len();
    println!("{requests} requests");
    // A command that sent no request has tested nothing.
    Ok(if status.success() && requests > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs every check of the suite, each below a prefix of its own; the last line is the summary.
fn conform(url: &str) -> std::io::Result<ExitCode> {
    let open = |n: usize| Registry::global().open(&format!("{url}/{}-{n}", std::process::id()));
    let store = open(0).map_err(Error::other)?;
    for condition in [Condition::Create, Condition::Update] {
        println!("{condition:?} is {}", if store.honours(condition) { "honoured" } else { "not honoured" });
    }
    let mut failed = 0;
    let checks = conformance::all_checks();
    for (n, (name, check)) in checks.iter().enumerate() {
        let store = open(n).map_err(Error::other)?;
        let passed = catch_unwind(AssertUnwindSafe(|| check(&store))).is_ok();
        println!("{} {name}", if passed { "passed" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    println!("{} passed, {} failed, 0 skipped", checks.len() - failed, failed);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
