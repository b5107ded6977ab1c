//! Calls of the tools with containers of this crate as it is under test. The tools link this crate as it is built without
//! tests, so locations and options have to be converted from one set of types to the other.

use crate::{Options, Result, Target};
use h5lake_tools::End;
pub(super) use h5lake_tools::verify::{Report, Versions};
pub(super) use h5lake_tools::{Copied, repair::Repaired};

/// Receives the bytes done and the total.
type Progress<'a> = &'a mut dyn FnMut(u64, u64);

fn target(of: &Target) -> h5lake_tools::Target {
    match of.clone() {
        Target::File(path) => h5lake_tools::Target::File(path),
        Target::Objects { store, key, url } => h5lake_tools::Target::Objects { store, key, url },
    }
}

fn options(of: &Options) -> h5lake_tools::Options {
    h5lake_tools::Options { ledger: of.ledger.clone(), ..h5lake_tools::Options::default() }
}

pub(super) fn verify(of: &Target, o: &Options, versions: Versions, progress: Progress<'_>) -> Result<Report> {
    h5lake_tools::verify::verify(&target(of), &options(o), versions, progress)
}

pub(super) fn repair(
    from: &Target,
    o: &Options,
    to: &Target,
    of_copy: &Options,
    progress: Progress<'_>,
) -> Result<Repaired> {
    h5lake_tools::repair::repair(
        End::new(&target(from), &options(o)),
        End::new(&target(to), &options(of_copy)),
        progress,
    )
}

pub(super) fn copy_to(
    from: &Target,
    o: &Options,
    to: &Target,
    of_copy: &Options,
    progress: Progress<'_>,
) -> Result<Copied> {
    h5lake_tools::copy_to(
        End::new(&target(from), &options(o)),
        End::new(&target(to), &options(of_copy)),
        progress,
    )
}
