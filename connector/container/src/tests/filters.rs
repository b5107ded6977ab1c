//! Pipelines that a lent codec runs, and partial chunks without filters.

use super::*;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Adds one to every byte, and appends a byte.
#[derive(Default)]
struct PlusOne {
    foreign_thread: AtomicBool,
    fails: AtomicBool,
    encoded: AtomicU32,
}

impl ChunkCodec for PlusOne {
    fn is_at_home(&self) -> bool {
        !self.foreign_thread.load(Ordering::Relaxed)
    }

    fn encode(&self, filter: &Filter, chunk: &[u8]) -> Result<Option<Vec<u8>>> {
        assert_eq!((filter.id, &filter.client_data[..]), (300, &[1][..]));
        if self.fails.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Io, "plus one failed"));
        }
        self.encoded.fetch_add(1, Ordering::Relaxed);
        Ok(Some(chunk.iter().map(|b| b.wrapping_add(1)).chain([0xee]).collect()))
    }

    fn decode(&self, _: &Filter, stored: &[u8], _: usize) -> Result<Vec<u8>> {
        match stored.split_last() {
            Some((0xee, data)) => Ok(data.iter().map(|b| b.wrapping_sub(1)).collect()),
            _ => Err(Error::new(ErrorKind::Corrupt, "not plus one")),
        }
    }
}

fn spec(n: u64, chunk: u64) -> DatasetSpec {
    let mut spec = dataset_spec(1, simple(&[n], &[UNLIMITED]), Layout::Chunked { chunk: vec![chunk] });
    spec.filters = vec![Filter { id: 300, flags: 0, name: b"plus one".to_vec(), client_data: vec![1] }];
    spec
}

fn lend(d: &Dataset) -> (Arc<PlusOne>, Arc<dyn ChunkCodec>) {
    let codec = Arc::new(PlusOne::default());
    d.attach_codec(codec.clone());
    (codec.clone(), codec)
}

#[test]
fn chunks_are_encoded_by_a_lent_codec() {
    for place in places() {
        let c = place.create();
        let d = dataset(&c, b"d", spec(100, 40));
        assert!(d.needs_codec());
        let (codec, lent) = lend(&d);
        d.write(&Selection::All, &[5; 100]).unwrap();
        assert_eq!(codec.encoded.load(Ordering::Relaxed), 0, "small chunks wait in memory");
        // Another part of the program commits: the chunks must be included.
        c.flush().unwrap();
        assert_eq!(codec.encoded.load(Ordering::Relaxed), 3);
        let (mask, stored) = d.read_chunk(&[40]).unwrap();
        assert_eq!((mask, &stored[..]), (0, &[[6; 40].as_slice(), &[0xee]].concat()[..]));
        d.detach_codec(&lent).unwrap();
        let id = d.object().id();
        drop((d, c));

        let c = place.open(Access::ReadOnly);
        let d = c.dataset(id).unwrap();
        let mut out = [0; 100];
        let e = d.read(&Selection::All, &mut out).unwrap_err();
        assert!(e.to_string().contains("300 (plus one)"), "{e}");
        let (_, lent) = lend(&d);
        d.read(&Selection::All, &mut out).unwrap();
        assert_eq!(out, [5; 100]);
        d.detach_codec(&lent).unwrap();
    }
}

#[test]
fn the_last_codec_flushes_all_chunks() {
    let place = memory();
    let c = place.create();
    let d = dataset(&c, b"d", spec(100, 40));
    let ((first, one), (second, two)) = (lend(&d), lend(&d));
    d.write(&Selection::All, &[5; 100]).unwrap();
    d.detach_codec(&one).unwrap();
    assert_eq!(first.encoded.load(Ordering::Relaxed), 0);
    d.detach_codec(&two).unwrap();
    assert_eq!(second.encoded.load(Ordering::Relaxed), 3);
    c.flush().unwrap();
    // A new handle takes over the chunks that the cache still holds from the old one.
    let id = d.object().id();
    drop(d);
    let d = c.dataset(id).unwrap();
    let (third, lent) = lend(&d);
    d.write(&Selection::Runs(vec![Run { offset: 3, count: 1 }]), &[9]).unwrap();
    c.flush().unwrap();
    assert_eq!(third.encoded.load(Ordering::Relaxed), 1);
    d.detach_codec(&lent).unwrap();
}

#[test]
fn a_chunk_that_fails_to_encode_does_not_block_later_flushes() {
    let c = memory().create();
    let d = dataset(&c, b"d", spec(10, 10));
    let (codec, lent) = lend(&d);
    d.write(&Selection::All, &[5; 10]).unwrap();
    codec.fails.store(true, Ordering::Relaxed);
    assert!(c.flush().unwrap_err().to_string().contains("plus one failed"));
    assert!(d.detach_codec(&lent).unwrap_err().to_string().contains("plus one failed"));
    c.flush().unwrap();
}

