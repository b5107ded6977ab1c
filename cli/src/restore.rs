//! `h5lake restore`: brings a container back that was replaced or deleted.

use std::path::Path;

use h5lake_connector::names::Place;
use h5lake_connector::pointer;
use h5lake_container::{Container, Copied, Target};
use h5lake_ledger::{Access, At, Ledger, Options, Replace, Replaced, ReplacedObject};
use serde_json::{Value, json};

use crate::Failure;
use crate::find::{check_container, find_place, find_version};
use crate::output::{Output, json_text, print};

/// A container that a name led to before.
pub(crate) struct Before {
    id: String,
    version: u64,
    replaced: u64,
    until: u64,
    /// Who replaced or deleted it, where that is known; or that it is damaged.
    by: String,
}

impl Before {
    /// What it can be restored by.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }
}

impl From<Replaced> for Before {
    fn from(r: Replaced) -> Self {
        let by = if r.is_damaged { "(damaged)".to_owned() } else { String::new() };
        Self { id: hex(&r.id), version: r.version, replaced: r.replaced, until: r.until, by }
    }
}

impl From<ReplacedObject> for Before {
    fn from(r: ReplacedObject) -> Self {
        let deleted = if r.deleted { " (deleted)" } else { "" };
        let by = format!("{}@{}{deleted}", r.pid, r.host);
        Self { id: r.id, version: r.version, replaced: r.time, until: r.until, by }
    }
}

fn hex(id: &[u8; 16]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The containers that a name led to before, the one that was replaced last first. Local ones follow whose place a pointer file
/// took.
pub(crate) fn before(place: &Place) -> Result<Vec<Before>, Failure> {
    let local = |path: &Path| -> Result<Vec<Before>, Failure> {
        Ok(Ledger::replaced_files(path)?.into_iter().map(Before::from).collect())
    };
    Ok(match &place.target {
        Target::File(path) => local(path)?,
        Target::Objects { store, key, .. } => {
            let mut found: Vec<_> =
                Ledger::replaced_objects(store.as_ref(), key)?.into_iter().map(Before::from).collect();
            if let Some(path) = &place.pointer {
                found.extend(local(path)?);
            }
            found
        }
    })
}

/// What is listed below the versions. Nothing where there is nothing.
pub(crate) fn listing(before: &[Before]) -> Vec<String> {
    if before.is_empty() {
        return Vec::new();
    }
    let title = "replaced containers, which 'h5lake restore NAME ID' brings back:".to_owned();
    let columns = format!("{:<32}  {:>10}  {:<27}  {:<27}  by", "id", "version", "replaced", "kept until");
    [String::new(), title, columns].into_iter().chain(before.iter().map(line)).collect()
}

/// The same for programs.
pub(crate) fn objects(before: &[Before]) -> Value {
    let time = |micros| At::Time(micros).setting_value();
    let object = |b: &Before| json!({ "id": b.id, "version": b.version, "replaced": time(b.replaced), "until": time(b.until), "by": b.by });
    before.iter().map(object).collect()
}

fn line(b: &Before) -> String {
    let time = |micros| At::Time(micros).setting_value();
    let (replaced, until) = (time(b.replaced), time(b.until));
    let line = format!("{}  {:>10}  {replaced:<27}  {until:<27}  {}", b.id, b.version, b.by);
    line.trim_end().to_owned()
}

/// The id that a file is restored by: the one that begins with these digits, the last one for none.
fn choose(path: &Path, id: &str) -> Result<[u8; 16], Failure> {
    let mut found: Vec<_> = Ledger::replaced_files(path)?;
    found.retain(|r| Before::from(r.clone()).id.starts_with(id));
    match &found[..] {
        [] => Err(format!("{}: no replaced container of such an id is kept", path.display()).into()),
        [one] => Ok(one.id),
        [newest, ..] if id.is_empty() => Ok(newest.id),
        several => Err(format!("{}: {} ids begin with {id}", path.display(), several.len()).into()),
    }
}

fn restore(target: &Target, id: &str, options: &Options) -> Result<String, Failure> {
    match target {
        Target::Objects { store, key, .. } => Ok(Ledger::restore_objects(store.as_ref(), key, id)?.id),
        Target::File(path) => {
            let id = choose(path, id)?;
            Ledger::restore_file(path, &id, Replace::Atomically, options)?;
            Ok(hex(&id))
        }
    }
}

/// Puts a local container back whose place a pointer file has. The container in the store stays, and can be linked again.
fn restore_over(pointer: &Path, id: &[u8; 16], options: &Options) -> Result<(), Failure> {
    let found = pointer::read(pointer).map_err(|error| error.to_string())?;
    let Some(found) = found else {
        // What else is there stays.
        return Ok(Ledger::restore_file(pointer, id, Replace::Fail, options)?);
    };
    // Kept beside until the container has the name: a kill in between leaves what says where the other one lies.
    let mut aside = pointer.as_os_str().to_owned();
    aside.push(format!(".{}.h5lake-pointer", crate::hidden::random()?));
    std::fs::rename(pointer, &aside)?;
    let done = Ledger::restore_file(pointer, id, Replace::Fail, options);
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

pub(crate) fn run(name: &Path, id: &str, output: Output) -> Result<(), Failure> {
    let (place, options) = match find_version(name, Access::ReadWrite)? {
        (place @ Place { at: None, .. }, options) => (place, options),
        (place @ Place { at: Some(at), .. }, options) if id.is_empty() => {
            return make_newest(name, place, at, options, output);
        }
        _ => return Err(format!("{}: names one version; name the container", name.display()).into()),
    };
    let json = matches!(output, Output::Json);
    let local = place.pointer.as_deref().filter(|path| !id.is_empty() && choose(path, id).is_ok());
    let id = match local {
        Some(path) => {
            let chosen = choose(path, id)?;
            restore_over(path, &chosen, &options)?;
            hex(&chosen)
        }
        None => restore(&place.target, id, &options)?,
    };
    let name = name.display().to_string();
    print([if json {
        json_text(&json!({ "name": name, "id": id }))
    } else {
        format!("{name}: the container {id} is back")
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
