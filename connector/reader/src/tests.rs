//! Readers of containers that the tests write with the container's own interface.

mod threads;

use std::path::PathBuf;
use std::sync::Arc;

use h5lake_container::{
    CharSet, Container, Dataset, DatasetSpec, Dataspace, Datatype, ErrorKind, FileCreation, Fill, Filter,
    InlineHeap, Layout, LinkTarget, Options, Replace, Result, Selection, Target,
};

use crate::convert::Converter;
use crate::form::{Form, NULL_SPAN};
use crate::reader::Reader;
use crate::reader::stored::{Read, Slab, StoredElements, read_many};
use crate::walk::Paths;

/// A container in a folder of its own, open for writing.
struct Place {
    _folder: tempfile::TempDir,
    path: PathBuf,
    container: Arc<Container>,
}

/// Returns the encoding of a datatype.
fn encoded(class: u8, flags: u32, size: u32, properties: &[u8]) -> Vec<u8> {
    let mut made = vec![3, 0, 1 << 4 | class];
    made.extend_from_slice(&flags.to_le_bytes()[..3]);
    made.extend_from_slice(&size.to_le_bytes());
    made.extend_from_slice(properties);
    made
}

fn integer() -> Datatype {
    let encoded = encoded(0, 8, 4, &[0, 0, 32, 0]).into();
    Datatype { encoded, size: 4, class: 0, has_heap: false, has_references: false, committed: None }
}

fn text() -> Datatype {
    let base = encoded(0, 0, 1, &[0, 0, 8, 0]);
    let encoded = encoded(9, 1, 16, &base[2..]).into();
    Datatype { encoded, size: 20, class: 9, has_heap: true, has_references: false, committed: None }
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.h5");
        let target = Target::File(path.clone());
        let made = Container::create(&target, Replace::Never, FileCreation::default(), Options::default());
        Self { _folder: folder, path, container: made.unwrap() }
    }

    fn dataset(&self, name: &str, datatype: Datatype, dims: &[u64]) -> Arc<Dataset> {
        self.dataset_with(name, datatype, dims, Layout::Contiguous, Vec::new())
    }

    fn dataset_with(
        &self,
        name: &str,
        datatype: Datatype,
        dims: &[u64],
        layout: Layout,
        filters: Vec<Filter>,
    ) -> Arc<Dataset> {
        let spec = DatasetSpec {
            datatype,
            space: Dataspace::Simple { dims: dims.to_vec(), max: dims.to_vec() },
            layout,
            fill: Fill::default(),
            filters,
            unfiltered_edges: false,
            creation_properties: Vec::<u8>::new().into(),
            attribute_order: Default::default(),
            track_times: false,
        };
        let (c, made) = (&self.container, self.container.create_dataset(spec).unwrap());
        c.link_create(c.root(), name.as_bytes(), LinkTarget::Hard(made.id()), CharSet::Utf8).unwrap();
        c.dataset_of(&made).unwrap()
    }

    /// Returns the stored element of a string: its length and the id of its blob.
    fn stored_text(&self, owner: &Dataset, text: &[u8]) -> Vec<u8> {
        let id = self.container.heap_put(owner.object().id(), text).unwrap();
        [&(text.len() as u32).to_le_bytes()[..], &id].concat()
    }

    fn reader(&self) -> Arc<Reader> {
        use std::os::unix::ffi::OsStrExt;
        Arc::new(Reader::open(self.path.as_os_str().as_bytes(), Some("")).unwrap())
    }
}

fn numbers(range: std::ops::Range<i32>) -> Vec<u8> {
    range.flat_map(i32::to_le_bytes).collect()
}

fn spans(elements: &[u8]) -> Vec<(u64, u64)> {
    let number = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().unwrap());
    elements.chunks(16).map(|span| (number(&span[..8]), number(&span[8..]))).collect()
}

#[test]
fn readers_see_committed_versions_alone() {
    let place = Place::new();
    let written = place.dataset("x", integer(), &[4]);
    written.write(&Selection::All, &numbers(0..4)).unwrap();
    place.container.flush().unwrap();
    let reader = place.reader();
    let x = reader.dataset(b"x").unwrap();
    let found = || {
        let mut out = [0; 16];
        assert_eq!(x.read(None, &mut out).unwrap(), Vec::<u8>::new());
        out.to_vec()
    };
    assert_eq!(found(), numbers(0..4));
    written.write(&Selection::All, &numbers(4..8)).unwrap();
    assert!(!reader.refresh().unwrap());
    assert_eq!(found(), numbers(0..4));
    place.container.flush().unwrap();
    assert_eq!(found(), numbers(0..4));
    assert!(reader.refresh().unwrap());
    assert_eq!(found(), numbers(4..8));
}

