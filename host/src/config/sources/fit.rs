//! Whether what stands in the signature's header can be told apart, and stays there.

use crate::config::problem::Problems;
use crate::model::custom_source::{CustomSource, Place, SignedPart, Template, TimeUnit};

/// Every place that a declaration reads, with its setting.
pub(super) fn places(source: &CustomSource) -> impl Iterator<Item = (&'static str, &Place)> {
    let times = [
        (
            "timestamp.from",
            source.timestamp.as_ref().map(|it| &it.time.place),
        ),
        (
            "occurred_at.from",
            source.occurred_at.as_ref().map(|it| &it.place),
        ),
    ];
    let texts = [
        ("event_type", &source.event_type),
        ("idempotency_key", &source.idempotency_key),
        ("ordering_key", &source.ordering_key),
    ];
    let in_texts = texts.into_iter().flat_map(|(field, it)| {
        it.iter()
            .flat_map(Template::places)
            .map(move |it| (field, it))
    });
    times
        .into_iter()
        .filter_map(|(field, place)| Some((field, place?)))
        .chain(in_texts)
}

/// The signature's header is read for the signature only: a token would be kept as a name or a
/// key, and a signature is another one under another secret.
pub(super) fn signature_apart(source: &CustomSource, problems: &mut Problems) {
    let signature = &source.signature;
    let own = Place::Header(signature.header.clone());
    let signed = source.hmac().into_iter().flat_map(|it| it.signed.parts());
    let signs_itself = signed
        .filter(|it| matches!(it, SignedPart::Header(name) if *name == signature.header))
        .map(|_| "signature.signed");
    let read = places(source).filter_map(|(field, it)| (*it == own).then_some(field));
    let message = format!("`{}` is the signature's own header", signature.header);
    for field in signs_itself.chain(read) {
        problems.add(format!("sources.{}.{field}", source.name), &message);
    }
    if signature.prefix.starts_with(' ') {
        let setting = format!("sources.{}.signature.prefix", source.name);
        problems.add(setting, "begins with a space, which no header's value does");
    }
}

/// Whether a list in the signature's header is cut where it should be, and a pair in it is no signature.
pub(super) fn list(source: &CustomSource, separator: &str, problems: &mut Problems) {
    let at = |field: &str| format!("sources.{}.{field}", source.name);
    let prefix = &source.signature.prefix;
    let time = source.timestamp.as_ref().map(|it| &it.time);
    let time_bytes: &[u8] = match time.map(|it| (&it.place, it.unit)) {
        Some((Place::Pair(_), TimeUnit::Rfc3339)) => b"-:.",
        _ => b"",
    };
    let stands_inside =
        |it: u8| it.is_ascii_alphanumeric() || b"+/=".contains(&it) || time_bytes.contains(&it);
    if prefix.contains(separator) {
        problems.add(
            at("signature.separator"),
            "stands in the prefix, which would be cut apart",
        );
    }
    if separator.bytes().any(stands_inside) {
        problems.add(
            at("signature.separator"),
            "holds what stands in signatures, pairs or times, which would be cut apart: as `,` or `;`",
        );
    }
    for (field, place) in places(source) {
        let Place::Pair(key) = place else { continue };
        let cause = if key.contains(separator) {
            "the pair's name holds `signature.separator`, which would cut it apart"
        } else if prefix.starts_with(&format!("{key}=")) {
            "the pair has the name that signatures begin with"
        } else {
            continue;
        };
        problems.add(at(field), cause);
    }
}
