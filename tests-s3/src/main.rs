//! Runs a command with an S3 server on loopback, which ends with the command:
//!
//!     h5lake-tests-s3 tests-py/run --connector 'h5lake store=s3://lake/{work}'
//!
//! The command finds the server through the variables of AWS's tools. Without a command the program prints the
//! variables, serves until its standard input ends, and answers each line there with the number of requests since the
//! previous line. A line with a number of milliseconds sets the latency, which is added to every request.
//!
//! With `--relay` in place of a command the program starts no server, but a relay in front of the server that
//! `AWS_ENDPOINT_URL` names, prints the same variables, and serves in the same way.
//!
//! With `--memory MIB` before the command this much memory is allocated and freed before the first request: a system
//! that is slow to supply fresh memory then does not affect the measurement, if the allocator retains freed memory
//! (with glibc: `GLIBC_TUNABLES`, `arena_max=1`, `mmap_threshold` and `trim_threshold` above that size).
//!
//!     h5lake-tests-s3 --google tests-py/run --connector 'h5lake store=gs://lake/{work}'
//!
//! runs the command with the server that has Google's interface; the command finds it through Google's variables.
//!
//!     h5lake-tests-s3 --conformance s3://bucket/prefix
//!
//! starts no server: it runs the suites of all stores and of the register below that URL, against the store that the
//! environment configures.

use std::ffi::OsStr;
use std::hint::black_box;
use std::io::{Error, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode, ExitStatus};
use std::time::Duration;

use h5lake_ledger::register::conformance;
use h5lake_tests_s3::faults::Faults;
use h5lake_tests_s3::google::{self, GoogleServer};
use h5lake_tests_s3::relay::Relay;
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
    if words.next_if(|word| word == OsStr::new("--google")).is_some() {
        let server = GoogleServer::start(google::Behaviour::default())?;
        let program = words.next().ok_or_else(|| Error::other("--google takes a command"))?;
        let status = Command::new(program).args(words).envs(server.variables()).status()?;
        return Ok(verdict(status, server.state().take_requests().len()));
    }
    if words.next_if(|word| word == OsStr::new("--relay")).is_some() {
        return relay();
    }
    let server = Server::start(Behaviour::default())?;
    if words.next_if(|word| word == OsStr::new("--memory")).is_some() {
        let memory = words.next().and_then(|word| word.to_str()?.parse::<usize>().ok());
        let memory = memory.and_then(|mebibytes| mebibytes.checked_mul(1 << 20));
        drop(black_box(vec![1_u8; memory.ok_or_else(|| Error::other("--memory takes mebibytes"))?]));
    }
    let Some(program) = words.next() else {
        serve(&server.variables(), server.faults(), || server.take_requests().len())?;
        return Ok(ExitCode::SUCCESS);
    };
    let status = Command::new(program).args(words).envs(server.variables()).status()?;
    Ok(verdict(status, server.take_requests().len()))
}

/// Prints the variables, and answers the lines of the standard input until it ends.
fn serve(
    variables: &[(&str, String)],
    faults: &Faults,
    take_requests: impl Fn() -> usize,
) -> std::io::Result<()> {
    for (name, value) in variables {
        println!("export {name}={value}");
    }
    std::io::stdout().flush()?;
    for line in std::io::stdin().lines() {
        if let Ok(latency) = line?.trim().parse() {
            faults.set_latency(Duration::from_millis(latency));
        }
        println!("{}", take_requests());
    }
    Ok(())
}

/// Serves as a relay in front of the server of the environment.
fn relay() -> std::io::Result<ExitCode> {
    let variable = |name: &'static str| std::env::var(name).map_err(|e| Error::other(format!("{name}: {e}")));
    let endpoint = variable("AWS_ENDPOINT_URL")?;
    let address =
        endpoint.strip_prefix("http://").and_then(|address| address.trim_end_matches('/').parse().ok());
    let relay =
        Relay::start(address.ok_or_else(|| Error::other("AWS_ENDPOINT_URL is no http://ADDRESS:PORT"))?)?;
    let mut variables = vec![("AWS_ENDPOINT_URL", relay.endpoint())];
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION", "AWS_ALLOW_HTTP"] {
        variables.push((name, variable(name)?));
    }
    serve(&variables, relay.faults(), || relay.take_requests().len())?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the number of requests, and returns the exit code of a command that sent them.
fn verdict(status: ExitStatus, requests: usize) -> ExitCode {
    println!("{requests} requests");
    // A command that sent no request has tested nothing.
    if status.success() && requests > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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
