//! The token endpoint (RFC 6749 section 3.2). Comes in: a form post. Goes out: tokens, or an OAuth error. The client is
//! authenticated first, then its right to the grant is checked, then the grant itself, one file each.

mod client_credentials;
mod code;
mod exchange;
mod password;
mod refresh;

use serde_json::{Value, json};

use super::answer::{Answer, OAuthError};
use super::client_auth::authenticate;
use super::faults::Fault;
use super::form::{Asked, Form};
use super::issue;
use super::model::Grant;
use super::realm::Realm;
use super::settings::{ClientEntry, GrantType};

/// A successful answer in the making (RFC 6749 section 5.1).
pub struct Reply {
    pub access_token: String,
    members: serde_json::Map<String, Value>,
}

impl Reply {
    /// With an access token for `grant`.
    fn new(realm: &Realm, client: &ClientEntry, grant: &Grant) -> Result<Self, OAuthError> {
        let access_token = issue::access_token(realm, client, grant)?;
        let Value::Object(members) = json!({
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": client.access_token_lifetime.as_secs(),
            "scope": grant.scope(),
        }) else {
            return Err(OAuthError::new("server_error", "the answer is no object"));
        };
        Ok(Self { access_token, members })
    }

    fn with(mut self, name: &str, value: Option<String>) -> Self {
        if let Some(value) = value {
            self.members.insert(name.to_owned(), value.into());
        }
        self
    }
}

pub fn answer(realm: &Realm, asked: &Asked, fault: Option<&Fault>) -> Answer {
    if asked.method != http::Method::POST {
        return Answer::method_not_allowed("POST");
    }
    match serve(realm, asked, fault) {
        Ok(reply) => Answer::json(Value::Object(reply.members)).with(http::header::PRAGMA, "no-cache"),
        Err(refused) => refused.into(),
    }
}

fn serve(realm: &Realm, asked: &Asked, fault: Option<&Fault>) -> Result<Reply, OAuthError> {
    let client = authenticate(realm, asked)?;
    let named = asked.form.get("grant_type").ok_or(OAuthError::invalid_request("grant_type is missing"))?;
    let unsupported = OAuthError::new("unsupported_grant_type", "this grant is not supported here");
    let grant_type = GrantType::at_token_endpoint(named).ok_or(unsupported)?;
    let hybrid_code = grant_type == GrantType::AuthorizationCode && client.allows(GrantType::Hybrid);
    if !client.allows(grant_type) && !hybrid_code {
        return Err(OAuthError::new("unauthorized_client", "this grant is not among the client's allowed_grant_types"));
    }
    let reply = match grant_type {
        GrantType::ClientCredentials => client_credentials::grant(realm, &client, asked),
        GrantType::AuthorizationCode => code::grant(realm, &client, asked, fault),
        GrantType::RefreshToken => refresh::grant(realm, &client, asked, fault),
        GrantType::Password => password::grant(realm, &client, asked, fault),
        GrantType::TokenExchange => exchange::grant(realm, &client, asked),
        GrantType::Hybrid | GrantType::Implicit => {
            Err(OAuthError::new("unsupported_grant_type", "no grant of this endpoint"))
        }
    }?;
    *realm.state().grants_served.entry(grant_type).or_default() += 1;
    Ok(reply)
}

/// The scopes asked for, if the client may have each.
pub fn granted_scopes(client: &ClientEntry, asked_for: Vec<String>) -> Result<Vec<String>, OAuthError> {
    if asked_for.iter().all(|scope| client.scopes.contains(scope)) {
        Ok(asked_for)
    } else {
        Err(OAuthError::invalid_scope())
    }
}

/// `resource` (RFC 8707) or `audience` (RFC 8693), if the client may have tokens for it; its usual audience otherwise.
pub fn granted_audience(client: &ClientEntry, form: &Form) -> Result<Vec<String>, OAuthError> {
    let named: Vec<String> = form.all("resource").chain(form.all("audience")).map(str::to_owned).collect();
    if named.is_empty() {
        return Ok(client.audience.clone());
    }
    let allowed = |audience: &String| client.audience.contains(audience) || client.further_audiences.contains(audience);
    if named.iter().all(allowed) {
        Ok(named)
    } else {
        Err(OAuthError::new("invalid_target", "the client may have no token for this audience"))
    }
}