#[test]
fn the_codec_of_the_calling_thread_is_preferred() {
    let c = memory().create();
    let d = dataset(&c, b"d", spec(10, 10));
    let ((first, _), (second, _)) = (lend(&d), lend(&d));
    first.foreign_thread.store(true, Ordering::Relaxed);
    d.write(&Selection::All, &[5; 10]).unwrap();
    c.flush().unwrap();
    assert_eq!((first.encoded.load(Ordering::Relaxed), second.encoded.load(Ordering::Relaxed)), (0, 1));
}

#[test]
fn a_codec_of_another_library_is_never_run_by_this_one() {
    let place = memory();
    let c = place.create();
    let d = dataset(&c, b"d", spec(10, 10));
    let (codec, lent) = lend(&d);
    d.write(&Selection::All, &[5; 10]).unwrap();
    // Another library commits: the chunk waits for its own library.
    codec.foreign_thread.store(true, Ordering::Relaxed);
    c.flush().unwrap();
    assert_eq!(codec.encoded.load(Ordering::Relaxed), 0);
    let e = d.flush().unwrap_err().to_string();
    assert!(e.contains("open the dataset in this library too"), "{e}");
    let mut out = [0; 10];
    d.read(&Selection::All, &mut out).unwrap();
    assert_eq!(out, [5; 10], "what is in memory can be read by all");
    // Its own library closes the dataset.
    codec.foreign_thread.store(false, Ordering::Relaxed);
    d.detach_codec(&lent).unwrap();
    assert_eq!(codec.encoded.load(Ordering::Relaxed), 1);
    c.flush().unwrap();
}

/// A codec that counts its calls, supports a single filter, and returns more or fewer bytes than it should.
#[derive(Default)]
struct Odd {
    decoded: AtomicU32,
    /// Bytes that decoding adds, or takes away.
    adds: i32,
}

impl ChunkCodec for Odd {
    fn check(&self, filter: &Filter) -> Result<()> {
        match filter.id {
            300 => Ok(()),
            id => Err(Error::new(ErrorKind::Unsupported, format!("no filter {id}"))),
        }
    }

    fn encode(&self, filter: &Filter, data: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok((filter.id == 300).then(|| data.to_vec()))
    }

    fn decode(&self, _: &Filter, data: &[u8], _: usize) -> Result<Vec<u8>> {
        self.decoded.fetch_add(1, Ordering::Relaxed);
        let mut out = data.to_vec();
        out.resize((data.len() as i32 + self.adds) as usize, 7);
        Ok(out)
    }
}

fn numbered(ids: &[i32]) -> DatasetSpec {
    let mut spec = spec(40, 40);
    let of = |&id| Filter { id, flags: 1, name: Vec::new(), client_data: vec![] };
    spec.filters = ids.iter().map(of).collect();
    spec
}

/// A forged chunk passes through built-in filters only, and only if all other filters are available.
#[test]
fn no_filter_decodes_unless_all_are_available() {
    let c = memory().create();
    for (n, ids) in [[300, 301, 3], [301, 300, 3], [300, 3, 301], [3, 301, 300]].iter().enumerate() {
        let d = dataset(&c, format!("d{n}").as_bytes(), numbered(ids));
        let codec = Arc::new(Odd::default());
        d.attach_codec(codec.clone());
        d.write_chunk(&[0], 0, &[1]).unwrap();
        let mut out = [0; 40];
        let error = d.read(&Selection::All, &mut out).unwrap_err().to_string();
        assert!(error.contains("no filter 301"), "{error}");
        assert_eq!(codec.decoded.load(Ordering::Relaxed), 0);
        // A chunk that skipped the filter can be read without it.
        let missing = ids.iter().position(|id| *id == 301).unwrap();
        d.write_chunk(&[0], 1 << missing, &[1]).unwrap();
        let error = d.read(&Selection::All, &mut out).unwrap_err().to_string();
        assert!(error.contains("3 (fletcher32)") || error.contains("decodes to 1"), "{error}");
    }
}

/// The filters around a foreign filter are built in: a wrong checksum is detected before the foreign filter gets the
/// data.
#[test]
fn built_in_filters_next_to_a_foreign_filter_are_used() {
    let c = memory().create();
    let d = dataset(&c, b"d", numbered(&[2, 300, 3]));
    let codec = Arc::new(Odd::default());
    d.attach_codec(codec.clone());
    d.write(&Selection::All, &[5; 40]).unwrap();
    d.flush().unwrap();
    // Shuffle has no parameter, and skips the chunk.
    let (mask, mut stored) = d.read_chunk(&[0]).unwrap();
    assert_eq!((mask, stored.len()), (1, 44));
    stored[3] ^= 1;
    d.write_chunk(&[0], 1, &stored).unwrap();
    let mut out = [0; 40];
    let error = d.read(&Selection::All, &mut out).unwrap_err().to_string();
    assert!(error.contains("3 (fletcher32)"), "{error}");
    assert_eq!(codec.decoded.load(Ordering::Relaxed), 0);
    stored[3] ^= 1;
    d.write_chunk(&[0], 1, &stored).unwrap();
    d.read(&Selection::All, &mut out).unwrap();
    assert_eq!(out, [5; 40]);
}

