use serde_json::{Value, json};

use super::*;
use crate::jose::Algorithm;

const NOW: u64 = 1_700_000_000;
const ISSUER: &str = "https://id.example/realms/corp";

struct Case {
    typ: Option<&'static str>,
    claims: Claims,
    audiences: Audiences,
    token_type: TokenType,
    accept_id_tokens: bool,
}

fn case() -> Case {
    let claims = json!({
        "iss": ISSUER, "aud": "orders", "sub": "alice", "client_id": "shop", "jti": "1",
        "iat": NOW - 60, "nbf": NOW - 60, "exp": NOW + 300, "scope": "read write",
    });
    let Value::Object(claims) = claims else { unreachable!() };
    let audiences = Audiences::OneOf(["orders".into(), "api".into()].into());
    Case { typ: None, claims, audiences, token_type: TokenType::Any, accept_id_tokens: false }
}

impl Case {
    fn with(mut self, name: &str, value: Value) -> Self {
        self.claims.insert(name.to_owned(), value);
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    fn typ(self, typ: &'static str) -> Self {
        Self { typ: Some(typ), ..self }
    }

    fn strict(self) -> Self {
        Self { token_type: TokenType::AtJwt, ..self }
    }

    fn accepting_id_tokens(self) -> Self {
        Self { accept_id_tokens: true, ..self }
    }

    fn at(&self, now: Time) -> Result<Stated, Reason> {
        let header = Header { algorithm: Algorithm::Es256, kid: None, typ: self.typ.map(str::to_owned) };
        let expected = Expected {
            issuer: ISSUER,
            audiences: &self.audiences,
            token_type: self.token_type,
            accept_id_tokens: self.accept_id_tokens,
            clock_skew: Duration::from_secs(30),
        };
        judge(&header, &self.claims, &expected, now)
    }

    fn judged(&self) -> Result<Stated, Reason> {
        self.at(Time::from_seconds(NOW))
    }

    #[track_caller]
    fn is_good(&self) -> Stated {
        self.judged().unwrap()
    }

    #[track_caller]
    fn is_refused(&self, reason: Reason) {
        assert_eq!(self.judged().unwrap_err(), reason, "{:?}", self.claims);
    }
}

#[test]
fn a_plain_access_token_is_read() {
    let stated = case().is_good();
    assert_eq!(stated.subject.as_deref(), Some("alice"));
    assert_eq!(stated.client_id.as_deref(), Some("shop"));
    assert_eq!(stated.kind, Kind::User);
    assert_eq!(stated.scopes.iter().collect::<Vec<_>>(), ["read", "write"]);
    assert_eq!(stated.expires_at, Time::from_seconds(NOW + 300));
}

#[test]
fn only_issuer_and_expiry_must_be_there() {
    let mut bare = case();
    bare.claims.retain(|name, _| ["iss", "exp", "aud"].contains(&name.as_str()));
    assert_eq!(bare.is_good().kind, Kind::User);
    bare.audiences = Audiences::Any;
    bare.without("aud").is_good();
    case().without("exp").is_refused(Reason::TokenClaims);
    case().without("iss").is_refused(Reason::TokenIssuer);
    case().without("aud").is_refused(Reason::TokenAudience);
}

#[test]
fn dates_are_numbers_between_1970_and_9999() {
    for name in ["exp", "nbf", "iat"] {
        for wrong in [
            json!("1700000100"),
            json!(""),
            json!(true),
            json!(null),
            json!({}),
            json!([NOW]),
            json!(-1),
            json!(-1.5),
            json!(i64::MIN),
            json!(1e300),
            json!(u64::MAX),
            json!(253_402_300_800_u64),
            json!(9_007_199_254_740_993_u64),
        ] {
            case().with(name, wrong).is_refused(Reason::TokenClaims);
        }
    }
    case().with("exp", json!(253_402_300_799_u64)).is_good();
    case().with("exp", json!(NOW as f64 + 0.5)).is_good();
    case().with("exp", json!(1.8e9)).is_good();
    case().with("nbf", json!(0)).with("iat", json!(0)).is_good();
    case().with("iat", json!(NOW as f64 - 0.25)).is_good();
    case().without("nbf").without("iat").is_good();
}

#[test]
fn a_token_is_good_from_its_dates_on_and_until_them_give_or_take_the_skew() {
    let from = |name: &str, date: u64| case().with(name, json!(date)).judged().map(|_| ());
    assert_eq!(from("exp", NOW), Ok(()));
    assert_eq!(from("exp", NOW - 29), Ok(()));
    assert_eq!(from("exp", NOW - 30), Err(Reason::TokenExpired));
    assert_eq!(from("exp", 0), Err(Reason::TokenExpired));
    for name in ["nbf", "iat"] {
        assert_eq!(from(name, NOW + 30), Ok(()), "{name}");
        assert_eq!(from(name, NOW + 31), Err(Reason::TokenNotYetValid), "{name}");
    }
    let fraction = case().with("exp", json!(NOW as f64 + 0.5));
    assert!(fraction.at(Time::from_millis(NOW * 1000 + 30_499)).is_ok());
    assert_eq!(fraction.at(Time::from_millis(NOW * 1000 + 30_500)).unwrap_err(), Reason::TokenExpired);
    let stated = case().is_good();
    assert_eq!(stated.usable_from, Time::from_seconds(NOW - 90));
    assert_eq!(stated.usable_until, Time::from_seconds(NOW + 330));
}

#[test]
fn the_issuer_is_compared_byte_for_byte() {
    for other in [
        json!("https://id.example/realms/corp/"),
        json!("https://id.example/realms/cor"),
        json!("https://id.example/realms/corp2"),
        json!("https://ID.example/realms/corp"),
        json!("https://id.example:443/realms/corp"),
        json!("https://id.example/realms/corp\u{0}"),
        json!(" https://id.example/realms/corp"),
        json!("http://id.example/realms/corp"),
        json!([ISSUER]),
        json!({ "iss": ISSUER }),
        json!(null),
        json!(""),
    ] {
        case().with("iss", other).is_refused(Reason::TokenIssuer);
    }
}

#[test]
fn one_of_our_audiences_must_be_named() {
    for ours in [json!("orders"), json!("api"), json!(["orders"]), json!(["other", "api"]), json!(["orders", "orders"])]
    {
        case().with("aud", ours).is_good();
    }
    for other in [
        json!("Orders"),
        json!("orders/"),
        json!("order"),
        json!("orders2"),
        json!(""),
        json!("orders api"),
        json!(["x"]),
        json!("orders\u{0}"),
    ] {
        case().with("aud", other).is_refused(Reason::TokenAudience);
    }
    for wrong in [
        json!([]),
        json!(null),
        json!(1),
        json!({"orders": true}),
        json!(["orders", 1]),
        json!([["orders"]]),
        json!(["orders", null]),
    ] {
        case().with("aud", wrong).is_refused(Reason::TokenClaims);
    }
    let any = Case { audiences: Audiences::Any, ..case().with("aud", json!(["whoever"])) };
    any.is_good();
}

#[test]
fn claims_of_the_wrong_type_are_refused() {
    for name in ["sub", "client_id", "azp", "jti", "scope", "scp"] {
        for wrong in [json!(1), json!(null), json!(true), json!({})] {
            case().with(name, wrong).is_refused(Reason::TokenClaims);
        }
    }
    for name in ["sub", "client_id", "azp", "jti"] {
        case().with(name, json!(["alice"])).is_refused(Reason::TokenClaims);
    }
    for name in ["scope", "scp"] {
        case().with(name, json!(["read", 1])).is_refused(Reason::TokenClaims);
        case().with(name, json!([["read"]])).is_refused(Reason::TokenClaims);
    }
}

#[test]
fn scopes_are_split_at_spaces_and_nowhere_else() {
    let scopes = |case: Case| case.is_good().scopes.iter().map(str::to_owned).collect::<Vec<_>>();
    let scope = |scope: Value| scopes(case().with("scope", scope));
    assert_eq!(scope(json!("read")), ["read"]);
    assert_eq!(scope(json!("")), Vec::<String>::new());
    assert_eq!(scope(json!("read  write")), ["read", "write"]);
    assert_eq!(scope(json!("read,write")), ["read,write"]);
    assert_eq!(scope(json!("read\twrite")), ["read\twrite"]);
    assert_eq!(scope(json!("read\nwrite")), ["read\nwrite"]);
    assert_eq!(scope(json!("read\u{a0}write")), ["read\u{a0}write"]);
    assert_eq!(scope(json!(["read", "write"])), ["read", "write"]);
    assert_eq!(scope(json!(["read write"])), ["read write"], "an element is one scope");
    assert_eq!(scope(json!([])), Vec::<String>::new());
    assert_eq!(scopes(case().without("scope").with("scp", json!("read write"))), ["read", "write"]);
    assert_eq!(scopes(case().without("scope").with("scp", json!(["read"]))), ["read"]);
    assert_eq!(scopes(case().with("scope", json!("read")).with("scp", json!(["admin"]))), ["read", "admin"]);
    assert_eq!(scopes(case().without("scope")), Vec::<String>::new());
}

#[test]
fn typ_tells_access_tokens_from_others() {
    for typ in ["JWT", "jwt", "application/jwt", "at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt"] {
        case().typ(typ).is_good();
    }
    for typ in [
        "",
        "logout+jwt",
        "dpop+jwt",
        "id_token+jwt",
        "secevent+jwt",
        "client-authentication+jwt",
        "at+jwt ",
        "at+jwt;v=1",
        "JOSE",
        "application/",
        "application/application/at+jwt",
        "text/jwt",
        "at-jwt",
        "kb+jwt",
        "token-introspection+jwt",
        "oauth-authz-req+jwt",
    ] {
        case().typ(typ).is_refused(Reason::TokenType);
    }
}

#[test]
fn strict_means_rfc_9068() {
    case().strict().typ("at+jwt").is_good();
    case().strict().typ("application/at+jwt").is_good();
    case().strict().is_refused(Reason::TokenType);
    case().strict().typ("JWT").is_refused(Reason::TokenType);
    for name in ["exp", "aud", "sub", "client_id", "iat", "jti"] {
        case().strict().typ("at+jwt").without(name).is_refused(Reason::TokenClaims);
    }
}

#[test]
fn other_tokens_of_the_issuer_are_no_access_tokens() {
    let logout = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
    for events in [logout, json!({}), json!(null), json!([])] {
        case().with("events", events).accepting_id_tokens().is_refused(Reason::TokenNotAccess);
    }
    for typ in ["ID", "Refresh", "Offline", "Logout", "id", "refresh"] {
        case().with("typ", json!(typ)).accepting_id_tokens().is_refused(Reason::TokenNotAccess);
    }
    case().with("typ", json!("Bearer")).is_good();
    case().with("typ", json!(["ID"])).is_refused(Reason::TokenClaims);
}

#[test]
fn id_tokens_are_accepted_only_where_asked_for() {
    for name in ["at_hash", "c_hash"] {
        case().with(name, json!("x")).is_refused(Reason::TokenNotAccess);
        case().with(name, json!("x")).accepting_id_tokens().is_good();
    }
    let nonce = || case().with("nonce", json!("n"));
    nonce().is_good();
    nonce().without("scope").with("scp", json!(["read"])).is_good();
    nonce().without("scope").is_refused(Reason::TokenNotAccess);
    nonce().without("scope").accepting_id_tokens().is_good();
}

#[test]
fn a_bound_token_without_proof_is_refused() {
    for cnf in [json!({"jkt": "x"}), json!({"x5t#S256": "x"}), json!({}), json!(null), json!("x"), json!(1)] {
        case().with("cnf", cnf).is_refused(Reason::TokenBound);
    }
}

#[test]
fn a_client_assertion_is_no_access_token() {
    let assertion =
        case().without("scope").with("iss", json!("shop")).with("sub", json!("shop")).with("aud", json!(ISSUER));
    assertion.is_refused(Reason::TokenIssuer);
    case().with("aud", json!(format!("{ISSUER}/token"))).is_refused(Reason::TokenAudience);
}

#[test]
fn machines_act_for_themselves() {
    let kind = |case: Case| case.is_good().kind;
    assert_eq!(kind(case()), Kind::User);
    assert_eq!(kind(case().with("sub", json!("shop"))), Kind::Machine);
    assert_eq!(kind(case().with("sub", json!("shop")).with("sid", json!("s"))), Kind::User);
    assert_eq!(kind(case().without("client_id")), Kind::User);
}
