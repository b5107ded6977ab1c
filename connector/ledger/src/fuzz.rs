//! The decoders, for the fuzzing targets: whatever bytes they get, they end and do not panic.

use bytes::Bytes;

use crate::branches::{BranchRecord, branch_entry};
use crate::extent::Extent;
use crate::file::free_space::FreeSpace;
use crate::file::{space_delta, superblock};
use crate::history::History;
use crate::objects;
use crate::page::Page;
use crate::source::Source;
use crate::wal::record;

/// Decodes some bytes; the first one says as what.
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
        6 => objects::fuzz(body),
        _ => heads(body),
    }
}

fn page(body: &[u8]) {
    let Ok(page) = Page::decode(Bytes::copy_from_slice(body), 0) else { return };
    let key = &body[body.len() / 2..];
    // Before there is a list of the entries, and with it.
    for _ in 0..4 {
        let _ = page.find(key).map(|at| at.map(|at| page.stored(at)));
    }
    if let Ok(all) = page.entries() {
        (0..all.len()).for_each(|n| drop((all.key_bytes(n), all.stored(n), all.child(n))));
    }
}

fn changes(body: &[u8]) {
    let body = Bytes::copy_from_slice(body);
    let _ = objects::parse_log(&body);
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
