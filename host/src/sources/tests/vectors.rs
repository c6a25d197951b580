//! Signatures that the providers or their libraries publish.

use super::*;

const ST1_BODY: &str = r#"{
  "id": "evt_123",
  "object": "event",
  "account": "acct_123",
  "api_version": "2017-05-25",
  "created": 1533204620,
  "data": {
    "object": {
      "id": "cus_123",
      "object": "customer",
      "created": 123456789,
      "email": "test@stripe.com",
      "livemode": false,
      "metadata": {}
    }
  },
  "livemode": false,
  "pending_webhooks": 1,
  "request": {
    "id": "req_123",
    "idempotency_key": "idempotency-key-123"
  },
  "type": "customer.created"
}
"#;
const ST1_HEADER: &str = "t=1533204620,\
    v1=2220f87ef101a04665f11cdf770523143f875572008577fa0f20882ddb9cc3c7,\
    v0=63f3a72374a733066c4be69ed7f8e5ac85c22c9f0a6a612ab9a025a9e4ee7eef";

const SL1_BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow\
    &channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner\
    &command=%2Fwebhook-collect&text=\
    &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
    &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";

const SW1: Standard<'_> = Standard {
    secret: "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    id: "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
    timestamp: 1_649_367_553,
    body: r#"{"email":"test@example.com","username":"test_user"}"#,
    signature: "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
};
const SW2: Standard<'_> = Standard {
    secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
    timestamp: 1_614_265_330,
    body: r#"{"test": 2432232314}"#,
    signature: "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
};
const SW3: Standard<'_> = Standard {
    secret: "whsec_plJ3nmyCDGBKInavdOK15jsl",
    id: "msg_loFOjxBNrRLzqYUf",
    timestamp: 1_731_705_121,
    body: r#"{"event_type":"ping","data":{"success":true}}"#,
    signature: "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
};
const SW1_DECOYS: &str = "v1,tFtCZ5RDCPxzWQRWXWPgrCgE2frDBe9gjpbWQxnVfsQ= \
    v1,Mm7xgUVICxZfQ3bgf0h0Dof65L/IFx+PnZvnDWPCX6Q= \
    v1,9DfC1c3eeOrXB6w/5dIDydLNQaEyww5KalE5jLBZucE=";

#[derive(Clone, Copy)]
struct Standard<'a> {
    secret: &'a str,
    id: &'a str,
    timestamp: i64,
    body: &'a str,
    signature: &'a str,
}

impl Standard<'_> {
    fn outcome(self) -> Result<usize, Rejection> {
        self.outcome_under("webhook")
    }

    fn outcome_under(self, prefix: &str) -> Result<usize, Rejection> {
        let headers = headers(&[
            (&format!("{prefix}-id"), self.id),
            (&format!("{prefix}-timestamp"), &self.timestamp.to_string()),
            (&format!("{prefix}-signature"), self.signature),
        ]);
        outcome(
            Source::Standard,
            &[self.secret],
            &headers,
            self.body.as_bytes(),
            self.timestamp * 1000,
        )
    }
}

#[test]
fn standard_vectors_are_accepted_under_both_header_names() {
    for vector in [SW1, SW2, SW3] {
        assert_eq!(vector.outcome(), Ok(0), "{}", vector.id);
        assert_eq!(vector.outcome_under("svix"), Ok(0), "{}", vector.id);
    }
}

#[test]
fn standard_vectors_are_what_we_sign() {
    for vector in [SW1, SW2, SW3] {
        let outgoing = Outgoing {
            event: "",
            id: vector.id,
            body: vector.body.as_bytes(),
            now: vector.timestamp * 1000,
        };
        let headers =
            Headers(sign(&Source::Standard, &Secret::new(vector.secret), outgoing).unwrap());
        assert_eq!(headers.get("webhook-signature"), Some(vector.signature));
    }
}

#[test]
fn a_published_wrong_standard_signature_is_refused() {
    let signature = "v1,R3PTzyfHASBKHH98a7yexTwaJ4yNIcGhFQc1yuN+BPU=";
    assert_eq!(
        Standard { signature, ..SW1 }.outcome(),
        Err(Rejection::SignatureMismatch)
    );
}

#[test]
fn any_v1_signature_of_a_list_counts_and_other_versions_do_not() {
    let with_decoys = format!(
        "{SW1_DECOYS} v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5B {}",
        SW1.signature
    );
    assert_eq!(
        Standard {
            signature: &with_decoys,
            ..SW1
        }
        .outcome(),
        Ok(0)
    );
    assert_eq!(
        Standard {
            signature: SW1_DECOYS,
            ..SW1
        }
        .outcome(),
        Err(Rejection::SignatureMismatch)
    );
    for version in ["v1a", "v2", "v0", "V1", ""] {
        let signature = SW1.signature.replace("v1", version);
        let refused = Standard {
            signature: &signature,
            ..SW1
        }
        .outcome();
        assert_eq!(refused, Err(Rejection::SignatureMismatch), "{version}");
    }
}

