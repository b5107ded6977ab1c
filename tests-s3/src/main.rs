//! Runs a command with an S3 server on loopback, which ends with it:
//!
//!     h5lake-tests-s3 tests-py/run --connector 'h5lake store=s3://lake/{work}'
//!
//! The command finds the server by the variables of AWS's tools. Without a command it serves until its standard input
//! ends, and prints the variables.

use std::io::{Read, Write};
use std::process::{Command, ExitCode};

use h5lake_tests_s3::{Behaviour, Server};

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
    let server = Server::start(Behaviour::default())?;
    let mut words = std::env::args_os().skip(1);
    let Some(program) = words.next() else {
        for (name, value) in server.variables() {
            println!("export {name}={value}");
        }
        std::io::stdout().flush()?;
        std::io::stdin().read_to_end(&mut Vec::new())?;
        return Ok(ExitCode::SUCCESS);
    };
    let status = Command::new(program).args(words).envs(server.variables()).status()?;
    println!("{} requests", server.faults().take_requests().len());
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
