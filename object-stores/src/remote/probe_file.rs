//! The result of a probe that another process of the user made.
//!
//! A probe takes 19 requests, more than all other requests of a short task. So a process that finds that a server honours the
//! conditions leaves a file in the user's cache directory, and for a day other processes do not probe this bucket again. Results that
//! a condition is not honoured are not stored.
//!
//! A port of this machine may belong to another server a moment later, so nothing is stored about it.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};
use url::{Host, Url};

use super::hex::hex;
use super::options::Environment;
use super::probe::{Created, Verdict};
use crate::private_files::is_private;

/// The time for which a result is valid.
const LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// The maximum length of a file, in bytes.
const MAX_FILE: u64 = 64 << 10;
/// The format of the file and the procedure of the probe.
const FORMAT: u64 = 1;

/// The file for one endpoint and bucket.
#[derive(Clone, Debug)]
pub(super) struct ProbeFile {
    path: PathBuf,
    endpoint: String,
    bucket: String,
    /// True if all payloads are signed: then the probe does not find out whether the server compares checksums.
    signs_all: bool,
}

impl ProbeFile {
    /// Returns the file for a bucket, or `None` if results for this endpoint are not stored, or there is no cache directory.
    pub(super) fn of(
        environment: &Environment,
        endpoint: &str,
        bucket: &str,
        signs_all: bool,
    ) -> Option<ProbeFile> {
        let url = Url::parse(endpoint).ok()?;
        let is_this_machine = match url.host()? {
            Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
            Host::Ipv4(address) => address.is_loopback() || address.is_unspecified(),
            Host::Ipv6(address) => address.is_loopback() || address.is_unspecified(),
        };
        if is_this_machine {
            return None;
        }
        let folder = |name: &str| environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")))?;
        let name = Sha1::digest(format!("{endpoint}\n{bucket}\n{signs_all}"));
        Some(ProbeFile {
            path: base.join("h5lake/probes").join(hex(&name) + ".json"),
            endpoint: endpoint.to_owned(),
            bucket: bucket.to_owned(),
            signs_all,
        })
    }

