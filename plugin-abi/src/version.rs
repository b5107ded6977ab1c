//! Versions of HDF5: the oldest supported one, and the conversion from and to text.

/// The oldest library with the plugin interface of the connector (`H5VL_VERSION` 3).
pub(crate) const OLDEST: (u32, u32, u32) = (1, 14, 0);

/// Formats a version for messages: `1.14.6`.
pub(crate) fn shown((major, minor, release): (u32, u32, u32)) -> String {
    format!("{major}.{minor}.{release}")
}

/// Parses `HDF5 library version: 1.14.6`, with or without a suffix such as `-rc1` or `.1`.
pub(crate) fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let mut numbers = text
        .rsplit_once(' ')?
        .1
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|part| part.parse::<u32>().ok());
    Some((numbers.next()?, numbers.next()?, numbers.next()?))
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn versions_are_read_from_the_librarys_text() {
        assert_eq!(parse_version("HDF5 library version: 1.14.6"), Some((1, 14, 6)));
        assert_eq!(parse_version("HDF5 library version: 1.14.4.3"), Some((1, 14, 4)));
        assert_eq!(parse_version("HDF5 library version: 1.14.4-3"), Some((1, 14, 4)));
        assert_eq!(parse_version("HDF5 library version: 2.0.0-rc1"), Some((2, 0, 0)));
    }

    #[test]
    fn text_without_a_version_is_refused() {
        for text in ["", "1.14.6", "HDF5 library version: ", "HDF5 library version: 2.0", "HDF5 x.y.z"] {
            assert_eq!(parse_version(text), None, "{text:?}");
        }
    }
}
