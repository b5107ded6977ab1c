//! The memory of the heap is bounded, and its numbers stay exact although entries are evicted.

use super::*;
use h5lake_records::record::{UsageRecord, decode};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The used and living bytes of each segment, by owner and number.
type Numbers = BTreeMap<(u64, u32), (u64, u64)>;

/// Returns the stored usages.
fn stored(c: &Container) -> Numbers {
    let mut all = Numbers::new();
    c.each(&[keys::USAGE], |key, value| {
        let r: UsageRecord = decode(value, || "usage".into())?;
        let number = u32::from_be_bytes(keys::tail(&key).try_into().unwrap());
        all.insert((keys::id(&key).unwrap(), number), (r.used, r.live));
        Ok(())
    })
    .unwrap();
    all
}

fn place_of(id: &[u8; 16]) -> (u64, u32) {
    let (owner, rest) = id.split_at(8);
    (u64::from_be_bytes(owner.try_into().unwrap()), u32::from_be_bytes(rest[..4].try_into().unwrap()))
}

fn size_of(blob: &[u8]) -> u64 {
    (prost::encoding::encoded_len_varint(blob.len() as u64) + blob.len()) as u64
}

#[derive(Debug, Clone)]
enum Op {
    Put(usize, usize, u8),
    PutAll(usize, Vec<usize>),
    Delete(prop::sample::Index),
    DropOwner(usize),
    Flush,
    Reopen,
}

const OWNERS: usize = 6;

fn op() -> impl Strategy<Value = Op> {
    let length = || prop_oneof![8 => 0usize..1500, 1 => 4000usize..80_000];
    prop_oneof![
        8 => (0..OWNERS, length(), any::<u8>()).prop_map(|(o, n, v)| Op::Put(o, n, v)),
        2 => (0..OWNERS, prop::collection::vec(length(), 1..8)).prop_map(|(o, n)| Op::PutAll(o, n)),
        6 => any::<prop::sample::Index>().prop_map(Op::Delete),
        1 => (0..OWNERS).prop_map(Op::DropOwner),
        2 => Just(Op::Flush),
        1 => Just(Op::Reopen),
    ]
}

/// A container and its expected content.
struct Model {
    c: Option<Arc<Container>>,
    place: Place,
    options: Options,
    bound: (usize, usize),
    owners: Vec<ObjectId>,
    made: usize,
    blobs: Vec<([u8; 16], Vec<u8>)>,
    numbers: Numbers,
}

impl Model {
    fn new(place: Place, options: Options, bound: (usize, usize)) -> Self {
        let c = place.create_with(options.clone());
        let (owners, blobs, numbers) = (Vec::new(), Vec::new(), Numbers::new());
        let mut m = Self { c: Some(c), place, options, bound, owners, made: 0, blobs, numbers };
        m.bound();
        for _ in 0..OWNERS {
            let owner = m.owner();
            m.owners.push(owner);
        }
        m
    }

    fn c(&self) -> &Arc<Container> {
        self.c.as_ref().unwrap()
    }

    fn bound(&self) {
        self.c().state().heap.bound(self.bound.0, self.bound.1);
    }

    fn owner(&mut self) -> ObjectId {
        self.made += 1;
        let spec = dataset_spec(16, simple(&[9], &[9]), Layout::Contiguous);
        dataset(self.c(), format!("{}", self.made).as_bytes(), spec).object().id()
    }

    fn put(&mut self, owner: usize, blobs: Vec<Vec<u8>>) {
        let mut ids = Vec::new();
        let slices = blobs.iter().map(Vec::as_slice);
        self.c().heap_put_all(self.owners[owner], slices, |id| ids.push(id)).unwrap();
        for (id, blob) in ids.into_iter().zip(blobs) {
            let n = self.numbers.entry(place_of(&id)).or_default();
            *n = (n.0 + size_of(&blob), n.1 + size_of(&blob));
            self.blobs.push((id, blob));
        }
    }

    fn delete(&mut self, (id, blob): ([u8; 16], Vec<u8>)) {
        self.c().heap_delete(&id).unwrap();
        let n = self.numbers.get_mut(&place_of(&id)).unwrap();
        n.1 -= size_of(&blob);
        if n.1 == 0 {
            self.numbers.remove(&place_of(&id));
        }
    }

