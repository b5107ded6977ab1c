//! `h5lake copy`: makes an equal container elsewhere.

use std::path::Path;

use h5lake_container::{Container, Copied, Options};
use h5lake_ledger::Access;
use serde_json::json;

use crate::Failure;
use crate::find::{check_container, find_version, vacant};
use crate::output::{Output, print};

/// Copies a container, or one version of it.
pub fn run(name: &Path, new: &Path, output: Output) -> Result<(), Failure> {
    let (place, ledger) = find_version(name, Access::ReadOnly)?;
    check_container(name, &place)?;
    let target = vacant(new)?;
    let options = Options { ledger, ..Options::default() };
    let bar = output.bar("copy");
    let done =
        Container::copy_to(&place.target, &options, &target, &options, &mut |done, of| bar.show(done, of));
    drop(bar);
    let Copied { from: version, entries, bytes, .. } = done?;
    let (name, new) = (name.display().to_string(), new.display().to_string());
    print([match output {
        Output::Json => {
            json!({ "name": name, "target": new, "version": version, "entries": entries, "bytes": bytes })
                .to_string()
        }
        _ => format!("{name} -> {new}: version {version}, {entries} entries, {bytes} bytes of data"),
    }])?;
    Ok(())
}
