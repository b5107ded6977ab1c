//! Szip: encoded data is decoded again, for each parameter, and decoding of damaged data ends.

use super::*;
use proptest::prelude::*;

fn filter(is_predicted: bool, block: usize, bits: u32, line: usize) -> Szip {
    let options = if is_predicted { PREDICTED } else { 4 };
    Szip::new(&[options | 8, block as u32, bits, line as u32])
}

#[test]
fn an_impossible_parameter_does_nothing() {
    for values in [
        &[][..],
        &[32, 8, 8],
        &[32, 0, 8, 8],
        &[32, 7, 8, 8],
        &[32, 8, 0, 8],
        &[32, 8, 33, 8],
        &[32, 8, 8, 0],
        &[32, 2, 8, 10_000],
        &[32, 1000, 8, 1000],
    ] {
        assert_eq!(Szip::new(values).encode(&[0; 64]), None);
        assert!(Szip::new(values).decode(&[64, 0, 0, 0, 0, 0], 64).is_err());
    }
    assert_eq!(filter(true, 8, 16, 8).encode(&[0; 63]), None, "no whole samples");
}

#[test]
fn samples_with_unused_bits_are_not_encoded() {
    for (bits, bytes) in [(1, 1), (5, 1), (11, 2), (20, 4)] {
        let szip = filter(true, 48, bits, 64);
        assert!(!szip.may_lose());
        let mut data = vec![0; 600 * bytes];
        let encoded = szip.encode(&data).unwrap();
        assert_eq!(szip.decode(&encoded, data.len()).unwrap(), data);
        data[400 * bytes + bits as usize / 8] = 1 << (bits % 8);
        assert_eq!(szip.encode(&data), None);
    }
}

#[test]
fn the_limit_is_kept() {
    let szip = filter(true, 8, 16, 60);
    let data: Vec<u8> = (0..600u16).flat_map(|i| (i / 3).to_le_bytes()).collect();
    let encoded = szip.encode(&data).unwrap();
    assert!(encoded.len() < data.len() / 3);
    assert!(szip.decode(&encoded, data.len() - 1).unwrap_err().contains("more than"));
    assert!(szip.decode_into(&encoded, &mut vec![0; data.len() + 2]).is_err());
    assert!(szip.decode(&encoded[..encoded.len() / 2], data.len()).is_err());
}

proptest! {
    #[test]
    fn decode_undoes_encode(
        samples in prop::collection::vec(any::<u32>(), 1..2000), quiet in 0u32..33, is_predicted in any::<bool>(),
        block in (1usize..=16).prop_map(|half| 2 * half), line in 1usize..700, kind in 0usize..7, big in any::<bool>()
    ) {
        let (bits, bytes, whole) = [(8, 1, 8), (16, 2, 16), (11, 2, 11), (24, 4, 24), (3, 1, 3), (32, 4, 32), (64, 8, 64)][kind];
        let data: Vec<u8> = samples.iter().enumerate().flat_map(|(n, sample)| {
            let sample = (u64::from(*sample) >> quiet) + n as u64 / 40;
            let sample = if whole == 64 { sample } else { sample & ((1 << whole) - 1) };
            match big {
                true => sample.to_be_bytes()[8 - bytes..].to_vec(),
                false => sample.to_le_bytes()[..bytes].to_vec(),
            }
        }).collect();
        let options = if is_predicted { PREDICTED } else { 4 } | if big { BIG_ENDIAN } else { 8 };
        let szip = Szip::new(&[options, block as u32, bits, line as u32]);
        if let Some(encoded) = szip.encode(&data) {
            prop_assert!(szip.decode(&encoded, data.len()).unwrap() == data);
        }
    }

    #[test]
    fn damage_ends(stored in prop::collection::vec(any::<u8>(), 0..300), block in 0u32..70, bits in 0u32..66, line in 0u32..5000) {
        for options in [4, 32] {
            let _ = Szip::new(&[options, block, bits, line]).decode(&stored, 1 << 16);
            let mut chunk = 4000u32.to_le_bytes().to_vec();
            chunk.extend(&stored);
            let _ = Szip::new(&[options, block, bits, line]).decode(&chunk, 4000);
        }
    }
}
