//! Helpers for the parts of HTTP messages that the servers of this crate read themselves.

use std::ops::Range;
use std::time::SystemTime;

use bytes::Bytes;
use hyper::Request;
use md5::{Digest as _, Md5};
use s3s::dto::{Timestamp, TimestampFormat};

/// Returns the text of a header, or an empty text.
pub(crate) fn header<'a>(request: &'a Request<Bytes>, name: &str) -> &'a str {
    request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Decodes the percent-encoding of a path or of a value in a query (RFC 3986, section 2.1).
pub(crate) fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let hex = |rest: &mut std::str::Bytes<'_>| Some([rest.next()?, rest.next()?]);
        let value = (byte == b'%').then(|| hex(&mut rest)).flatten();
        let value = value.and_then(|hex| u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok());
        bytes.push(value.unwrap_or(byte));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns the value of a parameter of a request's query; an empty text for a parameter without a value.
pub(crate) fn parameter(request: &Request<Bytes>, name: &str) -> Option<String> {
    let pairs = request.uri().query().unwrap_or_default().split('&');
    let mut pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    // Clients write a space as '+' in a query, and a plus as '%2B'.
    pairs.find(|(found, _)| *found == name).map(|(_, value)| decoded(&value.replace('+', " ")))
}

/// Returns the part of an object of `whole` bytes that the header `Range` requests (RFC 9110, section 14.1.2), or `None` if the range
/// is not satisfiable.
pub(crate) fn range(said: &str, whole: usize) -> Option<Range<usize>> {
    let Some((first, last)) = said.strip_prefix("bytes=").and_then(|range| range.split_once('-')) else {
        return Some(0..whole);
    };
    let first: usize = first.parse().ok()?;
    let end = last.parse::<usize>().map_or(whole, |last| last.saturating_add(1).min(whole));
    (first < end).then_some(first..end)
}

/// Returns the MD5 of bytes in hexadecimal digits, which Swift and Google Cloud Storage use as the etag of an object.
pub(crate) fn md5_hex(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns a time in the form of HTTP's headers or of listings.
pub(crate) fn formatted(time: SystemTime, format: TimestampFormat) -> String {
    let mut text = Vec::new();
    let written = Timestamp::from(time).format(format, &mut text);
    written.ok().and_then(|()| String::from_utf8(text).ok()).unwrap_or_default()
}
