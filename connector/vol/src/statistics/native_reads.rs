//! What reads of native files through our own filters did in this process.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use h5lake_container::Decoded;
use h5lake_container::statistics::Summary;
use object_stores::Reading;
use serde_json::{Value, json};

/// What stands for all native files in the place of a container's name.
const NAME: &str = "native files";

static READS: AtomicU64 = AtomicU64::new(0);
static CHUNKS: AtomicU64 = AtomicU64::new(0);
static STORED_BYTES: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
/// Reads that a line was written about.
static TOLD: AtomicU64 = AtomicU64::new(0);

/// Notes a read of so many bytes of elements.
pub fn note(decoded: Decoded, bytes: u64) {
    READS.fetch_add(1, Relaxed);
    CHUNKS.fetch_add(decoded.chunks, Relaxed);
    STORED_BYTES.fetch_add(decoded.stored_bytes, Relaxed);
    BYTES.fetch_add(bytes, Relaxed);
    let Decoded { chunks, stored_bytes } = decoded;
    tracing::debug!(chunks, stored_bytes, bytes, "decoded chunks of a native file");
}

/// All counts, with the keys that a container has; `None` before the first such read.
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

/// The same as one line for people.
fn line(shown: &Value) -> String {
    let reads = &shown["native_reads"];
    format!(
        "{NAME}: {} reads through our filters: {} chunks of {} bytes, {} bytes decoded",
        reads["count"], reads["chunks"], reads["stored_bytes"], reads["bytes"]
    )
}

/// All counts, if there were such reads since this was asked last, with the line for people.
pub fn untold() -> Option<(Value, String)> {
    let reads = READS.load(Relaxed);
    if TOLD.swap(reads, Relaxed) == reads {
        return None;
    }
    let shown = object()?;
    let line = line(&shown);
    Some((shown, line))
}
