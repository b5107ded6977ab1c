//! Fletcher32 (filter 3): a checksum over 16-bit words, behind the data in little-endian order.
//!
//! HDF5's form takes the words big-endian (H5_checksum_fletcher32 in H5checksum.c). Data written by HDF5 before 1.6.3 on
//! little-endian machines has the bytes of each half swapped; both are accepted, as HDF5 does.

use super::FilterCodec;
use h5lake_ledger::buffers;

/// Words that can be added before the sums have to be folded.
const MAX_UNFOLDED_WORDS: usize = 360;

/// The checksum behind the data.
const CHECKSUM_BYTES: usize = 4;

#[derive(Debug)]
pub(super) struct Fletcher32;

pub(super) fn checksum(data: &[u8]) -> u32 {
    let fold = |s: u32| (s & 0xffff) + (s >> 16);
    let (mut a, mut b) = (0u32, 0u32);
    for group in data.chunks(2 * MAX_UNFOLDED_WORDS) {
        for word in group.chunks(2) {
            let low = word.get(1).copied().unwrap_or(0);
            a += u32::from(word[0]) << 8 | u32::from(low);
            b += a;
        }
        (a, b) = (fold(a), fold(b));
    }
    fold(b) << 16 | fold(a)
}

impl FilterCodec for Fletcher32 {
    fn encode(&self, data: &[u8]) -> Option<Vec<u8>> {
        let mut out = buffers::take(data.len() + CHECKSUM_BYTES);
        let (copy, sum) = out.split_last_chunk_mut()?;
        copy.copy_from_slice(data);
        *sum = checksum(data).to_le_bytes();
        Some(out)
    }

    fn decode(&self, data: &[u8], limit: usize) -> std::result::Result<Vec<u8>, String> {
        let data = checked(data)?;
        if data.len() > limit {
            return Err(format!("{} bytes come out, more than {limit}", data.len()));
        }
        let mut out = buffers::take(data.len());
        out.copy_from_slice(data);
        Ok(out)
    }

    fn decode_into(&self, data: &[u8], out: &mut [u8]) -> std::result::Result<(), String> {
        let data = checked(data)?;
        if data.len() != out.len() {
            return Err(format!("{} bytes come out where {} are to be", data.len(), out.len()));
        }
        out.copy_from_slice(data);
        Ok(())
    }

    fn max_encoded_bytes(&self, len: usize) -> usize {
        len.saturating_add(CHECKSUM_BYTES)
    }
}

/// The data before a checksum that is right.
fn checked(data: &[u8]) -> std::result::Result<&[u8], String> {
    let Some((data, sum)) = data.split_last_chunk::<CHECKSUM_BYTES>() else {
        return Err("a chunk is shorter than its checksum".into());
    };
    let (want, [a, b, c, d]) = (checksum(data), *sum);
    if u32::from_le_bytes([a, b, c, d]) != want && u32::from_le_bytes([b, a, d, c]) != want {
        return Err("data error detected by the checksum".into());
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_by_the_definition() {
        assert_eq!(checksum(&[]), 0);
        assert_eq!(checksum(&[0x01, 0x02]), 0x0102_0102);
        // Words 0x0102 and 0x0300: the odd byte is the high half.
        assert_eq!(checksum(&[1, 2, 3]), 0x0504_0402);
        // Sums of 65535 stay so rather than become 0.
        assert_eq!(checksum(&[0xff; 2000]), 0xffff_ffff);
    }
}
