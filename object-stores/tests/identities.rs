//! The identity that signs requests to S3: from profiles, programs, and loopback servers that stand for AWS's token
//! service, the servers of containers and the metadata service of instances.
#![cfg(feature = "remote")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;

use object_stores::registry::Settings;
use object_stores::remote::{Environment, open_in};
use object_stores::{Error, ErrorKind, Key, ObjectStore, ObjectStoreExt as _};
use parking_lot::Mutex;

/// The received requests: the head in lower case except for its first line, and the body.
type Requests = Arc<Mutex<Vec<(String, String)>>>;

/// A server on loopback that answers each request with a status and a body.
struct Server {
    url: String,
    requests: Requests,
}

impl Server {
    fn start(answer: impl Fn(&str, &str) -> (u16, String) + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Requests::default();
        let seen = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _gone = serve(&stream, &answer, &seen);
            }
        });
        Server { url, requests }
    }

    /// A server of S3's protocol without objects.
    fn store() -> Server {
        Server::start(|_, _| (404, "<Error><Code>NoSuchKey</Code></Error>".to_owned()))
    }

    /// A token service that issues the key `issued`.
    fn sts(key: &'static str) -> Server {
        Server::start(move |_, _| {
            let ends = "2099-01-01T00:00:00Z";
            let document = format!(
                "<R><Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>sec</SecretAccessKey>\
                 <SessionToken>token-of-{key}</SessionToken><Expiration>{ends}</Expiration></Credentials></R>"
            );
            (200, document)
        })
    }

    fn take(&self) -> Vec<(String, String)> {
        std::mem::take(&mut *self.requests.lock())
    }
}

fn serve(
    stream: &TcpStream,
    answer: &impl Fn(&str, &str) -> (u16, String),
    seen: &Requests,
) -> std::io::Result<()> {
    let mut from = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 || line.trim().is_empty() {
            break;
        }
        lines.push(if lines.is_empty() { line } else { line.to_lowercase() });
    }
    let head = lines.concat();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    from.read_exact(&mut body)?;
    let body = String::from_utf8_lossy(&body).into_owned();
    let (status, text) = answer(&head, &body);
    seen.lock().push((head, body));
    let length = text.len();
    let answer =
        format!("HTTP/1.1 {status} Status\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{text}");
    let mut to = stream;
    to.write_all(answer.as_bytes())
}

/// The JSON document with credentials that containers' and instances' servers send.
fn document(key: &str, token: &str) -> String {
    format!(
        r#"{{"Code":"Success","AccessKeyId":"{key}","SecretAccessKey":"sec","{token}":"token-of-{key}",
            "Expiration":"2099-01-01T00:00:00Z"}}"#
    )
}

/// A store, the folder of AWS's files, and the variables that lead there.
struct Lab {
    folder: tempfile::TempDir,
    store: Server,
    environment: Environment,
}

impl Lab {
    /// A laboratory with the given configuration file; the profile `lake` is chosen.
    fn new(config: &str) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let store = Server::store();
        std::fs::write(folder.path().join("config"), config).unwrap();
        let mut lab = Lab { folder, store, environment: Environment::new() };
        let file = lab.path("config");
        let endpoint = lab.store.url.clone();
        lab.set(&[
            ("AWS_CONFIG_FILE", &file),
            ("AWS_SHARED_CREDENTIALS_FILE", "/nowhere"),
            ("AWS_PROFILE", "lake"),
            ("AWS_ENDPOINT_URL_S3", &endpoint),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_REGION", "eu-north-7"),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1"),
        ]);
        lab
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.folder.path().join(name), text).unwrap();
        self.path(name)
    }

    fn set(&mut self, variables: &[(&str, &str)]) {
        for (name, value) in variables {
            self.environment.insert((*name).to_owned(), (*value).to_owned());
        }
    }

    fn open(&self) -> object_stores::Result<Arc<dyn ObjectStore>> {
        open_in("s3://lake/x", &Settings::new(), &self.environment)
    }

    /// Reads three times; returns the key that signed the requests.
    fn signer(&self) -> String {
        let store = self.open().unwrap();
        for _ in 0..3 {
            assert!(store.get_opt(&Key::new("a").unwrap(), None).unwrap().is_none());
        }
        let requests = self.store.take();
        let key = |head: &str| {
            let (_, rest) = head.split_once("credential=").unwrap();
            rest.split('/').next().unwrap().to_owned()
        };
        let keys: Vec<_> = requests.iter().map(|(head, _)| key(head)).collect();
        assert!(keys.windows(2).all(|pair| pair[0] == pair[1]), "{keys:?}");
        let token = format!("x-amz-security-token: token-of-{}", keys[0]);
        assert!(keys[0].starts_with("key") || requests[0].0.contains(&token), "{requests:?}");
        keys[0].clone()
    }

    /// Returns the error of opening or of the first read; no secret is part of it, and no request was sent to the store.
    fn refused(&self) -> Error {
        let error = match self.open() {
            Err(e) => e,
            Ok(store) => store.get(&Key::new("a").unwrap(), None).unwrap_err(),
        };
        let text = format!("{error} {error:?}");
        assert!(!text.contains("s3cr3t") && !text.contains("Signature="), "{text}");
        assert!(self.store.take().is_empty(), "{text}");
        error
    }
}

