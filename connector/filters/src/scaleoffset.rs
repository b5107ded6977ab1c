//! Scale-offset (filter 6): stores numbers less their minimum in as few bits as they need, as HDF5 defines it in
//! H5Zscaleoffset.c.
//!
//! The client data are 20 values: the kind of scaling and its factor, which the application sets, then values that
//! `set_local` adds: elements of the chunk, class (0 integer, 1 float), bytes of an element, sign, byte order, whether
//! there is a fill value, and from the ninth value on the fill value. A chunk has the bits of an element in 4 bytes, an
//! 8, the minimum in 8 bytes, 8 zeros, and then the elements, the highest bit first. If there is a fill value, all bits
//! set stand for it. Elements that need all their bits are stored unchanged, little-endian. HDF5 1.14.6 writes such
//! chunks and does not read them; 2.0 does.

mod decimals;

use super::FilterCodec;
use super::bits::{BitReader, BitWriter, bytes_of};
use h5lake_ledger::buffers;
use h5lake_records::memory::copied;

/// Bytes before the elements.
const HEADER_BYTES: usize = 21;
/// Bytes of the minimum.
const MINIMUM_BYTES: usize = 8;
/// Number of client data of a filter that is set up.
const PARAMETERS: usize = 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unsigned,
    Signed,
    Float,
}

/// How a chunk's elements are stored.
pub(super) struct Packing {
    /// Bits of each element.
    pub(super) bits: u32,
    /// The stored minimum: the bytes of an element, with the sign of an integer above them.
    pub(super) minimum: u64,
}

#[derive(Debug)]
struct Parameters {
    elements: usize,
    size: usize,
    kind: Kind,
    big_endian: bool,
    /// The bytes of an element, little-endian.
    fill: Option<u64>,
    /// The bits of an element, if the application chooses them, or the decimal digits of a float.
    factor: i32,
}

#[derive(Debug)]
pub(super) struct ScaleOffset {
    /// The parameters; `None` if the filter did not set them, or could not work with them.
    parameters: Option<Parameters>,
}

impl ScaleOffset {
    pub(super) fn new(client_data: &[u32]) -> Self {
        let parameters = <&[u32; PARAMETERS]>::try_from(client_data).ok().and_then(Parameters::new);
        Self { parameters }
    }

    fn parameters(&self) -> Result<&Parameters, String> {
        self.parameters.as_ref().ok_or_else(|| "invalid scaleoffset parameters".into())
    }
}

impl Parameters {
    fn new(values: &[u32; PARAMETERS]) -> Option<Self> {
        let (size, factor) = (usize::try_from(values[4]).ok()?, values[1].cast_signed());
        let (kind, sizes) = match (values[3], values[5]) {
            (0, 0) => (Kind::Unsigned, [1, 2, 4, 8].as_slice()),
            (0, 1) => (Kind::Signed, [1, 2, 4, 8].as_slice()),
            (1, _) => (Kind::Float, [4, 8].as_slice()),
            _ => return None,
        };
        // Other kinds of scaling are for the other class, or were never implemented.
        let scale = if kind == Kind::Float { 0 } else { 2 };
        if !sizes.contains(&size) || values[0] != scale {
            return None;
        }
        let (low, high) = (u64::from(values[8]), u64::from(values[9]));
        let mut given = Self {
            elements: usize::try_from(values[2]).ok()?,
            size,
            kind,
            big_endian: values[6] == 1,
            fill: None,
            factor,
        };
        given.fill = (values[7] == 1).then_some((high << 32 | low) & given.mask());
        (kind == Kind::Float || factor <= given.bits().cast_signed()).then_some(given)
    }

    /// Returns the bits of an element in memory.
    fn bits(&self) -> u32 {
        8 * self.size as u32
    }

    fn mask(&self) -> u64 {
        u64::MAX >> (64 - self.bits())
    }

    /// Returns whether the application chose to store all bits: then the filter does nothing.
    fn does_nothing(&self) -> bool {
        self.kind != Kind::Float && self.factor == self.bits().cast_signed()
    }

    /// Returns the bytes of a decoded chunk.
    fn bytes(&self) -> Option<usize> {
        self.elements.checked_mul(self.size)
    }

