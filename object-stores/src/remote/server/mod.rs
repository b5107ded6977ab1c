//! Stores in another process on this machine, accessed through a small HTTP protocol (docs/store-protocol.md):
//! `h5store+http://127.0.0.1:PORT/PREFIX` and `h5store+unix:///PATH/NAME.sock/PREFIX`.
//!
//! As for Swift, the protocol is implemented below the traits of the crate `object_store` ([`objects`]). So limits of
//! an operation, streams, parts of objects and the server's clock are those of all remote stores. The server may be
//! written by anyone, so its promises are requested when the store is opened, and probed before any caller relies on
//! them.

mod client;
mod filter;
mod objects;
mod upload;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::client::ClientConfigKey;
use url::Url;

pub(super) use client::{Description, Refusal, ServerClient};
pub(super) use filter::{MAX_MATCHES, answer_bytes};

use self::objects::ServerObjects;
use super::conditions::Conditions;
use super::failure::Failure;
use super::kept_names::KeptNames;
use super::options::{ConnectionPlan, Environment, client_options, refusal, refused, retries};
use super::{Bucket, Client};
use crate::settings::{Settings, check_settings};
use crate::{ErrorKind, Operation, Result};

/// The schemes for a server on a TCP port of this machine, and for a server at a socket in a folder.
pub(super) const SCHEMES: [&str; 2] = ["h5store+http", "h5store+unix"];

/// The suffix of a socket's name. The path after it is a prefix of keys.
const SOCKET: &str = ".sock";

/// Splits `///PATH/NAME.sock/PREFIX` into the socket and the prefix.
pub(super) fn split_socket(rest: &str) -> Result<(&str, Option<&str>)> {
    let bad = || {
        let form = "h5store+unix:///PATH/NAME.sock or h5store+unix:///PATH/NAME.sock/PREFIX";
        refusal(format!("a store 'h5store+unix:' is written {form}"))
    };
    let path = rest.strip_prefix("//").filter(|path| path.starts_with('/')).ok_or_else(bad)?;
    let ends = path.match_indices(SOCKET).map(|(at, _)| at + SOCKET.len());
    let mut ends = ends.filter(|end| matches!(path.as_bytes().get(*end), None | Some(b'/')));
    let (socket, prefix) = path.split_at(ends.next().ok_or_else(bad)?);
    if path.contains(['?', '#', '\0']) {
        return Err(bad());
    }
    let prefix = prefix.trim_matches('/');
    Ok((socket, (!prefix.is_empty()).then_some(prefix)))
}

/// Returns whether a host is on this machine. On the way to another machine, other users could read and change the
/// data.
fn is_here(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Returns how to connect to the server.
pub(super) fn plan(
    scheme: &str,
    at: &str,
    environment: &Environment,
    settings: &Settings,
) -> Result<ConnectionPlan> {
    check_settings(scheme, settings, &[])?;
    let socket = (scheme == "h5store+unix").then(|| PathBuf::from(at));
    if socket.is_none() && !is_here(at) {
        return Err(refusal(format!(
            "a store 'h5store+http:' is on this machine: 127.0.0.1:PORT, [::1]:PORT or localhost:PORT, not '{at}'; \
             its protocol has neither encryption nor passwords"
        )));
    }
    let host = if socket.is_some() { "localhost" } else { at };
    let url: Url =
        format!("http://{host}/").parse().map_err(|_| refusal(format!("'{at}' is no host with a port")))?;
    let options = client_options()
        .with_config(ClientConfigKey::AllowHttp, "true")
        .with_config(ClientConfigKey::NoSystemCertificates, "true");
    let retry = retries(environment)?;
    let name = format!("{scheme}://{at}");
    let identity = [("scheme", scheme), ("bucket", at)].map(|(key, text)| (key.to_owned(), text.to_owned()));
    let connect = move || {
        let client = ServerClient::new(url.clone(), retry.clone(), &options, socket.clone());
        let client = Arc::new(client.map_err(|e| refused(e, ""))?);
        let objects = Arc::new(ServerObjects::new(client.clone()));
        Ok(Client { objects: objects.clone(), unsigned: None, pages: Some(objects), server: Some(client) })
    };
    Ok(ConnectionPlan {
        name: name.clone(),
        bucket: at.to_owned(),
        at: String::new(),
        connect: Box::new(connect),
        conditions: Conditions::promised(&name),
        kept_names: KeptNames::All,
        by_version: false,
        identity: identity.into(),
        endpoint: None,
    })
}

/// Requests the server's promises, unless they are known already.
pub(super) fn ask_promises(bucket: &Bucket) -> Result<()> {
    if bucket.conditions.knows_promises() {
        return Ok(());
    }
    let described = bucket.ask(|client| async move {
        match client.server {
            Some(server) => server.describe().await,
            None => Ok(Description::default()),
        }
    });
    let described = described.map_err(|failure| bucket.error(Operation::Open, failure))?;
    bucket.conditions.set_promises(described);
    Ok(())
}

/// Converts a refusal into this crate's kinds. If an object is not found, the error contains no further text.
pub(super) fn failure(refusal: &Refusal) -> Failure {
    let detail = if refusal.kind() == ErrorKind::NotFound { String::new() } else { refusal.to_string() };
    Failure::new(refusal.kind(), detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_a_socket_and_a_prefix() {
        assert_eq!(split_socket("///run/x.sock").unwrap(), ("/run/x.sock", None));
        assert_eq!(split_socket("///run/x.sock/a/b/").unwrap(), ("/run/x.sock", Some("a/b")));
        assert_eq!(split_socket("///r.sock.d/x.sock/a.sock").unwrap(), ("/r.sock.d/x.sock", Some("a.sock")));
        for bad in ["", "//host/x.sock", "///run/x", "///run/x.socket/y", "///x.sock?y", "/x.sock"] {
            assert!(split_socket(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_server_is_on_this_machine() {
        for here in ["localhost", "localhost:80", "127.0.0.1:8000", "127.1.2.3", "[::1]:8000"] {
            assert!(is_here(here), "{here}");
        }
        for elsewhere in [
            "10.0.0.1:80",
            "example.org",
            "localhost.example.org:80",
            "127.0.0.1.example.org",
            "[::2]",
            "0.0.0.0:1",
        ] {
            assert!(!is_here(elsewhere), "{elsewhere}");
        }
    }
}
