//! Says in words how two setups differ: names and counts, never values. Pure.

use std::collections::BTreeMap;

use crate::live::Setup;

/// Names that are written out; of more, the rest is counted.
const NAMES_SHOWN_MAX: usize = 20;

/// What differs, a line for each kind of thing. Empty where nothing that has a name does.
pub(super) fn between(old: &Setup, new: &Setup) -> Vec<String> {
    let (was, is) = (&old.config, &new.config);
    let settings = [
        ("server.public_url", was.public_url != is.public_url),
        (
            "server.trusted_proxies",
            was.trusted_proxies != is.trusted_proxies,
        ),
        ("server.tls", was.tls != is.tls),
        ("server.master_key", was.master_key != is.master_key),
        ("egress.allow", was.egress_allow != is.egress_allow),
        ("retention.events", was.keep_events_ms != is.keep_events_ms),
    ];
    let settings = settings.into_iter().filter(|(_, changed)| *changed);
    let policies = |setup: &Setup| -> BTreeMap<String, _> {
        let named = setup.config.policies.iter();
        named.map(|it| (it.name.clone(), it.clone())).collect()
    };
    let plugins = |setup: &Setup| -> BTreeMap<String, String> {
        let versions = setup.registry.versions();
        versions
            .map(|(name, digest)| (name.to_owned(), digest.to_owned()))
            .collect()
    };
    [
        differences("tenants", &was.tenants, &is.tenants),
        differences("sources", &was.sources, &is.sources),
        differences("integrations", &was.integrations, &is.integrations),
        differences("policies", &policies(old), &policies(new)),
        differences("destinations", &was.destinations, &is.destinations),
        differences("plugins", &plugins(old), &plugins(new)),
        listed("settings", "changed", settings.map(|(name, _)| name)),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn differences<T: PartialEq>(
    kind: &str,
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
) -> Option<String> {
    let names = |of: &BTreeMap<String, T>, wanted: &dyn Fn(&str, &T) -> bool| -> Vec<String> {
        of.iter()
            .filter(|(name, value)| wanted(name, value))
            .map(|(name, _)| name.clone())
            .collect()
    };
    let added = names(new, &|name, _| !old.contains_key(name));
    let removed = names(old, &|name, _| !new.contains_key(name));
    let changed = names(new, &|name, value| {
        old.get(name).is_some_and(|it| it != value)
    });
    let parts: Vec<String> = [("added", added), ("removed", removed), ("changed", changed)]
        .into_iter()
        .filter_map(|(verb, names)| counted(verb, names.iter().map(String::as_str)))
        .collect();
    (!parts.is_empty()).then(|| format!("{kind}: {}", parts.join(", ")))
}

fn listed<'a>(kind: &str, verb: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    counted(verb, names).map(|it| format!("{kind}: {it}"))
}

fn counted<'a>(verb: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let names: Vec<&str> = names.collect();
    let shown: Vec<&str> = names.iter().take(NAMES_SHOWN_MAX).copied().collect();
    let more = if shown.len() < names.len() {
        ", …"
    } else {
        ""
    };
    (!names.is_empty()).then(|| format!("{} {verb} ({}{more})", names.len(), shown.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, u8)]) -> BTreeMap<String, u8> {
        let owned = entries.iter().map(|(name, it)| ((*name).to_owned(), *it));
        owned.collect()
    }

    #[test]
    fn what_was_added_removed_and_changed_is_counted_and_named() {
        let (old, new) = (
            map(&[("a", 1), ("b", 1), ("c", 1)]),
            map(&[("b", 2), ("c", 1), ("d", 1), ("e", 1)]),
        );
        assert_eq!(
            differences("policies", &old, &new).unwrap(),
            "policies: 2 added (d, e), 1 removed (a), 1 changed (b)"
        );
        assert_eq!(differences("policies", &old, &old), None);
    }

    #[test]
    fn many_names_are_cut() {
        let names: Vec<String> = (0..25).map(|it| format!("n{it}")).collect();
        let text = counted("added", names.iter().map(String::as_str)).unwrap();
        assert!(
            text.starts_with("25 added (n0, ") && text.ends_with("n19, …)"),
            "{text}"
        );
    }
}
