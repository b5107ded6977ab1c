//! `h5lake materialize`: copies what a container refers to, so that the native files may go away.

use std::path::Path;

use h5lake_container::{Container, Options, Referenced};
use h5lake_ledger::Access;
use serde_json::{Value, json};

use crate::Failure;
use crate::find::{check_container, find_place, open};
use crate::output::{Output, print};

/// Copies what the newest version refers to; with `dry_run` only tells what there is.
pub fn run(name: &Path, dry_run: bool, output: Output) -> Result<(), Failure> {
    if dry_run {
        return show(name, output);
    }
    let (place, ledger) = find_place(name, Access::ReadWrite)?;
    check_container(name, &place)?;
    let container =
        Container::open(&place.target, Access::ReadWrite, Options { ledger, ..Options::default() })?;
    let all: u64 = container.referenced()?.values().map(|of| of.bytes).sum();
    let bar = output.bar("materialize");
    let done = container.materialize(&mut |done| bar.show(done, all));
    drop(bar);
    let done = done?;
    let shown = name.display().to_string();
    print([match output {
        Output::Json => json!({ "name": shown, "blocks": done.blocks, "bytes": done.bytes }).to_string(),
        _ if done.bytes == 0 => format!("{shown}: refers to no other file"),
        _ => format!(
            "{shown}: {} bytes in {} blocks were copied; the newest version needs no other file",
            done.bytes, done.blocks
        ),
    }])?;
    Ok(())
}

fn show(name: &Path, output: Output) -> Result<(), Failure> {
    let container = open(name)?;
    let all = container.referenced()?;
    let shown = name.display().to_string();
    let named = |number: u32| container.source_name(number);
    if output == Output::Json {
        let mut sources = Vec::new();
        for (number, Referenced { blocks, bytes }) in &all {
            sources.push(json!({ "source": named(*number)?, "blocks": blocks, "bytes": bytes }));
        }
        print([json!({ "name": shown, "sources": Value::Array(sources) }).to_string()])?;
        return Ok(());
    }
    if all.is_empty() {
        print([format!("{shown}: refers to no other file")])?;
        return Ok(());
    }
    let mut lines = vec![format!("{:>15}  {:>10}  source", "bytes", "blocks")];
    for (number, Referenced { blocks, bytes }) in &all {
        lines.push(format!("{bytes:>15}  {blocks:>10}  {}", named(*number)?));
    }
    print(lines)?;
    Ok(())
}
