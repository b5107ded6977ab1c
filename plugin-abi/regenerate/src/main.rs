//! Writes what `h5lake-plugin-abi` keeps checked in, from HDF5's own headers:
//!
//! - `plugin-abi/src/generated/bindings.rs`: types and constants,
//! - `plugin-abi/src/generated/symbols.rs`: the table of function and data symbols,
//! - `plugin-abi/examples/layout/list.rs` and `tests-c/abi/layout.c`: the same list of sizes, offsets and
//!   values, once as Rust sees them and once as a C compiler does.
//!
//! Usage: `h5lake-regenerate <reference include dir> <other include dir>...`. The reference gives the types;
//! a function is required only if every directory declares it, alike and not as deprecated.

mod headers;
mod layout;
mod symbols;

use std::path::{Path, PathBuf};
use std::process::Command;

use headers::Headers;

fn main() {
    let dirs: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    if dirs.is_empty() {
        eprintln!("usage: h5lake-regenerate <reference include dir> [<other include dir>...]");
        std::process::exit(2);
    }
    let sets: Vec<Headers> = dirs.iter().map(|dir| Headers::read(dir)).collect();
    let abi = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this tool lies in plugin-abi");
    let generated = abi.join("src/generated");
    let reference = &sets[0];

    write_rust(&generated.join("bindings.rs"), &reference.bindings_source());
    write_rust(&generated.join("symbols.rs"), &symbols::source(&sets));
    write_rust(&abi.join("examples/layout/list.rs"), &layout::rust(&sets));
    write(&abi.join("../tests-c/abi/layout.c"), &layout::c(&sets));
}

/// Writes Rust text and formats it with the project's own settings.
fn write_rust(path: &Path, text: &str) {
    write(path, text);
    let done = Command::new("rustfmt").args(["--edition", "2024"]).arg(path).status().expect("rustfmt runs");
    assert!(done.success(), "rustfmt refused {}", path.display());
}

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("folder is made");
    std::fs::write(path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    println!("wrote {}", path.display());
}
