use insta::assert_snapshot;

use super::{WHSEC, policy, problems, webhook};

#[test]
fn all_problems_are_found_at_once() {
    assert_snapshot!(problems(r#"
        servre = 1
        [server]
        lissten = "x"
        listen = "localhost:8080"
        database = 5
        [[integration]]
        id = "a b"
        [[policy]]
        name = "incidents"
        trigger = []
        classifier = "incident"
        triggers = ["github.issues.*", "githb.push", "a..b"]
        [plugins.incidents]
        path = "incidents.wasm"
    "#), @r#"
    server.database: invalid type: integer `5`, expected a string
    server.lissten: unknown field `lissten`, expected one of `listen`, `public_url`, `database`, `trusted_proxies`, `master_key`, `compile_seconds`, `tls`
    policy.incidents.trigger: unknown field `trigger`, expected one of `name`, `tenant`, `triggers`, `classifier`, `triager`, `ordering_key`, `late`, `stale`, `on_failure`, `default_route`, `attempts_max`, `retry_for`, `settings`, `grants`, `limits`
    servre: unknown section: expected [server], [retention], [quarantine], [egress], [tenants.NAME], [sources.NAME], [[integration]], [plugins.NAME], [destinations.NAME] or [[policy]]
    server.listen: `localhost:8080` is not an address and a port, as `127.0.0.1:8080`
    integration[0].id: `a b` is not a name: 1 to 64 letters, digits, `-` and `_`
    integration[0].source: missing: as `github`, or one that is declared as [sources.NAME]
    integration[0].secrets: missing: as `secrets = ["env:NAME"]`
    plugins.incidents.path: no such file DIR/incidents.wasm: build it with `triage plugin build`, or correct the path
    policy.incidents.triggers[1]: trigger `githb.push`: unknown source `githb` (known: `github`, `gitlab`, `intercom`, `linear`, `pagerduty`, `sentry`, `shopify`, `slack`, `standard`, `stripe`, `zendesk`, or `*` for all of them)
    policy.incidents.triggers[2]: trigger `a..b`: words of letters, digits, `_`, `-` and `:` with dots between them; a word may be `*`
    policy.incidents.classifier: no plugin `incident`: declare [plugins.incident] (known: `incidents`)
    "#);
}

#[test]
fn sections_of_another_shape_are_refused() {
    assert_snapshot!(problems("server = 1\nintegration = 1\npolicy = [1]\nplugins = 1\ndestinations = { a = 1 }"), @"
    server: must be a section: write [server]
    integration: must be a list of sections: write [[integration]]
    plugins: must be sections: write [plugins.NAME]
    destinations.a: must be a section: write [destinations.NAME]
    policy[0]: must be a section: write [[policy]]
    ");
    assert_snapshot!(problems("[integration]\nid = \"x\""), @"integration: must be a list of sections: write [[integration]]");
}

#[test]
fn limits_of_tenants_are_checked() {
    assert_snapshot!(problems(r#"
        [tenants."a b"]
        concurrency = 0
        [tenants.acme]
        concurrency = 257
        queued_runs = 0
        cpu_ms_per_minute = 60_000_001
        actions_per_minute = "60/m"
        memory_mb = 1
    "#), @"
    tenants.acme.actions_per_minute: invalid type: string \"60/m\", expected i64
    tenants.acme.memory_mb: unknown field `memory_mb`, expected one of `concurrency`, `queued_runs`, `cpu_ms_per_minute`, `actions_per_minute`
    tenants.a b: `a b` is not a name: 1 to 64 letters, digits, `-` and `_`
    tenants.a b.concurrency: 0 is not within 1 and 256
    tenants.acme.concurrency: 257 is not within 1 and 256
    tenants.acme.queued_runs: 0 is not within 1 and 100000000
    tenants.acme.cpu_ms_per_minute: 60000001 is not within 1 and 60000000
    ");
}

#[test]
fn server_and_egress_are_checked() {
    assert_snapshot!(problems(r#"
        [server]
        public_url = "ftp://example.com"
        database = ""
        trusted_proxies = ["10.0.0.0/8", "proxy"]
        compile_seconds = 0
        [egress]
        allow = ["10.0.0.0/8", "::1", "10.0.0.0/33", "example.com"]
    "#), @"
    server.public_url: `ftp` is neither http nor https
    server.database: `` is not a file, as `triage.db`
    server.trusted_proxies[1]: `proxy` is neither a network, as `10.20.0.0/16`, nor an address
    server.compile_seconds: 0 is not within 1 and 600
    egress.allow[2]: `10.0.0.0/33` is neither a network, as `10.20.0.0/16`, nor an address
    egress.allow[3]: `example.com` is neither a network, as `10.20.0.0/16`, nor an address
    ");
    assert_snapshot!(problems("[server]\npublic_url = \"https://me:hunter2@example.com\""), @"server.public_url: a user name or password in the URL is not supported: take it out");
    assert_snapshot!(problems("[server]\npublic_url = \"https://example.com/?a\""), @"server.public_url: must end with its path: take `?` and `#` out");
}

#[test]
fn integrations_are_checked() {
    assert_snapshot!(problems(r#"
        [[integration]]
        id = "one"
        source = "standard"
        secrets = ["env:NOWHERE", "env:PLAIN", "env:EMPTY", "file:none", "hunter2", 5, "env:a-b"]
        [[integration]]
        id = "one"
        tenant = "a/b"
        source = "gitlub"
        secrets = []
        body_limit = "1GB"
        [[integration]]
        source = "github"
        secrets = "hunter2"
        body_limit = "64MiB"
        inflated_limit = "33MiB"
    "#), @r#"
    integration.one.secrets[0]: environment variable NOWHERE is not set
    integration.one.secrets[1]: the secret is not `whsec_` and base64
    integration.one.secrets[2]: environment variable EMPTY is empty
    integration.one.secrets[3]: cannot read DIR/none: No such file or directory (os error 2)
    integration.one.secrets[4]: write where it is, not what it is: `env:NAME` or `file:PATH`
    integration.one.secrets[5]: write where it is, not what it is: `env:NAME` or `file:PATH`
    integration.one.secrets[6]: not the name of an environment variable: `env:` and letters, digits, `_`
    integration.one: declared twice: each needs an `id` of its own
    integration.one.tenant: `a/b` is not a name: 1 to 64 letters, digits, `-` and `_`
    integration.one.source: unknown source `gitlub` (known: `github`, `gitlab`, `intercom`, `linear`, `pagerduty`, `sentry`, `shopify`, `slack`, `standard`, `stripe`, `zendesk`)
    integration.one.secrets: at least one is needed, as `secrets = ["env:NAME"]`
    integration.one.body_limit: `1GB` is not a size: as `512KiB` or `2MiB`
    integration[2].id: missing: the last part of its URL, as `github-main`
    integration[2].secrets: must be a list, as `secrets = ["env:NAME"]`
    integration[2].body_limit: `64MiB` is not within 1B and 32MiB
    integration[2].inflated_limit: `33MiB` is not within 1B and 32MiB
    "#);
}

#[test]
fn tls_is_checked() {
    assert_snapshot!(problems("[server.tls]\ncert = \"a\""), @"
    server.tls.cert: unknown field `cert`, expected `certificate` or `key`
    server.tls.certificate: missing: a PEM file, as `cert.pem`
    server.tls.key: missing: a PEM file, as `key.pem`
    ");
    assert_snapshot!(problems("[server.tls]\ncertificate = \"none.pem\"\nkey = \"plugins\""), @"
    server.tls.certificate: cannot read DIR/none.pem: No such file or directory (os error 2)
    server.tls.key: cannot read DIR/plugins: Is a directory (os error 21)
    ");
    assert_snapshot!(problems("[server.tls]\ncertificate = \"secrets/standard-main\"\nkey = \"secrets/standard-main\""), @"
    server.tls.certificate: no certificate in DIR/secrets/standard-main: PEM is wanted, the server's own certificate first
    server.tls.key: no private key in DIR/secrets/standard-main: PEM is wanted, without a passphrase
    ");
    assert_snapshot!(problems("[server.tls]\ncertificate = \"cert.pem\"\nkey = \"other-key.pem\""), @"server.tls.key: the key does not belong to `server.tls.certificate`");
    assert_snapshot!(problems("[server.tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\""), @"none");
}

#[test]
fn rate_limits_are_checked() {
    let integration = |id: &str, lines: &str| {
        format!(
            "[[integration]]\nid = \"{id}\"\nsource = \"github\"\nsecrets = [\"env:ONCALL_SECRET\"]\n{lines}\n"
        )
    };
    let text = [
        integration("a", "rate_limit = \"100\""),
        integration("b", "rate_limit = \"0/s\"\nburst = 0"),
        integration("c", "burst = 5"),
        integration("d", "rate_limit = \"600/m\"\nburst = 1000001"),
        integration("e", "rate_limit = 5\nburst = 1"),
    ];
    assert_snapshot!(problems(&text.concat()), @"
    integration.e.rate_limit: invalid type: integer `5`, expected a string
    integration.a.rate_limit: `100` is not a rate: as `100/s` or `600/m`
    integration.b.rate_limit: `0/s` is not within 1 and 1000000
    integration.c.burst: counts only beside a `rate_limit`
    integration.d.burst: 1000001 is not within 1 and 1000000
    ");
}

#[test]
fn a_secret_is_never_shown() {
    let text = format!(
        "[[integration]]\nid = \"a\"\nsource = \"standard\"\nsecrets = [\"hunter2\", \"env:{WHSEC}\"]\n\
         [[integration]]\nid = \"b\"\nsource = \"standard\"\nsecrets = {{ hunter2 = \"hunter2\" }}\n\
         [destinations.d]\nkind = \"webhook\"\nurl = \"hunter2\"\nsecret = \"hunter2\"\n\
         [destinations.e]\nkind = \"webhook\"\nurl = 5\nsecret = [\"hunter2\"]"
    );
    let problems = problems(&text);
    assert!(
        !problems.contains("hunter2") && !problems.contains("whsec_C2"),
        "{problems}"
    );
}

#[test]
fn plugins_are_checked() {
    assert_snapshot!(problems(r#"
        [plugins.incidents]
        path = "incidents.wasm"
        [plugins.pushed]
        digest = "sha256:00"
        [plugins."a b"]
        path = "plugins"
        [plugins.nothing]
    "#), @"
    plugins.a b: `a b` is not a name: 1 to 64 letters, digits, `-` and `_`
    plugins.a b.path: DIR/plugins is not a file
    plugins.incidents.path: no such file DIR/incidents.wasm: build it with `triage plugin build`, or correct the path
    plugins.nothing.path: missing: the component's file, as `plugins/incident_desk.wasm`
    plugins.pushed.digest: not supported by this version: give the component's file as `path`
    ");
}

#[test]
fn destinations_are_checked() {
    assert_snapshot!(problems(r#"
        [destinations.desk]
        kind = "ticket"
        url = "https://example.com"
        [destinations.issues]
        kind = "github-issue"
        [destinations.chat]
        kind = "slack"
        [destinations.mail]
        kind = "mail"
        [destinations.none]
    "#), @"
    destinations.chat.kind: `slack` is not supported by this version: use `webhook` or `ticket`
    destinations.desk.url: a `ticket` destination has none: take it out
    destinations.issues.kind: `github-issue` is not supported by this version: use `webhook` or `ticket`
    destinations.mail.kind: `mail` is no kind of destination: `ticket` or `webhook`
    destinations.none.kind: missing: `ticket` or `webhook`
    ");
    assert_snapshot!(problems(&webhook("")), @r#"
    destinations.oncall.url: missing: as `url = "https://oncall.example.com/hook"`
    destinations.oncall.secret: missing: as `secret = "env:NAME"`
    "#);
    assert_snapshot!(problems(&webhook(
        "url = \"https://u:p@example.com\"\nsecret = \"env:GITHUB_WEBHOOK_SECRET\"\ntimeout_ms = 5\nattempts_max = 0\nretry_for = \"5 m\""
    )), @"
    destinations.oncall.url: a user name or password in the URL is not supported: take it out
    destinations.oncall.secret: the secret does not begin with `whsec_`: take the one that the receiver shows, or make one with `openssl rand -base64 32` and put `whsec_` before it
    destinations.oncall.timeout_ms: 5 is not within 100 and 30000
    destinations.oncall.retry_for: `5 m` is not a duration: as `500ms`, `30s`, `5m`, `24h` or `7d`
    destinations.oncall.attempts_max: 0 is not within 1 and 100
    ");
    assert_snapshot!(problems(&webhook(
        "url = \"/hook\"\nsecret = \"env:ONCALL_SECRET\"\nattempts_max = \"8\"\nretry_for = \"8d\""
    )), @r#"
    destinations.oncall.attempts_max: invalid type: string "8", expected i64
    destinations.oncall.url: not a URL: relative URL without a base
    destinations.oncall.retry_for: `8d` is not within 1ms and 7d
    "#);
}

#[test]
fn a_destination_on_a_refused_address_needs_egress_allow() {
    let text = webhook("url = \"http://127.0.0.1:9/hook\"\nsecret = \"env:ONCALL_SECRET\"");
    assert_snapshot!(problems(&text), @"destinations.oncall.url: address of `127.0.0.1` is refused: loopback address (RFC 1122); `egress.allow` can open it");
    assert_snapshot!(problems(&format!("[egress]\nallow = [\"127.0.0.1\"]\n{text}")), @"none");
}

#[test]
fn policies_are_checked() {
    assert_snapshot!(problems("[[policy]]\nlimits = { cpu_ms = 0 }"), @r#"
    policy[0].name: missing: as `incidents`
    policy[0].triggers: missing: as `triggers = ["github.issues.*"]`
    policy[0]: a `classifier`, a `triager` or both are needed: name a plugin
    policy[0].limits.cpu_ms: 0 is not within 1 and 60000
    "#);
    assert_snapshot!(problems(&policy("triager = \"payments\"\non_failure = \"ignore\"\n[policy.grants]\ndestinations = [\"desk\", \"oncall\"]")), @"
    policy.incidents.triager: no plugin `payments`: declare [plugins.payments] (known: `incidents`)
    policy.incidents.grants.destinations[1]: no destination `oncall`: declare [destinations.oncall] (known: `desk`)
    policy.incidents.on_failure: `ignore` is none of `retry`, `default-route` and `dead-letter`
    ");
    assert_snapshot!(problems("[[policy]]\nname = \"a\"\ntriggers = [\"*\"]\n[[policy]]\nname = \"a\"\ntriggers = []\ntriager = 5"), @r#"
    policy.a.triager: invalid type: integer `5`, expected a string
    policy.a: declared twice: each needs a `name` of its own
    policy.a.triggers: at least one is needed, as `triggers = ["github.issues.*"]`
    "#);
}

#[test]
fn default_routes_are_checked() {
    assert_snapshot!(problems(&policy("on_failure = \"default-route\"")), @r#"policy.incidents.default_route: missing: `default-route` needs a destination, as `{ destination = "desk" }`"#);
    assert_snapshot!(problems(&policy(r#"
        [policy.default_route]
        destination = "desk"
        title = ""
        priority = "ignore"
        category = "a b"
        to = "desk"
    "#)), @"
    policy.incidents.default_route.to: unknown field `to`, expected one of `destination`, `title`, `priority`, `category`
    policy.incidents.default_route.destination: `desk` is not granted: add it to the policy's `grants.destinations`
    policy.incidents.default_route.title: must be one line of 1 to 200 bytes
    policy.incidents.default_route.priority: `ignore` is none of `low`, `normal`, `high` and `critical`
    policy.incidents.default_route.category: `a b` is not a name: 1 to 64 letters, digits, `-` and `_`
    ");
    assert_snapshot!(problems(&policy("on_failure = \"default-route\"\ndefault_route = {}")), @"policy.incidents.default_route.destination: missing: one of the policy's `grants.destinations`, as `desk`");
}

#[test]
fn the_limits_of_strikes_are_checked() {
    assert_snapshot!(problems("[quarantine]\nstrikes = 1\nwithin = \"31d\"\nshare_percent = 0"), @"
    quarantine.within: `31d` is not within 1ms and 7d
    quarantine.strikes: 1 is not within 2 and 1000000
    quarantine.share_percent: 0 is not within 1 and 100
    ");
}

#[test]
fn rules_of_order_and_time_are_checked() {
    assert_snapshot!(problems(&policy(r#"
        ordering_key = "issue.id"
        late = { after = "1 hour", then = "ignore", than = 1 }
        stale = { version = "updated_at", then = "flag" }
    "#)), @"
    policy.incidents.ordering_key: `issue.id` is not a JSON pointer, as `/issue/id`: it begins with `/`, and `~` is written `~0`, `/` within a name `~1`
    policy.incidents.late.than: unknown field `than`, expected `after` or `then`
    policy.incidents.late.after: `1 hour` is not a duration: as `500ms`, `30s`, `5m`, `24h` or `7d`
    policy.incidents.late.then: `ignore` is none of `flag`, `process` and `drop`
    policy.incidents.stale.version: `updated_at` is not a JSON pointer, as `/issue/id`: it begins with `/`, and `~` is written `~0`, `/` within a name `~1`
    policy.incidents.stale.then: `flag` is not `drop`
    ");
    assert_snapshot!(problems(&policy(r#"
        late = "1h"
        stale = { version = "/updated_at", then = "drop" }
    "#)), @r#"
    policy.incidents.late: must be a table, as `{ after = "1h", then = "flag" }`
    policy.incidents.stale: versions are compared within one `ordering_key`: set that, too
    "#);
    assert_snapshot!(problems(&policy("ordering_key = \"/id\"\nlate = {}\nstale = {}")), @"
    policy.incidents.late.after: missing: as `1h`
    policy.incidents.late.then: missing: `flag`, `process` or `drop`
    policy.incidents.stale.version: missing: as `/issue/updated_at`
    policy.incidents.stale.then: missing: `drop`
    ");
    assert_snapshot!(problems("[retention]\nevents = \"0d\""), @"retention.events: `0d` is not within 1ms and 3650d");
}

#[test]
fn grants_are_checked() {
    assert_snapshot!(problems(&policy(r#"
        [policy.grants]
        state = 1
        files = true
        http = ["api.example.com", "https://example.com", "*.example.com", "example.com:8443", ""]
        model = { tokens_per_day = 0, budget = 1 }
    "#)), @"
    policy.incidents.grants.files: unknown field `files`, expected one of `state`, `http`, `model`, `destinations`
    policy.incidents.grants.state: invalid type: integer `1`, expected a boolean
    policy.incidents.grants.http[1]: `https://example.com` is not a host name, as `api.example.com`
    policy.incidents.grants.http[2]: `*.example.com` is not a host name, as `api.example.com`
    policy.incidents.grants.http[3]: `example.com:8443` is not a host name, as `api.example.com`
    policy.incidents.grants.http[4]: `` is not a host name, as `api.example.com`
    policy.incidents.grants.model.budget: unknown field `budget`, expected `provider` or `tokens_per_day`
    policy.incidents.grants.model.provider: missing: the model's provider, as `claude`
    policy.incidents.grants.model.tokens_per_day: 0 is not within 1 and 1000000000000
    ");
    assert_snapshot!(problems(&policy("grants = { model = true }")), @"policy.incidents.grants.model: invalid type: boolean `true`, expected a map");
}

#[test]
fn limits_are_checked() {
    assert_snapshot!(problems(&policy(r#"
        [policy.limits]
        cpu_ms = 0
        wall_ms = 300_001
        memory_mb = 257
        concurrency = -1
        host_call_kb = 0
        log_kb = 2000
        actions_max = 1000
        table_elements = 60_001
        handles = 0
        labels_max = 257
        text_kb = 1025
        fuel = 1
    "#)), @"
    policy.incidents.limits.fuel: unknown field `fuel`, expected one of `cpu_ms`, `wall_ms`, `memory_mb`, `concurrency`, `table_elements`, `handles`, `host_call_kb`, `log_kb`, `actions_max`, `labels_max`, `text_kb`
    policy.incidents.limits.cpu_ms: 0 is not within 1 and 60000
    policy.incidents.limits.wall_ms: 300001 is not within 1 and 300000
    policy.incidents.limits.memory_mb: 257 is not within 1 and 256
    policy.incidents.limits.host_call_kb: 0 is not within 1 and 16384
    policy.incidents.limits.log_kb: 2000 is not within 1 and 1024
    policy.incidents.limits.table_elements: 60001 is not within 1 and 60000
    policy.incidents.limits.handles: 0 is not within 1 and 16384
    policy.incidents.limits.actions_max: 1000 is not within 1 and 256
    policy.incidents.limits.labels_max: 257 is not within 1 and 256
    policy.incidents.limits.text_kb: 1025 is not within 1 and 1024
    policy.incidents.limits.concurrency: -1 is not within 1 and 256
    ");
    assert_snapshot!(problems(&policy("limits = { cpu_ms = 60_000 }")), @"policy.incidents.limits.wall_ms: 30000 is less than cpu_ms, which is 60000");
}

#[test]
fn settings_that_json_cannot_say_are_refused() {
    assert_snapshot!(problems(&policy("settings = { ratio = nan }")), @"policy.incidents.settings: NaN cannot be written as JSON");
    let long = "x".repeat(70_000);
    assert_snapshot!(problems(&policy(&format!("settings = {{ text = \"{long}\" }}"))), @"policy.incidents.settings: 70011 bytes of JSON: at most 65536");
}

#[test]
fn a_terminal_is_not_moved_by_what_a_file_says() {
    assert_snapshot!(problems("[plugins.\"a\\u001b[2J\"]\npath = \"\\n\""), @r#"
    plugins.a\u{1b}[2J: `a\u{1b}[2J` is not a name: 1 to 64 letters, digits, `-` and `_`
    plugins.a\u{1b}[2J.path: no such file DIR/\n: build it with `triage plugin build`, or correct the path
    "#);
}

#[test]
fn a_tenants_policies_are_bounded() {
    let one = "[[policy]]\ntriggers = [\"*\"]\ntriager = \"incidents\"\n";
    let many: String = (0..65)
        .map(|it| format!("{one}name = \"p{it}\"\n"))
        .collect();
    let text = format!("[plugins.incidents]\npath = \"plugins/incident_desk.wasm\"\n{many}");
    assert_snapshot!(problems(&text), @"policy: tenant `default` has 65: at most 64");
}
