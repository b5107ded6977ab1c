//! The author of a version: the process that made it, its user and program, and the message that the program gave.

use std::cell::Cell;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use crate::codec::{Decoded, Reader, put_string, put_varint};
use crate::error::{Error, Result};
use crate::locks::Mutex;

/// The greatest length of a message, in bytes.
pub const MAX_MESSAGE: usize = 512;
/// The greatest length of the name of a host, a user or a program, in bytes. Longer names are truncated.
const MAX_NAME: usize = 64;
/// The greatest length of the texts of an author, with what separates them. Readers treat a longer one as damaged.
pub(crate) const MAX_AUTHOR: usize = MAX_MESSAGE + 3 * MAX_NAME + 32;

static HOST: LazyLock<Arc<str>> =
    LazyLock::new(|| truncated(&nix::unistd::gethostname().unwrap_or_default().to_string_lossy(), MAX_NAME));
static USER: LazyLock<Arc<str>> = LazyLock::new(|| truncated(&user(), MAX_NAME));
static PROGRAM: LazyLock<Arc<str>> = LazyLock::new(|| truncated(&program(), MAX_NAME));
static MESSAGES: LazyLock<Mutex<Messages>> = LazyLock::new(Mutex::default);

thread_local! {
    static FLUSH: Cell<Flush> = const { Cell::new(Flush { processes: 0, is_version: false }) };
}

/// How this thread commits.
#[derive(Clone, Copy)]
struct Flush {
    /// The number of processes that flush together; 0 if they do not.
    processes: u32,
    /// True if the flush makes a version even without changes.
    is_version: bool,
}

/// Runs `commit`, which commits what several processes have changed because the program flushes in all of them: the version
/// names their number. If `is_version`, a commit without changes makes a version too.
pub fn as_flush_of<T>(processes: u32, is_version: bool, commit: impl FnOnce() -> T) -> T {
    struct Restored(Flush);
    impl Drop for Restored {
        fn drop(&mut self) {
            FLUSH.set(self.0);
        }
    }
    let _restored = Restored(FLUSH.replace(Flush { processes, is_version }));
    commit()
}

/// Returns whether this thread makes a version even if nothing has changed.
pub(crate) fn makes_version() -> bool {
    FLUSH.get().is_version
}

/// The messages of this process. An empty text is none.
#[derive(Default)]
struct Messages {
    /// The message that the program gave.
    given: Arc<str>,
    /// The message of the settings.
    default: Arc<str>,
}

impl Messages {
    fn present(&self) -> &Arc<str> {
        if self.given.is_empty() { &self.default } else { &self.given }
    }
}

/// The author of a version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Author {
    pub(crate) host: Arc<str>,
    pub(crate) pid: u32,
    /// The login name, or `uid` and the number of the user; empty if it is not known.
    pub(crate) user: Arc<str>,
    /// The name of the program, and of the script that it runs; empty if it is not known.
    pub(crate) program: Arc<str>,
    /// The message of the commit; empty if the program gave none.
    pub(crate) message: Arc<str>,
    /// The number of MPI processes whose collective flush made the version; 0 for any other version.
    pub(crate) processes: u32,
}

/// Checks a message.
///
/// # Errors
/// `Invalid` for a text of more than [`MAX_MESSAGE`] bytes, or with control characters other than line breaks and tabs.
pub fn check_commit_message(text: &str) -> Result<()> {
    let refuse = |why: &str| Err(Error::invalid("the message of commits", why));
    if text.trim().len() > MAX_MESSAGE {
        return refuse(&format!("it has {} bytes; at most {MAX_MESSAGE} are possible", text.trim().len()));
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t')) {
        return refuse("it contains a control character");
    }
    Ok(())
}

/// Sets the message of all commits that this process makes from now on, in every container. With an empty text, the
/// [default](set_default_message) applies.
///
/// # Errors
/// As for [`check_commit_message`].
pub fn set_commit_message(text: &str) -> Result<()> {
    check_commit_message(text)?;
    MESSAGES.lock().given = text.trim().into();
    Ok(())
}

/// Sets the message of commits for which the program has given none.
///
/// # Errors
/// As for [`check_commit_message`].
pub fn set_default_message(text: &str) -> Result<()> {
    check_commit_message(text)?;
    MESSAGES.lock().default = text.trim().into();
    Ok(())
}

impl Author {
    /// Returns this process as an author, with its present message.
    pub(crate) fn myself() -> Self {
        Self {
            host: HOST.clone(),
            pid: crate::process::id(),
            user: USER.clone(),
            program: PROGRAM.clone(),
            message: MESSAGES.lock().present().clone(),
            processes: FLUSH.get().processes,
        }
    }

    /// Encodes the texts as one string, separated by zero bytes, without empty ones at the end. Then follows the process id.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let processes = if self.processes == 0 { String::new() } else { self.processes.to_string() };
        let texts = [&*self.host, &*self.user, &*self.program, &*self.message, &*processes];
        let last = texts.iter().rposition(|text| !text.is_empty()).unwrap_or(0);
        put_string(out, texts[..=last].join("\0").as_bytes());
        put_varint(out, u64::from(self.pid));
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let texts = r.string()?;
        if texts.len() > MAX_AUTHOR {
            return Err("an impossible author");
        }
        let mut texts = texts.split(|byte| *byte == 0);
        let mut next = |mine: &Arc<str>| shared(texts.next().unwrap_or_default(), mine);
        let (host, user, program, message) =
            (next(&HOST), next(&USER), next(&PROGRAM), next(MESSAGES.lock().present()));
        let processes = match texts.next().unwrap_or_default() {
            [] => 0,
            digits => str::from_utf8(digits)
                .ok()
                .and_then(|digits| digits.parse().ok())
                .ok_or("an impossible flush")?,
        };
        if texts.next().is_some() {
            return Err("an impossible author");
        }
        let pid = u32::try_from(r.varint()?).map_err(|_| "an impossible process id")?;
        Ok(Self { host, pid, user, program, message, processes })
    }
}

