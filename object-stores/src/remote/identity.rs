//! Chooses the AWS identity that signs requests.
//!
//! The order is that of AWS's tools: keys in variables, a role for a web identity in variables, the profile, the role of
//! a container, the role of an instance. A setting that names an identity is either used or refused. It is
//! never replaced by another identity without an error.

use std::path::PathBuf;
use std::time::Duration;

use object_store::aws::AwsCredential;

use super::amazon_services::Endpoints;
use super::options::{Environment, is_yes, refusal};
use super::profile::{Profile, Profiles};
use super::sign_on::SignOn;
use crate::Result;

/// The duration of a role's session if no setting gives one.
const SESSION: Duration = Duration::from_secs(3600);
/// The longest session that AWS grants.
const MAX_SESSION_SECONDS: u64 = 12 * 3600;
/// The shortest session that AWS grants.
const MIN_SESSION_SECONDS: u64 = 900;
/// The maximum number of profiles that a chain of `source_profile` may have.
const MAX_CHAIN: usize = 10;

/// The metadata service of an instance, by IPv4 and by IPv6.
const METADATA: &str = "http://169.254.169.254";
const METADATA_IPV6: &str = "http://[fd00:ec2::254]";
/// The server of Amazon ECS that `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI` is relative to.
const ECS: &str = "http://169.254.170.2";
/// The hosts that may issue a container's credentials without encryption, besides loopback: those of ECS and EKS.
const PLAIN_HOSTS: [&str; 3] = ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];

/// A source of credentials.
pub(super) enum Source {
    Keys(AwsCredential),
    /// A program that prints credentials.
    Process {
        command: String,
        /// The profile with the setting `credential_process`.
        profile: String,
    },
    /// A role that a token of another identity provider permits.
    WebIdentity {
        role: Role,
        token_file: PathBuf,
    },
    /// A role that another identity assumes.
    Assumed {
        role: Role,
        by: Box<Source>,
    },
    SignOn(SignOn),
    Container(Container),
    Instance(Instance),
}

/// A role, and how to assume it.
#[derive(Clone)]
pub(super) struct Role {
    pub(super) arn: String,
    /// The setting that names the role, for messages.
    pub(super) setting: String,
    pub(super) session_name: String,
    pub(super) external_id: Option<String>,
    pub(super) duration: Duration,
}

/// The server that issues credentials for the role of a container.
pub(super) struct Container {
    pub(super) url: String,
    /// The variable that names the server.
    pub(super) variable: &'static str,
    pub(super) token: Option<ContainerToken>,
}

/// The token that a request for a container's credentials carries.
pub(super) enum ContainerToken {
    Text(String),
    File(PathBuf),
}

/// The metadata service of an instance.
#[derive(Clone)]
pub(super) struct Instance {
    pub(super) url: String,
    /// True if requests without a session token are permitted (`AWS_IMDSV1_FALLBACK`).
    pub(super) permits_v1: bool,
}

impl Source {
    /// Returns whether a role has to be assumed, which needs AWS's token service.
    pub(super) fn needs_sts(&self) -> bool {
        matches!(self, Source::WebIdentity { .. } | Source::Assumed { .. })
    }

    /// Returns the login in a browser that the source needs.
    pub(super) fn sign_on(&self) -> Option<&SignOn> {
        match self {
            Source::Assumed { by, .. } => by.sign_on(),
            Source::SignOn(login) => Some(login),
            _ => None,
        }
    }

    /// Returns the URL of the server on this machine or its network that issues the credentials.
    pub(super) fn local_url(&self) -> Option<&str> {
        match self {
            Source::Assumed { by, .. } => by.local_url(),
            Source::Container(container) => Some(&container.url),
            Source::Instance(instance) => Some(&instance.url),
            _ => None,
        }
    }

    /// Returns a text that differs for different sources. It contains secrets and is never shown.
    pub(super) fn distinct(&self) -> String {
        let role = |role: &Role| {
            let Role { arn, setting: _, session_name, external_id, duration } = role;
            format!("{arn:?} {session_name:?} {external_id:?} {duration:?}")
        };
        match self {
            Source::Keys(keys) => format!("keys {:?} {:?} {:?}", keys.key_id, keys.secret_key, keys.token),
            Source::SignOn(login) => login.distinct(),
            Source::Process { command, profile } => format!("process {profile:?} {command:?}"),
            Source::WebIdentity { role: r, token_file } => format!("web {} {token_file:?}", role(r)),
            Source::Assumed { role: r, by } => format!("assumed {} {}", role(r), by.distinct()),
            Source::Container(Container { url, token: Some(ContainerToken::Text(token)), .. }) => {
                format!("container {url:?} {token:?}")
            }
            Source::Container(Container { url, token: Some(ContainerToken::File(file)), .. }) => {
                format!("container {url:?} {file:?}")
            }
            Source::Container(Container { url, .. }) => format!("container {url:?}"),
            Source::Instance(Instance { url, permits_v1 }) => format!("instance {url:?} {permits_v1}"),
        }
    }
}

