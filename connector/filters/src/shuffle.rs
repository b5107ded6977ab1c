//! Shuffle (filter 2): stores first all first bytes of the elements, then all second ones, and so on; an incomplete
//! last element stays at the end.

use super::FilterCodec;
use h5lake_ledger::buffers;
use h5lake_records::memory::copied;
use wide::u8x16;

#[derive(Debug)]
pub(super) struct Shuffle {
    /// Bytes of an element; 0 if HDF5's filter does not accept the client data.
    size: usize,
}

impl Shuffle {
    pub(super) fn new(client_data: &[u32]) -> Self {
        let size = match client_data {
            [size] => usize::try_from(*size).unwrap_or(0),
            _ => 0,
        };
        Self { size }
    }

    fn whole(&self, len: usize) -> Option<usize> {
        (self.size > 1 && len / self.size > 1).then(|| len / self.size)
    }
}

impl FilterCodec for Shuffle {
    fn encode(&self, data: &[u8]) -> Option<Vec<u8>> {
        if self.size == 0 {
            return None;
        }
        let Some(n) = self.whole(data.len()) else { return copied(data).ok() };
        let mut out = buffers::try_take(data.len())?;
        let (elements, rest) = data.split_at(n * self.size);
        let (planes, left) = out.split_at_mut(n * self.size);
        planes_of(elements, self.size, planes);
        left.copy_from_slice(rest);
        Some(out)
    }

    fn decoded_len(&self, data: &[u8]) -> std::result::Result<Option<usize>, String> {
        Ok(Some(data.len()))
    }

    fn decode_into(&self, data: &[u8], out: &mut [u8]) -> std::result::Result<Option<usize>, String> {
        if self.size == 0 {
            return Err("invalid shuffle parameters".into());
        }
        let Some(n) = self.whole(data.len()) else {
            out.copy_from_slice(data);
            return Ok(Some(out.len()));
        };
        let (planes, rest) = data.split_at(n * self.size);
        let (elements, left) = out.split_at_mut(n * self.size);
        elements_of_planes(planes, self.size, elements);
        left.copy_from_slice(rest);
        Ok(Some(out.len()))
    }

    fn max_encoded_bytes(&self, len: usize) -> usize {
        len
    }
}

/// Splits whole elements of `size` bytes into as many planes: all first bytes, all second ones, and so on.
pub(super) fn planes_of(elements: &[u8], size: usize, planes: &mut [u8]) {
    let n = elements.len() / size;
    match size {
        1 => planes.copy_from_slice(elements),
        2 => apart::<2>(elements, planes, n),
        4 => apart::<4>(elements, planes, n),
        8 => apart::<8>(elements, planes, n),
        16 => apart::<16>(elements, planes, n),
        size => {
            for (byte, plane) in planes.chunks_exact_mut(n).enumerate() {
                for (o, element) in plane.iter_mut().zip(elements.chunks_exact(size)) {
                    *o = element[byte];
                }
            }
        }
    }
}

/// Reverses [`planes_of`].
pub(super) fn elements_of_planes(planes: &[u8], size: usize, elements: &mut [u8]) {
    let n = elements.len() / size;
    match size {
        1 => elements.copy_from_slice(planes),
        2 => together::<2>(planes, elements, n),
        4 => together::<4>(planes, elements, n),
        8 => together::<8>(planes, elements, n),
        16 => together::<16>(planes, elements, n),
        size => {
            for (byte, plane) in planes.chunks_exact(n).enumerate() {
                for (element, b) in elements.chunks_exact_mut(size).zip(plane) {
                    element[byte] = *b;
                }
            }
        }
    }
}

/// Number of elements that are processed at once: as many as a vector has bytes.
const LANES: usize = 16;

/// Interleaves the two halves of vectors byte by byte, `times` times. Each time, the highest bit of a byte's index
/// among all bytes becomes the lowest one. Four times, for example, put all first bytes of 16 elements first, then all
/// second ones, and so on.
#[inline(always)]
pub(super) fn mixed<const SIZE: usize>(mut vectors: [u8x16; SIZE], times: u32) -> [u8x16; SIZE] {
    for _ in 0..times {
        let mut next = vectors;
        for n in 0..SIZE / 2 {
            next[2 * n] = u8x16::unpack_low(vectors[n], vectors[n + SIZE / 2]);
            next[2 * n + 1] = u8x16::unpack_high(vectors[n], vectors[n + SIZE / 2]);
        }
        vectors = next;
    }
    vectors
}

/// Splits elements of `SIZE` bytes, a power of two, into `SIZE` planes of `n` bytes.
fn apart<const SIZE: usize>(elements: &[u8], planes: &mut [u8], n: usize) {
    let groups = elements.as_chunks::<LANES>().0.as_chunks::<SIZE>().0;
    for (at, group) in (0..).step_by(LANES).zip(groups) {
        let mut vectors = [u8x16::ZERO; SIZE];
        for (vector, bytes) in vectors.iter_mut().zip(group) {
            *vector = u8x16::new(*bytes);
        }
        for (byte, vector) in mixed(vectors, LANES.trailing_zeros()).iter().enumerate() {
            if let Some(place) = planes[byte * n + at..].first_chunk_mut() {
                *place = vector.to_array();
            }
        }
    }
    let done = groups.len() * LANES;
    for (at, element) in (done..n).zip(elements[done * SIZE..].as_chunks::<SIZE>().0) {
        for (byte, value) in element.iter().enumerate() {
            planes[byte * n + at] = *value;
        }
    }
}

/// Reverses [`apart`].
fn together<const SIZE: usize>(planes: &[u8], elements: &mut [u8], n: usize) {
    let groups = elements.as_chunks_mut::<LANES>().0.as_chunks_mut::<SIZE>().0;
    let done = groups.len() * LANES;
    for (at, group) in (0..).step_by(LANES).zip(groups) {
        let mut vectors = [u8x16::ZERO; SIZE];
        for (byte, vector) in vectors.iter_mut().enumerate() {
            if let Some(place) = planes[byte * n + at..].first_chunk() {
                *vector = u8x16::new(*place);
            }
        }
        for (bytes, vector) in group.iter_mut().zip(mixed(vectors, SIZE.trailing_zeros())) {
            *bytes = vector.to_array();
        }
    }
    for (at, element) in (done..n).zip(elements[done * SIZE..].as_chunks_mut::<SIZE>().0) {
        for (byte, value) in element.iter_mut().enumerate() {
            *value = planes[byte * n + at];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_shuffled_as_in_hdf5() {
        for size in (2..=9).chain([16, 17]) {
            let data: Vec<u8> = (0..size * 2500 + 1).map(|i| (i * 7 + i / 256) as u8).collect();
            let s = Shuffle::new(&[size as u32]);
            let shuffled = s.encode(&data).unwrap();
            let n = data.len() / size;
            for (i, b) in data[..n * size].iter().enumerate() {
                assert_eq!(shuffled[i % size * n + i / size], *b, "byte {i} of elements of {size}");
            }
            assert_eq!(shuffled[n * size..], data[n * size..]);
            assert_eq!(s.decode(&shuffled, data.len()).unwrap(), data);
        }
    }

    #[test]
    fn planes_of_bytes_and_remaining_bytes() {
        let s = Shuffle::new(&[4]);
        assert_eq!(s.encode(&[1, 2, 3, 4, 5, 6, 7, 8, 9]).unwrap(), [1, 5, 2, 6, 3, 7, 4, 8, 9]);
    }
}
