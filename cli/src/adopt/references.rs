//! From a list of places in a native file to references in a container.

use std::path::Path;
use std::sync::Arc;

use h5lake_connector::{RawPlace, RawPlaces};
use h5lake_container::{Container, Dataset, ObjectId};
use h5lake_ledger::Source;

use super::external_files::ExternalFiles;
use crate::Failure;

/// Progress is told after so many references.
const PER_STEP: u64 = 1024;

/// What became of a native file's raw data.
#[derive(Debug, Default)]
pub struct Summary {
    /// Contiguous datasets that are referred to, in each file.
    pub datasets: u64,
    /// Chunks that are referred to.
    pub chunks: u64,
    /// Bytes of them all.
    pub bytes: u64,
    /// Datasets whose elements were copied, and why.
    pub copied: Vec<(String, String)>,
    /// Datasets of joined files that are those of the first file alone.
    pub not_joined: Vec<String>,
    /// Datasets of later files that the first one has not: nothing of them is adopted.
    pub left_out: Vec<String>,
}

/// Puts references to sources.
pub struct References<'a> {
    container: &'a Arc<Container>,
    /// The numbers of all sources, and that of the present one.
    numbers: Vec<u32>,
    number: u32,
    checksums: bool,
    /// What lies beside the native files.
    external: ExternalFiles,
    /// The dataset that the last place was of.
    open: Option<Arc<Dataset>>,
    summary: Summary,
}

impl<'a> References<'a> {
    pub fn new(
        container: &'a Arc<Container>,
        sources: impl Iterator<Item = &'a Source>,
        checksums: bool,
        external: ExternalFiles,
    ) -> Result<Self, Failure> {
        let numbers = sources.map(|source| container.add_source(source)).collect::<Result<Vec<_>, _>>()?;
        let number = *numbers.first().ok_or("there is no file to refer to")?;
        Ok(Self { container, numbers, number, checksums, external, open: None, summary: Summary::default() })
    }

    /// Puts all references of a list. Nothing is committed.
    pub fn put_all(mut self, list: &Path, progress: &mut dyn FnMut(u64)) -> Result<Summary, Failure> {
        let mut places = RawPlaces::open(list)?;
        let mut count = 0_u64;
        while let Some(place) = places.step()? {
            self.put(place)?;
            count += 1;
            if count.is_multiple_of(PER_STEP) {
                progress(self.summary.bytes);
            }
        }
        self.external.check_unchanged()?;
        Ok(self.summary)
    }

    fn put(&mut self, place: RawPlace) -> Result<(), Failure> {
        match place {
            RawPlace::Filters { dataset, filters } => {
                self.open = None;
                self.container.set_filter_parameters(ObjectId(dataset), &filters)?;
            }
            RawPlace::Copied { path, reason } => self.summary.copied.push((path, reason)),
            RawPlace::LeftOut { path } => self.summary.left_out.push(path),
            RawPlace::NotJoined { path } => self.summary.not_joined.push(path),
            RawPlace::External { dataset, path, files } => {
                let dataset = self.dataset(dataset)?;
                let parts = self.external.parts(&dataset, &path, &files)?;
                match parts.obstacle(&dataset) {
                    Some(reason) => {
                        parts.copy(&dataset)?;
                        self.summary.copied.push((path, reason.to_owned()));
                    }
                    None => {
                        self.external.refer(self.container, &dataset, &parts, self.checksums)?;
                        self.summary.datasets += 1;
                        self.summary.bytes += parts.bytes();
                    }
                }
            }
            RawPlace::File { number } => {
                let found = usize::try_from(number).ok().and_then(|number| self.numbers.get(number));
                self.number = *found.ok_or("a list of places names a file that is none")?;
            }
            RawPlace::Chunk { dataset, offset, mask, address, length } => {
                let dataset = self.dataset(dataset)?;
                let extent = self.container.extent_in_source(self.number, address, length, self.checksums)?;
                dataset.refer_to_chunk(&offset, mask, &extent)?;
                self.summary.chunks += 1;
                self.summary.bytes += length;
            }
            RawPlace::Contiguous { dataset, first, address, length } => {
                let dataset = self.dataset(dataset)?;
                let (container, number, checksums) = (self.container, self.number, self.checksums);
                dataset.refer_to_bytes(first, length, address, &mut |offset, length| {
                    container.extent_in_source(number, offset, length, checksums)
                })?;
                // A joined one counts once for each file.
                self.summary.datasets += 1;
                self.summary.bytes += length;
            }
        }
        Ok(())
    }

    fn dataset(&mut self, id: u64) -> Result<Arc<Dataset>, Failure> {
        match &self.open {
            Some(dataset) if dataset.object().id() == ObjectId(id) => Ok(dataset.clone()),
            _ => {
                let dataset = self.container.dataset(ObjectId(id))?;
                self.open = Some(dataset.clone());
                Ok(dataset)
            }
        }
    }
}
