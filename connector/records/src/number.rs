//! Numbers as elements of datasets: their types, their comparison, and the range of many numbers.

use std::cmp::Ordering;

/// The kind of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberKind {
    /// An integer in two's complement.
    Signed,
    /// An integer without a sign, or a bit field.
    Unsigned,
    /// A float of IEEE 754.
    Float,
}

/// A type of numbers: integers of 1, 2, 4 or 8 bytes without padding bits, and floats of IEEE 754 with 2, 4 or 8 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NumberType {
    /// The kind of its numbers.
    pub kind: NumberKind,
    /// Bytes of a number.
    pub size: usize,
    /// True if the first byte is the most significant one.
    pub is_big_endian: bool,
}

/// A number, without loss.
#[derive(Debug, Clone, Copy)]
pub enum Number {
    /// An integer, or a bit field.
    Integer(i128),
    /// A float; may be NaN.
    Float(f64),
}

impl Number {
    /// Returns whether the number is NaN.
    #[must_use]
    pub fn is_nan(self) -> bool {
        matches!(self, Self::Float(f) if f.is_nan())
    }

    /// Compares values exactly: no integer is rounded to a float. Returns `None` if one of them is NaN.
    #[must_use]
    pub fn compare(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Integer(a), Self::Integer(b)) => Some(a.cmp(&b)),
            (Self::Float(a), Self::Float(b)) => a.partial_cmp(&b),
            (Self::Integer(a), Self::Float(b)) => integer_to_float(a, b),
            (Self::Float(a), Self::Integer(b)) => integer_to_float(b, a).map(Ordering::reverse),
        }
    }
}

fn integer_to_float(a: i128, b: f64) -> Option<Ordering> {
    /// 2^127, the smallest power of two beyond the range of i128.
    const BEYOND: f64 = 170_141_183_460_469_231_731_687_303_715_884_105_728.0;
    if b.is_nan() {
        return None;
    }
    if b >= BEYOND {
        return Some(Ordering::Less);
    }
    if b < -BEYOND {
        return Some(Ordering::Greater);
    }
    let whole = b.trunc();
    let by_fraction = || {
        if b > whole {
            Ordering::Less
        } else if b < whole {
            Ordering::Greater
        } else {
            Ordering::Equal
        }
    };
    Some(a.cmp(&(whole as i128)).then_with(by_fraction))
}

/// Returns the value of a two-byte float.
#[must_use]
pub fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 0 { 1.0 } else { -1.0 };
    let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    match (exponent, bits & 1023) {
        (31, 0) => sign * f64::INFINITY,
        (31, _) => f64::NAN,
        (0, _) => sign * mantissa * 2_f64.powi(-24),
        _ => sign * (mantissa / 1024.0 + 1.0) * 2_f64.powi(exponent - 15),
    }
}

impl NumberType {
    /// Returns the number that these bytes encode; `None` for other lengths.
    #[must_use]
    pub fn number(self, bytes: &[u8]) -> Option<Number> {
        let mut wide = [0; 8];
        let low = wide.get_mut(..bytes.len()).filter(|low| low.len() == self.size)?;
        low.copy_from_slice(bytes);
        if self.is_big_endian {
            low.reverse();
        }
        let bits = u64::from_le_bytes(wide);
        Some(match (self.kind, self.size) {
            (NumberKind::Unsigned, _) => Number::Integer(i128::from(bits)),
            (NumberKind::Signed, size) => {
                let unused = 64 - 8 * size as u32;
                Number::Integer(i128::from((bits << unused) as i64 >> unused))
            }
            (NumberKind::Float, 2) => Number::Float(half(bits as u16)),
            (NumberKind::Float, 4) => Number::Float(f64::from(f32::from_bits(bits as u32))),
            (NumberKind::Float, _) => Number::Float(f64::from_bits(bits)),
        })
    }

    /// Returns the number that is stored as these 64 bits in statistics; `None` for a number that the type does not
    /// have.
    pub fn stored(self, bits: u64) -> Option<Number> {
        let bound = 8 * self.size as u32;
        match self.kind {
            NumberKind::Unsigned => {
                (bound == 64 || bits >> bound == 0).then(|| Number::Integer(i128::from(bits)))
            }
            NumberKind::Signed => {
                let value = bits as i64;
                let fits = bound == 64 || (-(1 << (bound - 1))..1 << (bound - 1)).contains(&value);
                fits.then(|| Number::Integer(i128::from(value)))
            }
            NumberKind::Float => Some(Number::Float(f64::from_bits(bits))).filter(|n| !n.is_nan()),
        }
    }

