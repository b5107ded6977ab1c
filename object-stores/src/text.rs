//! Escaping of text for people: names that another user chose, in a form that is safe for terminals, JSON and shells.
//!
//! A container, and the names in the container, can come from another user. A terminal interprets control characters, and
//! directional formatting characters show a text in an order that differs from its own.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Returns whether a terminal shows a character and does nothing else because of that character.
///
/// The other characters are controls (U+0000–U+001F, U+007F–U+009F), directional formatting (U+061C, U+200E, U+200F,
/// U+202A–U+202E, U+2066–U+2069), line and paragraph separators (U+2028, U+2029), annotations (U+FFF9–U+FFFB) and tags
/// (U+E0000–U+E007F).
fn is_shown(c: char) -> bool {
    !c.is_control()
        && !matches!(
            c,
            '\u{61c}'
                | '\u{200e}' | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

fn escaped(text: &str, stays: impl Fn(char) -> bool, escape: impl Fn(&mut String, char)) -> Cow<'_, str> {
    if text.chars().all(&stays) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if stays(c) { out.push(c) } else { escape(&mut out, c) }
    }
    Cow::Owned(out)
}

/// Returns a text as one line. Each character that a terminal would interpret is escaped in Rust's syntax, as `\n` or `\u{1b}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, is_shown, |out, c| out.extend(c.escape_default()))
}

/// Returns a text of several lines. Line feeds are retained, and all other characters are treated as by [`printable`].
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\n' || is_shown(c), |out, c| out.extend(c.escape_default()))
}

/// Returns a JSON document with the same meaning, without the characters that a terminal would interpret. Line feeds between
/// values are retained: JSON has no other line feeds.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    escaped(
        json,
        |c| c == '\n' || is_shown(c),
        |out, c| {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        },
    )
}

/// Returns a word for the command line of a shell: unchanged if no shell interprets any part of the word, otherwise in quotes.
pub fn shell_quoted(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:@=%+,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    if text.chars().all(is_shown) {
        return Cow::Owned(format!("'{}'", text.replace('\'', r"'\''")));
    }
    let mut out = String::from("$'");
    for c in text.chars() {
        match c {
            '\'' | '\\' => out.extend(['\\', c]),
            c if is_shown(c) => out.push(c),
            c => c.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| {
                // Three digits, so that a digit that follows is not read as part of the escape.
                let _ = write!(out, "\\{byte:03o}");
            }),
        }
    }
    out.push('\'');
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The characters that no output contains.
    fn obeyed() -> impl Iterator<Item = char> {
        let ranges = ['\0'..='\x1f', '\x7f'..='\u{9f}', '\u{202a}'..='\u{202e}', '\u{2066}'..='\u{2069}'];
        ranges.into_iter().flatten()
    }

    #[test]
    fn control_characters_of_terminals_are_removed() {
        for c in obeyed() {
            let text = format!("a{c}b");
            assert!(!printable(&text).contains(c), "{c:?}");
            assert_eq!(printable_lines(&text).contains(c), c == '\n', "{c:?}");
            assert_eq!(printable_json(&text).contains(c), c == '\n', "{c:?}");
            assert!(!shell_quoted(&text).contains(c), "{c:?}");
        }
        assert_eq!(printable("a\x1b[2J\nb\u{202e}\u{9b}\t"), "a\\u{1b}[2J\\nb\\u{202e}\\u{9b}\\t");
        for text in ["", "plain", "Größe 日本 עברית 😀 \\ \"'"] {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    #[test]
    fn json_means_the_same() {
        for c in obeyed().chain(['\u{e0001}', '\u{2028}', 'é', '"', '\\']) {
            let value = serde_json::json!({ format!("k{c}"): [format!("{c}{c}x"), 1] });
            for json in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
                let shown = printable_json(&json);
                assert!(shown.chars().all(|c| c == '\n' || is_shown(c)), "{shown}");
                assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
            }
        }
    }

    #[test]
    fn a_quoted_word_is_one_word_of_a_shell() {
        for word in [
            "",
            "a",
            "a.h5@tag=v1.0",
            "x; touch pwned #",
            "it's",
            "$(x) `y` \"z\" \\",
            "-n",
            "ä b",
            "~",
            "a*",
            "a\x1b7\nb",
            "\u{202e}1",
        ] {
            let command = format!("printf %s {}", shell_quoted(word));
            let ran = std::process::Command::new("bash").args(["-c", &command]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&ran.stdout), word, "{command}");
        }
        assert_eq!(shell_quoted("x; touch pwned #"), "'x; touch pwned #'");
    }
}
