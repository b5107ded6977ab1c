//! Changes bytes in the values of a container's map, under correct checksums: `mutate FILE SEED LETTER [TEXT]` changes
//! one to four bytes of one entry with a key that begins with LETTER, at or after TEXT in its value if TEXT occurs there.
//! `mutate FILE SEED slots` makes the file a sparse file of terabytes, in which one pointer of the slots names most of
//! it. A reader of the container must then detect the fault without the help of checksums.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a tool for tests")]

use std::fs::File;
use std::os::unix::fs::FileExt;

use h5lake_ledger::checksum::seal;
use h5lake_ledger::{Access, Ledger, LockPolicy, Options};

/// The offsets of the slots and their copies, their first bytes and their length (docs/format.md, "Slot").
const SLOTS: [u64; 4] = [512, 768, 4096, 4352];
const SLOT_MAGIC: &[u8] = b"h5lS";
const SLOT_BYTES: usize = 152;
/// The offset in a slot of the container's end, and the offsets of its pointers: record, root, free list, history.
const END_AT: usize = 28;
const POINTERS_AT: [usize; 4] = [60, 80, 100, 120];
const FIRST_EXTENT: u64 = 4608;
const TIB: u64 = 1 << 40;

/// Pseudo-random numbers, which are always the same for one seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut n = self.0;
        n = (n ^ n >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        n = (n ^ n >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((n ^ n >> 31) % below.max(1) as u64) as usize
    }
}

fn changed(dice: &mut Dice, value: &[u8], from: usize) -> Vec<u8> {
    const ODD: [u8; 8] = [0, 1, 0x7f, 0x80, 0xff, 3, 16, 32];
    let mut out = value.to_vec();
    for _ in 0..=dice.roll(4) {
        let at = from + dice.roll(out.len() - from);
        out[at] = match dice.roll(3) {
            0 => ODD[dice.roll(ODD.len())],
            1 => out[at] ^ 1 << dice.roll(8),
            _ => dice.roll(256) as u8,
        };
    }
    out
}

fn find(value: &[u8], text: &[u8]) -> Option<usize> {
    value.windows(text.len().max(1)).position(|w| w == text)
}

/// Makes one pointer of each slot refer to terabytes, in a file that is that long.
fn lie(path: &str, dice: &mut Dice) {
    let file = File::options().read(true).write(true).open(path).expect("the file cannot be opened");
    let (pointer, length) = (POINTERS_AT[dice.roll(POINTERS_AT.len())], TIB * (1 + dice.roll(7) as u64));
    for at in SLOTS {
        let mut slot = vec![0; SLOT_BYTES - 4];
        file.read_exact_at(&mut slot, at).expect("the slots cannot be read");
        if !slot.starts_with(SLOT_MAGIC) {
            continue;
        }
        let numbers = [(END_AT, 8 * TIB), (pointer, FIRST_EXTENT), (pointer + 8, length)];
        for (at, n) in numbers {
            slot[at..at + 8].copy_from_slice(&n.to_le_bytes());
        }
        seal(&mut slot);
        file.write_all_at(&slot, at).expect("the slots cannot be written");
    }
    file.set_len(8 * TIB).expect("the file cannot be lengthened");
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, seed, letter, texts @ ..] = &arguments[..] else {
        eprintln!("usage: mutate FILE SEED LETTER [TEXT] | mutate FILE SEED slots");
        std::process::exit(2);
    };
    let mut dice = Dice(seed.parse().expect("SEED is a number"));
    if letter == "slots" {
        return lie(path, &mut dice);
    }
    let text = texts.first().map_or(&[][..], |t| t.as_bytes());
    let options = Options { lock: LockPolicy::Off, ..Options::default() };
    let l =
        Ledger::open_file(path.as_ref(), Access::ReadWrite, options).expect("the container cannot be opened");
    let all = l.scan_prefix(letter.as_bytes(), None, usize::MAX).expect("the container cannot be read");
    let fits = |value: &[u8]| !value.is_empty() && (text.is_empty() || find(value, text).is_some());
    let some: Vec<_> = all.into_iter().filter(|(_, value)| fits(value)).collect();
    if some.is_empty() {
        return;
    }
    let (key, value) = &some[dice.roll(some.len())];
    let from = if text.is_empty() { 0 } else { find(value, text).unwrap_or(0) };
    l.put(key, changed(&mut dice, value, from)).expect("the entry cannot be changed");
    l.commit().expect("the change cannot be committed");
    l.close().expect("the container cannot be closed");
}
