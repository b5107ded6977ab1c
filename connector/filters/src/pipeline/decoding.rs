//! Decodes chunks. Lengths in chunks come from a file, so no step allocates more memory than its data can need, and a
//! failed allocation is an error that does not end the process.

use super::Pipeline;
use super::foreign::{ChunkCodec, Work};
use super::steps::{FilterStep, Steps};
use crate::FilterCodec;
use h5lake_ledger::buffers;
use h5lake_records::memory::buffer;
use h5lake_records::{Error, Result};

/// Factor by which the output of a step may exceed the length of the chunk. No sensible pipeline comes near it; without
/// the limit, each of the 32 filters of a malicious pipeline could multiply its output.
const MAX_GROWTH: usize = 16;
/// Minimum limit for short chunks, because filters add headers and tables.
const MIN_LIMIT_BYTES: usize = 1 << 20;
/// Initial output buffer if the decoded length is not known before decoding, as a multiple of the encoded length.
const FIRST_RATIO: usize = 4;
const FIRST_BUFFER_BYTES: usize = 4096;
/// The initial output buffer also has the length of the chunk plus this fraction for the additions of another filter.
/// Most steps need no more, so that one attempt is enough.
const SPARE_PART: usize = 8;

impl Pipeline {
    /// Decodes a stored chunk of `len` bytes.
    ///
    /// # Errors
    /// `Corrupt`, which names the filter; `OutOfRange` if there is not enough memory.
    pub fn decode(&self, data: Vec<u8>, mask: u32, len: usize) -> Result<Vec<u8>> {
        if self.skips_all(mask) && data.len() == len {
            return Ok(data);
        }
        let mut out = buffer(len)?;
        match self.decode_into(data, mask, &mut out) {
            Ok(()) => Ok(out),
            Err(error) => {
                buffers::give(out);
                Err(error)
            }
        }
    }

    /// Decodes a stored chunk to `out`, which has the chunk's length. After an error the content of `out` is
    /// unspecified.
    ///
    /// # Errors
    /// As for [`Self::decode`].
    pub fn decode_into(&self, data: Vec<u8>, mask: u32, out: &mut [u8]) -> Result<()> {
        let done = self.decode_slice_into(&data, mask, out);
        buffers::give(data);
        done
    }

    /// Decodes stored bytes that the caller owns to `out`, which has the chunk's length.
    ///
    /// # Errors
    /// As for [`Self::decode`].
    pub fn decode_slice_into(&self, stored: &[u8], mask: u32, out: &mut [u8]) -> Result<()> {
        if self.steps.used(mask).any(|step| step.codec.is_none()) {
            let work = Work::Decode { stored, mask, len: out.len() };
            let (_, decoded) = self.codecs.run(&self.steps, work)?;
            let done = put(&decoded, out);
            buffers::give(decoded);
            return done;
        }
        self.steps.decode_into(stored, mask, out, None)
    }

    fn skips_all(&self, mask: u32) -> bool {
        self.steps.used(mask).next().is_none()
    }
}

impl Steps {
    /// Returns the steps that a chunk with this mask went through.
    fn used(&self, mask: u32) -> impl Iterator<Item = &FilterStep> {
        self.all.iter().enumerate().filter(move |(n, _)| mask & (1 << n) == 0).map(|(_, step)| step)
    }

    /// Decodes a stored chunk to `out`, which has the chunk's length. `lent` runs the filters that are not built in.
    ///
    /// # Errors
    /// As for [`Pipeline::decode`].
    pub(super) fn decode_into(
        &self,
        stored: &[u8],
        mask: u32,
        out: &mut [u8],
        lent: Option<&dyn ChunkCodec>,
    ) -> Result<()> {
        // No filter decodes until all filters are known to be available.
        for step in self.used(mask).filter(|step| step.codec.is_none()) {
            step.foreign(lent)?.check(&step.filter)?;
        }
        let most = out.len().saturating_mul(MAX_GROWTH).max(MIN_LIMIT_BYTES);
        // Each step with the maximum number of bytes to which it may decode.
        let mut limit = out.len();
        let mut steps: Vec<_> = Vec::with_capacity(self.all.len());
        for step in self.used(mask) {
            steps.push((step, limit));
            limit = step.max_encoded_bytes(limit).min(most);
        }
        let mut so_far = None::<Vec<u8>>;
        for (step, limit) in steps.drain(steps.len().min(1)..).rev() {
            let data = so_far.as_deref().unwrap_or(stored);
            // If the output of a step is no longer than the input, the output needs no more memory than the input did.
            let limit = limit.max(data.len());
            let decoded = step.decode(data, out.len(), limit, lent)?;
            so_far.replace(decoded).into_iter().for_each(buffers::give);
        }
        let data = so_far.as_deref().unwrap_or(stored);
        match steps.pop() {
            Some((step, _)) => step.decode_chunk(data, out, most, lent)?,
            None => put(data, out)?,
        }
        so_far.into_iter().for_each(buffers::give);
        Ok(())
    }
}

