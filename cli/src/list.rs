//! `h5lake ls FOLDER` and `h5lake du`: list containers as text or JSON.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::SystemTime;

use h5lake_container::Target;
use h5lake_ledger::{Access, At, Ledger, Version};
use serde_json::{Value, json};

use crate::Failure;
use crate::containers::{Containers, Kind, Row, below, folder_named};
use crate::find::{find_version, is_not_found};
use crate::output::{JsonArray, Output, Sink, complain};

/// The maximum width of a column on a terminal, in characters.
const MAX_WIDTH: usize = 60;

/// The newest version of a container, or the reason why it cannot be read.
type Newest = Result<Option<Version>, String>;

/// Lists the containers of a folder. With `long`, also reads the newest version of each container.
pub fn ls(found: &Containers, long: bool, output: Output) -> Result<(), Failure> {
    let newest = if long { found.newest_versions() } else { Vec::new() };
    let rows = || found.rows.iter().enumerate().filter(|(_, row)| row.kind != Kind::Deleted);
    let mut out = Sink::new(output == Output::Json);
    if output == Output::Json {
        let mut array = JsonArray::begin(&mut out)?;
        for name in &found.folders {
            array.add(&mut out, &json!({ "name": name, "kind": "folder" }))?;
        }
        for (n, row) in rows() {
            array.add(&mut out, &object(found, row, newest.get(n)))?;
        }
        array.end(&mut out)?;
    } else {
        let mut table = Table::new(if long { &LONG_TITLE } else { &LONG_TITLE[..3] });
        table.rows.extend(found.folders.iter().map(|name| vec![name.clone()]));
        table.rows.extend(rows().map(|(n, row)| line(row, newest.get(n))));
        table.write(&mut out)?;
    }
    out.finish()?;
    let unread = newest.iter().filter_map(|newest| newest.as_ref().err());
    finish(found.unread.iter().chain(unread))
}

/// Shows the size of each container below a folder, or of one container, and their sum.
pub fn du(name: &Path, output: Output) -> Result<(), Failure> {
    let (sizes, unread) = match folder_named(name)? {
        Some(folder) => sizes_of(Containers::of(folder, true)?),
        None => match size_of(name) {
            Ok(bytes) => (vec![(name.display().to_string(), "container", bytes)], Vec::new()),
            Err(error) if is_not_found(&error) => sizes_of(below(name, true)?.ok_or(error)?),
            Err(error) => return Err(error),
        },
    };
    let total: u64 = sizes.iter().map(|(_, _, bytes)| bytes).sum();
    let mut out = Sink::new(output == Output::Json);
    if output == Output::Json {
        let all: Vec<_> = sizes
            .iter()
            .map(|(name, kind, bytes)| json!({ "name": name, "kind": kind, "bytes": bytes }))
            .collect();
        out.line(&json!({ "bytes": total, "containers": all }).to_string())?;
    } else {
        let mut table = Table::new(&["bytes", "name"]);
        let name = |name: &str, kind: &str| match kind {
            "deleted" => format!("{name} (deleted, retained)"),
            _ => name.to_owned(),
        };
        table.rows.extend(sizes.iter().map(|(of, kind, bytes)| vec![bytes.to_string(), name(of, kind)]));
        table.rows.push(vec![total.to_string(), "total".to_owned()]);
        table.write(&mut out)?;
    }
    out.finish()?;
    finish(unread.iter())
}

/// The names, kinds and sizes of containers, and the errors of those that cannot be read.
type Sizes = (Vec<(String, &'static str, u64)>, Vec<String>);

/// Returns the sizes of all containers in a folder. Pointer files are left out, because their containers are elsewhere.
fn sizes_of(found: Containers) -> Sizes {
    let rows = found.rows.into_iter().filter(|row| !matches!(row.kind, Kind::Pointer(_)));
    let sizes = rows.map(|row| (row.name, kind_text(&row.kind), row.listed.bytes)).collect();
    (sizes, found.unread)
}

/// Returns the size of one container in bytes.
fn size_of(name: &Path) -> Result<u64, Failure> {
    let (place, options) = find_version(name, Access::ReadOnly)?;
    Ok(match place.target {
        Target::File(path) => Ledger::open_file(&path, Access::ReadOnly, options)?.size()?,
        Target::Objects { store, key, .. } => {
            Ledger::open_objects(store, &key, Access::ReadOnly, options)?.size()?
        }
    })
}

/// Shows the errors. Returns an error if there was one.
fn finish<'a>(unread: impl Iterator<Item = &'a String>) -> Result<(), Failure> {
    let mut count = 0;
    for why in unread {
        complain(why);
        count += 1;
    }
    if count == 0 { Ok(()) } else { Err(format!("{count} containers or files cannot be read").into()) }
}

fn kind_text(kind: &Kind) -> &'static str {
    match kind {
        Kind::Objects => "objects",
        Kind::File => "file",
        Kind::Pointer(_) => "pointer",
        Kind::Deleted => "deleted",
    }
}

