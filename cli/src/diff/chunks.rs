//! The chunks that hold elements which differ.

use std::collections::BTreeSet;

use h5lake_container::Layout;

/// Chunks of a dataset that are named. There may be more.
const MAX_NAMED: usize = 1 << 16;

/// A position as people write it.
pub(super) fn position(at: &[u64]) -> String {
    let at: Vec<_> = at.iter().map(u64::to_string).collect();
    format!("[{}]", at.join(", "))
}

/// Chunks by the coordinates of their first elements.
#[derive(Debug)]
pub(super) struct DifferingChunks {
    shape: Vec<u64>,
    pub(super) at: BTreeSet<Vec<u64>>,
    /// There are more than could be remembered.
    pub(super) has_more: bool,
}

impl DifferingChunks {
    /// Those of a dataset of this layout; `None` if it has no chunks.
    pub(super) fn of(layout: &Layout) -> Option<Self> {
        let Layout::Chunked { chunk } = layout else { return None };
        Some(Self { shape: chunk.clone(), at: BTreeSet::new(), has_more: false })
    }

    /// Elements of a chunk along the last dimension.
    pub(super) fn row_elements(&self) -> u64 {
        self.shape.last().copied().unwrap_or(1).max(1)
    }

    /// Counts in the chunk of an element.
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
