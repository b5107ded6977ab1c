//! `h5lake restore`: brings a container back that was replaced or deleted.

use std::path::Path;

use h5lake_connector::names::Place;
use h5lake_connector::names::kept::{self, Kept};
use h5lake_connector::pointer;
use h5lake_container::{Container, Copied, Target};
use h5lake_ledger::{Access, At, KeptName, Ledger, Options, Replace};
use serde_json::{Value, json};

use crate::Failure;
use crate::find::{check_container, find_place, find_version};
use crate::output::{Output, json_text, print};

/// A container that a name led to before.
pub(crate) struct Before {
    name: KeptName,
    id: String,
    version: u64,
    replaced: u64,
    until: u64,
    /// Who replaced or deleted it, where that is known; or that it is damaged.
    by: String,
}

impl Before {
    /// The name that it can be opened and restored by.
    pub(crate) fn name(&self) -> String {
        self.name.to_string()
    }
}

impl From<Kept> for Before {
    fn from(kept: Kept) -> Self {
        let name = kept.name();
        match kept {
            Kept::File(r) => {
                let by = if r.is_damaged { "(damaged)".to_owned() } else { String::new() };
                Self { name, id: hex(&r.id), version: r.version, replaced: r.replaced, until: r.until, by }
            }
            Kept::Object(r) => {
                let deleted = if r.deleted { " (deleted)" } else { "" };
                let by = format!("{}@{}{deleted}", r.pid, r.host);
                Self { name, id: r.id, version: r.version, replaced: r.time, until: r.until, by }
            }
        }
    }
}

