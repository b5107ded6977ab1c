//! The checks of HDF5's encodings: they must end for any bytes.
#![no_main]

use h5lake_container::encoded::{
    ListKind, check_dataspace, check_datatype, check_property_list, rename_sources, without_external_files,
};
use libfuzzer_sys::fuzz_target;

const KINDS: [ListKind; 5] =
    [ListKind::File, ListKind::Dataset, ListKind::Group, ListKind::Datatype, ListKind::Attribute];

fuzz_target!(|bytes: &[u8]| {
    let _ = check_datatype(bytes);
    if let Ok(length) = check_dataspace(bytes) {
        assert!(length <= bytes.len() && check_dataspace(&bytes[..length]) == Ok(length));
    }
    for kind in KINDS {
        let _ = check_property_list(bytes, kind);
    }
    for changed in
        [without_external_files(bytes), rename_sources(bytes, &mut <[u8]>::to_vec)].into_iter().flatten()
    {
        assert_eq!(check_property_list(&changed, ListKind::Dataset), Ok(()));
    }
});
