//! The token endpoint (RFC 6749 sections 4.1.3, 4.3, 4.4, 5 and 6; RFC 8693). Comes in: a typed grant. Goes out: a [`TokenSet`], or a
//! [`TokenError`] that says whether the grant is spent. A grant is sent once: whoever got no answer can't know whether the
//! issuer took it, and a code or a rotated refresh token that comes twice ends everything that came of it (RFC 9700
//! sections 2.1.1 and 4.14).

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use super::Reply;
use super::authorize::Verifier;
use super::client_auth::ClientIdentity;
use super::registration::{Cause, Registration, Unanswered};
use crate::caller::Claims;
use crate::clock::Time;
use crate::jose::json;
use crate::seal::Secret;
use crate::wire::form::Form;

/// What is exchanged for tokens.
#[derive(Clone, Copy, Debug)]
pub enum Grant<'a> {
    /// RFC 6749 section 4.1.3, RFC 7636 section 4.5.
    Code { code: &'a Secret, redirect_uri: &'a str, verifier: Option<&'a Verifier> },
    /// RFC 6749 section 6.
    Refresh { token: &'a Secret },
    /// RFC 6749 section 4.4: the client's own token.
    ClientCredentials(Target<'a>),
    /// RFC 6749 section 4.3, for callers who know nothing better (RFC 9700 section 2.4).
    Password { username: &'a str, password: &'a Secret, target: Target<'a> },
    /// RFC 8693 section 2.1: a caller's access token for one that is for `target`. With `actor` the new one says who acts.
    Exchange { subject: &'a Secret, actor: Option<&'a Secret>, target: Target<'a> },
}

/// What a token is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target<'a> {
    /// Space-separated; `None` leaves it to the issuer.
    pub scope: Option<&'a str>,
    /// The logical name of whom it is for (RFC 8693 section 2.1).
    pub audience: Option<&'a str>,
    /// The address of whom it is for (RFC 8707 section 2).
    pub resource: Option<&'a str>,
}

/// The type of an access token, whatever it looks like (RFC 8693 section 3).
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// That of a JWT, an access token among them.
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// What the issuer hands out (RFC 6749 section 5.1, OpenID Connect Core section 3.1.3.3).
#[derive(Clone, Debug)]
pub struct TokenSet {
    pub access_token: Secret,
    /// `None` when the issuer does not say.
    pub expires_in: Option<Duration>,
    pub refresh_token: Option<Secret>,
    pub id_token: Option<Secret>,
    /// `None` when it is what was asked for.
    pub scope: Option<Box<str>>,
    /// What an exchange brought, where the issuer says so (RFC 8693 section 2.2.1).
    pub issued_token_type: Option<Box<str>>,
}

impl TokenSet {
    /// How long the access token serves from the request on that brought it.
    pub fn life(&self) -> Duration {
        self.expires_in.unwrap_or(UNSAID_LIFE)
    }

    /// Until when the access token is sent, if it was asked for at `asked_at`: a life that is counted from the answer ends
    /// later than the issuer meant.
    pub fn good_until(&self, asked_at: Time) -> Time {
        let life = self.life();
        asked_at.plus(life - MARGIN.min(life / 10))
    }
}

/// How long an access token serves whose issuer does not say.
const UNSAID_LIFE: Duration = Duration::from_secs(60);

/// A token is put away so long before its end, for the upstream's clock and the way there; a short one a tenth earlier.
const MARGIN: Duration = Duration::from_secs(10);

/// Why there are no tokens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token endpoint refused: {0}")]
    Refused(OAuthError),
    #[error("the token endpoint's answer is none: {0}")]
    Malformed(&'static str),
    #[error("the token endpoint gave no answer: {0}")]
    Unreachable(#[from] Unanswered),
}

impl TokenError {
    /// Whether the grant is over for good: sending it again can't help.
    pub const fn is_spent(&self) -> bool {
        matches!(self, Self::Refused(OAuthError::InvalidGrant))
    }

    /// Whether this is an outage, after which the same may go well.
    pub const fn is_outage(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}

/// An OAuth error code (RFC 6749 section 5.2).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OAuthError {
    #[error("invalid_grant")]
    InvalidGrant,
    #[error("invalid_client")]
    InvalidClient,
    #[error("invalid_request")]
    InvalidRequest,
    #[error("unauthorized_client")]
    UnauthorizedClient,
    #[error("unsupported_grant_type")]
    UnsupportedGrantType,
    #[error("invalid_scope")]
    InvalidScope,
    #[error("{0}")]
    Other(Box<str>),
}

impl OAuthError {
    fn of(code: &str) -> Self {
        match code {
            "invalid_grant" => Self::InvalidGrant,
            "invalid_client" => Self::InvalidClient,
            "invalid_request" => Self::InvalidRequest,
            "unauthorized_client" => Self::UnauthorizedClient,
            "unsupported_grant_type" => Self::UnsupportedGrantType,
            "invalid_scope" => Self::InvalidScope,
            // Goes to the log: visible ASCII (section 5.2 allows no more), and not too much of it.
            other => Self::Other(other.chars().filter(char::is_ascii_graphic).take(60).collect::<String>().into()),
        }
    }
}

impl Registration {
    /// Exchanges a grant for tokens: one request, never repeated.
    ///
    /// # Errors
    /// [`TokenError`] when there are none.
    pub async fn redeem(&self, grant: Grant<'_>) -> Result<TokenSet, TokenError> {
        self.redeem_as(&self.settings().identity, grant).await
    }

    /// The same by another client of the issuer, which has shown its own credentials.
    ///
    /// # Errors
    /// [`TokenError`] when there are none.
    pub async fn redeem_as(&self, identity: &ClientIdentity, grant: Grant<'_>) -> Result<TokenSet, TokenError> {
        let endpoint = identity.endpoints(&self.issuer().metadata()).token.clone();
        let endpoint = endpoint.ok_or(TokenError::Unreachable(Unanswered::NoEndpoint("token")))?;
        let is_own = std::ptr::eq(identity, &self.settings().identity);
        let cause = match grant {
            _ if !is_own => Cause::Caller,
            Grant::Code { .. } => Cause::Visitor,
            Grant::Password { .. } => Cause::Caller,
            Grant::Refresh { .. } | Grant::ClientCredentials(_) | Grant::Exchange { .. } => Cause::Session,
        };
        let reply = self.ask_as(identity, cause, endpoint, form(grant)).await?;
        let set = read(&reply)?;
        // RFC 8693 section 2.2.1 wants it said; many issuers leave it out, and nobody may hand out another kind.
        let is_access = |said: &str| said == ACCESS_TOKEN || said == JWT;
        if matches!(grant, Grant::Exchange { .. }) && !set.issued_token_type.as_deref().is_none_or(is_access) {
            return Err(TokenError::Malformed("`issued_token_type` is no access token"));
        }
        Ok(set)
    }
}

fn form(grant: Grant<'_>) -> Form {
    match grant {
        Grant::Code { code, redirect_uri, verifier } => {
            let form = Form::default().with("grant_type", "authorization_code").with("code", code.expose());
            let form = form.with("redirect_uri", redirect_uri);
            match verifier {
                Some(verifier) => form.with("code_verifier", verifier.expose()),
                None => form,
            }
        }
        Grant::Refresh { token } => {
            Form::default().with("grant_type", "refresh_token").with("refresh_token", token.expose())
        }
        Grant::ClientCredentials(target) => target.add_to(Form::default().with("grant_type", "client_credentials")),
        Grant::Password { username, password, target } => {
            let form = Form::default().with("grant_type", "password");
            target.add_to(form.with("username", username).with("password", password.expose()))
        }
        Grant::Exchange { subject, actor, target } => {
            let form = Form::default().with("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
            let form = form.with("subject_token", subject.expose()).with("subject_token_type", ACCESS_TOKEN);
            let form = match actor {
                Some(actor) => form.with("actor_token", actor.expose()).with("actor_token_type", ACCESS_TOKEN),
                None => form,
            };
            target.add_to(form.with("requested_token_type", ACCESS_TOKEN))
        }
    }
}

impl Target<'_> {
    fn add_to(self, form: Form) -> Form {
        let named = [("scope", self.scope), ("audience", self.audience), ("resource", self.resource)];
        named
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .fold(form, |form, (name, value)| form.with(name, value))
    }
}

fn read(reply: &Reply) -> Result<TokenSet, TokenError> {
    if reply.status.is_server_error() || reply.status == StatusCode::TOO_MANY_REQUESTS {
        return Err(Unanswered::Failed(format!("it answered {}", reply.status).into()).into());
    }
    if !reply.is("application/json") {
        return Err(TokenError::Malformed("not application/json"));
    }
    let members = json::object(&reply.body).map_err(|_| TokenError::Malformed("no JSON object with one reading"))?;
    if let Some(code) = members.get("error") {
        let code = code.as_str().ok_or(TokenError::Malformed("`error` is no text"))?;
        return Err(match code {
            // RFC 6749 section 4.1.2.1 has them for the other endpoint; issuers answer them here too.
            "temporarily_unavailable" | "server_error" => Unanswered::Failed(code.into()).into(),
            code => TokenError::Refused(OAuthError::of(code)),
        });
    }
    if reply.status != StatusCode::OK {
        return Err(TokenError::Malformed("neither a 200 nor an OAuth error"));
    }
    tokens(&members)
}

fn tokens(members: &Claims) -> Result<TokenSet, TokenError> {
    let token_type = text(members, "token_type")?.ok_or(TokenError::Malformed("`token_type` is missing"))?;
    // Section 7.1: a type that is not understood must not be used.
    if !token_type.eq_ignore_ascii_case("Bearer") {
        return Err(TokenError::Malformed("`token_type` is not Bearer"));
    }
    let secret = |name| Ok::<_, TokenError>(text(members, name)?.map(|text| Secret::new(text.to_owned())));
    let expires_in = match members.get("expires_in") {
        None | Some(Value::Null) => None,
        Some(seconds) => {
            let seconds = seconds.as_u64().or_else(|| whole(seconds));
            let seconds = seconds.ok_or(TokenError::Malformed("`expires_in` is no number of seconds"))?;
            Some(Duration::from_secs(seconds.min(LONGEST_LIFE)))
        }
    };
    Ok(TokenSet {
        access_token: secret("access_token")?.ok_or(TokenError::Malformed("`access_token` is missing"))?,
        expires_in,
        refresh_token: secret("refresh_token")?,
        id_token: secret("id_token")?,
        scope: text(members, "scope")?.map(Box::from),
        issued_token_type: text(members, "issued_token_type")?.map(Box::from),
    })
}

/// Ten years: whoever says more means for ever, and sums must not overflow.
pub(super) const LONGEST_LIFE: u64 = 10 * 365 * 86_400;

/// `3600.0` is what some write.
fn whole(number: &Value) -> Option<u64> {
    let number = number.as_f64().filter(|number| (0.0..=LONGEST_LIFE as f64).contains(number))?;
    Some(number as u64)
}

/// A member that must be text of visible ASCII and spaces where it is there (RFC 6749 appendix A); empty or null counts
/// as absent.
fn text<'a>(members: &'a Claims, name: &'static str) -> Result<Option<&'a str>, TokenError> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) => {
            Ok(Some(text.as_str()).filter(|text| !text.is_empty()))
        }
        Some(_) => Err(TokenError::Malformed("a member is no plain text")),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use http::header::{CONTENT_TYPE, HeaderValue};
    use serde_json::json;

    use super::*;

    fn reply(status: u16, content_type: &str, body: &str) -> Reply {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
        Reply { status: StatusCode::from_u16(status).unwrap(), headers, body: body.to_owned().into() }
    }

    fn answered(changes: &Value) -> Result<TokenSet, TokenError> {
        let mut answer = json!({ "access_token": "at", "token_type": "bearer", "expires_in": 300, "refresh_token": "rt",
            "id_token": "a.b.c", "scope": "openid", "further": [1] });
        answer.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        read(&reply(200, "application/json; charset=utf-8", &answer.to_string()))
    }

    #[test]
    fn a_good_answer_is_read_whole() {
        let set = answered(&json!({})).unwrap();
        assert!(set.access_token.equals(b"at") && set.refresh_token.unwrap().equals(b"rt"));
        assert_eq!((set.expires_in, set.scope.as_deref()), (Some(Duration::from_secs(300)), Some("openid")));
        let bare =
            answered(&json!({ "expires_in": null, "refresh_token": null, "id_token": "", "scope": null })).unwrap();
        assert!(bare.expires_in.is_none() && bare.refresh_token.is_none() && bare.id_token.is_none());
        assert_eq!(answered(&json!({ "expires_in": 60.0 })).unwrap().expires_in, Some(Duration::from_secs(60)));
        assert!(answered(&json!({ "expires_in": u64::MAX })).is_ok());
    }

    #[test]
    fn what_is_no_answer_gives_no_tokens() {
        for changes in [
            json!({ "access_token": null }),
            json!({ "access_token": "" }),
            json!({ "access_token": 7 }),
            json!({ "access_token": "a\nb" }),
            json!({ "token_type": null }),
            json!({ "token_type": "DPoP" }),
            json!({ "expires_in": "300" }),
            json!({ "expires_in": -1 }),
            json!({ "refresh_token": {} }),
            json!({ "id_token": ["x"] }),
            json!({ "error": 7 }),
        ] {
            assert!(matches!(answered(&changes), Err(TokenError::Malformed(_))), "{changes}");
        }
        let good = r#"{"access_token":"at","token_type":"Bearer"}"#;
        for (status, content_type, body) in [
            (200, "text/html", good),
            (200, "text/plain", good),
            (200, "application/json", "{\"access_token\":\"at\",\"token_type\":\"Bearer\",\"access_token\":\"b\"}"),
            (200, "application/json", "<html>"),
            (200, "application/json", "[]"),
            (302, "application/json", good),
            (404, "application/json", "{}"),
        ] {
            let read = read(&reply(status, content_type, body));
            assert!(matches!(read, Err(TokenError::Malformed(_))), "{status} {content_type} {body}");
        }
    }

    #[test]
    fn an_error_says_whether_to_come_back() {
        let error = |status, code: &str| {
            read(&reply(status, "application/json", &json!({ "error": code }).to_string())).unwrap_err()
        };
        assert!(error(400, "invalid_grant").is_spent() && !error(400, "invalid_grant").is_outage());
        for code in
            ["invalid_client", "invalid_request", "unauthorized_client", "unsupported_grant_type", "odd\u{1b}[1m"]
        {
            assert!(!error(400, code).is_spent() && !error(401, code).is_outage(), "{code}");
        }
        assert_eq!(error(400, "odd\u{1b}[1m").to_string(), "the token endpoint refused: odd[1m");
        for outage in
            [error(503, "x"), error(500, "invalid_grant"), error(429, "x"), error(400, "temporarily_unavailable")]
        {
            assert!(outage.is_outage() && !outage.is_spent());
        }
    }

    #[test]
    fn a_grant_is_the_form_of_its_rfc() {
        let (code, verifier) = (Secret::new("c&1".to_owned()), Verifier::kept(Secret::new("v".to_owned())));
        let redirect_uri = "https://shop.example/oauth2/callback";
        let sent = form(Grant::Code { code: &code, redirect_uri, verifier: Some(&verifier) }).encode();
        let wanted = "grant_type=authorization_code&code=c%261&redirect_uri=https%3A%2F%2Fshop.example%2Foauth2%2Fcallback&code_verifier=v";
        assert_eq!(sent, wanted);
        assert_eq!(form(Grant::Refresh { token: &code }).encode(), "grant_type=refresh_token&refresh_token=c%261");
        let target = Target { scope: Some("read write"), audience: Some("orders"), resource: None };
        assert_eq!(
            form(Grant::ClientCredentials(target)).encode(),
            "grant_type=client_credentials&scope=read+write&audience=orders"
        );
        let password = Secret::new("p&w".to_owned());
        assert_eq!(
            form(Grant::Password { username: "al:ice", password: &password, target: Target::default() }).encode(),
            "grant_type=password&username=al%3Aice&password=p%26w"
        );
        let urn = "urn%3Aietf%3Aparams%3Aoauth%3A";
        let (subject, actor) = (Secret::new("s".to_owned()), Secret::new("a".to_owned()));
        let target = Target { resource: Some("https://orders.example"), ..Target::default() };
        assert_eq!(
            form(Grant::Exchange { subject: &subject, actor: Some(&actor), target }).encode(),
            format!(
                "grant_type={urn}grant-type%3Atoken-exchange&subject_token=s&subject_token_type={urn}token-type%3Aaccess_token\
                 &actor_token=a&actor_token_type={urn}token-type%3Aaccess_token\
                 &requested_token_type={urn}token-type%3Aaccess_token&resource=https%3A%2F%2Forders.example"
            )
        );
    }
}
