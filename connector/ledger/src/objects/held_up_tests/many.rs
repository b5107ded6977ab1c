//! Many writers, one of which is behind.

use super::*;
use crate::error::ErrorKind;

#[test]
fn a_commit_over_records_that_another_writer_keeps_for_no_time_is_there() {
    let w = World::new();
    let (slow, fast) = (w.writer(3600), w.writer(0));
    commits(&fast, 30);
    slow.put(b"slow", "x").unwrap();
    let done = slow.commit();
    assert!(is_told(&w, b"slow", done), "records stay for the usual time");
    commits(&slow, 1);
}

#[test]
fn what_a_writer_asked_for_outlasts_the_heads_of_others() {
    let w = World::new();
    let (asked, other) = (w.writer(3600), w.writer(0));
    commits(&other, 20);
    commits(&asked, 100);
    let head = w.store.get(&Key::new(KEY).unwrap(), None).unwrap().bytes;
    assert_eq!(crate::objects::manifest::Head::decode(&head, KEY).unwrap().retention, 3_600_000);
}

#[test]
fn a_commit_of_who_was_idle_for_long_is_there_or_told() {
    let w = World::new();
    let (idle, busy) = (w.writer(0), w.writer(0));
    idle.put(b"idle", "x").unwrap();
    commit_and_reclaim(&busy);
    let done = idle.try_commit().map(|done| done.unwrap_or(0));
    match done {
        Ok(0) => assert!(idle.commit().is_err() || w.value(b"idle").is_some()),
        done => assert!(!is_told(&w, b"idle", done)),
    }
}

#[test]
fn numbers_are_given_once_to_who_was_idle_for_long() {
    for looks_first in [false, true] {
        let w = World::new();
        let (idle, busy) = (w.writer(0), w.writer(0));
        assert_eq!(idle.take_numbers(b"n", 10, 1).unwrap(), 1);
        if looks_first {
            commits(&busy, 1);
            assert!(idle.has_unseen_commits().unwrap());
        }
        assert_eq!(busy.take_numbers(b"n", 10, 1).unwrap(), 11);
        commit_and_reclaim(&busy);
        match idle.take_numbers(b"n", 10, 1) {
            Ok(first) => assert_eq!(first, 21),
            Err(e) => assert!(matches!(e.kind(), ErrorKind::Gone), "{e}"),
        }
    }
}

/// It looks from time to time, while others commit and reclaim all the time.
#[test]
fn numbers_are_given_once_to_a_long_batch() {
    let w = World::new();
    let (batch, busy) = (w.writer(600), w.writer(600));
    batch.put(b"staged", "x").unwrap();
    let mut next = 1;
    for _ in 0..30 {
        wrong::BY.set(wrong::BY.get() + 4 * SECOND);
        assert_eq!(batch.take_numbers(b"n", 10, 1).unwrap(), next);
        commits(&busy, 9);
        assert_eq!(busy.take_numbers(b"n", 10, 1).unwrap(), next + 10);
        next += 20;
    }
    assert!(is_told(&w, b"staged", batch.commit()));
    assert_eq!(batch.get(b"n").unwrap().unwrap()[..], next.to_be_bytes());
}

#[test]
fn a_commit_that_is_held_up_between_look_and_record_is_there_or_told() {
    for numbers in [false, true] {
        let w = World::new();
        let (slow, other) = (w.writer(0), w.writer(0));
        slow.put(b"slow", "x").unwrap();
        *w.hooked.before_record.lock() = Some(Box::new(move || commit_and_reclaim(&other)));
        match numbers {
            true => assert!(slow.take_numbers(b"n", 1, 1).is_err()),
            false => assert!(!is_told(&w, b"slow", slow.commit()), "its record was reclaimed"),
        }
        let e = slow.put(b"slow", "y").unwrap_err();
        assert!(matches!(e.kind(), ErrorKind::Broken { why } if why.contains("held up")), "{e}");
    }
}

#[test]
fn who_has_not_flushed_for_days_is_told_that_a_vacuum_took_what_it_put() {
    let w = World::new();
    let slow = w.writer(3600);
    let mut value = Vec::new();
    slow.write_payload(&vec![7; 300_000]).unwrap().encode(&mut value);
    slow.send_payloads().unwrap();
    slow.put(b"slow", value).unwrap();
    w.delete_packs();
    wrong::BY.set(30 * HOUR);
    let e = slow.commit().unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::Broken { why } if why.contains("vacuum")), "{e}");
    assert_eq!(w.value(b"slow"), None);
}

/// A vacuum that begins from then on finds it young.
#[test]
fn what_was_put_long_ago_is_put_anew_before_it_is_committed() {
    for in_group in [false, true] {
        let w = World::new();
        let slow = w.writer(3600);
        w.stage_old_payload(&slow);
        wrong::BY.set(13 * HOUR);
        if in_group {
            slow.commit_in_group(&[], &|_| false).unwrap().expect("nobody else commits");
        } else {
            slow.commit().unwrap();
        }
        assert!(w.hooked.old.lock().is_empty());
        w.check_payload();
    }
}

/// What a queued commit says of room stays with it, whatever fails while it waits: a vacuum deletes packs that no version tells of.
#[test]
fn a_commit_that_could_not_be_settled_in_a_group_keeps_its_room() {
    let w = World::new();
    let slow = w.writer(3600);
    let payload = slow.write_payload(&vec![7; 300_000]).unwrap();
    let mut value = Vec::new();
    payload.encode(&mut value);
    slow.send_payloads().unwrap();
    slow.put(b"slow", value).unwrap();
    wrong::BY.set(13 * HOUR);
    // The first look is before the commit is queued.
    *w.hooked.lose_pack_look.lock() = Some(1);
    let e = slow.commit_in_group(&[], &|_| false).unwrap_err();
    assert!(matches!(e.kind(), ErrorKind::Store { .. }), "{e}");
    assert_eq!(*w.hooked.lose_pack_look.lock(), None);
    slow.commit().unwrap();
    assert!(w.value(b"slow").is_some());
    commits(&slow, 1);
    let l = Ledger::open_objects(w.store.clone(), KEY, Access::ReadWrite, alone(3600)).unwrap();
    l.storage().free_payload(payload.place()).expect("its room is known");
}

/// The queue takes no long commits. One that is overtaken all the time gets in all the same.
#[test]
fn a_commit_that_is_too_long_for_the_queue_goes_alone() {
    let w = World::new();
    let long = w.writer(3600);
    for n in 0..6 {
        long.put(&[b'l', n], vec![n; 200_000]).unwrap();
    }
    assert!(long.commit_in_group(&[], &|_| false).unwrap().is_some());
    assert_eq!(w.value(b"l\x05").unwrap(), vec![5; 200_000]);
    commits(&long, 1);
}
