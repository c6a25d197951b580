//! The decisions in `fixtures/`.

#[test]
fn every_fixture_is_decided_as_expected() {
    triage_plugin::testing::check_fixtures::<payments::Payments>("fixtures");
}