impl FilterStep {
    /// Decodes data of a chunk of `chunk` bytes, to `limit` bytes at most.
    fn decode(
        &self,
        data: &[u8],
        chunk: usize,
        limit: usize,
        lent: Option<&dyn ChunkCodec>,
    ) -> Result<Vec<u8>> {
        let Some(codec) = self.codec.as_deref() else {
            let decoded = self.foreign(lent)?.decode(&self.filter, data, limit)?;
            if decoded.len() <= limit {
                return Ok(decoded);
            }
            let text = format!("{} bytes come out, more than {limit}", decoded.len());
            return Err(Undecodable::Damage(text).of(self));
        };
        decoded(codec, data, chunk, limit).map_err(|error| error.of(self))
    }

    /// Decodes the last step of a chunk to `out`.
    fn decode_chunk(
        &self,
        data: &[u8],
        out: &mut [u8],
        most: usize,
        lent: Option<&dyn ChunkCodec>,
    ) -> Result<()> {
        match self.codec.as_deref() {
            Some(codec) => decode_chunk(codec, data, out, most).map_err(|error| error.of(self)),
            None => {
                let decoded = self.decode(data, out.len(), most.max(data.len()), lent)?;
                let done = put(&decoded, out);
                buffers::give(decoded);
                done
            }
        }
    }
}

/// The reason why a step cannot decode.
#[derive(Debug)]
pub(crate) enum Undecodable {
    /// The error of the filter.
    Damage(String),
    /// There is not enough memory.
    Memory(Error),
}

impl From<String> for Undecodable {
    fn from(text: String) -> Self {
        Self::Damage(text)
    }
}

#[cfg(test)]
impl std::fmt::Display for Undecodable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Damage(text) => f.write_str(text),
            Self::Memory(error) => error.fmt(f),
        }
    }
}

impl Undecodable {
    fn of(self, step: &FilterStep) -> Error {
        match self {
            Self::Damage(text) => Error::corrupt(format!("the filter {}: {text}", step.name)),
            Self::Memory(error) => error.context(format!("the filter {}", step.name)),
        }
    }
}

/// Decodes data of a chunk of `chunk` bytes, to at most `limit` bytes. Data that decodes to more is damaged.
pub(crate) fn decoded(
    codec: &dyn FilterCodec,
    data: &[u8],
    chunk: usize,
    limit: usize,
) -> std::result::Result<Vec<u8>, Undecodable> {
    let Some(len) = codec.decoded_len(data)? else { return grown(codec, data, chunk, limit) };
    if len > limit {
        return Err(Undecodable::Damage(format!("{len} bytes come out, more than {limit}")));
    }
    let mut out = buffer(len).map_err(Undecodable::Memory)?;
    codec.decode_into(data, &mut out)?;
    Ok(out)
}

/// Decodes data of unknown decoded length: doubles the buffer until the output fits.
fn grown(
    codec: &dyn FilterCodec,
    data: &[u8],
    chunk: usize,
    limit: usize,
) -> std::result::Result<Vec<u8>, Undecodable> {
    let usual = chunk.saturating_add(chunk / SPARE_PART);
    let mut length = data.len().saturating_mul(FIRST_RATIO).max(FIRST_BUFFER_BYTES).max(usual).min(limit);
    loop {
        let mut out = buffer(length).map_err(Undecodable::Memory)?;
        if let Some(len) = codec.decode_into(data, &mut out)? {
            out.truncate(len);
            return Ok(out);
        }
        buffers::give(out);
        if length == limit {
            return Err(Undecodable::Damage(format!("more than {limit} bytes come out")));
        }
        length = length.saturating_mul(2).min(limit);
    }
}

/// Decodes the last step. If the data decodes to more than the chunk, only the beginning is used, as in native HDF5
/// (`H5D__chunk_lock`), because programs may write such chunks directly.
fn decode_chunk(
    codec: &dyn FilterCodec,
    data: &[u8],
    out: &mut [u8],
    most: usize,
) -> std::result::Result<(), Undecodable> {
    let wanted = out.len();
    let short = |len| Undecodable::Damage(format!("{len} bytes come out where {wanted} are to be"));
    let is_longer = match codec.decoded_len(data)? {
        Some(len) if len < out.len() => return Err(short(len)),
        Some(len) => len > out.len(),
        None => false,
    };
    if !is_longer {
        match codec.decode_into(data, out)? {
            Some(len) if len < out.len() => return Err(short(len)),
            Some(_) => return Ok(()),
            None => {}
        }
    }
    let longer = decoded(codec, data, out.len(), most)?;
    out.copy_from_slice(&longer[..out.len()]);
    buffers::give(longer);
    Ok(())
}

