use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use serde_json::{Value, json};

use super::*;
use crate::caller::{How, Identity, Kind, ScopeSet};
use crate::clock::Time;
use crate::wire::arrival::Host;
use crate::wire::body::Body;
use crate::wire::facts::{RequestId, Scheme};
use crate::wire::path::NormalPath;

const NOW: Time = Time::from_seconds(1_000_000);

/// A caller with these scopes and claims.
pub(crate) fn caller(scopes: &str, claims: Value) -> Arc<Caller> {
    let claims = claims.as_object().unwrap().clone();
    Arc::new(Caller::new(Identity {
        issuer: "corp".into(),
        iss: "https://login.example.com".into(),
        subject: claims.get("sub").and_then(Value::as_str).map(Box::from),
        client_id: None,
        kind: Kind::User,
        how: How::Jwt,
        scopes: ScopeSet::parse(scopes),
        claims,
        expires_at: Time::from_seconds(2_000_000),
    }))
}

pub(crate) fn facts() -> Facts {
    let client = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
    Facts {
        now: NOW,
        peer: Some((client, 40_000).into()),
        client_address: Some(client),
        scheme: Scheme::Http,
        trusted_peer: false,
        forwarded_for: None,
        forwarded_host: None,
        request_id: RequestId::given(HeaderValue::from_static("one")),
    }
}

/// `GET` of this target with these header fields.
pub(crate) fn arrival(target: &str, fields: &[(&str, &str)]) -> Arrival {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let path = NormalPath::parse(target).unwrap();
    Arrival {
        method: Method::GET,
        path,
        host: Host::parse(&HeaderValue::from_static("API.example.com:8080")),
        headers,
        version: Version::HTTP_11,
        upgrade: None,
        body: Body::Empty,
    }
}

fn judge(settings: RequirementSettings, who: Known) -> Result<(), Denial> {
    let params = [("id".into(), "7".into())];
    let arrival = arrival("/orders/7?full=1", &[("x-tenant", "acme"), ("x-role", "a"), ("x-role", "b")]);
    Requirement::new(settings).admit(who, &facts(), &arrival, &params).map(|_| ())
}

fn scopes(all: &[&str], any: &[&str]) -> RequirementSettings {
    let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    RequirementSettings { scopes: owned(all), any_scope: owned(any), ..RequirementSettings::default() }
}

fn scope_denied(all: &[&str], any: &[&str], have: &str) -> Option<String> {
    let denial = judge(scopes(all, any), Known::Caller(caller(have, json!({})))).err()?;
    assert_eq!(denial.reason(), Reason::ScopeMissing);
    match denial {
        Denial::InsufficientScope { scopes } => Some(scopes.to_string()),
        _ => None,
    }
}

#[test]
fn a_public_route_permits_what_is_known_as_it_was_found() {
    let permit = Requirement::public().admit(Known::Nobody, &facts(), &arrival("/", &[]), &[]).unwrap();
    assert!(matches!(permit.known(), Known::Nobody));
}

#[test]
fn nobody_needs_a_credential_unless_the_route_says_optional() {
    assert_eq!(judge(scopes(&[], &[]), Known::Nobody), Err(Denial::Unauthenticated));
    let optional = || RequirementSettings { optional: true, ..scopes(&["a"], &[]) };
    assert_eq!(judge(optional(), Known::Nobody), Ok(()));
    assert!(judge(optional(), Known::Caller(caller("b", json!({})))).is_err());
}

#[test]
fn scopes_are_exact_and_all_of_them_are_needed() {
    assert_eq!(scope_denied(&["orders:read"], &[], "openid orders:read"), None);
    assert_eq!(scope_denied(&["orders:read", "b"], &[], "orders:read"), Some("orders:read b".into()));
    for near in ["orders", "orders:read:all", "ORDERS:READ", "orders:reader", "orders:read\torders:read", ""] {
        assert!(scope_denied(&["orders:read"], &[], near).is_some(), "{near}");
    }
}

#[test]
fn of_any_scope_one_is_enough_and_the_challenge_names_all_that_would_do() {
    assert_eq!(scope_denied(&[], &["a", "b"], "b"), None);
    assert_eq!(scope_denied(&["c"], &["a", "b"], "c"), Some("c a b".into()));
    assert_eq!(scope_denied(&["c"], &["a", "b"], "a"), Some("c".into()));
}

fn holds(path: &str, rule: &Value, claims: Value) -> bool {
    let rule = ClaimRule::parse(path, rule).unwrap();
    let settings = RequirementSettings { claims: vec![rule], ..RequirementSettings::default() };
    let judged = judge(settings, Known::Caller(caller("", claims)));
    assert!(matches!(judged, Ok(()) | Err(Denial::Forbidden(Reason::ClaimsMismatch))));
    judged.is_ok()
}

