//! LZF (filter 32000, h5py's): literal runs and back references, as LibLZF defines them.
//!
//! A control byte below 32 is followed by that many literals plus one. Any other control byte begins a reference: its
//! upper three bits are the length less 2, where 7 means that the next byte is to be added; its lower five are the high
//! bits of the distance less 1, and the next byte the low ones.

use super::FilterCodec;
use h5lake_ledger::buffers;

const HASH_BITS: u32 = 14;
/// The maximum distance of a reference.
const MAX_DISTANCE: usize = 1 << 13;
/// The maximum length of a reference: 2 + 7 + 255.
const MAX_REFERENCE: usize = 264;
/// The maximum length of a run of literals.
const MAX_LITERALS: usize = 32;
/// After 2 to this power positions without a reference the search skips one position more, like that of LZ4, so that
/// data without repetitions takes little time.
const PATIENCE: u32 = 6;
/// The maximum number of positions that the search skips. A reference is found late by up to as many bytes.
const MAX_STEP: usize = 31;

#[derive(Debug)]
pub(super) struct Lzf;

impl FilterCodec for Lzf {
    /// Encodes data; `None` if it does not become shorter, like LibLZF.
    fn encode(&self, data: &[u8]) -> Option<Vec<u8>> {
        // The table's positions have 32 bits; HDF5's chunks are below 4 GiB.
        u32::try_from(data.len()).ok()?;
        let mut seen = Seen::default();
        let mut out = Encoded { bytes: buffers::try_take(data.len())?, at: 0 };
        let (mut at, mut literal, mut misses) = (0, 0, 0);
        while let Some(three) = three_at(data, at) {
            let from = seen.replace(three, at);
            if at.wrapping_sub(from) > MAX_DISTANCE || three_at(data, from) != Some(three) {
                misses += 1;
                at += 1 + (misses >> PATIENCE).min(MAX_STEP);
                continue;
            }
            out.literals(data, literal, at)?;
            let len = 3 + equal(data, from + 3, at + 3);
            out.reference(len, at - from)?;
            at += len;
            // The following data often repeats the end of the match.
            for inside in at - 2..at {
                if let Some(three) = three_at(data, inside) {
                    seen.replace(three, inside);
                }
            }
            (literal, misses) = (at, 0);
        }
        out.literals(data, literal, data.len())?;
        out.finished()
    }

    fn decoded_len(&self, _: &[u8]) -> std::result::Result<Option<usize>, String> {
        Ok(None)
    }

    fn decode_into(&self, data: &[u8], out: &mut [u8]) -> std::result::Result<Option<usize>, String> {
        decode(data, out)
    }
}

/// The last position of each hash of three bytes.
struct Seen(Box<[u32; 1 << HASH_BITS]>);

impl Default for Seen {
    /// The table holds positions plus one. Zero means no position, because new memory is zero at no cost.
    fn default() -> Seen {
        Seen(Box::new([0; 1 << HASH_BITS]))
    }
}

impl Seen {
    /// Stores the position `at`, which is below 2^32 - 1, for `three`, and returns the previous position with the same
    /// hash, or a position beyond all data.
    fn replace(&mut self, three: u32, at: usize) -> usize {
        let slot = (three.wrapping_mul(0x9E37_79B1) >> (32 - HASH_BITS)) as usize;
        let before = std::mem::replace(&mut self.0[slot], at as u32 + 1);
        (before as usize).wrapping_sub(1)
    }
}

/// Returns the three bytes at `at`. The last three bytes of the data are not available, because four bytes are read.
fn three_at(data: &[u8], at: usize) -> Option<u32> {
    let four = data.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*four) & 0x00FF_FFFF)
}

/// Returns how many bytes from `from` equal those from `at`, which is after it: at most the length of a reference
/// beyond three. Compares eight bytes at a time.
fn equal(data: &[u8], mut from: usize, mut at: usize) -> usize {
    let begin = at;
    let end = data.len().min(at + MAX_REFERENCE - 3);
    while at + 8 <= end {
        let differ = word(data, from) ^ word(data, at);
        if differ != 0 {
            return at - begin + (differ.trailing_zeros() / 8) as usize;
        }
        (from, at) = (from + 8, at + 8);
    }
    while at < end && data[from] == data[at] {
        (from, at) = (from + 1, at + 1);
    }
    at - begin
}

/// Returns eight bytes as a little-endian number.
fn word(data: &[u8], at: usize) -> u64 {
    data[at..].first_chunk().map_or(0, |&eight| u64::from_le_bytes(eight))
}

/// An encoded chunk, limited to the length of the data. If the limit is reached, nothing is gained, and each function
/// returns `None`.
struct Encoded {
    bytes: Vec<u8>,
    /// Number of bytes written so far.
    at: usize,
}

impl Encoded {
    /// Appends the bytes of `data` from `begin` to `end` as literals.
    fn literals(&mut self, data: &[u8], mut begin: usize, end: usize) -> Option<()> {
        while begin < end {
            let run = (end - begin).min(MAX_LITERALS);
            let (control, output) = self.bytes.get_mut(self.at..)?.split_first_mut()?;
            *control = run as u8 - 1;
            // A copy of constant length takes two instructions; surplus bytes are overwritten.
            match (output.first_chunk_mut::<MAX_LITERALS>(), data[begin..].first_chunk::<MAX_LITERALS>()) {
                (Some(output), Some(from)) => *output = *from,
                _ => output.get_mut(..run)?.copy_from_slice(&data[begin..begin + run]),
            }
            self.at += 1 + run;
            begin += run;
        }
        Some(())
    }