fn time_text(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    At::Time(u64::try_from(since.as_micros()).unwrap_or(u64::MAX)).setting_value()
}

/// Returns a container as JSON. It has the fields of the newest version only if they were requested.
fn object(found: &Containers, row: &Row, newest: Option<&Newest>) -> Value {
    let mut object = json!({
        "name": row.name, "kind": kind_text(&row.kind), "location": found.location(row), "bytes": row.listed.bytes,
        "modified": row.listed.modified.map(time_text),
    });
    match newest {
        None => {}
        Some(Ok(newest)) => {
            let newest = newest.as_ref();
            object["version"] = json!(newest.map(|v| v.number));
            object["time"] = json!(newest.map(|v| At::Time(v.time).setting_value()));
            object["host"] = json!(newest.map(|v| &v.host));
            object["pid"] = json!(newest.map(|v| v.pid));
        }
        Some(Err(why)) => object["error"] = json!(why),
    }
    object
}

/// The titles of the columns. A list without the newest versions has only the first three.
const LONG_TITLE: [&str; 6] = ["name", "bytes", "modified", "version", "committed", "writer"];

/// Returns the cells of a line for a container.
fn line(row: &Row, newest: Option<&Newest>) -> Vec<String> {
    let none = || "-".to_owned();
    let modified = row.listed.modified.map_or_else(none, time_text);
    if let Kind::Pointer(url) = &row.kind {
        return vec![row.name.clone(), none(), modified, format!("-> {url}")];
    }
    let mut cells = vec![row.name.clone(), row.listed.bytes.to_string(), modified];
    match newest {
        None => {}
        Some(Ok(Some(v))) => {
            let writer = if v.host.is_empty() { none() } else { format!("{}@{}", v.pid, v.host) };
            cells.extend([v.number.to_string(), At::Time(v.time).setting_value(), writer]);
        }
        Some(Ok(None)) => cells.extend([none(), none(), none()]),
        Some(Err(_)) => cells.push("unreadable".to_owned()),
    }
    cells
}

/// A table. On a terminal, it has columns with titles; otherwise the cells are separated by tabs and there are no titles.
struct Table<'a> {
    title: &'a [&'a str],
    rows: Vec<Vec<String>>,
}

impl<'a> Table<'a> {
    fn new(title: &'a [&'a str]) -> Self {
        Self { title, rows: Vec::new() }
    }

    fn write(&self, out: &mut Sink) -> Result<(), Failure> {
        if !io::stdout().is_terminal() {
            return self.rows.iter().try_for_each(|row| out.cells(row));
        }
        let title: Vec<String> = self.title.iter().map(|&word| word.to_owned()).collect();
        let lines = || std::iter::once(&title).chain(&self.rows);
        // The last cell of a shorter line does not affect the width of its column, because nothing follows it.
        let has_column = |row: &&Vec<String>, n: usize| row.len() == title.len() || n + 1 < row.len();
        let width = |n: usize| {
            let cells = lines().filter(|row| has_column(row, n)).filter_map(|row| row.get(n));
            cells.map(|cell| cell.chars().count()).max()
        };
        let widths: Vec<usize> =
            (0..title.len()).map(|n| width(n).unwrap_or_default().min(MAX_WIDTH)).collect();
        for row in lines() {
            let cells = row.iter().enumerate().map(|(n, cell)| match self.title.get(n) {
                Some(&("bytes" | "version")) => format!("{cell:>0$}", widths[n]),
                Some(_) => format!("{cell:<0$}", widths[n]),
                None => cell.clone(),
            });
            out.named_line("", &cells.collect::<Vec<_>>().join("  "), false, "")?;
        }
        Ok(())
    }
}
