//! Losses that no call of the program's is left to tell of.

use std::sync::OnceLock;

static TELL: OnceLock<fn(&str)> = OnceLock::new();

/// Has `tell` called with one sentence where changes were lost and no call can return an error for it. Of several functions the
/// first counts.
pub fn tell_losses_by(tell: fn(&str)) {
    TELL.get_or_init(|| tell);
}

pub(crate) fn tell(text: &str) {
    if let Some(tell) = TELL.get() {
        tell(text);
    }
}
