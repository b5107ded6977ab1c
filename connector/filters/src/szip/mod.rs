//! Szip (filter 4): the lossless coder of CCSDS 121.0-B, as HDF5 uses it through libaec.
//!
//! The client data are options, samples of a block, bits of a sample and samples of a line. Samples of 32 and 64 bits
//! are split into planes of bytes. A line is padded to whole blocks and is one interval, which begins with an
//! unpredicted sample. A chunk begins with its length in 4 bytes, little-endian (H5Zszip.c, and sz_compat.c of libaec).

mod bit_stream;
mod decode;
mod encode;

use super::shuffle::{elements_of_planes, planes_of};
use super::{FilterCodec, scratch};
use h5lake_ledger::buffers::{self, Scratch};

/// Bytes of the length before the encoded data.
const LENGTH_BYTES: usize = 4;
/// `SZ_MSB_OPTION_MASK`: samples are big-endian.
const BIG_ENDIAN: u32 = 16;
/// `SZ_NN_OPTION_MASK`: a sample is predicted from the one before.
const PREDICTED: u32 = 32;
/// Limits of libaec, and one of our own on the samples of a block: HDF5 allows 32.
const MAX_BLOCKS: usize = 4096;
const MAX_BLOCK: usize = 64;
/// Number of blocks within which blocks of zeros are counted.
const SEGMENT: usize = 64;
/// The count of zero blocks that means all remaining blocks of the segment.
const REMAINDER: u32 = 5;

/// The coding of samples.
#[derive(Debug, Clone, Copy)]
struct Coding {
    /// Bits of a sample: at most 32.
    bits: u32,
    /// Bytes of a sample.
    bytes: usize,
    is_big_endian: bool,
    is_predicted: bool,
    /// Samples of a block, blocks of a line, and samples of a line without its padding.
    block: usize,
    blocks: usize,
    line: usize,
}

impl Coding {
    /// Returns the number of bits that identify how a block is coded.
    fn id_bits(&self) -> u32 {
        match self.bits {
            0..=8 => 3,
            9..=16 => 4,
            _ => 5,
        }
    }

    /// Returns the identifier of an unencoded block.
    fn plain_id(&self) -> u32 {
        (1 << self.id_bits()) - 1
    }

    /// Returns the maximum sample.
    fn max(&self) -> u32 {
        ((1u64 << self.bits) - 1) as u32
    }

    /// Returns whether no sample has more bits than the coding has. Samples have more if they have padding bits that
    /// are set, or if a filter in front of szip changed the bytes.
    fn fits(&self, samples: &[u32]) -> bool {
        samples.iter().fold(0, |set, sample| set | sample) <= self.max()
    }

    /// Appends the samples in `bytes`.
    fn samples(&self, bytes: &[u8], samples: &mut Vec<u32>) {
        let (twos, fours) = (bytes.as_chunks::<2>().0, bytes.as_chunks::<4>().0);
        match (self.bytes, self.is_big_endian) {
            (1, _) => samples.extend(bytes.iter().map(|byte| u32::from(*byte))),
            (2, true) => samples.extend(twos.iter().map(|two| u32::from(u16::from_be_bytes(*two)))),
            (2, false) => samples.extend(twos.iter().map(|two| u32::from(u16::from_le_bytes(*two)))),
            (_, true) => samples.extend(fours.iter().map(|four| u32::from_be_bytes(*four))),
            (_, false) => samples.extend(fours.iter().map(|four| u32::from_le_bytes(*four))),
        }
    }

    /// Writes the first samples as bytes, until `bytes` is full.
    fn put_samples(&self, samples: &[u32], bytes: &mut [u8]) {
        match (self.bytes, self.is_big_endian) {
            (1, _) => bytes.iter_mut().zip(samples).for_each(|(byte, sample)| *byte = *sample as u8),
            (2, true) => put_each(samples, bytes, |sample| (sample as u16).to_be_bytes()),
            (2, false) => put_each(samples, bytes, |sample| (sample as u16).to_le_bytes()),
            (_, true) => put_each(samples, bytes, u32::to_be_bytes),
            (_, false) => put_each(samples, bytes, u32::to_le_bytes),
        }
    }
}

