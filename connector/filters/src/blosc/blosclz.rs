//! BloscLZ, the default codec of Blosc: literals and matches, in the format of FastLZ's second level.
//!
//! A control byte below 32 announces one literal more than its value. Any other control byte begins a match: the length
//! less two in its highest 3 bits, where 7 means that bytes to be added follow, up to the first that is not 255; then
//! the distance less one in 13 bits. If all of these are set, the distance less 8192 follows in 2 bytes, big-endian.
//! The first control byte announces literals; its bit 5 marks the format.

/// Maximum number of literals per control byte.
const MAX_LITERALS: usize = 32;
/// Minimum distance that is encoded in the long form.
const FAR: usize = 8192;
/// Minimum distance that cannot be encoded.
const TOO_FAR: usize = FAR + 65535 - 1;
/// Minimum lengths of matches that save bytes, near and far.
const MIN_MATCH: usize = 5;
const MIN_FAR_MATCH: usize = 8;
/// Number of bytes at the end in which no match begins. The very last byte is always a literal, because the decoder of
/// c-blosc requires it.
const TAIL: usize = 12;
/// Number of literals at the end, like in c-blosc.
const LAST_LITERALS: usize = 3;
/// Data with fewer bytes is not encoded.
const MIN_BYTES: usize = 16;
/// Minimum length of the output buffer, like in c-blosc.
const MIN_ROOM: usize = 66;
/// Number of bits of the hash, and thus the size of the table of earlier positions.
const TABLE_BITS: u32 = 14;
/// Number of bytes that are tried before everything is encoded.
const SAMPLE_BYTES: usize = 4096;
/// Minimum compression of the sample at each level, in hundredths, like in c-blosc: otherwise encoding is not worth the
/// time.
const MIN_GAIN: [usize; 10] = [usize::MAX, 200, 150, 120, 120, 120, 120, 115, 110, 100];

/// Earlier positions, by a hash of the four bytes there.
#[derive(Debug)]
pub(super) struct Table(Vec<u32>);

impl Table {
    pub(super) fn new() -> Self {
        Self(vec![0; 1 << TABLE_BITS])
    }
}

