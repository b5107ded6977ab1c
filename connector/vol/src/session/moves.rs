//! Links that were moved while objects behind them were open. `H5Iget_name` follows them, as `H5G_name_replace` changes the names of open
//! objects; to search a container for an object costs a look at each of its links.

use std::collections::VecDeque;

use bytes::Bytes;

/// How many moves are kept. An object that was moved more often is searched for.
const MAX_MOVES: usize = 64;

/// The newest moves of links, the oldest first.
#[derive(Debug, Default)]
pub struct Moves(VecDeque<(Bytes, Bytes)>);

impl Moves {
    /// Takes in that a link went from one path to another.
    pub fn add(&mut self, from: Bytes, to: Bytes) {
        if self.0.len() == MAX_MOVES {
            self.0.pop_front();
        }
        self.0.push_back((from, to));
    }

    /// What a path has become, if a link on it was moved. The link may have been another one of the same path: the caller has to see
    /// where the new path leads.
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
