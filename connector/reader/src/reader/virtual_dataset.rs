//! Virtual datasets: elements of other datasets, in this container or in others.
//!
//! A mapping is a list of pieces: consecutive elements of the virtual dataset, and the source's elements in their
//! place. A read takes the pieces that overlap its selection, source by source. Later mappings win.

use std::sync::Arc;

use h5lake_container::encoded::{StoredSelection, stored_selection};
use h5lake_container::{
    Dataspace, Error, ErrorKind, FillValue, Result, Run, Selection, UNLIMITED, VirtualMapping,
};

use crate::convert::zeros;
use crate::describe::damaged;
use crate::form::{Form, NULL_SPAN, SPAN};

use super::stored::StoredElements;
use super::{Reader, shown, variable};

/// The maximum nesting depth of virtual datasets.
const MAX_DEPTH: usize = 32;

/// The maximum number of runs of one selection.
const MAX_RUNS: u64 = 1 << 24;

fn unsupported(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, text)
}

/// Elements that are consecutive in an extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Piece {
    /// The first element in the extent.
    offset: u64,
    count: u64,
    /// The position of the first element in the order of the selection.
    position: u64,
}

/// Elements of a source that a read needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Share {
    /// The first element in the source's extent.
    source: u64,
    count: u64,
    /// The position of the first element in the read.
    position: u64,
}

/// Returns the shape of a virtual dataset.
///
/// # Errors
/// `Unsupported` for a virtual dataset whose sources decide its shape.
pub fn space(virtual_dataset: &StoredElements, mappings: &[VirtualMapping]) -> Result<Dataspace> {
    for mapping in mappings {
        check_bounded(mapping)?;
    }
    Ok(virtual_dataset.dataset().space())
}

fn check_bounded(mapping: &VirtualMapping) -> Result<()> {
    let is_numbered = |name: &[u8]| source_name(name).is_none();
    let (_, place) = stored_selection(&mapping.place).map_err(damaged)?;
    let is_endless = matches!(&place, StoredSelection::Regular { count, block, .. }
        if count.contains(&UNLIMITED) || block.contains(&UNLIMITED));
    if is_endless || is_numbered(&mapping.file) || is_numbered(&mapping.dataset) {
        return Err(unsupported(
            "a virtual dataset with unlimited or numbered sources is not read without libhdf5; read it with h5py",
        ));
    }
    Ok(())
}

/// Returns the name of a source; `None` for a name with the number of a block. `%%` stands for `%`.
fn source_name(name: &[u8]) -> Option<Vec<u8>> {
    let (mut made, mut rest) = (Vec::with_capacity(name.len()), name);
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        match (first, behind.first()) {
            (b'%', Some(b'b')) => return None,
            (b'%', Some(b'%')) => rest = &behind[1..],
            _ => {}
        }
        made.push(first);
    }
    Some(made)
}

/// Reads elements of a virtual dataset in value form. Elements without a source have the fill value. Returns the bytes
/// that the spans of the elements name.
///
/// # Errors
/// Those of the sources; `Unsupported` for mappings that cannot be resolved without libhdf5.
pub fn read(
    of: &StoredElements,
    mappings: &[VirtualMapping],
    selection: &Selection,
    out: &mut [u8],
    depth: usize,
) -> Result<Vec<u8>> {
    if depth >= MAX_DEPTH {
        return Err(unsupported("virtual datasets lie too deep within one another"));
    }
    let space = space(of, mappings)?;
    let dims = space.dims();
    check_runs(selection)?;
    let size = of.form().size();
    if selection.points(dims)?.checked_mul(size as u64) != Some(out.len() as u64) {
        return Err(Error::new(ErrorKind::InvalidArgument, "a buffer does not fit the selected elements"));
    }
    let mut wanted = pieces(selection.runs(dims)?);
    wanted.sort_by_key(|piece| piece.offset);
    let mut pool = fill(of, out)?;
    for mapping in mappings {
        let place = place_pieces(mapping, dims)?;
        let parts = overlaps(&wanted, &place);
        let Some(source) = source_of(of, mapping, !parts.is_empty())? else { continue };
        let shares = shares(&parts, &source_pieces(mapping, &source)?)?;
        read_source(of.form(), &source, &shares, (&mut *out, &mut pool), depth)?;
    }
    Ok(pool)
}

