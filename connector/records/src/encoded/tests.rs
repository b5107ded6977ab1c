//! Encodings that HDF5 1.14 and 2.0 write are accepted, and encodings that would mislead their decoders are refused.

use proptest::prelude::*;

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().map(|d| (d as char).to_digit(16).unwrap() as u8).collect();
    digits.as_chunks().0.iter().map(|[high, low]| high << 4 | low).collect()
}

/// Encodings by HDF5 2.0 and their properties: class, bytes of an element, and whether elements hold pointers.
const TYPES: [(&str, u8, u32, bool); 18] = [
    ("03001008000004000000000020 00", 0, 4, false),
    ("030011203f000800000000004000340b0034ff030000", 1, 8, false),
    ("030031611f0004000000000020001708001781000000", 1, 4, false),
    ("03001120070001000000000008000304000307000000", 1, 1, false),
    ("030012000000040000002000", 2, 4, false),
    ("03001301000005000000", 3, 5, false),
    ("0300140000000100000000000800", 4, 1, false),
    ("030015100000080000004e554d50593a3c4d385b75735d000000", 5, 8, false),
    ("03001700000008000000", 7, 8, false),
    ("0300170100000c000000", 7, 12, false),
    ("03004712000040000000", 7, 64, true),
    ("0300180200000100000010080000010000000000080046414c534500000054525545000000000001", 8, 1, false),
    ("03001901010008000000100000000100000000000800", 9, 8, true),
    ("030019000000100000001901010008000000100000000100000000000800", 9, 16, true),
    ("03005b0100000800000011201f000400000000002000170800177f000000", 11, 8, false),
    (
        "030026020000140000006100000000000000000000002a0000000c000000010000000300000000000000100800000400000000\
         00200062000000000000000c0000001901010008000000100000000100000000000800",
        6,
        20,
        true,
    ),
    (
        "030026010000200000006100000000000000000000002a00000020000000010000000200000000000000190000001000000011\
         203f000800000000004000340b0034ff030000",
        6,
        32,
        true,
    ),
    (
        "030016020000100000007200000000000000000000000000000000000000000000000000000000000000000000000000000011\
         203f000800000000004000340b0034ff0300006900000000000000080000000000000000000000000000000000000000000000\
         000000000000000011203f000800000000004000340b0034ff030000",
        6,
        16,
        false,
    ),
];

fn each_type() -> impl Iterator<Item = (Vec<u8>, EncodedType)> {
    TYPES.iter().map(|(hex, class, size, has_pointers)| {
        let encoded = bytes(&hex.replace([' ', '\n'], ""));
        (encoded, EncodedType { class: *class, size: *size, has_pointers: *has_pointers })
    })
}

/// Returns a creation list of datasets with every property that such a list may have, as HDF5 2.0 encodes it.
fn list() -> Vec<u8> {
    let mut list =
        b"\x00\x05efl\0\x01\x01\x01\x02a\0\x01\0\x01\nlayout\0\x02\x02\x04\0\0\0\x05\0\0\0".to_vec();
    list.extend(b"pline\0\x04\x01\x02\x01\0\0\0\x01\0\0\0\0\x01\x01\x04\0\0\0\x02\0\0\0\x01\0\0\0\0\x01\0");
    list.extend(
        b"fill_value\0\x02\x02\x04\0\0\0\0\0\0\0\x07\0\0\0\x01\x0e\x03\0\x10\x08\0\0\x04\0\0\0\0\0 \0",
    );
    list.extend(b"dset_oh_minimize\0\0alloc_time_state\0\x04\x01\0\0\0min dense attr\0\x04\x06\0\0\0");
    list.extend(b"max compact attr\0\x04\x08\0\0\0object header flags\0 \0");
    list
}

/// Returns a selection: a hyperslab that is unbounded in one dimension.
fn space() -> Vec<u8> {
    bytes(
        "0100081800000001010100000000000a00000000000000ffffffffffffffff020000000200000001240000000100000000000000\
         000000000200000000000000ffffffffffffffff0100000000000000",
    )
}

