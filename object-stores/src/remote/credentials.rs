//! Gets and renews credentials from AWS's token service, from the servers of containers and instances, and from
//! programs.
//!
//! `object_store` has providers for some of these sources. They cannot assume a role with other credentials, run no
//! program, ignore a container's URI that has no token file, and drop the servers' reasons; so only the signature of
//! requests is `object_store`'s.

mod answers;
mod cache;
mod process;
mod sign_on;

use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use object_store::CredentialProvider;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpClient, HttpRequestBody};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};

use self::answers::{
    TRIES, form, issued, json_reason, kind_of, of_json, origin, request, said, send, unescaped, without,
};
pub(super) use self::cache::Cache;
use self::cache::Issued;
use self::process::of_process;
use self::sign_on::of_sign_on;
use super::StoreResult;
use super::failure::{NoCredentials, element};
use super::identity::{Container, ContainerToken, Instance, Role, Source};
use crate::ErrorKind;

const METADATA_TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");
const METADATA_TOKEN_TIME: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");

/// The error that no source of credentials was found.
pub(super) const NONE: &str = "no credentials for S3 were found: neither AWS_ACCESS_KEY_ID and \
                               AWS_SECRET_ACCESS_KEY, nor a profile, nor the role of a container or an instance \
                               (AWS_SKIP_SIGNATURE=true reads anonymously)";

const NO_CLIENT: &str = "there is no client for the services that issue credentials";

type Got<T> = Result<T, NoCredentials>;

/// The endpoint of AWS's token service.
#[derive(Clone)]
pub(super) struct TokenService {
    pub(super) url: String,
    /// The region for which requests are signed.
    pub(super) region: String,
}

/// A provider that gets credentials when they are needed, and renews them before they end.
pub(super) struct Provider {
    pub(super) source: Arc<Source>,
    pub(super) sts: TokenService,
    /// The client of Amazon's services that issue credentials, if the source needs them.
    pub(super) services: Option<HttpClient>,
    /// The client of the servers of containers and instances, if the source needs it.
    pub(super) local: Option<HttpClient>,
    pub(super) cached: Cache,
}

impl std::fmt::Debug for Provider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Provider").finish_non_exhaustive()
    }
}

impl CredentialProvider for Provider {
    type Credential = AwsCredential;

    fn get_credential<'a, 'b>(&'a self) -> BoxFuture<'b, StoreResult<Arc<AwsCredential>>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async {
            self.cached
                .get(|| self.fetch(&self.source))
                .await
                .map_err(|none| object_store::Error::Generic { store: "S3", source: Box::new(none) })
        })
    }
}

impl Provider {
    fn fetch<'a>(&'a self, source: &'a Source) -> BoxFuture<'a, Got<Issued>> {
        Box::pin(async move {
            match source {
                Source::Keys(keys) => Ok(Issued {
                    credential: AwsCredential {
                        key_id: keys.key_id.clone(),
                        secret_key: keys.secret_key.clone(),
                        token: keys.token.clone(),
                    },
                    ends: None,
                }),
                Source::Process { command, profile } => of_process(command.clone(), profile.clone()).await,
                Source::WebIdentity { role, token_file } => self.with_web_identity(role, token_file).await,
                Source::Assumed { role, by } => {
                    let by = self.fetch(by).await?.credential;
                    self.assumed(role, &by).await
                }
                Source::SignOn(login) => match &self.services {
                    Some(client) => of_sign_on(client, login).await,
                    None => Err(refused(ErrorKind::Io, NO_CLIENT.to_owned())),
                },
                Source::Container(container) => self.of_container(container).await,
                Source::Instance(instance) => self.of_instance(instance).await,
            }
        })
    }

    /// Assumes a role with a token of another identity provider.
    async fn with_web_identity(&self, role: &Role, token_file: &Path) -> Got<Issued> {
        let token = std::fs::read_to_string(token_file).map_err(|e| {
            refused(
                ErrorKind::Unauthenticated,
                format!(
                    "cannot assume the role {} ({}): the web identity token file {} cannot be read: {e}",
                    role.arn,
                    role.setting,
                    token_file.display()
                ),
            )
        })?;
        let token = token.trim();
        let form = form("AssumeRoleWithWebIdentity", role, &[("WebIdentityToken", Some(token))]);
        self.ask_sts(role, form, None, token).await
    }

    /// Assumes a role with credentials.
    async fn assumed(&self, role: &Role, by: &AwsCredential) -> Got<Issued> {
        let form = form("AssumeRole", role, &[("ExternalId", role.external_id.as_deref())]);
        self.ask_sts(role, form, Some(by), &by.secret_key).await
    }

