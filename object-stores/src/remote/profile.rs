//! AWS's shared files: `~/.aws/credentials` and `~/.aws/config`.
//!
//! AWS defines the format ("Configuration and credential file settings" of the AWS SDKs and Tools guide): sections in
//! brackets, `name = value`, nested values indented, comments after `#` or `;` at the beginning of a line.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::options::{Environment, refusal};
use crate::Result;

/// The settings of one profile, by name in lower case.
pub(super) type Profile = BTreeMap<String, String>;

/// The services that issue credentials, by their names in a section `services`.
const SERVICES: [&str; 3] = ["sts", "sso", "sso_oidc"];

/// Returns the name under which [`Profiles::get`] returns the endpoint of a service that issues credentials.
pub(super) fn service_endpoint(service: &str) -> String {
    format!("{service} endpoint_url")
}

/// The settings that a profile gives indented below `s3 =`.
const OF_S3: [&str; 3] = ["addressing_style", "use_accelerate_endpoint", "use_dualstack_endpoint"];

/// The text of both files, and the name of the chosen profile.
pub(super) struct Profiles {
    config: String,
    credentials: String,
    /// The name of the chosen profile.
    pub(super) chosen: String,
    /// True if a variable names the chosen profile.
    pub(super) is_named: bool,
}

impl Profiles {
    /// Reads both files. A missing file is an empty file.
    pub(super) fn load(environment: &Environment) -> Profiles {
        let set = |name: &str| environment.get(name).filter(|value| !value.is_empty());
        let named = set("AWS_PROFILE").or_else(|| set("AWS_DEFAULT_PROFILE"));
        let file = |variable: &str, usual: &str| {
            let path = match set(variable) {
                Some(path) => Some(PathBuf::from(path)),
                None => set("HOME").map(|home| PathBuf::from(home).join(".aws").join(usual)),
            };
            path.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default()
        };
        Profiles {
            config: file("AWS_CONFIG_FILE", "config"),
            credentials: file("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
            chosen: named.map_or("default", String::as_str).to_owned(),
            is_named: named.is_some(),
        }
    }

    /// Returns the settings of the chosen profile. The result is empty without files.
    ///
    /// # Errors
    /// If a variable names a profile that neither file contains.
    pub(super) fn chosen(&self) -> Result<Profile> {
        match self.get(&self.chosen)? {
            None if self.is_named => Err(refusal(format!("there is no AWS profile '{}'", self.chosen))),
            found => Ok(found.unwrap_or_default()),
        }
    }

    /// Returns the settings of a profile from both files, if one of the files contains the profile. The credentials
    /// file takes precedence.
    pub(super) fn get(&self, name: &str) -> Result<Option<Profile>> {
        let in_config = |title: &str| {
            title == name && name == "default"
                || title.strip_prefix("profile ").is_some_and(|title| unquoted(title) == name)
        };
        let config = section(&self.config, in_config);
        let credentials = section(&self.credentials, |title| title == name);
        if config.is_none() && credentials.is_none() {
            return Ok(None);
        }
        let mut all = config.unwrap_or_default();
        all.extend(credentials.unwrap_or_default());
        if let Some(endpoint) = all.get("endpoint_url").cloned() {
            all.extend(SERVICES.map(|service| (service_endpoint(service), endpoint.clone())));
        }
        let of_s3 = nested(&self.config, in_config, "s3").unwrap_or_default();
        all.extend(of_s3.into_iter().filter(|(name, _)| OF_S3.contains(&name.as_str())));
        // Values for one service take precedence over values for all services.
        if let Some(services) = all.get("services").cloned() {
            let title = |title: &str| title.strip_prefix("services ").is_some_and(|t| t.trim() == services);
            let Some(found) = nested(&self.config, title, "s3") else {
                return Err(refusal(format!(
                    "the AWS profile '{name}' names services '{services}', but the file has no such section"
                )));
            };
            all.extend(found);
            for service in SERVICES {
                if let Some(endpoint) =
                    nested(&self.config, title, service).and_then(|mut f| f.remove("endpoint_url"))
                {
                    all.insert(service_endpoint(service), endpoint);
                }
            }
        }
        Ok(Some(all))
    }

    /// Returns the settings of a login (a section `sso-session`), if the configuration file contains it.
    pub(super) fn sso_session(&self, name: &str) -> Option<Profile> {
        let title =
            |title: &str| title.strip_prefix("sso-session ").is_some_and(|title| unquoted(title) == name);
        section(&self.config, title)
    }
}

/// Returns the name of a profile without the quotes that a name with blanks has.
fn unquoted(title: &str) -> &str {
    title.trim().trim_matches(['"', '\''])
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
    fn s3_settings_of_a_profile_take_precedence() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let file = ("AWS_CONFIG_FILE".into(), path.display().to_string());
            Profiles::load(&Environment::from([file])).chosen()
        };
        let profile = "[default]\nservices = local\nendpoint_url = http://all\n";
        let services =
            "[services local]\ndynamodb =\n  endpoint_url = http://no\ns3 =\n  endpoint_url = http://s3\n";
        assert_eq!(read(&format!("{profile}{services}")).unwrap()["endpoint_url"], "http://s3");
        assert_eq!(read(&format!("{services}{profile}")).unwrap()["endpoint_url"], "http://s3");
        let without = read(&format!("{profile}[services local]\nec2 =\n  endpoint_url = http://no\n"));
        assert_eq!(without.unwrap()["endpoint_url"], "http://all");
        assert!(read(profile).unwrap_err().to_string().contains("'local'"));
        let sts = "[services local]\ns3 =\n  endpoint_url = http://s3\nsts =\n  endpoint_url = http://sts\n";
        assert_eq!(read(&format!("{profile}{sts}")).unwrap()[&service_endpoint("sts")], "http://sts");
        assert_eq!(read(&format!("{profile}{services}")).unwrap()[&service_endpoint("sts")], "http://all");
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
        let read = |environment: &Environment| Profiles::load(environment).chosen();
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
