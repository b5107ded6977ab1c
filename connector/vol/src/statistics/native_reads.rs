//! Statistics of this process's reads of native files through h5lake's own filters.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use h5lake_container::Decoded;
use h5lake_container::statistics::Summary;
use object_stores::Reading;
use serde_json::{Value, json};

/// The name that stands for all native files, in place of a container's name.
const NAME: &str = "native files";

static READS: AtomicU64 = AtomicU64::new(0);
static CHUNKS: AtomicU64 = AtomicU64::new(0);
static STORED_BYTES: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
/// The number of reads that were reported in a line.
static REPORTED: AtomicU64 = AtomicU64::new(0);

/// Counts a read of `bytes` bytes of elements.
pub fn note(decoded: Decoded, bytes: u64) {
    READS.fetch_add(1, Relaxed);
    CHUNKS.fetch_add(decoded.chunks, Relaxed);
    STORED_BYTES.fetch_add(decoded.stored_bytes, Relaxed);
    BYTES.fetch_add(bytes, Relaxed);
    let Decoded { chunks, stored_bytes } = decoded;
    tracing::debug!(chunks, stored_bytes, bytes, "decoded chunks of a native file");
}

/// Returns all counts, with the keys that a container has; `None` before the first such read.
pub fn object() -> Option<Value> {
    let [reads, chunks, stored, bytes] =
        [&READS, &CHUNKS, &STORED_BYTES, &BYTES].map(|count| count.load(Relaxed));
    let nothing = Summary {
        container: NAME.to_owned(),
        writable: false,
        is_open: false,
        open_for: Duration::ZERO,
        commits: Reading::default(),
        conflicts: 0,
        requests: Vec::new(),
        staged: None,
        retries: 0,
        block_cache: (0, 0),
        page_cache: (0, 0),
    };
    let mut shown = super::object(&nothing);
    shown["native_reads"] =
        json!({ "count": reads, "chunks": chunks, "stored_bytes": stored, "bytes": bytes });
    (reads > 0).then_some(shown)
}

/// Returns the counts as a line of text.
fn line(shown: &Value) -> String {
    let reads = &shown["native_reads"];
    format!(
        "{NAME}: {} reads through our filters: {} chunks of {} bytes, {} bytes decoded",
        reads["count"], reads["chunks"], reads["stored_bytes"], reads["bytes"]
    )
}

/// Returns all counts with the line of text, if such reads occurred since the last call.
pub fn take_unreported() -> Option<(Value, String)> {
    let reads = READS.load(Relaxed);
    if REPORTED.swap(reads, Relaxed) == reads {
        return None;
    }
    let shown = object()?;
    let line = line(&shown);
    Some((shown, line))
}
