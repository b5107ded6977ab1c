//! Stores against a model: a sorted map that counts versions.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test reports by panicking")]

use std::collections::BTreeMap;
use std::ops::Range;

use object_stores::dir::Sync;
use object_stores::{
    DirStore, ErrorKind, Etag, Key, MemoryStore, ObjectStore, ObjectStoreExt, PutMode, PutPayload,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

#[derive(Clone, Debug)]
enum Mode {
    Overwrite,
    Create,
    /// An update with the object's etag, or the etag of its version this many puts ago.
    Update(usize),
    /// A stream, in pieces of this length.
    Stream(usize),
}

#[derive(Clone, Debug)]
enum Step {
    Put(Key, Vec<u8>, Mode),
    Delete(Key),
    DeleteMany(Vec<Key>),
    Get(Key, Option<Range<u64>>),
    GetInto(Key, u64, usize),
    List(String, Option<String>, usize),
}

/// Returns few keys, so that steps affect the same objects, with characters around `/`, so that the two orders differ.
/// No key is a directory of another.
fn keys() -> impl Strategy<Value = Key> {
    let texts = vec!["a/b", "a/c/d", "a/c/e", "a.b", "a-b/x", "a0", "b", "é/日"];
    proptest::sample::select(texts).prop_map(|text| Key::new(text).unwrap())
}

fn texts() -> impl Strategy<Value = String> {
    let near =
        proptest::sample::select(vec!["", "a", "a/", "a/c", "a/c/", "a.", "a-b/", "b", "é", "zz", "/", ".."]);
    prop_oneof![near.prop_map(str::to_owned), keys().prop_map(|key| key.to_string()), "[a-c/.]{0,4}"]
}

fn modes() -> impl Strategy<Value = Mode> {
    prop_oneof![
        Just(Mode::Overwrite),
        Just(Mode::Create),
        (0..3usize).prop_map(Mode::Update),
        (1..9usize).prop_map(Mode::Stream),
    ]
}

fn ranges() -> impl Strategy<Value = Range<u64>> {
    (0..24u64, 0..24u64).prop_map(|(start, end)| start..end)
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (keys(), vec(any::<u8>(), 0..20), modes()).prop_map(|(key, bytes, mode)| Step::Put(key, bytes, mode)),
        1 => keys().prop_map(Step::Delete),
        1 => vec(keys(), 0..4).prop_map(Step::DeleteMany),
        2 => (keys(), proptest::option::of(ranges())).prop_map(|(key, range)| Step::Get(key, range)),
        2 => (keys(), 0..24u64, 0..24usize).prop_map(|(key, offset, len)| Step::GetInto(key, offset, len)),
        2 => (texts(), proptest::option::of(texts()), 0..6usize)
            .prop_map(|(prefix, after, limit)| Step::List(prefix, after, limit)),
    ]
}

/// The model: content and etag by key, and every etag that a key ever had.
#[derive(Default)]
struct Model {
    objects: BTreeMap<String, (Vec<u8>, Etag)>,
    etags: BTreeMap<String, Vec<Etag>>,
}

impl Model {
    fn apply(&mut self, store: &dyn ObjectStore, step: &Step) {
        match step {
            Step::Put(key, bytes, mode) => self.put(store, key, bytes, mode),
            Step::Delete(key) => {
                store.delete(key).unwrap();
                self.objects.remove(key.as_str());
            }
            Step::DeleteMany(keys) => {
                store.delete_many(keys).unwrap();
                keys.iter().for_each(|key| drop(self.objects.remove(key.as_str())));
            }
            Step::Get(key, range) => self.get(store, key, range.clone()),
            Step::GetInto(key, offset, len) => self.get_into(store, key, *offset, *len),
            Step::List(prefix, after, limit) => self.list(store, prefix, after.as_deref(), *limit),
        }
    }

    fn put(&mut self, store: &dyn ObjectStore, key: &Key, bytes: &[u8], mode: &Mode) {
        let text = key.as_str();
        let present = self.objects.get(text).map(|(_, etag)| etag.clone());
        let (mode, refusal) = match mode {
            Mode::Stream(len) => {
                let mut stream = store.put_stream(key).unwrap();
                bytes.chunks(*len).for_each(|piece| stream.write(piece).unwrap());
                return self.note(text, bytes, stream.finish().unwrap().etag.unwrap());
            }
            Mode::Overwrite => (PutMode::Overwrite, None),
            Mode::Create => (PutMode::Create, present.is_some().then_some(ErrorKind::AlreadyExists)),
            Mode::Update(ago) => {
                let all = self.etags.get(text).map_or(&[][..], Vec::as_slice);
                let etag = all.iter().rev().nth(*ago).cloned().unwrap_or(Etag::new("none"));
                let refused = present.as_ref() != Some(&etag);
                (PutMode::Update(etag), refused.then_some(ErrorKind::PreconditionFailed))
            }
        };
        let answer = store.put(key, PutPayload::copy_from(bytes), mode);
        match refusal {
            Some(kind) => assert_eq!(answer.unwrap_err().kind(), kind),
            None => self.note(text, bytes, answer.unwrap().etag.unwrap()),
        }
    }