#[test]
fn selections_are_checked() {
    let place = Place::new();
    let written = place.dataset("x", integer(), &[3, 4]);
    written.write(&Selection::All, &numbers(0..12)).unwrap();
    place.container.flush().unwrap();
    let x = place.reader().dataset(b"/x").unwrap();
    let read = |start: &[u64], count: &[u64], stride: &[u64], bytes: usize| {
        let mut out = vec![0; bytes];
        x.read(Some(Slab { start, count, stride }), &mut out).map(|_| out).map_err(|error| error.kind())
    };
    let picked = [1, 3, 9, 11].into_iter().flat_map(i32::to_le_bytes).collect();
    assert_eq!(read(&[0, 1], &[2, 2], &[2, 2], 16), Ok(picked));
    assert_eq!(read(&[1, 0], &[1, 4], &[1, 1], 16), Ok(numbers(4..8)));
    assert_eq!(read(&[0, 0], &[0, 4], &[1, 1], 0), Ok(Vec::new()));
    assert_eq!(read(&[2, 0], &[2, 4], &[1, 1], 32), Err(ErrorKind::OutOfRange));
    assert_eq!(read(&[u64::MAX, 0], &[1, 4], &[1, 1], 16), Err(ErrorKind::OutOfRange));
    let slab =
        |start: &'static [u64], count: &'static [u64], stride: &'static [u64]| Slab { start, count, stride };
    let wrong = [
        (slab(&[0], &[3], &[1]), 12),
        (slab(&[0, 0], &[1, 1], &[0, 1]), 4),
        (slab(&[0, 0], &[1, 1], &[1, 1]), 5),
        (slab(&[0, 0], &[u64::MAX, 2], &[1, 1]), 8),
    ];
    for (Slab { start, count, stride }, bytes) in wrong {
        assert!(read(start, count, stride, bytes).is_err(), "{start:?} {count:?} {stride:?} {bytes}");
    }
}

#[test]
fn texts_come_as_spans_of_a_pool() {
    let place = Place::new();
    let written = place.dataset("texts", text(), &[4]);
    let null = vec![0; 20];
    let (one, cut) = (place.stored_text(&written, b"one"), place.stored_text(&written, b"cut\0off"));
    let empty = place.stored_text(&written, b"");
    written.write(&Selection::All, &[one, null, cut, empty].concat()).unwrap();
    place.container.flush().unwrap();
    let texts = place.reader().dataset(b"texts").unwrap();
    let mut out = [0; 64];
    let pool = texts.read(None, &mut out).unwrap();
    let bytes = |(at, length): (u64, u64)| match at {
        NULL_SPAN => None,
        at => Some(&pool[at as usize..(at + length) as usize]),
    };
    let found: Vec<_> = spans(&out).into_iter().map(bytes).collect();
    assert_eq!(found, [Some(&b"one"[..]), None, Some(b"cut"), Some(b"")]);
}

#[test]
fn forged_lengths_are_errors() {
    let place = Place::new();
    let written = place.dataset("texts", text(), &[2]);
    let mut forged = place.stored_text(&written, b"one");
    forged[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    let gone = [&[1, 0, 0, 0][..], &[0x55; 16]].concat();
    written.write(&Selection::All, &[forged, gone].concat()).unwrap();
    place.container.flush().unwrap();
    let texts = place.reader().dataset(b"texts").unwrap();
    for start in 0..2 {
        let slab = Slab { start: &[start], count: &[1], stride: &[1] };
        assert!(texts.read(Some(slab), &mut [0; 16]).is_err(), "{start}");
    }
}

#[test]
fn the_pool_is_bounded() {
    let place = Place::new();
    let written = place.dataset("texts", text(), &[1]);
    // Many elements name the same blob.
    let one = place.stored_text(&written, &[b'a'; 100]);
    let stored: Vec<u8> = std::iter::repeat_n(one, 11).flatten().collect();
    let convert = |count: usize| {
        let (mut paths, mut out) = (Paths::default(), vec![0; 16 * count]);
        let converter = Converter::new(&place.container, InlineHeap::default(), &mut paths).bounded(1000);
        converter.convert(&Form::VariableText, &stored[..20 * count], &mut out).map(|pool| pool.len())
    };
    assert_eq!(convert(10).unwrap(), 1000);
    assert_eq!(convert(11).unwrap_err().kind(), ErrorKind::NoSpace);
}

#[test]
fn many_reads_run_in_one_call() {
    let place = Place::new();
    let written = place.dataset("x", integer(), &[100]);
    written.write(&Selection::All, &numbers(0..100)).unwrap();
    place.container.flush().unwrap();
    let x = Arc::new(place.reader().dataset(b"x").unwrap());
    let starts: Vec<[u64; 1]> = (0..100).map(|n| [n]).collect();
    let mut out = vec![0; 400];
    let reads = |out: &mut [u8], starts: &[[u64; 1]]| {
        let slabs = starts.iter().map(|start| Slab { start, count: &[1], stride: &[1] });
        let mut reads: Vec<_> = slabs
            .zip(out.chunks_mut(4))
            .map(|(slab, out)| Read { from: x.clone(), slab: Some(slab), out, pool: Vec::new() })
            .collect();
        read_many(&mut reads, 8)
    };
    reads(&mut out, &starts).unwrap();
    assert_eq!(out, numbers(0..100));
    assert_eq!(reads(&mut out, &[[0], [100], [1]]).unwrap_err().kind(), ErrorKind::OutOfRange);
}

#[test]
fn objects_that_are_not_there_are_errors() {
    let place = Place::new();
    place.dataset("x", integer(), &[1]);
    let root = place.container.root();
    place.container.link_create(root, b"soft", LinkTarget::Soft(b"soft".to_vec()), CharSet::Utf8).unwrap();
    place.container.flush().unwrap();
    let reader = place.reader();
    let kind = |path: &[u8]| reader.dataset(path).map(|_| ()).unwrap_err().kind();
    assert_eq!(kind(b"none"), ErrorKind::NotFound);
    assert_eq!(kind(b"/"), ErrorKind::WrongKind);
    assert_eq!(kind(b"soft"), ErrorKind::TooManyLinks);
    assert!(reader.list(b"x").is_err() && reader.attribute(b"x", b"none").is_err());
    assert_eq!(reader.list(b"/").unwrap().as_array().unwrap().len(), 2);
    assert_eq!(Reader::open(b"/none/none", Some("")).map(|_| ()).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(
        Reader::open(b"x", Some("nonsense=1")).map(|_| ()).unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
}
