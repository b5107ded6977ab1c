//! Decodes chunks from a source that is not a container, to the places that a selection requests.

use crate::{
    ChunkDecoder, ChunkSource, Decoded, Error, ErrorKind, Filter, Result, Run, Selection, SourceChunk,
};
use h5lake_filters::Pipeline;
use h5lake_ledger::buffers::Scratch;
use proptest::prelude::*;
use std::collections::HashMap;
use std::thread::{ThreadId, current};

const ELEMENT: usize = 4;

/// A dataset of `u32`, each element its own number, with its chunks in their stored form.
struct Stored {
    chunks: HashMap<Vec<u64>, (u32, Vec<u8>)>,
    asked: Vec<Vec<u64>>,
    thread: ThreadId,
}

impl ChunkSource for Stored {
    fn stored_chunk(&mut self, coords: &[u64]) -> Result<SourceChunk> {
        assert_eq!(current().id(), self.thread, "chunks are asked for by the calling thread");
        self.asked.push(coords.to_vec());
        let Some((mask, bytes)) = self.chunks.get(coords) else { return Ok(SourceChunk::Missing) };
        // The buffer is longer than the stored bytes, like that of a source that does not know the length before.
        let mut buffer = Scratch::new(bytes.len() + 100);
        buffer[..bytes.len()].copy_from_slice(bytes);
        Ok(SourceChunk::Stored { mask: *mask, buffer, len: bytes.len() })
    }
}

fn filters() -> Vec<Filter> {
    let filter = |id, data: &[u32]| Filter { id, flags: 0, name: Vec::new(), client_data: data.to_vec() };
    vec![filter(2, &[ELEMENT as u32]), filter(1, &[4]), filter(3, &[])]
}

fn places(dims: &[u64]) -> impl Iterator<Item = Vec<u64>> {
    let total: u64 = dims.iter().product();
    let dims = dims.to_vec();
    (0..total).map(move |n| crate::chunk::grid::coordinates(&dims, n))
}

/// Stores a dataset; chunks with numbers that `left_out` divides have no storage, and every fourth skips a filter.
fn store(dims: &[u64], chunk: &[u64], left_out: u64) -> Stored {
    let len = chunk.iter().product::<u64>() as usize;
    let mut plain: HashMap<Vec<u64>, Vec<u32>> = HashMap::new();
    for (n, at) in places(dims).enumerate() {
        let coords: Vec<_> = at.iter().zip(chunk).map(|(a, c)| a / c).collect();
        let within = at.iter().zip(chunk).fold(0, |n, (a, c)| n * c + a % c);
        plain.entry(coords).or_insert_with(|| vec![0xdead; len])[within as usize] = n as u32;
    }
    let (whole, short) = (Pipeline::new(&filters()).unwrap(), Pipeline::new(&filters()[1..]).unwrap());
    let mut chunks = HashMap::new();
    for (coords, elements) in plain {
        let number: u64 = coords.iter().enumerate().map(|(d, c)| c << (3 * d)).sum();
        if left_out > 0 && number % left_out == left_out - 1 {
            continue;
        }
        let bytes: Vec<u8> = elements.iter().flat_map(|e| e.to_le_bytes()).collect();
        let stored = match number % 4 {
            3 => (1, short.encode(&bytes).unwrap().1),
            _ => whole.encode(&bytes).unwrap(),
        };
        chunks.insert(coords, stored);
    }
    Stored { chunks, asked: Vec::new(), thread: current().id() }
}

/// Returns the expected result of a read.
fn expected(dims: &[u64], chunk: &[u64], stored: &Stored, selection: &Selection, fill: u32) -> Vec<u8> {
    let all: Vec<_> = places(dims).collect();
    let element = |n: usize| {
        let coords: Vec<_> = all[n].iter().zip(chunk).map(|(a, c)| a / c).collect();
        if stored.chunks.contains_key(&coords) { n as u32 } else { fill }
    };
    let runs = selection.runs(dims).unwrap();
    let numbers = runs.iter().flat_map(|r| r.offset..r.offset + r.count);
    numbers.flat_map(|n| element(n as usize).to_le_bytes()).collect()
}

fn decoder(chunk: &[u64], fill: Option<u32>) -> ChunkDecoder {
    let fill = fill.map(|fill| fill.to_le_bytes().to_vec());
    ChunkDecoder::new(chunk, ELEMENT, &filters(), fill).unwrap().unwrap()
}

