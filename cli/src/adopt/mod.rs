//! `h5lake adopt`: makes containers that refer to the raw data of native files.
//!
//! A libhdf5 in a separate process creates the groups, datasets and attributes in a temporary container, and lists the locations of the raw
//! data. This process then adds the references to the container and moves it to its final name. The design is in
//! docs/design/062-foreign-extents.md.

mod external_files;
mod references;

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use h5lake_connector::config::Config;
use h5lake_connector::names::{self, sources::FollowedSources};
use h5lake_connector::{Adoption, Join, Lacking, NotHeld};
use h5lake_container::{Container, Options, Target};
use h5lake_ledger::{Access, Ledger, NotFollowed, Probe, Source, SourceOpener, mode_of_copy};
use h5lake_tools::End;
use object_stores::registry::is_url;
use object_stores::{Key, ObjectStore};
use serde_json::json;

use crate::Failure;
use crate::convert::publish::{copy_user_block, folder_of};
use crate::convert::{library, worker};
use crate::find::{find, url_of, vacant};
use crate::helper;
use crate::hidden::TemporaryFolder;
use crate::output::{Output, json_text, print};
use crate::permissions;
use external_files::ExternalFiles;
use references::{References, Summary};

/// The arguments of `h5lake adopt`.
pub struct Wanted<'a> {
    pub sources: &'a [PathBuf],
    /// The datasets of several sources that are joined into one.
    pub joins: Vec<Join>,
    pub target: &'a Path,
    /// The libhdf5 to use, or a program that loads a libhdf5.
    pub library: Option<&'a Path>,
    /// True if all data is read to store checksums of it.
    pub checksums: bool,
    /// True if no container is created when links would be left out.
    pub strict: bool,
    pub output: Output,
}

/// A native file: the name under which libhdf5 opens it, and its source for the container.
struct Native {
    name: PathBuf,
    source: Source,
}

/// Makes a container that refers to a native file, and prints its path. Deletes it when the process that started this one closes the
/// standard input of this one, or ends. A local name under the setting `store=` may be that of an object of the store.
pub fn temporarily(name: &Path, named: Option<&Path>) -> Result<(), Failure> {
    let native = describe_by_settings(name)?;
    let folder = TemporaryFolder::make(&std::env::temp_dir(), "adoption", name)?;
    // The name of the native file is in the messages of errors.
    let made = folder.join(&native.name.file_name().unwrap_or(name.as_os_str()).to_string_lossy());
    let list = folder.join(".h5lake-places");
    let lies_in = [folder_of(&native.name).as_os_str().as_bytes(), b"/"].concat();
    let adoption = Adoption { list: &list, folder: &lies_in, joins: &[] };
    let sources = [native.name.clone()];
    worker::adopt(&library(named)?, &[&native.name], &made, &adoption)?;
    let made = Target::File(made);
    let natives = [native];
    refer(false, &made, &natives, &list, &mut |_| ())?;
    check_unchanged(&sources, &natives)?;
    if let Some(path) = local_path(&made) {
        print([json_text(&json!(path))])?;
    }
    helper::wait_for_starter();
    Ok(())
}

/// Describes the native file that programs open under a name: a URL, a local file, the target of a pointer file, or an object of the store of
/// the settings.
fn describe_by_settings(name: &Path) -> Result<Native, Failure> {
    let place = names::place(name.as_os_str().as_bytes(), &Config::from_environment()?)
        .map_err(|error| error.to_string())?;
    match (&place.target, place.found()) {
        (target @ Target::Objects { .. }, found) if found != Some(Probe::NativeHdf5) => {
            describe(Path::new(&url_of(target).unwrap_or_default()))
        }
        _ => describe(name),
    }
}

fn local_path(target: &Target) -> Option<&Path> {
    match target {
        Target::File(path) => Some(path),
        Target::Objects { .. } => None,
    }
}

