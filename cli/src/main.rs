//! `h5lake`: the command line tool for containers.
//!
//! Names and settings have the same meaning as in HDF5 programs: a path, a URL, `NAME@v=12`, and the variables `H5LAKE_*`.
#![forbid(unsafe_code)]

mod adopt;
mod arguments;
mod branch;
mod browse;
mod cat;
mod check_store;
mod containers;
mod convert;
mod copy;
mod diff;
mod docs;
mod doctor;
mod drain;
mod filter;
mod find;
mod helper;
mod hidden;
mod history;
mod info;
mod libhdf5;
mod link;
mod list;
mod log;
mod ls;
mod manual;
mod materialize;
mod objects;
mod output;
mod permissions;
mod publish;
mod repair;
mod restore;
mod rm;
mod run;
mod settings;
mod slice;
mod tag;
mod unlock;
mod vacuum;
mod verify;
mod versions;

use std::process::ExitCode;

use clap::Parser;
use h5lake_connector::config::word;
use h5lake_reader::{elements, name_text, walk};
use h5lake_tools::verify::Versions;

use crate::arguments::{Arguments, Command, Conversion, History, Maintain, Setup, Show, Transfer};
use crate::cat::{Form, Wanted};
use crate::output::{Output, complain, is_closed_pipe};

/// The error of a command, which is printed on stderr.
type Failure = Box<dyn std::error::Error>;

/// The result of a command that was executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The command found no problem.
    Well,
    /// The command found damage, losses, omissions, differences or unmet requirements.
    Found,
    /// Nothing was lost, but tags or branches were left out.
    LeftOut,
}

impl Outcome {
    fn of(is_well: bool) -> Self {
        if is_well { Self::Well } else { Self::Found }
    }
}

