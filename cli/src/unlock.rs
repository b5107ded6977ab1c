//! `h5lake unlock`: removes the lock of a container from its writer.

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;

use h5lake_container::Target;
use h5lake_ledger::{Access, Ledger, LockHolder};
use object_stores::shell_quoted;
use serde_json::json;

use crate::Failure;
use crate::find::find;
use crate::output::{complain, json_text, print};

/// Describes the holder of the lock, and whether its process is alive.
fn describe(lock: &LockHolder) -> String {
    let Some(holder) = &lock.holder else { return "the lock is damaged and protects no writer".into() };
    let process = format!("process {} on {}", holder.pid, holder.host);
    match lock.lives {
        Some(true) => format!("{process} lives and has it open for writing"),
        Some(false) => format!("{process} had it open for writing and is dead"),
        None => format!("{process} has it open for writing; whether it lives cannot be seen from here"),
    }
}

/// Asks the user on a terminal for confirmation.
fn confirmed() -> Result<bool, Failure> {
    if !io::stdin().is_terminal() {
        return Err("nothing was changed; say --yes to take the lock away".into());
    }
    eprint!("Type 'yes' to take the lock away: ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

pub(crate) fn run(name: &Path, yes: bool, json: bool) -> Result<(), Failure> {
    let (store, key) = match find(name, Access::ReadWrite)?.0 {
        Target::Objects { store, key, .. } => (store, key),
        Target::File(_) => {
            let why =
                "the lock of a local file ends with the process that holds it; end that process instead";
            return Err(format!("{}: {why}", name.display()).into());
        }
    };
    let Some(lock) = Ledger::lock_holder(store.as_ref(), &key)? else {
        return report(name, json, false);
    };
    complain(&format!("{}: {}", name.display(), describe(&lock)));
    if let Some(folder) = &lock.stage {
        let host = lock.holder.as_ref().map_or("its machine", |holder| &holder.host);
        let folder = shell_quoted(folder);
        complain(&format!(
            "commits that it staged may not have arrived: 'h5lake drain {folder}' on {host} brings them, and no longer \
             once somebody else has written"
        ));
    }
    if lock.lives != Some(false) {
        complain("if that writer lives, it loses all that it has not committed");
    }
    if !yes && !confirmed()? {
        return Err("nothing was changed".into());
    }
    Ledger::break_lock(store.as_ref(), &key, &lock)?;
    report(name, json, true)
}

/// Reports whether a lock was removed.
fn report(name: &Path, json: bool, unlocked: bool) -> Result<(), Failure> {
    let name = name.display().to_string();
    let done = if unlocked { "unlocked" } else { "is not locked" };
    let text = json_text(&json!({ "name": name, "unlocked": unlocked }));
    Ok(print([if json { text } else { format!("{name}: {done}") }])?)
}