const KEYS: &str = "[profile base]\naws_access_key_id = keybase\naws_secret_access_key = s3cr3t\n";
const ROLE: &str = "role_arn = arn:aws:iam::1:role/lake";

#[test]
fn a_role_is_assumed_by_the_source_profile_despite_keys() {
    let lake = format!(
        "[profile lake]\n{ROLE}\nsource_profile = base\nexternal_id = lab 7&\nduration_seconds = 900\n\
         role_session_name = me\naws_access_key_id = keyother\naws_secret_access_key = s3cr3t\n"
    );
    let mut lab = Lab::new(&format!("{KEYS}{lake}"));
    let sts = Server::sts("issued");
    lab.set(&[("AWS_ENDPOINT_URL_STS", &sts.url)]);
    assert_eq!(lab.signer(), "issued");
    let requests = sts.take();
    assert_eq!(requests.len(), 1, "the credentials are cached");
    let (head, body) = &requests[0];
    assert!(head.starts_with("POST / ") && head.contains("credential=keybase/"), "{head}");
    assert!(head.contains("/eu-north-7/sts/aws4_request"), "{head}");
    assert_eq!(
        body,
        "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Flake&RoleSessionName=me&\
         DurationSeconds=900&ExternalId=lab+7%26"
    );
}

/// Each role of a chain is assumed by the role before it.
#[test]
fn roles_are_chained() {
    let chain = format!(
        "{KEYS}[profile middle]\nrole_arn = arn:middle\nsource_profile = base\n\
         [profile lake]\n{ROLE}\nsource_profile = middle\n"
    );
    let mut lab = Lab::new(&chain);
    let sts = Server::sts("issued");
    lab.set(&[("AWS_ENDPOINT_URL_STS", &sts.url)]);
    assert_eq!(lab.signer(), "issued");
    let requests = sts.take();
    assert_eq!(requests.len(), 2);
    assert!(requests[0].0.contains("credential=keybase/") && requests[0].1.contains("arn%3Amiddle"));
    assert!(requests[1].0.contains("credential=issued/") && requests[1].1.contains("lake"));
    assert!(requests[1].0.contains("x-amz-security-token: token-of-issued"));
}

#[test]
fn a_profile_may_be_its_own_source() {
    let own = format!(
        "[profile lake]\n{ROLE}\nsource_profile = lake\naws_access_key_id = keyown\naws_secret_access_key = s3cr3t\n"
    );
    let mut lab = Lab::new(&own);
    let sts = Server::sts("issued");
    lab.set(&[("AWS_ENDPOINT_URL_STS", &sts.url)]);
    assert_eq!(lab.signer(), "issued");
    assert!(sts.take()[0].0.contains("credential=keyown/"));
}

#[test]
fn a_web_identity_assumes_a_role_from_a_profile_and_from_variables() {
    let mut lab = Lab::new("");
    let token = lab.write("token", "s3cr3t-jwt\n");
    lab.write("config", &format!("[profile lake]\n{ROLE}\nweb_identity_token_file = {token}\n"));
    let sts = Server::sts("issued");
    // The endpoint of all services is that of the token service, too.
    lab.set(&[("AWS_ENDPOINT_URL", &sts.url)]);
    assert_eq!(lab.signer(), "issued");
    let by_profile = sts.take();
    lab.write("config", &format!("{KEYS}[profile lake]\n"));
    lab.set(&[("AWS_ROLE_ARN", "arn:aws:iam::1:role/lake"), ("AWS_WEB_IDENTITY_TOKEN_FILE", &token)]);
    assert_eq!(lab.signer(), "issued");
    for requests in [by_profile, sts.take()] {
        assert_eq!(requests.len(), 1);
        let (head, body) = &requests[0];
        assert!(!head.contains("authorization:") && !head.contains("s3cr3t"), "{head}");
        assert!(body.starts_with("Action=AssumeRoleWithWebIdentity&"), "{body}");
        assert!(body.ends_with("&WebIdentityToken=s3cr3t-jwt"), "{body}");
    }
}

