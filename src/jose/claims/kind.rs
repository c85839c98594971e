//! Machine or person (docs/machine-or-person.md). Comes in: claims that the issuer signed, or answered. Goes out: which of
//! both the caller is.
//!
//! A policy may give machines what people don't get, so a doubt makes a person: whoever shows a sign of a sign-in is one, and
//! a machine is what its issuer says to be one in a way of its own. A claim of a wrong type says nothing for a machine.

use serde_json::Value;

use crate::caller::{Claims, Kind};

/// The user that Keycloak makes for a client which acts for itself.
const SERVICE_ACCOUNT: &str = "service-account-";

/// The subject that Auth0 makes up for one, behind its client id.
const CLIENTS: &str = "@clients";

pub(super) fn kind(claims: &Claims) -> Kind {
    let token = Token { claims, client: client(claims), subject: text(claims, "sub") };
    if !token.shows_a_person() && token.shows_a_machine() { Kind::Machine } else { Kind::User }
}

struct Token<'a> {
    claims: &'a Claims,
    client: Option<&'a str>,
    subject: Option<&'a str>,
}

impl Token<'_> {
    fn shows_a_machine(&self) -> bool {
        let acts_for_itself = match (self.subject, self.client) {
            (Some(subject), Some(client)) => subject == client,
            // RFC 9068 section 2.2 wants a subject; who has none to name leaves it out (RFC 7662 section 2.2).
            (None, Some(_)) => !self.claims.contains_key("sub"),
            // Nothing is known, so nothing is given.
            (_, None) => false,
        };
        acts_for_itself || self.is_app_of_entra() || self.is_client_of_auth0() || self.is_service_account_of_keycloak()
    }

    /// Signs of a sign-in, or of a name that is not the client's own.
    fn shows_a_person(&self) -> bool {
        let has = |name: &str| self.claims.contains_key(name);
        let is_other = |name: &str, what: &str| has(name) && text(self.claims, name) != Some(what);
        let is_named = |name: &str| {
            has(name) && !text(self.claims, name).is_some_and(|name| self.client == Some(name) || self.is_account(name))
        };
        // Cognito writes `auth_time` into the tokens of machines too.
        let signed_in = has("auth_time") && text(self.claims, "token_use") != Some("access");
        // `uid` is a user of Okta.
        has("sid")
            || has("amr")
            || has("uid")
            || signed_in
            || is_other("idtyp", "app")
            || is_other("gty", "client-credentials")
            || is_named("username")
            || is_named("preferred_username")
    }

    /// `idtyp` is the issuer's word, where it was asked for; scopes are what a person has delegated.
    fn is_app_of_entra(&self) -> bool {
        let has = |name: &str| self.claims.contains_key(name);
        text(self.claims, "idtyp") == Some("app") && !has("scp") && !has("scope")
    }

    /// `gty` alone may come from a user's own data elsewhere; the subject is the issuer's.
    fn is_client_of_auth0(&self) -> bool {
        let named = self.subject.and_then(|subject| subject.strip_suffix(CLIENTS));
        text(self.claims, "gty") == Some("client-credentials") && named.is_some() && named == self.client
    }

    fn is_service_account_of_keycloak(&self) -> bool {
        text(self.claims, "preferred_username").is_some_and(|name| self.is_account(name))
    }

    /// Keycloak writes `client_id` (once `clientId`) for service accounts alone: people's tokens have `azp`, and people choose
    /// their names. User names are in lower case there, client ids need not be.
    fn is_account(&self, name: &str) -> bool {
        let own = text(self.claims, "client_id").or_else(|| text(self.claims, "clientId"));
        let account = name.strip_prefix(SERVICE_ACCOUNT);
        account.zip(own).is_some_and(|(account, own)| !own.is_empty() && account.eq_ignore_ascii_case(own))
    }
}

/// The client that the token was issued to: the first that is there, whatever it is. `cid` is Okta's.
fn client(claims: &Claims) -> Option<&str> {
    let name = ["client_id", "azp", "cid"].into_iter().find(|name| claims.contains_key(*name))?;
    text(claims, name)
}

