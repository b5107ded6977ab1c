use super::*;
use proptest::prelude::*;

const SIGNED: NumberType = NumberType { kind: NumberKind::Signed, size: 8, is_big_endian: false };

/// Returns every number type.
fn types() -> Vec<NumberType> {
    let sizes = |kind, sizes: &'static [usize]| {
        let both = move |size: &usize| {
            [false, true].map(|is_big_endian| NumberType { kind, size: *size, is_big_endian })
        };
        sizes.iter().flat_map(both).collect::<Vec<_>>()
    };
    let mut all = sizes(NumberKind::Signed, &[1, 2, 4, 8]);
    all.extend(sizes(NumberKind::Unsigned, &[1, 2, 4, 8]));
    all.extend(sizes(NumberKind::Float, &[2, 4, 8]));
    all
}

proptest! {
    /// Single numbers and all numbers together have the same range, through 64 bits and back.
    #[test]
    fn a_range_is_that_of_its_numbers(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
        for of in types() {
            let range = of.range(&bytes);
            let numbers: Vec<_> = bytes.chunks_exact(of.size).filter_map(|b| of.number(b)).collect();
            prop_assert_eq!(numbers.len(), bytes.len() / of.size);
            let counted: Vec<_> = numbers.into_iter().filter(|n| !n.is_nan()).collect();
            prop_assert_eq!(range.count, counted.len() as u64);
            let least = counted.iter().copied().reduce(|a, b| if b.compare(a) == Some(Ordering::Less) { b } else { a });
            let greatest = counted.iter().copied().reduce(|a, b| if b.compare(a) == Some(Ordering::Greater) { b } else { a });
            for (found, wanted) in [(range.least, least), (range.greatest, greatest)] {
                prop_assert_eq!(found.is_some(), wanted.is_some());
                let (Some(found), Some(wanted)) = (found, wanted) else { continue };
                prop_assert_eq!(found.compare(wanted), Some(Ordering::Equal));
                let back = of.stored(NumberType::to_bits(found)).unwrap();
                prop_assert_eq!(found.compare(back), Some(Ordering::Equal));
            }
        }
    }
}

#[test]
fn integers_and_floats_compare_without_rounding() {
    let big = 9_007_199_254_740_993; // 2^53 + 1, which no float can represent
    let (a, b) = (Number::Integer(big), Number::Float(9_007_199_254_740_992.0));
    assert_eq!(a.compare(b), Some(Ordering::Greater));
    assert_eq!(b.compare(a), Some(Ordering::Less));
    let top = Number::Integer(i128::from(u64::MAX));
    assert_eq!(top.compare(Number::Float(18_446_744_073_709_551_616.0)), Some(Ordering::Less));
    assert_eq!(Number::Integer(-1).compare(Number::Float(-1.5)), Some(Ordering::Greater));
    assert_eq!(Number::Integer(-2).compare(Number::Float(-1.5)), Some(Ordering::Less));
    assert_eq!(Number::Integer(0).compare(Number::Float(-0.0)), Some(Ordering::Equal));
    assert_eq!(Number::Integer(0).compare(Number::Float(f64::NAN)), None);
    assert_eq!(Number::Integer(i128::MAX).compare(Number::Float(f64::INFINITY)), Some(Ordering::Less));
    assert_eq!(Number::Integer(i128::MIN).compare(Number::Float(f64::NEG_INFINITY)), Some(Ordering::Greater));
}

#[test]
fn bits_that_a_type_does_not_have_are_none() {
    let small = NumberType { size: 1, ..SIGNED };
    assert!(small.stored(127).is_some() && small.stored(128).is_none());
    assert!(small.stored(-128_i64 as u64).is_some() && small.stored(-129_i64 as u64).is_none());
    let unsigned = NumberType { kind: NumberKind::Unsigned, ..small };
    assert!(unsigned.stored(255).is_some() && unsigned.stored(256).is_none());
    let float = NumberType { kind: NumberKind::Float, ..SIGNED };
    assert!(float.stored(f64::NAN.to_bits()).is_none());
}

#[test]
fn number_types_are_distinguished_from_other_types() {
    let integer = |flags: u8, size: u8, precision: u8| {
        [&[3, 0, 0x10, flags, 0, 0, size, 0, 0, 0, 0, 0, precision, 0][..]].concat()
    };
    assert_eq!(NumberType::of(&integer(8, 8, 64)), Some(SIGNED));
    let big = NumberType { kind: NumberKind::Unsigned, size: 2, is_big_endian: true };
    assert_eq!(NumberType::of(&integer(1, 2, 16)), Some(big));
    assert_eq!(NumberType::of(&integer(8, 8, 63)), None, "not all bits count");
    assert_eq!(NumberType::of(&integer(8, 3, 24)), None);
    let mut double = vec![3, 0, 0x11, 0x20, 63, 0, 8, 0, 0, 0, 0, 0, 64, 0, 52, 11, 0, 52, 255, 3, 0, 0];
    let float = NumberType { kind: NumberKind::Float, ..SIGNED };
    assert_eq!(NumberType::of(&double), Some(float));
    double[3] |= 0x41;
    assert_eq!(NumberType::of(&double), None, "a VAX's");
    assert_eq!(NumberType::of(b"type of 8"), None);
    assert_eq!(NumberType::of(&[3, 0]), None);
}
