//! Containers in bytes that a foreign source reads, only in the calling thread.

use super::*;
use h5lake_ledger::ByteSource;
use h5lake_ledger::locks::Mutex;
use std::io;
use std::thread::ThreadId;

/// A file's content, and the threads that read it.
#[derive(Debug, Default)]
struct Watched {
    content: Vec<u8>,
    readers: Mutex<Vec<ThreadId>>,
}

impl ByteSource for Watched {
    fn size(&self) -> io::Result<u64> {
        Ok(self.content.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        self.readers.lock().push(std::thread::current().id());
        let found = usize::try_from(at).ok().and_then(|at| self.content.get(at..)?.get(..buf.len()));
        buf.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

fn source(content: Vec<u8>) -> Arc<Watched> {
    Arc::new(Watched { content, ..Watched::default() })
}

fn open(watched: &Arc<Watched>) -> Arc<Container> {
    Container::open_source("bytes", watched.clone(), Options::default()).unwrap()
}

/// Returns two datasets of many chunks, with a filter and without, as a file's content.
fn content() -> (Vec<u8>, Vec<u8>) {
    let place = file();
    let data: Vec<u8> = (0..4_000_000u32).map(|n| (n / 7) as u8).collect();
    let n = data.len() as u64;
    let c = place.create();
    for (name, filters) in [(&b"plain"[..], vec![]), (b"gzip", vec![deflate()])] {
        let spec = dataset_spec(1, simple(&[n], &[n]), Layout::Chunked { chunk: vec![100_000] });
        let d = dataset(&c, name, DatasetSpec { filters, ..spec });
        d.write(&Selection::All, &data).unwrap();
    }
    c.flush().unwrap();
    drop(c);
    let Target::File(path) = &place.target else { panic!("no file") };
    (std::fs::read(path).unwrap(), data)
}

fn deflate() -> Filter {
    Filter { id: 1, flags: 0, name: Vec::new(), client_data: vec![1] }
}

fn opened(c: &Arc<Container>, name: &[u8]) -> Arc<Dataset> {
    let LinkTarget::Hard(id) = c.link(c.root(), name).unwrap().unwrap().target else {
        panic!("no hard link")
    };
    c.dataset(id).unwrap()
}

#[test]
fn only_the_caller_reads_a_source() {
    let (content, data) = content();
    let watched = source(content);
    let c = open(&watched);
    for name in [&b"plain"[..], b"gzip"] {
        let mut out = vec![0; data.len()];
        opened(&c, name).read(&Selection::All, &mut out).unwrap();
        assert!(out == data);
    }
    let mut readers = watched.readers.lock().clone();
    readers.dedup();
    assert_eq!(readers, [std::thread::current().id()]);
}

#[test]
fn a_source_is_neither_shared_nor_written() {
    let (content, _) = content();
    let watched = source(content);
    let (first, second) = (open(&watched), open(&watched));
    assert!(!Arc::ptr_eq(&first, &second));
    let spec = dataset_spec(1, simple(&[1], &[1]), Layout::Contiguous);
    assert_eq!(first.create_dataset(spec).map(drop).unwrap_err().kind(), ErrorKind::ReadOnly);
    drop((first, second));
    assert_eq!(Arc::strong_count(&watched), 1, "a closed container lets go of its source");
}
