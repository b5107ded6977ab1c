//! Times in settings: seconds, or a number with a unit.

use std::time::Duration;

/// Parses a time such as `3`, `2.5`, `60s`, `500ms`, `1m`, `1m 30s`.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let mut rest = text;
    let mut whole = Duration::ZERO;
    while !rest.is_empty() {
        let (number, behind) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let (unit, behind) =
            behind.split_at(behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len()));
        let number: u64 = number.parse().ok()?;
        let part = match unit {
            "ns" => Duration::from_nanos(number),
            "us" => Duration::from_micros(number),
            "ms" => Duration::from_millis(number),
            "s" | "sec" | "secs" | "second" | "seconds" => Duration::from_secs(number),
            "m" | "min" | "mins" | "minute" | "minutes" => Duration::from_secs(number.checked_mul(60)?),
            "h" | "hour" | "hours" => Duration::from_secs(number.checked_mul(3600)?),
            _ => return None,
        };
        whole = whole.checked_add(part)?;
        rest = behind.trim_start();
    }
    (!text.is_empty()).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_numbers_are_seconds() {
        let time = |text| parse(text).map(|time| time.as_millis());
        for (text, milliseconds) in [
            ("3", 3000),
            ("2.5", 2500),
            ("60s", 60_000),
            ("500ms", 500),
            ("1m 30s", 90_000),
            ("1m30s", 90_000),
        ] {
            assert_eq!(time(text), Some(milliseconds), "{text}");
        }
        for text in ["", "s", "-1", "3 parsecs", "1e999", "nan"] {
            assert_eq!(time(text), None, "{text}");
        }
    }
}
