//! Filters of a store server: sends the request, and checks the answer.

use bytes::Bytes;
use object_store::client::HttpResponse;
use object_store::path::Path;
use reqwest::Method;
use reqwest::header::RANGE;

use super::super::StoreResult;
use super::super::ranges::header;
use super::client::{Ask, ServerClient, broken, nonsense};
use super::objects::is_etag;
use crate::filter::numbers;
use crate::{Filter, FilterAsk, FilterComparison, FilterMatches, FilteredKind};

/// The maximum number of matches in an answer, which the protocol limits.
pub(in super::super) const MAX_MATCHES: u64 = 1 << 18;

/// Returns the length, in bytes, of an answer with `limit` matches.
pub(in super::super) fn answer_bytes(filter: &Filter, limit: u64) -> u64 {
    limit.saturating_mul(8 + filter.size as u64)
}

/// Returns the protocol's name for the numbers' type.
fn type_name(filter: &Filter) -> String {
    let letter = match filter.kind {
        FilteredKind::Signed => 'i',
        FilteredKind::Unsigned => 'u',
        FilteredKind::Float => 'f',
    };
    format!("{letter}{}", filter.size)
}

/// Returns the comparisons in the form of a query.
fn tests(filter: &Filter) -> String {
    let word = |comparison| match comparison {
        FilterComparison::Less => "lt",
        FilterComparison::LessOrEqual => "le",
        FilterComparison::Equal => "eq",
        FilterComparison::NotEqual => "ne",
        FilterComparison::GreaterOrEqual => "ge",
        FilterComparison::Greater => "gt",
    };
    let tests = filter.tests.iter().map(|(comparison, number)| format!("{}:{number}", word(*comparison)));
    tests.collect::<Vec<_>>().join(",")
}

impl ServerClient {
    /// Requests the matches in a range of an object.
    pub(in super::super) async fn filter(&self, key: &Path, asked: FilterAsk) -> StoreResult<FilterMatches> {
        let FilterAsk { filter, range, skip, limit } = &asked;
        let mut ask = Ask::new(Method::GET, &format!("/filter/{key}"))
            .query("type", type_name(filter))
            .query("where", tests(filter))
            .query("skip", skip)
            .query("limit", limit);
        if filter.is_big_endian {
            ask = ask.query("order", "big");
        }
        let ask = ask.header(RANGE, &format!("bytes={}-{}", range.start, range.end.saturating_sub(1)))?;
        let answer = self.ask(ask).await?;
        let headers =
            AnswerHeaders::of(&answer).ok_or_else(|| nonsense("the answer to a filter lacks a header"))?;
        let body = answer.into_body().bytes().await.map_err(broken)?;
        headers.matches(&asked, body).map_err(nonsense)
    }
}

/// The contents of an answer's headers.
#[derive(Debug)]
struct AnswerHeaders {
    elements: u64,
    matches: u64,
    next: Option<u64>,
}

impl AnswerHeaders {
    fn of(answer: &HttpResponse) -> Option<AnswerHeaders> {
        header(answer, "etag").filter(|etag| is_etag(etag))?;
        let number = |name| header(answer, name).and_then(|text| text.parse().ok());
        let next = match header(answer, "h5store-next") {
            Some(text) => Some(text.parse().ok()?),
            None => None,
        };
        Some(AnswerHeaders {
            elements: number("h5store-elements")?,
            matches: number("h5store-matches")?,
            next,
        })
    }

    /// Returns the matches, after checking that they answer the request.
    fn matches(&self, asked: &FilterAsk, body: Bytes) -> Result<FilterMatches, &'static str> {
        let FilterAsk { filter, range, skip, limit } = asked;
        if numbers(filter, range) != Some(self.elements) {
            return Err("a filter searched another number of elements than was requested");
        }
        if self.matches > *limit || body.len() as u64 != answer_bytes(filter, self.matches) {
            return Err("a filter has another length than its matches");
        }
        // The number of matches is at most `limit`, as checked above.
        let split = 8 * self.matches as usize;
        let indices: Vec<u64> = body[..split]
            .chunks_exact(8)
            .filter_map(|b| b.first_chunk().map(|b| u64::from_le_bytes(*b)))
            .collect();
        let ascend = indices.windows(2).all(|two| two[0] < two[1]);
        let is_within = indices.first().is_none_or(|first| first >= skip)
            && indices.last().is_none_or(|last| *last < self.elements);
        if !ascend || !is_within {
            return Err("the matches of a filter are out of order, or outside of the requested range");
        }
        let behind = indices.last().map_or(*skip, |last| last + 1);
        if self.next.is_some_and(|next| next < behind || next <= *skip || next >= self.elements) {
            return Err("a filter continues in a part that it has searched, or beyond the end");
        }
        Ok(FilterMatches { indices, values: body.slice(split..), next: self.next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FilterOperand;

    fn ask() -> FilterAsk {
        let tests = vec![
            (FilterComparison::Greater, FilterOperand::Float(0.1)),
            (FilterComparison::LessOrEqual, FilterOperand::Float(f64::INFINITY)),
        ];
        let filter = Filter { kind: FilteredKind::Float, size: 4, is_big_endian: false, tests };
        FilterAsk { filter, range: 80..120, skip: 2, limit: 3 }
    }

    fn body(indices: &[u64]) -> Bytes {
        let values = vec![0; 4 * indices.len()];
        indices.iter().flat_map(|n| n.to_le_bytes()).chain(values).collect()
    }

    #[test]
    fn a_filter_is_written_as_the_protocol_has_it() {
        let FilterAsk { mut filter, .. } = ask();
        assert_eq!((type_name(&filter).as_str(), tests(&filter).as_str()), ("f4", "gt:0.1,le:inf"));
        (filter.kind, filter.size) = (FilteredKind::Unsigned, 8);
        filter.tests = vec![(FilterComparison::NotEqual, FilterOperand::Integer(i128::MIN))];
        assert_eq!(
            (type_name(&filter).as_str(), tests(&filter).as_str()),
            ("u8", "ne:-170141183460469231731687303715884105728")
        );
    }

    #[test]
    fn an_answer_that_does_not_match_the_request_is_refused() {
        let headers = |matches, next| AnswerHeaders { elements: 10, matches, next };
        let found = headers(2, Some(9)).matches(&ask(), body(&[2, 7])).unwrap();
        assert_eq!((found.indices, found.values.len(), found.next), (vec![2, 7], 8, Some(9)));
        assert_eq!(headers(0, None).matches(&ask(), body(&[])).unwrap(), FilterMatches::default());
        for (headers, indices) in [
            (AnswerHeaders { elements: 11, matches: 1, next: None }, vec![2]),
            (AnswerHeaders { elements: 9, matches: 1, next: None }, vec![2]),
            (headers(2, None), vec![2]),
            (headers(4, None), vec![2, 3, 4, 5]),
            (headers(u64::MAX, None), vec![2]),
            (headers(2, None), vec![7, 2]),
            (headers(2, None), vec![7, 7]),
            (headers(1, None), vec![1]),
            (headers(1, None), vec![10]),
            (headers(1, None), vec![u64::MAX]),
            (headers(1, Some(7)), vec![7]),
            (headers(1, Some(10)), vec![7]),
            (headers(0, Some(2)), vec![]),
            (headers(0, Some(0)), vec![]),
        ] {
            assert!(headers.matches(&ask(), body(&indices)).is_err(), "{headers:?} {indices:?}");
        }
        let mut cut = body(&[2, 7]);
        cut.truncate(23);
        assert!(headers(2, None).matches(&ask(), cut).is_err());
    }
}
