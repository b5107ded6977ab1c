//! Bzip2 (filter 307): one stream, made with the first client value as its block size in units of 100,000 bytes.

use super::FilterCodec;
use bzip2::{Action, Compress, Compression, Decompress, Status};
use h5lake_ledger::buffers;

/// The filter's default block size.
const DEFAULT_BLOCK: u32 = 9;

#[derive(Debug)]
pub(super) struct Bzip2 {
    /// The block size; `None` for an invalid one, with which nothing can be encoded (`bzip2_deflate` in H5Zbzip2.c).
    block: Option<u32>,
}

impl Bzip2 {
    pub(super) fn new(client_data: &[u32]) -> Self {
        let given = client_data.first().copied().unwrap_or(DEFAULT_BLOCK);
        Self { block: (1..=9).contains(&given).then_some(given) }
    }
}

/// Decodes to `out` and returns the decoded length; `None` if `out` is too short.
fn decode(data: &[u8], out: &mut [u8]) -> Result<Option<usize>, String> {
    let mut stream = Decompress::new(false);
    let position = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
    loop {
        let (read, written) = (position(stream.total_in()), position(stream.total_out()));
        let (input, output) =
            (data.get(read..).unwrap_or_default(), out.get_mut(written..).unwrap_or_default());
        let status = stream.decompress(input, output).map_err(|e| format!("damaged data: {e}"))?;
        if status == Status::StreamEnd {
            return Ok(Some(position(stream.total_out())));
        }
        if (position(stream.total_in()), position(stream.total_out())) == (read, written) {
            return match written == out.len() {
                true => Ok(None),
                false => Err("damaged data: cut short".into()),
            };
        }
    }
}

impl FilterCodec for Bzip2 {
    fn encode(&self, data: &[u8]) -> Option<Vec<u8>> {
        // The maximum encoded length, according to the manual of bzip2.
        let mut out = buffers::try_take(data.len() + data.len() / 100 + 600)?;
        let mut stream = Compress::new(Compression::new(self.block?), 0);
        let status = stream.compress(data, &mut out, Action::Finish).ok()?;
        out.truncate(usize::try_from(stream.total_out()).ok()?);
        (status == Status::StreamEnd).then_some(out)
    }

    fn decoded_len(&self, _: &[u8]) -> Result<Option<usize>, String> {
        Ok(None)
    }

    fn decode_into(&self, data: &[u8], out: &mut [u8]) -> Result<Option<usize>, String> {
        decode(data, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_size_that_does_not_exist_encodes_nothing_and_decodes() {
        let encoded = Bzip2::new(&[]).encode(&[7; 1000]).unwrap();
        for block in [0, 10, u32::MAX] {
            assert_eq!(Bzip2::new(&[block]).encode(&[7; 1000]), None);
            assert_eq!(Bzip2::new(&[block]).decode(&encoded, 1000).unwrap(), [7; 1000]);
        }
    }

    #[test]
    fn the_end_is_needed_and_the_limit_kept() {
        let encoded = Bzip2::new(&[1]).encode(&[7; 1000]).unwrap();
        assert!(Bzip2::new(&[]).decode(&encoded, 999).unwrap_err().contains("more than"));
        for cut in 0..encoded.len() {
            assert!(Bzip2::new(&[]).decode(&encoded[..cut], 1000).is_err());
        }
    }
}
