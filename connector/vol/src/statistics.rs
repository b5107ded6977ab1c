//! The cost of containers, as text and as JSON: for `H5LAKE_STATS` and for programs that ask.

pub mod native_reads;

use std::time::Duration;

use h5lake_container::statistics::{Summary, summaries};
use object_stores::Reading;
use serde_json::{Map, Value, json};

/// The name of the optional operation on a file (`H5VLregister_opt_operation`) that returns [`all`].
pub const OPERATION: &std::ffi::CStr = c"h5lake.statistics";

/// The container through which a program without an open file calls the operation, which needs one. The program opens
/// this empty container (python/src/h5lake/_libraries.py), and no statistics report it.
const ASKED: &str = "memory:h5lake.statistics/empty";

/// Returns whether a container is one of the program's own, and not the one for this query.
pub fn is_of_program(summary: &Summary) -> bool {
    summary.container != ASKED
}

/// Returns the cost of this process's containers, as a JSON array with an object for each one.
pub fn all() -> String {
    let summaries = summaries();
    let shown = summaries.iter().filter(|summary| is_of_program(summary)).map(object);
    Value::from(shown.chain(native_reads::object()).collect::<Vec<_>>()).to_string()
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

fn calls(shown: &Reading) -> Value {
    json!({
        "count": shown.calls, "failed": shown.errors, "total_seconds": seconds(shown.total),
        "mean_seconds": seconds(shown.mean()), "max_seconds": seconds(shown.longest),
    })
}

fn transfers(shown: &Reading) -> Value {
    let mut value = calls(shown);
    value["bytes"] = shown.bytes.into();
    value
}

fn cache((hits, misses): (u64, u64)) -> Value {
    json!({ "hits": hits, "misses": misses })
}

/// Returns one summary as JSON. Times are in seconds.
pub fn object(summary: &Summary) -> Value {
    let requests = summary.requests.iter().map(|(kind, shown)| ((*kind).to_owned(), transfers(shown)));
    let mut shown = json!({
        "container": summary.container, "open": summary.is_open, "writable": summary.writable,
        "open_seconds": seconds(summary.open_for), "commits": calls(&summary.commits), "conflicts": summary.conflicts,
        "bytes_read": summary.bytes_read(), "bytes_written": summary.bytes_written(),
        "requests": Value::Object(requests.collect::<Map<_, _>>()), "retries": summary.retries,
        "block_cache": cache(summary.block_cache), "page_cache": cache(summary.page_cache),
    });
    if let Some((staged, drained)) = summary.staged {
        shown["stage"] = json!({ "staged_bytes": staged, "drained_bytes": drained });
    }
    shown
}

/// Returns one summary as a line of text.
pub fn line(summary: &Summary) -> String {
    let mut parts = vec![
        format!("open for {:.3?}", summary.open_for),
        format!("commits: {}", timed(&summary.commits)),
        format!("{} conflicts", summary.conflicts),
        format!("{} bytes read", summary.bytes_read()),
        format!("{} bytes written", summary.bytes_written()),
    ];
    let used = summary.requests.iter().filter(|(_, shown)| shown.calls > 0);
    parts.extend(used.map(|(kind, shown)| format!("{kind}: {}", timed(shown))));
    if let Some((staged, drained)) = summary.staged {
        parts.push(format!("stage: {staged} bytes, {drained} of them arrived"));
    }
    parts.push(format!("{} retries", summary.retries));
    for (name, (hits, misses)) in [("block", summary.block_cache), ("page", summary.page_cache)] {
        parts.push(format!("{name} cache: {hits} hits, {misses} misses"));
    }
    format!("{}: {}", summary.container, parts.join("; "))
}

fn timed(shown: &Reading) -> String {
    let Reading { calls, errors, total, longest, .. } = shown;
    if *calls == 0 {
        return "0".to_owned();
    }
    let failed = if *errors > 0 { format!(", {errors} failed") } else { String::new() };
    format!("{calls} in {total:.3?} (mean {:.3?}, longest {longest:.3?}{failed})", shown.mean())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> Summary {
        let shown = |calls, bytes| Reading {
            calls,
            errors: 1,
            bytes,
            total: Duration::from_millis(40),
            longest: Duration::from_millis(30),
        };
        Summary {
            container: "s3://bucket/a.h5".to_owned(),
            writable: true,
            is_open: false,
            open_for: Duration::from_secs(2),
            commits: shown(2, 0),
            conflicts: 1,
            requests: vec![("get", shown(4, 100)), ("put", shown(2, 50)), ("list", Reading::default())],
            staged: Some((50, 40)),
            retries: 3,
            block_cache: (5, 6),
            page_cache: (7, 8),
        }
    }

    #[test]
    fn programs_get_every_number() {
        let shown = object(&summary());
        assert_eq!(shown["container"], "s3://bucket/a.h5");
        assert_eq!((&shown["bytes_read"], &shown["bytes_written"]), (&json!(100), &json!(50)));
        assert_eq!(shown["requests"]["get"]["mean_seconds"], 0.01);
        assert_eq!(shown["requests"]["list"]["count"], 0);
        assert_eq!((&shown["commits"]["max_seconds"], &shown["retries"]), (&json!(0.03), &json!(3)));
        assert_eq!(shown["stage"], json!({ "staged_bytes": 50, "drained_bytes": 40 }));
        let without = object(&Summary { staged: None, ..summary() });
        assert!(without.get("stage").is_none(), "{without}");
        assert_eq!(shown["page_cache"], json!({ "hits": 7, "misses": 8 }));
    }

    #[test]
    fn people_get_one_line() {
        let shown = line(&summary());
        for part in [
            "s3://bucket/a.h5: ",
            "commits: 2 in 40.000ms",
            "1 failed",
            "get: 4 ",
            "3 retries",
            "5 hits",
            "50 bytes, 40",
        ] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(!shown.contains("list") && !shown.contains('\n'), "{shown}");
    }
}
