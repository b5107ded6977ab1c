//! `h5lake tag`: creates, moves, lists and deletes tags, which retain versions.

use std::path::Path;
use std::time::Duration;

use h5lake_connector::config::Config;
use h5lake_connector::names::Place;
use h5lake_container::Target;
use h5lake_ledger::{Access, At, ErrorKind, Ledger, Options, Tag, TagName, Tagging, Writers};
use object_stores::shell_quoted;
use serde_json::{Value, json};

use crate::Failure;
use crate::find::{check_container, find_version};
use crate::output::{json_text, print};

/// The maximum number of attempts for a change that conflicts with commits of other writers.
const MAX_ATTEMPTS: u32 = 8;

/// The arguments of `h5lake tag`.
pub struct Wanted<'a> {
    pub name: &'a Path,
    /// The name of the tag. If it is `None`, the tags are listed.
    pub tag: Option<&'a str>,
    pub delete: bool,
    /// True if an existing tag is moved.
    pub force: bool,
    /// The time for which a tag is retained.
    pub keep: Option<Duration>,
    pub json: bool,
}

/// Parses the name of a tag.
fn tag_name(text: &str) -> Result<TagName, Failure> {
    Ok(TagName::new(text).ok_or_else(|| format!("'{text}' is no name of a tag; {}", TagName::RULE))?)
}

/// Opens the newest version of a container, even if the options name another version.
pub fn open(target: &Target, access: Access, options: &Options) -> h5lake_ledger::Result<Ledger> {
    let options = Options { at: None, ..options.clone() };
    match target {
        Target::File(path) => Ledger::open_file(path, access, options),
        Target::Objects { store, key, .. } => Ledger::open_objects(store.clone(), key, access, options),
    }
}

/// Opens a container to change its tags. If `many` is set or other writers have a file open, opens it as a shared writer.
fn open_to_change(target: &Target, options: &Options, many: bool) -> h5lake_ledger::Result<Ledger> {
    let as_one_of_many = Options { writers: Writers::Many, ..options.clone() };
    if many {
        return open(target, Access::ReadWrite, &as_one_of_many);
    }
    match open(target, Access::ReadWrite, options) {
        // Shared writers of a file exclude an exclusive writer, but not a further shared writer.
        Err(e) if matches!((e.kind(), target), (ErrorKind::Locked { .. }, Target::File(_))) => {
            open(target, Access::ReadWrite, &as_one_of_many).map_err(|_| e)
        }
        opened => opened,
    }
}

/// Opens a container, applies a change to its tags, and closes it. Repeats this if a commit of another writer conflicts with it.
pub fn change<T>(
    target: &Target,
    options: &Options,
    body: impl Fn(&Ledger) -> h5lake_ledger::Result<T>,
) -> Result<T, Failure> {
    let many = Config::from_environment()?.many_writers;
    let mut attempt = 0;
    loop {
        let ledger = open_to_change(target, options, many)?;
        let done = body(&ledger);
        let closed = if done.is_ok() { ledger.close_committed() } else { ledger.close() };
        attempt += 1;
        match done {
            Err(e) if *e.kind() == ErrorKind::Conflict && attempt < MAX_ATTEMPTS => (),
            done => {
                let done = done?;
                closed?;
                return Ok(done);
            }
        }
    }
}

pub fn run(wanted: &Wanted<'_>) -> Result<(), Failure> {
    let Wanted { name, tag, delete, force, keep, json } = *wanted;
    let access = if tag.is_some() { Access::ReadWrite } else { Access::ReadOnly };
    let (place, options) = find_version(name, access)?;
    check_container(name, &place)?;
    let Place { target, at, .. } = place;
    let shown = name.display();
    if let Some(version) = tag.and_then(TagName::new).and_then(|tag| tag.published_version()) {
        let name = format!("{shown}@v={version}");
        let text = format!(
            "names like this are for published versions; see 'h5lake publish {}'",
            shell_quoted(&name)
        );
        return Err(text.into());
    }
    let lines = match (tag.map(tag_name).transpose()?, delete) {
        (None, true) => return Err("--delete takes the name of a tag, too".into()),
        (None, false) => listing(&open(&target, Access::ReadOnly, &options)?.tags()?, json),
        (Some(_), true) if at.is_some() => {
            return Err(format!("{shown}: names one version; name the container").into());
        }
        (Some(tag), true) => {
            change(&target, &options, |ledger| ledger.untag(tag))?;
            match json {
                true => vec![json_text(&json!({ "name": shown.to_string(), "deleted": tag.as_str() }))],
                false => vec![format!("{shown}: the tag {tag} is deleted")],
            }
        }
        (Some(tag), false) => {
            let made =
                change(&target, &options, |ledger| ledger.tag(tag, at, Tagging { replace: force, keep }))?;
            match json {
                true => vec![json_text(&object(&made))],
                false => {
                    let until =
                        made.until.map_or_else(String::new, |until| format!(", until {}", time(until)));
                    vec![format!("{shown}: {tag} is version {}{until}", number_of(&made))]
                }
            }
        }
    };
    Ok(print(lines)?)
}

fn number_of(tag: &Tag) -> String {
    tag.version.as_ref().map_or_else(|| "damaged".to_owned(), |v| v.number.to_string())
}

fn time(micros: u64) -> String {
    At::Time(micros).setting_value()
}

/// Returns a tag as JSON.
pub fn object(tag: &Tag) -> Value {
    let version = tag.version.as_ref();
    json!({
        "tag": tag.name.as_str(), "version": version.map(|v| v.number), "time": version.map(|v| time(v.time)),
        "tagged": version.map(|_| time(tag.tagged)), "until": tag.until.map(time), "holds_bytes": tag.bytes,
    })
}

fn listing(tags: &[Tag], json: bool) -> Vec<String> {
    if json {
        return vec![json_text(&Value::Array(tags.iter().map(object).collect()))];
    }
    let line = |[tag, version, time, tagged, until, bytes]: [&str; 6]| {
        format!("{tag:<24}  {version:>10}  {time:<27}  {tagged:<27}  {until:<27}  {bytes:>15}")
    };
    let row = |tag: &Tag| {
        let or_dash = |micros: Option<u64>| micros.map_or_else(|| "-".to_owned(), time);
        let version = tag.version.as_ref();
        let (made, tagged) = (or_dash(version.map(|v| v.time)), or_dash(version.map(|_| tag.tagged)));
        let (until, bytes) = (or_dash(tag.until), tag.bytes.to_string());
        line([tag.name.as_str(), &number_of(tag), &made, &tagged, &until, &bytes])
    };
    let title = line(["tag", "version", "time", "tagged", "until", "holds bytes"]);
    std::iter::once(title).chain(tags.iter().map(row)).collect()
}
