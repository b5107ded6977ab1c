//! The settings that an access list carries for the connector.

use crate::config::Config;

/// The parsed connector string of a file access list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// The string as given.
    pub text: Vec<u8>,
    /// The settings, or the error in them, which is reported when a file is opened.
    pub config: Result<Config, String>,
}

impl Info {
    /// Reads a connector string. It never fails: an error is stored for the first file.
    pub fn read(text: &[u8]) -> Self {
        let config = match std::str::from_utf8(text) {
            Ok(string) => Config::parse(string),
            Err(_) => Err("the connector string is not UTF-8".to_owned()),
        };
        Self { text: text.to_vec(), config }
    }
}