    fn drop_owner(&mut self, at: usize) {
        let gone = self.owners[at];
        let name = self.c().links(self.c().root(), Index::Name, Order::Native).unwrap();
        let name = &name.into_iter().find(|l| l.target == LinkTarget::Hard(gone)).unwrap().name;
        self.c().link_delete(self.c().root(), name).unwrap();
        self.blobs.retain(|(id, _)| place_of(id).0 != gone.0);
        self.numbers.retain(|(owner, _), _| *owner != gone.0);
        self.owners[at] = self.owner();
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Put(owner, length, v) => self.put(owner, vec![vec![v; length]]),
            Op::PutAll(owner, lengths) => {
                self.put(owner, lengths.iter().map(|n| vec![*n as u8; *n]).collect());
            }
            Op::Delete(at) if !self.blobs.is_empty() => {
                let gone = self.blobs.swap_remove(at.index(self.blobs.len()));
                self.delete(gone);
            }
            Op::Delete(_) => (),
            Op::DropOwner(at) => self.drop_owner(at),
            Op::Flush => {
                self.c().flush().unwrap();
                assert_eq!(stored(self.c()), self.numbers);
            }
            Op::Reopen => self.reopen(),
        }
        // The cache must have space for one block.
        let bytes = self.c().blocks.lock().bytes();
        assert!(bytes <= self.options.cache_bytes.max((1 << 20) + 256), "{bytes} bytes are kept");
        let kept = self.c().state().heap.kept();
        assert!(kept.0 <= self.bound.0.max(1) && kept.1 <= self.bound.1, "{kept:?} of {:?}", self.bound);
    }

    /// Closes the container and opens it again, without other handles.
    fn reopen(&mut self) {
        self.c = None;
        let again = Container::open(&self.place.target, Access::ReadWrite, self.options.clone());
        self.c = Some(again.unwrap());
        self.bound();
    }

    fn check(&self) {
        assert_eq!(stored(self.c()), self.numbers);
        for (id, blob) in &self.blobs {
            let mut out = vec![0; blob.len()];
            self.c().heap_get(id, &mut out).unwrap();
            assert!(&out == blob);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn usage_counts_stay_exact_with_bounded_memory(
        ops in prop::collection::vec(op(), 1..80),
        bound in prop_oneof![(0usize..4, 0usize..3), Just((1000, 1000))],
        in_file in any::<bool>(),
        of_many in any::<bool>(),
        cache_bytes in prop::sample::select(vec![0usize, 9000, 256 << 20]),
    ) {
        let place = if in_file { file() } else { memory() };
        let options = if of_many { many::options() } else { Options::default() };
        let options = Options { cache_bytes, ..options };
        let mut m = Model::new(place, options, bound);
        ops.into_iter().for_each(|op| m.step(op));
        m.reopen();
        m.check();
        std::mem::take(&mut m.blobs).into_iter().for_each(|b| m.delete(b));
        m.c().flush().unwrap();
        m.check();
        prop_assert!(m.numbers.is_empty());
    }
}

#[test]
fn memory_of_the_heap_is_bounded_without_a_flush() {
    for options in [Options::default(), many::options()] {
        let place = file();
        let c = place.create_with(options);
        let (usages, owners) = (64, 32);
        c.state().heap.bound(usages, owners);
        let mut ids = Vec::new();
        for n in 0..2000u64 {
            let owner = ObjectId((1 << 40) + (n << 12));
            ids.push(c.heap_put(owner, format!("text {n}").as_bytes()).unwrap());
            let kept = c.state().heap.kept();
            assert!(kept.0 <= usages && kept.1 <= owners, "{kept:?} after {n}");
        }
        // A segment of 4 KiB takes only the memory of its content.
        assert!(c.blocks.lock().bytes() <= 2000 * 320);
        c.flush().unwrap();
        assert_eq!(stored(&c).len(), 2000);
        for n in [0, 7, 1999] {
            let mut text = vec![0; c.heap_len(&ids[n]).unwrap() as usize];
            c.heap_get(&ids[n], &mut text).unwrap();
            assert_eq!(text, format!("text {n}").as_bytes());
        }
    }
}

#[test]
fn only_changes_read_the_usage_of_a_segment() {
    let place = file();
    let c = place.create_with(Options::default());
    let id = c.heap_put(ObjectId(1 << 40), b"text").unwrap();
    c.flush().unwrap();
    drop(c);
    let c = place.open(Access::ReadWrite);
    let usage = keys::segment(keys::USAGE, 1 << 40, place_of(&id).1);
    c.ledger.put(&usage, &b"\xff"[..]).unwrap();
    let mut out = [0; 4];
    c.heap_get(&id, &mut out).unwrap();
    assert_eq!((&out, c.heap_len(&id).unwrap()), (b"text", 4));
    assert_eq!(c.heap_delete(&id).unwrap_err().kind(), ErrorKind::Corrupt);
    c.drop_blocks(&[keys::SEGMENT]).unwrap();
    c.state().heap.forget_all();
    assert_eq!(
        c.heap_get(&id, &mut out).unwrap_err().kind(),
        ErrorKind::Corrupt,
        "nothing says how long it is"
    );
    c.ledger.delete(&usage).unwrap();
    assert_eq!(c.heap_get(&id, &mut out).unwrap_err().kind(), ErrorKind::NotFound);
}
