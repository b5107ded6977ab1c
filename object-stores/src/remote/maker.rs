//! Recognises a server's software from its answers: OpenStack Swift and MinIO break promises about conditions,
//! freshness or permissions.

use std::sync::atomic::{AtomicU8, Ordering};

use object_store::client::{HttpRequest, HttpResponse};
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

/// The header that makes Swift return the newest copy of an object, and not just any copy
/// (<https://docs.openstack.org/api-ref/object-store/>, "Get object content and metadata").
const NEWEST: HeaderName = HeaderName::from_static("x-newest");

/// The numbers of hexadecimal digits in the parts of a transaction's id in Swift: `txRANDOM-TIME`.
const TRANSACTION_DIGITS: [usize; 2] = [21, 10];

const UNKNOWN: u8 = 0;
const OTHER: u8 = 1;
const SWIFT: u8 = 2;
const MINIO: u8 = 3;

/// The number of hexadecimal digits with which MinIO identifies the host that answered, in `x-amz-id-2`.
const MINIO_HOST_DIGITS: usize = 64;

/// The server's software, OpenStack Swift or MinIO, as far as its answers showed it. No lock guards it.
#[derive(Debug, Default)]
pub(super) struct Maker(AtomicU8);

impl Maker {
    pub(super) fn is_swift(&self) -> bool {
        self.0.load(Ordering::Relaxed) == SWIFT
    }

    /// Returns whether a put that the server denies may be allowed a moment later. MinIO denies a put into a folder
    /// that another request is removing, because the folder's last object was deleted
    /// (<https://github.com/minio/minio/issues/15157>, with that of issue 12914).
    pub(super) fn may_deny_in_error(&self) -> bool {
        self.0.load(Ordering::Relaxed) == MINIO
    }