#[test]
fn equal_means_equal_without_conversion() {
    assert!(holds("tenant", &json!("acme"), json!({"tenant": "acme"})));
    assert!(holds("level", &json!(3), json!({"level": 3})));
    assert!(holds("level", &json!(3), json!({"level": 3.0})));
    assert!(holds("admin", &json!(true), json!({"admin": true})));
    let wrong = [json!({}), json!({"tenant": "Acme"}), json!({"tenant": ["acme"]}), json!({"tenant": null})];
    for claims in wrong {
        assert!(!holds("tenant", &json!("acme"), claims.clone()), "{claims}");
    }
    assert!(!holds("level", &json!("3"), json!({"level": 3})));
    assert!(!holds("admin", &json!(true), json!({"admin": "true"})));
}

#[test]
fn contains_asks_for_a_member_of_a_list_and_never_for_a_part_of_a_text() {
    let rule = json!({"contains": "staff"});
    assert!(holds("groups", &rule, json!({"groups": ["dev", "staff"]})));
    for claims in
        [json!({"groups": "staff"}), json!({"groups": "dev staff"}), json!({"groups": ["staffing"]}), json!({})]
    {
        assert!(!holds("groups", &rule, claims.clone()), "{claims}");
    }
}

#[test]
fn any_takes_one_of_some_as_a_value_or_a_member() {
    let rule = json!({"any": ["a", 2]});
    assert!(holds("x", &rule, json!({"x": "a"})));
    assert!(holds("x", &rule, json!({"x": [1, 2]})));
    assert!(!holds("x", &rule, json!({"x": ["b"]})));
    assert!(!holds("x", &rule, json!({"x": {"a": "a"}})));
    assert!(!holds("x", &rule, json!({})));
}

#[test]
fn exists_takes_null_for_absent() {
    assert!(holds("x", &json!({"exists": true}), json!({"x": false})));
    assert!(!holds("x", &json!({"exists": true}), json!({"x": null})));
    assert!(holds("x", &json!({"exists": false}), json!({})));
    assert!(!holds("x", &json!({"exists": false}), json!({"x": 1})));
}

#[test]
fn a_path_leads_into_objects_and_a_name_with_dots_wins() {
    assert!(holds("realm_access.roles", &json!({"contains": "a"}), json!({"realm_access": {"roles": ["a"]}})));
    assert!(holds("https://example.com/role", &json!("a"), json!({"https://example.com/role": "a"})));
    assert!(holds("https://example.com/app.role", &json!("a"), json!({"https://example.com/app": {"role": "a"}})));
    assert!(!holds("a.b", &json!(1), json!({"a.b": 2, "a": {"b": 1}})));
}

#[test]
fn rules_of_no_known_shape_are_refused() {
    let parse = |rule: Value| ClaimRule::parse("x", &rule).unwrap_err();
    assert_eq!(parse(json!(["a"])), ClaimRuleError::Shape);
    assert_eq!(parse(json!(null)), ClaimRuleError::Shape);
    assert_eq!(parse(json!({})), ClaimRuleError::Shape);
    assert_eq!(parse(json!({"contains": "a", "exists": true})), ClaimRuleError::Shape);
    assert_eq!(parse(json!({"contain": "a"})), ClaimRuleError::UnknownTest("contain".into()));
    assert_eq!(parse(json!({"contains": ["a"]})), ClaimRuleError::Contains);
    assert_eq!(parse(json!({"any": []})), ClaimRuleError::Any);
    assert_eq!(parse(json!({"exists": "yes"})), ClaimRuleError::Exists);
}

fn policy(source: &str, claims: Value) -> Result<(), Reason> {
    let policy = Some(Program::compile(source).unwrap());
    let settings = RequirementSettings { policy, ..RequirementSettings::default() };
    judge(settings, Known::Caller(caller("read write", claims))).map_err(|denial| denial.reason())
}

