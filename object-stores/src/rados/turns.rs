//! Turns of long reads, and the buffers that they use one after another.
//!
//! librados holds what comes, and the store a copy of it. A memory page that is used for the first time costs as much as copying
//! it. So few long reads are under way, and each takes the buffer of one that is done.

use std::ops::{Deref, DerefMut};

use parking_lot::{Condvar, Mutex};

/// Long reads that are under way at the same time: `rados bench` has as many.
const MAX_LONG_READS: usize = 8;
/// Shorter reads need no turn.
pub(super) const MIN_LONG_BYTES: usize = 1 << 20;

#[derive(Debug, Default)]
struct State {
    busy: usize,
    idle: Vec<Vec<u8>>,
}

/// The turns of one process.
#[derive(Debug, Default)]
pub(super) struct Turns {
    state: Mutex<State>,
    ready: Condvar,
}

/// A turn, with a buffer whose content is anything. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    buffer: Vec<u8>,
    length: usize,
}

impl Turns {
    /// Waits for a turn. Each of those under way has the time bound of its own operation.
    pub(super) fn take(&self, length: usize) -> Turn<'_> {
        let mut state = self.state.lock();
        while state.busy >= MAX_LONG_READS {
            self.ready.wait(&mut state);
        }
        state.busy += 1;
        let buffer = state.idle.pop().unwrap_or_default();
        drop(state);
        // From here on dropping it ends the turn.
        let mut turn = Turn { turns: self, buffer, length };
        if turn.buffer.len() < length {
            turn.buffer = vec![0; length];
        }
        turn
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.turns.state.lock();
        state.busy -= 1;
        state.idle.push(std::mem::take(&mut self.buffer));
        // Nobody reads: no memory is kept.
        let unused = if state.busy == 0 { std::mem::take(&mut state.idle) } else { Vec::new() };
        drop(state);
        drop(unused);
        self.turns.ready.notify_one();
    }
}

impl Deref for Turn<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn turns_are_few_and_leave_no_memory() {
        let (turns, at_once, most) = (Turns::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for n in 0..4 * MAX_LONG_READS {
                let (turns, at_once, most) = (&turns, &at_once, &most);
                scope.spawn(move || {
                    let mut turn = turns.take(100 + n);
                    most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    assert_eq!(turn.len(), 100 + n);
                    turn.fill(n as u8);
                    std::thread::yield_now();
                    assert!(turn.iter().all(|byte| *byte == n as u8));
                    at_once.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert!((1..=MAX_LONG_READS).contains(&most.into_inner()));
        let state = turns.state.lock();
        assert_eq!((state.busy, state.idle.len()), (0, 0));
    }
}
