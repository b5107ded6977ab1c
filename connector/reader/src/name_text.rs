//! Conversion of object names, which are bytes, to text.

/// Returns a name as text. Bytes that are not UTF-8 become `\xNN`, so that different names remain different.
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
