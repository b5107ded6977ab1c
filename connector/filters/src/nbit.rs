//! N-bit (filter 5): stores only the significant bits of each number, the highest first, as HDF5 defines it in
//! H5Znbit.c.
//!
//! The client data, which `set_local` derives from the datatype, are their own count, whether the filter does nothing,
//! the elements of the chunk, and the type. A type begins with its class and its size in bytes. A number (1) continues
//! with its byte order, the count of its bits and that of the bits below them; an array (2) with its base type; a
//! compound (3) with the count of its members, and each member's offset and type. For any other class (4) all bytes are
//! stored.

use super::FilterCodec;
use super::bits::{BitReader, BitWriter, bytes_of};
use h5lake_ledger::buffers;
use h5lake_records::memory::copied;

/// Maximum number of client data that the filter creates (`H5Z_NBIT_MAX_NPARMS`).
const MAX_PARAMETERS: usize = 4096;
/// Maximum depth of nested types.
const MAX_DEPTH: usize = 200;

/// The significant bits of an element.
#[derive(Debug)]
enum Type {
    Number {
        size: usize,
        big_endian: bool,
        bits: u32,
        offset: u32,
    },
    Array {
        base: Box<Type>,
        base_size: usize,
        count: usize,
    },
    /// Members and their offsets.
    Compound(Vec<(usize, Type)>),
    Bytes(usize),
}

#[derive(Debug)]
enum Parameters {
    /// Elements have no insignificant bits.
    Nothing,
    Elements {
        count: usize,
        size: usize,
        of: Type,
    },
}

#[derive(Debug)]
pub(super) struct NBit {
    /// The parameters; `None` if the filter did not set them.
    parameters: Option<Parameters>,
}

impl NBit {
    pub(super) fn new(client_data: &[u32]) -> Self {
        Self { parameters: parameters(client_data) }
    }

    fn parameters(&self) -> Result<&Parameters, String> {
        self.parameters.as_ref().ok_or_else(|| "invalid nbit parameters".into())
    }
}

fn parameters(values: &[u32]) -> Option<Parameters> {
    if values.len() > MAX_PARAMETERS || usize::try_from(*values.first()?).ok()? != values.len() {
        return None;
    }
    let [_, nothing, count, rest @ ..] = values else { return None };
    if *nothing != 0 {
        return Some(Parameters::Nothing);
    }
    let mut rest = rest;
    let (of, size) = Type::parse(&mut rest, MAX_DEPTH)?;
    Some(Parameters::Elements { count: usize::try_from(*count).ok()?, size, of })
}

/// Removes a value from the client data, and returns it.
fn next(values: &mut &[u32]) -> Option<usize> {
    let (first, rest) = values.split_first()?;
    *values = rest;
    usize::try_from(*first).ok()
}

impl Type {
    /// Removes a type from the client data, and returns it with its size. Its members are within that many bytes, and
    /// do not overlap.
    fn parse(values: &mut &[u32], depth: usize) -> Option<(Self, usize)> {
        let (class, size) = (next(values)?, next(values).filter(|size| *size > 0)?);
        let depth = depth.checked_sub(1)?;
        let parsed = match class {
            1 => Self::parse_number(values, size)?,
            2 => match Self::parse(values, depth)? {
                // HDF5 treats the whole array as bytes.
                (Self::Bytes(_), _) => Self::Bytes(size),
                (base, base_size) => Self::Array { base: base.into(), base_size, count: size / base_size },
            },
            3 => Self::parse_compound(values, size, depth)?,
            4 => Self::Bytes(size),
            _ => return None,
        };
        Some((parsed, size))
    }

    fn parse_number(values: &mut &[u32], size: usize) -> Option<Self> {
        let (order, bits, offset) = (next(values)?, next(values)?, next(values)?);
        let fits = bits > 0 && bits.checked_add(offset)? <= size.checked_mul(8)?;
        let (bits, offset) = (u32::try_from(bits).ok()?, u32::try_from(offset).ok()?);
        fits.then_some(Self::Number { size, big_endian: order == 1, bits, offset })
    }