/// Returns a text that was read. Most records of a file were written by the same program, so equal texts are shared.
fn shared(read: &[u8], mine: &Arc<str>) -> Arc<str> {
    match read == mine.as_bytes() {
        true => mine.clone(),
        false => String::from_utf8_lossy(read).into(),
    }
}

/// Returns the beginning of a text, up to a zero byte.
fn truncated(text: &str, most: usize) -> Arc<str> {
    let text = text.split('\0').next().unwrap_or_default();
    let end = (0..=text.len().min(most)).rev().find(|n| text.is_char_boundary(*n)).unwrap_or(0);
    text[..end].into()
}

/// Returns the user's login name from the environment, because a lookup may wait for a server; otherwise the user's number.
fn user() -> String {
    let named = ["LOGNAME", "USER"].iter().find_map(|name| std::env::var(name).ok());
    named.filter(|name| !name.is_empty()).unwrap_or_else(|| format!("uid {}", nix::unistd::getuid()))
}

/// Returns the names of the program and of the script that it interprets, without folders. Other arguments may be secret.
fn program() -> String {
    let line = std::fs::read("/proc/self/cmdline").unwrap_or_default();
    let words: Vec<String> =
        line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    // A program may write a title over its command line. The name of its file stays.
    let file = std::env::current_exe().ok();
    named_program(file.as_deref().unwrap_or_else(|| Path::new(&words[0])), words.get(1..).unwrap_or_default())
}

fn named_program(file: &Path, arguments: &[String]) -> String {
    let name_of =
        |path: &Path| path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let script = match arguments.first().map(String::as_str) {
        Some("-m") => arguments.get(1).map(|module| format!("-m {module}")),
        Some(word) if is_script(word) => Some(name_of(Path::new(word))),
        _ => None,
    };
    script.map_or_else(|| name_of(file), |script| format!("{} {script}", name_of(file)))
}

/// Returns whether a first argument is a script that an interpreter runs.
fn is_script(word: &str) -> bool {
    let ends = [".py", ".sh", ".R", ".r", ".jl", ".m", ".pl", ".rb"];
    !word.starts_with('-') && ends.iter().any(|end| word.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(file: &str, arguments: &[&str]) -> String {
        named_program(Path::new(file), &arguments.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_program_is_named_without_folders_and_arguments() {
        assert_eq!(named("/usr/bin/simulation", &["--password", "secret"]), "simulation");
        assert_eq!(named("/usr/bin/python3.13", &["/home/me/run.py", "secret"]), "python3.13 run.py");
        assert_eq!(named("/usr/bin/python3.13", &["-m", "tool.run", "secret"]), "python3.13 -m tool.run");
        assert_eq!(named("/usr/bin/python3.13", &["-c", "secret"]), "python3.13");
        assert_eq!(named("/usr/bin/h5copy", &["secret"]), "h5copy");
        assert_eq!(named("/usr/bin/h5copy", &[]), "h5copy");
    }

    #[test]
    fn authors_round_trip() {
        let author = as_flush_of(4, false, Author::myself);
        assert_eq!((author.processes, Author::myself().processes), (4, 0));
        let author = Author { message: "calibrated\nwith lamp 3".into(), ..author };
        let mut bytes = Vec::new();
        author.encode(&mut bytes);
        assert_eq!(Author::read(&mut Reader::new(&bytes)), Ok(author.clone()));
        // Builds before the first release wrote the host alone.
        let mut bytes = vec![4];
        bytes.extend_from_slice(b"node\x07");
        let alone = Author { host: "node".into(), pid: 7, ..Author::default() };
        assert_eq!(Author::read(&mut Reader::new(&bytes)), Ok(alone.clone()));
        let mut again = Vec::new();
        alone.encode(&mut again);
        assert_eq!(again, bytes);
        let long = Author { message: "x".repeat(MAX_AUTHOR + 1).as_str().into(), ..author };
        let mut bytes = Vec::new();
        long.encode(&mut bytes);
        assert!(Author::read(&mut Reader::new(&bytes)).is_err());
        for texts in [&b"n\0\0\0\0many"[..], b"n\0\0\0\x004\0"] {
            let bytes = [&[texts.len() as u8], texts, &[7]].concat();
            assert!(Author::read(&mut Reader::new(&bytes)).is_err(), "{texts:?}");
        }
    }

    #[test]
    fn a_message_that_cannot_be_stored_is_refused() {
        assert!(set_commit_message(&"x".repeat(MAX_MESSAGE + 1)).is_err());
        assert!(set_commit_message("\u{1b}[2J").is_err());
        let long = truncated(&"ä".repeat(MAX_NAME), MAX_NAME + 1);
        assert_eq!(long.len(), MAX_NAME, "between characters");
    }
}
