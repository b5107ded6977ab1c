//! What merges cost.

use super::many::{find, writers_that};
use super::*;

/// Objects that one deletes and the other links and unlinks, and links that both take away.
#[test]
fn each_link_of_a_batch_is_looked_at_a_few_times() {
    const OBJECTS: usize = 200;
    let p = memory();
    let [a, b] = writers_that(&p, OnConflict::Merge, |c| {
        let to = group(c, c.root(), b"to", CreationOrder::default());
        for n in 0..OBJECTS {
            let g = group(c, c.root(), format!("g{n}").as_bytes(), CreationOrder::default());
            c.link_create(to, format!("s{n}").as_bytes(), LinkTarget::Hard(g), CharSet::Utf8).unwrap();
            c.link_create(to, format!("t{n}").as_bytes(), LinkTarget::Hard(g), CharSet::Utf8).unwrap();
        }
    });
    let to = find(&a, b"to");
    for n in 0..OBJECTS {
        let name = |letter| format!("{letter}{n}");
        let target = LinkTarget::Hard(find(&b, name('g').as_bytes()));
        b.link_create(b.root(), name('n').as_bytes(), target, CharSet::Utf8).unwrap();
        b.link_delete(to, name('s').as_bytes()).unwrap();
        a.link_delete(a.root(), name('g').as_bytes()).unwrap();
        a.link_delete(to, name('s').as_bytes()).unwrap();
        a.link_delete(to, name('t').as_bytes()).unwrap();
    }
    a.flush().unwrap();
    assert_eq!(b.flush().unwrap_err().kind(), ErrorKind::Conflict);
    let looks = b.state().others.looks();
    assert!(looks > 0 && looks <= 8 * OBJECTS, "{looks} looks at {} links", 2 * OBJECTS);
}
