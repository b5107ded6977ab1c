//! Lists tags and branches, which a repair does not copy. The result names them, so that users do not mistake the new
//! container for the whole of the old one.

use super::Repair;
use h5lake_ledger::verify::Item;
use h5lake_records::Result;
use h5lake_records::keys;

impl Repair<'_> {
    /// Lists the tags and branches of the source.
    pub(super) fn left_out(&mut self) -> Result<()> {
        let branches = self.names(&[keys::BRANCH, 0], &[keys::BRANCH, 1])?;
        let mut tags = self.names(&[keys::TAG], &[keys::TAG + 1])?;
        tags.retain(|tag| {
            !tag.strip_prefix("branch-").is_some_and(|name| branches.iter().any(|b| b == name))
        });
        // Unreadable references must not prevent the repair of everything else.
        let beside = self.v.references().unwrap_or_default();
        tags.extend(
            beside.iter().map(|name| name.as_str().to_owned()).filter(|name| !name.starts_with("branch-")),
        );
        (self.done.tags, self.done.branches) = (tags, branches);
        Ok(())
    }

    /// Returns the names in keys that begin with `prefix` and precede `end`.
    fn names(&mut self, prefix: &[u8], end: &[u8]) -> Result<Vec<String>> {
        let v = self.v;
        let mut scan = v.scan(prefix, Some(end));
        let mut names = Vec::new();
        while let Some(item) = scan.step()? {
            match item {
                Item::Entry(key, _) | Item::Unreadable(key) => {
                    names.push(String::from_utf8_lossy(&key[prefix.len()..]).into_owned());
                }
                Item::Lost(from, to) => self.lose_range(&from, &to),
            }
        }
        Ok(names)
    }
}