fn put_each<const N: usize>(samples: &[u32], bytes: &mut [u8], bytes_of: impl Fn(u32) -> [u8; N]) {
    bytes.as_chunks_mut().0.iter_mut().zip(samples).for_each(|(bytes, sample)| *bytes = bytes_of(*sample));
}

#[derive(Debug)]
pub(super) struct Szip {
    /// The coding; `None` for invalid parameters.
    coding: Option<Coding>,
    /// Bytes of the elements that are split into planes.
    apart: Option<usize>,
}

impl Szip {
    pub(super) fn new(client_data: &[u32]) -> Self {
        let none = Self { coding: None, apart: None };
        let [options, block, bits, line] = *client_data else { return none };
        let apart = matches!(bits, 32 | 64).then_some(bits as usize / 8);
        let bits = if apart.is_some() { 8 } else { bits };
        let (block, line) = (block as usize, line as usize);
        let is_known = (1..=32).contains(&bits) && (1..=MAX_BLOCK).contains(&block) && block % 2 == 0;
        if !is_known || !(1..=MAX_BLOCKS).contains(&line.div_ceil(block)) {
            return none;
        }
        let coding = Coding {
            bits,
            bytes: (bits as usize).div_ceil(8).next_power_of_two(),
            is_big_endian: options & BIG_ENDIAN != 0,
            is_predicted: options & PREDICTED != 0,
            block,
            blocks: line.div_ceil(block),
            line,
        };
        Self { coding: Some(coding), apart }
    }

    /// Returns the coding of data of `len` bytes, if they are whole samples.
    fn coding(&self, len: usize) -> Option<&Coding> {
        let size = self.apart.unwrap_or(1);
        self.coding.as_ref().filter(|coding| len.is_multiple_of(size) && len.is_multiple_of(coding.bytes))
    }

    fn decode_to(&self, data: &[u8], out: &mut [u8]) -> Result<(), String> {
        let coding = self.coding(out.len()).ok_or("invalid szip parameters")?;
        let Some(size) = self.apart else { return decode::decode(coding, data, out) };
        let mut planes = scratch(out.len())?;
        decode::decode(coding, data, &mut planes)?;
        if !out.is_empty() {
            elements_of_planes(&planes, size, out);
        }
        Ok(())
    }
}

/// Removes the decoded length from the start of the data, and returns it.
fn read_length(data: &[u8]) -> Result<(usize, &[u8]), String> {
    let (length, data) = data.split_first_chunk::<LENGTH_BYTES>().ok_or("damaged data: no length")?;
    Ok((u32::from_le_bytes(*length) as usize, data))
}

impl FilterCodec for Szip {
    /// Returns `None` for data that would become longer, and for samples that do not fit the coding: libaec encodes the
    /// latter to bytes from which it decodes other samples, or none.
    fn encode(&self, data: &[u8]) -> Option<Vec<u8>> {
        let coding = self.coding(data.len())?;
        let mut out = buffers::try_take(LENGTH_BYTES.checked_add(data.len())?)?;
        let (length, rest) = out.split_first_chunk_mut::<LENGTH_BYTES>()?;
        *length = u32::try_from(data.len()).ok()?.to_le_bytes();
        let encoded = match self.apart {
            Some(size) if !data.is_empty() => {
                let mut planes = Scratch::new(data.len());
                planes_of(data, size, &mut planes);
                encode::encode(coding, &planes, rest)
            }
            _ => encode::encode(coding, data, rest),
        };
        let Some(encoded) = encoded else {
            buffers::give(out);
            return None;
        };
        out.truncate(LENGTH_BYTES + encoded);
        Some(out)
    }

    fn decoded_len(&self, data: &[u8]) -> Result<Option<usize>, String> {
        read_length(data).map(|(len, _)| Some(len))
    }

    fn decode_into(&self, data: &[u8], out: &mut [u8]) -> Result<Option<usize>, String> {
        let (_, data) = read_length(data)?;
        self.decode_to(data, out)?;
        Ok(Some(out.len()))
    }
}

#[cfg(test)]
mod tests;
