//! Reports lost changes when no call of the program remains that could return an error.

use std::sync::OnceLock;

static REPORT: OnceLock<fn(&str)> = OnceLock::new();

/// Sets the function `report`, which gets one sentence when changes were lost and no call can return an error. If several
/// functions are set, the first one is used.
pub fn report_losses_by(report: fn(&str)) {
    REPORT.get_or_init(|| report);
}

pub(crate) fn report(text: &str) {
    if let Some(report) = REPORT.get() {
        report(text);
    }
}