    fn parse_compound(values: &mut &[u32], size: usize, depth: usize) -> Option<Self> {
        let count = next(values)?;
        let (mut members, mut used) = (Vec::new(), 0_usize);
        for _ in 0..count {
            let offset = next(values)?;
            let (member, bytes) = Self::parse(values, depth)?;
            used = used.checked_add(bytes).filter(|used| *used <= size)?;
            offset.checked_add(bytes).filter(|end| *end <= size)?;
            members.push((offset, member));
        }
        Some(Self::Compound(members))
    }

    /// Returns the number of stored bits; `None` if it overflows.
    fn bits(&self) -> Option<usize> {
        match self {
            Self::Number { bits, .. } => usize::try_from(*bits).ok(),
            Self::Array { base, count, .. } => base.bits()?.checked_mul(*count),
            Self::Compound(members) => {
                members.iter().try_fold(0_usize, |bits, (_, member)| bits.checked_add(member.bits()?))
            }
            Self::Bytes(size) => size.checked_mul(8),
        }
    }

    fn encode(&self, element: &[u8], writer: &mut BitWriter<'_>) {
        match self {
            Self::Number { size, big_endian, bits, offset } if *size <= 8 => {
                writer.push(load(&element[..*size], *big_endian) >> offset, *bits);
            }
            Self::Number { size, big_endian, bits, offset } => {
                let byte = |n| element[if *big_endian { size - 1 - n } else { n }];
                pieces(*bits, *offset, |n, low, bits| writer.push(u64::from(byte(n)) >> low, bits));
            }
            Self::Array { base, base_size, count } => {
                element.chunks_exact(*base_size).take(*count).for_each(|e| base.encode(e, writer));
            }
            Self::Compound(members) => {
                members.iter().for_each(|(offset, member)| member.encode(&element[*offset..], writer));
            }
            Self::Bytes(size) => {
                let (words, rest) = element[..*size].as_chunks::<8>();
                words.iter().for_each(|word| writer.push(u64::from_be_bytes(*word), 64));
                rest.iter().for_each(|byte| writer.push(u64::from(*byte), 8));
            }
        }
    }

    /// Decodes into zeros.
    fn decode(&self, reader: &mut BitReader<'_>, element: &mut [u8]) {
        match self {
            Self::Number { size, big_endian, bits, offset } if *size <= 8 => {
                store(reader.take(*bits) << offset, &mut element[..*size], *big_endian);
            }
            Self::Number { size, big_endian, bits, offset } => pieces(*bits, *offset, |n, low, bits| {
                element[if *big_endian { size - 1 - n } else { n }] |= (reader.take(bits) as u8) << low;
            }),
            Self::Array { base, base_size, count } => {
                element.chunks_exact_mut(*base_size).take(*count).for_each(|e| base.decode(reader, e));
            }
            Self::Compound(members) => {
                members.iter().for_each(|(offset, member)| member.decode(reader, &mut element[*offset..]));
            }
            Self::Bytes(size) => {
                let (words, rest) = element[..*size].as_chunks_mut::<8>();
                words.iter_mut().for_each(|word| *word = reader.take(64).to_be_bytes());
                rest.iter_mut().for_each(|to| *to = reader.take(8) as u8);
            }
        }
    }
}

/// Returns a number of at most 8 bytes.
#[inline]
fn load(bytes: &[u8], big_endian: bool) -> u64 {
    match (bytes, big_endian) {
        ([a], _) => u64::from(*a),
        (&[a, b], false) => u64::from(u16::from_le_bytes([a, b])),
        (&[a, b, c, d], false) => u64::from(u32::from_le_bytes([a, b, c, d])),
        (&[a, b, c, d, e, f, g, h], false) => u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        (bytes, true) => bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)),
        (bytes, false) => bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)),
    }
}

/// Reverses [`load`].
#[inline]
fn store(number: u64, bytes: &mut [u8], big_endian: bool) {
    let all = number.to_le_bytes();
    match (bytes, big_endian) {
        ([a], _) => *a = all[0],
        ([a, b], false) => [*a, *b, ..] = all,
        ([a, b, c, d], false) => [*a, *b, *c, *d, ..] = all,
        ([a, b, c, d, e, f, g, h], false) => [*a, *b, *c, *d, *e, *f, *g, *h] = all,
        (bytes, true) => bytes.iter_mut().rev().zip(all).for_each(|(to, byte)| *to = byte),
        (bytes, false) => bytes.iter_mut().zip(all).for_each(|(to, byte)| *to = byte),
    }
}

