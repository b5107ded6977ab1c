//! The two ends of a copy.

use h5lake_container::{Access, Options, Target};
use h5lake_ledger::Ledger;
use h5lake_records::Result;

/// One end of a copy: the location of a container, and the options to open or to create it.
#[derive(Clone, Copy)]
pub struct End<'a> {
    /// The location.
    pub target: &'a Target,
    /// The options. Those of the container to read may request a version.
    pub options: &'a Options,
}

impl<'a> End<'a> {
    /// Makes an end.
    pub fn new(target: &'a Target, options: &'a Options) -> Self {
        Self { target, options }
    }

    /// Opens the container to read the version that the options request.
    pub(crate) fn open(self) -> Result<Ledger> {
        self.target.open_ledger(Access::ReadOnly, self.options.ledger.clone())
    }

    /// Creates the container with the content that `fill` writes. It becomes visible when it is complete.
    pub(crate) fn create_whole(
        self,
        options: h5lake_ledger::Options,
        fill: impl FnOnce(&Ledger) -> Result<()>,
    ) -> Result<Ledger> {
        match self.target {
            Target::File(path) => Ledger::create_whole_file(path, options, fill),
            Target::Objects { store, key, .. } => {
                Ledger::create_whole_objects(store.clone(), key, options, fill)
            }
        }
    }

    /// Opens the newest version of the container.
    pub(crate) fn open_newest(self, access: Access) -> Result<Ledger> {
        self.target.open_ledger(access, newest(self.options))
    }
}

/// Returns the options for the newest version.
pub(crate) fn newest(options: &Options) -> h5lake_ledger::Options {
    h5lake_ledger::Options { at: None, salvage: false, ..options.ledger.clone() }
}
