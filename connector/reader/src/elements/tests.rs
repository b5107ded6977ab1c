//! Tests with arbitrary bytes as types and values, which have to be decoded or rejected.

use std::sync::Arc;

use h5lake_container::{Container, FileCreation, InlineHeap, Options, Replace, Target};

use super::value::{Decoder, Item, plain};
use super::{ReferenceKind, Type, parse};
use crate::walk::Paths;

/// Returns a datatype message, which follows the first two bytes of an encoded type.
fn message(class: u8, version: u8, flags: u32, size: u32, properties: &[u8]) -> Vec<u8> {
    let mut made = vec![version << 4 | class];
    made.extend_from_slice(&flags.to_le_bytes()[..3]);
    made.extend_from_slice(&size.to_le_bytes());
    made.extend_from_slice(properties);
    made
}

fn encoded(message: &[u8]) -> Vec<u8> {
    [&[3, 0][..], message].concat()
}

fn integer(size: u32, flags: u32) -> Vec<u8> {
    message(0, 1, flags, size, &[0, 0, 8 * size as u8, 0])
}

/// Returns a compound of version 3 with a number, a variable-length string, and an array of references.
fn compound() -> Vec<u8> {
    let text = message(9, 1, 1, 16, &integer(1, 0));
    let references = message(10, 3, 0, 16, &[&[1, 2, 0, 0, 0][..], &message(7, 1, 0, 8, &[])].concat());
    let members = [&b"n\0\0"[..], &integer(4, 9), b"text\0\x04", &text, b"refs\0\x14", &references];
    message(6, 3, 3, 36, &members.concat())
}

fn container() -> (tempfile::TempDir, Arc<Container>) {
    let dir = tempfile::tempdir().unwrap();
    let target = Target::File(dir.path().join("a.h5"));
    let made = Container::create(&target, Replace::Never, FileCreation::default(), Options::default());
    (dir, made.unwrap())
}

#[test]
fn members_move_by_the_growth_of_earlier_members() {
    let made = parse(&encoded(&compound())).unwrap();
    let Type::Compound { size, members, .. } = &made else { panic!("{made}") };
    let offsets: Vec<_> = members.iter().map(|member| (&*member.name, member.offset)).collect();
    assert_eq!((offsets, *size), (vec![("n", 0), ("text", 4), ("refs", 24)], 40));
    assert_eq!(made.to_string(), "compound {n: int32 BE, text: string, refs: array[2] object reference}");
    assert!(!made.is_self_contained());
}

#[test]
fn numbers_of_every_width_and_order_are_read() {
    let of = |size, flags| parse(&encoded(&integer(size, flags))).unwrap();
    assert_eq!(plain(&of(2, 8), &[0xfe, 0xff]), Item::Integer(-2));
    assert_eq!(plain(&of(2, 9), &[0xff, 0xfe]), Item::Integer(-2));
    assert_eq!(plain(&of(3, 0), &[1, 0, 2]), Item::Integer(0x02_0001));
    assert_eq!(plain(&of(16, 8), &[0xff; 16]), Item::Integer(-1));
    assert_eq!(plain(&of(16, 0), &[0xff; 16]), Item::Bits(u128::MAX));
    assert_eq!(plain(&of(17, 8), &[7; 17]), Item::Bytes(vec![7; 17]));
    // The integer is signed and consists of bits 4 to 11.
    let part = parse(&encoded(&message(0, 1, 8, 2, &[4, 0, 8, 0]))).unwrap();
    assert_eq!(plain(&part, &0x0f80_u16.to_le_bytes()), Item::Integer(-8));
    let half = parse(&encoded(&message(1, 1, 0x0f20, 2, &[0, 0, 16, 0, 10, 5, 0, 10, 15, 0, 0, 0]))).unwrap();
    let read = |bits: u16| plain(&half, &bits.to_le_bytes());
    assert_eq!(
        [read(0x3c00), read(0xc000), read(1)],
        [Item::Single(1.0), Item::Single(-2.0), Item::Single(2_f32.powi(-24))]
    );
    assert_eq!(read(0xfc00), Item::Single(f32::NEG_INFINITY));
}

#[test]
fn any_bytes_are_read_or_refused() {
    let (_dir, c) = container();
    let mut paths = Paths::default();
    let kinds = [compound(), message(9, 1, 0, 16, &compound()), message(7, 3, 0x12, 64, &[])];
    let mut seed = 1_u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize
    };
    let (mut read, mut refused) = (0, 0);
    for n in 0..60_000 {
        let mut bytes = encoded(&kinds[n % kinds.len()]);
        for _ in 0..random() % 4 {
            let at = random() % bytes.len();
            bytes[at] = random() as u8;
        }
        let Ok(of) = parse(&bytes) else {
            refused += 1;
            continue;
        };
        assert!(of.to_string().len() < 1 << 20 && of.json().is_object());
        let size = of.size().min(1 << 12);
        let element: Vec<u8> =
            (0..size).map(|_| if random() % 3 == 0 { random() as u8 } else { 0 }).collect();
        let heap = InlineHeap::new(vec![random() as u8; 200].into());
        if let Ok(item) = Decoder::new(&c, heap, &mut paths).decode(&of, &element) {
            let _shown = (item.text(), item.json());
            read += 1;
        }
    }
    assert!(read > 300 && refused > 1000, "{read} {refused}");
}

/// Decodes nested sequences that all name one blob, which contains references to itself. The decoding is finite only because of the bound.
#[test]
fn an_element_comes_to_no_more_than_its_bound() {
    let (_dir, c) = container();
    let mut heap = InlineHeap::default();
    let mut of = Type::Integer {
        bits: super::Bits { order: super::ByteOrder::Little, size: 1, offset: 0, precision: 8 },
        signed: false,
    };
    for _ in 0..20 {
        of = Type::Sequence(Box::new(of));
    }
    // The blob contains 50 elements of 20 bytes, and each of them names the blob.
    let mut id = [0; 16];
    id[..8].copy_from_slice(&(1_u64 << 63).to_be_bytes());
    id[8..].copy_from_slice(&1000_u64.to_be_bytes());
    let element = [&50_u32.to_le_bytes()[..], &id].concat();
    heap.put(&element.repeat(50));
    let error =
        Decoder::new(&c, heap, &mut Paths::default()).bounded(1 << 22).decode(&of, &element).unwrap_err();
    assert!(error.to_string().contains("more than"), "{error}");
}

#[test]
fn references_that_lead_nowhere_show_their_token() {
    let (_dir, c) = container();
    let mut paths = Paths::default();
    let mut decoder = Decoder::new(&c, InlineHeap::default(), &mut paths);
    let of = Type::Reference(ReferenceKind::Object);
    assert_eq!(decoder.decode(&of, &[0; 8]).unwrap().text(), "NULL");
    assert_eq!(decoder.decode(&of, &c.root().0.to_le_bytes()).unwrap().text(), "</>");
    assert_eq!(decoder.decode(&of, &77_u64.to_le_bytes()).unwrap().text(), "<0x4d>");
}