/// Splits the bits of a number by byte, the highest first: the byte, counted from the lowest, its lowest significant
/// bit, and the number of significant bits.
fn pieces(bits: u32, offset: u32, mut piece: impl FnMut(usize, u32, u32)) {
    let end = offset + bits;
    for byte in (offset / 8..end.div_ceil(8)).rev() {
        let (low, high) = (offset.max(8 * byte), end.min(8 * byte + 8));
        piece(byte as usize, low - 8 * byte, high - low);
    }
}

/// Returns the bytes of a decoded chunk, and the bits of an encoded one.
fn lengths(count: usize, size: usize, of: &Type) -> Option<(usize, usize)> {
    Some((count.checked_mul(size)?, count.checked_mul(of.bits()?)?))
}

fn decode(data: &[u8], count: usize, size: usize, of: &Type, out: &mut [u8]) -> Result<(), String> {
    let (len, bits) = lengths(count, size, of).ok_or("invalid nbit parameters")?;
    if len != out.len() {
        return Err(format!("{len} bytes come out where {} are to be", out.len()));
    }
    let data = data.get(..bits.div_ceil(8)).ok_or("damaged data: cut short")?;
    out.fill(0);
    let mut reader = BitReader::new(data);
    out.chunks_exact_mut(size).for_each(|element| of.decode(&mut reader, element));
    Ok(())
}

impl FilterCodec for NBit {
    fn encode(&self, data: &[u8]) -> Option<Vec<u8>> {
        let Parameters::Elements { count, size, of } = self.parameters.as_ref()? else {
            return copied(data).ok();
        };
        let (len, bits) = lengths(*count, *size, of)?;
        if len != data.len() {
            return None;
        }
        let mut out = buffers::try_take(bytes_of(bits))?;
        let mut writer = BitWriter::new(&mut out);
        data.chunks_exact(*size).for_each(|element| of.encode(element, &mut writer));
        writer.finish();
        Some(out)
    }

    fn decoded_len(&self, data: &[u8]) -> Result<Option<usize>, String> {
        let len = match self.parameters()? {
            Parameters::Nothing => Some(data.len()),
            Parameters::Elements { count, size, .. } => count.checked_mul(*size),
        };
        len.map(Some).ok_or_else(|| "invalid nbit parameters".into())
    }

    fn decode_into(&self, data: &[u8], out: &mut [u8]) -> Result<Option<usize>, String> {
        match self.parameters()? {
            Parameters::Elements { count, size, of } => decode(data, *count, *size, of, out)?,
            Parameters::Nothing => out.copy_from_slice(data),
        }
        Ok(Some(out.len()))
    }

    /// Insignificant bits may be set, and are lost.
    fn may_lose(&self) -> bool {
        matches!(self.parameters, Some(Parameters::Elements { .. }))
    }

