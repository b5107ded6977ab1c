//! Filters that the store applies to the numbers of payloads (design record 061).
//!
//! The store's answers have no checksums. So a caller of a filter must trust the store, and reads the numbers itself if a filter is not
//! worthwhile.

use object_stores::{ErrorKind as StoreKind, Filter, FilterAsk};

use super::ObjectStorage;
use crate::address::{Address, Location, Run};
use crate::error::Result;
use crate::filtered::{FilterPart, Filtered, PartMatches};
use crate::locks::Mutex;
use crate::side_by_side::side_by_side;

/// The approximate number of bytes that one request filters: a store filters them in about a second.
const MAX_FILTERED_BYTES: u64 = 16 << 20;
/// The maximum number of parallel requests, each of which is work for the store.
const MAX_FILTERS: usize = 4;
/// The maximum number of pages in which a store may answer one request.
const MAX_PAGES: usize = 16;
/// The bytes of the index of a match, in addition to those of the number.
const INDEX_BYTES: u64 = 8;

/// Numbers of one part.
#[derive(Debug)]
struct Slice {
    part: usize,
    /// The index of the first number in the part.
    first: u64,
    numbers: u64,
}

/// Contiguous numbers in one object.
#[derive(Debug)]
struct Request {
    location: Location,
    start: u64,
    end: u64,
    slices: Vec<Slice>,
}

