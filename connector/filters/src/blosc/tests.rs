//! Blosc: encoded data is decoded again, for each parameter, and decoding of damaged data ends.

use super::*;
use proptest::prelude::*;

/// Returns elements that are compressible.
fn smooth(size: usize, len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| if i % size == 0 { (i / size / 3 % 30) as u8 } else { (i / size / 3000) as u8 })
        .collect()
}

fn filter(size: usize, level: u32, arrangement: u32, codec: u32) -> Blosc {
    Blosc::new(&[2, 2, size as u32, 0, level, arrangement, codec])
}

#[test]
fn every_parameter_round_trips() {
    for (codec, arrangement, size) in
        (0..6).flat_map(|c| (0..3).flat_map(move |a| [1, 3, 4, 8, 17, 255].map(|s| (c, a, s))))
    {
        for (level, elements) in [(1, 2000), (5, 3000), (9, 40_001), (6, 90_000)] {
            let data = smooth(size, size * elements.min(2_000_000 / size));
            let blosc = filter(size, level, arrangement, codec);
            let encoded = blosc.encode(&data).unwrap();
            assert!(encoded.len() < data.len(), "{codec} {arrangement} {size} {level}");
            assert!(
                blosc.decode(&encoded, data.len()).unwrap() == data,
                "{codec} {arrangement} {size} {level}"
            );
        }
    }
}

#[test]
fn incompressible_data_is_not_encoded() {
    let data = smooth(4, 4000);
    assert!(filter(4, 0, 1, 0).encode(&data).is_none(), "level 0 copies");
    assert!(filter(4, 10, 1, 0).encode(&data).is_none(), "there is no level 10");
    assert!(filter(4, 5, 3, 0).encode(&data).is_none(), "there is no arrangement 3");
    assert!(filter(4, 5, 1, 6).encode(&data).is_none(), "there is no codec 6");
    assert!(filter(4, 5, 1, 0).encode(&data[..120]).is_none(), "too short");
    assert!(Blosc::new(&[]).encode(&data).is_none(), "no parameters");
}

#[test]
fn the_limit_is_kept() {
    let data = smooth(4, 4000);
    let blosc = filter(4, 5, 1, 1);
    let encoded = blosc.encode(&data).unwrap();
    assert!(blosc.decode(&encoded, 3999).unwrap_err().contains("more than 3999"));
    assert!(blosc.decode_into(&encoded, &mut [0; 4001]).is_err());
    for cut in 0..encoded.len() {
        assert!(blosc.decode(&encoded[..cut], 4000).is_err());
    }
}

#[test]
fn a_plain_chunk_is_copied() {
    let mut chunk = vec![VERSION, 1, PLAIN, 4, 5, 0, 0, 0, 5, 0, 0, 0, 21, 0, 0, 0];
    chunk.extend(b"hello");
    assert_eq!(filter(4, 5, 1, 0).decode(&chunk, 5).unwrap(), b"hello");
    chunk[2] = 5 << 5;
    assert_eq!(filter(4, 5, 1, 0).decode(&chunk, 5).unwrap_err(), "codec 5 of version 1");
}

proptest! {
    #[test]
    fn damage_ends(
        codec in 0u32..6, arrangement in 0u32..3, size in 1usize..20, at in any::<prop::sample::Index>(), with in any::<u8>()
    ) {
        let data = smooth(size, 5000);
        let blosc = filter(size, 5, arrangement, codec);
        let mut encoded = blosc.encode(&data).unwrap();
        let at = at.index(encoded.len());
        encoded[at] ^= with;
        if let Ok(decoded) = blosc.decode(&encoded, data.len()) {
            prop_assert!(decoded.len() <= data.len());
        }
    }
}
