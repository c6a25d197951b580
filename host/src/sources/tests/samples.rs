//! The bundled samples are deliveries as the provider would send them.

use super::*;
use crate::sources::samples::{all, fill, find};

const ID: &str = "0193c1f2a7";

#[test]
fn every_sample_is_believed_and_named_as_its_file() {
    let sources = crate::config::ready_sources();
    for sample in all() {
        let body = fill(sample.template, ID, NOW);
        serde_json::from_str::<serde_json::Value>(&body).unwrap();
        let headers = signed(&sources[sample.source], sample.event, ID, body.as_bytes());
        let delivery = Delivery {
            headers: &headers,
            body: body.as_bytes(),
            received_at: NOW,
        };
        let verified = verify(&sources[sample.source], &secrets(&[SECRET]), delivery).unwrap();
        match identify(&verified, body.as_bytes()).unwrap() {
            Identity::Event(event) => {
                assert_eq!(
                    event.event_type,
                    format!("{}.{}", sample.source, sample.event)
                );
                assert!(
                    event.idempotency_key.ends_with(ID),
                    "{}",
                    event.idempotency_key
                );
            }
            Identity::Challenge(challenge) => {
                assert_eq!((sample.event, &*challenge), ("url_verification", ID));
            }
        }
    }
}

/// Otherwise the second sending of a sample would be a repeat of the first.
#[test]
fn every_sample_differs_by_id() {
    for sample in all() {
        assert_ne!(
            fill(sample.template, "1", NOW),
            fill(sample.template, "2", NOW),
            "{}",
            sample.event
        );
    }
}

#[test]
fn every_file_is_in_the_table() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    for source in crate::config::ready_sources().keys() {
        for entry in std::fs::read_dir(folder.join(source)).unwrap() {
            let path = entry.unwrap().path();
            let event = path.file_stem().unwrap().to_str().unwrap();
            assert!(find(source, event).is_some(), "{}", path.display());
        }
    }
    assert!(find("stripe", "issues.opened").is_none());
}
