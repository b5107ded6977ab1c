use super::*;
use crate::chunk::grid::tests_support::slab_in;
use proptest::prelude::*;

/// A dataset as one flat vector of elements, as the model for the container.
pub(super) struct Flat {
    dims: Vec<u64>,
    size: usize,
    fill: Vec<u8>,
    pub(super) data: Vec<u8>,
}

impl Flat {
    pub(super) fn new(dims: &[u64], size: usize, fill: Vec<u8>) -> Self {
        let n: u64 = dims.iter().product();
        let data = fill.repeat(n as usize);
        Self { dims: dims.to_vec(), size, fill, data }
    }

    fn resize(&mut self, dims: &[u64]) {
        let mut new = Self::new(dims, self.size, self.fill.clone());
        let both: Vec<u64> = dims.iter().zip(&self.dims).map(|(a, b)| *a.min(b)).collect();
        let total: u64 = both.iter().product();
        for n in 0..total {
            let (mut rest, mut index) = (n, vec![0; both.len()]);
            for d in (0..both.len()).rev() {
                index[d] = rest % both[d];
                rest /= both[d];
            }
            let at =
                |dims: &[u64]| index.iter().zip(dims).fold(0, |n, (i, d)| n * d + i) as usize * self.size;
            let (from, to) = (at(&self.dims), at(dims));
            new.data[to..to + self.size].copy_from_slice(&self.data[from..from + self.size]);
        }
        *self = new;
    }

    /// Returns the elements of a selection, found with a grid of one block that is the whole array.
    fn runs(&self, s: &Selection) -> Vec<(usize, usize, usize)> {
        let total: u64 = self.dims.iter().product();
        let mut out = Vec::new();
        crate::chunk::grid::Grid::Line(total.max(1))
            .parts(&self.dims, s, self.size, &mut |p| {
                out.extend(p.runs.iter().map(|r| (r.block, r.buffer, r.len)));
                Ok(())
            })
            .unwrap();
        out
    }

    pub(super) fn write(&mut self, s: &Selection, data: &[u8]) {
        for (at, from, len) in self.runs(s) {
            self.data[at..at + len].copy_from_slice(&data[from..from + len]);
        }
    }

    pub(super) fn read(&self, s: &Selection) -> Vec<u8> {
        let n = s.points(&self.dims).unwrap() as usize * self.size;
        let mut out = vec![0; n];
        for (at, to, len) in self.runs(s) {
            out[to..to + len].copy_from_slice(&self.data[at..at + len]);
        }
        out
    }
}

#[derive(Debug, Clone)]
enum Op {
    Write(u64, u8),
    Runs(Vec<(prop::sample::Index, u64)>, u8),
    Read(u64),
    /// Sets the size of a dimension: its index, and its new size.
    Resize(usize, u64),
    Flush,
    Reopen,
}

fn op(rank: usize) -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (any::<u64>(), any::<u8>()).prop_map(|(s, v)| Op::Write(s, v)),
        2 => (prop::collection::vec((any::<prop::sample::Index>(), 0u64..9), 0..12), any::<u8>())
            .prop_map(|(r, v)| Op::Runs(r, v)),
        3 => any::<u64>().prop_map(Op::Read),
        4 => (0..rank, 0u64..14).prop_map(|(d, n)| Op::Resize(d, n)),
        2 => Just(Op::Flush),
        2 => Just(Op::Reopen),
    ]
}

/// The kinds of dataset that the property test creates.
#[derive(Debug, Clone)]
struct Kind {
    dims: Vec<u64>,
    /// Empty for a contiguous or compact dataset.
    chunk: Vec<u64>,
    compact: bool,
    size: u64,
    fill: bool,
    filters: u8,
    cache: usize,
}

fn kind() -> impl Strategy<Value = Kind> {
    (1usize..4).prop_flat_map(|rank| {
        (
            prop::collection::vec(0u64..12, rank),
            prop_oneof![prop::collection::vec(1u64..6, rank), Just(Vec::new())],
            any::<bool>(),
            // Elements of 9,000 bytes make blocks that are not stored inline, and some that are transferred past the
            // cache.
            prop_oneof![Just(1u64), Just(3), Just(8), Just(9000)],
            any::<bool>(),
            0u8..4,
            prop_oneof![Just(2000usize), Just(200_000), Just(256 << 20)],
        )
            .prop_map(|(dims, chunk, compact, size, fill, filters, cache)| Kind {
                dims,
                chunk,
                compact,
                size,
                fill,
                filters,
                cache,
            })
    })
}

