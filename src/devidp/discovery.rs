//! What this provider can do, as OpenID Connect Discovery 1.0 section 3 and RFC 8414 section 2 tell it; and its keys.

use serde_json::{Value, json};

use super::answer::Answer;
use super::faults::Fault;
use super::keys::Algorithm;
use super::realm::Realm;
use super::settings::{GrantType, ResponseType};

pub fn metadata(realm: &Realm, fault: Option<&Fault>) -> Answer {
    let at = |path: &str| realm.endpoint(path);
    let issuer = if matches!(fault, Some(Fault::WrongIssuer)) { "https://other.example" } else { &realm.issuer };
    let authentication = ["client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none"];
    let algorithms: Vec<&str> = Algorithm::ALL.into_iter().map(Algorithm::name).collect();
    let assertion_algorithms: Vec<&str> = ["HS256", "HS384", "HS512"].into_iter().chain(algorithms.clone()).collect();
    let responses: Vec<String> = ResponseType::ALL.into_iter().map(ResponseType::name).collect();
    let grants = GrantType::ALL.into_iter().filter(|grant| *grant != GrantType::Hybrid).map(GrantType::name);
    let mut scopes: Vec<&str> = vec!["openid", "offline_access", "profile", "email", "groups"];
    for scope in realm.settings.clients.iter().flat_map(|client| &client.scopes) {
        if !scopes.contains(&scope.as_str()) {
            scopes.push(scope);
        }
    }
    Answer::json(json!({
        "issuer": issuer,
        "authorization_endpoint": at("/authorize"),
        "token_endpoint": at("/token"),
        "jwks_uri": at("/jwks"),
        "introspection_endpoint": at("/introspect"),
        "revocation_endpoint": at("/revoke"),
        "userinfo_endpoint": at("/userinfo"),
        "end_session_endpoint": at("/end_session"),
        "pushed_authorization_request_endpoint": at("/par"),
        "scopes_supported": scopes,
        "response_types_supported": responses,
        "response_modes_supported":
            ["query", "fragment", "form_post", "jwt", "query.jwt", "fragment.jwt", "form_post.jwt"],
        "grant_types_supported": grants.collect::<Vec<_>>(),
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
        "introspection_signing_alg_values_supported": algorithms,
        "authorization_signing_alg_values_supported": algorithms,
        "request_object_signing_alg_values_supported": assertion_algorithms,
        "token_endpoint_auth_methods_supported": authentication,
        "token_endpoint_auth_signing_alg_values_supported": assertion_algorithms,
        "introspection_endpoint_auth_methods_supported": authentication,
        "revocation_endpoint_auth_methods_supported": authentication,
        "code_challenge_methods_supported": ["S256"],
        "acr_values_supported": ["1", "gold"],
        "prompt_values_supported": ["none", "login", "select_account", "consent"],
        "request_parameter_supported": true,
        "request_uri_parameter_supported": false,
        "claims_parameter_supported": false,
        "authorization_response_iss_parameter_supported": true,
        "backchannel_logout_supported": true,
        "backchannel_logout_session_supported": true,
        "frontchannel_logout_supported": true,
        "frontchannel_logout_session_supported": true,
    }))
}

pub fn jwks(realm: &Realm, fault: Option<&Fault>) -> Answer {
    let good = realm.published_keys();
    let strange = |n: usize| json!({ "kty": "STRANGE", "kid": format!("strange-{n}"), "use": "sig", "alg": "ST256", "s": "AAAA" });
    let keys: Vec<Value> = match fault {
        Some(Fault::EmptyKeys) => Vec::new(),
        Some(Fault::UnknownKeys) => (0..3).map(strange).collect(),
        Some(Fault::ManyKeys(count)) => (0..*count).map(strange).chain(good).collect(),
        _ => good,
    };
    Answer::json(json!({ "keys": keys }))
}
