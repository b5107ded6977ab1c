//! `h5lake publish`: retains versions, and writes references to their chunks for Zarr readers.

mod array;
mod attributes;
mod chunks;
mod dimensions;
mod hierarchy;
mod identity;
pub mod python;
#[cfg(test)]
mod reading_tests;
mod references;
mod zarr_type;

use std::path::Path;

use h5lake_connector::names::Place;
use h5lake_container::{Container, Target};
use h5lake_ledger::{Access, At, HeldSpace, Options, PayloadPlace, Publication, Tag, TagName, mode_of_copy};
use object_stores::registry::is_url;
use serde_json::{Value, json};

use crate::Failure;
use crate::convert::publish::folder_of;
use crate::find::{check_container, find_version, open_at};
use crate::hidden::TemporaryFolder;
use crate::output::{Output, json_text, print};
use crate::permissions;
use crate::tag::{change, open};
use hierarchy::{Hierarchy, Report};
use identity::Identities;
use references::{References, check_target};

/// The schemes of URLs that fsspec uses with the same meaning.
const SCHEMES: [&str; 8] = ["file", "s3", "gs", "az", "abfs", "abfss", "http", "https"];

/// The arguments of `h5lake publish`.
pub struct Wanted<'a> {
    pub name: &'a Path,
    /// The path of the file of references.
    pub kerchunk: Option<&'a Path>,
    /// The path of the Icechunk repository.
    pub icechunk: Option<&'a Path>,
    /// The URL in references, if it is not the container's own.
    pub url: Option<&'a str>,
    pub withdraw: bool,
    pub output: Output,
}

/// Publishes a version, withdraws a publication or lists the publications.
pub fn run(wanted: &Wanted<'_>) -> Result<(), Failure> {
    let access = if wanted.is_change() { Access::ReadWrite } else { Access::ReadOnly };
    let (place, options) = find_version(wanted.name, access)?;
    check_container(wanted.name, &place)?;
    let lines = match (wanted.withdraw, wanted.is_change()) {
        (true, _) => withdraw(wanted, &place, &options)?,
        (false, false) => listing(wanted, &place, &options)?,
        (false, true) => publish(wanted, place, &options)?,
    };
    Ok(print(lines)?)
}

impl Wanted<'_> {
    fn is_change(&self) -> bool {
        self.withdraw || self.kerchunk.is_some() || self.icechunk.is_some()
    }

    fn is_json(&self) -> bool {
        self.output == Output::Json
    }
}

/// Returns the publications of a container, the newest version first.
fn publications(tags: Vec<Tag>) -> Vec<(u64, Tag)> {
    let mut found: Vec<_> =
        tags.into_iter().filter_map(|tag| Some((tag.name.published_version()?, tag))).collect();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found
}

fn object(version: u64, tag: &Tag) -> Value {
    let time = |micros: u64| At::Time(micros).setting_value();
    json!({
        "version": version, "time": tag.version.as_ref().map(|version| time(version.time)),
        "published": tag.version.as_ref().map(|_| time(tag.tagged)), "holds_bytes": tag.bytes,
    })
}

fn listing(wanted: &Wanted<'_>, place: &Place, options: &Options) -> Result<Vec<String>, Failure> {
    let found = publications(open(&place.target, Access::ReadOnly, options)?.tags()?);
    if wanted.is_json() {
        let all: Value = found.iter().map(|(version, tag)| object(*version, tag)).collect();
        return Ok(vec![json_text(&all)]);
    }
    if found.is_empty() {
        return Ok(vec![format!("{}: no version is published", wanted.name.display())]);
    }
    let title = format!("{:>10}  {:<27}  {:>15}", "version", "published", "holds bytes");
    let line = |(version, tag): &(u64, Tag)| {
        format!("{version:>10}  {:<27}  {:>15}", At::Time(tag.tagged).setting_value(), tag.bytes)
    };
    Ok(std::iter::once(title).chain(found.iter().map(line)).collect())
}

/// Returns the publication that the name selects by its version. Without a version in the name, returns the only publication.
fn meant(wanted: &Wanted<'_>, at: Option<At>, found: &[(u64, Tag)]) -> Result<TagName, Failure> {
    let shown = wanted.name.display();
    let numbers: Vec<_> = found.iter().map(|(version, _)| version.to_string()).collect();
    let text = if numbers.is_empty() { "no version is published".into() } else { numbers.join(", ") };
    let chosen = match at {
        Some(At::Version(version)) => found.iter().find(|(number, _)| *number == version),
        Some(At::Tag(name)) => found.iter().find(|(_, tag)| tag.name == name),
        Some(At::Time(_) | At::Branch(_) | At::Replaced(_)) => {
            return Err(format!("{shown}: name the published version by its number").into());
        }
        None if found.len() > 1 => {
            let text = format!("{text} are published; name one: NAME@v={}", numbers[0]);
            return Err(format!("{shown}: {text}").into());
        }
        None => found.first(),
    };
    match chosen {
        Some((_, tag)) => Ok(tag.name),
        None => Err(format!("{shown}: this version is not published; published: {text}").into()),
    }
}

fn withdraw(wanted: &Wanted<'_>, place: &Place, options: &Options) -> Result<Vec<String>, Failure> {
    let found = publications(open(&place.target, Access::ReadOnly, options)?.tags()?);
    let name = meant(wanted, place.at, &found)?;
    change(&place.target, options, |ledger| ledger.untag(name))?;
    let version = name.published_version();
    Ok(vec![match wanted.is_json() {
        true => json_text(&json!({ "name": wanted.name.to_string_lossy(), "withdrawn": version })),
        false => format!(
            "{}: version {} is withdrawn; references to it are no longer right",
            wanted.name.display(),
            version.unwrap_or_default()
        ),
    }])
}

