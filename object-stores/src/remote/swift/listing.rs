//! Listings of a container, page by page.

use async_trait::async_trait;
use chrono::{DateTime, Duration, NaiveDateTime, Utc};
use object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};
use object_store::path::Path;
use object_store::{ListResult, ObjectMeta};
use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::Value;

use super::super::StoreResult;
use super::client::{Ask, broken, generic};
use super::objects::SwiftContainer;
use super::refusal::What;

/// The number of objects of a page, if the caller gives no number.
const PAGE: usize = 1000;

#[async_trait]
impl PaginatedListStore for SwiftContainer {
    async fn list_paginated(
        &self,
        prefix: Option<&str>,
        options: PaginatedListOptions,
    ) -> StoreResult<PaginatedListResult> {
        let limit = options.max_keys.unwrap_or(PAGE).clamp(1, PAGE);
        let ask = Ask::new(Method::GET, &*self.name, What::Container)
            .header("x-newest", HeaderValue::from_static("true"))
            .query("format", "json")
            .query("limit", limit.to_string())
            .query("prefix", prefix.unwrap_or_default());
        // A page begins after the last name of the previous page.
        let ask = match options.page_token.or(options.offset) {
            Some(after) => ask.query("marker", after),
            None => ask,
        };
        let answer = self.client.ask(ask).await?;
        let body = answer.into_body().bytes().await.map_err(broken)?;
        let (objects, last, listed) =
            page(&body).ok_or_else(|| generic("the listing is not understood".into()))?;
        let result = ListResult { objects, common_prefixes: Vec::new(), extensions: Default::default() };
        Ok(PaginatedListResult { result, page_token: last.filter(|_| listed == limit) })
    }
}

type Page = (Vec<ObjectMeta>, Option<String>, usize);

/// Returns the objects of a page, its last name, and the number of its names. A name that is no valid key is left out.
fn page(body: &[u8]) -> Option<Page> {
    let listed = match body.is_empty() {
        // Status 204: the page is empty.
        true => Vec::new(),
        false => serde_json::from_slice::<Vec<Value>>(body).ok()?,
    };
    let mut objects = Vec::with_capacity(listed.len());
    for object in &listed {
        let name = object["name"].as_str()?;
        let Ok(location) = Path::parse(name) else { continue };
        if location.as_ref() != name {
            continue;
        }
        // For a large object, "hash" is the manifest's digest.
        let etag = object["slo_etag"].as_str().or_else(|| object["hash"].as_str());
        objects.push(ObjectMeta {
            location,
            last_modified: modified(object["last_modified"].as_str()?)?,
            size: object["bytes"].as_u64()?,
            e_tag: etag.map(str::to_owned),
            version: None,
        });
    }
    let last = listed.last().and_then(|object| object["name"].as_str()).map(str::to_owned);
    Some((objects, last, listed.len()))
}

/// Converts a listing's time into the time in the object's headers: in whole seconds, rounded up.
fn modified(text: &str) -> Option<DateTime<Utc>> {
    let time = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok()?.and_utc();
    let whole = DateTime::from_timestamp(time.timestamp(), 0)?;
    if time > whole { whole.checked_add_signed(Duration::seconds(1)) } else { Some(whole) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_parsed() {
        let body = br#"[{"name": "a/b", "bytes": 3, "hash": "x", "last_modified": "2026-11-23T12:13:21.000010"},
            {"name": "c//d", "bytes": 1, "hash": "y", "last_modified": "2026-11-23T12:13:21.000000"},
            {"name": "e", "bytes": 9, "hash": "m", "slo_etag": "\"z\"", "last_modified": "2026-11-23T12:13:21.000000"}]"#;
        let (objects, last, listed) = page(body).unwrap();
        let entries: Vec<_> = objects
            .iter()
            .map(|o| {
                (o.location.as_ref(), o.size, o.e_tag.as_deref().unwrap(), o.last_modified.timestamp() % 60)
            })
            .collect();
        assert_eq!(entries, [("a/b", 3, "x", 22), ("e", 9, "\"z\"", 21)]);
        assert_eq!((last.as_deref(), listed), (Some("e"), 3));
        assert_eq!(page(b"").map(|(objects, ..)| objects.len()), Some(0));
        for bad in [&b"{}"[..], b"[1]", b"[{\"name\": \"a\", \"bytes\": -1}]", b"<html>"] {
            assert!(page(bad).is_none());
        }
    }
}
