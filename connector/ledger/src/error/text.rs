//! The texts of errors: the cause, and what to do. docs/errors.md explains each kind under its name.

use std::fmt;

use object_stores::shell_quoted;

use super::{Error, ErrorKind, Holder, Salvage};

fn listed(processes: &[u32]) -> String {
    processes.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

fn write_locked(
    f: &mut fmt::Formatter<'_>,
    holder: Option<&Holder>,
    is_gone: bool,
    processes: &[u32],
) -> fmt::Result {
    let since = |h: &Holder| crate::timestamp::text(h.since.saturating_mul(1_000_000));
    let by = match processes {
        [] => String::new(),
        found => format!(" by process {} on this machine", listed(found)),
    };
    match holder {
        Some(h) if is_gone => {
            let (pid, since) = (h.pid, since(h));
            write!(
                f,
                "is locked for writing{by}: process {pid}, which had it open since {since}, is gone, "
            )?;
            f.write_str("and a process that inherited its files, such as a child, or that left no note, has the lock; ")?;
            f.write_str("end that process, or open to read")
        }
        Some(h) => {
            let (pid, host, since) = (h.pid, &h.host, since(h));
            write!(
                f,
                "is open for writing by process {pid} on {host} (since {since}); close it there, or open to read"
            )
        }
        None if processes.is_empty() => {
            f.write_str("is open for writing elsewhere; close it there, or open to read")
        }
        None => write!(f, "is open for writing{by}; close it there, or open to read"),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.target)?;
        match &*self.kind {
            ErrorKind::NotFound => f.write_str("no such container"),
            ErrorKind::NoFolder { folder } => {
                write!(f, "cannot be made, because the folder '{folder}' does not exist; make it first")
            }
            ErrorKind::AlreadyExists => {
                f.write_str("already exists; choose another name or allow replacing it")
            }
            ErrorKind::PermissionDenied { .. } => f.write_str("access denied; check permissions"),
            ErrorKind::AccessDenied { what, .. } => write!(f, "access denied: {what}"),
            ErrorKind::IsADirectory => f.write_str("is a directory; name a file"),
            ErrorKind::Locked { holder, is_gone, processes } => {
                write_locked(f, holder.as_ref(), *is_gone, processes)
            }
            ErrorKind::CommitsLocked { processes, seconds } => {
                let (holder, pronoun) = match &processes[..] {
                    [] => ("another process".to_owned(), "that process"),
                    [one] => (format!("process {one} on this machine"), "that process"),
                    _ => (format!("one of the processes {} on this machine", listed(processes)), "it"),
                };
                write!(
                    f,
                    "cannot commit: {holder} has held the commit lock for {seconds} s, and may be stopped; let {pronoun} continue, or end \
                     {pronoun}, and retry the flush"
                )
            }
            ErrorKind::Staged { host, folder, arrived } => {
                f.write_str(
                    "its last writer has ended, and may have staged commits that it did not upload to the store; ",
                )?;
                if let Some(version) = arrived {
                    write!(f, "version {version} is the newest that was uploaded; ")?;
                }
                write!(
                    f,
                    "'h5lake drain {}' on {host} uploads them, and 'h5lake unlock' of the container abandons them; or open \
                     to read",
                    shell_quoted(folder)
                )
            }
            ErrorKind::LocksUnsupported { errno } => write!(
                f,
                "the file system has no locks (errno {errno}); if no other program writes the container, set \
                 HDF5_USE_FILE_LOCKING=BEST_EFFORT, which lets one process or one MPI program write without them"
            ),
            ErrorKind::NoSpace { errno: 27 } => f.write_str(
                "the file may not grow any more (ulimit -f, or a limit of the file system); raise the limit and flush again",
            ),
            ErrorKind::NoSpace { errno: 122 } => f.write_str("the quota is used up; free some of it and flush again"),
            ErrorKind::NoSpace { .. } => f.write_str("no space left on the device; free some of it and flush again"),
            ErrorKind::NotAContainer { what } => write!(f, "is not an h5lake container but {what}"),
            ErrorKind::WrongStorage { what } => f.write_str(what),
            ErrorKind::NewerFormat { found } => {
                write!(f, "was written by a newer h5lake ({found}); update h5lake")
            }
            ErrorKind::EarlierFormat { format } => write!(
                f,
                "was made by a build of h5lake before its first release (container format {format}); this build reads format 2. \
                 With the build that made it, run 'h5lake export NAME NATIVE.h5', then 'h5lake import' here. 'h5lake rm NAME' deletes it."
            ),
            ErrorKind::Corrupt { at, why, salvage } => {
                write!(f, "damaged at {at}: {why}; restore it from a copy")?;
                f.write_str(match salvage {
                    Salvage::Useless => "",
                    Salvage::Untried => ", or open it to read with salvage=yes, which shows the intact data",
                    Salvage::InVain => "; salvage=yes is set, and has found no version that can be opened",
                })
            }
            ErrorKind::ReadOnly => f.write_str("is open read-only; open it for writing to change it"),
            ErrorKind::NoSuchVersion { asked, kept: (oldest, newest), since } => write!(
                f,
                "{asked} is not retained; the retained versions are {oldest} to {newest}, the oldest from {}",
                crate::timestamp::text(*since)
            ),
            ErrorKind::NoSuchTag { name, tags } if tags.is_empty() => {
                write!(f, "there is no tag '{name}', nor any other tag; 'h5lake tag NAME TAG' makes one")
            }
            ErrorKind::NoSuchTag { name, tags } => {
                write!(f, "there is no tag '{name}'; the tags are {}", tags.join(", "))
            }
            ErrorKind::TagExists { name, version } => write!(
                f,
                "the tag '{name}' exists already, for version {version}; delete it first, or move it by --force"
            ),
            ErrorKind::NoSuchBranch { name, branches } if branches.is_empty() => {
                write!(f, "there is no branch '{name}', nor any other branch; 'h5lake branch NAME BRANCH' makes one")
            }
            ErrorKind::NoSuchBranch { name, branches } => {
                write!(f, "there is no branch '{name}'; the branches are {}", branches.join(", "))
            }
            ErrorKind::BranchExists { name } => {
                write!(
                    f,
                    "the branch '{name}' exists already; merge or delete it first, or choose another name"
                )
            }
            ErrorKind::BranchGone { name } => write!(
                f,
                "the branch '{name}' was merged or deleted since it was opened; changes that were not flushed are lost; open the \
                 container again"
            ),
            ErrorKind::OldVersion { which } => {
                write!(f, "{which} is an old version, which can only be read; open it to read, or make a branch of it with 'h5lake branch'")
            }
            ErrorKind::Gone => f.write_str(
                "the version in use was reclaimed by a writer; refresh or reopen to see the newest version",
            ),
            ErrorKind::Tampered { how } => write!(f, "{how}"),
            ErrorKind::Forked => {
                f.write_str("the handle belongs to the parent process; reopen the container in this one")
            }
            ErrorKind::Conflict => {
                f.write_str("another writer has committed since this writer last read the container; nothing was changed; reopen it and repeat the \
                 change")
            }
            ErrorKind::Broken { why } => {
                write!(f, "after an earlier failure, this writer does not know the stored state ({why}); reopen the container")
            }
            ErrorKind::Invalid { why } | ErrorKind::Stranded { why } => f.write_str(why),
            ErrorKind::Io { what, .. } | ErrorKind::Store { what, .. } => f.write_str(what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Tampering;

    const PAGE: &str = include_str!("../../../../docs/errors.md");

    /// Returns an error of each kind, with a part of its text that does not depend on the case. Kinds with a text of the caller have
    /// none.
    fn samples() -> Vec<(ErrorKind, &'static str)> {
        let text = || "x".to_owned();
        let holder = Holder { host: text(), pid: 1, since: 0 };
        let gone = ErrorKind::Locked { holder: Some(holder), is_gone: true, processes: vec![2] };
        vec![
            (ErrorKind::NotFound, "no such container"),
            (ErrorKind::NoFolder { folder: text() }, "cannot be made, because the folder"),
            (ErrorKind::AlreadyExists, "already exists; choose another name or allow replacing it"),
            (ErrorKind::PermissionDenied { errno: 13 }, "access denied; check permissions"),
            (ErrorKind::AccessDenied { errno: 13, what: text() }, "access denied"),
            (ErrorKind::IsADirectory, "is a directory; name a file"),
            (ErrorKind::locked(None), "close it there, or open to read"),
            (gone, "is locked for writing by process"),
            (
                ErrorKind::CommitsLocked { processes: vec![1], seconds: 60 },
                "has held the commit lock for 60 s",
            ),
            (
                ErrorKind::Staged { host: text(), folder: text(), arrived: None },
                "its last writer has ended, and may have staged commits that it did not upload to the store",
            ),
            (ErrorKind::LocksUnsupported { errno: 37 }, "the file system has no locks"),
            (
                ErrorKind::NoSpace { errno: 28 },
                "no space left on the device; free some of it and flush again",
            ),
            (ErrorKind::NoSpace { errno: 122 }, "the quota is used up"),
            (ErrorKind::NoSpace { errno: 27 }, "the file may not grow any"),
            (ErrorKind::NotAContainer { what: text() }, "is not an h5lake container but"),
            (ErrorKind::WrongStorage { what: text() }, ""),
            (ErrorKind::NewerFormat { found: text() }, "was written by a newer h5lake"),
            (
                ErrorKind::EarlierFormat { format: 1 },
                "was made by a build of h5lake before its first release",
            ),
            (ErrorKind::Corrupt { at: text(), why: text(), salvage: Salvage::Useless }, "damaged at"),
            (ErrorKind::ReadOnly, "is open read-only; open it for writing to change it"),
            (
                ErrorKind::NoSuchVersion { asked: text(), kept: (1, 2), since: 0 },
                "is not retained; the retained versions are",
            ),
            (ErrorKind::NoSuchTag { name: text(), tags: Vec::new() }, "there is no tag '"),
            (ErrorKind::NoSuchBranch { name: text(), branches: Vec::new() }, "there is no branch '"),
            (ErrorKind::BranchExists { name: text() }, "exists already"),
            (ErrorKind::BranchGone { name: text() }, "was merged or deleted since it was opened"),
            (ErrorKind::TagExists { name: text(), version: 1 }, "exists already"),
            (ErrorKind::OldVersion { which: text() }, "is an old version, which can only be read"),
            (ErrorKind::Gone, "the version in use was reclaimed by a writer"),
            (
                ErrorKind::Tampered { how: Tampering::DescriptorClosed { descriptor: 3 } },
                "another part of this program closed the descriptor of the file",
            ),
            (
                ErrorKind::Tampered { how: Tampering::Truncated { length: 1, least: 2 } },
                "the file was truncated by another program while it was open",
            ),
            (
                ErrorKind::Tampered { how: Tampering::Replaced { is_overwritten: false } },
                "another program replaced the content of the file in place while it was open",
            ),
            (ErrorKind::Forked, "the handle belongs to the parent process"),
            (ErrorKind::Conflict, "another writer has committed since this writer last read the container"),
            (
                ErrorKind::Broken { why: text() },
                "after an earlier failure, this writer does not know the stored state",
            ),
            (ErrorKind::Stranded { why: text() }, ""),
            (ErrorKind::Invalid { why: text() }, ""),
            (ErrorKind::Io { errno: None, what: text() }, ""),
            (ErrorKind::Store { errno: None, what: text() }, ""),
        ]
    }

    /// Returns the title of the section of the page: the name of the kind in words.
    fn title(kind: &ErrorKind) -> String {
        let name = format!("{kind:?}");
        let name = name.split(|c: char| !c.is_alphabetic()).next().unwrap_or_default();
        let words = name.chars().enumerate().flat_map(|(n, c)| {
            let blank = (n > 0 && c.is_uppercase()).then_some(' ');
            let c = if n > 0 { c.to_ascii_lowercase() } else { c };
            blank.into_iter().chain([c])
        });
        words.collect()
    }

    #[test]
    fn the_page_of_errors_explains_each_kind() {
        for (kind, part) in samples() {
            let heading = format!("\n### {}\n", title(&kind));
            let (_, section) = PAGE.split_once(&heading).unwrap_or_else(|| panic!("no section {heading}"));
            let section = section.split("\n##").next().unwrap_or_default().replace('\n', " ");
            assert!(section.contains(part), "the section {heading} does not contain: {part}");
            let text = Error::new("run.h5", kind).to_string();
            assert!(text.contains(part), "{text}");
        }
    }
}
