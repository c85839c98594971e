//! The token path through every grant: a token got from the provider's endpoints as a client gets it, used at the
//! gateway; and for each grant the refusal of a client that may not use it (RFC 6749 section 5.2).

use super::super::check::{Outcome, timed};
use super::super::client::{Answer, TalkError};
use super::super::tokens::{Authorization, access_token, member, proof_key, text_member};
use super::{Ask, Check};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const PASSWORD: [(&str, &str); 4] =
    [("grant_type", "password"), ("username", "alice"), ("password", "wonderland"), ("scope", "orders:read")];
const REFUSED: &str = "400 unauthorized_client";

pub async fn run(check: &mut Check) {
    let grant = client_credentials(check).await;
    check.row("client_credentials", "200", grant);
    refused(check, "client_credentials, not allowed", "legacy", &[("grant_type", "client_credentials")]).await;
    code(check).await;
    let grant = password(check).await;
    check.row("password", "200", grant);
    refused(check, "password, not allowed", "batch", &PASSWORD).await;
    let grant = wrong_password(check).await;
    check.row("password, a wrong one", "400 invalid_grant", grant);
    exchange(check).await;
    front_channel(check).await;
}

type Going = Result<Outcome, TalkError>;

/// What the gateway says of a token.
async fn used(check: &Check, token: &str) -> Going {
    check.verdict(Ask::get("/orders").bearer(token)).await
}

/// A token request that the provider must refuse.
async fn refused(check: &mut Check, case: &str, client_id: &str, form: &[(&str, &str)]) {
    let going = provider_says(check, client_id, form).await;
    check.row(case, REFUSED, going);
}

async fn provider_says(check: &Check, client_id: &str, form: &[(&str, &str)]) -> Going {
    timed(check, async {
        let answer = check.asker().token(client_id, true, form).await?;
        Ok(format!("{} {}", answer.status, answer.json()["error"].as_str().unwrap_or("and a token")))
    })
    .await
}

async fn client_credentials(check: &Check) -> Going {
    let form = [("grant_type", "client_credentials"), ("scope", "orders:read")];
    used(check, &access_token(&check.asker().token("batch", true, &form).await?)?).await
}

async fn password(check: &Check) -> Going {
    used(check, &access_token(&check.asker().token("legacy", true, &PASSWORD).await?)?).await
}

async fn wrong_password(check: &Check) -> Going {
    let form = [("grant_type", "password"), ("username", "alice"), ("password", "looking-glass")];
    provider_says(check, "legacy", &form).await
}

fn callback(check: &Check) -> String {
    format!("http://{}/oauth2/callback", check.gateway())
}

/// Authorization code with PKCE (RFC 7636), then the refresh token that came with it.
async fn code(check: &mut Check) {
    let mut refresh = Ok(String::new());
    let going = async {
        let (verifier, challenge) = proof_key();
        let answer = redeem(check, Some(challenge), &verifier).await?;
        refresh = text_member(&answer, "refresh_token");
        used(check, &access_token(&answer)?).await
    }
    .await;
    check.row("authorization_code with PKCE", "200", going);
    let going = timed(check, async {
        let (_, challenge) = proof_key();
        let answer = redeem(check, Some(challenge), "a-verifier-that-belongs-to-another-challenge").await?;
        Ok(format!("{} {}", answer.status, answer.json()["error"].as_str().unwrap_or("and a token")))
    })
    .await;
    check.row("authorization_code, another verifier", "400 invalid_grant", going);
    let going = timed(check, back(check, "native", "code", None)).await;
    check.row("authorization_code without PKCE", "invalid_request", going);
    let going = timed(check, back(check, "implicit", "code", None)).await;
    check.row("authorization_code, not allowed", "unauthorized_client", going);
    refresh_token(check, refresh).await;
}

