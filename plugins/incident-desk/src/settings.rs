//! What a team can set for its policy.

use serde::Deserialize;

/// The settings, with what holds where one is left out.
#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub destination: String,
    pub webhook_destination: Option<String>,
    pub production: Vec<String>,
    pub urgent_labels: Vec<String>,
    pub critical_labels: Vec<String>,
    pub quiet_labels: Vec<String>,
    pub incident_words: Vec<String>,
    pub critical_words: Vec<String>,
    pub users_high: u64,
    pub users_critical: u64,
}

impl Default for Settings {
    fn default() -> Self {
        let words = crate::texts;
        Self {
            destination: "desk".to_owned(),
            webhook_destination: None,
            production: words(&["production", "prod", "live"]),
            urgent_labels: words(&["urgent", "regression", "security", "p1", "sev2"]),
            critical_labels: words(&["critical", "incident", "outage", "p0", "sev1"]),
            quiet_labels: words(&[
                "question",
                "documentation",
                "duplicate",
                "invalid",
                "wontfix",
            ]),
            incident_words: words(&[
                "incident", "is down", "are down", "degraded", "sev2", "p1", "500s", "timeouts",
            ]),
            critical_words: words(&["outage", "sev1", "sev-1", "p0", "data loss", "breach"]),
            users_high: 10,
            users_critical: 100,
        }
    }
}

impl Settings {
    /// Whether an environment counts as production; one that nobody named does.
    pub fn is_production(&self, environment: Option<&str>) -> bool {
        environment.is_none_or(|it| contains(&self.production, it))
    }
}

/// Whether a list of settings holds a word, in any case.
pub fn contains(words: &[String], word: &str) -> bool {
    words.iter().any(|it| it.eq_ignore_ascii_case(word))
}

/// JSON Schema of [`Settings`].
pub const SCHEMA: &str = include_str!("settings.schema.json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_tells_every_setting_and_its_default() {
        let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
        let mut defaults = serde_json::Map::new();
        for (name, property) in schema["properties"].as_object().unwrap() {
            defaults.insert(name.clone(), property["default"].clone());
        }
        let settings = serde_json::to_value(Settings::default()).unwrap();
        assert_eq!(settings, serde_json::Value::Object(defaults));
    }
}
