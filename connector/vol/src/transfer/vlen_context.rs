//! The origin and the destination of the variable-length data of elements that are converted in this thread: libhdf5
//! passes such data one by one, without naming its owner.
#![forbid(unsafe_code)]

use h5lake_container::{Container, HeapPlace, InlineHeap};

use crate::error::{Error, Major, Minor, Result};
use crate::hdf5::blob_id::ID_BYTES;
use crate::session::Session;
use crate::thread_state::{OfThisThread, ThreadValue};
use crate::transfer::context::{CONVERSION, FAILURE, HOME, HeapChanges, VlenOwner};

/// The most bytes of a buffer that may be filled without checking the length first.
const SHORT: u64 = 64 << 10;

/// Runs `body` with an owner for the variable-length data that it writes. An inline heap is empty at first.
///
/// # Errors
/// The errors of `body`, and errors in handling that data.
pub fn writing<T>(place: HeapPlace, body: impl FnOnce() -> Result<T>) -> Result<T> {
    staying(
        match place {
            HeapPlace::Owner(owner) => VlenOwner::Owner(owner),
            HeapPlace::Local => VlenOwner::Local(InlineHeap::default()),
        },
        body,
    )
}

/// Runs `body`, which reads elements that may have their data in an inline heap.
///
/// # Errors
/// As for [`writing`].
pub fn reading<T>(heap: InlineHeap, body: impl FnOnce() -> Result<T>) -> Result<T> {
    staying(VlenOwner::Local(heap), body)
}

fn staying<T>(home: VlenOwner, body: impl FnOnce() -> Result<T>) -> Result<T> {
    let _home = HOME.scoped(home);
    let result = body();
    failure().and(result)
}

/// Runs `body`, which converts elements and stores them. Afterwards deletes the blobs that libhdf5 freed meanwhile. So
/// after an error, the elements that were to be overwritten still have their data.
///
/// libhdf5 treats the content of the background buffer for a sequence as the previous elements. But the buffer can
/// hold the elements of the sequence before it, or an object reference instead of a blob's id (H5T__conv_vlen,
/// H5T__ref_disk_write). So this function deletes no blob that the conversion has stored itself, no blob twice, and no
/// blob of another object.
///
/// # Errors
/// The errors of `body` and of the heap.
pub fn replacing<T>(session: &Session, body: impl FnOnce() -> Result<T>) -> Result<T> {
    let conversion = CONVERSION.scoped(Some(HeapChanges::default()));
    let done = body()?;
    for id in conversion.end().flatten().map(|ended| ended.obsolete).unwrap_or_default() {
        session.container.heap_delete(&id).map_err(in_heap)?;
    }
    Ok(done)
}

/// Notes a blob that libhdf5 stores in a conversion.
pub fn note_kept(id: [u8; ID_BYTES]) {
    CONVERSION.with_borrow_mut(|conversion| {
        if let Some(conversion) = conversion {
            conversion.kept.insert(id);
        }
    });
}

/// Returns whether deleting a blob that libhdf5 frees is left to [`replacing`].
pub fn is_deleted_later(id: &[u8; ID_BYTES]) -> bool {
    CONVERSION.with_borrow_mut(|conversion| {
        let Some(conversion) = conversion else { return false };
        if is_own(id) && !conversion.kept.contains(id) {
            conversion.obsolete.insert(*id);
        }
        true
    })
}

/// Returns whether a blob belongs to the object that is being written. The data of a fill value belongs to the root.
pub fn is_own(id: &[u8; ID_BYTES]) -> bool {
    let owner = Container::heap_owner(id);
    HOME.with_borrow(|home| matches!(home, VlenOwner::Owner(home) if *home == owner))
}

/// Returns whether the data that is being written goes into an inline heap: then no blob has to be freed for it.
pub fn is_local() -> bool {
    HOME.with_borrow(|home| matches!(home, VlenOwner::Local(_)))
}

/// Continues with the inline heap of the elements that are being overwritten, if they may remain in part.
pub fn keep(heap: InlineHeap) {
    HOME.with_borrow_mut(|home| {
        if let VlenOwner::Local(new) = home {
            *new = heap;
        }
    });
}

/// Returns the inline heap of the written data.
pub fn take() -> InlineHeap {
    HOME.with_borrow_mut(|home| match home {
        VlenOwner::Local(heap) => std::mem::take(heap),
        _ => InlineHeap::default(),
    })
}

