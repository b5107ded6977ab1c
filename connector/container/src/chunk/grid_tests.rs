use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

/// Returns the elements of a selection one by one, directly from the definition.
fn elements(dims: &[u64], selection: &Selection) -> Vec<u64> {
    match selection {
        Selection::All => (0..dims.iter().product()).collect(),
        Selection::None => Vec::new(),
        Selection::Runs(runs) => runs.iter().flat_map(|r| r.offset..r.offset + r.count).collect(),
        Selection::Hyperslab { start, stride, count, block } => {
            let inside = |d: usize, i: u64| {
                (0..count[d]).any(|k| {
                    let first = start[d] + k * stride[d];
                    (first..first + block[d]).contains(&i)
                })
            };
            let total: u64 = dims.iter().product();
            let coordinates = |mut n: u64| {
                let mut c: Vec<u64> = dims
                    .iter()
                    .rev()
                    .map(|d| {
                        let i = n % d;
                        n /= d;
                        i
                    })
                    .collect();
                c.reverse();
                c
            };
            (0..total).filter(|&n| coordinates(n).iter().enumerate().all(|(d, &i)| inside(d, i))).collect()
        }
    }
}

pub(crate) fn slab() -> impl Strategy<Value = (Vec<u64>, Vec<u64>, Selection)> {
    let axis = (1u64..12, 1u64..7).prop_flat_map(|(dim, chunk)| {
        (0..dim, 1u64..4).prop_flat_map(move |(start, block)| {
            let block = block.min(dim - start);
            (block..block + 4).prop_flat_map(move |stride| {
                let most = (dim - start - block) / stride + 1;
                (0..=most).prop_map(move |count| (dim, chunk, start, stride, count, block))
            })
        })
    });
    type Axis = (u64, u64, u64, u64, u64, u64);
    prop::collection::vec(axis, 1..4).prop_map(|axes| {
        let get = |f: fn(&Axis) -> u64| axes.iter().map(f).collect::<Vec<_>>();
        let slab = Selection::Hyperslab {
            start: get(|a| a.2),
            stride: get(|a| a.3),
            count: get(|a| a.4),
            block: get(|a| a.5),
        };
        (get(|a| a.0), get(|a| a.1), slab)
    })
}

/// Checks that reads by parts fill the buffer in the order of the selection. An element's value is its number in the dataset.
fn check(grid: &Grid, dims: &[u64], selection: &Selection) {
    let want = elements(dims, selection);
    let mut got = vec![u64::MAX; want.len()];
    let mut per_block: HashMap<Vec<u64>, usize> = HashMap::new();
    grid.parts(dims, selection, 1, &mut |p| {
        let touched: usize = p.runs.iter().map(|r| r.len).sum();
        *per_block.entry(p.coords.to_vec()).or_default() += touched;
        let valid = match grid {
            Grid::Line(s) => (*s).min(dims.iter().product::<u64>() - p.coords[0] * s),
            Grid::Boxes(c) => (0..dims.len()).map(|d| c[d].min(dims[d] - p.coords[d] * c[d])).product(),
        };
        // Unordered runs may touch an element twice, so only ascending runs are checked for duplicates.
        if p.coverage == Coverage::Whole || !matches!(selection, Selection::Runs(_)) {
            let mut bytes: Vec<usize> = p.runs.iter().flat_map(|r| r.block..r.block + r.len).collect();
            bytes.sort_unstable();
            bytes.dedup();
            assert_eq!(p.coverage, Coverage::whole_if(bytes.len() as u64 == valid));
        }
        for r in p.runs {
            for i in 0..r.len {
                got[r.buffer + i] = number(grid, dims, p.coords, (r.block + i) as u64);
            }
        }
        Ok(())
    })
    .unwrap();
    assert_eq!(got, want);
}

fn number(grid: &Grid, dims: &[u64], coords: &[u64], mut within: u64) -> u64 {
    match grid {
        Grid::Line(s) => coords[0] * s + within,
        Grid::Boxes(chunk) => {
            let mut index = vec![0; dims.len()];
            for d in (0..dims.len()).rev() {
                index[d] = coords[d] * chunk[d] + within % chunk[d];
                within /= chunk[d];
            }
            index.iter().zip(dims).fold(0, |n, (i, d)| n * d + i)
        }
    }
}

proptest! {
    #[test]
    fn hyperslabs_touch_the_selected_elements((dims, chunk, slab) in slab(), segment in 1u64..40) {
        check(&Grid::Boxes(chunk.clone()), &dims, &slab);
        check(&Grid::Line(segment), &dims, &slab);
        check(&Grid::Boxes(chunk), &dims, &Selection::All);
        check(&Grid::Line(segment), &dims, &Selection::All);
    }

    #[test]
    fn runs_touch_the_selected_elements(
        (dims, chunk, _) in slab(), segment in 1u64..40, picks in prop::collection::vec((0u64..1728, 0u64..9), 0..9)
    ) {
        let total: u64 = dims.iter().product();
        let run = |(o, n): (u64, u64)| Run { offset: o % total, count: n.min(total - o % total) };
        let runs = Selection::Runs(picks.into_iter().map(run).collect());
        check(&Grid::Boxes(chunk), &dims, &runs);
        check(&Grid::Line(segment), &dims, &runs);
    }

    #[test]
    fn ascending_runs_touch_the_selected_elements(
        (dims, chunk, _) in slab(), segment in 1u64..40, picks in prop::collection::btree_set(0u64..1728, 0..99)
    ) {
        let total: u64 = dims.iter().product();
        let picks: std::collections::BTreeSet<u64> = picks.into_iter().map(|o| o % total).collect();
        let runs = Selection::Runs(picks.iter().map(|&offset| Run { offset, count: 1 }).collect());
        let rows = [&chunk[..1], &dims[1..]].concat();
        for grid in [Grid::Boxes(chunk), Grid::Boxes(rows), Grid::Line(segment)] {
            check(&grid, &dims, &runs);
            let all = Selection::Runs(vec![Run { offset: 0, count: total }]);
            check(&grid, &dims, &all);
        }
    }
}

#[test]
fn a_large_stride_skips_the_chunks_between() {
    let dims = [1 << 40];
    let slab = Selection::Hyperslab { start: vec![7], stride: vec![1 << 38], count: vec![4], block: vec![2] };
    let mut seen = 0;
    Grid::Boxes(vec![8])
        .parts(&dims, &slab, 1, &mut |_| {
            seen += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, 8);
}

#[test]
fn selections_outside_the_extent_are_refused() {
    let out = |start, stride, count, block| {
        let s = Selection::Hyperslab {
            start: vec![start],
            stride: vec![stride],
            count: vec![count],
            block: vec![block],
        };
        Grid::Line(8).parts(&[10], &s, 1, &mut |_| Ok(()))
    };
    assert!(out(0, 1, 10, 1).is_ok());
    assert!(out(1, 1, 10, 1).is_err());
    assert!(out(0, u64::MAX, 3, 1).is_err());
    assert!(out(0, 1, 2, 3).is_err());
    let runs = Selection::Runs(vec![Run { offset: u64::MAX, count: 2 }]);
    assert!(Grid::Line(8).parts(&[10], &runs, 1, &mut |_| Ok(())).is_err());
}