fn four(data: &[u8], at: usize) -> u32 {
    data[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn eight(data: &[u8], at: usize) -> u64 {
    data[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Returns how many bytes at `earlier` and at `at` are equal, up to `end`.
fn common(data: &[u8], earlier: usize, at: usize, end: usize) -> usize {
    let mut n = 0;
    while at + n + 8 <= end {
        let other = eight(data, earlier + n) ^ eight(data, at + n);
        if other != 0 {
            return n + other.trailing_zeros() as usize / 8;
        }
        n += 8;
    }
    while at + n < end && data[earlier + n] == data[at + n] {
        n += 1;
    }
    n
}

/// The output. Nothing more is written if it is full.
struct Output<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl Output<'_> {
    fn put<const BYTES: usize>(&mut self, bytes: [u8; BYTES]) -> Option<()> {
        *self.bytes.get_mut(self.len..)?.first_chunk_mut()? = bytes;
        self.len += BYTES;
        Some(())
    }

    fn literals(&mut self, literals: &[u8]) -> Option<()> {
        for run in literals.chunks(MAX_LITERALS) {
            self.put([run.len() as u8 - 1])?;
            self.bytes.get_mut(self.len..self.len + run.len())?.copy_from_slice(run);
            self.len += run.len();
        }
        Some(())
    }

    fn matched(&mut self, len: usize, distance: usize) -> Option<()> {
        let (len, distance) = (len - 2, distance - 1);
        let is_far = distance >= FAR - 1;
        let high = if is_far { 31 } else { (distance >> 8) as u8 };
        self.put([(len.min(7) as u8) << 5 | high])?;
        if len >= 7 {
            let mut more = len - 7;
            while more >= 255 {
                self.put([255])?;
                more -= 255;
            }
            self.put([more as u8])?;
        }
        if !is_far {
            return self.put([distance as u8]);
        }
        let [high, low] = ((distance - (FAR - 1)) as u16).to_be_bytes();
        self.put([255, high, low])
    }
}

/// Encodes to the start of `out`. Returns the length, or `None` if the output would be longer or the level finds that
/// it saves too little.
pub(super) fn encode(data: &[u8], out: &mut [u8], level: usize, table: &mut Table) -> Option<usize> {
    if data.len() < MIN_BYTES || out.len() < MIN_ROOM {
        return None;
    }
    let sample = &data[data.len() - data.len() / 4..];
    let sample = &sample[..sample.len().min(SAMPLE_BYTES)];
    if sample.len() > MIN_BYTES {
        let mut tried = [0; SAMPLE_BYTES + SAMPLE_BYTES / 16];
        let encoded = encode_all(sample, &mut tried, level, table)?;
        if sample.len() * 100 < encoded.saturating_mul(MIN_GAIN[level]) {
            return None;
        }
    }
    encode_all(data, out, level, table)
}

fn encode_all(data: &[u8], out: &mut [u8], level: usize, table: &mut Table) -> Option<usize> {
    let bits = [12, 12, 13].get(level).map_or(TABLE_BITS, |bits| *bits);
    let table = &mut table.0[..1 << bits];
    table.fill(0);
    let hash = |four: u32| (four.wrapping_mul(2_654_435_761) >> (32 - bits)) as usize;
    let mut out = Output { bytes: out, len: 0 };
    // The first bytes are literals, so that position 0 can mean none.
    let (mut at, mut literals) = (4, 0);
    while at + TAIL < data.len() {
        let now = four(data, at);
        let place = &mut table[hash(now)];
        let earlier = std::mem::replace(place, at as u32) as usize;
        let distance = at - earlier;
        if distance >= TOO_FAR || four(data, earlier) != now {
            at += 1;
            continue;
        }
        let len = 4 + common(data, earlier + 4, at + 4, data.len() - LAST_LITERALS);
        if len < if distance < FAR { MIN_MATCH } else { MIN_FAR_MATCH } {
            at += 1;
            continue;
        }
        out.literals(&data[literals..at])?;
        out.matched(len, distance)?;
        at += len;
        literals = at;
        for last in at - 2..at - 1 + usize::from(level == 9) {
            if last + 4 <= data.len() {
                table[hash(four(data, last))] = last as u32;
            }
        }
    }
    out.literals(&data[literals..])?;
    out.bytes[0] |= 1 << 5;
    Some(out.len)
}

/// Decodes to the start of `out`. Returns the length, or `None` if the data is damaged or `out` is too short.
pub(super) fn decode(data: &[u8], out: &mut [u8]) -> Option<usize> {
    let (first, mut input) = data.split_first()?;
    let (mut control, mut at) = (usize::from(first & 31), 0);
    loop {
        if control < 32 {
            let (literals, rest) = input.split_at_checked(control + 1)?;
            let end = at + literals.len();
            // Copies the maximum number of literals, if `out` is long enough; surplus bytes are overwritten.
            match (input.first_chunk::<MAX_LITERALS>(), out.get_mut(at..).and_then(<[u8]>::first_chunk_mut)) {
                (Some(most), Some(output)) => *output = *most,
                _ => out.get_mut(at..end)?.copy_from_slice(literals),
            }
            (at, input) = (end, rest);
        } else {
            let (len, distance) = match_of(control, &mut input)?;
            repeat(out, at, len, distance)?;
            at += len;
        }
        let Some((next, rest)) = input.split_first() else { return Some(at) };
        (control, input) = (usize::from(*next), rest);
    }
}

/// Reads the length and the distance of a match.
fn match_of(control: usize, input: &mut &[u8]) -> Option<(usize, usize)> {
    let mut next = || {
        let (first, rest) = input.split_first()?;
        *input = rest;
        Some(usize::from(*first))
    };
    let (mut len, high) = (control >> 5, control & 31);
    let mut has_more = len == 7;
    while has_more {
        let more = next()?;
        len = len.checked_add(more)?;
        has_more = more == 255;
    }
    let low = next()?;
    let distance = match (high, low) {
        (31, 255) => (next()? << 8 | next()?) + FAR,
        _ => (high << 8 | low) + 1,
    };
    Some((len + 2, distance))
}

/// Copies `len` bytes to `at` that begin `distance` before it; both ranges may overlap.
fn repeat(out: &mut [u8], at: usize, len: usize, distance: usize) -> Option<()> {
    let from = at.checked_sub(distance)?;
    let end = at.checked_add(len).filter(|end| *end <= out.len())?;
    if distance == 1 {
        let byte = out[from];
        out[at..end].fill(byte);
    } else if distance >= 16 && end + 16 <= out.len() {
        // Copies as many bytes at once as do not overlap; surplus bytes after the end are overwritten.
        for n in (0..len).step_by(16) {
            let bytes: [u8; 16] = *out[from + n..].first_chunk()?;
            *out[at + n..].first_chunk_mut()? = bytes;
        }
    } else if distance >= 8 && end + 8 <= out.len() {
        for n in (0..len).step_by(8) {
            let bytes = eight(out, from + n).to_le_bytes();
            *out[at + n..].first_chunk_mut()? = bytes;
        }
    } else {
        for n in 0..len {
            out[at + n] = out[from + n];
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn there_and_back(data: &[u8], level: usize) -> Option<usize> {
        let mut encoded = vec![0; data.len()];
        let n = encode(data, &mut encoded, level, &mut Table::new())?;
        let mut decoded = vec![0; data.len()];
        assert_eq!(decode(&encoded[..n], &mut decoded), Some(data.len()));
        assert!(decoded == data);
        assert_eq!(decode(&encoded[..n], &mut decoded[..data.len() - 1]), None, "there is no space");
        Some(n)
    }

    #[test]
    fn near_and_far_matches_round_trip() {
        let noise: Vec<u8> = (0..20_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for distance in [300, 8190, 8191, 8192, 8193, 8194, 20_000] {
            let mut data = noise[..distance].to_vec();
            for _ in 0..100_000 / distance {
                data.extend_from_within(data.len() - distance..);
            }
            assert!(there_and_back(&data, 9).unwrap() < data.len() / 3, "{distance}");
        }
        for distance in [1, 2, 3, 7, 8, 9, 15, 16, 17] {
            let data: Vec<u8> = noise[..distance].iter().copied().cycle().take(3000).collect();
            assert!(there_and_back(&data, 5).unwrap() < 80, "{distance}");
        }
    }

    #[test]
    fn a_run_ends_as_in_c_blosc() {
        // The stream of c-blosc 1.21 for 10,000 bytes of 1 at level 1.
        let run = [&[0x23, 1, 1, 1, 1, 0xe0][..], &[255; 39], &[0x27, 3, 2, 1, 1, 1]].concat();
        let mut out = [0; 10_000];
        let len = encode(&[1; 10_000], &mut out, 1, &mut Table::new()).unwrap();
        assert_eq!(out[..len], run);
    }

    #[test]
    fn noise_gains_nothing() {
        let mut x = 1u64;
        let noise = (0..50_000).map(|_| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 56) as u8
        });
        let noise: Vec<u8> = noise.collect();
        for level in 1..10 {
            assert_eq!(there_and_back(&noise, level), None);
        }
    }

    proptest! {
        #[test]
        fn decode_undoes_encode(words in prop::collection::vec(0u16..200, 0..3000), level in 1usize..10) {
            let data: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            there_and_back(&data, level);
        }

        #[test]
        fn damage_ends(data in prop::collection::vec(any::<u8>(), 0..400), length in 0usize..2000) {
            decode(&data, &mut vec![0; length]);
        }
    }
}