#[test]
fn the_output_of_a_foreign_filter_is_checked_and_bounded() {
    let c = memory().create();
    for (n, (ids, adds, wrong)) in [
        (&[300][..], 0, ""),
        (&[300], 9, ""),
        (&[300], -1, "decodes to 39"),
        (&[300], 2 << 20, "more than 1048576"),
        (&[3, 300], 0, ""),
        (&[3, 300], 1 << 20, "more than 44"),
    ]
    .into_iter()
    .enumerate()
    {
        let d = dataset(&c, format!("d{n}").as_bytes(), numbered(ids));
        d.attach_codec(Arc::new(Odd { adds, ..Odd::default() }));
        d.write(&Selection::All, &[5; 40]).unwrap();
        d.flush().unwrap();
        let mut out = [0; 40];
        let stored = d.read_chunk(&[0]).unwrap();
        d.write_chunk(&[0], stored.0, &stored.1).unwrap();
        match d.read(&Selection::All, &mut out) {
            Ok(()) => assert_eq!((wrong, out), ("", [5; 40])),
            Err(error) => assert!(!wrong.is_empty() && error.to_string().contains(wrong), "{n}: {error}"),
        }
    }
}

/// Returns the stored sizes of all chunks.
fn sizes(d: &Dataset) -> Vec<u64> {
    (0..d.chunk_count().unwrap()).map(|n| d.chunk_at(n).unwrap().size).collect()
}

#[test]
fn edges_without_filters_follow_the_extent() {
    for place in places() {
        let c = place.create();
        let mut s = spec(100, 40);
        s.unfiltered_edges = true;
        s.fill.allocate = AllocTime::Incremental;
        s.filters = vec![Filter { id: 1, flags: 0, name: Vec::new(), client_data: vec![6] }];
        let d = dataset(&c, b"d", s);
        let id = d.object().id();
        d.write(&Selection::All, &[5; 100]).unwrap();
        let whole = sizes(&d)[0];
        assert!(whole < 40);
        assert_eq!(sizes(&d), [whole, whole, 40]);
        assert_eq!(d.read_chunk(&[80]).unwrap(), (0, [[5u8; 20], [0; 20]].concat()));
        // The last chunk becomes whole, then it and the one before are truncated.
        d.set_extent(&[130]).unwrap();
        let sized = sizes(&d);
        assert!(sized[2] < 40 && sized.len() == 3, "{sized:?}");
        d.set_extent(&[70]).unwrap();
        assert_eq!(sizes(&d), [whole, 40]);
        c.flush().unwrap();
        drop((d, c));
        let c = place.open(Access::ReadWrite);
        let d = c.dataset(id).unwrap();
        let mut out = [0; 70];
        d.read(&Selection::All, &mut out).unwrap();
        assert_eq!(out, [5; 70]);
        d.set_extent(&[80]).unwrap();
        assert_eq!(sizes(&d).len(), 2);
        assert!(sizes(&d)[1] < 40);
        // Chunks written directly: partial ones must be whole and unfiltered.
        d.set_extent(&[90]).unwrap();
        assert!(d.write_chunk(&[80], 0, &[1; 7]).is_err());
        d.write_chunk(&[80], 0, &[1; 40]).unwrap();
        let mut out = [0; 90];
        d.read(&Selection::All, &mut out).unwrap();
        assert_eq!(out[79..82], [0, 1, 1]);
    }
}

struct Lender(AtomicU32);

impl CodecProvider for Lender {
    fn codec_for(self: Arc<Self>, _: &Dataset) -> Option<Arc<dyn ChunkCodec>> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Some(Arc::new(PlusOne::default()))
    }
}

#[test]
fn a_copy_borrows_the_codec_of_a_closed_dataset() {
    let c = memory().create();
    let mut s = spec(100, 40);
    s.datatype.has_references = true;
    let d = dataset(&c, b"d", s);
    let (_, lent) = lend(&d);
    d.write(&Selection::All, &[5; 100]).unwrap();
    d.detach_codec(&lent).unwrap();
    let id = d.object().id();
    drop(d);
    let mut double = |_: &Datatype, _, elements: Elements| {
        Ok(elements.data.iter().map(|b| b * 2).collect::<Vec<_>>().into())
    };
    assert!(c.copy_object(id, &c, CopyOptions::default(), &mut double).is_err());
    let lender = Arc::new(Lender(AtomicU32::new(0)));
    let weak: std::sync::Weak<dyn CodecProvider> =
        Arc::downgrade(&(lender.clone() as Arc<dyn CodecProvider>));
    c.add_codec_lender(weak);
    let copy = c.copy_object(id, &c, CopyOptions::default(), &mut double).unwrap();
    assert_eq!(lender.0.load(Ordering::Relaxed), 1);
    let d = c.dataset(copy.id()).unwrap();
    let (_, lent) = lend(&d);
    let mut out = [0; 100];
    d.read(&Selection::All, &mut out).unwrap();
    assert_eq!(out, [10; 100]);
    d.detach_codec(&lent).unwrap();
}
