//! Threads that open, read, refresh and close while a writer commits. `tools/thread-sanitizer` runs this for longer, with
//! ThreadSanitizer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use h5lake_ledger::locks::Mutex;

use super::*;
use crate::handles::{Handle, Handles};

/// The number of threads that read, half of which open files of their own.
const READERS: usize = 12;
const ELEMENTS: usize = 3000;

/// Returns the time for which the threads run.
fn duration() -> Duration {
    let seconds = std::env::var("SECONDS_OF_THREADS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1))
}

/// A container in which each version has one number in all elements and in all texts.
struct OneNumber {
    place: Place,
    numbers: Arc<Dataset>,
    texts: Arc<Dataset>,
}

impl OneNumber {
    fn new() -> Self {
        let place = Place::new();
        let deflate = Filter { id: 1, flags: 0, name: Vec::new(), client_data: vec![1] };
        let chunked = Layout::Chunked { chunk: vec![100] };
        let numbers = place.dataset_with("x", integer(), &[ELEMENTS as u64], chunked, vec![deflate]);
        let texts = place.dataset("texts", text(), &[8]);
        let made = Self { place, numbers, texts };
        made.commit(0);
        made
    }

    fn commit(&self, number: i32) {
        self.numbers.write(&Selection::All, &number.to_le_bytes().repeat(ELEMENTS)).unwrap();
        let stored = self.place.stored_text(&self.texts, number.to_string().as_bytes());
        self.texts.write(&Selection::All, &stored.repeat(8)).unwrap();
        self.place.container.flush().unwrap();
    }
}

/// Reads elements, and returns the number that all of them have.
fn number_of(x: &StoredElements, start: u64, count: u64) -> Result<i32> {
    let mut out = vec![0; 4 * count as usize];
    x.read(Some(Slab { start: &[start], count: &[count], stride: &[1] }), &mut out)?;
    let first: [u8; 4] = out[..4].try_into().unwrap();
    assert!(out.chunks(4).all(|element| element == first), "one read shows two versions");
    Ok(i32::from_le_bytes(first))
}

/// Reads the texts, and returns the number that all of them have.
fn text_of(texts: &StoredElements) -> Result<i32> {
    let mut out = vec![0; 16 * 8];
    let pool = texts.read(None, &mut out)?;
    let found: Vec<&[u8]> =
        spans(&out).into_iter().map(|(at, length)| &pool[at as usize..(at + length) as usize]).collect();
    assert!(found.iter().all(|text| text == &found[0]), "one read shows two versions");
    Ok(std::str::from_utf8(found[0]).unwrap().parse().unwrap())
}

/// Opens, reads, refreshes and reads again: both datasets are of one version.
fn open_and_read(made: &OneNumber) {
    let reader = made.place.reader();
    let (x, texts) = (reader.dataset(b"/x").unwrap(), reader.dataset(b"/texts").unwrap());
    let before = number_of(&x, 0, ELEMENTS as u64).unwrap();
    assert_eq!(text_of(&texts).unwrap(), before);
    reader.refresh().unwrap();
    let after = number_of(&x, 50, 2000).unwrap();
    assert!(after >= before && text_of(&texts).unwrap() == after, "{before} {after}");
}

/// Reads through a handle that another thread closes: the read ends, or finds no handle.
fn read_by_handle(handles: &Handles, shared: &Mutex<u64>, n: u64) {
    let number = *shared.lock();
    if let Ok(x) = handles.dataset(number) {
        number_of(&x, n % 2000, 500).unwrap();
        assert!(x.describe().is_ok());
    }
}

/// Opens a dataset under a new handle, and closes the handle before.
fn replace_handle(made: &OneNumber, handles: &Handles, shared: &Mutex<u64>) {
    let reader = made.place.reader();
    let file = handles.add(Handle::File(reader.clone())).unwrap();
    let new = handles.add(Handle::Dataset(Arc::new(reader.dataset(b"/x").unwrap()))).unwrap();
    let old = std::mem::replace(&mut *shared.lock(), new);
    let _the_first_is_none = handles.close(old);
    handles.close(file).unwrap();
}

#[test]
fn each_read_of_many_threads_is_of_one_version() {
    let made = OneNumber::new();
    let reader = made.place.reader();
    let (x, texts) = (reader.dataset(b"x").unwrap(), reader.dataset(b"texts").unwrap());
    let (handles, shared) = (Handles::default(), Mutex::new(0));
    let (stop, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    let run = |task: &dyn Fn(u64)| {
        let mut n = 0;
        while !stop.load(Ordering::Relaxed) {
            task(n);
            n += 1;
            reads.fetch_add(1, Ordering::Relaxed);
        }
    };
    thread::scope(|scope| {
        // A panic of any thread ends all of them.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let spawn = |task: Box<dyn Fn(u64) + Send + Sync>| {
            let (run, stop) = (&run, &stop);
            scope.spawn(move || {
                let _stop = Stop(stop);
                run(&*task);
            })
        };
        let (made, reader, x, texts, handles, shared) = (&made, &reader, &x, &texts, &handles, &shared);
        for thread in 0..READERS {
            spawn(match thread % 4 {
                0 | 1 => Box::new(move |_| open_and_read(made)),
                2 => Box::new(move |n| {
                    number_of(x, n * 7 % 2000, 900).unwrap();
                    text_of(texts).unwrap();
                    assert_eq!(reader.list(b"/").unwrap().as_array().unwrap().len(), 2);
                }),
                _ => Box::new(move |n| read_by_handle(handles, shared, n)),
            });
        }
        spawn(Box::new(move |_| {
            reader.refresh().unwrap();
            thread::sleep(Duration::from_millis(2));
        }));
        spawn(Box::new(move |_| replace_handle(made, handles, shared)));
        let _stop = Stop(&stop);
        let end = Instant::now() + duration();
        let mut number = 0;
        while Instant::now() < end && !stop.load(Ordering::Relaxed) {
            number += 1;
            made.commit(number);
        }
        assert!(number > 2, "{number} commits");
    });
    assert!(reads.load(Ordering::Relaxed) > 20, "{reads:?} reads");
}