#[test]
fn a_profile_without_credentials_leaves_the_container_and_the_instance() {
    let container = Server::start(|_, _| (200, document("issued", "Token")));
    let mut lab = Lab::new("[profile lake]\nregion = r\n");
    let full = format!("{}/v1/credentials?id=1", container.url);
    lab.set(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &full)]);
    assert_eq!(lab.signer(), "issued");
    let (head, _) = container.take().remove(0);
    assert!(head.starts_with("GET /v1/credentials?id=1 ") && !head.contains("authorization:"), "{head}");
    lab.set(&[("AWS_CONTAINER_AUTHORIZATION_TOKEN", "s3cr3t-1")]);
    assert_eq!(lab.signer(), "issued");
    assert!(container.take()[0].0.contains("authorization: s3cr3t-1"));
    let file = lab.write("token", "s3cr3t-2\n");
    lab.set(&[("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &file)]);
    assert_eq!(lab.signer(), "issued");
    assert!(container.take()[0].0.contains("authorization: s3cr3t-2"));
    // A profile with keys precedes the container.
    lab.set(&[("AWS_PROFILE", "base")]);
    lab.write("config", KEYS);
    assert_eq!(lab.signer(), "keybase");
    assert!(container.take().is_empty());
    // A proxy that the environment names is not on the way.
    lab.write("config", "[profile base]\nregion = r\n");
    lab.set(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://metadata.example/v1")]);
    let error = lab.refused();
    assert!(error.to_string().contains("AWS_CONTAINER_CREDENTIALS_FULL_URI is a URL with https"), "{error}");
}

fn instance() -> Server {
    Server::start(|head, _| match head.split(' ').nth(1).unwrap() {
        "/latest/api/token" => (200, "s3cr3t-session".to_owned()),
        _ if !head.contains("x-aws-ec2-metadata-token: s3cr3t-session") => (401, String::new()),
        "/latest/meta-data/iam/security-credentials/" => (200, "some-role\n".to_owned()),
        "/latest/meta-data/iam/security-credentials/some-role" => (200, document("ofinstance", "Token")),
        _ => (404, String::new()),
    })
}

/// The role of a profile is assumed by the source that `credential_source` names, never by another one.
#[test]
fn a_credential_source_assumes_the_role() {
    let container = Server::start(|_, _| (200, document("ofcontainer", "Token")));
    let instance = instance();
    for (source, by) in [
        ("Environment", "credential=keyvariables/"),
        ("EcsContainer", "credential=ofcontainer/"),
        ("Ec2InstanceMetadata", "credential=ofinstance/"),
    ] {
        let mut lab = Lab::new(&format!("[profile lake]\n{ROLE}\ncredential_source = {source}\n"));
        let sts = Server::sts("issued");
        lab.set(&[
            ("AWS_ENDPOINT_URL_STS", &sts.url),
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &instance.url),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &container.url),
        ]);
        if source == "Environment" {
            assert!(lab.refused().to_string().contains("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"));
            lab.set(&[("AWS_ACCESS_KEY_ID", "keyvariables"), ("AWS_SECRET_ACCESS_KEY", "s3cr3t")]);
        }
        assert_eq!(lab.signer(), "issued");
        assert!(sts.take()[0].0.contains(by), "{source}");
    }
    let mut lab = Lab::new("[profile lake]\n");
    lab.set(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &instance.url)]);
    assert_eq!(lab.signer(), "ofinstance");
}