/// Opens the source of a mapping, if it is needed and exists.
fn source_of(
    of: &StoredElements,
    mapping: &VirtualMapping,
    is_needed: bool,
) -> Result<Option<StoredElements>> {
    let (Some(file), Some(path), true) =
        (source_name(&mapping.file), source_name(&mapping.dataset), is_needed)
    else {
        return Ok(None);
    };
    let reader = match &file[..] {
        b"." => Some(of.reader().clone()),
        b"" => None,
        _ => of.reader().other(&file, &variable("HDF5_VDS_PREFIX"))?,
    };
    let Some(reader) = reader else { return Ok(None) };
    let source = match open(&reader, &path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    if source.of() != of.of() {
        let text = format!(
            "the source '{}' of a virtual dataset has another datatype, and only libhdf5 converts its elements; read it with h5py",
            shown(&path)
        );
        return Err(unsupported(text));
    }
    Ok(Some(source))
}

fn open(reader: &Arc<Reader>, path: &[u8]) -> Result<StoredElements> {
    let found = reader.find(path)?;
    StoredElements::open(reader.clone(), &found)
}

/// Fills elements with the dataset's fill value. Returns the bytes that the spans of this value name.
fn fill(of: &StoredElements, out: &mut [u8]) -> Result<Vec<u8>> {
    let FillValue::User(value) = &of.dataset().fill().value else {
        return null_elements(of.form(), out).map(|()| Vec::new());
    };
    let mut element = zeros(of.form().size())?;
    let pool = of.convert(value, &mut element)?;
    out.chunks_exact_mut(element.len().max(1)).for_each(|value| value.copy_from_slice(&element));
    Ok(pool)
}

/// Writes elements of zeros, with null spans.
fn null_elements(form: &Form, out: &mut [u8]) -> Result<()> {
    out.fill(0);
    let mut element = zeros(form.size())?;
    each_span(form, 0, &mut |at| element[at..at + 8].copy_from_slice(&NULL_SPAN.to_ne_bytes()));
    if form.has_spans() {
        out.chunks_exact_mut(element.len().max(1)).for_each(|value| value.copy_from_slice(&element));
    }
    Ok(())
}

/// Visits the offsets of the spans of an element.
fn each_span(form: &Form, at: usize, visit: &mut impl FnMut(usize)) {
    match form {
        Form::VariableText | Form::Sequence(_) | Form::Reference(_) => visit(at),
        Form::Compound { members, .. } => {
            members.iter().for_each(|(_, to, of)| each_span(of, at + to, visit))
        }
        Form::Array { count, base } if base.has_spans() => {
            (0..*count).for_each(|n| each_span(base, at + n * base.size(), visit));
        }
        _ => {}
    }
}

/// Reads the shares of a source to their positions.
fn read_source(
    form: &Form,
    source: &StoredElements,
    shares: &[Share],
    (out, pool): (&mut [u8], &mut Vec<u8>),
    depth: usize,
) -> Result<()> {
    let runs = shares.iter().map(|share| Run { offset: share.source, count: share.count }).collect();
    let count: u64 = shares.iter().map(|share| share.count).sum();
    let size = form.size();
    let mut elements = zeros(usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(size))?;
    let more = source.read_selection(&Selection::Runs(runs), &mut elements, depth + 1)?;
    if form.has_spans() {
        move_spans(form, &mut elements, pool.len() as u64)?;
        pool.extend_from_slice(&more);
    }
    let mut rest = &elements[..];
    for share in shares {
        let (values, behind) = rest.split_at(share.count as usize * size);
        let at = share.position as usize * size;
        out[at..at + values.len()].copy_from_slice(values);
        rest = behind;
    }
    Ok(())
}

/// Moves spans to a pool in which their bytes follow `by` others.
fn move_spans(form: &Form, elements: &mut [u8], by: u64) -> Result<()> {
    if has_nested_spans(form) {
        let text =
            "a virtual dataset of nested variable-length data is not read without libhdf5; read it with h5py";
        return Err(unsupported(text));
    }
    for element in elements.chunks_exact_mut(form.size().max(1)) {
        each_span(form, 0, &mut |at| {
            let mut offset = [0; SPAN / 2];
            offset.copy_from_slice(&element[at..at + SPAN / 2]);
            let offset = u64::from_ne_bytes(offset);
            if offset != NULL_SPAN {
                element[at..at + SPAN / 2].copy_from_slice(&(offset + by).to_ne_bytes());
            }
        });
    }
    Ok(())
}

fn has_nested_spans(form: &Form) -> bool {
    match form {
        Form::Sequence(base) => base.has_spans(),
        Form::Compound { members, .. } => members.iter().any(|(.., member)| has_nested_spans(member)),
        Form::Array { base, .. } => has_nested_spans(base),
        _ => false,
    }
}

/// Checks that a selection of a caller has not too many runs.
fn check_runs(selection: &Selection) -> Result<()> {
    let Selection::Hyperslab { count, block, .. } = selection else { return Ok(()) };
    let Some((last, outer)) = count.split_last() else { return Ok(()) };
    let rows = outer
        .iter()
        .zip(block)
        .try_fold(*last, |n, (count, block)| n.checked_mul(*count)?.checked_mul(*block));
    if rows.is_some_and(|rows| rows <= MAX_RUNS) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::NoSpace,
        "a selection of a virtual dataset has too many rows; select fewer elements",
    ))
}

