//! The identity of the process that wrote a note, and whether that process lives.
//!
//! A process id alone is not unique: it is reused, and processes in other namespaces have the same ids. Together with
//! the boot id, the namespace and the start time of the process, it identifies one process for ever.

use std::path::Path;
use std::sync::LazyLock;

use crate::author::Author;
use crate::clock;
use crate::codec::{Decoded, Reader, put_string, put_varint};
use crate::core::ids::SessionProcess;
use crate::error::Holder;

/// The identity of a process, besides its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProcessIdentity {
    /// The boot id of the running kernel: `/proc/sys/kernel/random/boot_id`.
    boot: String,
    /// The inode of its namespace of process ids.
    namespace: u64,
    /// The start time of the process, in clock ticks since the boot.
    start: u64,
}

/// The knowledge about whether a process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Alive,
    Dead,
    /// The process is on another machine, or not visible to this process.
    Unknown,
}

/// Returns this process as the holder of a lock.
pub(crate) fn myself() -> Holder {
    let Author { host, pid, .. } = Author::myself();
    Holder { host: host.to_string(), pid, since: clock::now() / 1_000_000 }
}

/// Returns whether a process with this id runs on this machine.
pub(crate) fn is_running(pid: u32) -> bool {
    // Without /proc, every process is assumed to run.
    !Path::new("/proc/self").exists() || Path::new(&format!("/proc/{pid}")).exists()
}

static BOOT: LazyLock<Option<String>> = LazyLock::new(|| {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned()).filter(|id| !id.is_empty())
});

/// Returns the state letter and the start time in a line of `/proc/<pid>/stat`. The second field of the line is a name
/// in parentheses that may have any content.
fn parse_stat(line: &str) -> Option<(char, u64)> {
    let mut fields = line.get(line.rfind(')')? + 1..)?.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    // The state is the third field of the line, and the start time the twenty-second.
    Some((state, fields.nth(18)?.parse().ok()?))
}

impl ProcessIdentity {
    /// Returns the identity of this process, if the system provides it.
    pub(crate) fn myself() -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        let namespace = std::fs::metadata("/proc/self/ns/pid").ok()?.ino();
        let (_, start) = parse_stat(&std::fs::read_to_string("/proc/self/stat").ok()?)?;
        Some(Self { boot: BOOT.clone()?, namespace, start })
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_string(out, self.boot.as_bytes());
        put_varint(out, self.namespace);
        put_varint(out, self.start);
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let boot = String::from_utf8_lossy(r.string()?).into_owned();
        Ok(Self { boot, namespace: r.varint()?, start: r.varint()? })
    }

    /// Returns whether the process with this identity and id lives.
    pub(crate) fn life(&self, pid: u32) -> Life {
        match Self::myself() {
            Some(me) if me.boot == self.boot && me.namespace == self.namespace => life_here(pid, self.start),
            _ => Life::Unknown,
        }
    }

    /// Returns a number for the running kernel and the namespace. The boot id is random.
    fn system(&self) -> Option<u64> {
        let boot = u128::from_str_radix(&self.boot.replace('-', ""), 16).ok()?;
        Some((boot >> 64) as u64 ^ boot as u64 ^ self.namespace.rotate_left(32))
    }
}

/// Returns whether the process of this system with an id and a start time lives.
fn life_here(pid: u32, start: u64) -> Life {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")).ok().as_deref().map(parse_stat) {
        // A zombie or dead process writes nothing any more, unless its first thread alone has ended.
        Some(Some((state, found)))
            if found == start && (!matches!(state, 'Z' | 'X' | 'x') || has_other_threads(pid)) =>
        {
            Life::Alive
        }
        Some(Some(_)) => Life::Dead,
        Some(None) => Life::Unknown,
        None if is_gone(pid) => Life::Dead,
        None => Life::Unknown,
    }
}

/// Returns whether a process has threads besides its first one.
fn has_other_threads(pid: u32) -> bool {
    std::fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|threads| threads.count() > 1)
}

/// Returns this process for the entry of a session, if the system identifies processes.
pub(crate) fn process_of_session() -> Option<SessionProcess> {
    let me = ProcessIdentity::myself()?;
    Some(SessionProcess { system: me.system()?, pid: std::process::id(), start: me.start })
}

/// Returns whether the process of a session is known to have ended.
pub(crate) fn has_ended(process: &SessionProcess) -> bool {
    let system = ProcessIdentity::myself().and_then(|me| me.system());
    system == Some(process.system) && life_here(process.pid, process.start) == Life::Dead
}

/// Returns whether no process has this id. A system may hide processes of other users in `/proc`, but not from a
/// signal.
fn is_gone(pid: u32) -> bool {
    let Ok(pid) = i32::try_from(pid) else { return true };
    pid > 0 && nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None) == Err(nix::errno::Errno::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_one_that_began_earlier_does_not() {
        let me = ProcessIdentity::myself().unwrap();
        let pid = std::process::id();
        assert_eq!(me.life(pid), Life::Alive);
        assert_eq!(
            ProcessIdentity { start: me.start + 1, ..me.clone() }.life(pid),
            Life::Dead,
            "the id was used again"
        );
        assert_eq!(ProcessIdentity { namespace: me.namespace + 1, ..me.clone() }.life(pid), Life::Unknown);
        assert_eq!(ProcessIdentity { boot: "another".into(), ..me.clone() }.life(pid), Life::Unknown);
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let gone = child.id();
        child.wait().unwrap();
        assert_eq!(me.life(gone), Life::Dead);
        let session = process_of_session().unwrap();
        assert!(!has_ended(&session));
        assert!(has_ended(&SessionProcess { pid: gone, ..session }));
        assert!(has_ended(&SessionProcess { start: session.start + 1, ..session }), "the id was used again");
        assert!(!has_ended(&SessionProcess { system: session.system + 1, pid: gone, ..session }));
        let mut bytes = Vec::new();
        me.encode(&mut bytes);
        assert_eq!(ProcessIdentity::read(&mut Reader::new(&bytes)), Ok(me));
    }

    /// The system shows a process as a zombie once its first thread has ended, although other threads may still write.
    #[test]
    fn a_process_without_its_first_thread_lives() {
        const PROGRAM: &str = "import ctypes, threading, time\n\
            threading.Thread(target=time.sleep, args=(60,)).start()\n\
            ctypes.CDLL(None).pthread_exit(None)";
        let mut child = std::process::Command::new("python3").args(["-c", PROGRAM]).spawn().unwrap();
        let stat = || std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        let begun = std::time::Instant::now();
        while parse_stat(&stat()).unwrap().0 != 'Z' {
            assert!(begun.elapsed().as_secs() < 30, "the first thread does not end: {}", stat());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let (_, start) = parse_stat(&stat()).unwrap();
        assert_eq!(life_here(child.id(), start), Life::Alive);
        child.kill().unwrap();
        while std::path::Path::new(&format!("/proc/{}/task", child.id()))
            .read_dir()
            .is_ok_and(|all| all.count() > 1)
        {
            assert!(begun.elapsed().as_secs() < 30, "the threads do not end");
        }
        assert_eq!(life_here(child.id(), start), Life::Dead, "a zombie");
        child.wait().unwrap();
    }

    #[test]
    fn a_name_may_hold_anything() {
        let line = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(parse_stat(line), Some(('S', 4711)));
        assert_eq!(parse_stat("7 (a"), None);
    }
}
