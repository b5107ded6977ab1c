//! Blosc2: encoded data is decoded again, for each parameter; frames of hdf5plugin are read; decoding of damaged data
//! ends.

use super::*;
use proptest::prelude::*;

/// Returns elements that are compressible.
fn smooth(size: usize, len: usize) -> Vec<u8> {
    (0..len)
        .map(|i| if i % size == 0 { (i / size / 3 % 30) as u8 } else { (i / size / 3000) as u8 })
        .collect()
}

fn noise(len: usize) -> Vec<u8> {
    let mut x = 1u64;
    let next = |_| {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (x >> 56) as u8
    };
    (0..len).map(next).collect()
}

/// Returns a filter for chunks without dimensions.
fn filter(size: usize, level: u32, stage: u32, codec: u32) -> Blosc2 {
    Blosc2::new(&[1, 0, size as u32, 0, level, stage, codec]).unwrap()
}

/// Returns a filter for chunks of these dimensions, with blocks of up to `block` bytes.
fn filter_of(dims: &[u32], size: u32, block: u32, level: u32, stage: u32, codec: u32) -> Blosc2 {
    let mut values = vec![1, block, size, size * dims.iter().product::<u32>(), level, stage, codec];
    values.push(dims.len() as u32);
    values.extend(dims);
    Blosc2::new(&values).unwrap()
}

fn comes_back(blosc: &Blosc2, data: &[u8], name: &str) -> usize {
    let encoded = blosc.encode(data).unwrap_or_else(|| panic!("{name}: is not encoded"));
    assert!(blosc.decode(&encoded, data.len()).unwrap() == data, "{name}");
    let mut out = vec![0; data.len()];
    blosc.decode_into(&encoded, &mut out).unwrap();
    assert!(out == data, "{name}");
    assert!(encoded.len() <= blosc.max_encoded_bytes(data.len()), "{name}");
    encoded.len()
}

const CODECS: [u32; 5] = [0, 1, 2, 4, 5];

#[test]
fn every_parameter_round_trips() {
    for (codec, stage, size) in CODECS
        .into_iter()
        .flat_map(|c| (0..4).flat_map(move |s| [1, 2, 3, 4, 8, 16, 17, 255, 300].map(|n| (c, s, n))))
    {
        for (level, elements) in [(0, 100), (1, 2000), (5, 3000), (9, 40_001), (6, 90_000)] {
            let name = format!("{codec} {level} {stage} {size}");
            let data = smooth(size, size * elements.min(300_000 / size));
            let blosc = filter(size, level, stage, codec);
            let encoded = comes_back(&blosc, &data, &name);
            assert!(encoded < data.len() || level == 0, "{name}: {encoded} of {}", data.len());
            comes_back(&blosc, &data[..data.len() - 1], &name);
        }
    }
}

#[test]
fn every_shape_round_trips() {
    let shapes: [&[u32]; 8] =
        [&[7, 13], &[1, 9], &[64, 100], &[100, 101], &[4, 6, 8], &[33, 1, 21], &[3, 3, 3, 3, 3, 3], &[2; 8]];
    for (dims, size) in shapes.into_iter().flat_map(|dims| [1, 4, 7, 8, 300].map(|size| (dims, size))) {
        let len = dims.iter().product::<u32>() as usize * size as usize;
        if len > 300_000 {
            continue;
        }
        for (codec, (level, stage)) in [(0, (5, 1)), (1, (9, 2)), (2, (3, 3)), (4, (0, 1)), (5, (5, 0))] {
            for block in [0, 1, 64 * size] {
                let name = format!("{dims:?} of {size} by {block}: {codec} {level} {stage}");
                let blosc = filter_of(dims, size, block, level, stage, codec);
                comes_back(&blosc, &smooth(size as usize, len), &name);
                comes_back(&blosc, &noise(len), &name);
                comes_back(&blosc, &vec![0; len], &name);
                comes_back(&blosc, &vec![7; len], &name);
                // After a checksum the length does not fit the dimensions.
                if block != 1 {
                    comes_back(&blosc, &smooth(size as usize, len + 4), &name);
                }
            }
        }
    }
}

#[test]
fn zeros_and_runs_take_a_header_and_little_more() {
    let blosc = filter(4, 5, 1, 0);
    assert_eq!(comes_back(&blosc, &vec![0; 1 << 20], "zeros"), 172);
    assert_eq!(comes_back(&blosc, &7u32.to_le_bytes().repeat(500), "sevens"), 225);
    assert_eq!(comes_back(&blosc, &noise(4000), "noise"), 4000 + 204, "stored as they are");
    assert_eq!(comes_back(&blosc, &noise(16), "few"), 16 + 204);
    let checked = [vec![0; 4000], vec![0; 3]].concat();
    assert!(comes_back(&blosc, &checked, "no whole elements") > 172, "c-blosc2 refuses such zeros");
}