    /// Returns the 64 bits of a number in statistics.
    pub fn to_bits(number: Number) -> u64 {
        match number {
            Number::Integer(n) => n as u64,
            Number::Float(f) => f.to_bits(),
        }
    }

    /// Returns the number type of an encoded datatype, including that of an enumeration's integers; `None` for any
    /// other datatype.
    pub fn of(encoded: &[u8]) -> Option<Self> {
        const ENUM: u8 = 8;
        let message = encoded.strip_prefix(&[3, 0])?;
        let base = if message.first()? & 15 == ENUM { message.get(8..)? } else { message };
        Self::of_message(base)
    }

    /// Returns the number type of a datatype message (the HDF5 file format specification, IV.A.2.d).
    fn of_message(message: &[u8]) -> Option<Self> {
        const INTEGER: u8 = 0;
        const FLOAT: u8 = 1;
        const BITFIELD: u8 = 4;
        let (head, properties) = message.split_first_chunk::<12>()?;
        let size = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let (offset, precision) =
            (u16::from_le_bytes([head[8], head[9]]), u16::from_le_bytes([head[10], head[11]]));
        if !matches!(size, 1 | 2 | 4 | 8) || offset != 0 || usize::from(precision) != 8 * size {
            return None;
        }
        let is_big_endian = head[1] & 1 != 0;
        let kind = match head[0] & 15 {
            INTEGER if head[1] & 8 != 0 => NumberKind::Signed,
            INTEGER | BITFIELD => NumberKind::Unsigned,
            FLOAT if is_ieee(head, properties, size) => NumberKind::Float,
            _ => return None,
        };
        Some(Self { kind, size, is_big_endian })
    }

    /// Returns the range of contiguous elements in file form. An incomplete last element is ignored.
    pub fn range(self, elements: &[u8]) -> Range {
        let big = self.is_big_endian;
        match (self.kind, self.size) {
            (NumberKind::Unsigned, 1) => range_of::<u8, 64>(elements, false),
            (NumberKind::Unsigned, 2) => range_of::<u16, 32>(elements, big),
            (NumberKind::Unsigned, 4) => range_of::<u32, 32>(elements, big),
            (NumberKind::Unsigned, _) => range_of::<u64, 4>(elements, big),
            (NumberKind::Signed, 1) => range_of::<i8, 64>(elements, false),
            (NumberKind::Signed, 2) => range_of::<i16, 32>(elements, big),
            (NumberKind::Signed, 4) => range_of::<i32, 32>(elements, big),
            (NumberKind::Signed, _) => range_of::<i64, 4>(elements, big),
            (NumberKind::Float, 2) => halves(elements, big),
            (NumberKind::Float, 4) => range_of::<f32, 32>(elements, big),
            (NumberKind::Float, _) => range_of::<f64, 16>(elements, big),
        }
    }
}

/// Returns whether a float has the format of IEEE 754: its flags, and the positions of sign, exponent and mantissa.
fn is_ieee(head: &[u8; 12], properties: &[u8], size: usize) -> bool {
    let (sign, fields, bias): (u8, [u8; 4], u32) = match size {
        2 => (15, [10, 5, 0, 10], 15),
        4 => (31, [23, 8, 0, 23], 127),
        8 => (63, [52, 11, 0, 52], 1023),
        _ => return false,
    };
    // 0x40 is the second bit of the byte order, for VAX; the first bit of the mantissa is implied (2).
    head[1] & 0x40 == 0
        && head[1] >> 4 & 3 == 2
        && head[2] == sign
        && properties.get(..4) == Some(&fields)
        && properties.get(4..8) == Some(&bias.to_le_bytes())
}

/// The minimum and the maximum of numbers, and their count, without NaN.
#[derive(Debug, Clone, Copy, Default)]
pub struct Range {
    /// The minimum; `None` if there is no number.
    pub least: Option<Number>,
    /// The maximum, likewise.
    pub greatest: Option<Number>,
    /// How many numbers are not NaN.
    pub count: u64,
}

impl Range {
    /// Returns the range of both. Both are of one type.
    pub fn and(self, other: Self) -> Self {
        let chosen = |a: Option<Number>, b: Option<Number>, wanted: Ordering| match (a, b) {
            (Some(a), Some(b)) => Some(if b.compare(a) == Some(wanted) { b } else { a }),
            (a, b) => a.or(b),
        };
        Self {
            least: chosen(self.least, other.least, Ordering::Less),
            greatest: chosen(self.greatest, other.greatest, Ordering::Greater),
            count: self.count + other.count,
        }
    }
}