    async fn ask_sts(
        &self,
        role: &Role,
        form: String,
        signer: Option<&AwsCredential>,
        secret: &str,
    ) -> Got<Issued> {
        let why = |kind, why: String| {
            let why = without(why, secret);
            refused(kind, format!("cannot assume the role {} ({}): {why}", role.arn, role.setting))
        };
        let client = self.services.as_ref().ok_or_else(|| why(ErrorKind::Io, NO_CLIENT.to_owned()))?;
        let sts = &self.sts;
        let make = || {
            let mut request = request(Method::POST, &sts.url, form.clone().into())?;
            let kind = HeaderValue::from_static("application/x-www-form-urlencoded");
            request.headers_mut().insert(CONTENT_TYPE, kind);
            if let Some(signer) = signer {
                AwsAuthorizer::new(signer, "sts", &sts.region)
                    .try_authorize(&mut request, None)
                    .map_err(|_| "the request cannot be signed".to_owned())?;
            }
            Ok(request)
        };
        let answer = send(client, TRIES, make).await;
        let (status, text) =
            answer.map_err(|(kind, e)| why(kind, format!("the token service {} {e}", sts.url)))?;
        let get = |name| element(&text, name).map(|text| unescaped(&text));
        if !status.is_success() {
            let code = get("Code").unwrap_or_default();
            let said = said(status, &code, &get("Message").unwrap_or_default());
            return Err(why(kind_of(status, &code), format!("the token service {} says {said}", sts.url)));
        }
        let fields = [get("AccessKeyId"), get("SecretAccessKey"), get("SessionToken"), get("Expiration")];
        issued(fields)
            .map_err(|e| why(ErrorKind::Io, format!("the answer of the token service {} {e}", sts.url)))
    }

    /// Gets the credentials of a container's role.
    async fn of_container(&self, container: &Container) -> Got<Issued> {
        let Container { url, variable, token } = container;
        let begin = format!("cannot get the credentials of the container's role ({variable}): ");
        let why = |kind, why: String| refused(kind, format!("{begin}{why}"));
        let token = match token {
            None => None,
            Some(ContainerToken::Text(token)) => Some(token.clone()),
            Some(ContainerToken::File(path)) => Some(
                std::fs::read_to_string(path)
                    .map_err(|e| {
                        let file = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
                        let text = format!("{file}, {}, cannot be read: {e}", path.display());
                        why(ErrorKind::Unauthenticated, text)
                    })?
                    .trim()
                    .to_owned(),
            ),
        };
        let client =
            self.local.as_ref().ok_or_else(|| why(ErrorKind::Io, "there is no client".to_owned()))?;
        let make = || {
            let mut request = request(Method::GET, url, HttpRequestBody::empty())?;
            if let Some(token) = &token {
                let value = HeaderValue::from_str(token).map_err(|_| {
                    "the authorization token contains characters that no header may".to_owned()
                })?;
                request.headers_mut().insert(AUTHORIZATION, value);
            }
            Ok(request)
        };
        let server = origin(url);
        let (status, text) = send(client, TRIES, make)
            .await
            .map_err(|(kind, e)| why(kind, format!("the server {server} {e}")))?;
        if !status.is_success() {
            let (code, message) = json_reason(&text);
            let said = said(status, &code, &message);
            let said = token.iter().fold(said, |said, token| without(said, token));
            return Err(why(kind_of(status, &code), format!("the server {server} says {said}")));
        }
        of_json(&text, "Token")
            .map_err(|e| why(ErrorKind::Io, format!("the answer of the server {server} {e}")))
    }

    /// Gets the credentials of an instance's role.
    async fn of_instance(&self, instance: &Instance) -> Got<Issued> {
        const PATH: &str = "/latest/meta-data/iam/security-credentials/";
        let url = &instance.url;
        let why = |kind, why: String| refused(kind, format!("{NONE}; the metadata service {url} {why}"));
        let client = self.local.as_ref().ok_or_else(|| why(ErrorKind::Io, "has no client".to_owned()))?;
        let begin = || {
            let mut request =
                request(Method::PUT, &format!("{url}/latest/api/token"), HttpRequestBody::empty())?;
            request.headers_mut().insert(METADATA_TOKEN_TIME, HeaderValue::from_static("600"));
            Ok(request)
        };
        let unreachable = |(_, e)| why(ErrorKind::Unauthenticated, e);
        let answered = |what: &str, status: StatusCode, text: &str| {
            let (code, message) = json_reason(text);
            let said = said(status, &code, &message);
            why(kind_of(status, &code), format!("says {said}, when {what} was requested"))
        };
        // Outside of Amazon's machines no server answers, which has to be noticed soon.
        let token = match send(client, 1, begin).await.map_err(unreachable)? {
            (status, token) if status.is_success() => Some(
                HeaderValue::from_str(token.trim())
                    .map_err(|_| why(ErrorKind::Io, "returned an invalid session token".to_owned()))?,
            ),
            (StatusCode::FORBIDDEN, _) if instance.permits_v1 => None,
            (status, text) => return Err(answered("a session token", status, &text)),
        };
        let get = |path: String| {
            let token = token.clone();
            move || {
                let mut request = request(Method::GET, &path, HttpRequestBody::empty())?;
                if let Some(token) = &token {
                    request.headers_mut().insert(METADATA_TOKEN, token.clone());
                }
                Ok(request)
            }
        };
        let (status, roles) = send(client, TRIES, get(format!("{url}{PATH}"))).await.map_err(unreachable)?;
        let role = roles.lines().next().unwrap_or_default().trim();
        if status == StatusCode::NOT_FOUND || (status.is_success() && role.is_empty()) {
            return Err(why(ErrorKind::Unauthenticated, "says that the instance has no role".to_owned()));
        }
        if !status.is_success() {
            return Err(answered("the role", status, &roles));
        }
        let asked = get(format!("{url}{PATH}{role}"));
        let (status, text) = send(client, TRIES, asked).await.map_err(unreachable)?;
        if !status.is_success() {
            return Err(answered("the role's credentials", status, &text));
        }
        of_json(&text, "Token").map_err(|e| why(ErrorKind::Io, format!("returned an answer that {e}")))
    }
}

fn refused(kind: ErrorKind, why: String) -> NoCredentials {
    NoCredentials { kind, why }
}