#[test]
fn parameters_refused_by_c_blosc2_are_not_encoded() {
    let data = smooth(4, 4000);
    assert!(filter(4, 10, 1, 0).encode(&data).is_none(), "there is no level 10");
    assert!(filter(4, 5, 4, 0).encode(&data).is_none(), "no precision is given");
    assert!(filter(4, 0, 4, 0).encode(&data).is_some(), "nothing is filtered at level 0");
    assert!(Blosc2::new(&[1, 0, 4, 4000, 5]).unwrap().encode(&data).is_none(), "no filter is given");
    assert!(Blosc2::new(&[]).unwrap().encode(&data).is_none(), "no parameters");
    assert!(filter(4, 5, 1, 0).encode(&[]).is_none(), "nothing");
    // c-blosc2 writes such blocks and does not read them.
    assert!(Blosc2::new(&[1, 10, 17, 1700, 5, 1, 0]).unwrap().encode(&smooth(17, 1700)).is_none());
}

#[test]
fn unsupported_codecs_are_foreign() {
    for values in [
        &[1, 0, 4, 0, 5, 1, 3][..],
        &[1, 0, 4, 0, 5, 1, 33],
        &[1, 0, 4, 0, 5, 32, 0],
        &[1, 0, 4, 0, 5, 1, 0, 1, 9],
    ] {
        assert!(Blosc2::new(values).is_none(), "{values:?}");
    }
    assert!(Blosc2::new(&[1, 0, 4, 0, 5, 1, 0, 3, 4, 5]).is_none(), "too few dimensions");
}

#[test]
fn the_limit_is_kept() {
    for blosc in [filter(4, 5, 1, 1), filter_of(&[20, 50], 4, 0, 5, 1, 1)] {
        let data = smooth(4, 4000);
        let encoded = blosc.encode(&data).unwrap();
        assert!(blosc.decode(&encoded, 3999).unwrap_err().contains("more than 3999"));
        for cut in 0..encoded.len() {
            assert!(blosc.decode(&encoded[..cut], 4000).is_err(), "{cut}");
        }
    }
    let other = filter_of(&[50, 20], 4, 0, 5, 1, 1);
    let encoded = filter_of(&[20, 50], 4, 0, 5, 1, 1).encode(&smooth(4, 4000)).unwrap();
    assert!(other.decode(&encoded, 4000).unwrap_err().contains("an array of [20, 50]"));
}

/// Changes each bit of a frame: decoding returns an error, or bytes of the right length.
#[test]
fn each_damaged_byte_ends() {
    let frames = [
        (filter(4, 5, 1, 0), smooth(4, 600)),
        (filter_of(&[10, 15], 4, 64, 5, 2, 1), smooth(4, 600)),
        (filter_of(&[10, 15], 4, 64, 5, 3, 5), smooth(4, 600)),
        (filter(4, 5, 1, 0), vec![0; 600]),
    ];
    for (blosc, data) in frames {
        let encoded = blosc.encode(&data).unwrap();
        for (at, with) in
            (0..encoded.len()).flat_map(|at| [1, 2, 4, 8, 16, 32, 64, 128, 255].map(|w| (at, w)))
        {
            let mut damaged = encoded.clone();
            damaged[at] ^= with;
            if let Ok(decoded) = blosc.decode(&damaged, 600) {
                assert!(decoded.len() <= 600, "{at} {with}");
            }
            let mut out = [0; 600];
            let _ = blosc.decode_into(&damaged, &mut out);
        }
    }
}

/// Decodes an uncompressed chunk of a frame after `change`.
fn changed(change: impl Fn(&mut Vec<u8>)) -> Result<Vec<u8>, String> {
    let blosc = filter(4, 5, 1, 5);
    let mut encoded = blosc.encode(&smooth(4, 4000)).unwrap();
    change(&mut encoded);
    blosc.decode(&encoded, 4000)
}

