//! `h5lake settings`: shows every setting, its possible values, and its present value.

use h5lake_connector::config::{Config, SETTINGS, Setting, value_in, variable};
use serde_json::{Value, json};

use crate::Failure;
use crate::output::{json_text, print};

/// Returns a setting as JSON. `value` is null if the default applies.
fn object(setting: &Setting, in_force: &str) -> Value {
    let Setting { key, values, default, meaning } = setting;
    let value = value_in(in_force, key);
    json!({
        "key": key, "variable": variable(key), "values": values, "default": default, "meaning": meaning, "value": value,
    })
}

/// Returns a setting as a line that begins with its present value.
fn line(setting: &Setting, in_force: &str) -> String {
    let Setting { key, values, default, meaning } = setting;
    let value = value_in(in_force, key).unwrap_or_else(|| format!("({default})"));
    format!("{key:<16} {value:<24} {:<24} {values}: {meaning}", variable(key))
}

/// Shows the settings that result from `HDF5_VOL_CONNECTOR` and the variables `H5LAKE_*`. An error names the setting that is wrong.
pub fn run(json: bool) -> Result<(), Failure> {
    let in_force = Config::from_environment()?.to_info_string();
    if json {
        let all: Vec<_> = SETTINGS.iter().map(|setting| object(setting, &in_force)).collect();
        print([json_text(&Value::from(all))])?;
        return Ok(());
    }
    let title = format!("{:<16} {:<24} {:<24} values: meaning", "setting", "in force (default)", "variable");
    print([title].into_iter().chain(SETTINGS.iter().map(|setting| line(setting, &in_force))))?;
    Ok(())
}
