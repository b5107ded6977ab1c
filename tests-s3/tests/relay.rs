//! The relay in front of a server: signed requests pass, are counted, and take longer by the latency.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::time::{Duration, Instant};

use h5lake_tests_s3::relay::Relay;
use h5lake_tests_s3::{Behaviour, Server};
use object_stores::registry::Settings;
use object_stores::remote::open_in;
use object_stores::{Key, PutMode};

#[test]
fn a_relay_passes_requests_and_adds_its_latency() {
    let server = Server::start(Behaviour::default()).unwrap();
    let address = server.endpoint().strip_prefix("http://").unwrap().parse().unwrap();
    let relay = Relay::start(address).unwrap();
    let mut variables = server.variables();
    variables[0].1 = relay.endpoint();
    let environment = variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let store = open_in("s3://lake/relayed", &Settings::new(), &environment).unwrap();
    let key = Key::new("a").unwrap();
    let bytes = vec![7; 9 << 20];
    store.put(&key, bytes.clone().into(), PutMode::Overwrite).unwrap();
    relay.take_requests();
    relay.faults().set_latency(Duration::from_millis(50));
    let begun = Instant::now();
    assert_eq!(store.get(&key, Some(5..10)).unwrap().bytes, bytes[5..10]);
    assert!(begun.elapsed() >= Duration::from_millis(50));
    assert_eq!(relay.take_requests().len(), 1);
    relay.faults().set_latency(Duration::ZERO);
    assert!(store.get(&key, None).unwrap().bytes == bytes);
}