#[test]
fn standard_secrets_are_accepted_without_prefix_and_padding() {
    assert_eq!(
        Standard {
            secret: SW1.secret.trim_start_matches("whsec_"),
            ..SW1
        }
        .outcome(),
        Ok(0)
    );
    let unpadded = [
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwBr",
        "YQ",
        "YQ==",
    ];
    for secret in unpadded {
        let secret = Secret::new(format!("whsec_{secret}"));
        assert_eq!(check_secret(&Source::Standard, &secret), Ok(()));
        let outgoing = Outgoing {
            event: "",
            id: "msg_1",
            body: b"{}",
            now: NOW,
        };
        let headers = Headers(sign(&Source::Standard, &secret, outgoing).unwrap());
        assert_eq!(
            outcome(Source::Standard, &[secret.expose()], &headers, b"{}", NOW),
            Ok(0)
        );
    }
}

#[test]
fn secrets_that_cannot_sign_are_refused() {
    for secret in [
        "",
        "whsec_",
        "whsec_!",
        "whsk_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
        "whsec_QUJD\n",
        "not base64",
    ] {
        assert!(
            check_secret(&Source::Standard, &Secret::new(secret)).is_err(),
            "{secret:?}"
        );
    }
    for source in &Source::BUILT_IN {
        assert!(check_secret(source, &Secret::new("")).is_err());
        assert_eq!(check_secret(source, &Secret::new(SECRET)), Ok(()));
    }
}

#[test]
fn the_stripe_vector_is_accepted() {
    assert_eq!(ST1_BODY.len(), 484);
    assert_eq!(
        mac::sha256_hex(&[ST1_BODY.as_bytes()]),
        "98cc89412549ca7faf118fca984763bdb6f81e13d1ce8c528dbbb5be602ec1be"
    );
    let at = 1_533_204_620_000;
    let pairs = [("stripe-signature", ST1_HEADER)];
    assert_eq!(
        outcome(
            Source::Stripe,
            &["webhook_secret"],
            &headers(&pairs),
            ST1_BODY.as_bytes(),
            at
        ),
        Ok(0)
    );

    let event = event(Source::Stripe, &pairs, ST1_BODY.as_bytes());
    assert_eq!(
        (&*event.event_type, &*event.idempotency_key),
        ("stripe.customer.created", "evt_123")
    );
    assert_eq!(event.occurred_at, Some(at));
}

#[test]
fn github_vectors_are_accepted() {
    #[track_caller]
    fn check(secret: &str, body: &str, signature: &str) {
        let headers = headers(&[("x-hub-signature-256", &format!("sha256={signature}"))]);
        assert_eq!(
            outcome(Source::Github, &[secret], &headers, body.as_bytes(), NOW),
            Ok(0)
        );
    }
    check(
        "It's a Secret to Everybody",
        "Hello, World!",
        "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    );
    check(
        "mysecret",
        r#"{"foo":"bar"}"#,
        "4864d2759938a15468b5df9ade20bf161da9b4f737ea61794142f3484236bda3",
    );
    let escapes_and_hearts =
        r#"{"foo":"Foo\n\u001B[34mbar: ♥♥♥♥♥♥♥♥\nthis-is-lost\u001B[0m\u001B[2K"}"#;
    assert_eq!(escapes_and_hearts.len(), 86);
    check(
        "development",
        escapes_and_hearts,
        "afecc3caa27548bb90d51a50384cb2868b9a3327b4ad6a01c9bd4ed0f8b0b12c",
    );
    check(
        "development",
        r#"{"foo":"\\u001b"}"#,
        "6f8326efbacfbd04e870cea25b5652e635be8c9807f2fd5348ef60753c9e96ed",
    );
    check(
        "secret",
        r#"{"a": "z"}"#,
        "f417af3a21bd70379b5796d5f013915e7029f62c580fb0f500f59a35a6f04c89",
    );
    check(
        "secret",
        "",
        "f9e66e179b6747ae54108f82f8ade8b3c25d76fd30afde6c395822c530196169",
    );
}

#[test]
fn githubs_sha1_signature_alone_is_not_accepted() {
    let headers = headers(&[(
        "x-hub-signature",
        "sha1=b17e04cbb22afa8ffbff8796fc1894ed27badd9e",
    )]);
    assert_eq!(
        outcome(Source::Github, &["secret"], &headers, br#"{"a": "z"}"#, NOW),
        Err(Rejection::missing("x-hub-signature-256"))
    );
}

#[test]
fn the_slack_vector_is_accepted() {
    let pairs = [
        ("x-slack-request-timestamp", "1531420618"),
        (
            "x-slack-signature",
            "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
        ),
    ];
    let secret = "8f742231b10e8888abcd99yyyzzz85a5";
    let at = 1_531_420_618_000;
    assert_eq!(
        outcome(
            Source::Slack,
            &[secret],
            &headers(&pairs),
            SL1_BODY.as_bytes(),
            at
        ),
        Ok(0)
    );

    let event = event(Source::Slack, &pairs, SL1_BODY.as_bytes());
    assert_eq!(event.event_type, "slack.command");
    assert_eq!(
        event.idempotency_key,
        "398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    );
}

/// Sentry publishes no vector. This one is our own, computed with Python's `hmac`.
#[test]
fn our_own_sentry_vector_is_accepted() {
    let signature = "470f21240b712f2fa53ab6505fdf65dd15092bf0bb89145f7e6849a12bf8be4c";
    let headers = headers(&[("sentry-hook-signature", signature)]);
    let body = br#"{"action":"created","data":{"issue":{"id":"1"}}}"#;
    assert_eq!(
        outcome(
            Source::Sentry,
            &["sentry-client-secret"],
            &headers,
            body,
            NOW
        ),
        Ok(0)
    );
}
