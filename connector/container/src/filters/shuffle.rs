//! Shuffle (filter 2): first all first bytes of the elements, then all second ones, and so on; what is left over
//! of an element stays at the end.

use super::FilterCodec;
use h5lake_ledger::buffers;

#[derive(Debug)]
pub(super) struct Shuffle {
    /// Bytes of an element; 0 when the client data is not what HDF5's filter accepts.
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
        let Some(n) = self.whole(data.len()) else { return Some(super::copy(data)) };
        let mut out = buffers::take(data.len());
        let (elements, rest) = data.split_at(n * self.size);
        let (planes, left) = out.split_at_mut(n * self.size);
        planes_of(elements, self.size, planes);
        left.copy_from_slice(rest);
        Some(out)
    }

    fn decode(&self, data: &[u8], limit: usize) -> std::result::Result<Vec<u8>, String> {
        if data.len() > limit {
            return Err(format!("{} bytes, more than {limit}", data.len()));
        }
        let mut out = buffers::take(data.len());
        self.decode_into(data, &mut out)?;
        Ok(out)
    }

    fn decode_into(&self, data: &[u8], out: &mut [u8]) -> std::result::Result<(), String> {
        if self.size == 0 {
            return Err("invalid shuffle parameters".into());
        }
        if data.len() != out.len() {
            return Err(format!("{} bytes were to be {}", data.len(), out.len()));
        }
        let Some(n) = self.whole(data.len()) else {
            out.copy_from_slice(data);
            return Ok(());
        };
        let (planes, rest) = data.split_at(n * self.size);
        let (elements, left) = out.split_at_mut(n * self.size);
        elements_of_planes(planes, self.size, elements);
        left.copy_from_slice(rest);
        Ok(())
    }

    fn max_encoded_bytes(&self, len: usize) -> usize {
        len
    }
}

/// Whole elements of `size` bytes into as many planes: all first bytes, all second ones, and so on.
pub(super) fn planes_of(elements: &[u8], size: usize, planes: &mut [u8]) {
    let n = elements.len() / size;
    match size {
        1 => planes.copy_from_slice(elements),
        2 => apart(elements, planes, n, |e, byte| (u16::from_le_bytes(e) >> (8 * byte)) as u8),
        4 => apart(elements, planes, n, |e, byte| (u32::from_le_bytes(e) >> (8 * byte)) as u8),
        8 => apart(elements, planes, n, |e, byte| (u64::from_le_bytes(e) >> (8 * byte)) as u8),
        size => {
            for (byte, plane) in planes.chunks_exact_mut(n).enumerate() {
                for (o, element) in plane.iter_mut().zip(elements.chunks_exact(size)) {
                    *o = element[byte];
                }
            }
        }
    }
}

/// The reverse of [`planes_of`].
pub(super) fn elements_of_planes(planes: &[u8], size: usize, elements: &mut [u8]) {
    let n = elements.len() / size;
    match size {
        1 => elements.copy_from_slice(planes),
        2 => together::<2>(planes, elements, n),
        4 => together::<4>(planes, elements, n),
        8 => together::<8>(planes, elements, n),
        size => {
            for (byte, plane) in planes.chunks_exact(n).enumerate() {
                for (element, b) in elements.chunks_exact_mut(size).zip(plane) {
                    element[byte] = *b;
                }
            }
        }
    }
}

/// Elements that are worked on at once: all their planes stay in the nearest cache.
const STRIP_ELEMENTS: usize = 1024;

/// Elements of `SIZE` bytes into `SIZE` planes of `n` bytes. The size is known to the compiler, and a byte is taken out of a number
/// rather than an array, so that many elements go through at once.
fn apart<const SIZE: usize>(
    elements: &[u8],
    planes: &mut [u8],
    n: usize,
    byte_of: impl Fn([u8; SIZE], usize) -> u8,
) {
    for (strip, part) in elements.chunks(STRIP_ELEMENTS * SIZE).enumerate() {
        let (begin, count) = (strip * STRIP_ELEMENTS, part.len() / SIZE);
        for byte in 0..SIZE {
            let plane = &mut planes[byte * n + begin..byte * n + begin + count];
            for (o, element) in plane.iter_mut().zip(part.as_chunks::<SIZE>().0) {
                *o = byte_of(*element, byte);
            }
        }
    }
}

/// The reverse of [`apart`]: neighbouring planes are joined by twos, and so are what comes out, until there are elements. Two
/// streams into one become vectors; a closure for each byte may not.
fn together<const SIZE: usize>(planes: &[u8], elements: &mut [u8], n: usize) {
    let (mut twos, mut fours) = ([0; 8 * STRIP_ELEMENTS], [0; 8 * STRIP_ELEMENTS]);
    for (strip, part) in elements.chunks_mut(STRIP_ELEMENTS * SIZE).enumerate() {
        let (begin, count) = (strip * STRIP_ELEMENTS, part.len() / SIZE);
        let plane = |byte: usize| &planes[byte * n + begin..byte * n + begin + count];
        if SIZE == 2 {
            bytes_by_turns(plane(0), plane(1), part);
            continue;
        }
        for (k, two) in twos[..part.len()].chunks_exact_mut(2 * count).enumerate() {
            bytes_by_turns(plane(2 * k), plane(2 * k + 1), two);
        }
        if SIZE == 4 {
            let (a, b) = twos[..part.len()].split_at(2 * count);
            twos_by_turns(a, b, part);
            continue;
        }
        for (four, two) in
            fours[..part.len()].chunks_exact_mut(4 * count).zip(twos[..part.len()].chunks_exact(4 * count))
        {
            let (a, b) = two.split_at(2 * count);
            twos_by_turns(a, b, four);
        }
        let (a, b) = fours[..part.len()].split_at(4 * count);
        fours_by_turns(a, b, part);
    }
}

/// Bytes, by turns from one and from the other.
fn bytes_by_turns(a: &[u8], b: &[u8], out: &mut [u8]) {
    by_turns(a, b, out, |[a]: [u8; 1], [b]| [a, b]);
}

/// Two bytes, by turns from one and from the other.
fn twos_by_turns(a: &[u8], b: &[u8], out: &mut [u8]) {
    by_turns(a, b, out, |a, b| {
        (u32::from(u16::from_le_bytes(a)) | u32::from(u16::from_le_bytes(b)) << 16).to_le_bytes()
    });
}

/// Four bytes, by turns from one and from the other.
fn fours_by_turns(a: &[u8], b: &[u8], out: &mut [u8]) {
    by_turns(a, b, out, |a, b| {
        (u64::from(u32::from_le_bytes(a)) | u64::from(u32::from_le_bytes(b)) << 32).to_le_bytes()
    });
}

/// Items of two streams into one, as `join` makes one of two. All lengths are known to the compiler, which makes vectors.
#[inline(always)]
fn by_turns<const ONE: usize, const BOTH: usize>(
    a: &[u8],
    b: &[u8],
    out: &mut [u8],
    join: impl Fn([u8; ONE], [u8; ONE]) -> [u8; BOTH],
) {
    let (a, b) = (a.as_chunks().0, b.as_chunks().0);
    for ((to, a), b) in out.as_chunks_mut().0.iter_mut().zip(a).zip(b) {
        *to = join(*a, *b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_taken_apart_and_put_together_as_hdf5_does() {
        for size in 2..=9 {
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
    fn planes_of_bytes_and_the_rest() {
        let s = Shuffle::new(&[4]);
        assert_eq!(s.encode(&[1, 2, 3, 4, 5, 6, 7, 8, 9]).unwrap(), [1, 5, 2, 6, 3, 7, 4, 8, 9]);
    }
}