pub(super) fn filters(n: u8, size: u64) -> Vec<Filter> {
    let f = |id, client_data: &[u32]| Filter {
        id,
        flags: 0,
        name: Vec::new(),
        client_data: client_data.to_vec(),
    };
    match n {
        1 => vec![f(1, &[4])],
        2 => vec![f(2, &[size as u32]), f(1, &[6]), f(3, &[])],
        _ => Vec::new(),
    }
}

fn make(c: &Arc<Container>, k: &Kind) -> Arc<Dataset> {
    let chunked = !k.chunk.is_empty();
    let points: u64 = k.dims.iter().product();
    let layout = match chunked {
        true => Layout::Chunked { chunk: k.chunk.clone() },
        false if k.compact && points * k.size < 60_000 => Layout::Compact,
        false => Layout::Contiguous,
    };
    let max = if chunked { vec![UNLIMITED; k.dims.len()] } else { k.dims.clone() };
    let mut spec = dataset_spec(k.size, simple(&k.dims, &max), layout);
    if k.fill {
        spec.fill.value = FillValue::User(pattern(k).into());
    }
    spec.filters = filters(k.filters, k.size);
    dataset(c, b"d", spec)
}

fn pattern(k: &Kind) -> Vec<u8> {
    if k.fill { (0..k.size).map(|i| (i % 253) as u8 + 1).collect() } else { vec![0; k.size as usize] }
}

pub(super) fn values(n: usize, seed: u8) -> Vec<u8> {
    (0..n).map(|i| (i as u8).wrapping_mul(7).wrapping_add(seed)).collect()
}

fn run(k: Kind, ops: Vec<Op>, place: Place) -> std::result::Result<(), TestCaseError> {
    let options = Options { cache_bytes: k.cache, ..Options::default() };
    let mut c = place.create_with(options.clone());
    let mut data_set = make(&c, &k);
    let id = data_set.object().id();
    let mut flat = Flat::new(&k.dims, k.size as usize, pattern(&k));
    for op in ops {
        c.blocks.lock().bytes();
        match op {
            Op::Write(seed, v) => {
                let s = slab_in(&flat.dims, seed);
                let data = values(s.points(&flat.dims).unwrap() as usize * flat.size, v);
                data_set.write(&s, &data).unwrap();
                flat.write(&s, &data);
            }
            Op::Runs(runs, v) => {
                let total: u64 = flat.dims.iter().product();
                if total == 0 {
                    continue;
                }
                let runs = runs.iter().map(|(i, n)| {
                    let offset = i.index(total as usize) as u64;
                    Run { offset, count: (*n).min(total - offset) }
                });
                let s = Selection::Runs(runs.collect());
                let data = values(s.points(&flat.dims).unwrap() as usize * flat.size, v);
                data_set.write(&s, &data).unwrap();
                flat.write(&s, &data);
                let mut got = vec![0xee; data.len()];
                data_set.read(&s, &mut got).unwrap();
                prop_assert!(got == flat.read(&s));
            }
            Op::Read(seed) => {
                let s = slab_in(&flat.dims, seed);
                let mut got = vec![0xee; s.points(&flat.dims).unwrap() as usize * flat.size];
                data_set.read(&s, &mut got).unwrap();
                prop_assert!(got == flat.read(&s), "{s:?}");
            }
            Op::Resize(d, n) => {
                let mut dims = flat.dims.clone();
                dims[d] = n;
                let r = data_set.set_extent(&dims);
                prop_assert_eq!(r.is_ok(), !k.chunk.is_empty());
                if r.is_ok() {
                    flat.resize(&dims);
                }
            }
            Op::Flush => c.flush().unwrap(),
            Op::Reopen => {
                drop((data_set, c));
                c = Container::open(&place.target, Access::ReadWrite, options.clone()).unwrap();
                data_set = c.dataset(id).unwrap();
            }
        }
        let mut all = vec![0xee; flat.data.len()];
        data_set.read(&Selection::All, &mut all).unwrap();
        prop_assert!(all == flat.data);
    }
    // All stored entries are in use: after the deletion, the entries are those of an empty container.
    drop(data_set);
    c.link_delete(c.root(), b"d").unwrap();
    c.flush().unwrap();
    prop_assert_eq!(keys_of(&c).len(), 3);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn datasets_follow_a_flat_array(
        (k, ops) in kind().prop_flat_map(|k| { let r = k.dims.len(); (Just(k), prop::collection::vec(op(r), 1..30)) }),
        in_file in any::<bool>(),
    ) {
        run(k, ops, if in_file { file() } else { memory() })?;
    }
}

