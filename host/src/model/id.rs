//! Ids: one type for each noun, so that a run's id cannot be passed where an event's belongs.
//!
//! An id is a UUID version 7 (RFC 9562): it begins with the time, so rows that are
//! written one after another stand beside each other in an index.

use std::fmt;
use std::str::FromStr;

use uuid::{NoContext, Timestamp, Uuid};

use super::time::TimestampMs;

/// The text is not an id of the expected kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id of this kind: expected `{0}_` and 32 hexadecimal digits")]
pub struct BadId(pub &'static str);

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u128);

        impl $name {
            /// A fresh id whose first 48 bits are `now`.
            pub fn new(now: TimestampMs) -> Self {
                let ms = u64::try_from(now).unwrap_or(0);
                let nanos = u32::try_from(ms % 1000).unwrap_or(0) * 1_000_000;
                Self(Uuid::new_v7(Timestamp::from_unix(NoContext, ms / 1000, nanos)).as_u128())
            }

            /// The 16 bytes that the database keeps.
            pub fn to_bytes(self) -> [u8; 16] {
                self.0.to_be_bytes()
            }

            /// The id that the database kept as these bytes.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(u128::from_be_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "_{:032x}"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                let hex = text
                    .strip_prefix(concat!($prefix, "_"))
                    .filter(|hex| hex.len() == 32 && hex.bytes().all(|it| it.is_ascii_hexdigit()))
                    .ok_or(BadId($prefix))?;
                u128::from_str_radix(hex, 16).map(Self).map_err(|_| BadId($prefix))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

id_type!(
    /// Names an event.
    EventId,
    "evt"
);
id_type!(
    /// Names a run.
    RunId,
    "run"
);
id_type!(
    /// Names an action.
    ActionId,
    "act"
);
id_type!(
    /// Names a ticket of the built-in desk.
    TicketId,
    "tkt"
);
id_type!(
    /// Names an API token.
    TokenId,
    "tok"
);
id_type!(
    /// Names an integration that was added without an id of the user's choice.
    IntegrationId,
    "int"
);
id_type!(
    /// Names a signing secret. Says nothing about its value.
    SecretId,
    "sec"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text_and_its_bytes() {
        let id = EventId::new(1_731_705_121_042);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(EventId::from_bytes(id.to_bytes()), id);
        assert!(id.to_string().starts_with("evt_"));
    }

    #[test]
    fn another_kinds_id_is_refused() {
        let run = RunId::new(0).to_string();
        assert_eq!(run.parse::<EventId>(), Err(BadId("evt")));
        assert_eq!(
            "evt_+0000000000000000000000000000000".parse::<EventId>(),
            Err(BadId("evt"))
        );
    }

    #[test]
    fn later_ids_sort_behind_earlier_ones() {
        assert!(EventId::new(1_000) < EventId::new(2_000));
    }
}
