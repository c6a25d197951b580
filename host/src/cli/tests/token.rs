use super::*;

#[test]
fn a_token_is_made_listed_and_revoked() {
    let site = site();
    let made = triage(
        site.path(),
        "--json token create ci --role operator --tenant acme",
    )
    .good();
    let made: serde_json::Value = serde_json::from_str(&made).unwrap();
    assert!(made["token"].as_str().unwrap().starts_with("triage_"));
    let listed = triage(site.path(), "token list").good();
    assert!(listed.contains("operator"), "{listed}");
    assert!(listed.contains("acme"), "{listed}");
    assert!(
        !listed.contains(made["token"].as_str().unwrap()),
        "a secret is shown again"
    );
    let id = made["token_id"].as_str().unwrap();
    triage(site.path(), &format!("token revoke {id}")).good();
    assert!(!triage(site.path(), "token list").good().contains(id));
    let gone = triage(site.path(), &format!("token revoke {id}")).bad(1);
    assert_eq!(gone, format!("error: there is no token {id}\n"));
}

#[test]
fn an_unknown_role_is_a_usage_error() {
    let site = site();
    triage(site.path(), "token create ci --role god").bad(2);
}
