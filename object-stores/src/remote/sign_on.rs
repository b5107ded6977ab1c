//! Profiles with credentials from a login in a browser: AWS IAM Identity Center, formerly AWS Single Sign-On.
//!
//! `aws sso login` leaves the tokens of a login in a file. The format is that of AWS's tools ("IAM Identity Center
//! credential provider" of the AWS SDKs and Tools guide).

use std::path::PathBuf;

use sha1::{Digest as _, Sha1};

use super::amazon_services::{Endpoints, Service};
use super::hex::hex;
use super::options::{Environment, refusal};
use super::profile::{Profile, Profiles};
use crate::Result;

/// The settings that belong to a login.
const SETTINGS: [&str; 5] = ["sso_session", "sso_start_url", "sso_region", "sso_account_id", "sso_role_name"];

/// A role that a login permits.
pub(super) struct SignOn {
    /// The profile with the settings, for messages.
    pub(super) profile: String,
    /// The file with the tokens of the login.
    pub(super) token_file: PathBuf,
    pub(super) account: String,
    pub(super) role: String,
    /// The URL of the portal, which issues the credentials.
    pub(super) portal: String,
    /// The URL of the service that renews the login. The tokens of a login without `sso_session` cannot be renewed.
    pub(super) logins: Option<String>,
}

impl SignOn {
    /// Returns the login that a profile names, or `None` if the profile has no setting of a login.
    ///
    /// # Errors
    /// `InvalidArgument` if a setting is missing or contradicts another one.
    pub(super) fn of(
        name: &str,
        profile: &Profile,
        profiles: &Profiles,
        environment: &Environment,
        endpoints: &Endpoints<'_>,
    ) -> Result<Option<SignOn>> {
        let Some(first) = SETTINGS.into_iter().find(|setting| profile.contains_key(*setting)) else {
            return Ok(None);
        };
        for other in ["credential_process", "aws_access_key_id"] {
            if profile.contains_key(other) {
                let why = "of which AWS's tools choose differently; remove one of them";
                return refused(name, format!("has both '{first}' and '{other}', {why}"));
            }
        }
        let session = match profile.get("sso_session") {
            None => None,
            Some(session) => match profiles.sso_session(session) {
                Some(found) => Some((session, found)),
                None => {
                    let why = format!("'[sso-session {session}]'; 'aws configure sso' writes one");
                    return refused(
                        name,
                        format!("has sso_session '{session}', but there is no section {why}"),
                    );
                }
            },
        };
        let get = |setting: &str| {
            let of_session = session.as_ref().and_then(|(_, found)| found.get(setting));
            match (of_session, profile.get(setting)) {
                (Some(a), Some(b)) if a != b => refused(
                    name,
                    format!("and its 'sso_session' have different values of '{setting}'; remove one"),
                ),
                (Some(value), _) | (None, Some(value)) => Ok(value.clone()),
                (None, None) => refused(name, format!("has '{first}' without '{setting}'; add '{setting}'")),
            }
        };
        let (start, region) = (get("sso_start_url")?, get("sso_region")?);
        if region.is_empty() || !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return refused(name, "has an 'sso_region' that is no name of a region".to_owned());
        }
        let Some(home) = environment.get("HOME").filter(|home| !home.is_empty()) else {
            return refused(name, "needs the tokens of a login, which are below HOME; set HOME".to_owned());
        };
        let named_by = session.as_ref().map_or(&start, |(session, _)| session);
        let file = hex(&Sha1::digest(named_by.as_bytes())) + ".json";
        Ok(Some(SignOn {
            profile: name.to_owned(),
            token_file: PathBuf::from(home).join(".aws/sso/cache").join(file),
            account: get("sso_account_id")?,
            role: get("sso_role_name")?,
            portal: endpoints.url(Service::Portal, &region),
            logins: session.is_some().then(|| endpoints.url(Service::Logins, &region)),
        }))
    }

    /// Returns the services that the login needs, with their URLs.
    pub(super) fn services(&self) -> impl Iterator<Item = (Service, &str)> {
        let logins = self.logins.as_deref().map(|url| (Service::Logins, url));
        [(Service::Portal, self.portal.as_str())].into_iter().chain(logins)
    }

    /// Returns a text that differs for different logins and roles.
    pub(super) fn distinct(&self) -> String {
        let SignOn { profile: _, token_file, account, role, portal, logins } = self;
        format!("login {token_file:?} {account:?} {role:?} {portal:?} {logins:?}")
    }
}

fn refused<T>(profile: &str, why: String) -> Result<T> {
    Err(refusal(format!("the AWS profile '{profile}' {why}")))
}