async fn redeem(check: &Check, code_challenge: Option<String>, verifier: &str) -> Result<Answer, TalkError> {
    let redirect_uri = callback(check);
    let (client_id, response_type, scope) = ("native", "code", "openid offline_access orders:read");
    let asked = Authorization { client_id, response_type, redirect_uri: &redirect_uri, scope, code_challenge };
    let carried = check.asker().authorize(&asked).await?;
    let Some(code) = member(&carried, "code") else { return Err(TalkError::Unusable(format!("no code: {carried:?}"))) };
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", &redirect_uri),
        ("code_verifier", verifier),
    ];
    check.asker().token(client_id, false, &form).await
}

/// The error that travels back to the client, if one does.
async fn back(
    check: &Check,
    client_id: &str,
    response_type: &str,
    code_challenge: Option<String>,
) -> Result<String, TalkError> {
    let redirect_uri = callback(check);
    let asked =
        Authorization { client_id, response_type, redirect_uri: &redirect_uri, scope: "openid", code_challenge };
    let carried = check.asker().authorize(&asked).await?;
    Ok(member(&carried, "error").cloned().unwrap_or_else(|| "no error".to_owned()))
}

async fn refresh_token(check: &mut Check, refresh: Result<String, TalkError>) {
    let refresh = match refresh {
        Ok(refresh) => refresh,
        Err(error) => return check.row("refresh_token", "200", Err(error)),
    };
    let form = [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str())];
    let going = async { used(check, &access_token(&check.asker().token("native", false, &form).await?)?).await }.await;
    check.row("refresh_token", "200", going);
    let going = timed(check, async {
        let answer = check.asker().token("native", false, &form).await?;
        Ok(format!("{} {}", answer.status, answer.json()["error"].as_str().unwrap_or("and a token")))
    })
    .await;
    check.row("refresh_token, used twice", "400 invalid_grant", going);
    refused(check, "refresh_token, not allowed", "batch", &form).await;
}

/// RFC 8693: alice's token for another one.
async fn exchange(check: &mut Check) {
    let subject = check.alice("orders:read");
    let form = [("grant_type", EXCHANGE), ("subject_token", subject.as_str()), ("subject_token_type", ACCESS_TOKEN)];
    let going = async { used(check, &access_token(&check.asker().token("exchange", true, &form).await?)?).await }.await;
    check.row("token exchange", "200", going);
    let elsewhere = [&form[..], &[("audience", "inventory")]].concat();
    let going = async { used(check, &access_token(&check.asker().token("exchange", true, &elsewhere).await?)?).await };
    let going = going.await;
    check.row("token exchange, for another audience", "401 token.audience", going);
    refused(check, "token exchange, not allowed", "batch", &form).await;
}

/// Hybrid and implicit: tokens that travel through the browser (OIDC Core sections 3.2 and 3.3).
async fn front_channel(check: &mut Check) {
    for (case, client_id, response_type) in [
        ("hybrid, code token", "hybrid", "code token"),
        ("hybrid, code id_token token", "hybrid", "code id_token token"),
        ("implicit, id_token token", "implicit", "id_token token"),
    ] {
        let going = async { used(check, &carried(check, client_id, response_type, "access_token").await?).await }.await;
        check.row(case, "200", going);
    }
    let going = async { used(check, &carried(check, "implicit", "id_token token", "id_token").await?).await }.await;
    check.row("an ID token as access token", "401 token.not_access", going);
    for (case, client_id, response_type) in
        [("hybrid, not allowed", "shop", "code token"), ("implicit, not allowed", "shop", "id_token token")]
    {
        let going = timed(check, back(check, client_id, response_type, None)).await;
        check.row(case, "unauthorized_client", going);
    }
}

/// A member of what the authorization endpoint sends back to this client.
async fn carried(check: &Check, client_id: &str, response_type: &str, name: &str) -> Result<String, TalkError> {
    let redirect_uri = callback(check);
    let scope = "openid orders:read";
    let asked = Authorization { client_id, response_type, redirect_uri: &redirect_uri, scope, code_challenge: None };
    let carried = check.asker().authorize(&asked).await?;
    member(&carried, name).cloned().ok_or_else(|| TalkError::Unusable(format!("no {name} came back")))
}
