//! The location of a store and the client's identity: from a URL, settings, and the variables of Ceph's own tools.

use std::ffi::CString;
use std::time::Duration;

use crate::settings::{self, Settings, check_settings};
use crate::{ErrorKind, Key, Result};

/// The longest name of a namespace (`osd_max_object_namespace_len`).
const MAX_NAMESPACE: usize = 256;

/// The parts of a URL `//[ID@]POOL[/NAMESPACE[/PREFIX]]`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// The client's name, without its type.
    pub(super) id: Option<String>,
    pub(super) pool: String,
    /// Empty for the pool's default namespace.
    pub(super) namespace: String,
    pub(super) prefix: Option<Key>,
}

/// The cluster and client of a connection. Stores with equal identities share a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// The cluster's name, which is part of its default files.
    pub(super) cluster: CString,
    /// The client's whole name.
    pub(super) name: CString,
    pub(super) configuration: Option<CString>,
    /// `CEPH_CONF` and `CEPH_ARGS`, which librados reads itself.
    pub(super) variables: [Option<String>; 2],
    pub(super) timeout: Duration,
}

fn refusal(why: impl Into<String>) -> crate::Error {
    settings::refusal(ErrorKind::InvalidArgument, why)
}

/// Parses the part of a URL after `rados:`. Consecutive slashes count as one.
pub(super) fn parse(rest: &str) -> Result<Address> {
    let bad = || {
        refusal(
            "a store 'rados:' is written rados://POOL/NAMESPACE, rados://ID@POOL/NAMESPACE or rados://POOL/NAMESPACE/PREFIX",
        )
    };
    let path = rest.strip_prefix("//").ok_or_else(bad)?;
    if path.contains(['?', '#', '\0']) {
        return Err(refusal("a store 'rados:' takes no '?' or '#', and no zero byte"));
    }
    let (server, path) = path.split_once('/').unwrap_or((path, ""));
    let (id, pool) = match server.split_once('@') {
        Some((id, pool)) => (Some(id.to_owned()), pool),
        None => (None, server),
    };
    if pool.is_empty() || id.as_ref().is_some_and(|id| id.is_empty() || id.contains(':')) {
        return Err(bad());
    }
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let namespace = segments.next().unwrap_or_default().to_owned();
    if namespace.len() > MAX_NAMESPACE {
        return Err(refusal(format!("a namespace of a store 'rados:' has at most {MAX_NAMESPACE} bytes")));
    }
    let prefix = segments.collect::<Vec<_>>().join("/");
    let prefix = (!prefix.is_empty()).then(|| Key::new(&prefix)).transpose();
    let prefix = prefix.map_err(|e| refusal(e.to_string()))?;
    Ok(Address { id, pool: pool.to_owned(), namespace, prefix })
}

/// The options in `CEPH_ARGS` that all of Ceph's tools have in common.
#[derive(Debug, Default, PartialEq, Eq)]
struct Arguments {
    cluster: Option<String>,
    name: Option<String>,
    configuration: Option<String>,
}

fn arguments(text: &str) -> Arguments {
    let mut found = Arguments::default();
    let mut words = text.split_whitespace();
    while let Some(word) = words.next() {
        let (option, value) = match word.split_once('=') {
            Some((option, value)) if option.starts_with("--") => (option, Some(value)),
            _ => (word, None),
        };
        let known = ["--id", "--user", "-i", "--name", "-n", "--cluster", "--conf", "-c"];
        if !known.contains(&option) {
            continue;
        }
        let Some(value) = value.or_else(|| words.next()) else { break };
        match option {
            "--id" | "--user" | "-i" => found.name = Some(format!("client.{value}")),
            "--name" | "-n" => found.name = Some(value.to_owned()),
            "--cluster" => found.cluster = Some(value.to_owned()),
            _ => found.configuration = Some(value.to_owned()),
        }
    }
    found
}