/// The exit code for [`Outcome::Found`]. A command that could not be executed exits with `ExitCode::FAILURE`, which is 1.
const FOUND: u8 = 2;
/// The exit code for [`Outcome::LeftOut`].
const LEFT_OUT: u8 = 3;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // An error of writing the message is ignored, because it cannot be reported either.
            let _not_written = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match dispatch(arguments.command) {
        Ok(Outcome::Well) => ExitCode::SUCCESS,
        Ok(Outcome::Found) => ExitCode::from(FOUND),
        Ok(Outcome::LeftOut) => ExitCode::from(LEFT_OUT),
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<Outcome, Failure> {
    let shown = |json| Output::of(json, false);
    match command {
        Command::Show(Show::Ls { name, path, long, recursive, json }) => {
            ls::run(&ls::Wanted { name: &name, path: path.as_deref(), long, recursive, output: shown(json) })
        }
        Command::Show(Show::Du { name, json }) => list::du(&name, shown(json)),
        Command::Show(Show::Tree { name, path, depth, long, json }) => {
            ls::tree(&name, &path, depth, long, shown(json))
        }
        Command::Show(Show::Info { name, path, json }) => info::run(&name, path.as_deref(), shown(json)),
        Command::Show(Show::Cat { name, path, slice, attribute, json, raw }) => {
            let form = match (json, raw) {
                (true, _) => Form::Json,
                (_, true) => Form::Raw,
                _ => Form::Text,
            };
            let (slice, attribute) = (slice.as_deref(), attribute.as_deref());
            cat::run(&name, &Wanted { path: &path, slice, attribute, form })
        }
        Command::Show(Show::Filter { name, path, expression, count, limit, local, json, quiet }) => {
            let output = Output::of(json, quiet);
            let wanted = filter::Wanted { path: &path, expression: &expression, count, limit, local, output };
            filter::run(&name, &wanted)
        }
        Command::Show(Show::Browse { name, port, no_open }) => browse::run(&name, port, !no_open),
        Command::History(History::Diff { first, second, path, elements, chunks, storage, stat, json }) => {
            let names = [&*first, &*second];
            let wanted =
                diff::Wanted { names, path: &path, elements, chunks, storage, stat, output: shown(json) };
            return diff::run(&wanted).map(Outcome::of);
        }
        Command::Setup(Setup::Docs { page }) => docs::run(page.as_deref()),
        Command::Setup(Setup::Doctor { targets, python, mpi, json }) => {
            let python = python.unwrap_or_else(helper::python);
            let wanted = doctor::Wanted {
                targets: &targets,
                python: &python,
                shared: mpi.as_deref(),
                output: shown(json),
            };
            return doctor::run(&wanted).map(Outcome::of);
        }
        Command::History(History::Tag { name, tag, delete, force, keep, json }) => {
            tag::run(&tag::Wanted { name: &name, tag: tag.as_deref(), delete, force, keep, json })
        }
        Command::History(History::Branch { name, branch, merge, delete, json }) => {
            let change = match (merge, delete) {
                (true, _) => branch::Change::Merge,
                (false, true) => branch::Change::Delete,
                (false, false) => branch::Change::Create,
            };
            branch::run(&branch::Wanted { name: &name, branch: branch.as_deref(), change, json })
        }
        Command::Transfer(Transfer::Publish { name, kerchunk, icechunk, url, withdraw, json, quiet }) => {
            let (kerchunk, icechunk, url) = (kerchunk.as_deref(), icechunk.as_deref(), url.as_deref());
            let output = Output::of(json, quiet);
            publish::run(&publish::Wanted { name: &name, kerchunk, icechunk, url, withdraw, output })
        }
        Command::History(History::Log { name, graph, oneline, flushes, most, json }) => {
            let form = match (json, oneline) {
                (true, _) => log::Form::Json,
                (_, true) => log::Form::OneLine,
                _ => log::Form::Full,
            };
            log::run(&log::Wanted { name: &name, most, form, flushes, graph })
        }
        Command::History(History::Versions { name, most, flushes, json }) => {
            versions::run(&name, most, flushes, json)
        }
        Command::Setup(Setup::Run { mut settings, message, command }) => match command.split_first() {
            Some((program, arguments)) => {
                settings.extend(message.map(|text| word("message", &text)));
                run::run(&settings, program, arguments)
            }
            None => Ok(()),
        },
        Command::Setup(Setup::Settings { json }) => settings::run(json),
        Command::Transfer(Transfer::Link { url, path, json }) => link::run(&url, &path, json),
        Command::History(History::Restore { name, kept, version, json, quiet }) => match version {
            Some(version) => restore::version(&name, &version, Output::of(json, quiet)),
            None => restore::run(&name, &kept, Output::of(json, quiet)),
        },
        Command::Transfer(Transfer::Copy { source, target, update, json, quiet }) => {
            let output = Output::of(json, quiet);
            copy::run(&copy::Wanted { source: &source, target: &target, update, output })
        }
        Command::Transfer(Transfer::Import { conversion }) => {
            return convert(convert::Direction::Import, &conversion);
        }
        Command::Transfer(Transfer::Export { conversion }) => {
            return convert(convert::Direction::Export, &conversion);
        }
        Command::Transfer(Transfer::Adopt {
            sources,
            target,
            joins,
            library,
            checksums,
            strict,
            json,
            quiet,
        }) => {
            let (library, output) = (library.as_deref(), Output::of(json, quiet));
            let (sources, target, joins) = (&sources, &target, joins.of(sources.len())?);
            let wanted = adopt::Wanted { sources, joins, target, library, checksums, strict, output };
            return adopt::run(&wanted).map(Outcome::of);
        }
        Command::Transfer(Transfer::Materialize { name, dry_run, json, quiet }) => {
            return materialize::run(&name, dry_run, Output::of(json, quiet)).map(Outcome::of);
        }
        Command::Setup(Setup::CheckStore { url, json }) => {
            return check_store::run(&url, shown(json)).map(Outcome::of);
        }
        Command::Setup(Setup::CheckStorePart { arguments }) => check_store::serve(&arguments),
        Command::Transfer(Transfer::ConvertOne { arguments }) => convert::worker::serve(&arguments),
        Command::Transfer(Transfer::AdoptTemporarily { source, library }) => {
            adopt::temporarily(&source, library.as_deref())
        }
        Command::Transfer(Transfer::RemoveTemporary { path }) => {
            hidden::remove_when_starter_is_gone(&path);
            Ok(())
        }
        Command::Maintain(Maintain::Rm { names, json }) => rm::all(&names, json),
        Command::Maintain(Maintain::Unlock { name, yes, json }) => unlock::run(&name, yes, json),
        Command::Maintain(Maintain::Verify { names, newest, json, quiet }) => {
            let versions = if newest { Versions::Newest } else { Versions::All };
            return verify::all(&names, versions, Output::of(json, quiet)).map(Outcome::of);
        }
        Command::Maintain(Maintain::Repair { source, target, json, quiet }) => {
            return repair::run(&source, &target, Output::of(json, quiet));
        }
        Command::Maintain(Maintain::Vacuum { name, json, quiet }) => {
            vacuum::run(&name, Output::of(json, quiet))
        }
        Command::Maintain(Maintain::Drain { folder, names, discard, dry_run, json }) => {
            let action = match (discard, dry_run) {
                (true, _) => drain::Action::Discard,
                (_, true) => drain::Action::Show,
                _ => drain::Action::Drain,
            };
            let wanted = drain::Wanted { folder: &folder, names: &names, action, json };
            return drain::run(&wanted).map(Outcome::of);
        }
        Command::Setup(Setup::Completions { shell }) => manual::completions(shell),
        Command::Setup(Setup::Man { folder }) => manual::man(&folder),
    }
    .map(|()| Outcome::Well)
}

fn convert(direction: convert::Direction, asked: &Conversion) -> Result<Outcome, Failure> {
    let Conversion { source, target, library, jobs, strict, zarr, json, quiet } = asked;
    if *zarr {
        let way = if direction == convert::Direction::Import { "import" } else { "export" };
        let left_out =
            publish::python::run("Zarr", &["zarr".as_ref(), way.as_ref(), source.as_ref(), target.as_ref()])?;
        output::print(left_out.iter().map(|one| format!("not copied: {}: {}", one.path, one.reason)))?;
        return Ok(Outcome::of(!left_out.iter().any(|one| one.is_object)));
    }
    let wanted = convert::Wanted {
        direction,
        source,
        target,
        library: library.as_deref(),
        jobs: jobs.map(usize::from),
        strict: *strict,
        output: Output::of(*json, *quiet),
    };
    convert::run(&wanted).map(Outcome::of)
}