#[test]
fn a_program_issues_credentials() {
    let lab = Lab::new("");
    let count = lab.path("count");
    let valid = format!(r#"{{"Version":1,{}"#, &document("issued", "SessionToken")[1..]).replace('\n', " ");
    let script = lab.write("issue", &format!("echo x >> {count}\ncat <<'END'\n{valid}\nEND\n"));
    lab.write("config", &format!("[profile lake]\ncredential_process = sh \"{script}\" --name 'a b'\n"));
    assert_eq!(lab.signer(), "issued");
    assert_eq!(std::fs::read_to_string(&count).unwrap(), "x\n", "the program runs once");
    for (script, why) in [
        ("echo s3cr3t; exit 3", "failed: exit status: 3"),
        ("echo s3cr3t", "did not print a JSON document"),
        (r#"echo '{"Version":2,"AccessKeyId":"s3cr3t"}'"#, "in which Version is not 1"),
        (r#"echo '{"Version":1,"AccessKeyId":"s3cr3t"}'"#, "contains no SecretAccessKey"),
        (
            r#"echo '{"Version":1,"AccessKeyId":"a","SecretAccessKey":"s3cr3t","Expiration":"2001-01-01T00:00:00Z"}'"#,
            "have expired",
        ),
    ] {
        lab.write("config", &format!("[profile lake]\ncredential_process = {script}\n"));
        let error = lab.refused();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        let said = error.to_string();
        assert!(
            said.contains("credential_process of the AWS profile 'lake'") && said.contains(why),
            "{said}"
        );
    }
}

/// A program's credentials are renewed when half of their time is left.
#[test]
fn credentials_are_renewed_before_they_end() {
    let lab = Lab::new("");
    let count = lab.path("count");
    let script = format!(
        "echo x >> {count}\nprintf '{{\"Version\":1,\"AccessKeyId\":\"key%s\",\"SecretAccessKey\":\"sec\",\
         \"Expiration\":\"%s\"}}' $(wc -l < {count}) $(date -u -d '+6 seconds' +%Y-%m-%dT%H:%M:%SZ)\n"
    );
    let script = lab.write("issue", &script);
    lab.write("config", &format!("[profile lake]\ncredential_process = sh {script}\n"));
    assert_eq!(lab.signer(), "key1");
    std::thread::sleep(std::time::Duration::from_millis(3200));
    assert_eq!(lab.signer(), "key2");
}

const LOGIN: &str = "[profile lake]\nsso_session = lab\nsso_account_id = 123\nsso_role_name = read er\n\
                     [sso-session lab]\nsso_start_url = https://lab\nsso_region = eu-north-9\n";

/// The portal and the renewing service of IAM Identity Center. The portal accepts the token `s3cr3t-2`.
fn identity_center() -> Server {
    Server::start(|head, body| match head.split(' ').nth(1).unwrap() {
        "/federation/credentials?role_name=read+er&account_id=123"
            if head.contains("x-amz-sso_bearer_token: s3cr3t-2\r\n") =>
        {
            let answer = r#"{"roleCredentials":{"accessKeyId":"issued","secretAccessKey":"sec",
                "sessionToken":"token-of-issued","expiration":4070908800000}}"#;
            (200, answer.to_owned())
        }
        "/token" if body.contains(r#""grantType":"refresh_token""#) && body.contains("s3cr3t-refresh-1") => {
            let answer = r#"{"accessToken":"s3cr3t-2","expiresIn":3600,"refreshToken":"s3cr3t-refresh-2"}"#;
            (200, answer.to_owned())
        }
        "/token" => {
            (400, r#"{"error":"invalid_grant","error_description":"unknown refresh token"}"#.to_owned())
        }
        _ => (
            401,
            r#"{"message":"Session token not found or invalid","__type":"a#UnauthorizedException"}"#
                .to_owned(),
        ),
    })
}

/// A laboratory in which `tokens` is the file with the tokens of the login that has this name.
fn signed_on(config: &str, named_by: &str, tokens: &str, server: &Server) -> Lab {
    use sha1::Digest as _;
    let mut lab = Lab::new(config);
    let home = lab.path("");
    let name: String = sha1::Sha1::digest(named_by.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
    std::fs::create_dir_all(lab.folder.path().join(".aws/sso/cache")).unwrap();
    lab.write(&format!(".aws/sso/cache/{name}.json"), tokens);
    lab.set(&[
        ("HOME", &home),
        ("AWS_ENDPOINT_URL_SSO", &server.url),
        ("AWS_ENDPOINT_URL_SSO_OIDC", &server.url),
    ]);
    lab
}

fn tokens(access: &str, ends: &str) -> String {
    format!(
        r#"{{"startUrl":"https://lab","accessToken":"{access}","expiresAt":"{ends}","clientId":"id",
            "clientSecret":"s3cr3t-client","registrationExpiresAt":"2099-01-01T00:00:00Z",
            "refreshToken":"s3cr3t-refresh-1"}}"#
    )
}

#[test]
fn a_login_issues_credentials_and_is_renewed() {
    let server = identity_center();
    let lab = signed_on(LOGIN, "lab", &tokens("s3cr3t-2", "2099-01-01T00:00:00Z"), &server);
    assert_eq!(lab.signer(), "issued");
    assert_eq!(server.take().len(), 1, "the login is not renewed, and the credentials are cached");

    let mut lab = signed_on(LOGIN, "lab", &tokens("s3cr3t-1", "2020-01-01T00:00:00Z"), &server);
    assert_eq!(lab.signer(), "issued");
    let requests: Vec<_> = server.take().into_iter().map(|(head, _)| head).collect();
    assert!(
        requests[0].starts_with("POST /token ") && requests[1].starts_with("GET /federation"),
        "{requests:?}"
    );
    // Another client, as in the next process, finds the renewed login, beside the other values of the file.
    lab.set(&[("AWS_REGION", "eu-north-8")]);
    assert_eq!(lab.signer(), "issued");
    assert_eq!(server.take().len(), 1);
    let file = lab.folder.path().join(".aws/sso/cache").read_dir().unwrap().next().unwrap().unwrap();
    let text = std::fs::read_to_string(file.path()).unwrap();
    for words in ["s3cr3t-2", "s3cr3t-refresh-2", "s3cr3t-client", "https://lab"] {
        assert!(text.contains(words), "{text}");
    }
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);

    // A role that the login permits to assume; a login without a session, which cannot be renewed.
    let chain = format!(
        "{}[profile lake]\n{ROLE}\nsource_profile = sso\n",
        LOGIN.replace("profile lake", "profile sso")
    );
    let mut lab = signed_on(&chain, "lab", &tokens("s3cr3t-2", "2099-01-01T00:00:00Z"), &server);
    let sts = Server::sts("assumed");
    lab.set(&[("AWS_ENDPOINT_URL_STS", &sts.url)]);
    assert_eq!(lab.signer(), "assumed");
    assert!(sts.take()[0].0.contains("credential=issued/"));
    let old = "[profile lake]\nsso_start_url = https://lab\nsso_region = eu-north-9\nsso_account_id = 123\n\
               sso_role_name = read er\n";
    let lab = signed_on(old, "https://lab", &tokens("s3cr3t-2", "2099-01-01T00:00:00UTC"), &server);
    assert_eq!(lab.signer(), "issued");
}

