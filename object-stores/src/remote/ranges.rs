//! Ranges in requests and answers (RFC 9110, section 14).

use std::ops::Range;

use object_store::GetRange;
use object_store::client::HttpResponse;

/// Returns whether an answer has the requested range.
pub(super) fn is_wanted(range: &GetRange, came: &Range<u64>, size: u64) -> bool {
    match range {
        GetRange::Bounded(wanted) => *came == (wanted.start..wanted.end.min(size)),
        GetRange::Offset(from) => *came == (*from..size),
        GetRange::Suffix(last) => *came == (size.saturating_sub(*last)..size),
    }
}

pub(super) fn written(range: &GetRange) -> String {
    match range {
        GetRange::Bounded(range) => format!("bytes={}-{}", range.start, range.end.saturating_sub(1)),
        GetRange::Offset(from) => format!("bytes={from}-"),
        GetRange::Suffix(last) => format!("bytes=-{last}"),
    }
}

/// Returns the value of an answer's header, if it is text.
pub(super) fn header<'a>(answer: &'a HttpResponse, name: &str) -> Option<&'a str> {
    answer.headers().get(name).and_then(|value| value.to_str().ok())
}

/// Returns the range that an answer contains, and the whole object's size (RFC 9110, section 14.4).
pub(super) fn part(answer: &HttpResponse) -> Option<(Range<u64>, u64)> {
    if answer.status() != 206 {
        let size = header(answer, "content-length")?.parse().ok()?;
        return Some((0..size, size));
    }
    let (range, size) = header(answer, "content-range")?.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
    (first <= last && last < size).then(|| (first..last + 1, size))
}

#[cfg(test)]
mod tests {
    use object_store::client::HttpResponseBody;
    use reqwest::StatusCode;
    use reqwest::header::HeaderValue;

    use super::*;

    #[test]
    fn an_answer_says_which_part_it_has() {
        let part_of = |name: &'static str, said: &'static str| {
            let mut answer = HttpResponse::new(HttpResponseBody::from(String::new()));
            if name == "content-range" {
                *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            }
            answer.headers_mut().insert(name, HeaderValue::from_static(said));
            part(&answer)
        };
        assert_eq!(part_of("content-range", "bytes 2-5/10"), Some((2..6, 10)));
        assert_eq!(part_of("content-length", "7"), Some((0..7, 7)));
        for bad in
            ["bytes 5-2/10", "bytes 2-10/10", "bytes */10", "2-5/10", "bytes 2-18446744073709551615/9", ""]
        {
            assert_eq!(part_of("content-range", bad), None, "{bad}");
        }
    }

    #[test]
    fn a_part_is_the_requested_one() {
        let bounded = |start, end| GetRange::Bounded(start..end);
        assert!(is_wanted(&bounded(2, 9), &(2..5), 5) && is_wanted(&GetRange::Offset(2), &(2..5), 5));
        assert!(!is_wanted(&bounded(2, 4), &(0..5), 5) && !is_wanted(&bounded(2, 4), &(2..5), 5));
        assert!(!is_wanted(&GetRange::Offset(2), &(2..4), 5));
    }
}
