//! The userinfo endpoint (OpenID Connect Core section 5.3). Comes in: an access token, and the subject of the ID token
//! that came with it. Goes out: claims about that very subject.

use std::sync::Arc;

use super::fetch::{ANSWER_LIMIT, Wanted};
use super::registration::{DEADLINE, Registration, Unanswered};
use crate::caller::Claims;
use crate::jose::{claims, json};
use crate::seal::Secret;

/// Why there are no claims.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UserinfoError {
    /// Section 5.3.2: what is said about another must not be used.
    #[error("userinfo is about another subject than the ID token")]
    Subject,
    #[error("userinfo is no JSON object with one reading")]
    Malformed,
    #[error("userinfo gave no answer: {0}")]
    Unreachable(#[from] Unanswered),
}

impl Registration {
    /// Asks who somebody is.
    ///
    /// # Errors
    /// [`UserinfoError`] when it can't be said of `subject`.
    pub async fn userinfo(&self, access_token: &Secret, subject: &str) -> Result<Claims, UserinfoError> {
        let identity = &self.settings().identity;
        let endpoint = identity.endpoints(&self.issuer().metadata()).userinfo.clone();
        let url = endpoint.ok_or(Unanswered::NoEndpoint("userinfo"))?;
        let (issuer, access_token, tls) =
            (Arc::clone(self.issuer()), access_token.clone(), identity.tls(self.issuer()));
        let asked = async move {
            let wanted = Wanted {
                url: &url,
                bearer: Some(&access_token),
                tls: tls.as_ref(),
                allow_http: issuer.settings().allow_http,
                limit: ANSWER_LIMIT,
            };
            issuer.fetch.clone().within(DEADLINE).get(wanted).await
        };
        let ran = self.issuer().control().run(asked).await;
        let ran = ran.map_err(|stopped| Unanswered::Failed(stopped.to_string().into()))?;
        read(&ran.map_err(Unanswered::from)?, subject)
    }
}

fn read(body: &[u8], subject: &str) -> Result<Claims, UserinfoError> {
    let claims = json::object(body).map_err(|_| UserinfoError::Malformed)?;
    match claims::text(&claims, "sub") {
        Ok(Some(about)) if about == subject => Ok(claims),
        _ => Err(UserinfoError::Subject),
    }
}

/// Adds what userinfo says to what the ID token says. What the ID token was checked by stays as it was signed.
pub fn merge(id_token: &mut Claims, userinfo: Claims) {
    for (name, value) in userinfo {
        if !PROTOCOL.contains(&name.as_str()) {
            id_token.insert(name, value);
        }
    }
}

/// Claims of the protocol itself, which say nothing about a person.
const PROTOCOL: [&str; 15] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "nbf",
    "jti",
    "auth_time",
    "nonce",
    "acr",
    "amr",
    "azp",
    "at_hash",
    "c_hash",
    "sid",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_said_of_the_subject_counts() {
        assert!(read(br#"{"sub":"alice","email":"a@example.com"}"#, "alice").is_ok());
        for other in [r#"{"sub":"mallory"}"#, r#"{"email":"a"}"#, r#"{"sub":["alice"]}"#, r#"{"sub":"Alice"}"#] {
            assert_eq!(read(other.as_bytes(), "alice"), Err(UserinfoError::Subject), "{other}");
        }
        for broken in ["", "<html>", r#"{"sub":"alice","sub":"alice"}"#, "a.b.c"] {
            assert_eq!(read(broken.as_bytes(), "alice"), Err(UserinfoError::Malformed), "{broken}");
        }
    }

    #[test]
    fn userinfo_adds_and_never_replaces_what_was_signed_about_the_sign_in() {
        let object = |value: serde_json::Value| value.as_object().unwrap().clone();
        let mut claims = object(json!({ "sub": "alice", "acr": "1", "name": "A" }));
        merge(
            &mut claims,
            object(json!({ "sub": "alice", "acr": "gold", "auth_time": 9, "name": "Alice", "groups": ["x"] })),
        );
        assert_eq!(claims, object(json!({ "sub": "alice", "acr": "1", "name": "Alice", "groups": ["x"] })));
    }
}