/// An error of a login says what to run, and contains no secret.
#[test]
fn a_login_that_has_ended_is_reported() {
    let server = identity_center();
    let ended = tokens("s3cr3t-1", "2020-01-01T00:00:00Z");
    let registered = ended.replace("2099", "2021");
    for (tokens, words) in [
        (ended.replace("refresh-1", "refresh-0"), "invalid_grant: unknown refresh token".to_owned()),
        (registered, "has ended and cannot be renewed".to_owned()),
        (
            tokens("s3cr3t-9", "2099-01-01T00:00:00Z"),
            "UnauthorizedException: Session token not found".to_owned(),
        ),
        ("{".to_owned(), "is not a JSON document".to_owned()),
        ("{}".to_owned(), "contains no accessToken".to_owned()),
        (r#"{"accessToken":"s3cr3t","expiresAt":"soon"}"#.to_owned(), "an invalid one".to_owned()),
    ] {
        let lab = signed_on(LOGIN, "lab", &tokens, &server);
        let error = lab.refused();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        let said = error.to_string();
        assert!(said.contains(&words) && said.contains("; run 'aws sso login --profile lake'"), "{said}");
    }
    let lab = signed_on(LOGIN, "other", &ended, &server);
    let said = lab.refused().to_string();
    assert!(said.contains("No such file") && said.contains("aws sso login"), "{said}");
    let different = LOGIN.replace("sso_account_id", "sso_region = r\nsso_account_id");
    let error = signed_on(&different, "lab", &ended, &server).refused();
    assert!(error.to_string().contains("different values of 'sso_region'"), "{error}");
    // Renewing a login that is valid for another minute may fail.
    let soon = std::process::Command::new("date")
        .args(["-u", "-d", "+60 seconds", "+%Y-%m-%dT%H:%M:%SZ"])
        .output()
        .unwrap();
    let soon = String::from_utf8(soon.stdout).unwrap();
    let lab =
        signed_on(LOGIN, "lab", &tokens("s3cr3t-2", soon.trim()).replace("refresh-1", "refresh-0"), &server);
    assert_eq!(lab.signer(), "issued");
}

/// A setting that names an identity is used or refused, whatever other identity is at hand.
#[test]
fn identities_that_are_not_supported_are_refused_by_name() {
    let keys = "aws_access_key_id = keyother\naws_secret_access_key = s3cr3t\n";
    for (settings, words) in [
        (
            "sso_session = lab\nsso_account_id = 1\nsso_role_name = r".to_owned(),
            "there is no section '[sso-session lab]'",
        ),
        (format!("sso_start_url = https://lab\n{keys}"), "both 'sso_start_url' and 'aws_access_key_id'"),
        ("sso_account_id = 1\nsso_region = r".to_owned(), "without 'sso_start_url'"),
        ("login_session = lab".to_owned(), "'login_session'"),
        (format!("{ROLE}\nmfa_serial = arn:mfa\nsource_profile = base"), "'mfa_serial'"),
        (ROLE.to_owned(), "'role_arn' without 'source_profile'"),
        (format!("{ROLE}\n{keys}"), "'role_arn' without 'source_profile'"),
        (format!("{ROLE}\nsource_profile = base\ncredential_source = Environment"), "both 'source_profile'"),
        (
            format!("{ROLE}\nweb_identity_token_file = /t\nsource_profile = base"),
            "both 'web_identity_token_file'",
        ),
        (format!("{ROLE}\nsource_profile = none"), "there is no such profile"),
        (format!("{ROLE}\nsource_profile = empty"), "no credentials"),
        (format!("{ROLE}\nsource_profile = loop"), "leads back to itself"),
        (format!("{ROLE}\ncredential_source = EcsContainer"), "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        (format!("{ROLE}\ncredential_source = Ec2"), "Ec2InstanceMetadata"),
        (format!("{ROLE}\nsource_profile = base\nduration_seconds = 1d"), "'duration_seconds'"),
        ("source_profile = base".to_owned(), "'source_profile' without 'role_arn'"),
        ("web_identity_token_file = /t".to_owned(), "'web_identity_token_file' without 'role_arn'"),
        (format!("credential_process = echo\n{keys}"), "both 'credential_process'"),
        ("aws_access_key_id = a".to_owned(), "without 'aws_secret_access_key'"),
    ] {
        let other_profiles =
            "[profile empty]\nregion = r\n[profile loop]\nrole_arn = arn:2\nsource_profile = lake\n";
        let mut lab = Lab::new(&format!("{KEYS}{other_profiles}[profile lake]\n{settings}\n"));
        lab.set(&[("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1")]);
        let error = lab.refused();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{settings}: {error}");
        let said = error.to_string();
        assert!(said.contains("'lake'") || said.contains("'loop'"), "{settings}: {said}");
        assert!(said.contains(words), "{settings}: {said}");
    }
    for (variables, words) in [
        (&[("AWS_ROLE_ARN", "arn:1")][..], "AWS_ROLE_ARN is set without AWS_WEB_IDENTITY_TOKEN_FILE"),
        (
            &[("AWS_WEB_IDENTITY_TOKEN_FILE", "/t")][..],
            "AWS_WEB_IDENTITY_TOKEN_FILE is set without AWS_ROLE_ARN",
        ),
    ] {
        let mut lab = Lab::new(&format!("{KEYS}[profile lake]\nregion = r\n"));
        lab.set(variables);
        let error = lab.refused();
        assert!(error.to_string().contains(words), "{error}");
    }
    // A token service without encryption is refused unless it is allowed.
    let mut lab = Lab::new(&format!("{KEYS}[profile lake]\n{ROLE}\nsource_profile = base\n"));
    let https = "https://127.0.0.1:1";
    lab.set(&[
        ("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:1"),
        ("AWS_ALLOW_HTTP", "false"),
        ("AWS_ENDPOINT_URL_S3", https),
    ]);
    let error = lab.refused();
    assert!(error.to_string().contains("AWS_ENDPOINT_URL_STS"), "{error}");
}

/// The reasons of the servers that issue credentials reach the user.
#[test]
fn the_servers_reasons_are_reported() {
    let reason = "User: arn:aws:sts::1:x is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::1:role/lake \
                  &amp; more s3cr3t";
    let denied = format!(
        "<ErrorResponse><Error><Code>AccessDenied</Code><Message>{reason}</Message></Error></ErrorResponse>"
    );
    let sts = Server::start(move |_, _| (403, denied.clone()));
    let mut lab = Lab::new(&format!("{KEYS}[profile lake]\n{ROLE}\nsource_profile = base\n"));
    lab.set(&[("AWS_ENDPOINT_URL_STS", &sts.url)]);
    let error = lab.refused();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    let said = error.to_string();
    for words in [
        "AccessDenied: User: arn:aws:sts::1:x is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::1:role/lake & more",
        "role_arn of the AWS profile 'lake'",
        &sts.url,
    ] {
        assert!(said.contains(words), "{said}");
    }

    lab.write("config", &format!("[profile lake]\n{ROLE}\nweb_identity_token_file = {}\n", lab.path("none")));
    let said = lab.refused().to_string();
    assert!(said.contains(&lab.path("none")) && said.contains("No such file"), "{said}");

    lab.write("config", "[profile lake]\nregion = r\n");
    let container = Server::start(|_, _| {
        (400, r#"{"code":"TaskIdNotFound","message":"no task for s3cr3t-token"}"#.to_owned())
    });
    lab.set(&[
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", &container.url),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "s3cr3t-token"),
    ]);
    let said = lab.refused().to_string();
    assert!(said.contains("TaskIdNotFound: no task for …"), "{said}");
    assert!(said.contains("AWS_CONTAINER_CREDENTIALS_FULL_URI"), "{said}");
    lab.set(&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/")]);
    let error = lab.refused();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("http://127.0.0.1:1 cannot be reached: "), "{error}");

    for name in ["AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN"] {
        lab.environment.remove(name);
    }
    for (status, text, words) in [
        (404, "<html>", "says that the instance has no role"),
        (403, "<html>", "says HTTP status 403, when a session token was requested"),
        (
            200,
            r#"{"Code":"AssumeRoleUnauthorizedAccess","Message":"EC2 cannot assume the role"}"#,
            "AssumeRoleUnauthorizedAccess: EC2 cannot",
        ),
    ] {
        let metadata = Server::start(move |head, _| match head.starts_with("PUT ") {
            true if status == 403 => (403, text.to_owned()),
            true => (200, "session".to_owned()),
            false if head.contains("credentials/role ") || status == 404 => (status, text.to_owned()),
            false => (200, "role".to_owned()),
        });
        lab.set(&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata.url)]);
        let said = lab.refused().to_string();
        assert!(said.contains(words) && said.contains(&metadata.url), "{said}");
    }
}

/// The host to which a store connects, as a proxy sees it.
fn host(url: &str, variables: &[(&str, &str)]) -> object_stores::Result<String> {
    let proxy = Server::start(|_, _| (404, String::new()));
    let mut environment: Environment = variables.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
    for (name, value) in [
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "sec"),
        ("AWS_REGION", "eu-north-7"),
        ("AWS_PROXY_URL", &proxy.url),
        ("AWS_MAX_ATTEMPTS", "1"),
    ] {
        environment.entry(name.into()).or_insert_with(|| value.into());
    }
    let store = open_in(url, &Settings::new(), &environment)?;
    store.get(&Key::new("a").unwrap(), None).unwrap_err();
    let (head, _) = proxy.take().remove(0);
    Ok(head.split(' ').nth(1).unwrap().to_owned())
}