/// Makes a container that refers to the native files. When this function returns, the container is on stable storage as the settings
/// require. Returns whether all links were copied.
pub fn run(wanted: &Wanted<'_>) -> Result<bool, Failure> {
    let target = vacant(wanted.target)?;
    let natives = wanted.sources.iter().map(|name| describe(name)).collect::<Result<Vec<_>, _>>()?;
    let library = library(wanted.library)?;
    let beside = local_path(&target).map_or_else(std::env::temp_dir, folder_of);
    let folder = TemporaryFolder::make(&beside, "adoption", wanted.target)?;
    let (made, list) = (folder.join("made.h5"), folder.join("places"));
    let names: Vec<_> = natives.iter().map(|native| &*native.name).collect();
    let lies_in = folder_in_names(wanted.target, &target)?;
    let adoption = Adoption { list: &list, folder: &lies_in, joins: &wanted.joins };
    let Lacking { user_block, links } = worker::adopt(&library, &names, &made, &adoption)?;
    if wanted.strict && !links.is_empty() {
        let why = worker::listed("links that would be left out, so nothing was made (--strict)", &links);
        let name = wanted.sources.first().map(|name| name.display().to_string()).unwrap_or_default();
        return Err(format!("{name}: {why}").into());
    }
    if let Some(native) = natives.first().filter(|native| user_block > 0 && native.source.url().is_none()) {
        copy_user_block(&native.name, &made, user_block)?;
    }
    // The container inherits the permissions of the temporary file from which it is moved: those that every native file grants.
    let modes = natives.iter().filter(|native| native.source.url().is_none());
    let modes = modes.map(|native| mode_of_copy(&native.name, local_path(&target).unwrap_or(&made)));
    permissions::restrict(&made, modes.fold(permissions::ANY, |all, mode| all & mode))?;
    check_unchanged(wanted.sources, &natives)?;
    let bar = wanted.output.bar("adopt");
    let made = Target::File(made);
    let length = natives.iter().map(|native| native.source.length).sum();
    let summary = refer(wanted.checksums, &made, &natives, &list, &mut |done| bar.show(done, length))?;
    // The references are valid only if no native file was changed while they were made.
    check_unchanged(wanted.sources, &natives)?;
    let (_, ledger) = find(wanted.target, Access::ReadOnly)?;
    let options = Options { ledger, ..Options::default() };
    h5lake_tools::move_to(End::new(&made, &options), End::new(&target, &options), &mut |_, _| ())?;
    drop(bar);
    report(wanted, &summary, &links)?;
    Ok(links.is_empty())
}

/// Returns the folder in which programs resolve relative names in the container, with a trailing slash.
fn folder_in_names(name: &Path, target: &Target) -> Result<Vec<u8>, Failure> {
    let Target::File(path) = target else {
        return Ok(names::folder_of(name.as_os_str().as_bytes(), &Config::from_environment()?));
    };
    // The folder is canonical, because those of native files are canonical, too.
    let mut folder = folder_of(path).canonicalize()?.into_os_string().into_encoded_bytes();
    if !folder.ends_with(b"/") {
        folder.push(b'/');
    }
    Ok(folder)
}

