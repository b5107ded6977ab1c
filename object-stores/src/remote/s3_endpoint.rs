//! The endpoints of Amazon's S3: variants for FIPS, IPv6 and acceleration, and access points.

use object_store::aws::AmazonS3ConfigKey as ConfigKey;
use url::Url;

use super::options::{Environment, is_yes, refusal};
use super::profile::Profile;
use super::s3::S3Settings;
use crate::Result;

pub(super) const DEFAULT_REGION: &str = "us-east-1";

/// The bucket that a URL names.
pub(super) enum Bucket {
    Named,
    AccessPoint(AccessPoint),
}

/// An access point, which is named by an ARN instead of a bucket.
pub(super) struct AccessPoint {
    region: String,
    account: String,
    name: String,
    domain: &'static str,
}

impl AccessPoint {
    /// Returns the first label of the access point's host.
    pub(super) fn label(&self) -> String {
        format!("{}-{}", self.name, self.account)
    }
}

impl Bucket {
    /// Recognises access points, and refuses buckets of kinds that are not supported.
    pub(super) fn parse(bucket: &str) -> Result<Bucket> {
        if bucket.ends_with("--x-s3") || bucket.ends_with("--xa-s3") {
            return Err(refusal(format!(
                "'{bucket}' is a directory bucket of S3 Express One Zone, which is not supported, because its listings \
                 are not ordered and cannot begin after a key; use a general purpose bucket"
            )));
        }
        let Some(arn) = bucket.strip_prefix("arn:") else { return Ok(Bucket::Named) };
        let refused = |why: &str| Err(refusal(format!("cannot use '{bucket}' as a bucket: {why}")));
        let parts: Vec<&str> = arn.splitn(5, ':').collect();
        let &[partition, service, region, account, resource] = parts.as_slice() else {
            return refused("an access point is written arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME");
        };
        let name = resource.strip_prefix("accesspoint/").or_else(|| resource.strip_prefix("accesspoint:"));
        let is_label = |text: &str| {
            !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        match (service, name) {
            ("s3-object-lambda", _) => {
                refused("access points of S3 Object Lambda are not supported, because they change objects")
            }
            ("s3-outposts", _) => refused("S3 on Outposts is not supported; use a bucket in a region"),
            ("s3express", _) => refused("directory buckets are not supported; use a general purpose bucket"),
            ("s3", Some(_)) if region.is_empty() => refused(
                "multi-region access points are not supported, because they need signatures for all regions (SigV4A); \
                 use the access point or the bucket of one region",
            ),
            ("s3", Some(name)) if [region, account, name].into_iter().all(is_label) => {
                Ok(Bucket::AccessPoint(AccessPoint {
                    region: region.to_owned(),
                    account: account.to_owned(),
                    name: name.to_owned(),
                    domain: if partition == "aws-cn" { CHINA } else { WORLD },
                }))
            }
            _ => refused("an access point is written arn:aws:s3:REGION:ACCOUNT:accesspoint/NAME"),
        }
    }
}

const WORLD: &str = "amazonaws.com";
const CHINA: &str = "amazonaws.com.cn";

fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { CHINA } else { WORLD }
}

/// Returns whether an endpoint is Amazon's own.
pub(super) fn is_amazons(endpoint: &str) -> bool {
    let is_below = |host: &str, domain| host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    Url::parse(endpoint)
        .is_ok_and(|url| url.host_str().is_some_and(|host| is_below(host, WORLD) || is_below(host, CHINA)))
}

/// The variants of Amazon's endpoints, with the setting that demands each variant.
pub(super) struct Variants {
    fips: Option<&'static str>,
    dual_stack: Option<&'static str>,
    accelerated: Option<&'static str>,
}

