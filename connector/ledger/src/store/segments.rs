//! Segments of inline records, which are put while commits go on.
//!
//! A commit starts to put a segment beside its own swap, and a later commit names the segment once it is in the store. So a commit waits for
//! a segment only if the inline records take too much of the manifest.

use super::committer::delete_objects;
use super::fetch::Fetcher;
use super::io::whole_page;
use super::uploads::Uploads;
use super::writer::Writer;
use crate::core::ids::{ObjectId, SessionId};
use crate::core::line::Line;
use crate::core::records::SegmentRef;
use crate::core::session::Entry;
use crate::error::{Result, store_error};

/// A segment that no swap has named yet.
#[derive(Debug, Default)]
pub(super) struct UnnamedSegment {
    at: Option<SegmentRef>,
    upload: Uploads,
}

/// Returns whether the line would name a segment.
fn fits(line: &Line, at: &SegmentRef) -> bool {
    line.clone().name_segment(at)
}

impl UnnamedSegment {
    /// Takes back a segment after the swap that was to name it did not take effect.
    pub(super) fn take_back(&mut self, at: Option<SegmentRef>) {
        self.at = self.at.or(at);
    }

    /// Waits until the segment is put, and returns it if the line can name it. A segment that was not put, that does not fit any more, or
    /// that belongs to an earlier session of this writer is deleted.
    fn finish(&mut self, line: &Line, session: SessionId, fetcher: &Fetcher) -> Option<SegmentRef> {
        let at = self.at.take()?;
        let is_put = self.upload.give_up();
        let object = ObjectId::of(&at.page.place)?;
        if is_put && object.session == session && fits(line, &at) {
            return Some(at);
        }
        delete_objects(fetcher, &[object]);
        None
    }

    /// Waits until the segment is put. An upload that failed is tried once more.
    fn wait(&mut self, fetcher: &Fetcher) -> Result<()> {
        let finished = self.upload.finish(fetcher.store.as_ref(), &mut |_, _, _| ());
        finished.map_err(|e| store_error(&fetcher.target, &e))
    }
}

impl Writer {
    /// Returns a segment of inline records that the next commit should name. Waits for it only if the commit depends on a segment.
    pub(super) fn segment_for_commit(&mut self) -> Result<Option<SegmentRef>> {
        let known = self.committer.known();
        let line = &known.line;
        if !line.needs_segment() && self.segment.upload.is_running() {
            return Ok(None);
        }
        let session = self.committer.session.id();
        let ready = self.segment.finish(line, session, &self.io.fetcher);
        if ready.is_some() || !line.needs_segment() {
            return Ok(ready);
        }
        self.start_segment()?;
        let known = self.committer.known();
        let session = self.committer.session.id();
        self.segment.wait(&self.io.fetcher)?;
        Ok(self.segment.finish(&known.line, session, &self.io.fetcher))
    }

    /// Starts to put a segment beside a commit, for a later commit to name, if the inline records are long and the session is listed. The
    /// first commit of a writer starts none, because it may be the only one.
    pub(super) fn start_segment_beside(&mut self, named: Option<&SegmentRef>) {
        let known = self.committer.known();
        let line = &known.line;
        let is_listed = self.committer.session.entry() == Entry::Listed;
        let is_wanted = self.wrote && is_listed && line.wants_segment();
        if named.is_some() || self.segment.at.is_some() || !is_wanted {
            return;
        }
        if let Err(e) = self.start_segment() {
            // Another commit tries it again.
            tracing::debug!(error = %e, "a segment of inline records could not be put");
        }
    }

    fn start_segment(&mut self) -> Result<()> {
        let object = self.new_object()?;
        let known = self.committer.known();
        let line = &known.line;
        let newest = line.tail.last().map_or(0, |record| record.version);
        let Some(segment) = line.segment(newest) else { return Ok(()) };
        let (bytes, crc) = segment.encode();
        let page = whole_page(object, &bytes, crc);
        let Some(at) = segment.reference(page).filter(|at| fits(line, at)) else { return Ok(()) };
        let fetcher = &self.io.fetcher;
        let key = fetcher.names.object(object, &fetcher.target)?;
        let started =
            self.segment.upload.start(&fetcher.store, object.page(), key, bytes.into(), &mut |_, _, _| ());
        started.map_err(|e| store_error(&fetcher.target, &e))?;
        self.io.segments.insert(&at, segment.into());
        self.segment.at = Some(at);
        Ok(())
    }

    /// Deletes a segment that no swap has named, at the end of the writer.
    pub(super) fn forget_segment(&mut self) {
        let Some(at) = self.segment.at.take() else { return };
        self.segment.upload.give_up();
        delete_objects(&self.io.fetcher, ObjectId::of(&at.page.place).as_slice());
    }
}
