//! Caches credentials until they are renewed.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::future::BoxFuture;
use object_store::aws::AwsCredential;

use super::Got;
use crate::remote::failure::NoCredentials;

/// The time before the end of credentials from which on they are renewed.
const RENEW_BEFORE: Duration = Duration::from_secs(300);
/// The longest time for which credentials are cached, also those that do not end.
const MAX_CACHED: Duration = Duration::from_secs(3600);
/// The pause after a failed renewal, while the cached credentials are still valid.
const RENEWAL_PAUSE: Duration = Duration::from_secs(10);

/// Credentials, and the time at which they end.
pub(super) struct Issued {
    pub(super) credential: AwsCredential,
    pub(super) ends: Option<SystemTime>,
}

/// The cached credentials of a provider.
#[derive(Default)]
pub(in crate::remote) struct Cache(tokio::sync::Mutex<State>);

#[derive(Default)]
struct State {
    credential: Option<Arc<AwsCredential>>,
    /// The time until which the credentials are used without renewal.
    renew_at: Option<Instant>,
    /// The time at which the credentials end.
    ends_at: Option<Instant>,
    /// The last failure, and its time.
    failed: Option<(Instant, NoCredentials)>,
}

impl Cache {
    /// Returns the cached credentials, or those that `fetch` returns. Callers that waited while another caller's
    /// `fetch` failed get the same error.
    pub(super) async fn get<'a>(
        &self,
        fetch: impl FnOnce() -> BoxFuture<'a, Got<Issued>>,
    ) -> Got<Arc<AwsCredential>> {
        let began = Instant::now();
        let mut state = self.0.lock().await;
        let now = Instant::now();
        let is_before = |time: Option<Instant>| time.is_some_and(|time| now < time);
        if let Some(credential) = state.credential.clone().filter(|_| is_before(state.renew_at)) {
            return Ok(credential);
        }
        if let Some((at, failure)) = &state.failed
            && *at >= began
        {
            return Err(failure.clone());
        }
        match fetch().await {
            Ok(Issued { credential, ends }) => {
                let left = match ends {
                    Some(ends) => ends.duration_since(SystemTime::now()).unwrap_or_default(),
                    None => MAX_CACHED + RENEW_BEFORE,
                };
                // Short sessions are renewed when half of their time is left.
                let renew = left.saturating_sub(RENEW_BEFORE).max(left / 2).min(MAX_CACHED);
                let (credential, now) = (Arc::new(credential), Instant::now());
                *state = State {
                    credential: Some(credential.clone()),
                    renew_at: Some(now + renew),
                    ends_at: Some(now + left.min(renew + RENEW_BEFORE)),
                    failed: None,
                };
                Ok(credential)
            }
            Err(failure) => match state.credential.clone().filter(|_| is_before(state.ends_at)) {
                Some(credential) => {
                    state.renew_at = Some(Instant::now() + RENEWAL_PAUSE);
                    Ok(credential)
                }
                None => {
                    *state = State { failed: Some((Instant::now(), failure.clone())), ..State::default() };
                    Err(failure)
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::ErrorKind;
    use crate::remote::credentials::refused;

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
    }

    fn issued_for(seconds: Option<u64>) -> Got<Issued> {
        let credential =
            AwsCredential { key_id: "id".into(), secret_key: "s3cr3t".into(), token: Some("s3cr3t".into()) };
        Ok(Issued { credential, ends: seconds.map(|time| SystemTime::now() + Duration::from_secs(time)) })
    }

    fn failure() -> Got<Issued> {
        Err(refused(ErrorKind::Unavailable, "on purpose".into()))
    }

    /// Ages the cached credentials by a time.
    async fn age(cache: &Cache, by: Duration) {
        let mut state = cache.0.lock().await;
        let State { renew_at, ends_at, .. } = &mut *state;
        for time in [renew_at, ends_at].into_iter().flatten() {
            *time -= by;
        }
    }

    #[test]
    fn credentials_are_renewed_and_outlive_failed_renewals() {
        run(async {
            for (lifetime, fresh, old) in [
                (Some(3600), 3290, 3310),
                (Some(400), 190, 210),
                (Some(40_000), 3590, 3610),
                (None, 3590, 3610),
            ] {
                let cache = Cache::default();
                let asked = AtomicU32::new(0);
                let get = |answer: Got<Issued>| {
                    let asked = &asked;
                    cache.get(move || {
                        asked.fetch_add(1, Ordering::Relaxed);
                        Box::pin(async { answer })
                    })
                };
                get(issued_for(lifetime)).await.unwrap();
                age(&cache, Duration::from_secs(fresh)).await;
                get(failure()).await.unwrap();
                assert_eq!(asked.load(Ordering::Relaxed), 1, "{lifetime:?}");
                age(&cache, Duration::from_secs(old - fresh)).await;
                get(failure()).await.unwrap();
                assert_eq!(asked.load(Ordering::Relaxed), 2, "{lifetime:?}");
                get(failure()).await.unwrap();
                assert_eq!(asked.load(Ordering::Relaxed), 2, "a failed renewal is followed by a pause");
                age(&cache, Duration::from_secs(300)).await;
                get(failure()).await.unwrap_err();
                get(issued_for(lifetime)).await.unwrap();
                assert_eq!(asked.load(Ordering::Relaxed), 4, "{lifetime:?}");
            }
        });
    }

    /// Requests that wait for the same credentials cause one request for them, also if it fails.
    #[test]
    fn waiting_requests_share_one_answer() {
        run(async {
            for answer in [|| issued_for(None), failure] {
                let (cache, asked) = (Cache::default(), AtomicU32::new(0));
                let get = || {
                    cache.get(|| {
                        asked.fetch_add(1, Ordering::Relaxed);
                        Box::pin(async move {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                            answer()
                        })
                    })
                };
                let all = futures_util::future::join_all((0..50).map(|_| get())).await;
                assert!(all.iter().all(|got| got.is_ok() == answer().is_ok()));
                assert_eq!(asked.load(Ordering::Relaxed), 1);
            }
        });
    }
}