    fn reference(&mut self, len: usize, distance: usize) -> Option<()> {
        let (len, far) = (len - 2, distance - 1);
        let high = (far >> 8) as u8;
        if len < 7 {
            *self.next()? = [(len as u8) << 5 | high, far as u8];
        } else {
            *self.next()? = [7 << 5 | high, (len - 7) as u8, far as u8];
        }
        Some(())
    }

    /// Returns the next bytes of the output, which count as written.
    fn next<const N: usize>(&mut self) -> Option<&mut [u8; N]> {
        let next = self.bytes.get_mut(self.at..)?.first_chunk_mut()?;
        self.at += N;
        Some(next)
    }

    fn finished(mut self) -> Option<Vec<u8>> {
        (self.at < self.bytes.len()).then(|| {
            self.bytes.truncate(self.at);
            self.bytes
        })
    }
}

/// Decodes to the start of `out`. Returns the decoded length, or `None` if `out` is too short.
fn decode(data: &[u8], out: &mut [u8]) -> std::result::Result<Option<usize>, String> {
    let cut = || "damaged data: cut short".to_owned();
    let (mut input, mut at) = (data, 0);
    while let Some(control) = next(&mut input) {
        if control < 32 {
            let n = usize::from(control) + 1;
            let (run, rest) = input.split_at_checked(n).ok_or_else(cut)?;
            match (out.get_mut(at..).and_then(<[u8]>::first_chunk_mut), input.first_chunk::<MAX_LITERALS>()) {
                (Some(output), Some(from)) => *output = *from,
                _ => match out.get_mut(at..at + n) {
                    Some(output) => output.copy_from_slice(run),
                    None => return Ok(None),
                },
            }
            input = rest;
            at += n;
            continue;
        }
        let mut len = usize::from(control >> 5) + 2;
        if len == 7 + 2 {
            len += usize::from(next(&mut input).ok_or_else(cut)?);
        }
        let far = usize::from(control & 31) << 8 | usize::from(next(&mut input).ok_or_else(cut)?);
        let from = at.checked_sub(far + 1).ok_or("damaged data: a reference before the start")?;
        let Some(()) = out.get_mut(from..).and_then(|output| repeat(output, far + 1, len)) else {
            return Ok(None);
        };
        at += len;
    }
    Ok(Some(at))
}

/// Maximum length of most references, and minimum distance for copying them at once.
const SHORT: usize = 16;

/// Writes `len` bytes to `out` from `distance` on, as copies of the bytes `distance` before. Returns `None` if `out` is
/// too short.
fn repeat(out: &mut [u8], distance: usize, len: usize) -> Option<()> {
    if distance >= SHORT && len <= SHORT {
        // A copy of constant length takes two instructions; surplus bytes are overwritten or truncated.
        let (known, output) = out.split_at_mut_checked(distance)?;
        if let (Some(from), Some(output)) = (known.first_chunk::<SHORT>(), output.first_chunk_mut()) {
            *output = *from;
            return Some(());
        }
    }
    let out = out.get_mut(..distance + len)?;
    // The source may overlap the destination: then the copied part is doubled in each step.
    let mut done = distance;
    while done < out.len() {
        let n = done.min(out.len() - done);
        out.copy_within(..n, done);
        done += n;
    }
    Some(())
}

fn next(input: &mut &[u8]) -> Option<u8> {
    let (first, rest) = input.split_first()?;
    *input = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stream_by_the_definition() {
        // Three literals, then 9 bytes from 3 before; then 2 + 7 + 1 from 1 before.
        let stream = [2, b'a', b'b', b'c', 7 << 5, 0, 2, 7 << 5, 1, 0];
        assert_eq!(Lzf.decode(&stream, 22).unwrap(), b"abcabcabcabccccccccccc".as_slice()[..22]);
        assert!(Lzf.decode(&[2, 1], 9).is_err());
        assert!(Lzf.decode(&[32, 0], 9).is_err());
    }

    proptest! {
        #[test]
        fn decode_undoes_encode(parts in prop::collection::vec((prop::collection::vec(0u8..4, 1..40), 1usize..300), 0..20)) {
            let data: Vec<u8> = parts.iter().flat_map(|(p, n)| p.iter().copied().cycle().take(*n)).collect();
            if let Some(encoded) = Lzf.encode(&data) {
                prop_assert!(encoded.len() < data.len());
                prop_assert_eq!(Lzf.decode(&encoded, data.len()).unwrap(), data);
            } else {
                prop_assert!(data.len() < 5000);
            }
        }

        #[test]
        fn damage_does_not_panic(data in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(out) = Lzf.decode(&data, 10) {
                prop_assert!(out.len() <= 10);
            }
        }
    }

    #[test]
    fn noise_is_not_encoded_and_zeros_shrink() {
        let noise: Vec<u8> = (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 21) as u8).collect();
        if let Some(encoded) = Lzf.encode(&noise) {
            assert_eq!(Lzf.decode(&encoded, 5000).unwrap(), noise);
        }
        assert!(Lzf.encode(&[0; 10_000]).unwrap().len() < 150);
        assert_eq!(Lzf.encode(&[1, 2, 3, 4]), None);
    }
}
