//! The reclaim horizon: the sequence up to which space of old versions was reused.
//!
//! It is written before the space is reused, and pins are tested afterwards. A reader pins an old version and then reads
//! the horizon. So whichever happens first, either the writer notices the pin, or the reader notices that the version was
//! reclaimed.

use crate::checksum::{seal, unseal};
use crate::codec::{Decoded, Reader};
use crate::error::{Error, Result};
use crate::file::file_io::FileIo;
use crate::file::log::unreadable;
use crate::file::superblock::RECLAIMED;

const LEN: usize = 16;

/// Returns the sequence before which versions may be incomplete; 0 if no space of the file was ever reused.
pub(crate) fn read(raw: &dyn FileIo, target: &str) -> Result<u64> {
    let mut bytes = [0; LEN];
    // A writer may be writing the horizon at this moment.
    for _ in 0..50 {
        raw.read_at(&mut bytes, RECLAIMED).map_err(|e| unreadable(target, "reclaimed space", &e))?;
        if bytes == [0; LEN] {
            return Ok(0);
        }
        if let Ok(sequence) = decode(&bytes) {
            return Ok(sequence);
        }
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
    Err(Error::corrupt(target, "bytes 1536 to 1551", "the checksum does not match"))
}

fn decode(bytes: &[u8]) -> Decoded<u64> {
    let mut r = Reader::new(unseal(bytes)?.0);
    if r.take(4)? != b"h5lG" {
        return Err("something else");
    }
    r.number64()
}

/// Records that versions before `sequence` may be incomplete from now on.
pub(crate) fn write(raw: &dyn FileIo, sequence: u64, target: &str) -> Result<()> {
    let mut bytes = b"h5lG".to_vec();
    bytes.extend_from_slice(&sequence.to_le_bytes());
    seal(&mut bytes);
    raw.write_at(&bytes, RECLAIMED).map_err(|e| Error::io(target, "writing what was reclaimed", &e))
}
