//! Lines for the run's log. Always granted; beyond the run's share of bytes they are dropped.
//!
//! ```no_run
//! triage_plugin::log::info("customer is known", &[("customer", "cus_123"), ("tier", "gold")]);
//! ```

use crate::bindings::policy_plugin::triage::policy::log::Level;
use crate::host;

/// For the author.
pub fn debug(message: &str, fields: &[(&str, &str)]) {
    write(Level::Debug, message, fields);
}

/// Normal.
pub fn info(message: &str, fields: &[(&str, &str)]) {
    write(Level::Info, message, fields);
}

/// Odd, but handled.
pub fn warn(message: &str, fields: &[(&str, &str)]) {
    write(Level::Warn, message, fields);
}

/// Something failed.
pub fn error(message: &str, fields: &[(&str, &str)]) {
    write(Level::Error, message, fields);
}

fn write(level: Level, message: &str, fields: &[(&str, &str)]) {
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    host::log::write(level, message, &fields);
}