    /// Recognises the software in an answer.
    pub(super) fn see(&self, answer: &HttpResponse) {
        if is_of_swift(answer.headers()) {
            self.0.store(SWIFT, Ordering::Relaxed);
        } else if is_of_minio(answer.headers()) {
            self.0.store(MINIO, Ordering::Relaxed);
        } else if !answer.status().is_server_error() {
            // A proxy may answer in a server's place, but only with a failure.
            let _known = self.0.compare_exchange(UNKNOWN, OTHER, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Makes a read request the newest copy, if the server is Swift. If the server is still unknown, returns a copy of
    /// the request that does so, to be sent if the answer shows that the server is Swift.
    pub(super) fn ask_for_newest(&self, request: &mut HttpRequest) -> Option<HttpRequest> {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if !reads || request.headers().contains_key(NEWEST) {
            return None;
        }
        match self.0.load(Ordering::Relaxed) {
            SWIFT => {
                request.headers_mut().insert(NEWEST, HeaderValue::from_static("true"));
                None
            }
            UNKNOWN => {
                let mut copy = HttpRequest::new(request.body().clone());
                *copy.method_mut() = request.method().clone();
                *copy.uri_mut() = request.uri().clone();
                *copy.headers_mut() = request.headers().clone();
                copy.headers_mut().insert(NEWEST, HeaderValue::from_static("true"));
                Some(copy)
            }
            _ => None,
        }
    }
}

/// Returns whether an answer came from Swift, through its own interface or through s3api. Ceph's gateway has
/// transaction ids that begin in the same form and continue with an instance and a zone, and only its Swift interface
/// sends OpenStack's headers.
fn is_of_swift(headers: &HeaderMap) -> bool {
    let has = |name: &str| headers.contains_key(name);
    let is_transaction = |name: &str| {
        headers.get(name).and_then(|value| value.to_str().ok()).is_some_and(is_transaction_of_swift)
    };
    has("x-openstack-request-id")
        || has("x-trans-id")
        || is_transaction("x-amz-id-2")
        || is_transaction("x-amz-request-id")
}

/// Returns whether an answer came from MinIO, also through a proxy that puts its own name into `Server`.
fn is_of_minio(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    text("server").is_some_and(|server| server.starts_with("MinIO"))
        || text("x-amz-id-2").is_some_and(|host| {
            host.len() == MINIO_HOST_DIGITS && host.bytes().all(|digit| digit.is_ascii_hexdigit())
        })
}

fn is_transaction_of_swift(id: &str) -> bool {
    let Some(parts) = id.strip_prefix("tx") else { return false };
    let parts: Vec<_> = parts.split('-').collect();
    parts.len() == TRANSACTION_DIGITS.len()
        && parts
            .iter()
            .zip(TRANSACTION_DIGITS)
            .all(|(part, digits)| part.len() == digits && part.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use object_store::client::{HttpRequestBody, HttpResponseBody};

    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)]) -> HttpResponse {
        let mut answer = HttpResponse::new(HttpResponseBody::from(String::new()));
        *answer.status_mut() = status.try_into().unwrap();
        for (name, value) in headers {
            answer.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        answer
    }

    fn maker_of(status: u16, headers: &[(&'static str, &'static str)]) -> Maker {
        let maker = Maker::default();
        maker.see(&answer(status, headers));
        maker
    }

    #[test]
    fn swift_is_known_by_its_transaction_ids() {
        let id = "tx4eb0cc56b3d046a985071-006b042de1";
        for name in ["x-trans-id", "x-openstack-request-id", "x-amz-id-2", "x-amz-request-id"] {
            assert!(maker_of(404, &[(name, id)]).is_swift(), "{name}");
        }
        // Ids of Ceph's gateway, Amazon and MinIO.
        for id in [
            "tx000007e7ce3c5f8a9f338-006b042dca-100d-default",
            "4442587FB7D0A2F9",
            "18A5C6F0B3C0E1D2",
            "tx-",
            "",
        ] {
            assert!(!maker_of(200, &[("x-amz-request-id", id)]).is_swift(), "{id}");
        }
        assert!(!maker_of(200, &[("x-amz-id-2", "eftixk72aD6Ap51TnqcoF8eFidJG9Z/2")]).is_swift());
    }

    #[test]
    fn minio_is_known_by_its_name_or_its_host() {
        assert!(maker_of(200, &[("server", "MinIO")]).may_deny_in_error());
        let host = "dd9025bab4ad464b049177c95eb6ebf374d3b3fd1af9251148b658df7ac2e3e8";
        assert!(maker_of(403, &[("server", "nginx"), ("x-amz-id-2", host)]).may_deny_in_error());
        for id in ["eftixk72aD6Ap51TnqcoF8eFidJG9Z/2", "tx4eb0cc56b3d046a985071-006b042de1", ""] {
            assert!(
                !maker_of(200, &[("server", "AmazonS3"), ("x-amz-id-2", id)]).may_deny_in_error(),
                "{id}"
            );
        }
    }

    #[test]
    fn the_first_read_of_swift_is_sent_again_and_later_ones_ask_for_the_newest() {
        let read = || {
            let mut request = HttpRequest::new(HttpRequestBody::empty());
            *request.method_mut() = Method::GET;
            request
        };
        let unknown = Maker::default();
        let mut first = read();
        let again = unknown.ask_for_newest(&mut first).unwrap();
        assert!(again.headers().contains_key(NEWEST) && !first.headers().contains_key(NEWEST));
        unknown.see(&answer(200, &[("x-trans-id", "tx1")]));
        let mut second = read();
        assert!(unknown.ask_for_newest(&mut second).is_none() && second.headers().contains_key(NEWEST));
        let other = maker_of(200, &[]);
        let mut third = read();
        assert!(other.ask_for_newest(&mut third).is_none() && !third.headers().contains_key(NEWEST));
        assert!(
            maker_of(502, &[]).ask_for_newest(&mut read()).is_some(),
            "a failure of a proxy says nothing about the server"
        );
    }
}