    fn note(&mut self, text: &str, bytes: &[u8], etag: Etag) {
        let all = self.etags.entry(text.to_owned()).or_default();
        assert!(!all.contains(&etag), "an etag came back");
        all.push(etag.clone());
        self.objects.insert(text.to_owned(), (bytes.to_vec(), etag));
    }

    fn get(&self, store: &dyn ObjectStore, key: &Key, range: Option<Range<u64>>) {
        let answer = store.get(key, range.clone()).map_err(|e| e.kind());
        let Some((bytes, etag)) = self.objects.get(key.as_str()) else {
            return assert_eq!(answer.unwrap_err(), ErrorKind::NotFound);
        };
        let size = bytes.len() as u64;
        let range = range.unwrap_or(0..size);
        if range.start > range.end {
            return assert_eq!(answer.unwrap_err(), ErrorKind::InvalidArgument);
        }
        if range.start > size || (range.start == size && range.end > size) {
            return assert_eq!(answer.unwrap_err(), ErrorKind::ShortRead);
        }
        let got = answer.unwrap();
        assert_eq!(got.bytes, bytes[range.start as usize..range.end.min(size) as usize]);
        assert_eq!((got.meta.size, got.meta.etag.as_ref()), (size, Some(etag)));
    }

    fn get_into(&self, store: &dyn ObjectStore, key: &Key, offset: u64, len: usize) {
        let mut buf = vec![0; len];
        let answer = store.get_into(key, offset, &mut buf).map_err(|e| e.kind());
        let Some((bytes, etag)) = self.objects.get(key.as_str()) else {
            return assert_eq!(answer.unwrap_err(), ErrorKind::NotFound);
        };
        match bytes.get(offset as usize..offset as usize + len) {
            None => assert_eq!(answer.unwrap_err(), ErrorKind::ShortRead),
            Some(expected) => {
                assert_eq!(answer.unwrap().etag.as_ref(), Some(etag));
                assert_eq!(buf, expected);
            }
        }
    }

    fn list(&self, store: &dyn ObjectStore, prefix: &str, after: Option<&str>, limit: usize) {
        let expected: Vec<_> = self
            .objects
            .iter()
            .filter(|(key, _)| key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after))
            .map(|(key, (bytes, etag))| (key.clone(), bytes.len() as u64, Some(etag.clone())))
            .collect();
        let page = store.list_page(prefix, after, limit).unwrap();
        let shown = |meta: object_stores::ObjectMeta| (meta.key.to_string(), meta.size, meta.etag);
        assert_eq!(page.more, expected.len() > limit.max(1));
        let got: Vec<_> = page.objects.into_iter().map(shown).collect();
        assert_eq!(got, expected[..expected.len().min(limit.max(1))]);
        let all: Vec<_> = store.list(prefix, after).map(|meta| shown(meta.unwrap())).collect();
        assert_eq!(all, expected);
    }
}

fn follow(store: &dyn ObjectStore, steps: &[Step]) {
    let mut model = Model::default();
    for step in steps {
        model.apply(store, step);
    }
    model.list(store, "", None, 100);
    for text in model.objects.keys() {
        model.get(store, &Key::new(text).unwrap(), None);
    }
}

/// Failures are saved next to this file, and are tried first in the next run.
fn config(cases: u32) -> ProptestConfig {
    let kept = FileFailurePersistence::WithSource("regressions");
    ProptestConfig { cases, failure_persistence: Some(Box::new(kept)), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(512))]

    #[test]
    fn memory_is_the_model(steps in vec(steps(), 0..60)) {
        follow(&MemoryStore::new(), &steps);
    }
}

proptest! {
    #![proptest_config(config(64))]

    #[test]
    fn a_directory_is_the_model(steps in vec(steps(), 0..60)) {
        let dir = tempfile::tempdir().unwrap();
        follow(&DirStore::open(dir.path(), Sync::Process).unwrap(), &steps);
    }

    #[test]
    fn any_text_is_a_key_or_refused(text in "\\PC{0,40}|[./a%\\x00-\\x1f]{0,12}") {
        if let Ok(key) = Key::new(&text) {
            prop_assert_eq!(key.as_str(), text.as_str());
            prop_assert!(key.segments().all(|s| !s.is_empty() && s != "." && s != ".."));
        }
    }
}
