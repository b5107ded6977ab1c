//! Many sessions with few changes: the number of bytes that each open reads and each session writes does not grow with the
//! number of sessions.

use crate::file::free_space::{ALLOC_UNIT, FreeRuns, FreeSpace, PendingFree};
use crate::file::sim_file::SimFile;
use crate::file::superblock::DATA;
use crate::ledger::Ledger;
use crate::options::{Access, Options};
use crate::work::data;

/// A chunk of a page that is filled step by step; when it is full, it starts again empty.
fn chunk(n: u64) -> Vec<u8> {
    let mut chunk = vec![0; 4096];
    let filled = n as usize % 256 * 16;
    chunk[..filled].copy_from_slice(&data(3, 4096)[..filled]);
    chunk
}

fn session(f: &SimFile, n: u64) {
    let l = f.open(Access::ReadWrite, &Options::default()).unwrap();
    if n > 0 {
        assert_eq!(l.get(b"chunk").unwrap().unwrap(), chunk(n - 1));
    }
    l.put(b"chunk", chunk(n)).unwrap();
    l.put(format!("key {}", n % 7).as_bytes(), n.to_le_bytes().to_vec()).unwrap();
    l.commit().unwrap();
    l.close().unwrap();
}

/// Returns the reads and the written bytes of sessions.
fn cost(f: &SimFile, sessions: std::ops::Range<u64>) -> (u64, u64) {
    let count = sessions.end - sessions.start;
    f.take_counts();
    sessions.for_each(|n| session(f, n));
    let counts = f.take_counts();
    (counts.reads / count, counts.written_bytes / count)
}

#[test]
fn sessions_cost_the_same_however_many_there_were() {
    let f = SimFile::container();
    // Holes of many lengths, as after long use.
    let l: Ledger = f.open(Access::ReadWrite, &Options::default()).unwrap();
    let payloads: Vec<_> = (0..400).map(|n| l.write_payload(&data(n, 64 + n * 13 % 700)).unwrap()).collect();
    l.put(b"held", payloads.iter().step_by(2).flat_map(|e| e.to_bytes()).collect::<Vec<u8>>()).unwrap();
    l.commit().unwrap();
    payloads.iter().skip(1).step_by(2).for_each(|e| l.free_payload(e).unwrap());
    l.commit().unwrap();
    l.close().unwrap();
    (0..256).for_each(|n| session(&f, n));
    let early = cost(&f, 256..512);
    (512..2816).for_each(|n| session(&f, n));
    let late = cost(&f, 2816..3072);
    assert!(late.0 <= early.0 + 4 && late.0 <= 24, "reads a session: {early:?}, then {late:?}");
    assert!(late.1 <= early.1 * 5 / 4 && late.1 < 2500, "bytes a session: {early:?}, then {late:?}");
}

#[test]
fn records_lie_side_by_side_where_there_is_space() {
    let mut f = FreeSpace::new(DATA);
    let a = f.extend(64 << 10).unwrap();
    f.runs.add(a + 64, 128).unwrap();
    f.runs.add(a + 4096, 16 << 10).unwrap();
    assert_eq!(
        f.take_for_record(96, None, u64::MAX),
        Some(a + 4096),
        "not the hole that it would fill alone"
    );
    assert_eq!(f.take_for_record(96, Some(a + 4192), u64::MAX), Some(a + 4192));
    assert_eq!(
        f.take_for_record(96, Some(a + 2048), u64::MAX),
        Some(a + 4288),
        "what is in use is not taken"
    );
    assert_eq!(f.take_for_record(64, Some(a + 64), u64::MAX), Some(a + 64));
    assert_eq!(f.take_for_record(20 << 10, Some(a + 4384), u64::MAX), None);
    assert_eq!(f.free_bytes(), (16 << 10) + 128 - 3 * 96 - 64);
}

#[test]
fn a_list_is_taken_as_a_whole_only_if_its_runs_are_disjoint() {
    let unit = ALLOC_UNIT;
    let runs =
        FreeRuns::ascending(&[(DATA, unit), (DATA + unit, unit), (DATA + 4 * unit, 2 * unit)]).unwrap();
    assert_eq!(runs.iter().collect::<Vec<_>>(), [(DATA, 2 * unit), (DATA + 4 * unit, 2 * unit)]);
    assert!(FreeRuns::ascending(&[(DATA, 2 * unit), (DATA + unit, unit)]).is_err());
    let run = |offset, length| PendingFree::new((offset, length), 4, 0);
    let with = |quarantined: Vec<PendingFree>| {
        let listed = FreeSpace::listed(DATA + 20 * unit, &[(DATA + 4 * unit, 2 * unit)], quarantined);
        listed.map(|f| (f.quarantine_state().0, f.in_use(DATA + 7 * unit, unit)))
    };
    assert_eq!(with(vec![run(DATA + unit, 3 * unit), run(DATA + 7 * unit, unit)]), Ok((4 * unit, false)));
    for (offset, length) in [(3, 2), (4, 1), (5, 3), (2, 9)] {
        assert!(with(vec![run(DATA + offset * unit, length * unit)]).is_err(), "{offset}, {length}");
    }
    assert!(with(vec![run(DATA, 2 * unit), run(DATA + unit, unit)]).is_err());
}
