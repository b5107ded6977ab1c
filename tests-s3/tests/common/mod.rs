//! A server, and stores in it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]
#![allow(dead_code, reason = "each test uses its part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use h5lake_tests_s3::{BUCKET, Behaviour, Server};
use object_stores::registry::Settings;
use object_stores::remote::{Environment, open_in};
use object_stores::{Key, ObjectStore, Result};

pub fn server() -> Server {
    Server::start(Behaviour::default()).unwrap()
}

pub fn environment(server: &Server) -> Environment {
    server.variables().into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Returns the environment with other values; an empty value removes the variable.
pub fn changed(server: &Server, changes: &[(&str, &str)]) -> Environment {
    let mut environment = environment(server);
    for (name, value) in changes {
        environment.remove(*name);
        if !value.is_empty() {
            environment.insert((*name).to_owned(), (*value).to_owned());
        }
    }
    environment
}

pub fn open(url: &str, environment: &Environment) -> Result<Arc<dyn ObjectStore>> {
    open_in(url, &Settings::new(), environment)
}

/// Returns a part of the server's bucket that no other test uses.
pub fn fresh(server: &Server) -> Arc<dyn ObjectStore> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    open(&format!("s3://{BUCKET}/fresh/{n}"), &environment(server)).unwrap()
}

/// Returns a part of the server's bucket that no other test uses, with the given timeout.
pub fn fresh_within(server: &Server, timeout: &str) -> Arc<dyn ObjectStore> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let settings = Settings::from([("timeout".to_owned(), timeout.to_owned())]);
    open_in(&format!("s3://{BUCKET}/within/{n}"), &settings, &environment(server)).unwrap()
}

pub fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}
