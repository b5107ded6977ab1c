//! Formats times for users.

/// Formats a time in microseconds since 1970 for users, in UTC.
pub(crate) fn text(micros: u64) -> String {
    let time = i64::try_from(micros).ok().and_then(chrono::DateTime::from_timestamp_micros);
    time.map_or_else(
        || format!("{micros} µs after 1970"),
        |t| t.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
    )
}
