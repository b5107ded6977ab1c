//! Payloads: bytes that a writer stores before a commit makes them part of a version.

use bytes::Bytes;

use crate::address::Address;
use crate::error::Result;
use crate::storage::StorageReads;

/// The part of [`Storage`](super::Storage) for payloads.
pub(crate) trait StoragePayloads: StorageReads {
    /// Writes one. All of it is shown to `on_bytes`, part by part, each when it is about to be read anyway.
    fn write_payload(&self, data: &[u8], on_bytes: &mut dyn FnMut(&[u8])) -> Result<Address>;

    /// Writes several; after an error none is left.
    fn write_payloads(&self, data: &[&[u8]]) -> Result<Vec<Address>> {
        write_one_by_one(self, data)
    }

    /// Writes several that need not be copied, in one object where that is kept in a store, and waits until they are there.
    fn put_payloads(&self, data: &[Bytes]) -> Result<Vec<Address>> {
        self.write_payloads(&data.iter().map(AsRef::as_ref).collect::<Vec<_>>())
    }

    /// Writes one that may go on until it has `most` bytes, and is better kept where it can.
    fn write_to_grow(&self, data: &[u8], _most: u64, on_bytes: &mut dyn FnMut(&[u8])) -> Result<Address> {
        self.write_payload(data, on_bytes)
    }

    /// Writes `data` right behind a payload, which with it makes one payload from then on; false where that cannot be.
    fn grow_payload(&self, _place: &Address, _data: &[u8]) -> Result<bool> {
        Ok(false)
    }

    /// No payload that was written before goes on.
    fn stop_growing(&self) {}

    /// Lets payloads set out that are not on their way yet, without waiting for them.
    fn send_payloads(&self) -> Result<()> {
        Ok(())
    }

    /// Writes what is in front of the container in its file, from byte `at` on; nothing where there is no file.
    fn write_user_block(&self, _at: u64, _bytes: &[u8]) -> Result<()> {
        Ok(())
    }

    /// Reads what [`free_payload`](Self::free_payload) needs, so that this does not fail for want of it.
    fn prepare_to_free(&self) -> Result<()>;

    /// Staged, or done at once if the place was written since the last commit.
    fn free_payload(&self, place: &Address) -> Result<()>;

    /// Whether places were freed that only a commit gives back.
    fn has_freed(&self) -> bool;

    /// Takes back that a place is to be freed, if that is staged.
    fn keep_payload(&self, place: &Address);
}

/// Writes payloads one after the other, and gives those back that came before one that failed.
pub(crate) fn write_one_by_one<S: StoragePayloads + ?Sized>(
    storage: &S,
    data: &[&[u8]],
) -> Result<Vec<Address>> {
    let mut places = Vec::with_capacity(data.len());
    for data in data {
        match storage.write_payload(data, &mut |_| ()) {
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