#[test]
fn a_policy_sees_claims_scopes_caller_and_request() {
    let claims =
        json!({"sub": "alice", "tenant": "acme", "groups": ["dev"], "level": 3, "ratio": 0.5, "org": {"id": 1}});
    for source in [
        r#"claims.tenant == request.headers["x-tenant"]"#,
        r#"claims == claims && claims.org == {"id": 1} && claims.ratio < 1.0 && claims.level + 1 == 4"#,
        r#""read" in scopes && size(scopes) == 2"#,
        r#"caller.kind == "user" && caller.subject == "alice" && caller.client_id == null"#,
        r#"caller.issuer == "corp" && caller.method == "jwt""#,
        r#"request.method == "GET" && request.path == "/orders/7" && request.query == "full=1""#,
        r#"request.host == "api.example.com" && request.client_address == "192.0.2.7""#,
        r#"request.params.id == "7" && request.headers["x-role"] == "a, b""#,
        r#""x-tenant" in request.headers && !("x-nothing" in request.headers)"#,
        r#"has(claims.tenant) && !has(claims.nothing)"#,
        r#"claims.sub.matches("^al.ce$") && !claims.sub.matches("bob")"#,
    ] {
        assert_eq!(policy(source, claims.clone()), Ok(()), "{source}");
    }
}

#[test]
fn false_is_a_no_and_so_is_every_error_and_every_other_value() {
    assert_eq!(policy("claims.tenant == 'other'", json!({"tenant": "acme"})), Err(Reason::PolicyDenied));
    for source in [
        "claims.tenant == 'acme'",
        "claims.sub",
        "1 / claims.zero == 1",
        "claims.sub > 3",
        "claims.list[5] == 1",
        "claims.list",
        "size(claims.zero) == 1",
        "timestamp(claims.sub) == timestamp(claims.sub)",
        "!claims.sub",
        "int(claims.sub) == 1",
    ] {
        assert_eq!(
            policy(source, json!({"sub": "alice", "zero": 0, "list": []})),
            Err(Reason::PolicyError),
            "{source}"
        );
    }
}

fn step_up(acr: &[&str], max_age: Option<u64>, claims: Value) -> Result<(), Denial> {
    let acr: Vec<String> = acr.iter().map(ToString::to_string).collect();
    let step_up = Some(StepUp::new(&acr, max_age.map(Duration::from_secs)));
    let settings = RequirementSettings { step_up, ..RequirementSettings::default() };
    judge(settings, Known::Caller(caller("", claims)))
}

#[test]
fn step_up_asks_for_one_of_its_classes() {
    assert_eq!(step_up(&["gold", "silver"], None, json!({"acr": "silver"})), Ok(()));
    for claims in [json!({}), json!({"acr": "bronze"}), json!({"acr": ["gold"]})] {
        let denial = step_up(&["gold", "silver"], None, claims).unwrap_err();
        let acr_values = Some("gold silver".into());
        assert_eq!(denial, Denial::StepUp { reason: Reason::StepUpAcr, acr_values, max_age: None });
    }
}

#[test]
fn step_up_asks_for_a_recent_sign_in_and_takes_silence_for_an_old_one() {
    let ok = [json!({"auth_time": 999_400}), json!({"auth_time": 1_000_000}), json!({"auth_time": 999_400.5})];
    for claims in ok {
        assert_eq!(step_up(&[], Some(600), claims), Ok(()));
    }
    for auth_time in [json!(999_399), json!("999999"), json!(-1), json!(1_000_061), json!(1_000_000_000), json!(null)] {
        let denial = step_up(&[], Some(600), json!({ "auth_time": auth_time })).unwrap_err();
        assert_eq!(denial.reason(), Reason::StepUpAge, "{auth_time}");
    }
    let denial = step_up(&[], Some(600), json!({})).unwrap_err();
    assert_eq!(denial, Denial::StepUp { reason: Reason::StepUpAge, acr_values: None, max_age: Some(600) });
}

#[test]
fn nobody_is_asked_to_step_up_who_would_be_refused_anyway() {
    let settings = RequirementSettings {
        claims: vec![ClaimRule::parse("tenant", &json!("acme")).unwrap()],
        step_up: Some(StepUp::new(&["gold".into()], None)),
        ..RequirementSettings::default()
    };
    let denial = judge(settings, Known::Caller(caller("", json!({})))).unwrap_err();
    assert_eq!(denial.reason(), Reason::ClaimsMismatch);
}

#[test]
fn a_requirement_is_told_in_words() {
    let settings = RequirementSettings {
        claims: vec![ClaimRule::parse("groups", &json!({"contains": "staff"})).unwrap()],
        policy: Some(Program::compile("claims.a == 1").unwrap()),
        step_up: Some(StepUp::new(&["gold".into()], Some(Duration::from_secs(600)))),
        ..scopes(&["a", "b"], &["c", "d"])
    };
    let words = Requirement::new(settings).describe().join("; ");
    let wanted = "a caller with an access token; scope a and b; scope c or d; claim groups containing \"staff\"; \
                  policy claims.a == 1; authenticated with acr gold, at most 600s ago";
    assert_eq!(words, wanted);
}
