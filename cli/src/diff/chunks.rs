//! The chunks of a dataset that contain differing elements.

use std::collections::BTreeSet;

use h5lake_container::Layout;

/// The maximum number of chunks that are listed for one dataset.
const MAX_NAMED: usize = 1 << 16;

/// Formats the coordinates of an element or chunk as text.
pub(super) fn position(at: &[u64]) -> String {
    let at: Vec<_> = at.iter().map(u64::to_string).collect();
    format!("[{}]", at.join(", "))
}

/// A set of chunks, each identified by the coordinates of its first element.
#[derive(Debug)]
pub(super) struct DifferingChunks {
    shape: Vec<u64>,
    pub(super) at: BTreeSet<Vec<u64>>,
    /// True if more chunks differ than the set can contain.
    pub(super) has_more: bool,
}

impl DifferingChunks {
    /// Creates an empty set for a dataset with this layout, or returns `None` if the dataset has no chunks.
    pub(super) fn of(layout: &Layout) -> Option<Self> {
        let Layout::Chunked { chunk } = layout else { return None };
        Some(Self { shape: chunk.clone(), at: BTreeSet::new(), has_more: false })
    }

    /// Returns the number of elements of a chunk along the last dimension.
    pub(super) fn row_elements(&self) -> u64 {
        self.shape.last().copied().unwrap_or(1).max(1)
    }

    /// Adds the chunk that contains an element.
    pub(super) fn add(&mut self, mut element: Vec<u64>) {
        for (at, length) in element.iter_mut().zip(&self.shape) {
            *at -= *at % length.max(&1);
        }
        if self.at.len() < MAX_NAMED {
            self.at.insert(element);
        } else {
            self.has_more |= !self.at.contains(&element);
        }
    }

    pub(super) fn text(&self) -> String {
        let at: Vec<_> = self.at.iter().map(|at| position(at)).collect();
        let more = if self.has_more { " and more" } else { "" };
        format!(", in {} chunks: {}{more}", at.len(), at.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_named_once_by_their_first_elements() {
        let mut chunks = DifferingChunks::of(&Layout::Chunked { chunk: vec![10, 4] }).unwrap();
        for element in [[0, 3], [9, 0], [10, 4], [19, 7], [25, 1]] {
            chunks.add(element.to_vec());
        }
        assert_eq!(chunks.text(), ", in 3 chunks: [0, 0] [10, 4] [20, 0]");
        for n in 0..=MAX_NAMED as u64 {
            chunks.add(vec![10 * n, 0]);
        }
        assert!(chunks.has_more && chunks.at.len() == MAX_NAMED);
        assert!(DifferingChunks::of(&Layout::Contiguous).is_none());
    }
}
