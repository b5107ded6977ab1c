//! `h5lake adopt`: containers that refer to the raw data of native files.
//!
//! A libhdf5, in a process of its own, makes the structure in a temporary container and lists where raw data lies. This process
//! puts the references and moves the whole to its name. docs/design/062.

mod references;

use std::fs;
use std::path::{Path, PathBuf};

use h5lake_connector::config::Config;
use h5lake_connector::names::{self, sources::FollowedSources};
use h5lake_container::{Container, Options, Target};
use h5lake_ledger::{Access, Ledger, NotFollowed, Probe, Source};
use object_stores::registry::is_url;
use serde_json::json;

use crate::Failure;
use crate::convert::publish::{copy_user_block, folder_of};
use crate::convert::{library, worker};
use crate::find::{find, vacant};
use crate::output::{Output, print};
use references::{References, Summary};

/// What a command line asks for.
pub struct Wanted<'a> {
    pub source: &'a Path,
    pub target: &'a Path,
    /// A libhdf5, or a program that loads one.
    pub library: Option<&'a Path>,
    /// Whether all data is read to keep checksums of it.
    pub checksums: bool,
    pub output: Output,
}

/// A native file: how libhdf5 opens it, and what it is.
struct Native {
    name: PathBuf,
    source: Source,
}

/// A folder that goes when this is dropped, with what is in it.
struct Temporary(PathBuf);

impl Temporary {
    /// One beside a local target, else in the folder for temporary files.
    fn beside(target: &Target) -> Result<Self, Failure> {
        let folder = match target {
            Target::File(path) => folder_of(path),
            Target::Objects { .. } => std::env::temp_dir(),
        };
        let path = std::path::absolute(folder.join(format!(".h5lake-adoption-{}", std::process::id())))?;
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _what_is_left_is_hidden = fs::remove_dir_all(&self.0);
    }
}

/// Makes a container of references. When this returns, it is on stable storage as the settings say.
pub fn run(wanted: &Wanted<'_>) -> Result<(), Failure> {
    let target = vacant(wanted.target)?;
    let native = describe(wanted.source)?;
    let library = library(wanted.library)?;
    let folder = Temporary::beside(&target)?;
    let (made, list) = (folder.0.join("made.h5"), folder.0.join("places"));
    let user_block = worker::adopt(&library, &native.name, &made, &list)?;
    if user_block > 0 && native.source.url().is_none() {
        copy_user_block(&native.name, &made, user_block)?;
    }
    check_unchanged(wanted.source, &native)?;
    let bar = wanted.output.bar("adopt");
    let made = Target::File(made);
    let summary = refer(wanted, &made, &native, &list, &mut |done| bar.show(done, native.source.length))?;
    // References are right only if nobody has changed the file while they were taken.
    check_unchanged(wanted.source, &native)?;
    let (_, ledger) = find(wanted.target, Access::ReadOnly)?;
    let options = Options { ledger, ..Options::default() };
    Container::move_to(&made, &options, &target, &options, &mut |_, _| ())?;
    drop(bar);
    report(wanted, &summary)
}

/// Puts the references into the temporary container.
fn refer(
    wanted: &Wanted<'_>,
    made: &Target,
    native: &Native,
    list: &Path,
    progress: &mut dyn FnMut(u64),
) -> Result<Summary, Failure> {
    let config = Config::from_environment()?;
    let ledger = h5lake_ledger::Options {
        source_opener: Some(opener(wanted.source, &config)),
        ..h5lake_ledger::Options::default()
    };
    let options = Options { ledger, ..Options::default() };
    let container = Container::open(made, Access::ReadWrite, options)?;
    let summary = References::new(&container, &native.source, wanted.checksums)?.put_all(list, progress)?;
    container.flush()?;
    Ok(summary)
}

/// What the user names may be followed, wherever it leads.
fn opener(name: &Path, config: &Config) -> std::sync::Arc<dyn h5lake_ledger::SourceOpener> {
    use std::os::unix::ffi::OsStrExt;
    FollowedSources::opener(config, names::folder_of(name.as_os_str().as_bytes(), config))
}

/// Looks at a native file. A local one that changed a moment ago is waited for.
fn describe(name: &Path) -> Result<Native, Failure> {
    let shown = name.display();
    let url = name.to_str().filter(|name| is_url(name));
    if let Some(url) = url {
        let config = Config::from_environment()?;
        let failed = |refused: NotFollowed| Failure::from(format!("{shown}: {}", refused.why));
        let (store, key) = opener(name, &config).open(url).map_err(failed)?;
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

fn check_unchanged(name: &Path, native: &Native) -> Result<(), Failure> {
    if describe(name)?.source == native.source {
        return Ok(());
    }
    Err(format!(
        "{}: was changed while it was adopted; close it in the program that writes it, and try again",
        name.display()
    )
    .into())
}

fn report(wanted: &Wanted<'_>, summary: &Summary) -> Result<(), Failure> {
    let (source, target) = (wanted.source.display().to_string(), wanted.target.display().to_string());
    let Summary { datasets, chunks, bytes, copied } = summary;
    if wanted.output == Output::Json {
        let copied: Vec<_> =
            copied.iter().map(|(path, reason)| json!({ "path": path, "reason": reason })).collect();
        let object = json!({
            "name": source, "target": target, "datasets": datasets, "chunks": chunks, "referenced_bytes": bytes,
            "checksums": wanted.checksums, "copied": copied,
        });
        print([object.to_string()])?;
        return Ok(());
    }
    let mut lines = vec![format!(
        "{source} -> {target}: refers to {bytes} bytes, {chunks} chunks and {datasets} contiguous datasets"
    )];
    let mut reasons = std::collections::BTreeMap::<&str, u64>::new();
    copied.iter().for_each(|(_, reason)| *reasons.entry(reason).or_default() += 1);
    lines.extend(reasons.iter().map(|(reason, count)| format!("  copied: {count} datasets ({reason})")));
    print(lines)?;
    Ok(())
}
