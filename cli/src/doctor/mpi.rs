//! `h5lake doctor --mpi FOLDER`: checks whether the processes of an MPI program see each other's locks in a folder.
//!
//! The tool is not linked to MPI. The launcher tells each process its rank in an environment variable, and the processes
//! exchange messages by small files in `FOLDER/.h5lake-doctor`. Each message contains the random number of its process, so
//! that files of an earlier run that was killed are not mistaken for answers.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use h5lake_ledger::{LockFiles, ProbeLock, SeenLock};

use super::{Failure, Report};

/// The variables in which launchers tell a process its rank, and the number of processes.
const LAUNCHERS: [(&str, &str); 4] = [
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
];
/// The time for which a process waits for the messages of the other processes.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);
/// The greatest number of processes.
const MAX_PROCESSES: usize = 1 << 16;

/// One process of the program.
struct Process {
    folder: PathBuf,
    rank: usize,
    size: usize,
    number: u64,
}

/// Runs this process's part of the check. Returns the report in process 0, and `None` in every other process.
///
/// # Errors
/// If no launcher started this process, if the folder cannot be written, or if process 0 does not appear.
pub fn run(folder: &Path) -> Result<Option<Report>, Failure> {
    let (rank, size) = place()?;
    let process =
        Process { folder: folder.join(".h5lake-doctor"), rank, size, number: LockFiles::draw_run()? };
    fs::create_dir(&process.folder).or_else(|e| match e.kind() {
        io::ErrorKind::AlreadyExists => Ok(()),
        _ => Err(format!("cannot write to '{}': {e}", folder.display())),
    })?;
    if rank > 0 {
        return process.answer().map(|()| None);
    }
    let report = process.ask();
    process.clean_up();
    report.map(Some)
}

/// Returns this process's rank and the number of processes.
fn place() -> Result<(usize, usize), Failure> {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<usize>().ok());
    let found = LAUNCHERS.iter().find_map(|(rank, size)| Some((number(rank)?, number(size)?)));
    match found {
        Some((rank, size)) if rank < size && size <= MAX_PROCESSES => Ok((rank, size)),
        _ => Err("no MPI launcher started this process; run it as a program, for example 'mpiexec -n 2 h5lake doctor --mpi FOLDER' \
                  or 'srun -N 2 h5lake doctor --mpi FOLDER'"
            .into()),
    }
}

fn host() -> String {
    nix::unistd::gethostname().map_or_else(|_| "?".into(), |name| name.to_string_lossy().into_owned())
}

impl Process {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes a message that other processes see as a whole, or not at all.
    fn tell(&self, name: &str, text: &str) -> Result<(), Failure> {
        let new = self.path(&format!("{name}.new-{}", self.rank));
        Ok(fs::write(&new, text).and_then(|()| fs::rename(&new, self.path(name)))?)
    }

    /// Reads a message: a number of the process, and a text.
    fn message(&self, name: &str) -> Option<(u64, String)> {
        let text = fs::read_to_string(self.path(name)).ok()?;
        let (number, text) = text.split_once(' ')?;
        Some((number.parse().ok()?, text.to_owned()))
    }

    /// Announces this process to process 0, waits until process 0 holds its lock, and reports whether it is visible here.
    fn answer(&self) -> Result<(), Failure> {
        let begin = Instant::now();
        let run = loop {
            self.tell(&format!("rank-{}", self.rank), &format!("{} {}", self.number, host()))?;
            let go = self.message("go").filter(|(_, numbers)| {
                numbers.split(' ').nth(self.rank - 1) == Some(&*self.number.to_string())
            });
            if let Some((run, _)) = go {
                break run;
            }
            if begin.elapsed() > PATIENCE {
                let seconds = PATIENCE.as_secs();
                let text = format!(
                    "process {} on {}: process 0 did not appear in '{}' within {seconds} s; the folder is not the same on all nodes, or \
                     process 0 did not start",
                    self.rank,
                    host(),
                    self.folder.display()
                );
                return Err(text.into());
            }
            std::thread::sleep(PAUSE);
        };
        let seen = match SeenLock::of(&self.path("file"), run) {
            SeenLock::Seen => "seen",
            SeenLock::Unseen => "unseen",
            SeenLock::NoFile => "missing",
        };
        self.tell(&format!("result-{}", self.rank), &format!("{} {seen}", self.number))
    }