    /// Returns the bits and the minimum with which the integers of a chunk are stored.
    fn integer_packing(&self, values: impl Iterator<Item = u64>) -> Packing {
        // With an inverted highest bit, negative numbers are below positive ones.
        let turned = if self.kind == Kind::Signed { 1 << (self.bits() - 1) } else { 0 };
        let used = values.filter(|value| Some(*value) != self.fill).map(|value| value ^ turned);
        let (least, most) = used.fold((u64::MAX, 0), |(least, most), v| (least.min(v), most.max(v)));
        let (least, most) = if least > most { (turned, turned) } else { (least, most) };
        let minimum = match self.kind {
            Kind::Signed => (least ^ turned) | if least < turned { !self.mask() } else { 0 },
            _ => least,
        };
        if let Some(bits) = u32::try_from(self.factor).ok().filter(|bits| *bits > 0) {
            return Packing { bits, minimum };
        }
        let range = most - least;
        if range > self.mask() - 2 {
            // HDF5 returns early here, and only its code for single bytes stores a minimum.
            let is_kept = self.kind == Kind::Signed && self.size == 1 && self.fill.is_none();
            return Packing { bits: self.bits(), minimum: if is_kept { minimum } else { 0 } };
        }
        Packing { bits: bits_for(range + 1 + u64::from(self.fill.is_some())), minimum }
    }

    fn encode<const SIZE: usize>(&self, data: &[u8]) -> Option<Vec<u8>> {
        let values = || values::<SIZE>(data, self.big_endian);
        if self.kind != Kind::Float {
            let packing = self.integer_packing(values());
            let all = code_of_fill(packing.bits);
            let code =
                |value| if Some(value) == self.fill { all } else { value.wrapping_sub(packing.minimum) };
            return self.pack(&packing, data, values().map(code));
        }
        let digits = f64::from(self.factor);
        if SIZE == 4 {
            let numbers = || values().map(|value| f32::from_bits(value as u32));
            let fill = self.fill.map(|fill| f32::from_bits(fill as u32));
            let packing = decimals::packing_f32(numbers(), fill, digits)?;
            let codes = decimals::codes_f32(&packing, fill, digits);
            self.pack(&packing, data, numbers().map(codes))
        } else {
            let numbers = || values().map(f64::from_bits);
            let fill = self.fill.map(f64::from_bits);
            let packing = decimals::packing_f64(numbers(), fill, digits)?;
            let codes = decimals::codes_f64(&packing, fill, digits);
            self.pack(&packing, data, numbers().map(codes))
        }
    }

    fn pack(&self, packing: &Packing, data: &[u8], codes: impl Iterator<Item = u64>) -> Option<Vec<u8>> {
        let is_raw = packing.bits == self.bits();
        let packed = if is_raw { data.len() } else { bytes_of(self.elements * packing.bits as usize) };
        let mut out = buffers::try_take(HEADER_BYTES + packed)?;
        let (header, elements) = out.split_at_mut(HEADER_BYTES);
        header[..4].copy_from_slice(&packing.bits.to_le_bytes());
        header[4] = MINIMUM_BYTES as u8;
        header[5..13].copy_from_slice(&packing.minimum.to_le_bytes());
        header[13..].fill(0);
        if is_raw {
            elements.copy_from_slice(data);
            self.swap(elements);
            return Some(out);
        }
        let mut writer = BitWriter::new(elements);
        for code in codes {
            writer.push(code, packing.bits);
        }
        writer.finish();
        Some(out)
    }

    /// Converts from the stored byte order to that of the dataset, or back.
    fn swap(&self, elements: &mut [u8]) {
        if self.big_endian {
            elements.chunks_exact_mut(self.size).for_each(<[u8]>::reverse);
        }
    }

    fn decode(&self, data: &[u8], out: &mut [u8]) -> Result<(), String> {
        let (packing, elements) = header(data)?;
        if packing.bits > self.bits() {
            return Err(format!("damaged data: {} bits in {} bytes", packing.bits, self.size));
        }
        let bits = self.elements.checked_mul(packing.bits as usize).ok_or("damaged data: too many bits")?;
        let elements = elements.get(..bits.div_ceil(8)).ok_or("damaged data: cut short")?;
        if packing.bits == self.bits() {
            out.copy_from_slice(elements);
            self.swap(out);
            return Ok(());
        }
        match self.size {
            1 => self.unpack::<1>(&packing, elements, out),
            2 => self.unpack::<2>(&packing, elements, out),
            4 => self.unpack::<4>(&packing, elements, out),
            _ => self.unpack::<8>(&packing, elements, out),
        }
        Ok(())
    }

