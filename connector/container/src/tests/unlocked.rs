//! Foreign filters run while the thread holds no lock of the container: other threads can continue.

use super::many::{all, open, part, writers_that};
use super::*;
use h5lake_ledger::locks;
use std::sync::Weak;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Adds one to every byte, and calls a function before that.
struct Calling {
    before: Box<dyn Fn() + Send + Sync>,
    encoded: AtomicU32,
}

impl Calling {
    fn call(&self) {
        assert_eq!(locks::held(), 0, "a lock is held while a filter runs");
        (self.before)();
    }
}

impl ChunkCodec for Calling {
    fn encode(&self, _: &Filter, chunk: &[u8]) -> Result<Option<Vec<u8>>> {
        self.call();
        self.encoded.fetch_add(1, Ordering::Relaxed);
        Ok(Some(chunk.iter().map(|b| b.wrapping_add(1)).collect()))
    }

    fn decode(&self, _: &Filter, stored: &[u8], _: usize) -> Result<Vec<u8>> {
        self.call();
        Ok(stored.iter().map(|b| b.wrapping_sub(1)).collect())
    }
}

fn calling(before: impl Fn() + Send + Sync + 'static) -> Arc<Calling> {
    Arc::new(Calling { before: Box::new(before), encoded: AtomicU32::new(0) })
}

fn spec(dims: &[u64], chunk: &[u64]) -> DatasetSpec {
    let most = vec![UNLIMITED; dims.len()];
    let mut spec = dataset_spec(4, simple(dims, &most), Layout::Chunked { chunk: chunk.to_vec() });
    spec.filters = vec![Filter { id: 301, flags: 0, name: b"calling".to_vec(), client_data: vec![] }];
    spec
}

fn block(start: [u64; 2], count: [u64; 2]) -> Selection {
    Selection::Hyperslab { start: start.into(), stride: vec![1; 2], count: count.into(), block: vec![1; 2] }
}

/// Runs every operation that uses filters, also with a cache that is too small for two chunks.
#[test]
fn operations_release_their_locks_before_filters_run() {
    for place in places() {
        for cache_bytes in [Options::default().cache_bytes, 6000] {
            let c = place.create_with(Options { cache_bytes, ..Options::default() });
            let d = dataset(&c, b"d", spec(&[100, 100], &[30, 30]));
            let codec = calling(|| ());
            d.attach_codec(codec.clone());
            d.write(&Selection::All, &[1; 40_000]).unwrap();
            d.write(&block([10, 10], [50, 50]), &[2; 10_000]).unwrap();
            d.flush().unwrap();
            d.write(&block([0, 0], [1, 100]), &[3; 400]).unwrap();
            let mut out = vec![0; 40_000];
            d.read(&Selection::All, &mut out).unwrap();
            assert_eq!([out[0], out[399], out[404], out[4044], out[39_999]], [3, 3, 1, 2, 1]);
            // Chunks are truncated, in one step and in many fragments, and grow again.
            d.set_extent(&[95, 40]).unwrap();
            d.set_extent(&[50, 95]).unwrap();
            d.set_extent(&[60, 100]).unwrap();
            assert_eq!(d.chunk_at(0).unwrap().size, 3600);
            assert_eq!(d.read_chunk(&[30, 30]).unwrap().1.len(), 3600);
            assert!(d.storage_size().unwrap() >= 4 * 3600);
            // The blocks of another dataset need space in the cache.
            let plain = dataset(&c, b"plain", dataset_spec(1, simple(&[9000], &[9000]), Layout::Contiguous));
            d.write(&block([0, 0], [50, 40]), &[4; 8000]).unwrap();
            plain.write(&part(5, 100), &[7; 100]).unwrap();
            c.flush().unwrap();
            assert_eq!(all(&d)[(49 * 100 + 39) * 4], 4);
            assert_eq!(all(&d)[(50 * 100 + 39) * 4], 0);
            assert_eq!(all(&plain)[104], 7);
            d.detach_codec(&(codec as Arc<dyn ChunkCodec>)).unwrap();
        }
    }
}