#[test]
fn variants_of_amazons_endpoints_and_access_points_are_addressed() {
    const FIPS: (&str, &str) = ("AWS_USE_FIPS_ENDPOINT", "true");
    const DUAL: (&str, &str) = ("AWS_USE_DUALSTACK_ENDPOINT", "true");
    const FAST: (&str, &str) = ("AWS_S3_USE_ACCELERATE_ENDPOINT", "true");
    const POINT: &str = "s3://arn:aws:s3:us-west-2:123456789012:accesspoint/lab/x";
    for (url, variables, wanted) in [
        ("s3://lake/x", &[][..], "s3.eu-north-7.amazonaws.com:443"),
        ("s3a://lake/x", &[][..], "s3.eu-north-7.amazonaws.com:443"),
        ("s3://lake/x", &[FIPS][..], "s3-fips.eu-north-7.amazonaws.com:443"),
        ("s3://lake/x", &[DUAL][..], "s3.dualstack.eu-north-7.amazonaws.com:443"),
        ("s3://lake/x", &[FIPS, DUAL][..], "s3-fips.dualstack.eu-north-7.amazonaws.com:443"),
        ("s3://lake/x", &[FAST][..], "lake.s3-accelerate.amazonaws.com:443"),
        ("s3://lake/x", &[FAST, DUAL][..], "lake.s3-accelerate.dualstack.amazonaws.com:443"),
        ("s3://lake/x", &[("AWS_REGION", "cn-north-1")][..], "s3.cn-north-1.amazonaws.com.cn:443"),
        (POINT, &[][..], "lab-123456789012.s3-accesspoint.us-west-2.amazonaws.com:443"),
        (
            POINT,
            &[FIPS, DUAL][..],
            "lab-123456789012.s3-accesspoint-fips.dualstack.us-west-2.amazonaws.com:443",
        ),
        (
            POINT,
            &[("AWS_ENDPOINT_URL", "https://accesspoint.vpce-1.s3.us-west-2.vpce.amazonaws.com")][..],
            "lab-123456789012.accesspoint.vpce-1.s3.us-west-2.vpce.amazonaws.com:443",
        ),
    ] {
        assert_eq!(host(url, variables).unwrap(), wanted, "{url} {variables:?}");
    }
    for (url, variables, words) in [
        ("s3://lake--use1-az4--x-s3/x", &[][..], "S3 Express One Zone"),
        ("s3://lake/x", &[("AWS_S3_EXPRESS", "true")][..], "AWS_S3_EXPRESS"),
        ("s3://lake/x", &[FIPS, FAST][..], "'AWS_S3_USE_ACCELERATE_ENDPOINT' and 'AWS_USE_FIPS_ENDPOINT'"),
        (POINT, &[FAST][..], "does not apply to access points"),
        ("s3://lake/x", &[FIPS, ("AWS_ENDPOINT_URL", "https://h")][..], "'AWS_USE_FIPS_ENDPOINT' chooses"),
        (
            "s3://lake/x",
            &[DUAL, ("AWS_ENDPOINT_URL", "https://h")][..],
            "'AWS_USE_DUALSTACK_ENDPOINT' chooses",
        ),
        ("s3://lake/x", &[("AWS_USE_FIPS_ENDPOINT", "maybe")][..], "'AWS_USE_FIPS_ENDPOINT' is"),
        ("s3://arn:aws:s3::1:accesspoint/lab.mrap/x", &[][..], "multi-region"),
        ("s3://arn:aws:s3-object-lambda:us-west-2:1:accesspoint/lab", &[][..], "Object Lambda"),
        ("s3://arn:aws:s3-outposts:us-west-2:1:outpost", &[][..], "Outposts"),
        ("s3://arn:aws:s3:us-west-2:1:bucket", &[][..], "is written arn:"),
    ] {
        let error = host(url, variables).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn s3a_means_the_same_objects_as_s3() {
    let lab = Lab::new(&format!("{KEYS}[profile lake]\nsource_profile = base\n{ROLE}\n"));
    let place = |url: &str| open_in(url, &Settings::new(), &lab.environment).unwrap().place_of("a");
    assert_eq!(place("s3a://lake/x"), place("s3://lake/x"));
}

/// Makes an authority, and a certificate for `localhost` that it signs; `None` without openssl.
fn certificates(folder: &std::path::Path) -> Option<()> {
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost\n").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for arguments in [
        format!("req -x509 {key} -keyout authority.key -out authority.pem -days 2 -subj /CN=authority"),
        format!("req {key} -keyout server.key -out server.csr -subj /CN=localhost"),
        "x509 -req -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial -out server.pem -days 2 \
         -extfile names"
            .to_owned(),
    ] {
        let done = std::process::Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(folder)
            .stderr(std::process::Stdio::null())
            .status();
        done.ok().filter(|status| status.success())?;
    }
    Some(())
}

/// `AWS_CA_BUNDLE` applies to the token service, too.
#[test]
fn the_token_services_certificate_is_trusted_by_the_bundle() {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let mut lab = Lab::new(&format!("{KEYS}[profile lake]\n{ROLE}\nsource_profile = base\n"));
    let folder = lab.folder.path();
    if certificates(folder).is_none() {
        println!("skipped, because openssl made no certificates");
        return;
    }
    let chain =
        CertificateDer::pem_file_iter(folder.join("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let _set_already = rustls::crypto::ring::default_provider().install_default();
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let config = Arc::new(config);
    let plain = Server::sts("issued").url.replace("http://", "");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut session = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut tls = rustls::Stream::new(&mut session, &mut stream);
            let mut request = Vec::new();
            let mut piece = [0; 4096];
            while !String::from_utf8_lossy(&request).contains("DurationSeconds=3600") {
                match tls.read(&mut piece) {
                    Ok(length) if length > 0 => request.extend(&piece[..length]),
                    _ => break,
                }
            }
            if request.is_empty() {
                continue;
            }
            let mut to = TcpStream::connect(&plain).unwrap();
            to.write_all(&request).unwrap();
            let mut answer = Vec::new();
            to.read_to_end(&mut answer).unwrap();
            tls.write_all(&answer).unwrap();
            tls.conn.send_close_notify();
            let _gone = tls.flush();
        }
    });
    lab.set(&[("AWS_ENDPOINT_URL_STS", &url)]);
    let error = lab.refused();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
    let bundle = lab.path("authority.pem");
    lab.set(&[("AWS_CA_BUNDLE", &bundle)]);
    assert_eq!(lab.signer(), "issued");
}
