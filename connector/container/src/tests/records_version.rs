//! Records of another version are refused by everything that reads a container, with one error.

use super::checks::repair;
use super::checks::{Versions, verify};
use super::*;

#[test]
fn records_of_another_version_are_refused() {
    let by = [
        (
            1,
            "was made by a build of h5lake before its first release (records of version 1); this build reads version 2.",
        ),
        (3, "was written by a newer h5lake (records of version 3); update h5lake"),
    ];
    for (place, (version, wanted)) in by.into_iter().flat_map(|by| places().map(|place| (place, by))) {
        let c = place.create();
        let record = c.ledger.get(keys::CONTAINER).unwrap().unwrap();
        let record = record::ContainerRecord { version, ..record::decode(record, String::new).unwrap() };
        c.ledger.put(keys::CONTAINER, record.encode_to_vec()).unwrap();
        c.flush().unwrap();
        drop(c);
        let o = Options::default();
        let opened =
            [Access::ReadOnly, Access::ReadWrite].map(|a| Container::open(&place.target, a, o.clone()).err());
        let verified = verify(&place.target, &o, Versions::Newest, &mut |_, _| ()).err();
        let repaired = repair(&place.target, &o, &memory().target, &o, &mut |_, _| ()).err();
        for refused in opened.into_iter().chain([verified, repaired]) {
            let refused = refused.unwrap();
            assert_eq!(refused.kind(), ErrorKind::Unsupported);
            assert!(refused.to_string().contains(wanted), "{refused}");
        }
    }
}
