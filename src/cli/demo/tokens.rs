//! Tokens for the demo, got as clients get them: by asking the provider. Comes in: where the provider is. Goes out:
//! answers of its endpoints ([`Asker`]), and a shelf of tokens to try, for the page and as files for the shell.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::client::{self, Answer, Ask, TalkError};
use crate::devidp::{Mint, Provider};
use crate::seal::random;

/// Asks the provider's endpoints, as clients and browsers do.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    pub provider: SocketAddr,
}

/// What a client of the demo registered: its redirect URI, and a proof key that no other request has.
pub struct Authorization<'a> {
    pub client_id: &'a str,
    pub response_type: &'a str,
    pub redirect_uri: &'a str,
    pub scope: &'a str,
    pub code_challenge: Option<String>,
}

/// A PKCE verifier and its challenge (RFC 7636 section 4).
pub fn proof_key() -> (String, String) {
    let verifier = random::token();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
    (verifier, URL_SAFE_NO_PAD.encode(digest))
}

impl Asker {
    /// A token request of a client with the demo's secret; of a public client when `secret` is false.
    ///
    /// # Errors
    /// [`TalkError`] when the provider does not answer.
    pub async fn token(&self, client_id: &str, secret: bool, form: &[(&str, &str)]) -> Result<Answer, TalkError> {
        let mut pairs = form.to_vec();
        if !secret {
            pairs.push(("client_id", client_id));
        }
        let mut ask = Ask::new("POST", "/token").form(&pairs);
        if secret {
            let credentials = STANDARD.encode(format!("{client_id}:{client_id}-secret"));
            ask = ask.with("Authorization", format!("Basic {credentials}"));
        }
        client::ask(self.provider, &ask).await
    }

    /// Walks the authorization endpoint as alice in a fresh browser. Goes out: what travels back to the client.
    ///
    /// # Errors
    /// [`TalkError`] when the provider does not answer, or shows a page where it should send the browser back.
    pub async fn authorize(&self, asked: &Authorization<'_>) -> Result<Vec<(String, String)>, TalkError> {
        let Authorization { client_id, response_type, redirect_uri, scope, code_challenge } = asked;
        let (state, nonce) = (random::token(), random::token());
        let mut pairs = vec![
            ("client_id", *client_id),
            ("response_type", *response_type),
            ("redirect_uri", *redirect_uri),
            ("scope", *scope),
            ("state", &state),
            ("nonce", &nonce),
        ];
        if let Some(challenge) = code_challenge {
            pairs.extend([("code_challenge", challenge.as_str()), ("code_challenge_method", "S256")]);
        }
        let page = client::ask(self.provider, &Ask::get(format!("/authorize?{}", client::encode(&pairs)))).await?;
        let answer = if page.status == 200 { self.sign_in(&page).await? } else { page };
        let back = answer.field("location").and_then(|location| url::Url::parse(location).ok());
        let Some(back) = back else {
            return Err(TalkError::Unusable(format!("the provider answered {} without a way back", answer.status)));
        };
        let text = back.fragment().or(back.query()).unwrap_or_default();
        let carried: Vec<(String, String)> = url::form_urlencoded::parse(text.as_bytes()).into_owned().collect();
        if member(&carried, "state") == Some(&state) {
            Ok(carried)
        } else {
            Err(TalkError::Unusable("the state did not come back".to_owned()))
        }
    }

    /// Fills in the sign-in page.
    async fn sign_in(&self, page: &Answer) -> Result<Answer, TalkError> {
        let text = page.text();
        let transaction = text.split_once("name=\"transaction\" value=\"").and_then(|(_, rest)| rest.split_once('"'));
        let Some((transaction, _)) = transaction else {
            return Err(TalkError::Unusable("no sign-in page".to_owned()));
        };
        let cookie = page.field("set-cookie").and_then(|cookie| cookie.split(';').next()).unwrap_or_default();
        let form = [("transaction", transaction), ("username", "alice"), ("password", "wonderland")];
        let ask = Ask::new("POST", "/authorize/sign_in").form(&form).with("Cookie", cookie);
        client::ask(self.provider, &ask).await
    }
}

/// A member of what came back.
pub fn member<'a>(carried: &'a [(String, String)], name: &str) -> Option<&'a String> {
    carried.iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

/// The tokens to try.
#[derive(Default)]
pub struct TokenShelf(Mutex<Vec<(&'static str, String)>>);

impl TokenShelf {
    /// Gets new tokens: a machine's and alice's by their grants, and two that must be refused.
    ///
    /// # Errors
    /// [`TalkError`] when the provider does not give them.
    pub async fn fill(&self, asker: Asker, provider: &Provider) -> Result<(), TalkError> {
        let machine = [("grant_type", "client_credentials"), ("scope", "orders:read")];
        let machine = access_token(&asker.token("batch", true, &machine).await?)?;
        let scope = "openid email groups orders:read orders:write";
        let user = [("grant_type", "password"), ("username", "alice"), ("password", "wonderland"), ("scope", scope)];
        let user = access_token(&asker.token("legacy", true, &user).await?)?;
        let expired = provider.mint(&Mint::machine("batch").scope("orders:read").lifetime(-3600));
        let wrong_scope = provider.mint(&Mint::machine("batch").scope("shop"));
        let tokens = vec![("machine", machine), ("user", user), ("expired", expired), ("wrong-scope", wrong_scope)];
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = tokens;
        Ok(())
    }

    pub fn all(&self) -> Value {
        let tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.iter().map(|(name, token)| ((*name).to_owned(), json!(token))).collect::<serde_json::Map<_, _>>().into()
    }

    /// Writes each token to a file of its own that only its owner can read.
    ///
    /// # Errors
    /// When the folder can't be made or written to.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        for (name, token) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let path = folder.join(format!("{name}.jwt"));
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
            // One that was there keeps its mode otherwise.
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.write_all(token.as_bytes())?;
        }
        Ok(())
    }
}

/// The access token of a token answer.
///
/// # Errors
/// [`TalkError::Unusable`] with the provider's error when there is none.
pub fn access_token(answer: &Answer) -> Result<String, TalkError> {
    text_member(answer, "access_token")
}

/// A member of a token answer.
///
/// # Errors
/// [`TalkError::Unusable`] with the provider's error when there is none.
pub fn text_member(answer: &Answer, name: &str) -> Result<String, TalkError> {
    let json = answer.json();
    let refused = || TalkError::Unusable(format!("{} {}", answer.status, json["error"].as_str().unwrap_or("no token")));
    json[name].as_str().map(str::to_owned).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_can_read_a_token_file() {
        let folder = std::env::temp_dir().join(format!("postern-demo-{}", std::process::id()));
        let shelf = TokenShelf(Mutex::new(vec![("machine", "token".to_owned())]));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("machine.jwt"), "older and longer").unwrap();
        shelf.write(&folder).unwrap();
        let file = folder.join("machine.jwt");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "token");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