/// Returns runs with their positions.
fn pieces(runs: Vec<Run>) -> Vec<Piece> {
    let mut position = 0;
    let piece = |run: Run| {
        let made = Piece { offset: run.offset, count: run.count, position };
        position += run.count;
        made
    };
    runs.into_iter().map(piece).collect()
}

/// Returns the elements of the virtual dataset that a mapping shows, by their offset.
fn place_pieces(mapping: &VirtualMapping, dims: &[u64]) -> Result<Vec<Piece>> {
    let (_, place) = stored_selection(&mapping.place).map_err(damaged)?;
    let mut made = pieces(runs_of(&place, dims)?);
    made.sort_by_key(|piece| piece.offset);
    Ok(made)
}

/// Returns the elements of the source that a mapping shows, by their position.
fn source_pieces(mapping: &VirtualMapping, source: &StoredElements) -> Result<Vec<Piece>> {
    let (dims, selection) = stored_selection(&mapping.source).map_err(damaged)?;
    let present = source.space()?;
    if present.dims().len() != dims.len() && selection != StoredSelection::All {
        return Err(unsupported(
            "a source of a virtual dataset has another rank than its mapping; read it with h5py",
        ));
    }
    runs_of(&selection, present.dims()).map(pieces)
}

/// Returns the elements of a stored selection in an extent, in the order of the selection.
fn runs_of(stored: &StoredSelection, dims: &[u64]) -> Result<Vec<Run>> {
    let selection = match stored {
        StoredSelection::None => Selection::None,
        StoredSelection::All => Selection::All,
        StoredSelection::Regular { start, stride, count, block } => Selection::Hyperslab {
            start: start.clone(),
            stride: stride.clone(),
            count: count.clone(),
            block: block.clone(),
        },
        StoredSelection::Points(coords) => return points(coords, dims),
        StoredSelection::Blocks(blocks) => return runs_of_blocks(blocks, dims),
    };
    check_runs(&selection)?;
    selection.runs(dims)
}

fn points(coords: &[u64], dims: &[u64]) -> Result<Vec<Run>> {
    let outside = || Error::new(ErrorKind::OutOfRange, "a mapping of a virtual dataset leaves the extent");
    let linear = |point: &[u64]| {
        point.iter().zip(dims).try_fold(0_u64, |at, (coord, dim)| {
            if coord < dim { at.checked_mul(*dim)?.checked_add(*coord) } else { None }
        })
    };
    let each = coords.chunks_exact(dims.len().max(1));
    each.map(|point| linear(point).map(|offset| Run { offset, count: 1 }).ok_or_else(outside)).collect()
}

