//! The form in which Blosc stores data unencoded, for chunks that do not get shorter. Other codecs encode even such
//! chunks.

use h5lake_records::types::Filter;

/// The registered number of Blosc.
const BLOSC: i32 = 32001;

/// Returns data in the form of Blosc's copies (`BLOSC_MEMCPYED`); `None` for another filter, and for data too long for
/// the form.
pub(super) fn encode(filter: &Filter, data: &[u8]) -> Option<Vec<u8>> {
    if filter.id != BLOSC {
        return None;
    }
    let size = filter.client_data.get(2).and_then(|size| u8::try_from(*size).ok()).unwrap_or(1).max(1);
    let length = u32::try_from(data.len()).ok()?;
    let total = length.checked_add(16)?;
    let mut out = vec![2, 1, 2, size];
    for number in [length, length, total] {
        out.extend(number.to_le_bytes());
    }
    out.extend(data);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::super::{Pipeline, encode_with_all};
    use super::*;

    fn filter(id: i32, client_data: &[u32]) -> Filter {
        Filter { id, flags: 1, name: Vec::new(), client_data: client_data.to_vec() }
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut x = 1u64;
        let mut step = || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 56) as u8
        };
        (0..length).map(|_| step()).collect()
    }

    #[test]
    fn the_form_is_decoded_by_its_filter() {
        let blosc = filter(BLOSC, &[2, 2, 4, 0, 5, 1, 0]);
        for length in [1, 31, 65_536, 300_001] {
            let data = noise(length);
            let pipeline = Pipeline::new(std::slice::from_ref(&blosc)).unwrap();
            let stored = encode(&blosc, &data).unwrap();
            assert!(pipeline.decode(stored, 0, length).unwrap() == data, "{length}");
        }
        assert_eq!(encode(&filter(32000, &[]), &[1]), None);
    }

    #[test]
    fn incompressible_data_passes_all_filters() {
        let data = noise(40_000);
        let blosc = filter(BLOSC, &[2, 2, 4, 0, 5, 1, 0]);
        let (deflate, zstd, sum) = (filter(1, &[6]), filter(32015, &[3]), filter(3, &[]));
        for filters in
            [vec![filter(2, &[4]), deflate, sum.clone()], vec![zstd, sum.clone()], vec![blosc, sum]]
        {
            let pipeline = Pipeline::new(&filters).unwrap();
            let encoded = encode_with_all(&filters, &data).unwrap().unwrap();
            assert_eq!(pipeline.decode(encoded, 0, data.len()).unwrap(), data);
        }
        assert_eq!(encode_with_all(&[filter(32013, &[])], &data).unwrap(), None);
    }
}