fn text<'a>(claims: &'a Claims, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Value::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn is(kind_of_it: Kind, claims: Value) {
        assert_eq!(kind(claims.as_object().unwrap()), kind_of_it, "{claims}");
    }

    /// The claims, and others set over them.
    fn with(claims: &Value, others: Value) -> Value {
        let mut all = claims.as_object().unwrap().clone();
        all.extend(others.as_object().unwrap().clone());
        Value::Object(all)
    }

    #[test]
    fn rfc_9068() {
        let machine = json!({"sub": "batch", "client_id": "batch", "jti": "1", "scope": "orders:read"});
        is(Kind::Machine, machine.clone());
        is(Kind::User, with(&machine, json!({"sub": "alice"})));
        is(Kind::User, with(&machine, json!({"sub": "Batch"})));
        // Section 5: a person whose name is a client's has signed in nevertheless.
        for sign in [
            json!({"auth_time": 1_700_000_000}),
            json!({"sid": "s"}),
            json!({"amr": ["pwd"]}),
            json!({"username": "alice"}),
            json!({"preferred_username": "alice"}),
            json!({"username": 7}),
            json!({"preferred_username": null}),
        ] {
            is(Kind::User, with(&machine, sign));
        }
    }

    #[test]
    fn keycloak() {
        let account = json!({
            "sub": "0c2e", "azp": "batch", "client_id": "batch", "clientHost": "192.0.2.7", "clientAddress": "192.0.2.7",
            "preferred_username": "service-account-batch", "typ": "Bearer", "acr": "1", "scope": "profile email",
        });
        is(Kind::Machine, account.clone());
        is(Kind::Machine, with(&account, json!({"azp": "Batch", "client_id": "Batch"})));
        is(Kind::Machine, with(&account, json!({"username": "service-account-batch"})));
        is(Kind::User, with(&account, json!({"sid": "s"})));
        is(Kind::User, with(&account, json!({"client_id": "other"})));
        is(Kind::User, with(&account, json!({"client_id": ["batch"]})));
        let person = json!({"sub": "77aa", "azp": "shop", "sid": "s", "preferred_username": "alice", "typ": "Bearer"});
        is(Kind::User, person);
        // A name is a person's to choose; `client_id` is not. Light tokens have neither `sub` nor `auth_time`.
        is(Kind::User, json!({"sub": "77aa", "azp": "shop", "preferred_username": "service-account-shop"}));
        is(Kind::User, json!({"azp": "shop", "sid": "s", "typ": "Bearer"}));
        is(Kind::Machine, json!({"sub": "0c2e", "clientId": "batch", "preferred_username": "service-account-batch"}));
        is(Kind::User, json!({"sub": "0c2e", "client_id": "", "preferred_username": "service-account-"}));
    }

    #[test]
    fn entra() {
        let app = json!({"sub": "8f2b", "oid": "8f2b", "azp": "6731", "azpacr": "1", "idtyp": "app", "roles": ["Orders.Read"]});
        is(Kind::Machine, app.clone());
        is(Kind::Machine, json!({"sub": "8f2b", "appid": "6731", "appidacr": "2", "idtyp": "app"}));
        is(Kind::User, with(&app, json!({"scp": "Orders.Read"})));
        is(Kind::User, with(&app, json!({"idtyp": "user"})));
        is(Kind::User, with(&app, json!({"idtyp": ["app"]})));
        // Without `idtyp` nothing tells it from a person who has roles.
        is(Kind::User, json!({"sub": "8f2b", "oid": "8f2b", "azp": "6731", "roles": ["Orders.Read"]}));
        is(Kind::User, json!({"sub": "8f2b", "azp": "8f2b", "idtyp": "user", "scp": "Orders.Read"}));
    }

    #[test]
    fn auth0() {
        let machine = json!({"sub": "x1@clients", "azp": "x1", "gty": "client-credentials", "scope": "orders:read"});
        is(Kind::Machine, machine.clone());
        is(Kind::User, with(&machine, json!({"sub": "auth0|1"})));
        is(Kind::User, with(&machine, json!({"sub": "other@clients"})));
        is(Kind::User, with(&machine, json!({"gty": "password"})));
        is(Kind::User, with(&machine, json!({"gty": ["client-credentials"]})));
        is(Kind::User, json!({"sub": "x1@clients", "azp": "x1"}));
        is(Kind::User, json!({"sub": "@clients", "gty": "client-credentials"}));
    }

    #[test]
    fn okta() {
        let machine = json!({"sub": "0oa1", "cid": "0oa1", "scp": ["orders"], "ver": 1});
        is(Kind::Machine, machine.clone());
        is(Kind::User, with(&machine, json!({"sub": "alice@example.com", "uid": "00u1", "auth_time": 1})));
        is(Kind::User, with(&machine, json!({"uid": "00u1"})));
        // Where the issuer names the client, nobody else does.
        is(Kind::User, with(&machine, json!({"client_id": "shop"})));
        is(Kind::User, with(&machine, json!({"azp": null})));
    }

    #[test]
    fn cognito() {
        let machine =
            json!({"sub": "5ex", "client_id": "5ex", "token_use": "access", "auth_time": 1, "scope": "orders/read"});
        is(Kind::Machine, machine.clone());
        is(Kind::User, with(&machine, json!({"sub": "aaaa-1", "username": "alice"})));
        is(Kind::User, with(&machine, json!({"username": "alice"})));
    }

    #[test]
    fn google() {
        is(Kind::Machine, json!({"sub": "1078", "azp": "1078", "email": "job@p.iam.gserviceaccount.com"}));
        is(Kind::User, json!({"sub": "2099", "azp": "x.apps.googleusercontent.com", "email": "alice@example.com"}));
    }

    #[test]
    fn answers_of_introspection() {
        is(Kind::Machine, json!({"active": true, "client_id": "batch", "scope": "orders:read"}));
        is(Kind::Machine, json!({"active": true, "client_id": "batch", "sub": "batch", "username": "batch"}));
        is(Kind::Machine, json!({"active": true, "client_id": "b", "username": "service-account-b"}));
        is(Kind::User, json!({"active": true, "client_id": "shop", "username": "alice"}));
        is(Kind::User, json!({"active": true, "client_id": "shop", "sub": "alice"}));
        is(Kind::User, json!({"active": true, "client_id": "shop", "sub": 7}));
        is(Kind::User, json!({"active": true}));
    }
}