#[test]
fn a_small_append_stores_about_its_own_size() {
    for place in places() {
        let c = place.create();
        let d = dataset(
            &c,
            b"d",
            dataset_spec(1, simple(&[1 << 20], &[UNLIMITED]), Layout::Chunked { chunk: vec![1 << 20] }),
        );
        c.flush().unwrap();
        let before = c.size().unwrap();
        let mut pieces = 0;
        for i in 0..256u64 {
            let s = Selection::Hyperslab {
                start: vec![i * 4096],
                stride: vec![1],
                count: vec![1],
                block: vec![4096],
            };
            d.write(&s, &vec![(i as u8).wrapping_add(1); 4096]).unwrap();
            c.flush().unwrap();
            let key = keys::block(d.object().id().0, &[0]);
            let r: h5lake_records::record::BlockRecord =
                h5lake_records::record::decode(c.ledger.get(&key).unwrap().unwrap(), || "block".into())
                    .unwrap();
            pieces = pieces.max(r.pieces.len());
        }
        let mut all = vec![0; 1 << 20];
        d.read(&Selection::All, &mut all).unwrap();
        assert!(all.iter().enumerate().all(|(i, &b)| b == ((i / 4096) as u8).wrapping_add(1)));
        assert!(pieces <= 24, "{pieces} pieces");
        // 1 MiB in 256 steps. Whole chunks would be 256 MiB; merging rewrites each byte a few times.
        let grown = c.size().unwrap() - before;
        println!("256 appends of 4 KiB took {grown} bytes, at most {pieces} pieces");
        assert!(grown < 8 << 20, "{grown} bytes");
    }
}

#[test]
fn storage_size_equals_the_native_connector() {
    let c = memory().create();
    let chunked = |n: u64| Layout::Chunked { chunk: vec![n] };
    let d = dataset(&c, b"late", dataset_spec(4, simple(&[100], &[100]), Layout::Contiguous));
    assert_eq!((d.storage_size().unwrap(), d.space_status().unwrap()), (0, SpaceStatus::NotAllocated));
    let one = Selection::Runs(vec![Run { offset: 5, count: 1 }]);
    d.write(&one, &[1; 4]).unwrap();
    assert_eq!((d.storage_size().unwrap(), d.space_status().unwrap()), (400, SpaceStatus::Allocated));
    let mut spec = dataset_spec(4, simple(&[100], &[UNLIMITED]), chunked(30));
    spec.fill.allocate = AllocTime::Incremental;
    let d = dataset(&c, b"incremental", spec.clone());
    assert_eq!(d.space_status().unwrap(), SpaceStatus::NotAllocated);
    d.write(&one, &[1; 4]).unwrap();
    assert_eq!((d.storage_size().unwrap(), d.space_status().unwrap()), (120, SpaceStatus::Part));
    assert_eq!(d.chunk_at(0).unwrap().offset, [0]);
    assert_eq!(d.chunk_at_coords(&[99]).unwrap(), None);
    d.write(&Selection::All, &[1; 400]).unwrap();
    assert_eq!((d.chunk_count().unwrap(), d.space_status().unwrap()), (4, SpaceStatus::Allocated));
    spec.fill.allocate = AllocTime::Early;
    let d = dataset(&c, b"early", spec.clone());
    assert_eq!((d.storage_size().unwrap(), d.space_status().unwrap()), (480, SpaceStatus::Allocated));
    assert_eq!(d.chunk_at(3).unwrap().offset, [90]);
    // The other part of the last chunk is outside of the extent; beyond it there are no chunks.
    assert_eq!(d.chunk_at_coords(&[119]).unwrap().unwrap().offset, [90]);
    assert_eq!(d.chunk_at_coords(&[120]).unwrap(), None);
    assert!(d.chunk_at_coords(&[0, 0]).is_err());
    assert_eq!(d.read_chunk(&[0]).unwrap(), (0, vec![0; 120]));
    let d = dataset(&c, b"compact", dataset_spec(4, simple(&[10], &[10]), Layout::Compact));
    assert_eq!((d.storage_size().unwrap(), d.space_status().unwrap()), (40, SpaceStatus::Allocated));
}

