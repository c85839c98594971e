use serde_json::Value;

use super::*;
use crate::clock::{ManualClock, Time};
use crate::telemetry::Observation;
use crate::wire::body::capped;

/// A state whose only issuer stands like this, and whose clock the test moves.
fn state(standing: &IssuerStanding, healthy: bool) -> (AdminState, ManualClock) {
    let hands = ManualClock::at(Time::from_seconds(1_000_000));
    let view = IssuerView {
        name: "corp".into(),
        issuer: "https://login.example.com".into(),
        standing: standing.clone(),
        introspection: None,
    };
    let endpoint = EndpointView { upstream: "orders".into(), address: "http://10.0.0.1:9001".into(), healthy };
    let standing = if healthy { StoreStanding::Up } else { StoreStanding::Down { error: "connection refused".into() } };
    let store = StoreView { name: "redis".into(), standing };
    let route = RouteView {
        name: "orders-read".into(),
        matches: "GET /orders/{id}".into(),
        upstream: "orders".into(),
        access: vec!["a caller with an access token".into(), "claim a equal to \"<b>\"".into()],
    };
    let token = UpstreamTokenView {
        client: "batch".into(),
        target: "scope read, audience <i>".into(),
        kind: UpstreamTokenKind::Own {
            good_for: Some(Duration::from_secs(200)),
            error: (!healthy).then(|| "upstream_token.unavailable".to_owned()),
        },
        issued: 2,
        refused: 0,
        failed: 1,
    };
    let views = Views {
        issuers: Box::new(move || vec![view.clone()]),
        endpoints: Box::new(move || vec![endpoint.clone()]),
        routes: Box::new(move || vec![route.clone()]),
        stores: Box::new(move || vec![store.clone()]),
        upstream_tokens: Box::new(move || vec![token.clone()]),
        basic: Box::new(Vec::new),
    };
    (AdminState::new(hands.clock(), Duration::from_secs(30), Metrics::new(), views), hands)
}

const READY: IssuerStanding = IssuerStanding::Ready { age: Duration::from_secs(90), keys: 2 };
const WAITING: IssuerStanding = IssuerStanding::Waiting { error: None };

async fn ask(state: &AdminState, method: Method, path: &str, accept: &str) -> (Response<()>, String) {
    let request = Request::builder().method(method).uri(path).header(ACCEPT, accept).body(()).unwrap();
    let (parts, body) = answer(state, request).into_parts();
    let body = capped(body, 1 << 20).await.unwrap();
    (Response::from_parts(parts, ()), String::from_utf8(body.to_vec()).unwrap())
}

async fn get(state: &AdminState, path: &str) -> (u16, String) {
    let (response, body) = ask(state, Method::GET, path, "*/*").await;
    (response.status().as_u16(), body)
}

async fn ready(state: &AdminState) -> (u16, Value) {
    let (status, body) = get(state, "/readyz").await;
    assert_eq!(get(state, "/ready").await, (status, body.clone()));
    (status, serde_json::from_str(&body).unwrap())
}

#[tokio::test]
async fn alive_is_alive_whatever_else_fails() {
    let (state, _) = state(&WAITING, false);
    state.draining().store(true, Ordering::Release);
    assert_eq!(get(&state, "/livez").await, (200, "ok\n".into()));
    assert_eq!(get(&state, "/ping").await, (200, "ok\n".into()));
}

#[tokio::test]
async fn ready_when_every_issuer_has_loaded() {
    let (state, _) = state(&READY, true);
    let (status, told) = ready(&state).await;
    assert_eq!((status, &told["status"]), (200, &Value::from("ready")));
    assert_eq!((&told["missing"], &told["degraded"]), (&serde_json::json!([]), &serde_json::json!([])));
}

#[tokio::test]
async fn an_issuer_that_never_loaded_is_waited_for_and_then_listed() {
    let (state, hands) = state(&IssuerStanding::Waiting { error: Some("connection refused".into()) }, true);
    hands.advance(Duration::from_secs(29));
    let (status, told) = ready(&state).await;
    assert_eq!(status, 503);
    assert_eq!(told["missing"], serde_json::json!([{"what": "issuer", "name": "corp", "why": "connection refused"}]));
    hands.advance(Duration::from_secs(1));
    let (status, told) = ready(&state).await;
    assert_eq!((status, &told["status"]), (200, &Value::from("degraded")));
    assert_eq!(told["degraded"][0]["name"], "corp");
}

