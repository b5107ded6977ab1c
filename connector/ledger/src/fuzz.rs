//! The decoders, for the fuzzing targets: they must return without a panic for any bytes.

use bytes::Bytes;

use crate::branches::{BranchRecord, branch_entry};
use crate::checksum::seal;
use crate::codec::Reader;
use crate::core::frame;
use crate::core::group::Member;
use crate::core::manifest::Manifest;
use crate::core::records::{Record, Segment};
use crate::core::references::decode_page;
use crate::extent::Extent;
use crate::file::free_space::FreeSpace;
use crate::file::{space_delta, superblock};
use crate::history::History;
use crate::journal::{JournalHeader, JournalPart};
use crate::page::Page;
use crate::source::Source;
use crate::wal::record;

/// Decodes bytes; the first byte selects the decoder.
pub fn decode(bytes: &[u8]) {
    let Some((which, body)) = bytes.split_first() else { return };
    match which {
        240 => return drop(Source::decode(body)),
        241 => return branches(body),
        _ => (),
    }
    match which % 8 {
        0 => page(body),
        1 => changes(body),
        2 => drop(Extent::decode(body)),
        3 => drop(History::decode(body, 0)),
        4 => drop(space_delta::decode_list(body, 0, 1 << 40)),
        5 => drop(space_delta::SpaceDelta::decode(body).map(|n| n.replay(&mut FreeSpace::new(1 << 20), 5))),
        6 => stored(body),
        _ => heads(body),
    }
}

fn page(body: &[u8]) {
    let Ok(page) = Page::decode(Bytes::copy_from_slice(body), 0) else { return };
    let key = &body[body.len() / 2..];
    // The first searches walk over the page, the later ones use the list of its entries.
    for _ in 0..4 {
        let _ = page.find(key).map(|at| at.map(|at| page.stored(at)));
    }
    if let Ok(all) = page.entries() {
        (0..all.len()).for_each(|n| drop((all.key_bytes(n), all.stored(n), all.child(n))));
    }
}

fn changes(body: &[u8]) {
    let body = Bytes::copy_from_slice(body);
    let Ok(record) = record::decode(&body) else { return };
    for (_, stored) in record.changes().unwrap_or_default() {
        let _ = stored.over(Some(&Bytes::from_static(b"the value before, which has some bytes")));
    }
    let _ = space_delta::SpaceDelta::decode(&record.notes);
}

fn branches(body: &[u8]) {
    let _ = BranchRecord::decode(body);
    let (key, entry) = body.split_at(body.len() / 2);
    let _ = branch_entry(key, &Bytes::copy_from_slice(entry));
}

fn heads(body: &[u8]) {
    let _ = superblock::Fixed::decode(body, "fuzz");
    let _ = superblock::whole(body);
    let _ = superblock::decode_note(body);
}

/// Decodes the structures of a container in a store.
pub(crate) fn stored(body: &[u8]) {
    // The bytes follow the fixed part of a head object, which ends with its checksum.
    let mut head = Manifest::absent().encode();
    head.truncate(64);
    head.extend_from_slice(body);
    seal(&mut head);
    let _ = Manifest::decode(&head);
    let framed = |magic| {
        let mut out = frame::begin(magic);
        out.extend_from_slice(body);
        let crc = frame::end(&mut out);
        (out, crc)
    };
    let _ = Segment::decode(&framed(b"h5lG").0);
    let _ = Member::decode(&framed(b"h5lQ").0);
    let (bytes, crc) = framed(b"h5lN");
    let _ = decode_page(&bytes, crc);
    let _ = Record::read(&mut Reader::new(body));
    for magic in [b"h5lC", b"h5lE"] {
        let mut sealed = [magic.as_slice(), &[1], body].concat();
        seal(&mut sealed);
        let _ = JournalHeader::decode(&sealed);
        let _ = JournalPart::decode(&sealed);
    }
}
