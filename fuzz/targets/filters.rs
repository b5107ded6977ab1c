//! The filters: a pipeline with arbitrary parameters, which decodes a chunk and encodes it.
#![no_main]

use h5lake_filters::fuzz::FilteredChunk;
use h5lake_fuzz::seeds;
use libfuzzer_sys::fuzz_target;

/// Returns parameters with which each filter works, for elements of 4 bytes.
fn parameters(elements: u32) -> Vec<(i32, Vec<u32>)> {
    let scaleoffset = |scale, class, sign, fill| {
        let mut values = vec![scale, 0, elements, class, 4, sign, 0, fill, 7];
        values.resize(20, 0);
        (6, values)
    };
    let blosc2 = |block, filter, codec, dims: &[u32]| {
        let mut values = vec![1, block, 4, 4 * elements, 5, filter, codec];
        if !dims.is_empty() {
            values.push(dims.len() as u32);
        }
        values.extend(dims);
        (32026, values)
    };
    vec![
        (1, vec![6]),
        (2, vec![4]),
        (3, vec![]),
        (5, vec![8, 0, elements, 1, 4, 0, 13, 3]),
        (5, vec![20, 0, elements, 3, 4, 2, 0, 2, 2, 1, 1, 1, 3, 2, 3, 1, 1, 1, 5, 1]),
        scaleoffset(2, 0, 0, 0),
        scaleoffset(2, 0, 1, 1),
        scaleoffset(0, 1, 0, 1),
        (307, vec![1]),
        (32000, vec![]),
        (32004, vec![100]),
        (32008, vec![0, 4, 4]),
        (32008, vec![0, 4, 4, 16, 2]),
        (32008, vec![0, 4, 4, 0, 3, 1]),
        (32015, vec![1]),
        (32001, vec![2, 2, 4, 4 * elements, 5, 1, 0]),
        (32001, vec![2, 2, 4, 4 * elements, 5, 2, 1]),
        blosc2(0, 1, 0, &[]),
        blosc2(64, 2, 1, &[]),
        blosc2(64, 3, 4, &[10, elements / 10]),
        blosc2(128, 1, 5, &[5, 2, elements / 10]),
    ]
}

fn make_seeds() -> Vec<(String, Vec<u8>)> {
    let data: Vec<u8> = (0..100_u32).flat_map(|i| (i / 3 * 8 % 500).to_le_bytes()).collect();
    let mut seeds = Vec::new();
    for (n, filter) in parameters(100).into_iter().enumerate() {
        for before in [None, Some((2, vec![4])), Some((3, vec![]))] {
            let filters: Vec<_> = before.into_iter().chain([filter.clone()]).collect();
            let plain = FilteredChunk { filters: filters.clone(), len: 400, data: &data };
            if let Some(encoded) = plain.encode() {
                let chunk = FilteredChunk { filters, len: 400, data: &encoded };
                seeds.push((format!("{n}-{}", seeds.len()), chunk.to_bytes()));
            }
        }
    }
    seeds
}

fuzz_target!(
    init: seeds::write_if_asked(make_seeds),
    |bytes: &[u8]| {
        if let Some(chunk) = FilteredChunk::parse(bytes) {
            chunk.run();
        }
    }
);
