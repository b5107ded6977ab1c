//! The filters, for the fuzzing target: whatever bytes they get, they end and do not panic.

use crate::filters::Pipeline;
use crate::types::Filter;

/// The filters that are built in.
pub const FILTERS: [i32; 13] = [1, 2, 3, 5, 6, 307, 32000, 32004, 32008, 32015, 32001, 4, 32026];

/// A pipeline and a chunk, as a fuzzing target has them.
pub struct FilteredChunk<'a> {
    /// Numbers and client data, in the order of the pipeline.
    pub filters: Vec<(i32, Vec<u32>)>,
    /// Bytes of the decoded chunk.
    pub len: u16,
    /// What is decoded, and what is encoded up to `len`.
    pub data: &'a [u8],
}

impl<'a> FilteredChunk<'a> {
    /// From bytes: the count of filters less one; of each its place in [`FILTERS`], the count of its values, and these in 4 bytes
    /// each; the length in 2 bytes; then the data.
    pub fn parse(mut bytes: &'a [u8]) -> Option<Self> {
        let mut filters = Vec::new();
        for _ in 0..=next(&mut bytes)? % 3 {
            let id = FILTERS[usize::from(next(&mut bytes)?) % FILTERS.len()];
            let count = usize::from(next(&mut bytes)? % 32);
            let (values, rest) = bytes.split_at_checked(4 * count)?;
            bytes = rest;
            filters.push((id, values.as_chunks().0.iter().map(|v| u32::from_le_bytes(*v)).collect()));
        }
        let (len, data) = bytes.split_first_chunk()?;
        Some(Self { filters, len: u16::from_le_bytes(*len), data })
    }

    /// The reverse of [`Self::parse`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.filters.len() as u8 - 1];
        for (id, values) in &self.filters {
            bytes.push(FILTERS.iter().position(|known| known == id).unwrap_or(0) as u8);
            bytes.push(values.len() as u8);
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
        bytes.extend(self.len.to_le_bytes());
        bytes.extend(self.data);
        bytes
    }

    fn pipeline(&self) -> Option<Pipeline> {
        let filter = |(id, values): &(i32, Vec<u32>)| Filter {
            id: *id,
            flags: 0,
            name: Vec::new(),
            client_data: values.clone(),
        };
        Pipeline::new(&self.filters.iter().map(filter).collect::<Vec<_>>()).ok()
    }

    /// The data through the pipeline.
    pub fn encode(&self) -> Option<Vec<u8>> {
        self.pipeline()?.encode(self.data).ok().map(|(_, encoded)| encoded)
    }

    /// Decodes the data; encodes them, and checks that they come back.
    pub fn run(&self) {
        let Some(pipeline) = self.pipeline() else { return };
        let len = usize::from(self.len);
        let _ = pipeline.decode(self.data.to_vec(), 0, len);
        let data = &self.data[..len.min(self.data.len())];
        if let Ok((mask, encoded)) = pipeline.encode(data) {
            let decoded = pipeline.decode(encoded, mask, data.len());
            assert!(
                pipeline.may_lose() || decoded.as_deref().ok() == Some(data),
                "{:?}: {decoded:?}",
                self.filters
            );
        }
    }
}

fn next(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}
