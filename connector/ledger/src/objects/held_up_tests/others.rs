//! Commits in doubt, checkpoints and records that come late.

use bytes::Bytes;

use super::*;

/// One that checkpoints is held up before its head arrives, for 8 s of 10 s in memory: 8 minutes of 10 elsewhere.
#[test]
fn numbers_are_given_once_beside_a_checkpoint_that_is_held_up() {
    let w = World::new();
    let held = World::hooked(&w.store, false);
    let slow = Ledger::open_objects(held.clone(), KEY, Access::ReadWrite, options(0)).unwrap();
    while slow.version() < 7 {
        commits(&slow, 1);
    }
    let batch = Arc::new(w.writer(0));
    let third = w.writer(0);
    let (again, from) = (batch.clone(), wrong::BY.get());
    *held.before_head_put.lock() = Some(Box::new(move || {
        for (n, seconds) in [4, 8].into_iter().enumerate() {
            wrong::BY.set(from + seconds * SECOND);
            assert_eq!(again.take_numbers(b"n", 10, 1).unwrap(), 1 + 10 * n as u64);
        }
    }));
    commits(&slow, 1);
    wrong::BY.set(from + 10 * SECOND + SECOND / 2);
    commits(&third, 8);
    wrong::BY.set(from + 11 * SECOND);
    let done = batch.take_numbers(b"n", 10, 1);
    if let Ok(first) = done {
        assert_eq!(first, 21);
    }
}

/// A commit in doubt; the head is looked at before it is settled.
#[test]
fn a_commit_in_doubt_is_settled_after_a_look() {
    let w = World::new();
    let (slow, busy) = (w.writer(0), w.writer(0));
    slow.put(b"slow", "x").unwrap();
    *w.hooked.lose_record.lock() = 1;
    slow.commit().unwrap_err();
    commits(&busy, 16);
    wrong::BY.set(9 * SECOND);
    slow.has_unseen_commits().unwrap();
    wrong::BY.set(12 * SECOND);
    commits(&busy, 16);
    wrong::BY.set(13 * SECOND);
    let done = slow.commit();
    is_told(&w, b"slow", done);
}

/// What a held up writer left under a number that was deleted is news to another one. Its record comes after two pauses of so many
/// seconds, each with commits behind it.
fn beside_a_record_that_comes_after(pauses: [i64; 2]) {
    let w = World::new();
    let (held, idle, busy) = (w.writer(0), w.writer(0), w.writer(0));
    while busy.version() % 8 != 7 {
        commits(&busy, 1);
    }
    held.advance(&|_| false).unwrap();
    idle.advance(&|_| false).unwrap();
    held.put(b"held", "x").unwrap();
    let given = Arc::new(Mutex::new(0));
    let to = given.clone();
    *w.hooked.before_record.lock() = Some(Box::new(move || {
        *to.lock() = busy.take_numbers(b"n", 10, 1).unwrap();
        busy.advance(&|_| false).unwrap();
        // A number's record makes no checkpoint: look for a base of version 8 by other means.
        busy.vacuum().unwrap_err();
        busy.give_back().unwrap();
        wrong::BY.set(wrong::BY.get() + pauses[0] * SECOND);
        commits(&busy, 8);
        wrong::BY.set(wrong::BY.get() + pauses[1] * SECOND);
        commits(&busy, 8);
    }));
    let _told = held.commit();
    let again = idle.take_numbers(b"n", 10, 1);
    if let Ok(again) = again {
        assert_eq!(again, *given.lock() + 10);
    }
}

#[test]
fn numbers_are_given_once_beside_a_record_that_came_late() {
    beside_a_record_that_comes_after([6, 5]);
}

#[test]
fn numbers_are_given_once_beside_a_record_that_came_very_late() {
    beside_a_record_that_comes_after([12, 11]);
}

/// A commit that was in time, and of which the head could not be asked at once.
#[test]
fn a_commit_that_was_in_time_is_not_told_to_be_held_up() {
    let w = World::new();
    let (slow, busy) = (w.writer(3600), w.writer(3600));
    slow.put(b"slow", "x").unwrap();
    let hooked = w.hooked.clone();
    *w.hooked.before_record.lock() = Some(Box::new(move || *hooked.lose_head_get.lock() = 3));
    slow.commit().unwrap_err();
    *w.hooked.lose_head_get.lock() = 0;
    commits(&busy, 20);
    wrong::BY.set(11 * SECOND);
    let done = slow.commit();
    assert!(done.is_ok());
}

/// A commit in a group whose wait ended without an answer; the head is looked at before it is settled.
#[test]
fn a_commit_of_a_group_in_doubt_is_settled_after_a_look() {
    let w = World::new();
    let (slow, busy) = (w.writer(0), w.writer(0));
    slow.put(b"slow", "x").unwrap();
    *w.hooked.lose_record.lock() = 1;
    slow.commit_in_group(&[Bytes::from_static(b"slow")], &|_| false).unwrap_err();
    commits(&busy, 16);
    wrong::BY.set(9 * SECOND);
    slow.has_unseen_commits().unwrap();
    wrong::BY.set(12 * SECOND);
    commits(&busy, 16);
    wrong::BY.set(13 * SECOND);
    let done = slow.commit();
    is_told(&w, b"slow", done);
}

/// Its record did not arrive, and a vacuum took its payload before it is settled.
#[test]
fn a_commit_in_doubt_for_days_is_not_made_without_its_payload() {
    let w = World::new();
    let slow = w.writer(3600);
    let mut value = Vec::new();
    slow.write_payload(&vec![7; 300_000]).unwrap().encode(&mut value);
    slow.send_payloads().unwrap();
    slow.put(b"slow", value).unwrap();
    *w.hooked.lose_record.lock() = 1;
    slow.commit().unwrap_err();
    w.delete_packs();
    wrong::BY.set(30 * HOUR);
    let done = slow.commit();
    assert!(done.is_err());
}
