//! LZF (filter 32000, h5py's): literal runs and back references, as LibLZF defines them.
//!
//! A control byte below 32 is followed by that many literals and one more. Any other begins a reference: its upper
//! three bits are the length less 2, where 7 says that the next byte is to be added; its lower five are the high bits of the
//! distance less 1, and the next byte the low ones.

use super::FilterCodec;
use h5lake_ledger::buffers;

const HASH_BITS: u32 = 14;
/// The farthest reference.
const MAX_DISTANCE: usize = 1 << 13;
/// The longest reference: 2 + 7 + 255.
const MAX_REFERENCE: usize = 264;
/// The longest run of literals.
const MAX_LITERALS: usize = 32;

#[derive(Debug)]
pub(super) struct Lzf;

impl FilterCodec for Lzf {
    /// As LibLZF, gives up on what does not get smaller.
    fn encode(&self, data: &[u8]) -> Option<Vec<u8>> {
        let mut table = vec![usize::MAX; 1 << HASH_BITS];
        let mut out = Vec::with_capacity(data.len());
        let (mut at, mut literal) = (0, 0);
        while at + 2 < data.len() {
            let three = u32::from_le_bytes([data[at], data[at + 1], data[at + 2], 0]);
            let slot = (three.wrapping_mul(0x9E37_79B1) >> (32 - HASH_BITS)) as usize;
            let seen = std::mem::replace(&mut table[slot], at);
            if seen >= at || at - seen > MAX_DISTANCE || data[seen..seen + 3] != data[at..at + 3] {
                at += 1;
                continue;
            }
            let most = MAX_REFERENCE.min(data.len() - at);
            let len = 3 + (3..most).take_while(|&i| data[seen + i] == data[at + i]).count();
            literals(&data[literal..at], &mut out);
            reference(len, at - seen, &mut out);
            at += len;
            literal = at;
        }
        literals(&data[literal..], &mut out);
        (out.len() < data.len()).then_some(out)
    }

    fn decode(&self, data: &[u8], limit: usize) -> std::result::Result<Vec<u8>, String> {
        let mut out = buffers::take(limit);
        let n = decode(data, &mut out)?;
        out.truncate(n);
        Ok(out)
    }

    fn decode_into(&self, data: &[u8], out: &mut [u8]) -> std::result::Result<(), String> {
        match decode(data, out)? {
            n if n == out.len() => Ok(()),
            n => Err(format!("{n} bytes come out where {} are to be", out.len())),
        }
    }
}

/// Decodes to the start of `out`: the decoded length.
fn decode(data: &[u8], out: &mut [u8]) -> std::result::Result<usize, String> {
    let cut = || "damaged data: cut short".to_owned();
    let long = || "damaged data: it gets too long".to_owned();
    let (mut input, mut at) = (data, 0);
    while let Some(control) = next(&mut input) {
        if control < 32 {
            let n = usize::from(control) + 1;
            let (run, rest) = input.split_at_checked(n).ok_or_else(cut)?;
            out.get_mut(at..at + n).ok_or_else(long)?.copy_from_slice(run);
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
        let known = out.get_mut(from..at + len).ok_or_else(long)?;
        // The source may overlap what is being made: then it is copied as often as it fits, twice as much each time.
        let mut done = far + 1;
        while done < known.len() {
            let n = done.min(known.len() - done);
            known.copy_within(..n, done);
            done += n;
        }
        at += len;
    }
    Ok(at)
}

fn next(input: &mut &[u8]) -> Option<u8> {
    let (first, rest) = input.split_first()?;
    *input = rest;
    Some(*first)
}

fn literals(data: &[u8], out: &mut Vec<u8>) {
    for run in data.chunks(MAX_LITERALS) {
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
}

fn reference(len: usize, distance: usize, out: &mut Vec<u8>) {
    let (len, far) = (len - 2, distance - 1);
    out.push((len.min(7) as u8) << 5 | (far >> 8) as u8);
    if len >= 7 {
        out.push((len - 7) as u8);
    }
    out.push(far as u8);
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
    fn noise_is_left_alone_and_zeros_get_small() {
        let noise: Vec<u8> = (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 21) as u8).collect();
        if let Some(encoded) = Lzf.encode(&noise) {
            assert_eq!(Lzf.decode(&encoded, 5000).unwrap(), noise);
        }
        assert!(Lzf.encode(&[0; 10_000]).unwrap().len() < 150);
        assert_eq!(Lzf.encode(&[1, 2, 3, 4]), None);
    }
}
