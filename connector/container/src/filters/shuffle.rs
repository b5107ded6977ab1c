//! Shuffle (filter 2): first all first bytes of the elements, then all second ones, and so on; what is left over
//! of an element stays at the end.

use super::Codec;

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

impl Codec for Shuffle {
    fn encode(&self, data: &[u8]) -> Option<Vec<u8>> {
        if self.size == 0 {
            return None;
        }
        let mut out = data.to_vec();
        if let Some(n) = self.whole(data.len()) {
            for (byte, plane) in out[..n * self.size].chunks_exact_mut(n).enumerate() {
                for (o, element) in plane.iter_mut().zip(data.chunks_exact(self.size)) {
                    *o = element[byte];
                }
            }
        }
        Some(out)
    }

    fn decode(&self, data: &[u8], _hint: usize) -> std::result::Result<Vec<u8>, String> {
        if self.size == 0 {
            return Err("invalid shuffle parameters".into());
        }
        let mut out = data.to_vec();
        if let Some(n) = self.whole(data.len()) {
            for (byte, plane) in data[..n * self.size].chunks_exact(n).enumerate() {
                for (element, b) in out.chunks_exact_mut(self.size).zip(plane) {
                    element[byte] = *b;
                }
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_of_bytes_and_the_rest() {
        let s = Shuffle::new(&[4]);
        assert_eq!(s.encode(&[1, 2, 3, 4, 5, 6, 7, 8, 9]).unwrap(), [1, 5, 2, 6, 3, 7, 4, 8, 9]);
    }
}
