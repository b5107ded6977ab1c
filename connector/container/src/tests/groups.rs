use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

#[test]
fn links_count_and_objects_live_while_open() {
    for place in places() {
        let c = place.create();
        let a = group(&c, c.root(), b"a", tracked());
        let open = c.open_object(a).unwrap();
        c.link_create(a, b"self", LinkTarget::Hard(c.root()), CharSet::Ascii).unwrap();
        assert_eq!(c.object_info(c.root()).unwrap().link_count, 2);
        c.link_copy(c.root(), b"a", c.root(), b"b", None).unwrap();
        assert_eq!(c.object_info(a).unwrap().link_count, 2);
        c.link_delete(c.root(), b"a").unwrap();
        c.link_delete(c.root(), b"b").unwrap();
        assert_eq!(c.object_info(a).unwrap().link_count, 0);
        c.flush().unwrap();
        drop(open);
        assert_eq!(c.object_info(a).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(c.object_info(c.root()).unwrap().link_count, 1);
    }
}

#[test]
fn errors_are_of_the_right_kind() {
    let c = memory().create();
    let a = group(&c, c.root(), b"a", CreationOrder::default());
    let kind = |r: Result<()>| r.unwrap_err().kind();
    let soft = || LinkTarget::Soft(b"x".to_vec());
    assert_eq!(kind(c.link_create(c.root(), b"a", soft(), CharSet::Ascii)), ErrorKind::AlreadyExists);
    assert_eq!(kind(c.link_create(c.root(), b"x/y", soft(), CharSet::Ascii)), ErrorKind::InvalidArgument);
    assert_eq!(kind(c.link_create(c.root(), b"", soft(), CharSet::Ascii)), ErrorKind::InvalidArgument);
    assert_eq!(kind(c.link_delete(a, b"none")), ErrorKind::NotFound);
    assert_eq!(kind(c.link_move(c.root(), b"a", c.root(), b"a", None)), ErrorKind::AlreadyExists);
    assert_eq!(kind(c.links(a, Index::CreationOrder, Order::Native).map(drop)), ErrorKind::InvalidArgument);
    assert_eq!(kind(c.link_at(a, Index::Name, Order::Increasing, 0).map(drop)), ErrorKind::OutOfRange);
    assert_eq!(kind(c.change_link_count(a, -2).map(drop)), ErrorKind::InvalidArgument);
    assert_eq!(kind(c.dataset(a).map(drop)), ErrorKind::WrongKind);
    assert_eq!(kind(c.attr_open(a, b"no").map(drop)), ErrorKind::NotFound);
}

#[test]
fn an_error_names_the_non_group_component() {
    let c = memory().create();
    let g = group(&c, c.root(), b"g", CreationOrder::default());
    let d = dataset(&c, b"ds", dataset_spec(4, simple(&[10], &[10]), Layout::Contiguous));
    c.link_create(g, b"soft", LinkTarget::Soft(b"/ds".to_vec()), CharSet::Ascii).unwrap();
    for path in [b"ds/x".as_slice(), b"ds/x/y", b"/g/soft/x"] {
        let text = c.resolve_parent(c.root(), path, Some(&GroupSpec::default()), 16).unwrap_err().to_string();
        assert!(text.contains("'x'") && text.contains("'ds' is not a group but a dataset"), "{text}");
        let error = c.resolve(c.root(), path, LastLink::Follow, 16).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongKind);
    }
    for path in [b"x".as_slice(), b"./x"] {
        let error = c.resolve_parent(d.object().id(), path, None, 16).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WrongKind);
        assert!(!error.to_string().contains("0x"), "{error}");
    }
}