    fn unpack<const SIZE: usize>(&self, packing: &Packing, elements: &[u8], out: &mut [u8]) {
        let mut reader = BitReader::new(elements);
        let digits = f64::from(self.factor);
        match (self.kind, SIZE) {
            (Kind::Float, 4) => {
                let value = decimals::numbers_f32(packing, self.fill, digits);
                put::<SIZE>(out, self.big_endian, || value(reader.take(packing.bits)));
            }
            (Kind::Float, _) => {
                let value = decimals::numbers_f64(packing, self.fill, digits);
                put::<SIZE>(out, self.big_endian, || value(reader.take(packing.bits)));
            }
            _ => {
                let all = code_of_fill(packing.bits);
                put::<SIZE>(out, self.big_endian, || match (reader.take(packing.bits), self.fill) {
                    (code, Some(fill)) if code == all => fill,
                    (code, _) => code.wrapping_add(packing.minimum),
                });
            }
        }
    }
}

/// Returns the code of the fill value: all bits set.
pub(super) fn code_of_fill(bits: u32) -> u64 {
    1_u64.checked_shl(bits).unwrap_or(0).wrapping_sub(1)
}

/// Returns the number of bits for this many codes, like `H5Z__scaleoffset_log2`: 1 for none.
pub(super) fn bits_for(codes: u64) -> u32 {
    match codes {
        0 => 1,
        codes => 64 - (codes - 1).leading_zeros(),
    }
}

/// Returns the elements of a chunk as numbers of 8 bytes.
#[inline]
fn values<const SIZE: usize>(data: &[u8], big_endian: bool) -> impl Iterator<Item = u64> {
    data.as_chunks::<SIZE>().0.iter().map(move |bytes| {
        let mut wide = [0; 8];
        wide[..SIZE].copy_from_slice(bytes);
        if big_endian {
            wide[..SIZE].reverse();
        }
        u64::from_le_bytes(wide)
    })
}

/// Reverses [`values`].
#[inline]
fn put<const SIZE: usize>(out: &mut [u8], big_endian: bool, mut next: impl FnMut() -> u64) {
    for to in out.as_chunks_mut::<SIZE>().0 {
        to.copy_from_slice(&next().to_le_bytes()[..SIZE]);
        if big_endian {
            to.reverse();
        }
    }
}

/// Reads the header of a chunk. Returns the packing, and the elements.
fn header(data: &[u8]) -> Result<(Packing, &[u8]), String> {
    let (header, elements) = data.split_first_chunk::<HEADER_BYTES>().ok_or("damaged data: no header")?;
    let [a, b, c, d, length, minimum @ ..] = header;
    // A machine with other number sizes may have stored the minimum: at most its first 8 bytes count.
    let mut bytes = [0; MINIMUM_BYTES];
    let length = usize::from(*length).min(MINIMUM_BYTES);
    bytes[..length].copy_from_slice(&minimum[..length]);
    let bits = u32::from_le_bytes([*a, *b, *c, *d]);
    Ok((Packing { bits, minimum: u64::from_le_bytes(bytes) }, elements))
}

impl FilterCodec for ScaleOffset {
    fn encode(&self, data: &[u8]) -> Option<Vec<u8>> {
        let given = self.parameters.as_ref()?;
        if given.does_nothing() {
            return copied(data).ok();
        }
        if data.is_empty() || given.bytes() != Some(data.len()) {
            return None;
        }
        match given.size {
            1 => given.encode::<1>(data),
            2 => given.encode::<2>(data),
            4 => given.encode::<4>(data),
            _ => given.encode::<8>(data),
        }
    }

    fn decoded_len(&self, data: &[u8]) -> Result<Option<usize>, String> {
        let given = self.parameters()?;
        match if given.does_nothing() { Some(data.len()) } else { given.bytes() } {
            Some(len) => Ok(Some(len)),
            None => Err("invalid scaleoffset parameters".into()),
        }
    }

    fn decode_into(&self, data: &[u8], out: &mut [u8]) -> Result<Option<usize>, String> {
        let given = self.parameters()?;
        match given.does_nothing() {
            true => out.copy_from_slice(data),
            false => given.decode(data, out)?,
        }
        Ok(Some(out.len()))
    }

    /// Floats are rounded, and integers may need more bits than were chosen.
    fn may_lose(&self) -> bool {
        self.parameters.as_ref().is_some_and(|given| given.kind == Kind::Float || given.factor > 0)
    }

    fn max_encoded_bytes(&self, len: usize) -> usize {
        len.saturating_add(HEADER_BYTES + 1)
    }
}
