//! Links that were moved while objects behind them were open. `H5Iget_name` follows the moves, as `H5G_name_replace`
//! changes the names of open objects; searching a container for an object has to read each of its links.

use std::collections::VecDeque;

use bytes::Bytes;

/// The number of moves that are remembered. An object that was moved more often is searched for.
const MAX_MOVES: usize = 64;

/// The newest moves of links, the oldest first.
#[derive(Debug, Default)]
pub struct Moves(VecDeque<(Bytes, Bytes)>);

impl Moves {
    /// Notes that a link was moved from one path to another.
    pub fn add(&mut self, from: Bytes, to: Bytes) {
        if self.0.len() == MAX_MOVES {
            self.0.pop_front();
        }
        self.0.push_back((from, to));
    }

    /// Returns the new path after the moves of links on it, if there were any. The moved link may have been another
    /// link that had the same path: the caller has to check where the new path leads.
    pub fn applied_to(&self, path: &Bytes) -> Option<Bytes> {
        let moved = self.0.iter().fold(path.clone(), |path, (from, to)| match path.strip_prefix(&from[..]) {
            Some([]) => to.clone(),
            Some(rest @ [b'/', ..]) => [&to[..], rest].concat().into(),
            _ => path,
        });
        (moved != *path).then_some(moved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_follows_the_moves_of_its_links() {
        let mut moves = Moves::default();
        let path = Bytes::from_static(b"/a/b/c");
        assert_eq!(moves.applied_to(&path), None);
        for (from, to) in [("/a", "/x"), ("/x/b", "/y"), ("/y/", "/no"), ("/y/cc", "/no")] {
            moves.add(from.into(), to.into());
        }
        assert_eq!(moves.applied_to(&path).unwrap(), "/y/c");
        assert_eq!(moves.applied_to(&Bytes::from_static(b"/a")).unwrap(), "/x");
        assert_eq!(moves.applied_to(&Bytes::from_static(b"/ab")), None);
        for _ in 0..MAX_MOVES {
            moves.add("/1".into(), "/2".into());
        }
        assert_eq!(moves.applied_to(&path), None, "they are bounded");
    }
}