fn some_slab() -> impl Strategy<Value = (Vec<u64>, Vec<u64>, Selection)> {
    let axis = (1_u64..60, 1_u64..20, 0_u64..40, 1_u64..6, 1_u64..6, 1_u64..6);
    prop::collection::vec(axis, 1..4).prop_map(|axes| {
        let (mut dims, mut chunk) = (Vec::new(), Vec::new());
        let [mut start, mut stride, mut count, mut block] = [(); 4].map(|()| Vec::new());
        for (dim, c, first, step, n, b) in axes {
            let first = first % dim;
            let b = b.min(dim - first);
            let step = step.max(b);
            let n = n.min((dim - first - b) / step + 1);
            dims.push(dim);
            chunk.push(c);
            start.push(first);
            stride.push(step);
            count.push(n);
            block.push(b);
        }
        (dims, chunk, Selection::Hyperslab { start, stride, count, block })
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_element_is_decoded_to_its_offset((dims, chunk, slab) in some_slab(), left_out in 0_u64..4, points in prop::collection::vec(any::<prop::sample::Index>(), 1..30)) {
        let total: u64 = dims.iter().product();
        let runs = points.iter().map(|p| Run { offset: p.index(total as usize) as u64, count: 1 }).collect();
        for selection in [slab, Selection::All, Selection::Runs(runs), Selection::None] {
            let mut stored = store(&dims, &chunk, left_out);
            let wanted = expected(&dims, &chunk, &stored, &selection, 77);
            let mut out = vec![0xaa; wanted.len()];
            let decoder = decoder(&chunk, Some(77));
            let done = decoder.read(&dims, &selection, &mut out, &mut stored).unwrap();
            prop_assert_eq!(&out, &wanted);
            let found = stored.asked.iter().filter(|coords| stored.chunks.contains_key(*coords)).count();
            prop_assert_eq!(done.chunks, found as u64);
            let touched = stored.asked.len() as u64;
            if touched > 0 {
                prop_assert!(decoder.touches(&dims, &selection, touched).unwrap());
            }
            prop_assert!(!decoder.touches(&dims, &selection, touched + 1).unwrap());
        }
    }
}

/// Chunks that are long enough for several threads, decoded directly to their places and through a whole chunk.
#[test]
fn long_chunks_are_decoded_side_by_side() {
    let (dims, chunk) = ([512, 700], [64, 256]);
    for stride in [1, 3] {
        let count = vec![512, 700 / stride];
        let slab =
            Selection::Hyperslab { start: vec![0, 0], stride: vec![1, stride], count, block: vec![1, 1] };
        let mut stored = store(&dims, &chunk, 0);
        let wanted = expected(&dims, &chunk, &stored, &slab, 0);
        let mut out = vec![0; wanted.len()];
        let done = decoder(&chunk, None).read(&dims, &slab, &mut out, &mut stored).unwrap();
        assert!(out == wanted && done.chunks == 24);
    }
}

#[test]
fn unreadable_chunks_are_errors() {
    let (dims, chunk) = ([512, 700], [64, 256]);
    let mut out = vec![0; 512 * 700 * ELEMENT];
    let mut read = |stored: &mut Stored, fill| {
        decoder(&chunk, fill).read(&dims, &Selection::All, &mut out, stored).map_err(|e| e.kind())
    };
    let mut missing = store(&dims, &chunk, 5);
    assert_eq!(read(&mut missing, None), Err(ErrorKind::NotFound));
    let mut damaged = store(&dims, &chunk, 0);
    damaged.chunks.values_mut().for_each(|(_, bytes)| bytes[20] ^= 1);
    assert_eq!(read(&mut damaged, None), Err(ErrorKind::Corrupt));
    struct Fails(u32);
    impl ChunkSource for Fails {
        fn stored_chunk(&mut self, _: &[u64]) -> Result<SourceChunk> {
            self.0 += 1;
            if self.0 < 4 { Ok(SourceChunk::Missing) } else { Err(Error::new(ErrorKind::Io, "no more")) }
        }
    }
    let failed = decoder(&chunk, Some(0)).read(&dims, &Selection::All, &mut out, &mut Fails(0));
    assert_eq!(failed.map_err(|e| e.to_string()), Err("no more".to_owned()));
    let short = decoder(&chunk, Some(0)).read(&dims, &Selection::All, &mut out[1..], &mut Fails(0));
    assert_eq!(short.map_err(|e| e.kind()), Err(ErrorKind::InvalidArgument));
}

#[test]
fn unavailable_filters_have_no_decoder() {
    let foreign = [Filter { id: 300, flags: 0, name: Vec::new(), client_data: Vec::new() }];
    assert!(ChunkDecoder::new(&[4], ELEMENT, &foreign, None).unwrap().is_none());
    assert!(ChunkDecoder::new(&[4], ELEMENT, &filters(), Some(vec![0; 3])).is_err());
    assert!(ChunkDecoder::new(&[0], ELEMENT, &filters(), None).is_err());
    assert!(ChunkDecoder::new(&[u64::MAX, 2], ELEMENT, &filters(), None).is_err());
    assert_eq!(Decoded::default().chunks, 0);
}
