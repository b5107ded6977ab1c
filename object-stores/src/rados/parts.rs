//! Long objects: the parts that belong to an object, and their names.
//!
//! A part's name begins with `//`, so it is no valid key, and no listing contains it. The name contains the number of
//! the upload that made it, which is random, so that two versions of an object share no part. The first part is written
//! before the other parts and removed after them. It names the object for which the upload was started: a sweep finds
//! an abandoned upload by its first part.

use std::ffi::CStr;
use std::io;
use std::ops::Range;

use super::client::Namespace;

/// The attribute of a long object that lists its parts. A shorter object does not have the attribute.
pub(super) const PARTS: &CStr = c"h5lake.parts";
/// The attribute of a first part that names its object.
pub(super) const OF: &CStr = c"h5lake.of";
/// The attribute of a first part that is being removed because its upload was abandoned.
pub(super) const SWEPT: &CStr = c"h5lake.swept";
/// The prefix of each part's name.
const PREFIX: &str = "//part/";
/// The longest part that a server accepts, in bytes.
const MAX_PART_BYTES: u64 = 128 << 20;
/// The shortest part that is accepted, in bytes. Each release writes parts of 8 MiB; parts of a byte would make an
/// endless list.
const MIN_PART_BYTES: u64 = 1 << 20;
/// The maximum number of parts of an object: 128 TiB at 8 MiB each.
pub(super) const MAX_PARTS: u64 = 1 << 24;
/// The number of parts that are removed at the same time. If the number of parts is unknown, this many consecutive
/// numbers without a part mark the end.
const BATCH: u64 = 16;
/// The number of consecutive batches without a part after which a removal ends, if the number of parts is known.
const MAX_EMPTY_BATCHES: u32 = 64;

/// The parts of one version of a long object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    /// The number of the upload.
    pub(super) upload: u128,
    /// The length of each part but the last, which may be shorter.
    pub(super) part_bytes: u64,
    /// The length of all parts together.
    pub(super) size: u64,
}

impl Manifest {
    /// Encodes the list of parts as the attribute's value.
    pub(super) fn encode(&self) -> String {
        format!("1 {:032x} {} {}", self.upload, self.part_bytes, self.size)
    }

    /// Decodes the attribute's value.
    ///
    /// # Errors
    /// `InvalidData` for a value that [`encode`](Self::encode) does not write.
    pub(super) fn decode(bytes: &[u8]) -> io::Result<Manifest> {
        let bad = || {
            io::Error::new(io::ErrorKind::InvalidData, "its list of parts is damaged or of a newer version")
        };
        let text = str::from_utf8(bytes).map_err(|_| bad())?;
        let fields: Vec<_> = text.split(' ').collect();
        let [_, upload, part_bytes, size] = fields[..] else { return Err(bad()) };
        let manifest = Manifest {
            upload: u128::from_str_radix(upload, 16).map_err(|_| bad())?,
            part_bytes: part_bytes.parse().map_err(|_| bad())?,
            size: size.parse().map_err(|_| bad())?,
        };
        let is_right = manifest.encode() == text
            && (MIN_PART_BYTES..=MAX_PART_BYTES).contains(&manifest.part_bytes)
            && manifest.count() <= MAX_PARTS;
        is_right.then_some(manifest).ok_or_else(bad)
    }

    /// Returns the number of parts.
    pub(super) fn count(&self) -> u64 {
        self.size.div_ceil(self.part_bytes)
    }
}

/// Returns the name of a part.
pub(super) fn part_name(upload: u128, number: u64) -> String {
    format!("{PREFIX}{upload:032x}/{number:08}")
}

/// Returns the upload to which the first part with this name belongs.
pub(super) fn upload_of_first(name: &[u8]) -> Option<u128> {
    let (upload, number) = str::from_utf8(name).ok()?.strip_prefix(PREFIX)?.split_once('/')?;
    let upload = u128::from_str_radix(upload, 16).ok()?;
    (number == "00000000" && part_name(upload, 0).as_bytes() == name).then_some(upload)
}

/// Iterates over the numbers of parts from 1 to `count`, a batch at a time. `remove` returns whether it found a part of
/// the batch.
///
/// The count comes from an attribute, which every user with write permission for the namespace can set. So a removal
/// ends early if many batches have no part.
fn remove_batches(
    count: Option<u64>,
    mut remove: impl FnMut(Range<u64>) -> io::Result<bool>,
) -> io::Result<()> {
    let most = if count.is_some() { MAX_EMPTY_BATCHES } else { 1 };
    let (mut next, mut empty) = (1, 0);
    while count.is_none_or(|count| next < count) && empty < most {
        let end = count.map_or(next + BATCH, |count| count.min(next + BATCH));
        empty = if remove(next..end)? { 0 } else { empty + 1 };
        next = end;
    }
    Ok(())
}