/// Adds the references to the temporary container, and commits them.
fn refer(
    checksums: bool,
    made: &Target,
    natives: &[Native],
    list: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<Summary, Failure> {
    let config = Config::from_environment()?;
    let ledger = h5lake_ledger::Options {
        source_opener: Some(std::sync::Arc::new(Named(config))),
        ..h5lake_ledger::Options::default()
    };
    let options = Options { ledger, ..Options::default() };
    let container = Container::open(made, Access::ReadWrite, options)?;
    let sources = natives.iter().map(|native| &native.source);
    let first = natives.first().map(|native| folder_of(&native.name)).unwrap_or_default();
    let external = ExternalFiles::of_native_in(first);
    let summary = References::new(&container, sources, checksums, external)?.put_all(list, progress)?;
    container.flush()?;
    Ok(summary)
}

/// Opens sources at any URL, because the user of the tool named them: the settings that restrict the sources of containers do not apply.
#[derive(Debug)]
struct Named(Config);

impl SourceOpener for Named {
    fn open(&self, url: &str) -> Result<(std::sync::Arc<dyn ObjectStore>, Key), NotFollowed> {
        FollowedSources::opener(&self.0, names::folder_of(url.as_bytes(), &self.0)).open(url)
    }
}

/// Returns the source of a native file. If a local file was changed a moment ago, waits until a later change of it would be visible in its
/// times.
fn describe(name: &Path) -> Result<Native, Failure> {
    let shown = name.display();
    let url = name.to_str().filter(|name| is_url(name));
    if let Some(url) = url {
        let config = Config::from_environment()?;
        let failed = |refused: NotFollowed| Failure::from(format!("{shown}: {}", refused.why));
        let (store, key) = Named(config).open(url).map_err(failed)?;
        let meta = store.head(&key).map_err(|error| format!("{shown}: {error}"))?;
        return Ok(Native { name: name.to_owned(), source: Source::of_object(url, &meta) });
    }
    let path = name.canonicalize().map_err(|error| format!("{shown}: {error}"))?;
    match Ledger::probe_file(&path)? {
        Probe::NativeHdf5 => (),
        Probe::Container => {
            return Err(format!("{shown}: is a container already; 'h5lake copy' copies it").into());
        }
        _ => return Err(format!("{shown}: is no native HDF5 file").into()),
    }
    let source = Source::of_file(&path).map_err(|error| format!("{shown}: {error}"))?;
    Ok(Native { name: path, source })
}

fn check_unchanged(names: &[PathBuf], natives: &[Native]) -> Result<(), Failure> {
    for (name, native) in names.iter().zip(natives) {
        if present(name, native)? != native.source {
            return Err(changed(name));
        }
    }
    Ok(())
}

/// Returns the present source of a native file. A local file needs no wait here, because `describe` has already waited.
fn present(name: &Path, native: &Native) -> Result<Source, Failure> {
    if native.source.url().is_some() {
        return Ok(describe(name)?.source);
    }
    let now = Source::of_file_at_once(&native.name);
    Ok(now.map_err(|error| format!("{}: {error}", name.display()))?)
}

fn changed(name: &Path) -> Failure {
    let text = "was changed while it was adopted; close it in the program that writes it, and try again";
    format!("{}: {text}", name.display()).into()
}

/// Returns the first five names, and the number of the remaining ones.
fn shortened(names: &[String]) -> String {
    const MOST: usize = 5;
    let shown = names.iter().take(MOST).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn report(wanted: &Wanted<'_>, summary: &Summary, links: &[NotHeld]) -> Result<(), Failure> {
    let sources: Vec<_> = wanted.sources.iter().map(|source| source.display().to_string()).collect();
    let (source, target) =
        (sources.first().cloned().unwrap_or_default(), wanted.target.display().to_string());
    let Summary { datasets, chunks, bytes, copied, not_joined, left_out } = summary;
    if wanted.output == Output::Json {
        let copied: Vec<_> =
            copied.iter().map(|(path, reason)| json!({ "path": path, "reason": reason })).collect();
        let object = json!({
            "name": source, "target": target, "datasets": datasets, "chunks": chunks, "referenced_bytes": bytes,
            "checksums": wanted.checksums, "copied": copied, "sources": sources, "not_joined": not_joined,
            "left_out": left_out, "links_left_out": worker::as_json(links),
        });
        print([json_text(&object)])?;
        return Ok(());
    }
    let more = match sources.len() {
        1 => String::new(),
        n => format!(" and {} more", n - 1),
    };
    let mut lines = vec![format!(
        "{source}{more} -> {target}: refers to {bytes} bytes, {chunks} chunks and {datasets} contiguous datasets"
    )];
    if !not_joined.is_empty() {
        lines.push(format!("  not joined, as in the first file: {}", shortened(not_joined)));
    }
    if !left_out.is_empty() {
        lines.push(format!("  left out, as the first file has none: {}", shortened(left_out)));
    }
    lines.extend(links.iter().map(|link| format!("  left out: {link}")));
    let mut reasons = std::collections::BTreeMap::<&str, u64>::new();
    copied.iter().for_each(|(_, reason)| *reasons.entry(reason).or_default() += 1);
    lines.extend(reasons.iter().map(|(reason, count)| format!("  copied: {count} datasets ({reason})")));
    print(lines)?;
    Ok(())
}
