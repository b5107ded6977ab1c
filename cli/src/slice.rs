//! Slices of datasets in the notation of h5py and numpy: `0:10,3`, `...,::2`.

use h5lake_container::Selection;

use crate::Failure;

/// The part of one dimension that a slice selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axis {
    pub start: u64,
    pub count: u64,
    pub step: u64,
    /// True if the slice is a single index, so that the result does not have this dimension.
    pub is_index: bool,
}

impl Axis {
    fn all(dim: u64) -> Self {
        Self { start: 0, count: dim, step: 1, is_index: false }
    }
}

/// Parses a position, which counts from the end if it is negative.
fn position(text: &str, dim: u64) -> Result<Option<i128>, Failure> {
    if text.is_empty() {
        return Ok(None);
    }
    let at: i64 = text.parse().map_err(|_| format!("'{text}' in a slice is no integer"))?;
    Ok(Some(if at < 0 { i128::from(at) + i128::from(dim) } else { i128::from(at) }))
}

fn axis(text: &str, dim: u64, n: usize) -> Result<Axis, Failure> {
    let parts: Vec<_> = text.split(':').map(str::trim).collect();
    let bounded = |at: i128| at.clamp(0, i128::from(dim)) as u64;
    let (start, stop, step) = match parts[..] {
        [index] => {
            let at = position(index, dim)?.ok_or("a slice has an empty part")?;
            let inside = u64::try_from(at).ok().filter(|at| *at < dim);
            let start = inside.ok_or_else(|| {
                format!("the index {index} is out of range: dimension {n} has {dim} elements")
            })?;
            return Ok(Axis { start, count: 1, step: 1, is_index: true });
        }
        [start, stop] => (start, stop, "1"),
        [start, stop, step] => (start, stop, step),
        _ => return Err(format!("'{text}' is no slice; START:STOP:STEP is one").into()),
    };
    let step: u64 = match step {
        "" => 1,
        step => {
            step.parse().ok().filter(|step| *step > 0).ok_or("the step of a slice has to be 1 or more")?
        }
    };
    let start = position(start, dim)?.map_or(0, bounded);
    let stop = position(stop, dim)?.map_or(dim, bounded);
    Ok(Axis { start, count: stop.saturating_sub(start).div_ceil(step), step, is_index: false })
}

/// Parses a slice of an extent. Without a text, selects the whole extent.
///
/// # Errors
///
/// Returns an error that describes the mistake.
pub fn parse(text: Option<&str>, dims: &[u64]) -> Result<Vec<Axis>, Failure> {
    let Some(text) = text else { return Ok(dims.iter().map(|dim| Axis::all(*dim)).collect()) };
    let parts: Vec<_> = text.split(',').map(str::trim).collect();
    let given = parts.iter().filter(|part| **part != "...").count();
    if parts.len() > given + 1 {
        return Err("a slice has at most one '...'".into());
    }
    if given > dims.len() {
        return Err(format!(
            "the slice '{text}' has {given} parts, and the dataset {} dimensions",
            dims.len()
        )
        .into());
    }
    let missing = dims.len() - given;
    let mut axes = Vec::with_capacity(dims.len());
    for part in &parts {
        let n = axes.len();
        match *part {
            "..." => axes.extend(dims[n..n + missing].iter().map(|dim| Axis::all(*dim))),
            part => axes.push(axis(part, dims[n], n)?),
        }
    }
    axes.extend(dims[axes.len()..].iter().map(|dim| Axis::all(*dim)));
    Ok(axes)
}

/// Returns the shape of the result.
pub fn shape(axes: &[Axis]) -> Vec<u64> {
    axes.iter().filter(|axis| !axis.is_index).map(|axis| axis.count).collect()
}

/// Returns the number of selected elements. It cannot overflow for selections of an extent that has a valid size.
pub fn points(axes: &[Axis]) -> u64 {
    axes.iter().fold(1, |n: u64, axis| n.saturating_mul(axis.count))
}

/// Returns the coordinates of the element with a number in C order.
pub fn place(mut number: u64, dims: &[u64]) -> Vec<u64> {
    let mut at = vec![0; dims.len()];
    for (place, dim) in at.iter_mut().zip(dims).rev() {
        (*place, number) = (number % dim.max(&1), number / dim.max(&1));
    }
    at
}

/// A part of the selection.
#[derive(Debug)]
pub struct Part {
    pub selection: Selection,
    /// The number of elements in the part.
    pub points: u64,
}

/// An iterator over parts of the selection of about `most` elements, in C order. Each part is read with one call.
pub struct Parts {
    axes: Vec<Axis>,
    /// The dimension along which the selection is split. Each part has a single index in the dimensions before it.
    cut: usize,
    /// The number of indices of a part along that dimension.
    length: u64,
    /// The beginning of the next part, as indices into the selection of each dimension. `None` behind the last part.
    next: Option<Vec<u64>>,
}