/// The variables and files that name identities.
pub(super) struct Identities<'a> {
    pub(super) environment: &'a Environment,
    pub(super) profiles: &'a Profiles,
    /// The settings of the chosen profile.
    pub(super) profile: &'a Profile,
    pub(super) endpoints: &'a Endpoints<'a>,
}

impl Identities<'_> {
    fn variable(&self, name: &str) -> Option<&String> {
        self.environment.get(name).filter(|value| !value.is_empty())
    }

    /// Returns the source of credentials, if there is any. `keys` are the keys from variables.
    pub(super) fn source(&self, keys: Option<AwsCredential>) -> Result<Option<Source>> {
        if let Some(keys) = keys {
            // The profile that a variable names may demand a role that these keys assume.
            let assumes = self.profiles.is_named
                && self.profile.contains_key("role_arn")
                && self.profile.get("credential_source").is_some_and(|source| source == "Environment");
            return match assumes {
                true => self.of_profile(&self.profiles.chosen, self.profile, Some(keys), &mut Vec::new()),
                false => Ok(Some(Source::Keys(keys))),
            };
        }
        if let Some(source) = self.web_identity()? {
            return Ok(Some(source));
        }
        if let Some(source) = self.of_profile(&self.profiles.chosen, self.profile, None, &mut Vec::new())? {
            return Ok(Some(source));
        }
        if let Some(container) = self.container()? {
            return Ok(Some(Source::Container(container)));
        }
        Ok(match self.metadata_is_disabled()? {
            true => None,
            false => Some(Source::Instance(self.instance()?)),
        })
    }

    /// Returns the role that `AWS_ROLE_ARN` and `AWS_WEB_IDENTITY_TOKEN_FILE` name.
    fn web_identity(&self) -> Result<Option<Source>> {
        const FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";
        let (arn, file) = match (self.variable("AWS_ROLE_ARN"), self.variable(FILE)) {
            (None, None) => return Ok(None),
            (Some(arn), Some(file)) => (arn, file),
            (Some(_), None) => {
                return Err(refusal(format!(
                    "AWS_ROLE_ARN is set without {FILE}; set both variables, or unset AWS_ROLE_ARN and name the role \
                     in an AWS profile (role_arn with source_profile or credential_source)"
                )));
            }
            (None, Some(_)) => {
                return Err(refusal(format!(
                    "{FILE} is set without AWS_ROLE_ARN; set both variables, or unset {FILE}"
                )));
            }
        };
        let role = Role {
            arn: arn.clone(),
            setting: "AWS_ROLE_ARN".to_owned(),
            session_name: self.session_name(self.variable("AWS_ROLE_SESSION_NAME")),
            external_id: None,
            duration: SESSION,
        };
        Ok(Some(Source::WebIdentity { role, token_file: file.into() }))
    }

    fn session_name(&self, given: Option<&String>) -> String {
        given.cloned().unwrap_or_else(|| "h5lake".to_owned())
    }

    /// Returns the server of a container's credentials, if a variable names it.
    fn container(&self) -> Result<Option<Container>> {
        const RELATIVE: &str = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
        const FULL: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
        let (url, variable) = match (self.variable(RELATIVE), self.variable(FULL)) {
            (Some(path), _) => (format!("{ECS}{path}"), RELATIVE),
            (None, Some(url)) => (url.clone(), FULL),
            (None, None) => return Ok(None),
        };
        let may_be_plain = |url: &url::Url| {
            let host = url.host_str().unwrap_or_default();
            let loopback = match url.host() {
                Some(url::Host::Ipv4(address)) => address.is_loopback(),
                Some(url::Host::Ipv6(address)) => address.is_loopback(),
                Some(url::Host::Domain(name)) => name == "localhost",
                None => false,
            };
            loopback || PLAIN_HOSTS.contains(&host)
        };
        let parsed = url::Url::parse(&url).map_err(|_| refusal(format!("{variable} is not a URL")))?;
        if parsed.scheme() != "https" && !(parsed.scheme() == "http" && may_be_plain(&parsed)) {
            return Err(refusal(format!(
                "{variable} is a URL with https; plain http is allowed only to this machine and to the servers of ECS \
                 and EKS, because the answer contains secrets"
            )));
        }
        // As in AWS's tools, the file takes precedence: its content is renewed.
        let token = match self.variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
            Some(file) => Some(ContainerToken::File(file.into())),
            None => self
                .variable("AWS_CONTAINER_AUTHORIZATION_TOKEN")
                .map(|text| ContainerToken::Text(text.clone())),
        };
        Ok(Some(Container { url, variable, token }))
    }

    fn metadata_is_disabled(&self) -> Result<bool> {
        const NAME: &str = "AWS_EC2_METADATA_DISABLED";
        is_yes(NAME, self.variable(NAME).map_or("", String::as_str))
    }

    /// Returns the metadata service of an instance.
    fn instance(&self) -> Result<Instance> {
        let yes = |name: &str| is_yes(name, self.variable(name).map_or("", String::as_str));
        let named = self
            .variable("AWS_EC2_METADATA_SERVICE_ENDPOINT")
            .or_else(|| self.variable("AWS_METADATA_ENDPOINT"))
            .or_else(|| self.profile.get("ec2_metadata_service_endpoint"));
        let mode = self
            .variable("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE")
            .or_else(|| self.profile.get("ec2_metadata_service_endpoint_mode"));
        let usual = match mode.map(|mode| mode.to_ascii_lowercase()).as_deref() {
            None | Some("ipv4") => METADATA,
            Some("ipv6") => METADATA_IPV6,
            Some(_) => return Err(refusal("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE is 'IPv4' or 'IPv6'")),
        };
        let url = named.map_or(usual, String::as_str).trim_end_matches('/').to_owned();
        let is_url = url::Url::parse(&url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !is_url {
            return Err(refusal("AWS_EC2_METADATA_SERVICE_ENDPOINT is a URL such as http://169.254.169.254"));
        }
        let permits_v1 = yes("AWS_IMDSV1_FALLBACK")? && !yes("AWS_EC2_METADATA_V1_DISABLED")?;
        Ok(Instance { url, permits_v1 })
    }

    /// Returns the source that a profile names, if it names any. `visited` are the profiles whose `source_profile` led
    /// here. `keys` are the keys from variables, for `credential_source = Environment`.
    fn of_profile(
        &self,
        name: &str,
        profile: &Profile,
        keys: Option<AwsCredential>,
        visited: &mut Vec<String>,
    ) -> Result<Option<Source>> {
        let has = |setting: &str| profile.contains_key(setting);
        let refused = |why: String| Err(refusal(format!("the AWS profile '{name}' {why}")));
        // The keys of a profile that another profile names as its source end the chain, as in AWS's tools.
        if !visited.is_empty() && has("aws_access_key_id") && has("role_arn") {
            return keys_of(name, profile);
        }
        if let Some(arn) = profile.get("role_arn") {
            return self.role_of(name, profile, arn, keys, visited).map(Some);
        }
        for setting in ["source_profile", "credential_source", "web_identity_token_file", "external_id"] {
            if has(setting) && !has("aws_access_key_id") {
                return refused(format!(
                    "has '{setting}' without 'role_arn'; add the role, or remove '{setting}'"
                ));
            }
        }
        if has("login_session") {
            return refused(format!(
                "gets its credentials by a login of a user ('login_session'), which is not supported here; run 'aws \
                 configure export-credentials --profile {name} --format env' and set these variables, or choose a profile \
                 with 'credential_process = aws configure export-credentials --profile {name}'"
            ));
        }
        if let Some(login) = SignOn::of(name, profile, self.profiles, self.environment, self.endpoints)? {
            return Ok(Some(Source::SignOn(login)));
        }
        match (profile.get("credential_process"), has("aws_access_key_id")) {
            (Some(_), true) => refused(
                "has both 'credential_process' and 'aws_access_key_id', of which AWS's tools choose differently; \
                 remove one of them"
                    .to_owned(),
            ),
            (Some(command), false) => {
                Ok(Some(Source::Process { command: command.clone(), profile: name.to_owned() }))
            }
            (None, _) => keys_of(name, profile),
        }
    }

    /// Returns the role that a profile names.
    fn role_of(
        &self,
        name: &str,
        profile: &Profile,
        arn: &str,
        keys: Option<AwsCredential>,
        visited: &mut Vec<String>,
    ) -> Result<Source> {
        let refused = |why: String| Err(refusal(format!("the AWS profile '{name}' {why}")));
        if profile.contains_key("mfa_serial") {
            return refused(format!(
                "demands a second factor ('mfa_serial'), which is not supported here; run 'aws configure \
                 export-credentials --profile {name} --format env' and set these variables"
            ));
        }
        let role = Role {
            arn: arn.to_owned(),
            setting: format!("role_arn of the AWS profile '{name}'"),
            session_name: self.session_name(profile.get("role_session_name")),
            external_id: profile.get("external_id").cloned(),
            duration: match profile.get("duration_seconds") {
                None => SESSION,
                Some(text) => match text.parse() {
                    Ok(seconds) if (MIN_SESSION_SECONDS..=MAX_SESSION_SECONDS).contains(&seconds) => {
                        Duration::from_secs(seconds)
                    }
                    _ => {
                        return refused(
                            "has a 'duration_seconds' that is not a number from 900 to 43200".into(),
                        );
                    }
                },
            },
        };
        let sources = ["web_identity_token_file", "source_profile", "credential_source"];
        let mut given = sources.into_iter().filter(|setting| profile.contains_key(*setting));
        let (first, second) = (given.next(), given.next());
        if let (Some(first), Some(second)) = (first, second) {
            return refused(format!("has both '{first}' and '{second}'; remove one of them"));
        }
        let value = first.and_then(|setting| profile.get(setting)).map_or("", String::as_str);
        let by = match first {
            Some("web_identity_token_file") if profile.contains_key("external_id") => {
                return refused(
                    "has both 'web_identity_token_file' and 'external_id'; remove one of them".into(),
                );
            }
            Some("web_identity_token_file") => {
                return Ok(Source::WebIdentity { role, token_file: value.into() });
            }
            Some("source_profile") => self.source_of(name, profile, value, visited)?,
            Some(_) => self.named_source(name, value, keys)?,
            None => {
                return refused(
                    "has 'role_arn' without 'source_profile', 'credential_source' or 'web_identity_token_file'; add \
                     one of them, so that it is known which identity assumes the role"
                        .into(),
                );
            }
        };
        Ok(Source::Assumed { role, by: Box::new(by) })
    }

    /// Returns the source that `source_profile` names.
    fn source_of(
        &self,
        name: &str,
        profile: &Profile,
        source: &str,
        visited: &mut Vec<String>,
    ) -> Result<Source> {
        let refused = |why: &str| {
            Err(refusal(format!("the AWS profile '{name}' has source_profile '{source}', {why}")))
        };
        let without = "which has no credentials; name a profile that has";
        if source == name {
            return keys_of(name, profile)?.map_or_else(|| refused(without), Ok);
        }
        visited.push(name.to_owned());
        if visited.iter().any(|visited| visited == source) || visited.len() > MAX_CHAIN {
            return refused("which leads back to itself; name a profile with credentials of its own");
        }
        let Some(found) = self.profiles.get(source)? else {
            return refused("but there is no such profile");
        };
        self.of_profile(source, &found, None, visited)?.map_or_else(|| refused(without), Ok)
    }

    /// Returns the source that `credential_source` names.
    fn named_source(&self, name: &str, source: &str, keys: Option<AwsCredential>) -> Result<Source> {
        let refused = |why: &str| {
            Err(refusal(format!("the AWS profile '{name}' has credential_source '{source}', {why}")))
        };
        match source {
            "Environment" => match keys {
                Some(keys) => Ok(Source::Keys(keys)),
                None => refused("but AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set"),
            },
            "EcsContainer" => match self.container()? {
                Some(container) => Ok(Source::Container(container)),
                None => refused(
                    "but neither AWS_CONTAINER_CREDENTIALS_RELATIVE_URI nor AWS_CONTAINER_CREDENTIALS_FULL_URI is set",
                ),
            },
            "Ec2InstanceMetadata" if self.metadata_is_disabled()? => {
                refused("but AWS_EC2_METADATA_DISABLED is set")
            }
            "Ec2InstanceMetadata" => Ok(Source::Instance(self.instance()?)),
            _ => refused("which is none of Environment, EcsContainer and Ec2InstanceMetadata"),
        }
    }
}

/// Returns the keys of a profile, if it has any.
fn keys_of(name: &str, profile: &Profile) -> Result<Option<Source>> {
    let get = |setting: &str| profile.get(setting).filter(|value| !value.is_empty());
    let (there, missing) = match (get("aws_access_key_id"), get("aws_secret_access_key")) {
        (Some(id), Some(secret)) => {
            let token = get("aws_session_token").cloned();
            return Ok(Some(Source::Keys(AwsCredential {
                key_id: id.clone(),
                secret_key: secret.clone(),
                token,
            })));
        }
        (None, None) => return Ok(None),
        (Some(_), None) => ("aws_access_key_id", "aws_secret_access_key"),
        (None, Some(_)) => ("aws_secret_access_key", "aws_access_key_id"),
    };
    Err(refusal(format!("the AWS profile '{name}' has '{there}' without '{missing}'; add '{missing}'")))
}
