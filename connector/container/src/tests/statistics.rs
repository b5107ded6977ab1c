use super::*;
use crate::statistics::{MAX_CLOSED, Summary, summaries};
use object_stores::ObservedStore;

fn observed() -> Place {
    let store = Arc::new(ObservedStore::new(Arc::new(MemoryStore::new())));
    Place::at(Target::Objects { store, key: "observed".into(), url: "memory:observed".into() })
}

pub(super) fn of(c: &Container) -> Summary {
    let found = summaries().into_iter().filter(|s| s.is_open && s.container == c.name());
    found.last().unwrap()
}

fn calls(summary: &Summary, kind: &str) -> u64 {
    summary.requests.iter().find(|(name, _)| *name == kind).unwrap().1.calls
}

#[test]
fn a_container_counts_its_commits_and_requests() {
    for (place, writes, reads) in [(file(), "write", "read"), (observed(), "put", "get")] {
        let mut options = Options::default();
        // Each commit writes pages.
        options.ledger.checkpoint_bytes = 1;
        let c = place.create_with(options);
        let spec = dataset_spec(4, simple(&[10_000], &[10_000]), Layout::Chunked { chunk: vec![5000] });
        let d = c.create_dataset(spec).unwrap();
        c.link_create(c.root(), b"d", LinkTarget::Hard(d.id()), CharSet::Ascii).unwrap();
        let data = c.dataset(d.id()).unwrap();
        data.write(&Selection::All, &(0..40_000u32).map(|n| (n % 251) as u8).collect::<Vec<_>>()).unwrap();
        assert_eq!(of(&c).commits.calls, 0);
        c.flush().unwrap();
        c.flush().unwrap();
        let written = of(&c);
        assert_eq!((written.commits.calls, written.commits.errors, written.conflicts), (1, 0, 0));
        assert!(written.bytes_written() >= 40_000 && calls(&written, writes) > 0, "{written:?}");
        let id = d.id();
        drop((data, d, c));
        let c = place.open(Access::ReadOnly);
        let mut out = vec![0; 40_000];
        c.dataset(id).unwrap().read(&Selection::All, &mut out).unwrap();
        let read = of(&c);
        assert!(!read.writable && read.page_cache.0 + read.page_cache.1 > 0, "{read:?}");
        assert!(calls(&read, reads) > 0 && read.block_cache.1 > 0, "{read:?}");
        assert!(writes == "put" || calls(&read, writes) == 0, "{read:?}");
        let name = c.name().to_owned();
        drop(c);
        let all = summaries();
        let closed = all.iter().rfind(|s| s.container == name).unwrap();
        assert!(!closed.is_open && closed.block_cache == read.block_cache, "{closed:?}");
        assert!(all.iter().filter(|s| !s.is_open).count() <= MAX_CLOSED);
    }
}
