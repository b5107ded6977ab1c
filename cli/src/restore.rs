//! `h5lake restore`: restores a container that was replaced or deleted, or an old version.

use std::path::Path;

use h5lake_connector::names::Place;
use h5lake_connector::names::kept::{self, Kept};
use h5lake_connector::pointer;
use h5lake_container::Target;
use h5lake_ledger::{Access, At, KeptName, Ledger, Options, Replace};
use h5lake_tools::Copied;
use serde_json::{Value, json};

use crate::Failure;
use crate::find::{check_container, find_place, find_version};
use crate::output::{Output, json_text, print};

/// A retained container to which a name led before.
pub(crate) struct Before {
    name: KeptName,
    id: String,
    version: u64,
    replaced: u64,
    until: u64,
    /// The writer that replaced or deleted the container, if it is known, or a note that the container is damaged.
    by: String,
}

impl Before {
    /// Returns the name under which the container can be opened and restored.
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

/// Returns the retained containers to which a name led before, the most recently replaced first. They are followed by local containers that
/// a pointer file has replaced.
pub(crate) fn before(place: &Place) -> Result<Vec<Before>, Failure> {
    Ok(kept::all(place)?.into_iter().map(Before::from).collect())
}

/// Returns the lines with the retained containers, which are shown below the versions. The list is empty if no container is retained.
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

/// Returns the retained containers as JSON.
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

/// Restores a local container in place of the pointer file that replaced it. The container in the store remains, and can be linked again.
fn restore_over(pointer: &Path, kept: &KeptName, options: &Options) -> Result<(), Failure> {
    let found = pointer::read(pointer).map_err(|error| error.to_string())?;
    let Some(found) = found else {
        // Any other file at the path remains.
        return Ok(Ledger::restore_file(pointer, kept, Replace::Fail, options)?);
    };
    // The pointer file is set aside until the container has its name. If the process is killed meanwhile, the file still names the location
    // of the other container.
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
            drop(Ledger::restore_objects(store, key, &kept.to_string())?);
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

/// Parses a version number or a time.
fn version_of(text: &str) -> Result<At, Failure> {
    let found = text.parse().ok().map(At::Version).or_else(|| At::time(text));
    Ok(found.ok_or_else(|| format!("'{text}' is no version; 12 or 2026-11-20T10:00:00Z is one"))?)
}

/// Makes an old version the newest one.
pub(crate) fn version(name: &Path, at: &str, output: Output) -> Result<(), Failure> {
    let at = version_of(at)?;
    let (place, ledger) = find_place(name, Access::ReadWrite)?;
    make_newest(name, place, at, ledger, output)
}

/// Makes an old version the newest one in the container at a location.
fn make_newest(name: &Path, place: Place, at: At, ledger: Options, output: Output) -> Result<(), Failure> {
    check_container(name, &place)?;
    // The place is taken apart here to close its handle, which would block the writer.
    let Place { target, .. } = place;
    let options = h5lake_container::Options { ledger, ..Default::default() };
    let bar = output.bar("restore");
    let done = h5lake_tools::restore_version(&target, &options, at, &mut |done, of| bar.show(done, of));
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
