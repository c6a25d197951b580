//! Breaches of a plugin's versions, counted over events.

/// A version of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PluginVersion {
    /// The plugin's name.
    pub plugin: String,
    /// SHA-256 of the component in hexadecimal.
    pub digest: String,
}

/// When a version of a plugin is taken out of use for a tenant: all of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrikeLimits {
    /// Different events on which it broke a rule.
    pub events: u32,
    /// Within this many milliseconds of the first.
    pub window_ms: i64,
    /// Of a hundred runs in that time, on so many or more.
    pub share_percent: u32,
}

impl Default for StrikeLimits {
    fn default() -> Self {
        Self {
            events: 5,
            window_ms: 600_000,
            share_percent: 50,
        }
    }
}

/// What a version did to one tenant's runs since its first strike in the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StrikeRecord {
    /// Different events on which it broke a rule; without those that broke another version as well.
    pub events: u32,
    /// Runs on which it was asked.
    pub runs: u32,
    /// Those of them on which it broke a rule.
    pub broken: u32,
}