/// A filter that waits for another thread, which uses the same container.
#[test]
fn other_threads_use_the_container_while_filters_run() {
    for place in places() {
        let c = place.create();
        let plain = dataset(&c, b"plain", dataset_spec(1, simple(&[10], &[10]), Layout::Contiguous));
        let d = dataset(&c, b"d", spec(&[100, 100], &[30, 30]));
        let (theirs, shape) = (Arc::downgrade(&c), Arc::downgrade(&d));
        let codec = calling(move || {
            let (c, d, plain) = (theirs.upgrade().unwrap(), shape.upgrade().unwrap(), plain.clone());
            let (sender, receiver) = std::sync::mpsc::channel();
            std::thread::spawn(move || {
                plain.write(&Selection::All, &[8; 10]).unwrap();
                plain.flush().unwrap();
                group(&c, c.root(), format!("{:?}", std::thread::current().id()).as_bytes(), tracked());
                sender.send((all(&plain)[9], d.space().dims().len())).unwrap();
            });
            assert_eq!(receiver.recv_timeout(Duration::from_secs(30)), Ok((8, 2)), "the other thread hangs");
        });
        d.attach_codec(codec.clone());
        d.write(&Selection::All, &[1; 40_000]).unwrap();
        c.flush().unwrap();
        d.write(&block([10, 10], [50, 50]), &[2; 10_000]).unwrap();
        assert_eq!(all(&d)[(10 * 100 + 10) * 4], 2);
        d.set_extent(&[50, 50]).unwrap();
        d.detach_codec(&(codec as Arc<dyn ChunkCodec>)).unwrap();
    }
}

struct Lender;

impl CodecProvider for Lender {
    fn codec_for(self: Arc<Self>, _: &Dataset) -> Option<Arc<dyn ChunkCodec>> {
        Some(calling(|| ()))
    }
}

/// Chunks that two writers changed are merged, and conflicts are reported, even if the dataset is not open any more.
#[test]
fn chunks_of_two_writers_are_merged() {
    for place in places() {
        for is_open in [true, false] {
            let [a, b] = writers_that(&place, OnConflict::Merge, |c| {
                let d = dataset(c, b"d", spec(&[100], &[50]));
                let codec = calling(|| ());
                d.attach_codec(codec.clone());
                d.write(&Selection::All, &[1; 400]).unwrap();
                d.detach_codec(&(codec as Arc<dyn ChunkCodec>)).unwrap();
            });
            let lender: Arc<dyn CodecProvider> = Arc::new(Lender);
            let codec: Arc<dyn ChunkCodec> = calling(|| ());
            let [of_a, of_b] = [&a, &b].map(|c| {
                c.add_codec_lender(Arc::downgrade(&lender) as Weak<dyn CodecProvider>);
                let d = open(c, b"d");
                d.attach_codec(codec.clone());
                d
            });
            of_a.write(&part(10, 10), &[2; 40]).unwrap();
            of_b.write(&part(30, 60), &[3; 240]).unwrap();
            of_b.write(&part(15, 1), &[4; 4]).unwrap();
            of_a.detach_codec(&codec).unwrap();
            a.flush().unwrap();
            let of_b = if is_open {
                of_b
            } else {
                of_b.detach_codec(&codec).unwrap();
                drop(of_b);
                let text = b.flush().unwrap_err().to_string();
                assert!(text.contains("/d, 1 of the elements [15] to [15], was changed by"), "{text}");
                let d = open(&b, b"d");
                d.attach_codec(codec.clone());
                d
            };
            if is_open {
                let text = b.flush().unwrap_err().to_string();
                assert_eq!(text.matches("1 of the elements [15] to [15]").count(), 1, "{text}");
            }
            b.flush().unwrap();
            let now = all(&of_b);
            assert_eq!([9, 10, 15, 19, 20, 30, 89, 90].map(|n| now[n * 4]), [1, 2, 2, 2, 1, 3, 3, 1]);
            of_b.detach_codec(&codec).unwrap();
        }
    }
}