/// Returns the elements of blocks in C order.
fn runs_of_blocks(blocks: &[[Vec<u64>; 2]], dims: &[u64]) -> Result<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    for [low, high] in blocks {
        let block: Vec<u64> = low.iter().zip(high).map(|(low, high)| high - low + 1).collect();
        let ones = vec![1; block.len()];
        let one = Selection::Hyperslab { start: low.clone(), stride: block.clone(), count: ones, block };
        check_runs(&one)?;
        runs.extend(one.runs(dims)?);
    }
    runs.sort_by_key(|run| run.offset);
    Ok(runs)
}

/// Returns the overlaps of a read with a mapping: for each its position in the read and its position in the mapping.
/// Both lists are in the order of their offsets.
fn overlaps(wanted: &[Piece], place: &[Piece]) -> Vec<(u64, u64, u64)> {
    let (mut found, mut w, mut p) = (Vec::new(), 0, 0);
    while let (Some(a), Some(b)) = (wanted.get(w), place.get(p)) {
        let begin = a.offset.max(b.offset);
        let (end_a, end_b) = (a.offset + a.count, b.offset + b.count);
        let end = end_a.min(end_b);
        if begin < end {
            found.push((a.position + begin - a.offset, b.position + begin - b.offset, end - begin));
        }
        if end_a <= end_b { w += 1 } else { p += 1 }
    }
    found
}

/// Returns the source's elements for overlaps.
fn shares(parts: &[(u64, u64, u64)], source: &[Piece]) -> Result<Vec<Share>> {
    let mut made = Vec::with_capacity(parts.len());
    for (position, at, count) in parts {
        let (mut done, mut n) = (0, source.partition_point(|piece| piece.position + piece.count <= *at));
        while done < *count {
            let piece = source
                .get(n)
                .ok_or_else(|| damaged("a mapping of a virtual dataset has too short a source"))?;
            let skip = at + done - piece.position;
            let length = (piece.count - skip).min(count - done);
            made.push(Share { source: piece.offset + skip, count: length, position: position + done });
            (done, n) = (done + length, n + 1);
        }
    }
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(offset: u64, count: u64, position: u64) -> Piece {
        Piece { offset, count, position }
    }

    #[test]
    fn overlaps_are_in_both_lists() {
        let wanted = [piece(2, 4, 0), piece(10, 2, 4)];
        let place = [piece(0, 3, 0), piece(5, 6, 3)];
        assert_eq!(overlaps(&wanted, &place), [(0, 2, 1), (3, 3, 1), (4, 8, 1)]);
        assert_eq!(overlaps(&wanted, &[]), []);
    }

    #[test]
    fn shares_follow_the_order_of_the_source() {
        let source = [piece(100, 2, 0), piece(50, 3, 2)];
        let made = shares(&[(7, 1, 3)], &source).unwrap();
        let share = |source, count, position| Share { source, count, position };
        assert_eq!(made, [share(101, 1, 7), share(50, 2, 8)]);
        assert!(shares(&[(0, 4, 2)], &source).is_err());
    }

    #[test]
    fn names_with_a_block_number_are_recognized() {
        assert_eq!(source_name(b"a%%b").as_deref(), Some(&b"a%b"[..]));
        assert_eq!(source_name(b"a%b"), None);
        assert_eq!(source_name(b"100%").as_deref(), Some(&b"100%"[..]));
    }

    #[test]
    fn points_and_blocks_become_runs() {
        let run = |offset, count| Run { offset, count };
        assert_eq!(points(&[1, 2, 0, 0], &[2, 3]).unwrap(), [run(5, 1), run(0, 1)]);
        assert!(points(&[0, 3], &[2, 3]).is_err());
        let blocks = [[vec![1, 0], vec![1, 1]], [vec![0, 1], vec![0, 2]]];
        assert_eq!(runs_of_blocks(&blocks, &[2, 3]).unwrap(), [run(1, 2), run(3, 2)]);
    }
}
