//! The costs of merges.

use super::far::far;
use super::many::{all, find, open, writers_that};
use super::*;
use std::time::Duration;

/// Objects that one writer deletes and the other links and unlinks, and links that both remove.
#[test]
fn each_link_of_a_batch_is_read_a_few_times() {
    const OBJECTS: usize = 200;
    let p = memory();
    let [a, b] = writers_that(&p, OnConflict::Merge, |c| {
        let to = group(c, c.root(), b"to", CreationOrder::default());
        for n in 0..OBJECTS {
            let g = group(c, c.root(), format!("g{n}").as_bytes(), CreationOrder::default());
            c.link_create(to, format!("s{n}").as_bytes(), LinkTarget::Hard(g), CharSet::Utf8).unwrap();
            c.link_create(to, format!("t{n}").as_bytes(), LinkTarget::Hard(g), CharSet::Utf8).unwrap();
        }
    });
    let to = find(&a, b"to");
    for n in 0..OBJECTS {
        let name = |letter| format!("{letter}{n}");
        let target = LinkTarget::Hard(find(&b, name('g').as_bytes()));
        b.link_create(b.root(), name('n').as_bytes(), target, CharSet::Utf8).unwrap();
        b.link_delete(to, name('s').as_bytes()).unwrap();
        a.link_delete(a.root(), name('g').as_bytes()).unwrap();
        a.link_delete(to, name('s').as_bytes()).unwrap();
        a.link_delete(to, name('t').as_bytes()).unwrap();
    }
    a.flush().unwrap();
    assert_eq!(b.flush().unwrap_err().kind(), ErrorKind::Conflict);
    let looks = b.state().remote.looks();
    assert!(looks > 0 && looks <= 8 * OBJECTS, "{looks} looks at {} links", 2 * OBJECTS);
}

/// Two writers share small chunks, more than a commit holds in memory; each writes its half of every chunk.
#[test]
fn chunks_that_both_wrote_are_fetched_together() {
    const CHUNKS: u64 = 4000;
    const CHUNK: u64 = 6000;
    for gzip in [false, true] {
        let (place, trace) = far(Duration::from_millis(2));
        let [a, b] = writers_that(&place, OnConflict::Merge, |c| {
            let n = CHUNKS * CHUNK;
            let mut spec = dataset_spec(1, simple(&[n], &[n]), Layout::Chunked { chunk: vec![CHUNK] });
            if gzip {
                spec.filters = vec![Filter { id: 1, flags: 0, name: Vec::new(), client_data: vec![1] }];
            }
            dataset(c, b"d", spec);
        });
        let data: Vec<u8> =
            (0..CHUNKS * CHUNK).map(|n| (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect();
        for (writer, first) in [(&a, 0), (&b, CHUNK / 2)] {
            let half = Selection::Hyperslab {
                start: vec![first],
                stride: vec![CHUNK],
                count: vec![CHUNKS],
                block: vec![CHUNK / 2],
            };
            let of_half = data.chunks(CHUNK as usize / 2).skip((first > 0) as usize).step_by(2);
            open(writer, b"d").write(&half, &of_half.flatten().copied().collect::<Vec<_>>()).unwrap();
        }
        a.flush().unwrap();
        trace.start_journal();
        b.flush().unwrap();
        let calls = trace.take_journal();
        assert!(calls.len() < 40, "{} requests for {CHUNKS} chunks", calls.len());
        assert!(all(&open(&place.open(Access::ReadOnly), b"d")) == data);
    }
}
