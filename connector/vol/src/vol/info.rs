//! What an access list says to the connector.

use crate::config::Config;

/// The connector string that a file access list carries, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// The string as given.
    pub text: Vec<u8>,
    /// The settings, or why there are none: told when a file is opened.
    pub config: Result<Config, String>,
}

impl Info {
    /// Reads a connector string. Never fails: an error is kept for the first file.
    pub fn read(text: &[u8]) -> Self {
        let config = match std::str::from_utf8(text) {
            Ok(string) => Config::parse(string),
            Err(_) => Err("the connector string is not UTF-8".to_owned()),
        };
        Self { text: text.to_vec(), config }
    }
}
