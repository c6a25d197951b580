//! What a team can set for its policy.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::money::Thresholds;

/// The settings, with what holds where one is left out.
#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    pub destination: String,
    pub webhook_destination: Option<String>,
    pub amounts: Thresholds,
    pub amounts_by_currency: BTreeMap<String, Thresholds>,
    pub attempts_high: u64,
    pub dispute_due_hours: u64,
    pub test_mode: TestMode,
}

/// What happens to events of Stripe's test mode.
#[derive(Clone, Copy, Deserialize, PartialEq)]
#[cfg_attr(test, derive(serde::Serialize))]
#[serde(rename_all = "lowercase")]
pub enum TestMode {
    Ignore,
    Low,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            destination: "desk".to_owned(),
            webhook_destination: None,
            amounts: Thresholds {
                high: 500,
                critical: 5_000,
            },
            amounts_by_currency: BTreeMap::from([
                (
                    "jpy".to_owned(),
                    Thresholds {
                        high: 75_000,
                        critical: 750_000,
                    },
                ),
                (
                    "krw".to_owned(),
                    Thresholds {
                        high: 700_000,
                        critical: 7_000_000,
                    },
                ),
            ]),
            attempts_high: 3,
            dispute_due_hours: 72,
            test_mode: TestMode::Ignore,
        }
    }
}

impl Settings {
    /// What holds for a currency, named in lower case as Stripe does.
    pub fn thresholds(&self, currency: &str) -> &Thresholds {
        self.amounts_by_currency
            .get(currency)
            .unwrap_or(&self.amounts)
    }
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