#[tokio::test]
async fn a_later_outage_is_listed_and_takes_nobody_out_of_rotation() {
    let standing = IssuerStanding::Degraded { error: "status 500".into(), age: Duration::from_secs(4000) };
    let (state, _) = state(&standing, false);
    let (status, told) = ready(&state).await;
    assert_eq!(status, 200);
    assert_eq!(told["degraded"][0]["why"], "status 500");
    assert_eq!(told["degraded"][1]["endpoint"], "http://10.0.0.1:9001");
    let store = serde_json::json!({"what": "store", "name": "redis", "why": "connection refused"});
    assert_eq!(told["degraded"][2], store);
}

#[tokio::test]
async fn who_drains_is_not_ready() {
    let (state, _) = state(&READY, true);
    state.draining().store(true, Ordering::Release);
    let (status, told) = ready(&state).await;
    assert_eq!((status, &told["missing"][0]["why"]), (503, &Value::from("draining")));
}

#[tokio::test]
async fn metrics_are_in_the_text_format() {
    let (state, _) = state(&READY, true);
    state.metrics.route("orders").observe(&Observation { status: 200, ..Observation::default() });
    let (response, body) = ask(&state, Method::GET, "/metrics", "*/*").await;
    assert_eq!(response.headers()[CONTENT_TYPE], METRICS);
    assert!(body.contains("postern_requests_total{route=\"orders\",code=\"200\"} 1\n"), "{body}");
}

#[tokio::test]
async fn status_tells_how_the_parts_are() {
    let (state, hands) = state(&READY, false);
    hands.advance(Duration::from_secs(61));
    let (_, body) = get(&state, "/status").await;
    let told: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&told["version"], &told["uptime_seconds"]), (&Value::from(status::VERSION), &Value::from(61)));
    assert_eq!(told["issuers"][0]["standing"], "ready");
    assert_eq!((&told["issuers"][0]["keys"], &told["issuers"][0]["keys_age_seconds"]), (&2.into(), &90.into()));
    assert_eq!(told["upstreams"][0]["healthy"], false);
    assert_eq!(told["routes"][0]["access"][0], "a caller with an access token");
    let token = &told["upstream_tokens"][0];
    assert_eq!((&token["grant"], &token["good_for_seconds"]), (&"client_credentials".into(), &200.into()));
    assert_eq!((&token["error"], &token["asked"]["failed"]), (&"upstream_token.unavailable".into(), &1.into()));
}

#[tokio::test]
async fn a_browser_gets_a_page_that_escapes_what_it_shows() {
    let (state, _) = state(&READY, true);
    let (response, body) = ask(&state, Method::GET, "/status", "text/html,application/xhtml+xml,*/*;q=0.8").await;
    assert_eq!(response.headers()[CONTENT_TYPE], HTML);
    assert!(body.contains("claim a equal to &quot;&lt;b&gt;&quot;"), "{body}");
    assert!(body.contains("audience &lt;i&gt;") && body.contains("good for 200s"), "{body}");
    assert!(!body.contains("<b>") && !body.contains("<script") && !body.contains("src="));
}

#[tokio::test]
async fn nothing_else_is_there_and_nothing_can_be_changed() {
    let (state, _) = state(&READY, true);
    for path in ["/", "/livez/", "/metrics/x", "/debug", "/reload", "/status.json"] {
        assert_eq!(get(&state, path).await.0, 404, "{path}");
    }
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH, Method::OPTIONS] {
        let (response, _) = ask(&state, method.clone(), "/status", "*/*").await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()[ALLOW]),
            (405, &"GET, HEAD".parse().unwrap()),
            "{method}"
        );
    }
}

#[tokio::test]
async fn a_head_request_has_no_body() {
    let (state, _) = state(&WAITING, true);
    let (response, body) = ask(&state, Method::HEAD, "/readyz", "*/*").await;
    assert_eq!((response.status().as_u16(), body.as_str()), (503, ""));
}
