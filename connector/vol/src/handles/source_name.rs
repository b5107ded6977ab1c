//! Names of the sources of a virtual dataset: `%b` stands for the number of a block, `%%` for a percent sign.
#![forbid(unsafe_code)]

use crate::error::{Error, Result};

/// A source's file or dataset name, split where the number of a block is inserted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceName {
    parts: Vec<Vec<u8>>,
}

impl SourceName {
    /// Parses a name in the format of `H5Pset_virtual`.
    ///
    /// # Errors
    /// A percent sign that is not followed by `b` or another percent sign.
    pub fn parse(name: &[u8]) -> Result<Self> {
        let (mut parts, mut rest) = (vec![Vec::new()], name.iter().copied());
        while let Some(byte) = rest.next() {
            let byte = match byte {
                b'%' => match rest.next() {
                    Some(b'b') => {
                        parts.push(Vec::new());
                        continue;
                    }
                    Some(b'%') => b'%',
                    _ => return Err(Error::argument("invalid format specifier in the name of a source")),
                },
                plain => plain,
            };
            if let Some(part) = parts.last_mut() {
                part.push(byte);
            }
        }
        Ok(Self { parts })
    }

    /// Returns whether the name denotes another source for each block.
    pub fn is_numbered(&self) -> bool {
        self.parts.len() > 1
    }

    /// Returns the name of the source of a block.
    pub fn of_block(&self, number: u64) -> Vec<u8> {
        self.parts.join(number.to_string().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str, block: u64) -> String {
        String::from_utf8(SourceName::parse(text.as_bytes()).unwrap().of_block(block)).unwrap()
    }

    #[test]
    fn numbers_go_where_they_are_asked_for() {
        assert_eq!(name("plain", 7), "plain");
        assert_eq!(name("f%b.h5", 0), "f0.h5");
        assert_eq!(name("%b/%b%%", 12), "12/12%");
        assert_eq!(name("100%%b", 3), "100%b");
        assert!(!SourceName::parse(b"100%%b").unwrap().is_numbered());
    }

    #[test]
    fn other_percent_signs_are_refused() {
        assert!(SourceName::parse(b"%d").is_err());
        assert!(SourceName::parse(b"50%").is_err());
    }
}