    /// Holds a lock until all other processes have answered, and reports what they see.
    fn ask(&self) -> Result<Report, Failure> {
        let mut report = Report::default();
        let probe = ProbeLock::hold(&self.path("file"), self.number);
        match &probe {
            ProbeLock::Held(_) => (),
            ProbeLock::Unsupported => report.problem(
                "file locks",
                "the file system has none",
                "mount it with locks (Lustre: 'flock'), or set HDF5_USE_FILE_LOCKING=BEST_EFFORT and let no other program write",
            ),
            ProbeLock::Unknown => {
                return Err(format!("cannot create or lock a file in '{}'", self.folder.display()).into());
            }
        }
        let begin = Instant::now();
        let mut asked = String::new();
        loop {
            let here: Vec<_> = (1..self.size).map(|rank| self.message(&format!("rank-{rank}"))).collect();
            let numbers: Vec<u64> = here.iter().flatten().map(|(number, _)| *number).collect();
            let go: Vec<String> = numbers.iter().map(u64::to_string).collect();
            let go = format!("{} {}", self.number, go.join(" "));
            if numbers.len() + 1 == self.size && go != asked {
                self.tell("go", &go)?;
                asked = go;
            }
            let results: Vec<_> = (1..self.size)
                .map(|rank| self.message(&format!("result-{rank}")))
                .zip(&here)
                .map(|(result, process)| match (result, process) {
                    (Some((number, seen)), Some((of, host))) if number == *of => Some((host.clone(), seen)),
                    _ => None,
                })
                .collect();
            let is_late = begin.elapsed() > PATIENCE;
            if is_late || results.iter().all(Option::is_some) {
                self.report(&mut report, &results, matches!(probe, ProbeLock::Held(_)));
                return Ok(report);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Adds what each process has answered to the report.
    fn report(&self, report: &mut Report, results: &[Option<(String, String)>], is_held: bool) {
        let mut hosts: Vec<&str> = results.iter().flatten().map(|(host, _)| &**host).collect();
        let mine = host();
        hosts.push(&mine);
        hosts.sort_unstable();
        hosts.dedup();
        report.tell("processes", format!("{} on {}", self.size, hosts.join(", ")));
        let silent = results.iter().position(Option::is_none).map(|index| index + 1);
        if let Some(rank) = silent {
            report.problem(
                "folder",
                format!("process {rank} did not appear within {} s", PATIENCE.as_secs()),
                "use a folder that is the same on all nodes, and start all processes",
            );
            return;
        }
        report.tell("folder", "the same in all processes");
        let is_unseen =
            |result: &Option<(String, String)>| result.as_ref().is_some_and(|(_, seen)| seen != "seen");
        match results.iter().position(is_unseen) {
            Some(index) if is_held => report.problem(
                "file locks",
                format!(
                    "process {} on {} does not see the lock of process 0 on {mine}",
                    index + 1,
                    results[index].as_ref().map_or("?", |(host, _)| host)
                ),
                "mount the file system with locks that all nodes see (Lustre: 'flock', not 'localflock'), or set \
                 HDF5_USE_FILE_LOCKING=BEST_EFFORT and let no other program write",
            ),
            None if is_held && self.size > 1 => report.tell("file locks", "seen by all processes"),
            None if is_held => report.tell("file locks", "one process alone; start several, on several nodes"),
            _ => (),
        }
    }

    /// Deletes the messages, and the folder if nothing else is in it.
    fn clean_up(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("rank-") || name.starts_with("result-") || name.starts_with("go") {
                let _folder_stays = fs::remove_file(entry.path());
            }
        }
        let _has_other_files = fs::remove_dir(&self.folder);
    }
}