#[test]
fn encodings_written_by_hdf5_are_accepted() {
    for (encoded, found) in each_type() {
        assert_eq!(check_datatype(&encoded), Ok(found), "{encoded:02x?}");
    }
    assert_eq!(check_property_list(&list(), ListKind::Dataset), Ok(()));
    assert_eq!(check_dataspace(&space()), Ok(space().len()));
    let mut virtual_list = b"\x00\x05layout\0\x03\x01\0\0\0\0\0\0\0f.h5\0/a\0".to_vec();
    virtual_list.extend(space().repeat(2));
    virtual_list.push(0);
    assert_eq!(check_property_list(&virtual_list, ListKind::Dataset), Ok(()));
    let large = b"\x00\x05layout\0\xff\x01\x02\x02\0\0\0\0\x02\0\0\0\x05\0\0\0\0\0\0\0\0";
    assert_eq!(check_property_list(large, ListKind::Dataset), Ok(()));
    let mut file =
        b"\x00\x03file_space_strategy\0\0btree_rank\0\x04\x10\0\0\0 \0\0\0block_size\0\x01\0".to_vec();
    file.extend(b"symbol_leaf\0\x04\x04\0\0\0file_space_page_size\0\x02\0\x10free_space_persist\0\0");
    file.extend(b"obj_byte_num\0\x08link info\0\x04\0\0\0\0group info\0\0\0\0\0\x08\0\x06\0\x04\0\x08\0\0");
    assert_eq!(check_property_list(&file, ListKind::File), Ok(()));
    assert_eq!(check_property_list(b"\x00\x0echaracter_encoding\0\x01\0", ListKind::Attribute), Ok(()));
}

#[test]
fn properties_with_default_values_are_left_out() {
    let whole = [
        &b"\x00\x05layout\0\x01pline\0\x04\x01\0efl\0\x01\0dset_oh_minimize\0\0alloc_time_state\0\x04\x01\0\0\0"[..],
        b"min dense attr\0\x04\x06\0\0\0max compact attr\0\x04\x09\0\0\0object header flags\0 \0",
    ]
    .concat();
    let reduced = b"\x00\x05alloc_time_state\0\x04\x01\0\0\0max compact attr\0\x04\x09\0\0\0\0";
    assert_eq!(without_defaults(&whole).unwrap(), reduced);
    assert_eq!(without_defaults(reduced).unwrap(), reduced);
    assert_eq!(without_defaults(b"\x00\x09object header flags\0 \0").unwrap(), b"");
    assert!(without_defaults(&whole[..40]).is_err() && without_defaults(b"\x00\x63\0").is_err());
}

#[test]
fn lists_say_otherwise_where_elements_lie() {
    let list = list();
    let shorter = without_external_files(&list).unwrap();
    let efl = b"efl\0\x01\x01\x01\x02a\0\x01\0\x01\n";
    assert_eq!([&list[..2], &efl[..], &shorter[2..]].concat(), list);
    let renamed = |encoded: &[u8]| rename_sources(encoded, &mut |file| [b"/d/", file].concat());
    assert_eq!(renamed(&list).unwrap(), list);
    let of = |files: [&str; 2]| {
        let mut virtual_list = b"\x00\x05layout\0\x03\x02\0\0\0\0\0\0\0".to_vec();
        for file in files {
            virtual_list.extend([file.as_bytes(), b"\0/a\0", &space(), &space()].concat());
        }
        virtual_list.extend(b"object header flags\0 \0");
        virtual_list
    };
    let before = of(["f%b.h5", "x"]);
    assert_eq!(renamed(&before).unwrap(), of(["/d/f%b.h5", "/d/x"]));
    assert!(renamed(&before[..40]).is_err() && without_external_files(b"\0").is_err());
}

#[test]
fn truncated_encodings_are_refused() {
    for (encoded, _) in each_type() {
        for n in 0..encoded.len() {
            assert!(check_datatype(&encoded[..n]).is_err(), "{n} bytes of {encoded:02x?}");
        }
    }
    (0..list().len())
        .for_each(|n| assert!(check_property_list(&list()[..n], ListKind::Dataset).is_err(), "{n}"));
    (0..space().len()).for_each(|n| assert!(check_dataspace(&space()[..n]).is_err(), "{n}"));
}

/// Returns an encoding with some bytes replaced.
fn with(mut encoded: Vec<u8>, at: usize, over: &[u8]) -> Vec<u8> {
    encoded[at..at + over.len()].copy_from_slice(over);
    encoded
}

fn refused(encoded: &[u8], why: &str) {
    assert_eq!(check_datatype(encoded), Err(why), "{encoded:02x?}");
}

