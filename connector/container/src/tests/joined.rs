//! Groups that several writers create under one name.

use super::many::{all, check, chunked, conflict, find, open, there, writers, writers_that};
use super::*;

fn make(c: &Arc<Container>, path: &[u8]) -> ObjectId {
    let spec = GroupSpec::default();
    match c.resolve_parent(c.root(), path, Some(&spec), 16).unwrap() {
        Parent::In { group: above, name } => group(c, above, &name, CreationOrder::default()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn groups_of_one_name_are_joined_with_all_entries() {
    for p in places() {
        let [a, b, c] = writers(&p, |_| ());
        for (n, w) in [&a, &b, &c].into_iter().enumerate() {
            let n = n as u8;
            let deep = make(w, b"runs/day/night");
            group(w, deep, &[b'o', b'0' + n], CreationOrder::default());
            let runs = find(w, b"runs");
            group(w, runs, &[b'r', b'0' + n], CreationOrder::default());
            w.attr_create(runs, &[b'a', b'0' + n], attr_spec(1, 5000)).unwrap().write(&[n; 5000]).unwrap();
            w.attr_create(deep, b"same", attr_spec(1, 1)).unwrap().write(&[9]).unwrap();
            let d = dataset(w, &[b'd', b'0' + n], chunked(100, 10, true));
            d.write(&Selection::All, &[n + 1; 400]).unwrap();
            let link = LinkTarget::Hard(d.object().id());
            w.link_create(deep, &[b'd', b'0' + n], link, CharSet::Utf8).unwrap();
        }
        for w in [&a, &b, &c] {
            w.flush().unwrap();
        }
        assert!(a.refresh().unwrap() && there(&a, b"runs/day/night/o2"));
        drop((a, b, c));
        let c = check(&p);
        for n in 0..3u8 {
            for path in [format!("runs/r{n}"), format!("runs/day/night/o{n}")] {
                assert!(there(&c, path.as_bytes()), "{path}");
            }
            let a = c.attr_open(find(&c, b"runs"), &[b'a', b'0' + n]).unwrap();
            assert_eq!(a.read().unwrap(), vec![n; 5000]);
            assert_eq!(all(&open(&c, format!("runs/day/night/d{n}").as_bytes())), [n + 1; 400]);
        }
        let night = find(&c, b"runs/day/night");
        assert_eq!(c.attr_open(night, b"same").unwrap().read().unwrap(), vec![9]);
        assert_eq!(c.group_info(night).unwrap().link_count, 6);
    }
}

#[test]
fn an_open_group_refers_to_the_joined_group() {
    for p in places() {
        let [a, b] = writers(&p, |_| ());
        make(&a, b"g");
        let open_b = b.open_object(make(&b, b"g")).unwrap();
        let mine = open_b.id();
        let attribute = b.attr_create(mine, b"x", attr_spec(1, 2)).unwrap();
        a.flush().unwrap();
        b.flush().unwrap();
        let theirs = find(&a, b"g");
        assert_eq!((open_b.id(), find(&b, b"g")), (theirs, theirs));
        assert_ne!(mine, theirs);
        group(&b, open_b.id(), b"later", CreationOrder::default());
        attribute.write(&[1, 2]).unwrap();
        assert!(Arc::ptr_eq(&b.attr_open(theirs, b"x").unwrap(), &attribute));
        b.flush().unwrap();
        // The group is open under its new id.
        b.link_delete(b.root(), b"g").unwrap();
        b.flush().unwrap();
        assert!(b.group_info(open_b.id()).is_ok());
        drop(attribute);
        drop(open_b);
        b.flush().unwrap();
        assert!(b.group_info(theirs).is_err());
        drop((a, b));
        check(&p);
    }
}

#[test]
fn equal_names_in_joined_groups_are_merged_or_conflict() {
    for p in places() {
        let [a, b] = writers_that(&p, OnConflict::Merge, |_| ());
        for (n, w) in [&a, &b].into_iter().enumerate() {
            let n = n as u8;
            let g = make(w, b"g");
            w.attr_create(g, b"x", attr_spec(1, 1)).unwrap().write(&[n]).unwrap();
            let d = w.create_dataset(chunked(10, 10, false)).unwrap();
            w.link_create(g, b"d", LinkTarget::Hard(d.id()), CharSet::Utf8).unwrap();
            group(w, g, &[b'k', b'0' + n], CreationOrder::default());
            let soft = LinkTarget::Soft(b"d".to_vec());
            w.link_create(g, b"soft", soft, CharSet::Utf8).unwrap();
        }
        a.flush().unwrap();
        let text = conflict(&b);
        assert!(text.contains("/g, attribute 'x', was changed by another writer (host "), "{text}");
        assert!(text.contains("/g, link 'd', was changed by another writer (host "), "{text}");
        assert!(!text.contains("'soft'") && !text.contains("link 'g'"), "{text}");
        drop((a, b));
        p.open(Access::ReadWrite);
        let c = check(&p);
        let g = find(&c, b"g");
        assert_eq!(c.attr_open(g, b"x").unwrap().read().unwrap(), vec![0]);
        assert_eq!(c.group_info(g).unwrap().link_count, 4);
    }
}

#[test]
fn only_new_groups_with_equal_properties_are_joined() {
    for p in places() {
        let [a, b] = writers_that(&p, OnConflict::Merge, |c| {
            group(c, c.root(), b"old", CreationOrder::default());
        });
        for (n, w) in [&a, &b].into_iter().enumerate() {
            let tracked = CreationOrder { tracked: n == 0, indexed: false };
            group(w, w.root(), b"order", tracked);
            let named = group(w, w.root(), b"comment", CreationOrder::default());
            w.set_comment(named, Some(&[b'a' + n as u8])).unwrap();
            let twice = make(w, b"twice");
            if n == 0 {
                group(w, w.root(), b"linked", CreationOrder::default());
            } else {
                let old = LinkTarget::Hard(find(w, b"old"));
                w.link_create(w.root(), b"linked", old, CharSet::Utf8).unwrap();
                w.link_create(w.root(), b"again", LinkTarget::Hard(twice), CharSet::Utf8).unwrap();
            }
        }
        a.flush().unwrap();
        let text = conflict(&b);
        for name in ["order", "comment", "linked", "twice"] {
            assert!(text.contains(&format!("/, link '{name}', was changed")), "{name}: {text}");
        }
        drop((a, b));
        p.open(Access::ReadWrite);
        let c = check(&p);
        assert!(find(&c, b"again") != find(&c, b"twice"));
    }
}
