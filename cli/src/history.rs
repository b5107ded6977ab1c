//! The history of a container: its versions with their tags and branches, for `h5lake versions` and `h5lake log`.

use h5lake_ledger::{At, Branch, BranchName, Ledger, Tag, Version};
use serde_json::{Value, json};

use crate::Failure;

/// The versions of a container, and the names that some of them have.
#[derive(Default)]
pub struct History {
    /// The versions that can be opened, newest first, at most as many as were requested. Versions that only tags retain are the last.
    pub versions: Vec<Version>,
    pub tags: Vec<Tag>,
    /// The number of the newest version of the container, which may be above the selected versions; 0 for a container without versions.
    pub newest: u64,
    /// True if only the newest of several versions can be opened.
    has_only_newest: bool,
}

/// The versions to read.
pub struct Selection {
    /// The maximum number of versions.
    pub most: usize,
    /// The newest of the versions, or nothing for the newest version of the container.
    pub last: Option<u64>,
    /// True for only the versions that collective flushes of MPI processes made.
    pub flushes: bool,
}

impl History {
    /// Reads the selected versions of a container, and its tags.
    pub fn read(ledger: &Ledger, selection: &Selection) -> Result<Self, Failure> {
        let Selection { most, last, flushes } = *selection;
        let read = if last.is_some() || flushes { usize::MAX } else { most };
        let (mut versions, tags) = (ledger.versions(read)?, ledger.tags()?);
        add_tagged(&mut versions, &tags, read);
        let has_only_newest = matches!(versions[..], [ref newest] if newest.number > 1 && read > 1);
        let newest = versions.first().map_or(0, |version| version.number);
        versions.retain(|v| last.is_none_or(|last| v.number <= last) && (v.processes > 0 || !flushes));
        versions.truncate(most);
        Ok(Self { versions, tags, newest, has_only_newest })
    }

    /// Returns the names of a version's tags.
    pub fn tags_of(&self, version: &Version) -> Vec<&str> {
        let is_its = |tag: &&Tag| tag.version.as_ref().is_some_and(|v| v.number == version.number);
        self.tags.iter().filter(is_its).map(|tag| tag.name.as_str()).collect()
    }

    /// Reads the branches of the container. A container without a tag for the base of a branch has no branch, and needs no request.
    pub fn branches(&self, ledger: &Ledger) -> Result<Vec<Branch>, Failure> {
        let has_branches = self.tags.iter().any(|tag| BranchName::of_tag(&tag.name).is_some());
        if has_branches { Ok(ledger.branches()?) } else { Ok(Vec::new()) }
    }

    /// Returns a hint on retention if only the newest of several versions can be opened.
    pub fn hint(&self) -> Option<String> {
        let text = "no older version is kept: the setting retention=, for instance retention=7d, keeps versions that are replaced from \
                    now on ('h5lake docs versions')";
        self.has_only_newest.then(|| text.to_owned())
    }

    /// Returns a version as JSON.
    pub fn object(&self, version: &Version) -> Value {
        let Version { number, time, bytes, .. } = version;
        let time = At::Time(*time).setting_value();
        json!({ "number": number, "time": time, "bytes": bytes, "host": version.host, "pid": version.pid, "user": version.user,
                "program": version.program, "message": version.message, "processes": version.processes,
                "tags": self.tags_of(version) })
    }
}

/// Adds the versions that only tags retain.
fn add_tagged(versions: &mut Vec<Version>, tags: &[Tag], most: usize) {
    let mut kept: Vec<&Version> = tags.iter().filter_map(|tag| tag.version.as_ref()).collect();
    kept.sort_by_key(|v| std::cmp::Reverse(v.number));
    kept.dedup_by_key(|v| v.number);
    let oldest = versions.last().map_or(u64::MAX, |v| v.number);
    versions.extend(kept.into_iter().filter(|v| v.number < oldest).cloned());
    versions.truncate(most);
}

/// Returns the user, host, program and process id of a version's author, as far as they are known, and the number of MPI
/// processes if their collective flush made the version.
pub fn author_of(version: &Version) -> String {
    let Version { host, pid, user, program, processes, .. } = version;
    let flush = if *processes > 0 { format!(", flush of {processes} processes") } else { String::new() };
    author_text([host, user, program], *pid, &flush)
}

/// Returns the names of an author, as far as they are known, with the process id and `more`.
pub fn author_text([host, user, program]: [&str; 3], pid: u32, more: &str) -> String {
    match (host, user, program) {
        ("", ..) => "-".to_owned(),
        (host, "", "") => format!("{pid}@{host}{more}"),
        (host, user, program) => format!("{user}@{host} {program} ({pid}{more})"),
    }
}