#[test]
fn paths_follow_soft_links() {
    let c = memory().create();
    let a = group(&c, c.root(), b"a", CreationOrder::default());
    let b = group(&c, a, b"b", CreationOrder::default());
    let soft = |g, name: &[u8], to: &[u8]| {
        c.link_create(g, name, LinkTarget::Soft(to.to_vec()), CharSet::Ascii).unwrap();
    };
    soft(a, b"up", b"/");
    soft(a, b"to_b", b"b");
    soft(a, b"loop", b"loop");
    soft(a, b"dangling", b"none");
    let external = LinkTarget::External { file: b"f".to_vec(), path: b"/p".to_vec(), flags: 0 };
    c.link_create(b, b"out", external, CharSet::Ascii).unwrap();
    let go = |path: &[u8], last| c.resolve(c.root(), path, last, 16);
    let object = |path: &[u8]| match go(path, LastLink::Follow).unwrap() {
        Resolution::Object { id } => id,
        other => panic!("{other:?}"),
    };
    assert_eq!(object(b"/"), c.root());
    assert_eq!(object(b"."), c.root());
    assert_eq!(object(b"//a/./b/"), b);
    assert_eq!(object(b"a/up/a/to_b"), b);
    assert!(matches!(go(b"a/to_b", LastLink::Keep), Ok(Resolution::Link { group, .. }) if group == a));
    assert!(matches!(go(b"a/to_b/.", LastLink::Keep), Ok(Resolution::Object { id }) if id == b));
    assert!(matches!(go(b"a/x", LastLink::Keep), Ok(Resolution::Missing { group: Some(g), .. }) if g == a));
    assert!(matches!(go(b"a/dangling", LastLink::Follow), Ok(Resolution::Missing { group: None, .. })));
    assert!(matches!(
        go(b"a/to_b/out/x/y", LastLink::Follow),
        Ok(Resolution::Leaves { group, rest, .. }) if group == b && rest == b"x/y"
    ));
    assert_eq!(go(b"a/loop", LastLink::Follow).unwrap_err().kind(), ErrorKind::TooManyLinks);
    assert_eq!(go(b"x/y", LastLink::Follow).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(c.find_path(b).unwrap().unwrap(), b"/a/b");
    let made = c.resolve_parent(c.root(), b"new/deep/last", Some(&GroupSpec::default()), 16).unwrap();
    let deep = object(b"new/deep");
    assert_eq!(made, Parent::In { group: deep, name: b"last".to_vec() });
    assert_eq!(c.resolve_parent(a, b".", None, 16).unwrap(), Parent::ItSelf(a));
    assert_eq!(c.resolve_parent(a, b"no/x", None, 16).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn one_container_is_opened_once() {
    for place in places() {
        let c = place.create();
        assert_eq!(place.create_result().unwrap_err().kind(), ErrorKind::Busy);
        let g = group(&c, c.root(), b"g", CreationOrder::default());
        let reader = place.open(Access::ReadOnly);
        assert!(Arc::ptr_eq(&c, &reader));
        assert!(reader.link(c.root(), b"g").unwrap().is_some());
        drop((c, reader));
        let reader = place.open(Access::ReadOnly);
        assert!(!reader.writable());
        assert!(Arc::ptr_eq(&reader, &place.open(Access::ReadOnly)));
        assert_eq!(reader.object_info(g).unwrap().link_count, 1);
        let soft = LinkTarget::Soft(b"x".to_vec());
        let e = reader.link_create(g, b"x", soft, CharSet::Ascii).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::ReadOnly);
    }
}

impl Place {
    fn create_result(&self) -> Result<Arc<Container>> {
        Container::create(&self.target, Replace::Truncate, FileCreation::default(), Options::default())
    }
}

#[test]
fn attributes_follow_renames_and_outlive_deletion() {
    let place = file();
    let c = place.create();
    let a = c.attr_create(c.root(), b"a", attr_spec(4, 2)).unwrap();
    assert_eq!(a.read().unwrap(), [0; 8].as_slice());
    a.write(&[1; 8]).unwrap();
    assert!(Arc::ptr_eq(&a, &c.attr_open(c.root(), b"a").unwrap()));
    c.attr_rename(c.root(), b"a", b"b").unwrap();
    assert_eq!(a.name(), b"b");
    assert!(Arc::ptr_eq(&a, &c.attr_open(c.root(), b"b").unwrap()));
    a.write(&[2; 8]).unwrap();
    c.attr_delete(c.root(), b"b").unwrap();
    assert_eq!(a.read().unwrap(), [2; 8].as_slice());
    // Another value could never be read.
    assert_eq!(a.write(&[3; 8]).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(c.attr_count(c.root()).unwrap(), 0);
    assert!(!c.attr_exists(c.root(), b"b").unwrap());
    let again = c.attr_create(c.root(), b"b", attr_spec(1, 1)).unwrap();
    assert_eq!(again.read().unwrap(), [0].as_slice());
    assert_eq!(a.read().unwrap(), [2; 8].as_slice());
}

#[test]
fn a_large_attribute_survives() {
    for place in places() {
        let c = place.create();
        let value: Vec<u8> = (0..20_000_000u32).map(|i| (i % 251) as u8).collect();
        let a = c.attr_create(c.root(), b"big", attr_spec(1, value.len() as u64)).unwrap();
        a.write(&value).unwrap();
        drop((a, c));
        let c = place.open(Access::ReadOnly);
        assert!(c.attr_open(c.root(), b"big").unwrap().read().unwrap() == value);
    }
}

#[test]
fn a_committed_type_counts_its_uses() {
    let c = memory().create();
    let spec = DatatypeSpec {
        datatype: bytes_type(4),
        creation_properties: Bytes::new(),
        attribute_order: CreationOrder::default(),
        track_times: true,
    };
    let t = c.create_datatype(spec).unwrap();
    c.link_create(c.root(), b"t", LinkTarget::Hard(t.id()), CharSet::Ascii).unwrap();
    let of = Datatype { committed: Some(t.id()), ..bytes_type(4) };
    let mut spec = dataset_spec(4, simple(&[3], &[3]), Layout::Contiguous);
    spec.datatype = of.clone();
    let d = dataset(&c, b"d", spec);
    c.attr_create(c.root(), b"a", AttrSpec { datatype: of, ..attr_spec(4, 1) }).unwrap();
    assert_eq!(c.object_info(t.id()).unwrap().link_count, 3);
    let id = t.id();
    c.link_delete(c.root(), b"t").unwrap();
    drop(t);
    assert_eq!(c.datatype(id).unwrap().committed, Some(id));
    c.attr_delete(c.root(), b"a").unwrap();
    drop(d);
    c.link_delete(c.root(), b"d").unwrap();
    assert_eq!(c.datatype(id).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn unlinked_objects_are_deleted_at_the_next_open() {
    let place = file();
    let c = place.create();
    let unlinked = c.create_group(GroupSpec::default()).unwrap();
    let id = unlinked.id();
    c.flush().unwrap();
    // Simulates a crash: the handle is never dropped, and another process opens a copy of the file.
    let Target::File(path) = &place.target else { unreachable!() };
    let copy = path.with_extension("copy");
    if std::fs::copy(path, &copy).is_err() {
        return;
    }
    let again = Container::open(&Target::File(copy), Access::ReadWrite, Options::default()).unwrap();
    assert_eq!(again.object_info(id).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(c.object_info(id).is_ok());
}

#[derive(Debug, Clone)]
enum Op {
    Link(u8, u8),
    Soft(u8, u8),
    Unlink(u8, u8),
    Move(u8, u8, u8, u8),
    Attr(u8, u8, u16),
    Unattr(u8, u8),
    Rename(u8, u8, u8),
    Flush,
    List(u8),
}

fn op() -> impl Strategy<Value = Op> {
    let (g, n) = (0u8..4, 0u8..6);
    prop_oneof![
        (g.clone(), n.clone()).prop_map(|(g, n)| Op::Link(g, n)),
        (g.clone(), n.clone()).prop_map(|(g, n)| Op::Soft(g, n)),
        (g.clone(), n.clone()).prop_map(|(g, n)| Op::Unlink(g, n)),
        (g.clone(), n.clone(), g.clone(), n.clone()).prop_map(|(a, b, c, d)| Op::Move(a, b, c, d)),
        (g.clone(), n.clone(), 0u16..9000).prop_map(|(g, n, l)| Op::Attr(g, n, l)),
        (g.clone(), n.clone()).prop_map(|(g, n)| Op::Unattr(g, n)),
        (g.clone(), n.clone(), n).prop_map(|(g, a, b)| Op::Rename(g, a, b)),
        Just(Op::Flush),
        g.prop_map(Op::List),
    ]
}

/// A group of the model: links with their order, attributes with their order and value.
#[derive(Debug, Default, Clone)]
struct Model {
    links: BTreeMap<Vec<u8>, (i64, bool)>,
    next: i64,
    attributes: BTreeMap<Vec<u8>, (u32, Vec<u8>)>,
    next_attribute: u32,
}

impl Model {
    fn unlink(&mut self, n: &[u8]) -> bool {
        let gone = self.links.remove(n).is_some();
        if self.links.is_empty() {
            self.next = 0;
        }
        gone
    }

    fn check(&self, c: &Arc<Container>, g: ObjectId) {
        let names = |index, order| -> Vec<_> {
            c.links(g, index, order)
                .unwrap()
                .into_iter()
                .map(|l| (l.name.clone(), l.creation_order.unwrap()))
                .collect()
        };
        let mut want: Vec<_> = self.links.iter().map(|(n, l)| (n.clone(), l.0)).collect();
        assert_eq!(names(Index::Name, Order::Increasing), want);
        want.sort_by_key(|w| w.1);
        assert_eq!(names(Index::CreationOrder, Order::Native), want);
        want.reverse();
        assert_eq!(names(Index::CreationOrder, Order::Decreasing), want);
        for (i, w) in want.iter().enumerate() {
            let at = c.link_at(g, Index::CreationOrder, Order::Decreasing, i as u64).unwrap();
            assert_eq!(&at.name, &w.0);
        }
        for (i, name) in self.links.keys().enumerate() {
            let at = c.link_at(g, Index::Name, Order::Increasing, i as u64).unwrap();
            assert_eq!((&at.name, at.creation_order), (name, Some(self.links[name].0)));
        }
        let info = c.group_info(g).unwrap();
        assert_eq!((info.link_count, info.max_creation_order), (want.len() as u64, self.next));
        let mut attrs: Vec<_> = self.attributes.iter().map(|(n, a)| (n.clone(), a.0)).collect();
        assert_eq!(c.attr_count(g).unwrap(), attrs.len() as u64);
        attrs.sort_by_key(|a| a.1);
        let found = c.attrs(g, Index::CreationOrder, Order::Increasing).unwrap();
        let found: Vec<_> = found.into_iter().map(|a| (a.name, a.creation_order.unwrap())).collect();
        assert_eq!(found, attrs);
        for (n, (_, value)) in &self.attributes {
            assert_eq!(c.attr_open(g, n).unwrap().read().unwrap(), value);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn groups_and_attributes_follow_a_model(ops in prop::collection::vec(op(), 1..60), in_file in any::<bool>()) {
        let place = if in_file { file() } else { memory() };
        let c = place.create();
        let spec = GroupSpec { link_order: tracked(), attribute_order: tracked(), ..GroupSpec::default() };
        let ids: Vec<ObjectId> = (0..4u8).map(|i| {
            let g = c.create_group(spec.clone()).unwrap();
            c.link_create(c.root(), &[b'g', i + b'0'], LinkTarget::Hard(g.id()), CharSet::Ascii).unwrap();
            g.id()
        }).collect();
        let mut model = vec![Model::default(); 4];
        let name = |n: u8| vec![b'n', n + b'0'];
        for op in ops {
            match op {
                Op::Link(g, n) | Op::Soft(g, n) => {
                    let hard = matches!(op, Op::Link(..));
                    let m = &mut model[g as usize];
                    let target = if hard { LinkTarget::Hard(ids[0]) } else { LinkTarget::Soft(b"s".to_vec()) };
                    let r = c.link_create(ids[g as usize], &name(n), target, CharSet::Utf8);
                    prop_assert_eq!(r.is_ok(), !m.links.contains_key(&name(n)));
                    if r.is_ok() {
                        m.links.insert(name(n), (m.next, hard));
                        m.next += 1;
                    }
                }
                Op::Unlink(g, n) => {
                    let r = c.link_delete(ids[g as usize], &name(n));
                    prop_assert_eq!(r.is_ok(), model[g as usize].unlink(&name(n)));
                }
                Op::Move(g, n, h, m) => {
                    let r = c.link_move(ids[g as usize], &name(n), ids[h as usize], &name(m), None);
                    let found = model[g as usize].links.get(&name(n)).copied();
                    let free = !model[h as usize].links.contains_key(&name(m));
                    prop_assert_eq!(r.is_ok(), found.is_some() && free);
                    if let (Ok(()), Some((_, hard))) = (r, found) {
                        let to = &mut model[h as usize];
                        to.links.insert(name(m), (to.next, hard));
                        to.next += 1;
                        model[g as usize].unlink(&name(n));
                    }
                }
                Op::Attr(g, n, len) => {
                    let m = &mut model[g as usize];
                    let r = c.attr_create(ids[g as usize], &name(n), attr_spec(1, u64::from(len)));
                    prop_assert_eq!(r.is_ok(), !m.attributes.contains_key(&name(n)));
                    if let Ok(a) = r {
                        let value = vec![n; len as usize];
                        a.write(&value).unwrap();
                        m.attributes.insert(name(n), (m.next_attribute, value));
                        m.next_attribute += 1;
                    }
                }
                Op::Unattr(g, n) => {
                    let m = &mut model[g as usize];
                    let r = c.attr_delete(ids[g as usize], &name(n));
                    prop_assert_eq!(r.is_ok(), m.attributes.remove(&name(n)).is_some());
                    if m.attributes.is_empty() {
                        m.next_attribute = 0;
                    }
                }
                Op::Rename(g, a, b) => {
                    let m = &mut model[g as usize];
                    let r = c.attr_rename(ids[g as usize], &name(a), &name(b));
                    let can = m.attributes.contains_key(&name(a)) && (a == b || !m.attributes.contains_key(&name(b)));
                    prop_assert_eq!(r.is_ok(), can);
                    if can {
                        let v = m.attributes.remove(&name(a)).unwrap();
                        m.attributes.insert(name(b), v);
                    }
                }
                Op::Flush => c.flush().unwrap(),
                Op::List(g) => model[g as usize].check(&c, ids[g as usize]),
            }
        }
        for (m, id) in model.iter().zip(&ids) {
            m.check(&c, *id);
        }
        let hard: usize = model.iter().flat_map(|m| m.links.values()).filter(|l| l.1).count();
        prop_assert_eq!(c.object_info(ids[0]).unwrap().link_count as usize, hard + 1);
        drop(c);
        let c = place.open(Access::ReadOnly);
        for (m, id) in model.iter().zip(&ids) {
            m.check(&c, *id);
        }
    }
}

#[test]
fn names_longer_than_a_key_are_supported() {
    for place in places() {
        let c = place.create();
        let name = |last: u8| [vec![b'n'; 66_000], vec![last]].concat();
        let soft = || LinkTarget::Soft(b"x".to_vec());
        for last in *b"zma" {
            c.link_create(c.root(), &name(last), soft(), CharSet::Ascii).unwrap();
            c.attr_create(c.root(), &name(last), attr_spec(1, 1)).unwrap().write(&[last]).unwrap();
        }
        assert!(c.link_create(c.root(), &name(b'm'), soft(), CharSet::Ascii).is_err());
        c.link_move(c.root(), &name(b'm'), c.root(), &name(b'b'), None).unwrap();
        c.attr_rename(c.root(), &name(b'm'), &name(b'b')).unwrap();
        c.attr_rename(c.root(), &name(b'z'), b"short").unwrap();
        assert!(c.link(c.root(), &name(b'm')).unwrap().is_none());
        drop(c);
        let c = place.open(Access::ReadOnly);
        let links = c.links(c.root(), Index::Name, Order::Increasing).unwrap();
        let want = [name(b'a'), name(b'b'), name(b'z')];
        assert!(links.iter().map(|l| &l.name).eq(&want));
        let attrs = c.attrs(c.root(), Index::Name, Order::Increasing).unwrap();
        assert!(attrs.iter().map(|a| &a.name).eq(&[name(b'a'), name(b'b'), b"short".to_vec()]));
        for (n, v) in [(name(b'a'), b'a'), (name(b'b'), b'm'), (b"short".to_vec(), b'z')] {
            assert_eq!(c.attr_open(c.root(), &n).unwrap().read().unwrap(), [v].as_slice());
        }
        assert!(!c.attr_exists(c.root(), &name(b'm')).unwrap());
    }
}

#[test]
fn a_cached_path_is_dropped_when_links_are_deleted() {
    let place = file();
    let c = place.create();
    let a = group(&c, c.root(), b"a", CreationOrder::default());
    let b = group(&c, a, b"b", CreationOrder::default());
    let (old, new) = (Bytes::from("/a/b"), Bytes::from("/c/b"));
    for _ in 0..2 {
        assert!(c.leads_to(&old, b) && !c.leads_to(&old, a) && !c.leads_to(&new, b));
    }
    c.link_create(c.root(), b"c", LinkTarget::Hard(a), CharSet::Ascii).unwrap();
    assert!(c.leads_to(&old, b) && c.leads_to(&new, b));
    c.link_delete(c.root(), b"a").unwrap();
    assert!(!c.leads_to(&old, b) && c.leads_to(&new, b));
    // Another object gets the same name.
    let other = group(&c, c.root(), b"a", CreationOrder::default());
    let there = group(&c, other, b"b", CreationOrder::default());
    assert!(!c.leads_to(&old, b) && c.leads_to(&old, there) && c.leads_to(&new, b));
    // More paths than are cached.
    for n in 0..40u8 {
        let name = [b'/', b'x', n + b'0'];
        let g = group(&c, c.root(), &name[1..], CreationOrder::default());
        assert!(c.leads_to(&Bytes::copy_from_slice(&name), g));
    }
    assert!(c.leads_to(&new, b));
    // Changes of another process are visible in the next version.
    c.flush().unwrap();
    let reader = Container::open_apart(&place.target, Access::ReadOnly, &Options::default()).unwrap();
    assert!(reader.leads_to(&new, b));
    c.link_delete(c.root(), b"c").unwrap();
    c.flush().unwrap();
    assert!(reader.leads_to(&new, b));
    assert!(reader.refresh().unwrap());
    assert!(!reader.leads_to(&new, b));
}

#[test]
fn positions_of_links_take_bounded_memory() {
    let place = memory();
    let c = place.create();
    let g = group(&c, c.root(), b"g", tracked());
    let made = |n: u64| {
        let target = LinkTarget::Soft(b"/somewhere/in/the/file".to_vec());
        c.link_create(g, format!("{n:08}").as_bytes(), target, CharSet::Ascii).unwrap();
    };
    (0..20_000).for_each(made);
    for n in 20_000..50_000 {
        let oldest = c.link_at(g, Index::CreationOrder, Order::Increasing, 0).unwrap();
        assert_eq!(oldest.name, format!("{:08}", n - 20_000).as_bytes());
        c.link_delete(g, &oldest.name).unwrap();
        made(n);
        let newest = c.link_at(g, Index::CreationOrder, Order::Decreasing, 0).unwrap();
        assert_eq!(newest.name, format!("{n:08}").as_bytes());
    }
    let s = c.state();
    let bytes = s.lists.positions(g.0, Index::CreationOrder).unwrap().bytes();
    assert!(bytes <= 20_000 * 64, "{bytes} bytes for 20,000 links");
}