#[test]
fn sizes_and_places_of_types_have_to_fit() {
    let nth = |n: usize| each_type().nth(n).unwrap().0;
    refused(&with(nth(0), 10, &[1]), "bits of a number lie outside of it");
    refused(&with(nth(6), 12, &[9]), "bits of a number lie outside of it");
    refused(&with(nth(6), 6, &[1, 1]), "a bit field has more bytes than HDF5 converts");
    refused(&with(nth(1), 3, &[20, 255]), "bits of a number lie outside of it");
    refused(&with(nth(5), 3, &[0x21]), "a string has an unknown padding or character set");
    refused(&with(nth(8), 6, &[9]), "a reference has another size than references of its kind");
    refused(&with(nth(11), 3, &[255, 255]), "it is cut short");
    refused(&with(nth(11), 10, &[0x14]), "an enumeration's values are no integers of its size");
    refused(&with(nth(12), 14, &[2]), "variable-length data have another size than such data have");
    refused(&with(nth(13), 6, &[4]), "variable-length data have another size than such data have");
    refused(&with(nth(14), 6, &[9]), "a complex number is not two numbers of half its size");
    refused(&with(nth(15), 3, &[0, 0]), "a compound has no members");
    refused(&with(nth(15), 18, &[9]), "a member leaves its compound");
    refused(&with(nth(15), 34, &[4]), "an array has another size than its elements together");
    refused(&with(nth(15), 30, &[33]), "an array has an impossible rank");
    refused(&with(nth(17), 70, b"r"), "two members of a compound have one name");
    refused(&with(nth(17), 78, &[7]), "members of a compound overlap");
    refused(&with(nth(0), 2, &[0x1f]), "a type has an unknown class");
    refused(&with(nth(0), 2, &[0x60]), "a type has an unknown version");
    refused(&with(nth(0), 6, &[0; 4]), "a type has no bytes");
}

/// Returns nested sequences of bytes.
fn nested(levels: usize) -> Vec<u8> {
    let mut encoded = bytes("0300");
    (1..levels).for_each(|_| encoded.extend(bytes("1900000010000000")));
    encoded.extend(bytes("100000000100000000000800"));
    encoded
}

#[test]
fn nesting_has_a_bound() {
    assert!(check_datatype(&nested(MAX_NESTING)).is_ok());
    refused(&nested(MAX_NESTING + 1), "its types are nested too deeply");
    refused(&nested(60_000), "its types are nested too deeply");
}

#[test]
fn lists_that_lead_astray_are_refused() {
    let list = |properties: &[&[u8]]| {
        let encoded = [b"\x00\x05", properties.concat().as_slice(), b"\0"].concat();
        check_property_list(&encoded, ListKind::Dataset)
    };
    assert_eq!(
        check_property_list(b"\x00\x09\0", ListKind::Dataset).unwrap_err(),
        "it is that of a list of another class"
    );
    let unknown =
        "it has a property that lists of its class do not have, or that only later versions of HDF5 know";
    assert_eq!(list(&[b"link info\0\x04\0\0\0\0"]), Err(unknown));
    assert_eq!(list(&[b"layout\0\x02\xff", &[1; 255 * 4]]), Err("a chunk has too many dimensions"));
    let page = |size: &[u8]| {
        let encoded = [b"\x00\x03file_space_page_size\0", size, b"\0"].concat();
        check_property_list(&encoded, ListKind::File)
    };
    assert_eq!((page(&[2, 0, 2]), page(&[0]).is_err(), page(&[2, 255, 1]).is_err()), (Ok(()), true, true));
    let sources = Err("a virtual layout has more sources than bytes");
    assert_eq!(list(&[b"layout\0\x03", &(1_u64 << 40).to_le_bytes()]), sources);
    let filter = |count: &[u8], name: &[u8], values: &[u8]| {
        list(&[b"pline\0\x04", count, b"\x01\0\0\0\0\0\0\0", name, values])
    };
    assert_eq!(filter(&[1, 1], &[0], &[1, 0]), Ok(()));
    let of_two = b"\x00\x05pline\0\x04\x01\x02\x03\0\0\0\x01\0\0\0\0\x01\x00\x40\0\0\0\0\0\0\0\0\x01\0\0";
    assert_eq!(listed_filters(of_two), Ok(vec![3, 64]));
    assert_eq!(listed_filters(b"\x00\x05\0"), Ok(vec![]));
    assert!(listed_filters(&of_two[..30]).is_err());
    assert_eq!(filter(&[1, 33], &[0], &[1, 0]), Err("it has more filters than are possible"));
    let named = |name: &[u8]| filter(&[1, 1], &[&[1], name].concat(), &[1, 0]);
    assert_eq!((named(b"fletcher32\0\0"), named(b"cut off here")), (Ok(()), Ok(())));
    assert_eq!(named(&[b'x'; 40]), Err("an integer has more than 8 bytes"));
    let endless = [b"\x00\x05pline\0\x04\x01\x01\x01\0\0\0\0\0\0\0\x01".as_slice(), &[b'x'; 12]].concat();
    assert_eq!(check_property_list(&endless, ListKind::Dataset), Err("a filter's name has no end"));
    assert_eq!(filter(&[1, 1], &[0], &[4, 255, 255, 255, 255]), Err("it is cut short"));
    assert_eq!(filter(&[255, 1], &[0], &[1, 0]), Err("an integer has more than 8 bytes"));
    let fill = |size: u64, value: &[u8], datatype: &str| {
        let encoded = bytes(datatype);
        let length = [1, encoded.len() as u8];
        list(&[b"fill_value\0\x02\x02", &size.to_le_bytes(), value, &length, &encoded])
    };
    let (int, string) = ("0300100800000400000000002000", "03001901010008000000100000000100000000000800");
    assert_eq!(fill(4, &[1; 4], int), Ok(()));
    assert_eq!(fill(2, &[1; 2], int), Err("a fill value has another size than its type"));
    assert_eq!(fill(8, &[1; 8], string), Err("a fill value holds pointers of the program that stored it"));
    assert_eq!(fill(u64::MAX >> 1, &[1; 8], int), Err("it is cut short"));
    let file = |length: u8| list(&[b"efl\0\x01\x01\x01", &[length], b"ab\0\x01\0\x01\0"]);
    assert_eq!((file(3), file(2).is_err(), file(0).is_err()), (Ok(()), true, true));
}

