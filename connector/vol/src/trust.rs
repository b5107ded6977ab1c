//! Decides how far names from inside a file are followed: the names in pointer files, external links and the sources
//! of virtual datasets. The maker of the file chose these names, and may be a stranger; see docs/security.md.

use std::path::Path;

use h5lake_container::Access;
use object_stores::registry::split_scheme;

use crate::config::{Config, Links};
use crate::error::{Error, Minor, Result};
use crate::pointer::{FoundPointer, Pointer};
use crate::schemes::knows;

/// Schemes of stores that are on this machine, or are reached like its files.
const LOCAL_SCHEMES: [&str; 2] = ["file", "memory"];
/// Schemes of URLs that begin with a host.
const HOST_SCHEMES: [&str; 3] = ["http", "https", "h5store+http"];
/// Variables that name the service to which a program's stores belong.
const ENDPOINTS: [&str; 4] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "MINIO_ADDRESS"];

/// Refuses to follow a pointer file, to read a container or to change it, unless its owner and the settings allow
/// that.
///
/// # Errors
/// The reason why it is forbidden, and the setting that would allow it.
pub fn check_pointer(path: &Path, found: &FoundPointer, access: Access, config: &Config) -> Result<()> {
    let Pointer { store, .. } = &found.pointer;
    if config.store.as_deref().is_some_and(|own| is_inside(store, own)) {
        return Ok(());
    }
    let refused = |why: &str, what: &str| {
        let (path, url) = (path.display(), found.pointer.url());
        // The text was written by a stranger: no control character of it may reach a terminal.
        let url = url.escape_debug();
        Err(Error::file(
            Minor::NotFollowed,
            format!("unable to open file: the pointer file '{path}' leads to '{url}', {why}; {what}"),
            Some(libc::EACCES),
        ))
    };
    if access == Access::ReadWrite && !found.is_own {
        let why = "and only its owner may change a container through it";
        return refused(
            why,
            "make a pointer file of your own (h5lake link URL PATH), or set store= to its store",
        );
    }
    if is_local(store, config) {
        return Ok(());
    }
    let what = "open the container by its URL, set store= to its store, or set links=any";
    match config.links {
        Links::Local => refused("on the network, which links=local does not allow", what),
        Links::Store if !found.is_own => refused("on the network, and belongs to another user", what),
        _ if !is_allowed_http(store, config, b"") => refused("without encryption", HTTP),
        _ => Ok(()),
    }
}

const HTTP: &str = "open it by that name, or set HTTP_ALLOW_HTTP=true to have such names followed";

/// Refuses to follow a name that a file in `folder` holds, if the name leads over the network to a location that
/// neither the settings nor that file's own name chose.
///
/// # Errors
/// The reason why it is forbidden, and the setting that would allow it.
pub fn check_name(name: &[u8], folder: &[u8], config: &Config) -> Result<()> {
    let Some(url) = std::str::from_utf8(name).ok().filter(|name| split_scheme(name).is_some()) else {
        return Ok(());
    };
    if is_local(url, config) {
        return Ok(());
    }
    let refused = |why: &str, what: &str| {
        let text = format!("the name '{}' in a file leads to the network, {why}; {what}", url.escape_debug());
        Err(Error::file(Minor::NotFollowed, text, Some(libc::EACCES)))
    };
    let beside = [config.store.as_deref(), std::str::from_utf8(folder).ok()];
    let is_known = beside.into_iter().flatten().any(|known| is_beside(url, known));
    let what = "set links=any to follow it, or open the other file by its name";
    match config.links {
        Links::Local => refused("which links=local does not allow", what),
        Links::Store if !is_known => refused("to another place than the file's own and than store=", what),
        _ if !is_allowed_http(url, config, folder) => refused("without encryption", HTTP),
        _ => Ok(()),
    }
}

