use std::sync::{Arc, Mutex};

use super::*;
use crate::clock::{ManualClock, Time};

const TOKEN: &str = "0123456789abcdef";

/// What was asked to be forgotten, in words.
type Asked = Arc<Mutex<Vec<String>>>;

fn actions() -> (Actions, Asked) {
    let asked = Asked::default();
    let deeds = Deeds {
        forget: Box::new({
            let asked = Arc::clone(&asked);
            move |request| {
                let said = match &request.by {
                    ForgetBy::Token(token) => format!("token {}", token.expose()),
                    ForgetBy::Subject(text) => format!("sub {text}"),
                    ForgetBy::ClientId(text) => format!("client_id {text}"),
                    ForgetBy::Id(text) => format!("jti {text}"),
                };
                asked.lock().unwrap().push(format!("{said} of {:?}", request.issuer.as_deref()));
                Box::pin(async move {
                    match request.issuer.as_deref() {
                        Some("nobody") => Err(Undone::NoSuchIssuer),
                        Some("shared") => Err(Undone::Store),
                        _ => Ok(3),
                    }
                })
            }
        }),
    };
    let clock = ManualClock::at(Time::from_seconds(0)).clock();
    (Actions::new(clock, Secret::new(TOKEN.to_owned()), deeds), asked)
}

fn request(method: Method, path: &str, body: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header(AUTHORIZATION, format!("Bearer {TOKEN}"));
    request.header(CONTENT_TYPE, "application/json").body(Body::from(body.to_owned())).unwrap()
}

fn forget(body: &str) -> Request<Body> {
    request(Method::POST, "/cache/forget", body)
}

async fn told(actions: &Actions, request: Request<Body>) -> (u16, serde_json::Value) {
    let (parts, body) = actions.answer(request).await.into_parts();
    let body = capped(body, 1 << 20).await.unwrap();
    (parts.status.as_u16(), serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn what_is_named_is_forgotten_and_counted() {
    let (actions, asked) = actions();
    for body in [
        r#"{"token": "abc"}"#,
        r#"{"sub": "alice"}"#,
        r#"{"client_id": "shop", "issuer": "corp"}"#,
        r#" {"issuer":"https://login.example.com","jti":"1"} "#,
    ] {
        assert_eq!(told(&actions, forget(body)).await, (200, json!({ "forgotten": 3 })), "{body}");
    }
    let expected = [
        "token abc of None",
        "sub alice of None",
        "client_id shop of Some(\"corp\")",
        "jti 1 of Some(\"https://login.example.com\")",
    ];
    assert_eq!(*asked.lock().unwrap(), expected);
}

/// A revocation that has not reached everything is never reported as done.
#[tokio::test]
async fn what_was_not_done_is_a_problem() {
    let (actions, _) = actions();
    let response = actions.answer(forget(r#"{"sub": "alice", "issuer": "nobody"}"#)).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()[CONTENT_TYPE]),
        (404, &HeaderValue::from_static(PROBLEM))
    );
    let response = actions.answer(forget(r#"{"sub": "alice", "issuer": "shared"}"#)).await;
    assert_eq!((response.status().as_u16(), &response.headers()[RETRY_AFTER]), (503, &HeaderValue::from_static("1")));
    assert_eq!(told(&actions, forget(r#"{"jti": "1", "issuer": "shared"}"#)).await.1["status"], 503);
}

#[tokio::test]
async fn nothing_happens_without_the_token() {
    let (actions, asked) = actions();
    let shown = |values: &[&str]| {
        let mut request = forget(r#"{"sub": "alice"}"#);
        request.headers_mut().remove(AUTHORIZATION);
        for value in values {
            request.headers_mut().append(AUTHORIZATION, value.parse().unwrap());
        }
        request
    };
    let (bearer, longer) = (format!("Bearer {TOKEN}"), format!("Bearer {TOKEN}x"));
    for values in [
        &[][..],
        &["Bearer"],
        &["Bearer "],
        &["Bearer 0123456789abcde"],
        &[&longer],
        &[TOKEN],
        &["Basic MDEyMzQ1Njc4OWFiY2RlZjo="],
        &[&bearer, &bearer],
        &["Bearer wrong", &bearer],
    ] {
        let response = actions.answer(shown(values)).await;
        assert_eq!(response.status(), 401, "{values:?}");
        assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer");
    }
    let mut elsewhere = request(Method::GET, "/nowhere", "");
    elsewhere.headers_mut().remove(AUTHORIZATION);
    assert_eq!(actions.answer(elsewhere).await.status(), 401, "who has no token learns nothing of paths");
    assert_eq!(asked.lock().unwrap().len(), 0);
    assert_eq!(actions.answer(shown(&[&format!("bearer {TOKEN}")])).await.status(), 200);
}

#[tokio::test]
async fn only_a_post_of_json_acts() {
    let (actions, asked) = actions();
    let body = r#"{"sub": "alice"}"#;
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let response = actions.answer(request(method.clone(), "/cache/forget", body)).await;
        assert_eq!(response.status(), 405, "{method}");
        assert_eq!(response.headers()[ALLOW], "POST");
    }
    for path in ["/", "/cache", "/cache/forget/", "/cache/forget/all", "/livez", "/metrics"] {
        assert_eq!(told(&actions, request(Method::POST, path, body)).await.0, 404, "{path}");
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""] {
        let mut request = forget(body);
        request.headers_mut().insert(CONTENT_TYPE, kind.parse().unwrap());
        assert_eq!(told(&actions, request).await.0, 415, "{kind}");
    }
    assert_eq!(asked.lock().unwrap().len(), 0);
    let mut with_charset = forget(body);
    with_charset.headers_mut().insert(CONTENT_TYPE, "Application/JSON; charset=utf-8".parse().unwrap());
    assert_eq!(told(&actions, with_charset).await.0, 200);
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_and_not_repeated() {
    let (actions, asked) = actions();
    for body in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"issuer": "corp"}"#,
        r#"{"sub": "alice", "jti": "secret-1"}"#,
        r#"{"sub": "secret-1", "sub": "secret-2"}"#,
        r#"{"sub": 7}"#,
        r#"{"subject": "secret-1"}"#,
        r#"{"token": ["secret-1"]}"#,
        r#"{"sub": "secret-1"} x"#,
    ] {
        let (status, said) = told(&actions, forget(body)).await;
        assert_eq!(status, 400, "{body}");
        assert!(!said.to_string().contains("secret-"), "{said}");
    }
    let large = format!(r#"{{"token": "{}"}}"#, "x".repeat(BODY_LIMIT));
    assert_eq!(told(&actions, forget(&large)).await.0, 413);
    assert_eq!(asked.lock().unwrap().len(), 0);
}