fn hex(id: &[u8; 16]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The containers that a name led to before, the one that was replaced last first. Local ones follow whose place a pointer file
/// took.
pub(crate) fn before(place: &Place) -> Result<Vec<Before>, Failure> {
    Ok(kept::all(place)?.into_iter().map(Before::from).collect())
}

/// What is listed below the versions. Nothing where there is nothing.
pub(crate) fn listing(before: &[Before]) -> Vec<String> {
    if before.is_empty() {
        return Vec::new();
    }
    let title =
        "replaced containers, which 'h5lake restore NAME KEPT' brings back, and NAME@replaced=KEPT reads:";
    let width = before.iter().map(|b| b.name().len()).max().unwrap_or_default();
    let columns =
        format!("{:<width$}  {:>10}  {:<27}  {:<27}  by", "kept", "version", "replaced", "kept until");
    let lines = before.iter().map(|b| line(b, width));
    [String::new(), title.to_owned(), columns].into_iter().chain(lines).collect()
}

/// The same for programs.
pub(crate) fn objects(before: &[Before]) -> Value {
    let time = |micros| At::Time(micros).setting_value();
    let object = |b: &Before| json!({ "name": b.name(), "id": b.id, "version": b.version, "replaced": time(b.replaced), "until": time(b.until), "by": b.by });
    before.iter().map(object).collect()
}

fn line(b: &Before, width: usize) -> String {
    let time = |micros| At::Time(micros).setting_value();
    let (replaced, until) = (time(b.replaced), time(b.until));
    let line = format!("{:<width$}  {:>10}  {replaced:<27}  {until:<27}  {}", b.name(), b.version, b.by);
    line.trim_end().to_owned()
}

/// Puts a local container back whose place a pointer file has. The container in the store stays, and can be linked again.
fn restore_over(pointer: &Path, kept: &KeptName, options: &Options) -> Result<(), Failure> {
    let found = pointer::read(pointer).map_err(|error| error.to_string())?;
    let Some(found) = found else {
        // What else is there stays.
        return Ok(Ledger::restore_file(pointer, kept, Replace::Fail, options)?);
    };
    // Kept beside until the container has the name: a kill in between leaves what says where the other one lies.
    let mut aside = pointer.as_os_str().to_owned();
    aside.push(format!(".{}.h5lake-pointer", crate::hidden::random()?));
    std::fs::rename(pointer, &aside)?;
    let done = Ledger::restore_file(pointer, kept, Replace::Fail, options);
    let cleared = match &done {
        Ok(()) => std::fs::remove_file(&aside),
        Err(_) => std::fs::hard_link(&aside, pointer).and_then(|()| std::fs::remove_file(&aside)),
    };
    match (done, cleared) {
        (Ok(()), Ok(())) => Ok(()),
        (Err(error), Ok(())) => Err(error.into()),
        (done, Err(error)) => {
            let done = done.err().map_or_else(|| "restored".to_owned(), |error| error.to_string());
            let (aside, url) = (Path::new(&aside).display(), found.pointer.url());
            Err(format!("{done}; the pointer file to {url} is now {aside}: {error}").into())
        }
    }
}

pub(crate) fn run(name: &Path, kept: &str, output: Output) -> Result<(), Failure> {
    let (place, options) = match find_version(name, Access::ReadWrite)? {
        (place @ Place { at: None, .. }, options) => (place, options),
        (Place { at: Some(At::Replaced(_)), .. }, _) => {
            let text =
                "names a kept container; name the container that it was, and it: h5lake restore NAME KEPT";
            return Err(format!("{}: {text}", name.display()).into());
        }
        (place @ Place { at: Some(at), .. }, options) if kept.is_empty() => {
            return make_newest(name, place, at, options, output);
        }
        _ => return Err(format!("{}: names one version; name the container", name.display()).into()),
    };
    let json = matches!(output, Output::Json);
    let found = kept::choose(kept::all(&place)?, kept);
    let found = found.map_err(|why| format!("{}: {why}", name.display()))?;
    let (kept, id) = (found.name(), Before::from(found.clone()).id);
    match (found, &place.target, &place.pointer) {
        (Kept::Object(_), Target::Objects { store, key, .. }, _) => {
            drop(Ledger::restore_objects(&store, key, &kept.to_string())?);
        }
        (Kept::File(_), Target::Objects { .. }, Some(path)) => restore_over(path, &kept, &options)?,
        (_, Target::File(path), _) => Ledger::restore_file(path, &kept, Replace::Atomically, &options)?,
        _ => return Err(format!("{}: no such container is kept", name.display()).into()),
    }
    let name = name.display().to_string();
    print([if json {
        json_text(&json!({ "name": name, "kept": kept.to_string(), "id": id }))
    } else {
        format!("{name}: the container {kept} is back")
    }])?;
    Ok(())
}

/// A version by its number, or the one of a time.
fn version_of(text: &str) -> Result<At, Failure> {
    let found = text.parse().ok().map(At::Version).or_else(|| At::time(text));
    Ok(found.ok_or_else(|| format!("'{text}' is no version; 12 or 2026-11-20T10:00:00Z is one"))?)
}

/// Makes an old version the newest one again.
pub(crate) fn version(name: &Path, at: &str, output: Output) -> Result<(), Failure> {
    let at = version_of(at)?;
    let (place, ledger) = find_place(name, Access::ReadWrite)?;
    make_newest(name, place, at, ledger, output)
}

/// The same in the container of a place.
fn make_newest(name: &Path, place: Place, at: At, ledger: Options, output: Output) -> Result<(), Failure> {
    check_container(name, &place)?;
    // The handle that looked at it would be in the writer's way.
    let Place { target, .. } = place;
    let options = h5lake_container::Options { ledger, ..Default::default() };
    let bar = output.bar("restore");
    let done = Container::restore_version(&target, &options, at, &mut |done, of| bar.show(done, of));
    drop(bar);
    let Copied { from, to, entries, bytes, .. } = done?;
    let name = name.display().to_string();
    print([match (output, from == to) {
        (Output::Json, _) => json_text(
            &json!({ "name": name, "from": from, "version": to, "entries": entries, "bytes": bytes }),
        ),
        (_, true) => format!("{name}: version {from} is the newest already"),
        (_, false) => format!("{name}: version {from} is the newest again, as version {to}"),
    }])?;
    Ok(())
}