impl Namespace {
    /// Removes the parts of an upload, the first one last. Ends early if many consecutive numbers have no part.
    ///
    /// # Errors
    /// The first error encountered. The remaining parts are swept later.
    pub(super) fn remove_parts(&self, upload: u128, count: Option<u64>) -> io::Result<()> {
        remove_batches(count, |numbers| {
            let names: Vec<_> = numbers.map(|number| part_name(upload, number)).collect();
            let mut found = false;
            for answer in self.write_all(&names, |operation| operation.remove()) {
                match answer {
                    Err(e) if e.raw_os_error() == Some(libc::ENOENT) => (),
                    answer => {
                        answer?;
                        found = true;
                    }
                }
            }
            Ok(found)
        })?;
        match self.write(&part_name(upload, 0), 0, |operation| operation.remove()) {
            Err(e) if e.raw_os_error() != Some(libc::ENOENT) => Err(e),
            _ => Ok(()),
        }
    }

    /// Removes the parts of an object that was replaced or deleted. Errors are only logged, because the replacement or
    /// deletion has succeeded already.
    pub(super) fn discard_parts(&self, upload: u128, count: Option<u64>) {
        if let Err(e) = self.remove_parts(upload, count) {
            tracing::warn!(store = self.name, error = %e, "parts of an object were not removed; a later process sweeps them");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_read_as_they_were_written_and_nothing_else_is() {
        let manifest = Manifest { upload: 0xab, part_bytes: 8 << 20, size: (33 << 20) + 1 };
        let text = manifest.encode();
        assert_eq!(text, "1 000000000000000000000000000000ab 8388608 34603009");
        assert_eq!((Manifest::decode(text.as_bytes()).unwrap(), manifest.count()), (manifest, 5));
        for bad in [
            "",
            "1",
            "2 000000000000000000000000000000ab 8388608 34603009",
            "1 ab 8388608 34603009",
            "1 000000000000000000000000000000ab 0 34603009",
            "1 000000000000000000000000000000ab 999999999 34603009",
            "1 000000000000000000000000000000ab 8388608 18446744073709551615",
            // Lists of parts that no release writes.
            "1 000000000000000000000000000000ab 1 9223372036854775807",
            "1 000000000000000000000000000000ab 1048575 34603009",
            "1 000000000000000000000000000000ab 134217728 9223372036854775807",
            "1 000000000000000000000000000000ab 8388608 +1",
            "1 000000000000000000000000000000ab 8388608 34603009 ",
        ] {
            assert!(Manifest::decode(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(Manifest::decode(&[0xff]).is_err());
    }

    #[test]
    fn the_longest_list_of_parts_is_read() {
        let size = MAX_PARTS * MIN_PART_BYTES;
        let longest = Manifest { upload: 1, part_bytes: MIN_PART_BYTES, size };
        assert_eq!(Manifest::decode(longest.encode().as_bytes()).unwrap(), longest);
        let longer = Manifest { size: size + 1, ..longest };
        assert!(Manifest::decode(longer.encode().as_bytes()).is_err());
    }

    /// Returns the batches that a removal requests; the batches that begin at the numbers in `there` have parts.
    fn batches(count: Option<u64>, there: &[u64]) -> Vec<Range<u64>> {
        let mut asked = Vec::new();
        let removed = remove_batches(count, |numbers| {
            asked.push(numbers.clone());
            Ok(there.contains(&numbers.start))
        });
        removed.unwrap();
        asked
    }

    #[test]
    fn a_removal_ends_with_the_last_part() {
        assert_eq!(batches(Some(40), &[1, 17, 33]), [1..17, 17..33, 33..40]);
        assert_eq!(batches(Some(40), &[33]), [1..17, 17..33, 33..40], "an earlier removal broke off");
        assert_eq!(batches(None, &[1, 17]), [1..17, 17..33, 33..49]);
        assert!(batches(Some(1), &[]).is_empty());
    }

    #[test]
    fn a_removal_of_missing_parts_ends_for_any_number() {
        assert_eq!(batches(Some(MAX_PARTS), &[]).len(), MAX_EMPTY_BATCHES as usize);
        let late = 1 + u64::from(MAX_EMPTY_BATCHES - 1) * BATCH;
        assert_eq!(batches(Some(MAX_PARTS), &[late]).len(), 2 * MAX_EMPTY_BATCHES as usize);
    }

    #[test]
    fn parts_have_names_that_are_no_keys() {
        let first = part_name(7, 0);
        assert!(crate::Key::new(&first).is_err());
        assert_eq!(upload_of_first(first.as_bytes()), Some(7));
        for other in [part_name(7, 1), "//part/7/00000000".into(), "a/b".into(), format!("x{first}")] {
            assert_eq!(upload_of_first(other.as_bytes()), None, "{other}");
        }
    }
}