#[test]
fn unsupported_codecs_are_named() {
    // The chunk begins after the frame's header.
    const AT: usize = 97;
    let cases: [(usize, u8, &str); 10] = [
        (26, 1, "a Blosc2 frame of kind 1 with flags 0x12"),
        (25, 0x92, "a Blosc2 frame of kind 0 with flags 0x92"),
        (AT, 9, "a Blosc2 chunk of version 9"),
        (AT + 16, 32, "the Blosc2 filter 32"),
        (AT + 31, 1, "a Blosc2 chunk with a dictionary"),
        (AT + 31, 8, "a Blosc2 chunk that is lazy"),
        (AT + 31, 0x80, "a Blosc2 chunk that is instrumented"),
        (AT + 31, 0x70, "the special value 7 of Blosc2"),
        (AT + 2, 0x45, "the format 2 of a Blosc2 codec"),
        (AT + 2, 0xc5, "the codec 5 that was added to Blosc2"),
    ];
    for (at, byte, says) in cases {
        assert_eq!(changed(|frame| frame[at] = byte).unwrap_err(), says);
    }
    let variable = |frame: &mut Vec<u8>| (frame[AT], frame[AT + 30]) = (6, 1);
    assert_eq!(changed(variable).unwrap_err(), "a Blosc2 chunk with blocks of variable length");
    let delta = |frame: &mut Vec<u8>| frame[AT + 16..AT + 18].copy_from_slice(&[1, 3]);
    assert_eq!(changed(delta).unwrap_err(), "the Blosc2 filter 3 (delta) behind another one");
}

/// Decodes a frame of 40 elements in which `chunk` replaces the written chunk.
fn with_chunk(size: usize, chunk: &[u8]) -> Result<Vec<u8>, String> {
    let blosc = filter(size, 0, 1, 1);
    let encoded = blosc.encode(&vec![1; 40 * size]).unwrap();
    let (header, rest) = encoded.split_at(97);
    let mut frame = [header, chunk, &rest[32 + 40 * size..]].concat();
    let len = frame.len() as u64;
    frame[16..24].copy_from_slice(&len.to_be_bytes());
    frame[39..47].copy_from_slice(&(chunk.len() as u64).to_be_bytes());
    blosc.decode(&frame, 40 * size)
}

/// Returns a chunk of 40 elements, with `behind` after a header of 16 or 32 bytes.
fn chunk(version: u8, flags: u8, size: u8, extended: &[u8], behind: &[u8]) -> Vec<u8> {
    let len = 40 * u32::from(size);
    let encoded = (16 + extended.len() + behind.len()) as u32;
    let mut chunk = vec![version, 1, flags, size];
    [len, len, encoded].iter().for_each(|number| chunk.extend(number.to_le_bytes()));
    [&chunk, extended, behind].concat()
}

#[test]
fn special_chunks_are_filled() {
    let extended = |special: u8| [&[0; 15][..], &[special << 4]].concat();
    assert_eq!(with_chunk(4, &chunk(5, 5, 4, &extended(1), &[])).unwrap(), [0; 160]);
    assert_eq!(with_chunk(4, &chunk(5, 5, 4, &extended(4), &[])).unwrap(), [0; 160]);
    assert_eq!(with_chunk(4, &chunk(5, 5, 4, &extended(2), &[])).unwrap(), f32::NAN.to_le_bytes().repeat(40));
    assert_eq!(with_chunk(8, &chunk(5, 5, 8, &extended(2), &[])).unwrap(), f64::NAN.to_le_bytes().repeat(40));
    assert_eq!(with_chunk(3, &chunk(5, 5, 3, &extended(3), b"abc")).unwrap(), b"abc".repeat(40));
    assert!(
        with_chunk(2, &chunk(5, 5, 2, &extended(2), &[]))
            .unwrap_err()
            .to_string()
            .contains("floats of 2 bytes")
    );
    assert!(with_chunk(3, &chunk(5, 5, 3, &extended(3), b"ab")).unwrap_err().contains("cut short"));
}

#[test]
fn chunks_of_the_first_blosc_are_read() {
    let elements: Vec<u8> = (0..40u16).flat_map(|i| (i + 1000).to_le_bytes()).collect();
    let planes: Vec<u8> = [0, 1].iter().flat_map(|n| elements[*n..].iter().step_by(2).copied()).collect();
    // One block after its offset, in one stream or in two, which are not compressed.
    let one = [&20u32.to_le_bytes()[..], &80u32.to_le_bytes(), &planes].concat();
    assert_eq!(with_chunk(2, &chunk(2, 0x11 | 1 << 5, 2, &[], &one)).unwrap(), elements);
    let [first, second] = [&planes[..40], &planes[40..]];
    let two = [&20u32.to_le_bytes()[..], &40u32.to_le_bytes(), first, &40u32.to_le_bytes(), second].concat();
    assert_eq!(with_chunk(2, &chunk(2, 1 | 1 << 5, 2, &[], &two)).unwrap(), elements);
    let bits = [&20u32.to_le_bytes()[..], &80u32.to_le_bytes(), &[1; 80]].concat();
    let mut wanted = [0; 80];
    Arrangement::Bits.undo(&[1; 80], 2, &mut wanted);
    assert_eq!(with_chunk(2, &chunk(2, 0x14 | 1 << 5, 2, &[], &bits)).unwrap(), wanted);
    assert_eq!(with_chunk(2, &chunk(2, 2, 2, &[], &elements)).unwrap(), elements);
}