/// Stores data, and passes the ids in the same order to `kept`.
///
/// # Errors
/// The errors of the container's heap.
pub fn put_all<'b>(
    session: &Session,
    blobs: impl Iterator<Item = &'b [u8]>,
    mut kept: impl FnMut([u8; ID_BYTES]),
) -> Result<()> {
    let container = &session.container;
    let owner = HOME.with_borrow_mut(|home| match home {
        VlenOwner::Local(_) => None,
        VlenOwner::Owner(owner) => Some(*owner),
        VlenOwner::Unknown => Some(container.root()),
    });
    match owner {
        Some(owner) => container.heap_put_all(owner, blobs, kept).map_err(in_heap),
        None => {
            HOME.with_borrow_mut(|home| {
                if let VlenOwner::Local(heap) = home {
                    blobs.for_each(|blob| kept(heap.put(blob)));
                }
            });
            Ok(())
        }
    }
}

/// Fills `data` with the blob of `id`.
///
/// # Errors
/// The errors of the heap; for an id of an inline heap while no inline heap is being read.
pub fn get(session: &Session, id: &[u8; ID_BYTES], data: &mut [u8]) -> Result<()> {
    if !InlineHeap::has(id) {
        return session.container.heap_get(id, data).map_err(in_heap);
    }
    get_local(id, data.len() as u64, |blob| {
        data.copy_from_slice(blob);
        Ok(())
    })
}

/// Reads blobs, each given by its id and the number of bytes to read from its beginning, and passes each one to `take`
/// with its index among the requested blobs.
///
/// # Errors
/// As for [`get`], and the errors of `take`.
pub fn get_all(
    session: &Session,
    blobs: impl Iterator<Item = ([u8; ID_BYTES], u64)> + Clone,
    mut take: impl FnMut(usize, &[u8]) -> Result<()>,
) -> Result<()> {
    if !is_local() {
        return session.container.heap_get_all(blobs, take);
    }
    blobs.enumerate().try_for_each(|(index, (id, length))| match length {
        0 => take(index, &[]),
        _ => get_local(&id, length, |blob| take(index, blob)),
    })
}

/// Checks that a blob has at least the given length, before a buffer of that length is filled. Short lengths are not
/// checked.
///
/// # Errors
/// As for [`get`].
pub fn check_length(session: &Session, id: &[u8; ID_BYTES], length: u64) -> Result<()> {
    if length <= SHORT {
        return Ok(());
    }
    if InlineHeap::has(id) {
        return get_local(id, length, |_| Ok(()));
    }
    let stored = session.container.heap_len(id).map_err(in_heap)?;
    if length <= stored {
        return Ok(());
    }
    Err(in_heap(h5lake_container::Error::new(
        h5lake_container::ErrorKind::InvalidArgument,
        format!("{length} bytes are asked of a blob of {stored}"),
    )))
}

fn get_local(id: &[u8; ID_BYTES], length: u64, take: impl FnOnce(&[u8]) -> Result<()>) -> Result<()> {
    HOME.with_borrow(|home| match home {
        VlenOwner::Local(heap) => take(heap.get(id, length).map_err(in_heap)?),
        _ => Err(Error::new(Minor::BadValue, "variable-length data of an attribute is asked for elsewhere")),
    })
}

/// Stores an error in handling variable-length data that is being written, for [`writing`]. libhdf5 does not get the
/// error in the middle of a conversion, because it would then free the elements that it has converted as if they were
/// pointers (H5T__conv_vlen). Returns the error if nothing is being written.
pub fn fail_later(error: Error) -> Result<()> {
    if HOME.with_borrow(|home| matches!(home, VlenOwner::Unknown)) {
        return Err(error);
    }
    note_failure(error);
    Ok(())
}

/// Stores the first error of a conversion for its caller.
pub fn note_failure(error: Error) {
    FAILURE.with_borrow_mut(|kept| {
        kept.get_or_insert(error);
    });
}

/// Returns the error in handling variable-length data in a conversion that has ended.
pub fn failure() -> Result<()> {
    FAILURE.put(None).map_or(Ok(()), Err)
}

/// Makes an error of the heap's class.
pub fn in_heap(error: h5lake_container::Error) -> Error {
    Error::from(error).in_class(Major::Heap)
}
