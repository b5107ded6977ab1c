//! Reads of elements that another process had written and not committed. No process detects such a read when it
//! happens: the processes compare their reads and writes at their next exchange.

use std::io::Write;
use std::sync::atomic::Ordering;

use h5lake_container::Container;

use super::{CollectiveFile, LEFT, LOOKED};
use crate::error::Result;
use crate::session::trace::{self, Traces};

impl CollectiveFile {
    /// Compares reads and writes after an exchange, if its flags call for it: all processes find out whether any of
    /// them has read elements that another process had not committed.
    pub(super) fn heard(&self, container: &Container, all_flags: u32) -> Result<()> {
        if all_flags & LEFT != 0 && all_flags & LOOKED != 0 && !self.is_eager() {
            self.compare(container)?;
        }
        self.visibility().looked.lock().clear();
        Ok(())
    }

    /// Reports on stderr, once, if a process has read elements that another process had written and not committed.
    /// From then on all processes commit at once, because the program relies on it. Collective.
    fn compare(&self, container: &Container) -> Result<()> {
        let visibility = self.visibility();
        let mine = [visibility.left.lock().encoded(), visibility.looked.lock().encoded()].concat();
        let all = self.processes.gather(&mine)?;
        let (of_each, _) = all.as_chunks::<{ 2 * trace::BYTES }>();
        let decoded = |part: &[u8]| Traces::decoded(part);
        let lefts: Vec<Traces> = of_each.iter().map(|each| decoded(&each[..trace::BYTES])).collect();
        let looks: Vec<Traces> = of_each.iter().map(|each| decoded(&each[trace::BYTES..])).collect();
        let found = looks.iter().enumerate().find_map(|(reader, looked)| {
            let is_it = |(writer, left): (usize, &Traces)| writer != reader && left.were_read(looked);
            lefts.iter().enumerate().position(is_it).map(|writer| (reader, writer))
        });
        let Some((reader, writer)) = found else { return Ok(()) };
        visibility.is_eager.store(true, Ordering::Relaxed);
        if reader == self.processes.rank() {
            warn_of_older(container.name(), reader, writer);
        }
        Ok(())
    }
}

fn warn_of_older(name: &str, reader: usize, writer: usize) {
    let text = format!(
        "{name}: process {reader} of the MPI program has read by itself what process {writer} had written before and nobody had \
         committed. It may have got older elements. Before such reads let all processes call H5Fflush, or read collectively, or \
         set H5Fset_mpi_atomicity. From now on writes to this file are committed at once"
    );
    // A closed stderr is no reason to fail.
    writeln!(std::io::stderr(), "h5lake: {}", object_stores::printable(&text)).ok();
}