#[test]
fn selections_that_lead_astray_are_refused() {
    let space = |extent: &[u64], selection: &[&[u8]]| {
        let mut out = vec![1, 0, 8];
        out.extend((4 + 8 * extent.len() as u32).to_le_bytes());
        out.extend([2, extent.len() as u8, 0, u8::from(!extent.is_empty())]);
        extent.iter().for_each(|d| out.extend(d.to_le_bytes()));
        out.extend(selection.concat());
        check_dataspace(&out).map(drop)
    };
    let numbers = |n: &[u32]| n.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
    let long = |n: &[u64]| n.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
    let points = |rank: u32, count: u32| space(&[9], &[&numbers(&[1, 1, 0, 0, rank, count, 3])]);
    assert_eq!((points(1, 1), points(2, 1).is_err(), points(1, 2).is_err()), (Ok(()), true, true));
    let blocks = |first: u32, last: u32| space(&[9], &[&numbers(&[2, 1, 0, 0, 1, 1, first, last])]);
    assert_eq!((blocks(3, 4), blocks(4, 3).is_err()), (Ok(()), true));
    let regular = |slab: &[u64]| space(&[9], &[&numbers(&[2, 3]), &[1, 8], &numbers(&[1]), &long(slab)]);
    assert_eq!(regular(&[1, 2, 3, 1]), Ok(()));
    assert_eq!(regular(&[1, 2, u64::MAX, 1]), Ok(()));
    assert_eq!(regular(&[1, 0, 3, 1]), Err("blocks of a selection overlap"));
    assert_eq!(regular(&[1, 2, 3, 3]), Err("blocks of a selection overlap"));
    assert_eq!(regular(&[1, 1 << 60, 1 << 60, 1]), Err("a selection ends beyond all dimensions"));
    let too_many = Err("a dataspace has more elements than can be counted");
    assert_eq!(space(&[1 << 33, 1 << 33], &[&numbers(&[3, 1, 0, 0])]), too_many);
    assert_eq!(space(&[1; 33], &[&numbers(&[3, 1, 0, 0])]), Err("a dataspace has an impossible rank"));
    assert_eq!(
        space(&[], &[&numbers(&[2, 1, 0, 0, 0, 0])]),
        Err("a selection has another rank than its dataspace")
    );
}