impl Variants {
    /// Reads the variants from variables and from the chosen profile; variables take precedence.
    pub(super) fn of(environment: &Environment, profile: &Profile) -> Result<Variants> {
        let find = |variable: &'static str, setting: &'static str| {
            let by_variable = environment.get(variable).filter(|value| !value.is_empty());
            let (name, value) = match by_variable {
                Some(value) => (variable, Some(value)),
                None => (setting, profile.get(setting)),
            };
            Ok(is_yes(name, value.map_or("", String::as_str))?.then_some(name))
        };
        Ok(Variants {
            fips: find("AWS_USE_FIPS_ENDPOINT", "use_fips_endpoint")?,
            dual_stack: find("AWS_USE_DUALSTACK_ENDPOINT", "use_dualstack_endpoint")?,
            accelerated: find("AWS_S3_USE_ACCELERATE_ENDPOINT", "use_accelerate_endpoint")?,
        })
    }

    /// Returns the URL of a service that issues credentials in a region; `host` is the part of its host before the region.
    pub(super) fn service(&self, host: &str, region: &str) -> String {
        let fips = if self.fips.is_some() { "-fips" } else { "" };
        match self.dual_stack {
            Some(_) => format!("https://{host}{fips}.{region}.api.aws"),
            None => format!("https://{host}{fips}.{region}.{}", domain(region)),
        }
    }
}

/// Sets the endpoint if a variant, an access point or the region needs another one than the library's default.
pub(super) fn set(options: &mut S3Settings, bucket: &Bucket, variants: &Variants) -> Result<()> {
    if options.is_yes(&ConfigKey::S3Express)? {
        return Err(refusal(
            "AWS_S3_EXPRESS is set, but S3 Express One Zone is not supported, because its listings are not ordered; \
             unset AWS_S3_EXPRESS and use a general purpose bucket",
        ));
    }
    let is_label =
        |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if let Bucket::AccessPoint(point) = bucket {
        options.set(&ConfigKey::Region, point.region.clone());
        options.set(&ConfigKey::VirtualHostedStyleRequest, "true");
    }
    let Variants { fips, dual_stack, accelerated } = variants;
    let has_endpoint = options.endpoint().is_some();
    if let Some(setting) = fips.or(*dual_stack).or(*accelerated)
        && has_endpoint
    {
        return Err(refusal(format!(
            "'{setting}' chooses an endpoint of Amazon's, but another setting (such as AWS_ENDPOINT_URL) names the \
             endpoint; remove one of them"
        )));
    }
    let region = options.region().to_owned();
    if has_endpoint {
        return Ok(());
    }
    if !is_label(&region) {
        return Err(refusal("AWS_REGION is the name of a region such as eu-central-1"));
    }
    let dual = if dual_stack.is_some() { ".dualstack" } else { "" };
    let fips_part = if fips.is_some() { "-fips" } else { "" };
    let endpoint = match (bucket, accelerated) {
        (_, Some(accelerated)) if let Some(fips) = fips => {
            return Err(refusal(format!(
                "'{accelerated}' and '{fips}' exclude each other, because accelerated endpoints have no FIPS variant; \
                 remove one of them"
            )));
        }
        (Bucket::AccessPoint(_), Some(accelerated)) => {
            return Err(refusal(format!(
                "'{accelerated}' does not apply to access points; remove it, or name the bucket"
            )));
        }
        (Bucket::AccessPoint(point), None) => {
            format!("https://s3-accesspoint{fips_part}{dual}.{region}.{}", point.domain)
        }
        (Bucket::Named, Some(_)) => {
            options.set(&ConfigKey::VirtualHostedStyleRequest, "true");
            format!("https://s3-accelerate{dual}.{WORLD}")
        }
        (Bucket::Named, None) if fips.is_some() || dual_stack.is_some() || domain(&region) != WORLD => {
            format!("https://s3{fips_part}{dual}.{region}.{}", domain(&region))
        }
        (Bucket::Named, None) => return Ok(()),
    };
    options.set(&ConfigKey::S3Endpoint, endpoint);
    Ok(())
}