/// Returns whether a URL is reached without the network. A drive letter or an unknown word before a colon is no URL. A
/// known scheme of a store makes a URL even without slashes; stores in libraries count, too.
fn is_local(url: &str, config: &Config) -> bool {
    split_scheme(url).is_none_or(|(scheme, rest)| {
        LOCAL_SCHEMES.contains(&scheme.as_str()) || !(rest.starts_with("//") || knows(&scheme, config))
    })
}

/// Returns the scheme of a URL, and its bucket or host. A URL that begins with a path, such as that of a socket, has
/// neither. All names of buckets, containers and pools are case-sensitive; only hosts are not (RFC 3986, section
/// 3.2.2).
fn place_of(url: &str) -> Option<(String, String)> {
    let (scheme, rest) = split_scheme(url)?;
    let place = rest.strip_prefix("//")?.split('/').next().filter(|place| !place.is_empty())?;
    let is_host = HOST_SCHEMES.contains(&scheme.as_str());
    let place = if is_host { place.to_ascii_lowercase() } else { place.to_owned() };
    Some((scheme, place))
}

/// Returns whether two URLs have the same bucket or host; for URLs without these, whether the first is inside the
/// other.
fn is_beside(url: &str, other: &str) -> bool {
    match place_of(url) {
        Some(place) => place_of(other) == Some(place),
        None => split_scheme(other).is_some() && is_inside(url, other),
    }
}

/// Returns whether a store is the same as another store, or a part of it. A name with `..`, plain or encoded, is never
/// a part.
fn is_inside(store: &str, other: &str) -> bool {
    let trimmed = |url: &str| url.trim_end_matches('/').to_owned();
    let (store, other) = (trimmed(store), trimmed(other));
    match store.strip_prefix(&other) {
        Some("") => true,
        Some(rest) => {
            rest.starts_with('/')
                && !rest.contains('%')
                && !rest.split('/').any(|part| matches!(part, "." | ".."))
        }
        None => false,
    }
}

