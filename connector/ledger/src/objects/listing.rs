//! Which containers a store has.

use object_stores::{ObjectStore, ObjectStoreExt};

use super::manifest::{is_id, store_error};
use super::open::probe;
use crate::error::Result;
use crate::options::Probe;

/// The keys of all containers whose keys begin with `prefix`, in their order. The store is asked for a page of names for about each
/// container, and for the first bytes of each object that is no part of one.
pub(crate) fn containers(store: &dyn ObjectStore, prefix: &str) -> Result<Vec<String>> {
    let (mut found, mut after) = (Vec::new(), None::<String>);
    'listing: loop {
        for object in store.list(prefix, after.as_deref()) {
            let key = object.map_err(|error| store_error(prefix, &error))?.key;
            if let Some(parts) = parts_of(key.as_str()) {
                // Behind all of them.
                after = Some(format!("{parts}\u{10ffff}"));
                continue 'listing;
            }
            if probe(store, key.as_str())? == Probe::Container {
                found.push(key.to_string());
            }
        }
        return Ok(found);
    }
}

/// What the names of a container's parts begin with, if a key is that of one: `….lake/<id>/`.
fn parts_of(key: &str) -> Option<&str> {
    let mut from = 0;
    while let Some(at) = key.get(from..)?.find(".lake/") {
        let id = from + at + ".lake/".len();
        let (name, _) = key.get(id..)?.split_once('/')?;
        if is_id(name) {
            return key.get(..=id + name.len());
        }
        from = id;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_from_names_that_end_alike() {
        let id = "0123456789abcdef0123456789abcdef";
        let part = format!("a/b.h5.lake/{id}/pack/{id}");
        assert_eq!(parts_of(&part), Some(&*format!("a/b.h5.lake/{id}/")));
        let nested = format!("my.lake/b.h5.lake/{id}/lock");
        assert_eq!(parts_of(&nested), Some(&*format!("my.lake/b.h5.lake/{id}/")));
        for name in ["a/b.h5", "my.lake/run.h5", &format!("my.lake/{id}"), "b.h5.lake/replaced/x"] {
            assert_eq!(parts_of(name), None, "{name}");
        }
    }
}