impl Parts {
    pub fn new(axes: &[Axis], most: u64) -> Self {
        let inner = |d: usize| points(&axes[d + 1..]);
        let cut = (0..axes.len()).find(|d| inner(*d) <= most).unwrap_or(axes.len().saturating_sub(1));
        let length = if axes.is_empty() { 1 } else { (most / inner(cut).max(1)).max(1) };
        let next = (points(axes) > 0).then(|| vec![0; axes.len()]);
        Self { axes: axes.to_vec(), cut, length, next }
    }

    /// Returns the beginning of the part that follows the part at `at`.
    fn advanced(&self, mut at: Vec<u64>, taken: u64) -> Option<Vec<u64>> {
        let mut step = taken;
        for d in (0..=self.cut).rev() {
            let place = at.get_mut(d)?;
            *place += step;
            if *place < self.axes[d].count {
                return Some(at);
            }
            *place = 0;
            step = 1;
        }
        None
    }
}

impl Iterator for Parts {
    type Item = Part;

    fn next(&mut self) -> Option<Part> {
        let at = self.next.take()?;
        if self.axes.is_empty() {
            return Some(Part { selection: Selection::All, points: 1 });
        }
        let mut axes = self.axes.clone();
        for (d, axis) in axes.iter_mut().enumerate().take(self.cut + 1) {
            let most = if d < self.cut { 1 } else { self.length };
            axis.start += at[d] * axis.step;
            axis.count = (axis.count - at[d]).min(most);
        }
        self.next = self.advanced(at, axes[self.cut].count);
        Some(Part { selection: selection(&axes), points: points(&axes) })
    }
}

/// Converts the axes to a selection of HDF5.
fn selection(axes: &[Axis]) -> Selection {
    let each = |value: fn(&Axis) -> u64| axes.iter().map(value).collect();
    Selection::Hyperslab {
        start: each(|axis| axis.start),
        stride: each(|axis| if axis.step == 1 { axis.count.max(1) } else { axis.step }),
        count: each(|axis| if axis.step == 1 { 1 } else { axis.count }),
        block: each(|axis| if axis.step == 1 { axis.count } else { 1 }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn indices(axis: &Axis) -> Vec<u64> {
        (0..axis.count).map(|n| axis.start + n * axis.step).collect()
    }

    #[test]
    fn slices_follow_numpy() {
        let cases: [(&str, &[u64]); 9] = [
            (":", &[0, 1, 2, 3, 4]),
            ("1:3", &[1, 2]),
            ("-2:", &[3, 4]),
            (":-3", &[0, 1]),
            ("::2", &[0, 2, 4]),
            ("1::3", &[1, 4]),
            ("3:1", &[]),
            ("2:99", &[2, 3, 4]),
            ("-1", &[4]),
        ];
        for (text, wanted) in cases {
            assert_eq!(indices(&parse(Some(text), &[5]).unwrap()[0]), wanted, "{text}");
        }
        let axes = parse(Some("..., 1"), &[2, 3, 4]).unwrap();
        assert_eq!((shape(&axes), points(&axes)), (vec![2, 3], 6));
        assert_eq!(shape(&parse(Some("0"), &[2, 3]).unwrap()), [3]);
        assert_eq!(shape(&parse(None, &[]).unwrap()), [0; 0]);
        for (wrong, dims) in
            [("5", 1), ("-6", 1), ("x", 1), ("::0", 1), ("::-1", 1), ("1,2", 1), ("...,...", 2), ("", 1)]
        {
            assert!(parse(Some(wrong), &[5, 5][..dims]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn parts_cover_the_selection_in_order() {
        let dims = [3, 4, 5];
        for text in [":", "1:,::2,:", "...,1", "2,:,1::2", ":,:,:0"] {
            let axes = parse(Some(text), &dims).unwrap();
            let whole: Vec<u64> =
                if points(&axes) == 0 { Vec::new() } else { elements(&selection(&axes), &dims) };
            for most in [1, 2, 5, 7, 20, 1000] {
                let parts: Vec<u64> =
                    Parts::new(&axes, most).flat_map(|part| elements(&part.selection, &dims)).collect();
                assert_eq!(parts, whole, "{text} by {most}");
                assert!(Parts::new(&axes, most).all(|part| part.points <= most.max(1)), "{text} by {most}");
            }
        }
    }

    fn elements(selection: &Selection, dims: &[u64]) -> Vec<u64> {
        selection.runs(dims).unwrap().iter().flat_map(|run| run.offset..run.offset + run.count).collect()
    }
}