#[test]
fn selections_of_one_block_are_read() {
    let numbers = |n: &[u32]| n.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
    let long = |n: &[u64]| n.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>();
    let space = |selection: &[&[u8]]| {
        let mut out = vec![1, 0, 8, 20, 0, 0, 0, 2, 2, 0, 1];
        out.extend(long(&[9, 100]));
        out.extend(selection.concat());
        simple_space(&out).unwrap().map(|space| {
            assert_eq!(space.dims, [9, 100]);
            space.selected
        })
    };
    let block =
        |start: [u64; 2], shape: [u64; 2]| Some(SimpleSelection::Block(start.to_vec(), shape.to_vec()));
    assert_eq!(space(&[&numbers(&[3, 1, 0, 0])]), Some(SimpleSelection::All));
    assert_eq!(space(&[&numbers(&[0, 1, 0, 0])]), None, "nothing");
    assert_eq!(space(&[&numbers(&[1, 1, 0, 0, 2, 1, 3, 4])]), None, "points");
    assert_eq!(space(&[&numbers(&[2, 1, 0, 0, 2, 1, 3, 4, 5, 9])]), block([3, 4], [3, 6]));
    assert_eq!(space(&[&numbers(&[2, 1, 0, 0, 2, 2, 0, 0, 1, 1, 5, 5, 6, 6])]), None, "two blocks");
    for head in [&[numbers(&[2, 2]), vec![1, 0, 0, 0, 0]].concat(), &[numbers(&[2, 3]), vec![1, 8]].concat()]
    {
        let regular = |slab: [u64; 8]| space(&[head, &numbers(&[2]), &long(&slab)]);
        assert_eq!(regular([1, 7, 1, 2, 5, 10, 3, 10]), block([1, 5], [2, 30]));
        assert_eq!(regular([1, 7, 2, 2, 5, 10, 3, 10]), None, "gaps");
        assert_eq!(regular([1, 7, u64::MAX, 2, 5, 1, 1, 10]), None, "without end");
        assert_eq!(regular([1, 7, 1, 0, 5, 1, 1, 10]), None, "empty");
    }
}

/// Returns a region reference (`H5Rencode` without its first two bytes): a token, and all of two dimensions.
fn region() -> Vec<u8> {
    bytes("080100000000000000100000000200000003000000010000000000000000000000")
}

#[test]
fn references_that_lead_astray_are_refused() {
    let sound = region();
    let found = check_reference(3, 0, &sound).unwrap();
    assert_eq!((found.token, found.is_external, found.rank), (&[1, 0, 0, 0, 0, 0, 0, 0][..], false, Some(2)));
    (0..region().len()).for_each(|n| assert!(check_reference(3, 0, &region()[..n]).is_err(), "{n}"));
    let rank = |rank: u32| check_reference(3, 0, &with(region(), 13, &rank.to_le_bytes())).map(|r| r.rank);
    assert_eq!((rank(32), rank(0)), (Ok(Some(32)), Ok(Some(0))));
    assert_eq!(rank(33), Err("a selection has an impossible rank"));
    assert_eq!(rank(1 << 31), Err("a selection has an impossible rank"));
    let long = with(region(), 9, &[17]);
    assert_eq!(check_reference(3, 0, &long), Err("it is cut short"));
    let short = with(region(), 9, &[15]);
    assert_eq!(check_reference(3, 0, &short), Err("it is cut short"));
    let token = |length: u8| check_reference(2, 0, &with(region(), 0, &[length])).map(drop);
    assert_eq!((token(8), token(16)), (Ok(()), Ok(())));
    assert_eq!(token(17), Err("an object's token has an impossible size"));
    let named = |kind: u8, flags: u8, length: u8| {
        check_reference(kind, flags, &[&[1, 7, length, 0], &b"name"[..]].concat()).map(drop)
    };
    for (kind, flags) in [(4, 0), (2, 1)] {
        assert_eq!((named(kind, flags, 4), named(kind, flags, 5)), (Ok(()), Err("it is cut short")));
    }
    assert_eq!(named(4, 1, 4), Err("it is cut short"), "a file and no attribute");
    for kind in [0, 1, 5, 255] {
        assert_eq!(check_reference(kind, 0, &region()), Err("it is of an unknown kind"));
    }
    assert!(is_whole_reference(2, 0) && !is_whole_reference(2, 1) && !is_whole_reference(3, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    /// Checks end for any bytes.
    #[test]
    fn checks_do_not_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let all: Vec<Vec<u8>> = each_type().map(|(encoded, _)| encoded).chain([list(), space(), region()]).collect();
        let mut encoded = all[which.index(all.len())].clone();
        for (at, byte) in changes {
            let at = at.index(encoded.len());
            encoded[at] = byte;
        }
        let _ = (check_datatype(&encoded), check_dataspace(&encoded), check_property_list(&encoded, ListKind::Dataset));
        let _ = simple_space(&encoded);
        for kind in 2..5 {
            let _ = check_reference(kind, which.index(2) as u8, &encoded);
        }
    }
}
