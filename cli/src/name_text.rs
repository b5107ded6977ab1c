//! Names of objects, which are bytes, as text.

/// A name as text: bytes that are no UTF-8 are `\xNN`, so that two names are never one.
pub fn name_text(name: &[u8]) -> String {
    let mut text = String::new();
    for part in name.utf8_chunks() {
        text.push_str(part.valid());
        part.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_are_shown_as_such() {
        assert_eq!(name_text("ä".as_bytes()), "ä");
        assert_eq!([name_text(b"n\xff"), name_text(b"n\xfe")], ["n\\xff", "n\\xfe"]);
    }
}