#[test]
fn raw_chunks_pass_through() {
    let c = memory().create();
    let mut spec = dataset_spec(1, simple(&[100], &[UNLIMITED]), Layout::Chunked { chunk: vec![40] });
    spec.filters = filters(1, 1);
    let d = dataset(&c, b"d", spec);
    d.write(&Selection::All, &[7; 100]).unwrap();
    let (mask, stored) = d.read_chunk(&[0]).unwrap();
    assert!(mask == 0 && stored.len() < 40);
    assert_eq!(d.chunk_at_coords(&[39]).unwrap().unwrap().size, stored.len() as u64);
    d.write_chunk(&[80], 0, &stored).unwrap();
    d.write_chunk(&[40], 1, &[9; 40]).unwrap();
    assert_eq!(d.read_chunk(&[40]).unwrap(), (1, vec![9; 40]));
    let mut all = vec![0; 100];
    d.read(&Selection::All, &mut all).unwrap();
    assert_eq!(all, [vec![7; 40], vec![9; 40], vec![7; 20]].concat());
    assert!(d.write_chunk(&[41], 0, &stored).is_err());
    assert!(d.write_chunk(&[120], 0, &stored).is_err());
    // A chunk without storage has the length that reading it finds, which may be more than its elements take.
    let mut spec = dataset_spec(1, simple(&[100], &[UNLIMITED]), Layout::Chunked { chunk: vec![4] });
    spec.filters = filters(1, 1);
    spec.fill.allocate = AllocTime::Early;
    let d = dataset(&c, b"early", spec);
    let size = d.chunk_at_coords(&[0]).unwrap().unwrap().size;
    assert_eq!((size, size), (d.read_chunk(&[0]).unwrap().1.len() as u64, d.storage_size().unwrap() / 25));
    assert!(size > 4);
}

#[test]
fn requests_that_native_refuses_are_refused() {
    let c = memory().create();
    let refused = |spec: DatasetSpec| c.create_dataset(spec).unwrap_err().to_string();
    let chunked = |n: &[u64]| Layout::Chunked { chunk: n.to_vec() };
    let says = |text: String, what: &str| assert!(text.contains(what), "{text}");
    let s = |d: u64, m: u64| simple(&[d], &[m]);
    says(refused(dataset_spec(4, s(5, 5), chunked(&[6]))), "chunk size must be <= maximum dimension size");
    says(refused(dataset_spec(4, s(5, UNLIMITED), chunked(&[1 << 30]))), "chunk size must be < 4GB");
    says(refused(dataset_spec(4, s(5, 5), chunked(&[1, 1]))), "dimensionality of chunks");
    says(refused(dataset_spec(4, s(5, UNLIMITED), Layout::Contiguous)), "extendible contiguous");
    says(refused(dataset_spec(4, s(20_000, 20_000), Layout::Compact)), "compact dataset size");
    let mut late = dataset_spec(4, s(5, 5), Layout::Compact);
    late.fill.allocate = AllocTime::Late;
    says(refused(late), "early space allocation");
    let part =
        |size: u64| Layout::External { files: vec![ExternalFile { name: b"raw".to_vec(), offset: 0, size }] };
    says(refused(dataset_spec(4, s(5, 5), part(19))), "dataspace size exceeds external storage size");
    says(refused(dataset_spec(4, s(5, UNLIMITED), part(20))), "unlimited dataspace but finite storage");
    says(
        refused(dataset_spec(4, simple(&[1, 5], &[1, 6]), part(400))),
        "only the first dimension can be extendible",
    );
    let mut spec = dataset_spec(4, s(5, 5), chunked(&[5]));
    spec.filters = vec![Filter { id: 1, flags: 1, name: Vec::new(), client_data: vec![12] }];
    says(refused(spec), "deflate has no level 12");
    assert!(c.create_dataset(dataset_spec(4, s(0, UNLIMITED), chunked(&[5]))).is_ok());
}

