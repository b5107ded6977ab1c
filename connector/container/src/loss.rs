//! Reports lost changes when no call of the program remains that could return an error.

use std::sync::OnceLock;

static TELL: OnceLock<fn(&str)> = OnceLock::new();

/// Sets the function `tell`, which gets one sentence when changes were lost and no call can return an error. If several
/// functions are set, the first one is used.
pub fn tell_losses_by(tell: fn(&str)) {
    TELL.get_or_init(|| tell);
}

pub(crate) fn tell(text: &str) {
    if let Some(tell) = TELL.get() {
        tell(text);
    }
}
