//! Payloads: bytes that a writer stores before a commit makes them part of a version.

use crate::address::Address;
use crate::error::Result;
use crate::storage::StorageReads;

/// The part of [`Storage`](super::Storage) for payloads.
pub(crate) trait StoragePayloads: StorageReads {
    /// Writes a payload. All of its bytes are passed to `on_bytes`, part by part, each part just before it is read anyway. If `most` is more
    /// than the length of the payload, a file reserves space so that the payload can grow up to that length.
    fn write_payload(&self, data: &[u8], most: u64, on_bytes: &mut dyn FnMut(&[u8])) -> Result<Address>;

    /// Writes several payloads. If one of them fails, the payloads before it are freed.
    fn write_payloads(&self, data: &[&[u8]]) -> Result<Vec<Address>> {
        write_one_by_one(self, data)
    }

    /// Starts to upload the payloads that are still in memory, without waiting for the uploads.
    fn send_payloads(&self) -> Result<()> {
        Ok(())
    }

    /// Reads everything that [`free_payload`](Self::free_payload) needs, so that a later free cannot fail because of a read.
    fn prepare_to_free(&self) -> Result<()>;

    /// Stages the free of a payload. A payload that was written since the last commit is freed at once.
    fn free_payload(&self, place: &Address) -> Result<()>;

    /// Returns whether frees are staged that take effect with the next commit.
    fn has_freed(&self) -> bool;

    /// Cancels the staged free of a payload.
    fn keep_payload(&self, place: &Address);
}

/// Writes payloads one after the other. If one of them fails, frees the payloads before it.
pub(crate) fn write_one_by_one<S: StoragePayloads + ?Sized>(
    storage: &S,
    data: &[&[u8]],
) -> Result<Vec<Address>> {
    let mut places = Vec::with_capacity(data.len());
    for data in data {
        match storage.write_payload(data, 0, &mut |_| ()) {
            Ok(place) => places.push(place),
            Err(e) => {
                for place in places.iter().filter(|place| place.length > 0) {
                    storage.free_payload(place)?;
                }
                return Err(e);
            }
        }
    }
    Ok(places)
}