    fn max_encoded_bytes(&self, len: usize) -> usize {
        len.saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(of: &[u32], count: u32) -> NBit {
        NBit::new(&[&[of.len() as u32 + 3, 0, count], of].concat())
    }

    #[test]
    fn numbers_by_the_definition() {
        // The significant bits are bits 5 to 9 of two bytes.
        let little = filter(&[1, 2, 0, 5, 5], 3);
        let elements = [0x1f_u16 << 5, 0b1_0010 << 5, 1 << 5];
        let data: Vec<u8> = elements.iter().flat_map(|e| (e | 0xfc1f).to_le_bytes()).collect();
        let encoded = little.encode(&data).unwrap();
        assert_eq!(encoded, [0b1111_1100, 0b1000_0010]);
        let wanted: Vec<u8> = elements.iter().flat_map(|e| e.to_le_bytes()).collect();
        assert_eq!(little.decode(&encoded, 6).unwrap(), wanted);
        let big = filter(&[1, 2, 1, 5, 5], 3);
        let data: Vec<u8> = elements.iter().flat_map(|e| e.to_be_bytes()).collect();
        assert_eq!(big.encode(&data).unwrap(), encoded);
        assert_eq!(big.decode(&encoded, 6).unwrap(), data);
        // Full bytes are followed by one more byte.
        assert_eq!(filter(&[1, 2, 0, 8, 4], 2).encode(&[0x5f, 0xfa, 0x10, 0x02]).unwrap(), [0xa5, 0x21, 0]);
    }

    #[test]
    fn numbers_of_more_than_eight_bytes() {
        for (order, size, bits, offset) in [(0, 16, 80, 0), (1, 16, 80, 3), (0, 12, 61, 30), (1, 9, 1, 71)] {
            let codec = filter(&[1, size, order, bits, offset], 2);
            let size = size as usize;
            let mut data: Vec<u8> = (0..2 * size).map(|i| (i * 37 + 11) as u8).collect();
            let encoded = codec.encode(&data).unwrap();
            assert_eq!(encoded.len(), 2 * bits as usize / 8 + 1);
            for element in data.chunks_mut(size) {
                if order == 1 {
                    element.reverse();
                }
                for bit in (0..8 * size).filter(|bit| !(offset..offset + bits).contains(&(*bit as u32))) {
                    element[bit / 8] &= !(1 << (bit % 8));
                }
                if order == 1 {
                    element.reverse();
                }
            }
            assert_eq!(codec.decode(&encoded, 2 * size).unwrap(), data);
        }
    }

    #[test]
    fn compounds_and_arrays() {
        // 3 bits at byte 1; an array of two 4-bit numbers at 2; two bytes at 5; of 8 bytes.
        let of = [3, 8, 3, 1, 1, 1, 0, 3, 0, 2, 2, 2, 1, 1, 0, 4, 0, 5, 4, 2];
        let codec = filter(&of, 1);
        let encoded = codec.encode(&[9, 0xfd, 0xf3, 0xf7, 9, 0xab, 0xcd, 9]).unwrap();
        let all = [(0b101, 3), (3, 4), (7, 4), (0xab, 8), (0xcd, 8), (0, 5)];
        let all = all.iter().fold(0_u32, |all, (number, bits)| all << bits | number);
        assert_eq!(encoded, all.to_be_bytes());
        assert_eq!(codec.decode(&encoded, 8).unwrap(), [0, 5, 3, 7, 0, 0xab, 0xcd, 0]);
    }

    #[test]
    fn surplus_bytes_after_the_bits_are_ignored() {
        let codec = NBit::new(&[8, 0, 8, 1, 2, 0, 5, 5]);
        let bytes: Vec<u8> = (0..16).collect();
        assert_eq!(codec.decode(&bytes, 16).unwrap(), codec.decode(&bytes[..6], 16).unwrap());
    }

    #[test]
    fn parameters_that_make_no_sense_are_refused() {
        let of: [&[u32]; 10] = [
            &[],
            &[1, 2, 0, 17, 0],
            &[1, 2, 0, 1, 16],
            &[1, 2, 0, 0, 0],
            &[1, 0, 0, 1, 0],
            &[2, 4, 3, 0, 0],
            &[3, 2, 2, 0, 4, 2, 0, 4, 1],
            &[3, 2, 1, 1, 4, 2],
            &[3, 2, u32::MAX],
            &[5, 2],
        ];
        for of in of {
            assert_eq!(filter(of, 1).encode(&[0; 2]), None, "{of:?}");
            assert!(filter(of, 1).decode(&[0; 9], 2).is_err(), "{of:?}");
        }
        let deep = [[2, 4].repeat(1000), vec![1, 4, 0, 1, 0]].concat();
        assert_eq!(filter(&deep, 1).encode(&[0; 4]), None);
        let much = filter(&[1, u32::MAX, 0, u32::MAX, 0], u32::MAX);
        assert!(much.decode(&[0; 9], 2).is_err());
        assert_eq!(NBit::new(&[5, 1, 9]).encode(&[0; 2]), None, "another count of values");
    }
}