#[test]
fn scalar_and_null_dataspaces() {
    let place = file();
    let c = place.create();
    let d = dataset(&c, b"scalar", dataset_spec(8, Dataspace::Scalar, Layout::Contiguous));
    d.write(&Selection::All, &[3; 8]).unwrap();
    let mut out = [0; 8];
    d.read(&Selection::Runs(vec![Run { offset: 0, count: 1 }]), &mut out).unwrap();
    assert_eq!(out, [3; 8]);
    let d = dataset(&c, b"null", dataset_spec(8, Dataspace::Null, Layout::Contiguous));
    d.read(&Selection::All, &mut []).unwrap();
    d.write(&Selection::None, &[]).unwrap();
    assert_eq!(d.storage_size().unwrap(), 0);
    assert!(d.read(&Selection::All, &mut out).is_err());
}

#[test]
fn the_last_of_overlapping_runs_wins() {
    let c = memory().create();
    let n = 1 << 20;
    let d = dataset(&c, b"d", dataset_spec(1, simple(&[n], &[n]), Layout::Contiguous));
    let run = |offset, count| Run { offset, count };
    let parts = [(run(10, 100), 1u8), (run(0, 100_000), 2), (run(50, 10), 3), (run(0, 55), 4)];
    let data: Vec<u8> = parts.iter().flat_map(|(r, v)| vec![*v; r.count as usize]).collect();
    d.write(&Selection::Runs(parts.iter().map(|p| p.0).collect()), &data).unwrap();
    let mut out = vec![0; 100_001];
    d.read(&Selection::Runs(vec![run(0, 100_001)]), &mut out).unwrap();
    assert_eq!(out, [vec![4; 55], vec![3; 5], vec![2; 99_940], vec![0]].concat());
}

#[test]
fn unfilled_data_reads_as_zeros() {
    let c = memory().create();
    let mut spec = dataset_spec(1, simple(&[9], &[9]), Layout::Contiguous);
    spec.fill.value = FillValue::User(vec![7].into());
    let mut out = [1; 9];
    dataset(&c, b"filled", spec.clone()).read(&Selection::All, &mut out).unwrap();
    assert_eq!(out, [7; 9]);
    spec.fill.time = FillTime::Never;
    dataset(&c, b"never", spec).read(&Selection::All, &mut out).unwrap();
    assert_eq!(out, [0; 9]);
}

#[test]
fn a_stored_chunk_is_read_into_a_buffer_of_its_length() {
    let c = memory().create();
    let mut spec = dataset_spec(1, simple(&[100], &[UNLIMITED]), Layout::Chunked { chunk: vec![40] });
    let plain = dataset(&c, b"plain", spec.clone());
    spec.filters = filters(1, 1);
    let filtered = dataset(&c, b"filtered", spec.clone());
    spec.fill.allocate = AllocTime::Early;
    let allocated = dataset(&c, b"allocated", spec);
    plain.write(&Selection::All, &[7; 100]).unwrap();
    filtered.write(&Selection::All, &[7; 100]).unwrap();
    for d in [plain, filtered, allocated] {
        let chunk = d.stored_chunk(&[40]).unwrap();
        let mut bytes = vec![1; chunk.len()];
        chunk.read_into(&mut bytes).unwrap();
        assert_eq!((chunk.filter_mask(), bytes), d.read_chunk(&[40]).unwrap());
        for wrong in [chunk.len() - 1, chunk.len() + 1] {
            let failed = chunk.read_into(&mut vec![0; wrong]).unwrap_err();
            assert!(failed.to_string().contains("is read into"), "{failed}");
        }
    }
}