/// Returns the prefix of object URLs in references, or the URL of the file.
fn base_url(target: &Target, url: Option<&str>) -> Result<String, Failure> {
    if let Some(url) = url {
        return Ok(url.trim_end_matches('/').to_owned());
    }
    match target {
        Target::File(path) => {
            let path = path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?;
            let text = path.to_str().ok_or("the path is not UTF-8; name a URL by --url")?;
            Ok(format!("file://{text}"))
        }
        Target::Objects { store, key, url } => {
            let scheme = url.split(':').next().unwrap_or_default();
            if !SCHEMES.contains(&scheme) {
                let text =
                    format!("readers of Zarr know no URLs that begin with {scheme}; name one by --url");
                return Err(text.into());
            }
            // A path in the file system contains no escape sequences.
            let place = store.place_of(key);
            match place.strip_prefix("file:").and_then(|place| place.strip_suffix(&format!("/{key}"))) {
                Some(folder) => Ok(format!("file://{folder}")),
                None => Ok(as_stored(url)),
            }
        }
    }
}

/// Returns the URL of a store without the slashes around the prefix, which are not part of the keys.
fn as_stored(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    match prefix.trim_matches('/') {
        "" => format!("{scheme}://{bucket}"),
        prefix => format!("{scheme}://{bucket}/{prefix}"),
    }
}

/// Publishes a version: retains it, and makes the requested references. If the references cannot be made, the publication is withdrawn,
/// unless it existed before or another process has published the version meanwhile and therefore relies on it.
fn publish(wanted: &Wanted<'_>, place: Place, options: &Options) -> Result<Vec<String>, Failure> {
    if let Some(file) = wanted.kerchunk.filter(|path| !python::is_parquet(path)) {
        check_target(file)?;
    }
    let target = place.target.clone();
    let base = base_url(&target, wanted.url)?;
    let (Publication { tag, is_new }, held) = change(&target, options, |ledger| {
        let publication = ledger.publish(place.at)?;
        let held = ledger.held_space(&publication.tag.name)?;
        Ok((publication, held))
    })?;
    let made = make(wanted, place, options, &base, &tag, &held);
    if made.is_err() && is_new {
        change(&target, options, |ledger| ledger.untag_if_unchanged(&tag))?;
    }
    made
}

fn make(
    wanted: &Wanted<'_>,
    place: Place,
    options: &Options,
    base: &str,
    tag: &Tag,
    held: &HeldSpace,
) -> Result<Vec<String>, Failure> {
    let version = tag.name.published_version().unwrap_or_default();
    let (target, mut place) = (place.target.clone(), place);
    (place.at, place.opened) = (Some(At::Tag(tag.name)), None);
    let options = Options { at: place.at, ..options.clone() };
    let container = open_at(wanted.name, place, options)?;
    let about = json!({ "container": wanted.name.to_string_lossy(), "url": base, "version": version });
    let url = |place: &PayloadPlace| match (&place.source, &place.object) {
        (Some(source), _) if is_url(source) => source.clone(),
        (Some(source), _) => format!("file://{source}"),
        (None, Some(key)) => format!("{base}/{key}"),
        (None, None) => base.to_owned(),
    };
    // The Python package makes its output from a file of references.
    let temporary = temporary(wanted)?;
    let made = temporary.as_ref().map(|folder| folder.join("references.json"));
    let file = made.as_deref().or(wanted.kerchunk);
    let file = file.ok_or("no format was requested")?;
    let bar = wanted.output.bar("publish");
    let identities = Identities::new(&container, &target, base, wanted.url.is_none())?;
    let references = References::begin(file, mode(&target, file), &about, container.size()?, bar)?;
    let mut report = write(&container, held, &url, references, &identities)?;
    report.left_out.extend(python::convert(wanted, file)?);
    drop(temporary);
    if wanted.is_json() {
        let mut object = report.json();
        object["version"] = json!(version);
        object["holds_bytes"] = json!(tag.bytes);
        return Ok(vec![json_text(&object)]);
    }
    let mut lines = vec![format!("{}: version {version} is published", wanted.name.display())];
    lines.extend(report.lines());
    Ok(lines)
}

fn write(
    container: &std::sync::Arc<Container>,
    held: &HeldSpace,
    url: &dyn Fn(&PayloadPlace) -> String,
    mut out: References,
    identities: &Identities,
) -> Result<Report, Failure> {
    let report = Hierarchy::new(container, held, url, &mut out)?.write()?;
    out.finish(identities)?;
    Ok(report)
}

/// Creates a temporary folder for the file of references if the requested output is not such a file itself.
fn temporary(wanted: &Wanted<'_>) -> Result<Option<TemporaryFolder>, Failure> {
    let Some(target) = wanted.icechunk.or(wanted.kerchunk.filter(|path| python::is_parquet(path))) else {
        return Ok(None);
    };
    target.file_name().ok_or("the target has no name")?;
    TemporaryFolder::make(&folder_of(target), references::KIND, target).map(Some)
}

/// Returns the permissions of a file with references to a container.
fn mode(container: &Target, file: &Path) -> u32 {
    match container {
        Target::File(path) => mode_of_copy(path, file),
        Target::Objects { .. } => permissions::ANY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_the_slashes_that_keys_have() {
        for (url, stored) in [
            ("s3://lake", "s3://lake"),
            ("s3://lake/", "s3://lake"),
            ("s3://lake//runs/a/", "s3://lake/runs/a"),
            ("https://host:8443/x", "https://host:8443/x"),
        ] {
            assert_eq!(as_stored(url), stored);
        }
    }
}
