//! Repairs of datasets with more possible chunks than can be marked as lost.

use crate::End;
use crate::repair::repair;
use crate::verify::{self, Versions};
use h5lake_container::testing::{Place, dataset, dataset_spec, file, simple};
use h5lake_container::{Access, Options, Selection, Target};
use h5lake_records::{Layout, LinkTarget};

const ROWS: u64 = 1_000_000;
const GOOD: [u8; 4000] = [7; 4000];

/// Creates a dataset with few of very many chunks, and another one.
fn fill(place: &Place) {
    let c = place.create();
    let good = dataset(&c, b"good", dataset_spec(4, simple(&[1000], &[1000]), Layout::Contiguous));
    good.write(&Selection::All, &GOOD).unwrap();
    let layout = Layout::Chunked { chunk: vec![16, 16] };
    let sparse = dataset(&c, b"sparse", dataset_spec(1, simple(&[ROWS; 2], &[ROWS; 2]), layout));
    for n in 0..3000 {
        let element = Selection::Hyperslab {
            start: vec![n * 300, n * 300],
            stride: vec![1, 1],
            count: vec![1, 1],
            block: vec![1, 1],
        };
        sparse.write(&element, &[1]).unwrap();
    }
    c.flush().unwrap();
    c.vacuum().unwrap();
}

fn good_is_whole(place: &Place) -> bool {
    let c = place.open(Access::ReadOnly);
    let Ok(Some(link)) = c.link(c.root(), b"good") else { return false };
    let LinkTarget::Hard(id) = link.target else { return false };
    let mut out = vec![0; GOOD.len()];
    c.dataset(id).unwrap().read(&Selection::All, &mut out).is_ok() && out == GOOD
}

/// Not all chunks that such a page may have held can be marked, and they must not read as fill.
#[test]
fn a_damaged_page_of_a_sparse_dataset_costs_that_dataset_alone() {
    let from = file();
    fill(&from);
    let Target::File(path) = &from.target else { panic!() };
    let whole = std::fs::read(path).unwrap();
    let leaves = whole.windows(5).enumerate().filter(|(_, bytes)| *bytes == b"h5lP\0").map(|(at, _)| at);
    let mut left_out = 0;
    for at in leaves {
        let mut damaged = whole.clone();
        damaged[at + 100] ^= 1;
        std::fs::write(path, damaged).unwrap();
        let to = file();
        let options = Options::default();
        let done =
            repair(End::new(&from.target, &options), End::new(&to.target, &options), &mut |_, _| ()).unwrap();
        let report = verify::verify(&to.target, &options, Versions::All, &mut |_, _| ()).unwrap();
        assert!(report.is_whole(), "{:#?}", report.found);
        if done.lost.iter().any(|f| f.what == "/sparse") && good_is_whole(&to) {
            let c = to.open(Access::ReadOnly);
            assert!(c.link(c.root(), b"sparse").unwrap().is_none());
            left_out += 1;
        }
    }
    assert!(left_out > 3, "{left_out} times");
}
