//! Adds the references to a container, from a list of the locations of raw data in native files.

use std::path::Path;
use std::sync::Arc;

use h5lake_connector::{RawPlace, RawPlaces};
use h5lake_container::{Container, Dataset, ObjectId};
use h5lake_ledger::Source;

use super::external_files::ExternalFiles;
use crate::Failure;

/// The number of references after which progress is reported.
const PER_STEP: u64 = 1024;

/// The result of an adoption: the raw data that is referenced, copied or left out.
#[derive(Debug, Default)]
pub struct Summary {
    /// The number of contiguous datasets that are referenced. A joined dataset counts once for each file.
    pub datasets: u64,
    /// The number of chunks that are referenced.
    pub chunks: u64,
    /// The number of bytes that are referenced.
    pub bytes: u64,
    /// The paths of datasets with copied elements, with the reasons.
    pub copied: Vec<(String, String)>,
    /// The paths of datasets that are not joined, so that only the elements of the first file are adopted.
    pub not_joined: Vec<String>,
    /// The paths of datasets in later files that do not exist in the first file. None of their elements are adopted.
    pub left_out: Vec<String>,
}

/// Adds references to sources to a container.
pub struct References<'a> {
    container: &'a Arc<Container>,
    /// The numbers of all sources of the container, in the order of the files.
    numbers: Vec<u32>,
    /// The number of the source that contains the next locations of the list.
    number: u32,
    checksums: bool,
    /// The external files of the first native file.
    external: ExternalFiles,
    /// The dataset of the most recent location, which stays open for the next one.
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

    /// Adds all references of a list. Does not commit them.
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
                // A joined dataset counts once for each file.
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