/// Returns whether a name from inside a file that says plain `http:` may be followed. This is so at the service that
/// the program's variables name, at the host of `store=` or of the file itself, or if a variable for that very scheme
/// allows it.
fn is_allowed_http(url: &str, config: &Config, folder: &[u8]) -> bool {
    let Some((scheme, host)) = place_of(url) else { return true };
    if scheme != "http" {
        return true;
    }
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let at_host = |known: &str| {
        let known = if known.contains("://") { known.to_owned() } else { format!("http://{known}") };
        place_of(&known).is_some_and(|(_, known)| known == host)
    };
    ENDPOINTS.iter().any(|name| at_host(&variable(name)))
        || [config.store.as_deref(), std::str::from_utf8(folder).ok()]
            .into_iter()
            .flatten()
            .any(|known| is_beside(url, known))
        || matches!(variable("HTTP_ALLOW_HTTP").to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(links: Links, store: Option<&str>) -> Config {
        Config { links, store: store.map(str::to_owned), ..Config::default() }
    }

    fn found(store: &str, is_own: bool) -> FoundPointer {
        FoundPointer { pointer: Pointer { store: store.to_owned(), key: "k\u{1b}[2J".to_owned() }, is_own }
    }

    #[test]
    fn a_pointer_is_followed_for_writing_by_its_owner_or_into_the_configured_store() {
        let may = |store: &str, is_own, links, set: Option<&str>| {
            check_pointer(Path::new("p"), &found(store, is_own), Access::ReadWrite, &config(links, set))
                .is_ok()
        };
        for links in [Links::Local, Links::Store, Links::Any] {
            assert!(may("file:///d", true, links, None));
            assert!(!may("file:///d", false, links, None));
            assert!(may("file:///d/", false, links, Some("file:///d")));
            assert!(may("file:///d/e", false, links, Some("file:///d/")));
            for outside in ["file:///de", "file:///d/../e", "file:///d/%2e%2e/e", "file:///"] {
                assert!(!may(outside, false, links, Some("file:///d")), "{outside}");
            }
            assert!(may("s3://b/p", false, links, Some("s3://b/p")));
            assert!(!may("s3://b/other", false, links, Some("s3://b/p")));
            assert_eq!(may("s3://b/p", true, links, None), links != Links::Local);
        }
    }

    #[test]
    fn a_strangers_pointer_leads_to_no_host() {
        let may = |store: &str, is_own, links, set: Option<&str>| {
            check_pointer(Path::new("p"), &found(store, is_own), Access::ReadOnly, &config(links, set))
                .is_ok()
        };
        for store in ["s3://b/p", "https://host/d", "gs://b", "other://b"] {
            assert!(may(store, true, Links::Store, None), "{store}");
            assert!(!may(store, false, Links::Store, None), "{store}");
            assert!(may(store, false, Links::Any, None), "{store}");
            assert!(!may(store, true, Links::Local, None), "{store}");
            assert!(may(store, false, Links::Local, Some(store)), "{store}");
        }
        assert!(may("file:///d", false, Links::Local, None));
        let error = check_pointer(
            Path::new("p"),
            &found("s3://b", false),
            Access::ReadOnly,
            &config(Links::Store, None),
        );
        let text = error.unwrap_err().to_string();
        assert!(text.contains("another user") && text.contains("links=any") && text.contains("errno = 13"));
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    #[test]
    fn names_in_files_lead_only_to_allowed_stores() {
        let may = |name: &str, folder: &str, links, set: Option<&str>| {
            check_name(name.as_bytes(), folder.as_bytes(), &config(links, set)).is_ok()
        };
        for links in [Links::Local, Links::Store, Links::Any] {
            for name in ["a.h5", "/d/a.h5", "file:///d/a.h5", "memory:m/a", "C:a", "odd:name"] {
                assert!(may(name, "/d/", links, None), "{name}");
            }
            for (name, folder, set) in [
                ("s3://b/x", "/d/", Some("s3://b/p")),
                ("s3://b/x", "s3://b/p/", None),
                ("https://host/x", "https://HOST/p/", None),
                ("http://host:80/x", "http://host:80/p/", None),
            ] {
                assert_eq!(may(name, folder, links, set), links != Links::Local, "{name}");
            }
            for name in ["s3://b/x", "S3://b/x", "https://host/x"] {
                assert_eq!(may(name, "/d/", links, Some("s3://c")), links == Links::Any, "{name}");
                assert_eq!(may(name, "https://other/", links, None), links == Links::Any, "{name}");
            }
            // Names of buckets, containers and pools that differ only in letter case are different.
            for scheme in ["s3", "gs", "az", "swift", "rados", "S3", "other"] {
                let (name, folder) = (format!("{scheme}://BUCKET/x"), format!("{scheme}://bucket/p/"));
                assert_eq!(may(&name, &folder, links, None), links == Links::Any, "{name}");
                assert_eq!(may(&name, "/d/", links, Some(&folder)), links == Links::Any, "{name}");
                assert_eq!(may(&name, &name, links, None), links != Links::Local, "{name}");
            }
            assert!(!may("http://host/x", "/d/", links, None));
            assert!(!may("http://host/x", "https://host/", links, None));
            // Each socket is a server of its own.
            let socket = "h5store+unix:///run/lab.sock";
            for (name, is_inside) in [
                (format!("{socket}/data/x.h5"), true),
                (format!("{socket}/data/../other/x.h5"), false),
                ("h5store+unix:///run/other.sock/data/x.h5".to_owned(), false),
                ("h5store+unix:///run/lab.sock2/x.h5".to_owned(), false),
            ] {
                let wanted = links == Links::Any || (links == Links::Store && is_inside);
                assert_eq!(may(&name, "/d/", links, Some(&format!("{socket}/data"))), wanted, "{name}");
                assert_eq!(may(&name, &format!("{socket}/data/"), links, None), wanted, "{name}");
            }
            // A scheme of a store needs no slashes.
            assert_eq!(may("s3:b/x", "/d/", links, None), links == Links::Any);
        }
    }
}
