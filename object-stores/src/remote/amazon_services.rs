//! The URLs of Amazon's services that issue credentials.

use url::Url;

use super::options::{Environment, refusal};
use super::profile::{Profile, service_endpoint};
use super::s3_endpoint::{Variants, is_amazons};
use crate::Result;

/// A service of Amazon's that issues credentials, or what they are requested with.
#[derive(Clone, Copy)]
pub(super) enum Service {
    /// The token service (STS), which issues the credentials of a role.
    Roles,
    /// The portal of IAM Identity Center, which issues the credentials of a role for a login.
    Portal,
    /// The service of IAM Identity Center that renews logins.
    Logins,
}

impl Service {
    /// Returns the variable with the service's endpoint. AWS's tools form its name from the name of the service.
    pub(super) fn variable(self) -> &'static str {
        match self {
            Service::Roles => "AWS_ENDPOINT_URL_STS",
            Service::Portal => "AWS_ENDPOINT_URL_SSO",
            Service::Logins => "AWS_ENDPOINT_URL_SSO_OIDC",
        }
    }

    /// Returns the name of the service in AWS's configuration file.
    fn section(self) -> &'static str {
        match self {
            Service::Roles => "sts",
            Service::Portal => "sso",
            Service::Logins => "sso_oidc",
        }
    }

    /// Returns the part of the host before the region.
    fn host(self) -> &'static str {
        match self {
            Service::Roles => "sts",
            Service::Portal => "portal.sso",
            Service::Logins => "oidc",
        }
    }
}

/// The settings that choose the endpoints of these services.
pub(super) struct Endpoints<'a> {
    pub(super) environment: &'a Environment,
    /// The settings of the chosen profile.
    pub(super) profile: &'a Profile,
    pub(super) variants: &'a Variants,
    /// The endpoint of all services.
    pub(super) of_all: Option<String>,
}

impl Endpoints<'_> {
    /// Returns the URL of a service in a region. As for AWS's tools, an endpoint of all services is also that of these
    /// services, unless it is Amazon's own for S3.
    pub(super) fn url(&self, service: Service, region: &str) -> String {
        let by_variable = self.environment.get(service.variable()).filter(|url| !url.is_empty());
        let of_profile = self.profile.get(&service_endpoint(service.section()));
        let general = [self.of_all.as_ref(), of_profile].into_iter().flatten();
        let given = by_variable.or_else(|| general.into_iter().find(|url| !is_amazons(url)));
        match given {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => self.variants.service(service.host(), region),
        }
    }
}

/// Refuses the URL of a service to which requests would not be encrypted, unless plain http is allowed.
///
/// # Errors
/// `InvalidArgument` with the name of the variable that gives another URL.
pub(super) fn check(service: Service, url: &str, allows_http: bool) -> Result<()> {
    let variable = service.variable();
    let scheme = Url::parse(url).ok().and_then(|url| {
        let has_user = !url.username().is_empty() || url.password().is_some();
        (!has_user).then(|| url.scheme().to_owned())
    });
    match scheme.as_deref() {
        Some("https") => Ok(()),
        Some("http") if allows_http => Ok(()),
        Some("http") => Err(refusal(format!(
            "the endpoint of a service that issues credentials ({variable} or AWS_ENDPOINT_URL) is plain http, which is \
             not encrypted; AWS_ALLOW_HTTP=true allows it"
        ))),
        _ => Err(refusal(format!(
            "{variable} is a URL such as https://{}.us-east-1.amazonaws.com",
            service.host()
        ))),
    }
}