    /// Returns the stored findings about creates and updates, if there are any and they are valid.
    pub(super) fn load(&self) -> Option<(Created, Verdict)> {
        let file = std::fs::File::open(&self.path).ok()?;
        if !file.metadata().is_ok_and(|found| found.is_file() && is_private(&found)) {
            return None;
        }
        let mut text = String::new();
        file.take(MAX_FILE).read_to_string(&mut text).ok()?;
        let found: Value = serde_json::from_str(&text).ok()?;
        let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(found["time"].as_u64()?))?;
        // A time in the future is that of a clock that was wrong.
        let is_valid = SystemTime::now().duration_since(time).is_ok_and(|age| age < LIFETIME);
        let is_of_this = found["format"] == FORMAT
            && found["endpoint"] == self.endpoint.as_str()
            && found["bucket"] == self.bucket.as_str()
            && found["signs_all"] == self.signs_all;
        if !is_valid || !is_of_this {
            return None;
        }
        let updates = match found["quotes_etags"].as_bool()? {
            true => Verdict::Honoured,
            false => Verdict::HonouredUnquoted,
        };
        let compared = found["compares_checksums"].as_bool()?;
        Some((Created { verdict: Verdict::Honoured, compared, version: None }, updates))
    }

    /// Stores the findings if both conditions are honoured. A failure costs other processes a probe, and nothing else.
    pub(super) fn save(&self, created: &Created, updates: Verdict) {
        if created.verdict != Verdict::Honoured || !updates.is_honoured() {
            return;
        }
        let Ok(time) = SystemTime::UNIX_EPOCH.elapsed() else { return };
        let found = json!({
            "format": FORMAT,
            "endpoint": self.endpoint,
            "bucket": self.bucket,
            "signs_all": self.signs_all,
            "time": time.as_secs(),
            "quotes_etags": updates == Verdict::Honoured,
            "compares_checksums": created.compared,
        });
        if let Err(e) = self.write(found.to_string().as_bytes()) {
            tracing::debug!(path = %self.path.display(), error = %e, "the result of a probe is not stored");
        }
    }

    fn write(&self, text: &[u8]) -> std::io::Result<()> {
        let folder = self.path.parent().unwrap_or(&self.path);
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text)?;
        file.persist(&self.path)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn file(folder: &tempfile::TempDir, endpoint: &str, bucket: &str, signs_all: bool) -> Option<ProbeFile> {
        let cache = ("XDG_CACHE_HOME".to_owned(), folder.path().display().to_string());
        ProbeFile::of(&Environment::from([cache]), endpoint, bucket, signs_all)
    }

    fn created(compared: bool) -> Created {
        Created { verdict: Verdict::Honoured, compared, version: None }
    }

    #[test]
    fn results_are_stored_for_one_bucket_and_a_day() {
        let folder = tempfile::tempdir().unwrap();
        let of = |endpoint, bucket, signs_all| file(&folder, endpoint, bucket, signs_all).unwrap();
        let stored = of("https://store.example:9000", "lake", false);
        assert!(stored.load().is_none());
        stored.save(&created(true), Verdict::HonouredUnquoted);
        let (found, updates) = stored.load().unwrap();
        assert_eq!(
            (found.verdict, found.compared, updates),
            (Verdict::Honoured, true, Verdict::HonouredUnquoted)
        );
        assert!(of("https://store.example:9001", "lake", false).load().is_none());
        assert!(of("https://store.example:9000", "pond", false).load().is_none());
        assert!(of("https://store.example:9000", "lake", true).load().is_none());
        let change = |from: &str, to: &str| {
            let text = std::fs::read_to_string(&stored.path).unwrap();
            assert!(text.contains(from), "{text}");
            std::fs::write(&stored.path, text.replace(from, to)).unwrap();
            let found = stored.load().is_some();
            std::fs::write(&stored.path, text).unwrap();
            found
        };
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let time = |at: u64| format!("\"time\":{at}");
        let text = std::fs::read_to_string(&stored.path).unwrap();
        let there = (now - 5..=now).map(time).find(|time| text.contains(time)).unwrap();
        assert!(change(&there, &time(now - 23 * 3600)));
        assert!(!change(&there, &time(now - 25 * 3600)), "too old");
        assert!(!change(&there, &time(now + 3600)), "from the future");
        assert!(!change("\"format\":1", "\"format\":2"));
        assert!(!change("store.example:9000", "other.example:9000"), "a file of another endpoint");
        assert!(!change("{", "["), "no document");
        std::fs::set_permissions(&stored.path, Permissions::from_mode(0o666)).unwrap();
        assert!(stored.load().is_none(), "another user may have written the file");
    }

    #[test]
    fn only_honoured_conditions_of_other_machines_are_stored() {
        let folder = tempfile::tempdir().unwrap();
        let stored = file(&folder, "https://store.example", "lake", false).unwrap();
        for (verdict, updates) in [
            (Verdict::Honoured, Verdict::Ignored),
            (Verdict::Ignored, Verdict::Ignored),
            (Verdict::Swift, Verdict::Honoured),
        ] {
            stored.save(&Created { verdict, ..created(false) }, updates);
            assert!(stored.load().is_none(), "{verdict:?} {updates:?}");
        }
        for endpoint in
            ["http://127.0.0.1:9000", "http://localhost:1", "http://[::1]:1", "http://0.0.0.0:1", "no URL"]
        {
            assert!(file(&folder, endpoint, "lake", false).is_none(), "{endpoint}");
        }
        // A file instead of a folder: nothing is stored, and nothing fails.
        let cache = Environment::from([("XDG_CACHE_HOME".to_owned(), "/dev/null".to_owned())]);
        let nowhere = ProbeFile::of(&cache, "https://store.example", "lake", false).unwrap();
        nowhere.save(&created(true), Verdict::Honoured);
        assert!(nowhere.load().is_none());
        assert!(ProbeFile::of(&Environment::new(), "https://store.example", "lake", false).is_none());
    }
}