/// Joins contiguous parts, and divides long ones between numbers of `size` bytes.
fn plan(parts: &[FilterPart<'_>], size: u64) -> Vec<Request> {
    let most = MAX_FILTERED_BYTES / size * size;
    let mut all: Vec<Request> = Vec::new();
    for (n, part) in parts.iter().enumerate() {
        let place = part.extent.place();
        let mut at = part.range.start;
        while at < part.range.end {
            let start = place.offset.saturating_add(at);
            let joins =
                |r: &&mut Request| r.location == place.location && r.end == start && r.length() < most;
            let slice = |numbers| Slice { part: n, first: (at - part.range.start) / size, numbers };
            match all.last_mut().filter(joins) {
                Some(r) => {
                    let length = (part.range.end - at).min(most - r.length());
                    r.slices.push(slice(length / size));
                    r.end += length;
                    at += length;
                }
                None => {
                    let length = (part.range.end - at).min(most);
                    let slices = vec![slice(length / size)];
                    all.push(Request { location: place.location, start, end: start + length, slices });
                    at += length;
                }
            }
        }
    }
    all
}

impl Request {
    fn length(&self) -> u64 {
        self.end - self.start
    }
}

/// The result of a request.
#[derive(Debug)]
enum Answer {
    Matches(PartMatches),
    /// Reading the numbers is cheaper, because so many of them match. This many bytes of matches were received in vain.
    Dense(u64),
    /// The store does not filter these numbers.
    Refused,
}

impl ObjectStorage {
    /// Returns whether the store should filter numbers.
    pub(crate) fn filters(&self) -> bool {
        self.proven.is_none() && self.store.filters()
    }

    /// Lets the store compare numbers. The caller has checked the bounds. Parts without an answer must be read.
    pub(crate) fn filter(&self, parts: &[FilterPart<'_>], filter: &Filter) -> Result<Filtered> {
        let size = filter.size.max(1) as u64;
        let (requests, answers) = (plan(parts, size), Mutex::new(Vec::new()));
        side_by_side((0..requests.len()).collect(), MAX_FILTERS, |n: usize| {
            let answer = self.ask_filter(&requests[n], filter)?;
            answers.lock().push((n, answer));
            Ok(())
        })?;
        let mut answers = answers.into_inner();
        // The matches of one part must be in order.
        answers.sort_by_key(|(n, _)| *n);
        let none = vec![Some(PartMatches::default()); parts.len()];
        let mut filtered = Filtered { parts: none, ..Filtered::default() };
        for (n, answer) in answers {
            let request = &requests[n];
            match answer {
                Answer::Matches(found) => {
                    filtered.bytes += found.indices.len() as u64 * (INDEX_BYTES + size);
                    distribute(request, &found, filter.size, &mut filtered.parts);
                    continue;
                }
                Answer::Dense(bytes) => filtered.wasted += bytes,
                Answer::Refused => filtered.is_refused = true,
            }
            request.slices.iter().for_each(|slice| filtered.parts[slice.part] = None);
        }
        Ok(filtered)
    }

    fn ask_filter(&self, request: &Request, filter: &Filter) -> Result<Answer> {
        let key = self.names.object_key(&request.location, &self.target)?;
        let run = Run {
            place: Address { location: request.location, offset: request.start, length: request.length() },
            offset: 0,
            length: request.length(),
        };
        if self.is_at_hand(&run) {
            // The store may not have these bytes yet, and reading them from memory costs nothing.
            return Ok(Answer::Dense(0));
        }
        let one = INDEX_BYTES + filter.size as u64;
        // More matches than this would be as long as the filtered range.
        let limit = (request.length() / one).max(1);
        let mut asked =
            FilterAsk { filter: filter.clone(), range: request.start..request.end, skip: 0, limit };
        let mut found = PartMatches::default();
        for _ in 0..MAX_PAGES {
            let page = match self.store.filter(&key, &asked) {
                Err(e) if matches!(e.kind(), StoreKind::Unsupported | StoreKind::InvalidArgument) => {
                    tracing::debug!(error = %e, "the store does not filter this");
                    return Ok(Answer::Refused);
                }
                page => page.map_err(|e| self.unread(&key, &e))?,
            };
            asked.limit = asked.limit.saturating_sub(page.indices.len() as u64);
            found.indices.extend(page.indices);
            found.values.extend_from_slice(&page.values);
            match page.next {
                None => return Ok(Answer::Matches(found)),
                // The matches so far take fewer bytes than reading these numbers would.
                Some(next)
                    if asked.limit > 0 && found.indices.len() as u64 * one < next * filter.size as u64 =>
                {
                    asked.skip = next;
                }
                Some(_) => break,
            }
        }
        Ok(Answer::Dense(found.indices.len() as u64 * one))
    }
}

/// Assigns the matches of a request to its parts.
fn distribute(request: &Request, found: &PartMatches, size: usize, parts: &mut [Option<PartMatches>]) {
    let (mut begin, mut n) = (0, 0);
    for slice in &request.slices {
        let end = begin + slice.numbers;
        let after = n + found.indices[n..].partition_point(|index| *index < end);
        if let Some(part) = &mut parts[slice.part] {
            part.indices.extend(found.indices[n..after].iter().map(|index| index - begin + slice.first));
            part.values.extend_from_slice(&found.values[n * size..after * size]);
        }
        (begin, n) = (end, after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extent::Extent;

    fn extent(pack: u8, offset: u64, length: u64) -> Extent {
        let place = Address { location: Location::Pack([pack; 16]), offset, length };
        Extent::of(place, &vec![0; length as usize])
    }

    /// The start and the end of a request, and its slices.
    type Planned = (u64, u64, Vec<(usize, u64, u64)>);

    fn planned(parts: &[(&Extent, u64, u64)]) -> Vec<Planned> {
        let parts: Vec<_> =
            parts.iter().map(|(extent, from, to)| FilterPart { extent, range: *from..*to }).collect();
        let of = |slice: Slice| (slice.part, slice.first, slice.numbers);
        let requests = plan(&parts, 8).into_iter();
        requests.map(|r| (r.start, r.end, r.slices.into_iter().map(of).collect())).collect()
    }

    #[test]
    fn neighbours_share_a_request() {
        let (a, b, c) = (extent(1, 100, 80), extent(1, 180, 16), extent(2, 196, 16));
        assert_eq!(
            planned(&[(&a, 0, 80), (&b, 0, 16), (&c, 0, 8)]),
            [(100, 196, vec![(0, 0, 10), (1, 0, 2)]), (196, 204, vec![(2, 0, 1)])]
        );
        assert_eq!(planned(&[(&a, 0, 72), (&b, 0, 16)]).len(), 2, "a gap");
        assert_eq!(planned(&[(&b, 0, 16), (&a, 0, 80)]).len(), 2, "out of order");
    }

    #[test]
    fn long_parts_are_cut_between_numbers() {
        let most = MAX_FILTERED_BYTES;
        let (a, b) = (extent(1, 0, 24), extent(1, 24, 2 * most));
        let numbers = most / 8;
        assert_eq!(
            planned(&[(&a, 0, 24), (&b, 0, 2 * most)]),
            [
                (0, most, vec![(0, 0, 3), (1, 0, numbers - 3)]),
                (most, 2 * most, vec![(1, numbers - 3, numbers)]),
                (2 * most, 2 * most + 24, vec![(1, 2 * numbers - 3, 3)])
            ]
        );
    }

    #[test]
    fn matches_go_to_their_parts() {
        let slice = |part, first, numbers| Slice { part, first, numbers };
        let request = Request {
            location: Location::File,
            start: 0,
            end: 24,
            slices: vec![slice(0, 100, 10), slice(1, 0, 4), slice(2, 0, 10)],
        };
        let found = PartMatches { indices: vec![0, 9, 10, 14, 23], values: (0..5).collect() };
        let mut parts = vec![Some(PartMatches::default()), None, Some(PartMatches::default())];
        distribute(&request, &found, 1, &mut parts);
        assert_eq!(parts[0], Some(PartMatches { indices: vec![100, 109], values: vec![0, 1] }));
        assert_eq!(parts[1], None);
        assert_eq!(parts[2], Some(PartMatches { indices: vec![0, 9], values: vec![3, 4] }));
    }
}
