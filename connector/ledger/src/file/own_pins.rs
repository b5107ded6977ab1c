//! Pins without locks: versions that readers of this process use where files are not locked. No other process sees these pins, but a
//! writer of the same process leaves the versions as they are.

use std::collections::BTreeMap;

use crate::file::intrusion::FileId;
use crate::locks::Mutex;

/// The number of handles of this process that have pinned a sequence of a file.
static PINNED: Mutex<BTreeMap<(FileId, u64), usize>> = Mutex::new(BTreeMap::new());

/// The pins of one handle. They end with it.
#[derive(Debug, Default)]
pub(crate) struct OwnPins {
    /// `None` for a handle without a file.
    file: Option<FileId>,
    pinned: Mutex<Vec<u64>>,
}

impl OwnPins {
    pub(crate) fn of(file: FileId) -> Self {
        Self { file: Some(file), pinned: Mutex::default() }
    }

    pub(crate) fn file(&self) -> Option<FileId> {
        self.file
    }

    /// Pins one more sequence. Pinning it twice changes nothing.
    pub(crate) fn pin(&self, sequence: u64) {
        let Some(file) = self.file else { return };
        let mut pinned = self.pinned.lock();
        if !pinned.contains(&sequence) {
            pinned.push(sequence);
            *PINNED.lock().entry((file, sequence)).or_default() += 1;
        }
    }

    /// Releases the pin of a sequence, if this handle has it.
    pub(crate) fn unpin(&self, sequence: u64) {
        let mut pinned = self.pinned.lock();
        if let Some(at) = pinned.iter().position(|known| *known == sequence) {
            pinned.swap_remove(at);
            self.forget(sequence);
        }
    }

    fn forget(&self, sequence: u64) {
        let Some(file) = self.file else { return };
        let mut all = PINNED.lock();
        if let Some(count) = all.get_mut(&(file, sequence)) {
            *count -= 1;
            if *count == 0 {
                all.remove(&(file, sequence));
            }
        }
    }
}

/// Returns the lowest sequence below `end` of a file that a handle of this process has pinned without locks.
pub(crate) fn lowest(file: FileId, end: u64) -> Option<u64> {
    PINNED.lock().range((file, 0)..(file, end)).next().map(|((_, sequence), _)| *sequence)
}

impl Drop for OwnPins {
    fn drop(&mut self) {
        for sequence in std::mem::take(self.pinned.get_mut()) {
            self.forget(sequence);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_pin_of_a_file_counts_until_its_last_handle_ends() {
        let file = (u64::MAX - 1, 7);
        let (first, second) = (OwnPins::of(file), OwnPins::of(file));
        OwnPins::of((u64::MAX - 1, 8)).pin(1);
        assert_eq!(lowest(file, 100), None, "another file");
        first.pin(3);
        first.pin(3);
        second.pin(3);
        second.pin(5);
        assert_eq!((lowest(file, 100), lowest(file, 3)), (Some(3), None));
        first.unpin(3);
        first.unpin(3);
        assert_eq!(lowest(file, 100), Some(3), "the second handle's");
        second.unpin(3);
        assert_eq!(lowest(file, 100), Some(5));
        drop(second);
        assert_eq!(lowest(file, 100), None);
    }
}
