//! Converts floats to integers of a decimal place and back, as the scale-offset filter stores them.
//!
//! Each step uses the type's own precision and the order of H5Zscaleoffset.c, so that the result has the same bits.

use super::{Packing, bits_for, code_of_fill};

/// Rounds like C's `lround`, including its result on x86-64 for numbers that an integer cannot hold.
fn rounded(number: f64) -> i64 {
    let limit = 9_223_372_036_854_775_808.0;
    if (-limit..limit).contains(&number) { number as i64 } else { i64::MIN }
}

macro_rules! decimals {
    ($number:ident, $bits:ident, $integer:ident, $packing:ident, $codes:ident, $numbers:ident) => {
        /// Returns the bits and the minimum with which the floats of a chunk are stored; `None` if HDF5 does not define
        /// them.
        pub(super) fn $packing(
            numbers: impl Iterator<Item = $number>,
            fill: Option<$number>,
            digits: f64,
        ) -> Option<Packing> {
            let near = 10_f64.powf(-digits);
            let is_fill = |number: &$number| fill.is_some_and(|fill| f64::from(*number - fill).abs() < near);
            let mut used = numbers.filter(|number| !is_fill(number));
            let first = used.next().unwrap_or(0.0);
            let (least, most) = used.fold((first, first), |(least, most), number| {
                (if number < least { number } else { least }, if number > most { number } else { most })
            });
            let scale = (10 as $number).powf(digits as $number);
            let range = (most * scale - least * scale).round();
            if range > (2 as $number).powf(($bits::BITS - 1) as $number) {
                return Some(Packing { bits: $bits::BITS, minimum: 0 });
            }
            let codes = rounded(range.into()).cast_unsigned().wrapping_add(1);
            let bits = bits_for(codes.wrapping_add(u64::from(fill.is_some())));
            (bits <= $bits::BITS).then(|| Packing { bits, minimum: least.to_bits().into() })
        }

        /// Returns the code of each number.
        pub(super) fn $codes(
            packing: &Packing,
            fill: Option<$number>,
            digits: f64,
        ) -> impl Fn($number) -> u64 {
            let (scale, near) =
                ((10 as $number).powf(digits as $number), (10 as $number).powf(-digits as $number));
            let least = $number::from_bits(packing.minimum as $bits) * scale;
            let all = code_of_fill(packing.bits);
            move |number| match fill {
                Some(fill) if (number - fill).abs() < near => all,
                _ => rounded((number * scale - least).round().into()).cast_unsigned(),
            }
        }

        /// Returns the bits of the number that a code stands for. `fill` has those of the fill value.
        pub(super) fn $numbers(packing: &Packing, fill: Option<u64>, digits: f64) -> impl Fn(u64) -> u64 {
            let scale = (10 as $number).powf(digits as $number);
            let least = $number::from_bits(packing.minimum as $bits);
            let all = code_of_fill(packing.bits);
            move |code| match fill {
                Some(fill) if code == all => fill,
                _ => ((code as $integer) as $number / scale + least).to_bits().into(),
            }
        }
    };
}

decimals!(f32, u32, i32, packing_f32, codes_f32, numbers_f32);
decimals!(f64, u64, i64, packing_f64, codes_f64, numbers_f64);