/// A number type of Rust.
trait Native: Copy + PartialOrd {
    /// A value beyond all other values.
    const LEAST: Self;
    const GREATEST: Self;
    const SIZE: usize = size_of::<Self>();
    /// Counts elements of a chunk, which has less than 4 GiB. It is as wide as the elements if the compiler has to
    /// count NaN.
    type Count: Copy + Default + From<bool> + Into<u64> + std::ops::AddAssign;
    fn little(bytes: &[u8]) -> Self;
    fn big(bytes: &[u8]) -> Self;
    fn number(self) -> Number;
}

macro_rules! native {
    ($kind:ident, $wide:ty, $count:ty, $least:ident, $greatest:ident: $($of:ty)*) => { $(
        impl Native for $of {
            type Count = $count;
            const LEAST: Self = Self::$least;
            const GREATEST: Self = Self::$greatest;
            fn little(bytes: &[u8]) -> Self {
                bytes.first_chunk().map_or(Self::LEAST, |b| Self::from_le_bytes(*b))
            }
            fn big(bytes: &[u8]) -> Self {
                bytes.first_chunk().map_or(Self::LEAST, |b| Self::from_be_bytes(*b))
            }
            fn number(self) -> Number {
                Number::$kind(<$wide>::from(self))
            }
        }
    )* };
}

native!(Integer, i128, u32, MIN, MAX: u8 u16 u32 u64 i8 i16 i32 i64);
native!(Float, f64, u32, NEG_INFINITY, INFINITY: f32);
native!(Float, f64, u64, NEG_INFINITY, INFINITY: f64);

/// Returns the minimum and the maximum of elements, and the number of NaN. The loop is written so that the compiler
/// vectorizes it: the comparisons are the minimum and maximum instructions of the processor, which return the second
/// operand if the first is NaN. It processes the number of lanes that is fastest.
fn extremes<T: Native, const LANES: usize>(elements: &[u8], load: impl Fn(&[u8]) -> T) -> (T, T, u64) {
    let (mut least, mut greatest, mut nans) =
        ([T::GREATEST; LANES], [T::LEAST; LANES], [T::Count::default(); LANES]);
    let mut look = |lane: usize, bytes: &[u8]| {
        let n = load(bytes);
        least[lane] = if n < least[lane] { n } else { least[lane] };
        greatest[lane] = if n > greatest[lane] { n } else { greatest[lane] };
        // Only NaN differs from itself.
        #[expect(clippy::eq_op, reason = "this is how NaN is found")]
        let is_nan = n != n;
        nans[lane] += is_nan.into();
    };
    let groups = elements.chunks_exact(T::SIZE * LANES);
    let remainder = groups.remainder();
    for group in groups {
        for (lane, bytes) in group.chunks_exact(T::SIZE).enumerate() {
            look(lane, bytes);
        }
    }
    remainder.chunks_exact(T::SIZE).for_each(|bytes| look(0, bytes));
    let least = least.into_iter().fold(T::GREATEST, |a, b| if b < a { b } else { a });
    let greatest = greatest.into_iter().fold(T::LEAST, |a, b| if b > a { b } else { a });
    (least, greatest, nans.into_iter().map(Into::into).sum())
}

fn range_of<T: Native, const LANES: usize>(elements: &[u8], is_big_endian: bool) -> Range {
    let (least, greatest, nans) = match is_big_endian {
        true => extremes::<T, LANES>(elements, T::big),
        false => extremes::<T, LANES>(elements, T::little),
    };
    let count = (elements.len() / T::SIZE) as u64 - nans;
    let there = |n: T| (count > 0).then(|| n.number());
    Range { least: there(least), greatest: there(greatest), count }
}

/// Returns the range of two-byte floats, through integers of the same order.
fn halves(elements: &[u8], is_big_endian: bool) -> Range {
    let mut range = Range::default();
    let (mut least, mut greatest) = (i16::MAX, i16::MIN);
    for bytes in elements.chunks_exact(2) {
        let bits = if is_big_endian { i16::big(bytes) } else { i16::little(bytes) };
        if bits & 0x7fff > 0x7c00 {
            continue;
        }
        let key = if bits < 0 { bits ^ 0x7fff } else { bits };
        (least, greatest, range.count) = (least.min(key), greatest.max(key), range.count + 1);
    }
    let number = |key: i16| Number::Float(half((if key < 0 { key ^ 0x7fff } else { key }) as u16));
    if range.count > 0 {
        (range.least, range.greatest) = (Some(number(least)), Some(number(greatest)));
    }
    range
}

#[cfg(test)]
#[path = "number_tests.rs"]
mod tests;