use crate::blosc::compression::Arrangement;

/// A stored sample of a frame.
macro_rules! kept {
    ($name:literal) => {
        ($name, &include_bytes!(concat!("samples/", $name, ".frame"))[..])
    };
}

/// Frames that hdf5plugin 6.0 wrote.
#[test]
fn frames_of_hdf5plugin_are_read() {
    let frames = [
        (kept!("codec-0"), 4, 300),
        (kept!("codec-1"), 4, 300),
        (kept!("codec-2"), 4, 300),
        (kept!("codec-4"), 4, 300),
        (kept!("codec-5"), 4, 300),
        (kept!("filter-0"), 4, 300),
        (kept!("filter-0-blocks"), 8, 300),
        (kept!("filter-2"), 4, 300),
        (kept!("filter-2-blocks"), 8, 300),
        (kept!("filter-3"), 4, 300),
        (kept!("filter-3-blocks"), 8, 300),
        (kept!("level-0"), 4, 50),
        (kept!("level-9"), 4, 300),
        (kept!("elements-of-3"), 3, 300),
        (kept!("elements-of-300"), 300, 20),
        (kept!("array"), 4, 300),
        (kept!("array-bits"), 2, 300),
        (kept!("array-delta"), 8, 300),
        (kept!("array-level-0"), 4, 35),
        (kept!("array-elements-of-300"), 300, 20),
    ];
    for ((name, frame), size, elements) in frames {
        is_read(name, frame, &smooth(size, size * elements));
    }
    for (name, frame) in [kept!("zeros"), kept!("array-zeros")] {
        is_read(name, frame, &[0; 1200]);
    }
    let (name, frame) = kept!("runs");
    is_read(name, frame, &[7, 0, 0, 255].repeat(300));
}

/// Frames that python-blosc2 4.14 wrote, with features that the filter does not use.
#[test]
fn frames_of_python_blosc2_are_read() {
    let frames = [
        kept!("many-chunks"),
        kept!("filters-in-a-row"),
        kept!("delta-and-shuffle"),
        kept!("never-split"),
        kept!("always-split"),
        kept!("rank-1"),
        kept!("note"),
    ];
    let numbers = smooth(4, 1200);
    frames.iter().for_each(|(name, frame)| is_read(name, frame, &numbers));
    let halves: Vec<u8> = numbers
        .as_chunks()
        .0
        .iter()
        .flat_map(|number| (i32::from_le_bytes(*number) as f32 / 2.0).to_le_bytes())
        .collect();
    for ((name, frame), wanted) in [
        (kept!("truncated"), halves),
        (kept!("nans"), f32::NAN.to_le_bytes().repeat(300)),
        (kept!("value"), 9i32.to_le_bytes().repeat(300)),
        (kept!("array-of-zeros"), vec![0; 1200]),
        (kept!("uninitialized"), vec![0; 1200]),
    ] {
        is_read(name, frame, &wanted);
    }
}

/// Reads a frame, and checks that decoding it with each byte changed ends.
fn is_read(name: &str, frame: &[u8], wanted: &[u8]) {
    // Client data only affect the check of the dimensions.
    let blosc = filter(1, 5, 1, 0);
    assert!(blosc.decode(frame, wanted.len()).unwrap_or_else(|e| panic!("{name}: {e}")) == wanted, "{name}");
    for at in 0..frame.len() {
        let mut damaged = frame.to_vec();
        for with in [1, 128, 255] {
            damaged[at] = frame[at] ^ with;
            if let Ok(decoded) = blosc.decode(&damaged, wanted.len()) {
                assert!(decoded.len() <= wanted.len(), "{name}: {at}");
            }
        }
        assert!(blosc.decode(&frame[..at], wanted.len()).is_err(), "{name}: cut at {at}");
    }
}

proptest! {
    #[test]
    fn damage_ends(
        codec in prop::sample::select(&CODECS[..]), stage in 0u32..4, size in 1u32..20, rank in 1usize..4,
        ats in prop::collection::vec(any::<prop::sample::Index>(), 1..4), with in any::<u8>()
    ) {
        let dims = &[10, 9, 8][..rank];
        let len = (dims.iter().product::<u32>() * size) as usize;
        let blosc = match rank {
            1 => filter(size as usize, 5, stage, codec),
            _ => filter_of(dims, size, 100 * size, 5, stage, codec),
        };
        let mut encoded = blosc.encode(&smooth(size as usize, len)).unwrap();
        for at in ats {
            let at = at.index(encoded.len());
            encoded[at] ^= with;
        }
        if let Ok(decoded) = blosc.decode(&encoded, len) {
            prop_assert!(decoded.len() <= len);
        }
    }
}
