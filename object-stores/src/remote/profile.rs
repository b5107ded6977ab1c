//! AWS's shared files: `~/.aws/credentials` and `~/.aws/config`.
//!
//! AWS defines the format ("Configuration and credential file settings" of the AWS SDKs and Tools guide): sections in
//! brackets, `name = value`, nested values indented, comments after `#` or `;` at the beginning of a line.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::options::{Environment, refusal};
use crate::Result;

/// The settings by which a profile gets credentials in ways that are not supported.
pub(super) const UNSUPPORTED: [&str; 5] =
    ["credential_process", "sso_session", "sso_start_url", "source_profile", "login_session"];

/// Reads the values of the chosen profile from both files; the credentials file takes precedence. The result is empty
/// without files.
///
/// # Errors
/// If `AWS_PROFILE` names a profile that neither file contains.
pub(super) fn read(environment: &Environment) -> Result<BTreeMap<String, String>> {
    let set = |name: &str| environment.get(name).filter(|value| !value.is_empty());
    let asked = set("AWS_PROFILE").or_else(|| set("AWS_DEFAULT_PROFILE"));
    let name = asked.map_or("default", String::as_str);
    let file = |variable: &str, usual: &str| {
        let path = match set(variable) {
            Some(path) => Some(PathBuf::from(path)),
            None => set("HOME").map(|home| PathBuf::from(home).join(".aws").join(usual)),
        };
        path.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default()
    };
    let config_text = file("AWS_CONFIG_FILE", "config");
    let config = section(&config_text, |title| {
        title == name && name == "default" || title.strip_prefix("profile ").is_some_and(|t| t.trim() == name)
    });
    let credentials = section(&file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), |title| title == name);
    if config.is_none() && credentials.is_none() && asked.is_some() {
        return Err(refusal(format!("there is no AWS profile '{name}'")));
    }
    let mut all = config.unwrap_or_default();
    all.extend(credentials.unwrap_or_default());
    // Values for S3 alone take precedence over values for all services.
    if let Some(services) = all.get("services") {
        let title = |title: &str| title.strip_prefix("services ").is_some_and(|t| t.trim() == services);
        let Some(found) = nested(&config_text, title, "s3") else {
            return Err(refusal(format!(
                "the AWS profile names services '{services}', and no such section is there"
            )));
        };
        all.extend(found);
    }
    Ok(all)
}

/// Returns the indented values below `name =` in the sections with a matching title; `None` if there is no such
/// section.
fn nested(text: &str, is_wanted: impl Fn(&str) -> bool, name: &str) -> Option<BTreeMap<String, String>> {
    let (mut found, mut inside, mut below) = (None, false, false);
    for line in text.lines().filter(|line| !line.starts_with(['#', ';']) && !line.trim().is_empty()) {
        if let Some(title) = line.trim().strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            (inside, below) = (is_wanted(title.trim()), false);
            if inside {
                found.get_or_insert_with(BTreeMap::new);
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let key = key.trim().to_ascii_lowercase();
        if !line.starts_with([' ', '\t']) {
            below = inside && key == name;
        } else if let Some(found) = found.as_mut().filter(|_| inside && below) {
            found.insert(key, value.trim().to_owned());
        }
    }
    found
}

/// Returns the values of the sections with a matching title; `None` if there is no such section.
fn section(text: &str, is_wanted: impl Fn(&str) -> bool) -> Option<BTreeMap<String, String>> {
    let mut found = None;
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with(['#', ';']) || line.trim().is_empty() {
            continue;
        }
        if let Some(title) = line.trim().strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            inside = is_wanted(title.trim());
            if inside {
                found.get_or_insert_with(BTreeMap::new);
            }
            continue;
        }
        // An indented line belongs to the nested value above it.
        if let Some((name, value)) = line.split_once('=')
            && inside
            && !line.starts_with([' ', '\t'])
            && let Some(found) = &mut found
        {
            found.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_profile_says_of_s3_alone_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read(&Environment::from([("AWS_CONFIG_FILE".into(), path.display().to_string())]))
        };
        let profile = "[default]\nservices = local\nendpoint_url = http://all\n";
        let services =
            "[services local]\ndynamodb =\n  endpoint_url = http://no\ns3 =\n  endpoint_url = http://s3\n";
        assert_eq!(read(&format!("{profile}{services}")).unwrap()["endpoint_url"], "http://s3");
        assert_eq!(read(&format!("{services}{profile}")).unwrap()["endpoint_url"], "http://s3");
        let without = read(&format!("{profile}[services local]\nec2 =\n  endpoint_url = http://no\n"));
        assert_eq!(without.unwrap()["endpoint_url"], "http://all");
        assert!(read(profile).unwrap_err().to_string().contains("'local'"));
    }

    #[test]
    fn a_profile_is_read_from_both_files() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let config =
            write("config", "[default]\nregion = r1\n[profile other]\nregion=r2\ns3 =\n  region = no\n# x\n");
        let credentials =
            write("cred", "; c\n[other]\naws_access_key_id = A=B\naws_secret_access_key=S\n[x]\ny=1\n");
        let mut environment = Environment::from([
            ("AWS_CONFIG_FILE".into(), config),
            ("AWS_SHARED_CREDENTIALS_FILE".into(), credentials),
        ]);
        assert_eq!(read(&environment).unwrap(), BTreeMap::from([("region".into(), "r1".into())]));
        environment.insert("AWS_PROFILE".into(), "other".into());
        let other = read(&environment).unwrap();
        assert_eq!((other["region"].as_str(), other["aws_access_key_id"].as_str()), ("r2", "A=B"));
        environment.insert("AWS_PROFILE".into(), "gone".into());
        assert!(read(&environment).unwrap_err().to_string().contains("'gone'"));
    }
}
