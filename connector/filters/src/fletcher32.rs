//! Fletcher32 (filter 3): a checksum over 16-bit words, after the data in little-endian order.
//!
//! HDF5's form takes the words big-endian (H5_checksum_fletcher32 in H5checksum.c). Data written by HDF5 before 1.6.3
//! on little-endian machines has the bytes of each half swapped; both forms are accepted, like in HDF5.

use super::FilterCodec;
use h5lake_ledger::buffers;

/// Number of words that can be added before the sums have to be folded.
const MAX_UNFOLDED_WORDS: usize = 360;
const GROUP_BYTES: usize = 2 * MAX_UNFOLDED_WORDS;
/// Number of words that are added in parallel. It divides the number of words in a group, so that no word remains.
const LANES: usize = 8;
const ROW_BYTES: usize = 2 * LANES;

/// Bytes of the checksum after the data.
const CHECKSUM_BYTES: usize = 4;

#[derive(Debug)]
pub(super) struct Fletcher32;

pub(super) fn checksum(data: &[u8]) -> u32 {
    let fold = |s: u32| (s & 0xffff) + (s >> 16);
    let (mut a, mut b) = (0u32, 0u32);
    let (groups, rest) = data.as_chunks::<GROUP_BYTES>();
    for group in groups {
        let (sum, weighted) = group_sums(group);
        b = b.wrapping_add(a.wrapping_mul(MAX_UNFOLDED_WORDS as u32)).wrapping_add(weighted);
        a += sum;
        (a, b) = (fold(a), fold(b));
    }
    if !rest.is_empty() {
        for word in rest.chunks(2) {
            let low = word.get(1).copied().unwrap_or(0);
            a += u32::from(word[0]) << 8 | u32::from(low);
            b += a;
        }
        (a, b) = (fold(a), fold(b));
    }
    fold(b) << 16 | fold(a)
}

/// Returns the sum of a group's words, and the sum of their running sums. Each lane has its own sums, so that no word
/// waits for the one before it, and the compiler can vectorize the loop.
fn group_sums(group: &[u8; GROUP_BYTES]) -> (u32, u32) {
    let (mut sums, mut running) = ([0u32; LANES], [0u32; LANES]);
    for row in group.as_chunks::<ROW_BYTES>().0 {
        for (lane, word) in row.as_chunks::<2>().0.iter().enumerate() {
            sums[lane] += u32::from(u16::from_be_bytes(*word));
            running[lane] += sums[lane];
        }
    }
    // Word `lane` of a row counts once for each word from it to the end: LANES times for each row from its own on,
    // minus the `lane` words before it. The parts may exceed 32 bits; their sum does not.
    let weighted = running.iter().zip(&sums).zip(0u32..).fold(0u32, |all, ((running, sum), lane)| {
        all.wrapping_add(running.wrapping_mul(LANES as u32)).wrapping_sub(lane * sum)
    });
    (sums.iter().sum(), weighted)
}

impl FilterCodec for Fletcher32 {
    fn encode(&self, data: &[u8]) -> Option<Vec<u8>> {
        let mut out = buffers::try_take(data.len() + CHECKSUM_BYTES)?;
        let (copy, sum) = out.split_last_chunk_mut()?;
        copy.copy_from_slice(data);
        *sum = checksum(data).to_le_bytes();
        Some(out)
    }

    fn decoded_len(&self, data: &[u8]) -> std::result::Result<Option<usize>, String> {
        let len = data.len().checked_sub(CHECKSUM_BYTES);
        len.map(Some).ok_or_else(|| "a chunk is shorter than its checksum".into())
    }

    fn decode_into(&self, data: &[u8], out: &mut [u8]) -> std::result::Result<Option<usize>, String> {
        out.copy_from_slice(checked(data)?);
        Ok(Some(out.len()))
    }

    fn max_encoded_bytes(&self, len: usize) -> usize {
        len.saturating_add(CHECKSUM_BYTES)
    }
}

/// Returns the data before the checksum, if the checksum matches.
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
        // Sums of 65535 stay unchanged and do not become 0.
        assert_eq!(checksum(&[0xff; 2000]), 0xffff_ffff);
    }

    /// Computes the checksum word by word, with sums that never overflow, as a reference for the lanes.
    fn by_words(data: &[u8]) -> u32 {
        let (mut a, mut b) = (0u64, 0u64);
        for word in data.chunks(2) {
            a += u64::from(word[0]) << 8 | u64::from(word.get(1).copied().unwrap_or(0));
            b += a;
        }
        // Like folding, this returns 0 only if all words are zeros.
        let half = |s: u64| if s == 0 { 0 } else { ((s - 1) % 0xffff + 1) as u32 };
        half(b) << 16 | half(a)
    }

    #[test]
    fn lanes_sum_as_single_words_do() {
        let mut state = 1u32;
        let mut byte = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let mixed: Vec<u8> = (0..5000).map(&mut byte).collect();
        for len in [0, 1, 2, 15, 16, 17, 719, 720, 721, 722, 1440, 1441, 4321, 5000] {
            assert_eq!(checksum(&mixed[..len]), by_words(&mixed[..len]), "{len} bytes");
            assert_eq!(checksum(&vec![0xff; len]), by_words(&vec![0xff; len]), "{len} bytes of ones");
            assert_eq!(checksum(&vec![0; len]), 0);
        }
    }
}