/// Returns the cluster and the client's name. A setting takes precedence over the URL, and the URL over the variables.
pub(super) fn identity(
    address: &Address,
    given: &Settings,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Identity> {
    let timeout = settings::timeout(given)?;
    check_settings("rados", &settings::without_timeout(given), &["conf", "id"])?;
    let variables = ["CEPH_CONF", "CEPH_ARGS"].map(variable);
    let said = variables[1].as_deref().map(arguments).unwrap_or_default();
    let id = given.get("id").or(address.id.as_ref()).map(|id| match id.starts_with("client.") {
        true => id.clone(),
        false => format!("client.{id}"),
    });
    let text = |text: String| {
        CString::new(text).map_err(|_| refusal("a setting of a store 'rados:' has a zero byte"))
    };
    Ok(Identity {
        cluster: text(said.cluster.unwrap_or_else(|| "ceph".to_owned()))?,
        name: text(id.or(said.name).unwrap_or_else(|| "client.admin".to_owned()))?,
        configuration: given.get("conf").cloned().or(said.configuration).map(text).transpose()?,
        variables,
        timeout,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_pool_namespace_and_prefix() {
        let address = |id: Option<&str>, pool: &str, namespace: &str, prefix: Option<&str>| Address {
            id: id.map(str::to_owned),
            pool: pool.to_owned(),
            namespace: namespace.to_owned(),
            prefix: prefix.map(|prefix| Key::new(prefix).unwrap()),
        };
        for (rest, expected) in [
            ("//p/n", address(None, "p", "n", None)),
            ("//p", address(None, "p", "", None)),
            ("//p/", address(None, "p", "", None)),
            ("//p/n/", address(None, "p", "n", None)),
            ("//p/n/a/b", address(None, "p", "n", Some("a/b"))),
            ("//p//tmp//x", address(None, "p", "tmp", Some("x"))),
            ("//reader@p/n", address(Some("reader"), "p", "n", None)),
        ] {
            assert_eq!(parse(rest).unwrap(), expected, "{rest}");
        }
        let long = format!("//p/{}", "n".repeat(257));
        for bad in
            ["", "/p/n", "//", "///n", "//@p/n", "//a:b@p/n", "//p/n?x=1", "//p/n#x", "//p/n/..", &long]
        {
            assert_eq!(parse(bad).unwrap_err().kind(), ErrorKind::InvalidArgument, "{bad}");
        }
        assert!(!parse("//user:secret@p/n").unwrap_err().to_string().contains("secret"));
    }

    #[test]
    fn the_user_is_taken_from_settings_then_url_then_variables() {
        let name = |url: &str, settings: &[(&str, &str)], args: &str| {
            let settings = settings.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            let variable = |name: &str| (name == "CEPH_ARGS").then(|| args.to_owned());
            let identity = identity(&parse(url).unwrap(), &settings, &variable).unwrap();
            let file = identity.configuration.map(|file| file.into_string().unwrap());
            (identity.name.into_string().unwrap(), identity.cluster.into_string().unwrap(), file)
        };
        let of = |name: &str| (name.to_owned(), "ceph".to_owned(), None);
        assert_eq!(name("//p/n", &[], ""), of("client.admin"));
        assert_eq!(name("//p/n", &[], "--debug-ms 1 --id reader"), of("client.reader"));
        assert_eq!(name("//p/n", &[], "--name=client.x --no-mon-config"), of("client.x"));
        assert_eq!(name("//w@p/n", &[], "--id reader"), of("client.w"));
        assert_eq!(name("//w@p/n", &[("id", "client.v")], "--id reader"), of("client.v"));
        let all = ("client.q".to_owned(), "other".to_owned(), Some("/x/ceph.conf".to_owned()));
        assert_eq!(name("//p/n", &[], "-n client.q --cluster other -c /x/ceph.conf"), all);
        assert_eq!(name("//p/n", &[("conf", "/y")], "-c /x").2.as_deref(), Some("/y"));
        assert_eq!(name("//p/n", &[], "--id"), of("client.admin"), "an option without its value");
    }

    #[test]
    fn settings_that_are_not_understood_are_refused_by_name() {
        for (setting, value) in [("key", "secret"), ("timeout", "soon")] {
            let settings = Settings::from([(setting.to_owned(), value.to_owned())]);
            let refused = identity(&parse("//p/n").unwrap(), &settings, &|_| None).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
            assert!(refused.to_string().contains(&format!("'{setting}'")), "{refused}");
        }
    }
}