/// Copies a decoded chunk to `out`; see [`decode_chunk`].
fn put(data: &[u8], out: &mut [u8]) -> Result<()> {
    let Some(chunk) = data.get(..out.len()) else {
        return Err(Error::corrupt(format!("a chunk of {} bytes decodes to {}", out.len(), data.len())));
    };
    out.copy_from_slice(chunk);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::decoded;
    use crate::deflate::Deflate;
    use crate::{FilterCodec, Pipeline};
    use h5lake_records::types::Filter;

    fn pipeline(filters: &[(i32, &[u32])]) -> Pipeline {
        let of = |(id, values): &(i32, &[u32])| Filter {
            id: *id,
            flags: 0,
            name: Vec::new(),
            client_data: values.to_vec(),
        };
        Pipeline::new(&filters.iter().map(of).collect::<Vec<_>>()).unwrap()
    }

    const DEFLATE: (i32, &[u32]) = (1, &[6]);
    /// A chunk of rank 8.
    const BLOSC2: (i32, &[u32]) = (32026, &[1, 0, 1, 0, 5, 1, 0, 8, 2, 2, 2, 2, 2, 2, 2, 2]);

    /// Counts its calls to decode.
    #[derive(Debug)]
    struct Counted(Deflate, AtomicUsize);

    impl FilterCodec for Counted {
        fn max_encoded_bytes(&self, len: usize) -> usize {
            self.0.max_encoded_bytes(len)
        }
        fn encode(&self, data: &[u8]) -> Option<Vec<u8>> {
            self.0.encode(data)
        }
        fn decoded_len(&self, _: &[u8]) -> Result<Option<usize>, String> {
            Ok(None)
        }
        fn decode_into(&self, data: &[u8], out: &mut [u8]) -> Result<Option<usize>, String> {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.decode_into(data, out)
        }
    }

    /// Data that compresses a thousandfold beneath another filter is decoded once.
    #[test]
    fn a_decoding_step_runs_once() {
        let codec = Counted(Deflate::new(Some(6)).unwrap(), AtomicUsize::new(0));
        let chunk = vec![7; 1 << 20];
        let stored = codec.encode(&chunk).unwrap();
        assert!(decoded(&codec, &stored, chunk.len(), chunk.len() + 4).unwrap() == chunk);
        assert_eq!(codec.1.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn many_filters_need_no_more_memory_than_their_data() {
        let data = vec![7; 1 << 20];
        for n in [1, 2, 16, 31, 32] {
            let p = pipeline(&vec![DEFLATE; n]);
            let (mask, stored) = p.encode(&data).unwrap();
            assert!(p.decode(stored, mask, data.len()).unwrap() == data, "{n} filters");
        }
        for n in [4, 31] {
            let p = pipeline(&[vec![BLOSC2; n], vec![DEFLATE]].concat());
            assert!(p.decode(vec![1; 18], 0, 1 << 20).is_err());
            let p = pipeline(&[vec![DEFLATE], vec![BLOSC2; n]].concat());
            assert!(p.decode(vec![1; 18], 0, 1 << 20).is_err());
        }
    }

    #[test]
    fn the_output_of_a_step_is_bounded() {
        let zeros = vec![0; 64 << 20];
        let (_, once) = pipeline(&[DEFLATE]).encode(&zeros).unwrap();
        let (_, twice) = pipeline(&[DEFLATE]).encode(&once).unwrap();
        let error = pipeline(&[DEFLATE, DEFLATE]).decode(twice, 0, 1000).unwrap_err().to_string();
        assert!(error.contains("more than"), "{error}");
        let error = pipeline(&[DEFLATE]).decode(once, 0, 1000).unwrap_err().to_string();
        assert!(error.contains("more than 1048576 bytes"), "{error}");
    }

    #[test]
    fn of_longer_chunks_the_beginning_counts_and_shorter_ones_are_damaged() {
        let data: Vec<u8> = (0..4000u32).map(|n| (n / 7) as u8).collect();
        let all: [(i32, &[u32]); 9] = [
            DEFLATE,
            (2, &[1]),
            (3, &[]),
            (307, &[9]),
            (32000, &[]),
            (32001, &[2, 2, 4, 4000, 5, 1, 1]),
            (32004, &[]),
            (32008, &[0, 4, 4, 0, 2]),
            (32015, &[3]),
        ];
        for filter in all {
            let p = pipeline(&[filter]);
            let (mask, stored) = p.encode(&data).unwrap();
            assert_eq!(mask, 0, "{filter:?}");
            assert!(p.decode(stored.clone(), 0, 3000).unwrap() == data[..3000], "{filter:?}");
            assert!(p.decode(stored.clone(), 0, 4000).unwrap() == data, "{filter:?}");
            assert!(p.decode(stored, 0, 4001).is_err(), "{filter:?}");
        }
        assert!(pipeline(&[DEFLATE]).decode(data.clone(), 1, 3000).unwrap() == data[..3000]);
        assert!(pipeline(&[DEFLATE]).decode(data, 1, 4001).is_err());
    }
}
