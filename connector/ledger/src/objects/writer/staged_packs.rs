//! What one of many writers has put and not committed yet, and the vacuum of a single writer.
//!
//! A vacuum deletes objects that no version names when they are [old](MIN_IDLE_TIME), as a dead writer's. It goes by what it has
//! listed. So a writer commits nothing that such a list can have as old: it puts that anew, while nobody holds the lock that
//! a vacuum needs. A later vacuum finds it young.

use std::time::{Duration, SystemTime};

use object_stores::{Key, ObjectStoreExt, PutMode, PutPayload};

use super::ObjectWriter;
use crate::error::{Error, ErrorKind, Result};
use crate::objects::orphans::MIN_IDLE_TIME;
use crate::objects::{lease, store_clock};

/// At this age an object is put anew. It has as long again to be committed.
const RENEWAL_AGE: Duration = Duration::from_secs(MIN_IDLE_TIME.as_secs() / 2);

impl ObjectWriter {
    /// Before a commit of one of many: sees to it that no vacuum deletes what it put long ago.
    ///
    /// # Errors
    /// `Broken` if one did; `Locked` while a single writer has the container open: it may be about to. Those of the store.
    pub(in crate::objects) fn renew_staged_packs(&self) -> Result<()> {
        let age = self.payloads.since.map_or(Duration::ZERO, |since| since.elapsed());
        if !self.shared || age < RENEWAL_AGE {
            return Ok(());
        }
        let keys = self.staged_keys()?;
        let now = store_clock::now(self.store.as_ref(), &self.names.head, &self.target)?;
        if self.renew_old(&keys, now, age)? {
            // A vacuum may have come and gone meanwhile. The second look tells.
            self.renew_old(&keys, now, age)?;
        }
        Ok(())
    }

    /// The objects that coming records of this writer name.
    fn staged_keys(&self) -> Result<Vec<Key>> {
        let notes = self.notes_under_way().chain([&self.payloads.notes]);
        let locations = notes.flat_map(|notes| notes.gained.keys());
        locations.map(|location| self.names.object_key(location, &self.target)).collect()
    }

    /// Puts those objects anew that are old by the store's clock; whether there are any. `age` is that of the oldest, by this
    /// process's clocks.
    fn renew_old(&self, keys: &[Key], now: SystemTime, age: Duration) -> Result<bool> {
        // A vacuum that is under way may have listed them as they are.
        lease::check_free(self.store.as_ref(), &self.names, &self.target)?;
        let mut is_any_old = false;
        for key in keys {
            let there = self.store.head_opt(key).map_err(|e| self.fail(&e))?;
            let modified = there.ok_or_else(|| self.vacuumed(age))?.modified;
            if now.duration_since(modified).is_ok_and(|age| age >= RENEWAL_AGE) {
                is_any_old = true;
                self.put_anew(key, age)?;
            }
        }
        Ok(is_any_old)
    }

    fn put_anew(&self, key: &Key, age: Duration) -> Result<()> {
        let there = self.store.get_opt(key, None).map_err(|e| self.fail(&e))?;
        let bytes = there.ok_or_else(|| self.vacuumed(age))?.bytes;
        let put = self.store.put(key, PutPayload::from(bytes), PutMode::Overwrite);
        put.map(drop).map_err(|e| self.fail(&e))
    }

    /// The error for a payload that is gone.
    fn vacuumed(&self, age: Duration) -> Error {
        let why = format!(
            "a vacuum deleted what was written up to {} hours ago and never flushed; write it again, and flush more often",
            age.as_secs() / 3600
        );
        Error::new(&self.target, ErrorKind::Broken { why })
    }
}
