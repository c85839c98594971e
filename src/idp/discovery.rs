//! Finds an issuer's metadata document and reads from it where its keys and endpoints are. Comes in: the issuer
//! identifier. Goes out: [`Metadata`]. The document must name the very issuer that was asked for (OpenID Connect Discovery
//! 4.3, RFC 8414 section 3.3): otherwise one provider could answer for another.

use serde_json::Value;
use url::Url;

use super::fetch::{DOCUMENT_LIMIT, Fetch, FetchError, FetchTls, Wanted, is_loopback};
use crate::caller::Claims;
use crate::jose::json::{self, JsonError};

/// Where an issuer is asked (RFC 8414 section 2). An address that is not https, beyond what plain http is allowed for,
/// counts as none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    pub authorization: Option<Url>,
    pub token: Option<Url>,
    pub introspection: Option<Url>,
    pub revocation: Option<Url>,
    pub userinfo: Option<Url>,
    pub end_session: Option<Url>,
    /// Pushed authorization requests (RFC 9126 section 5).
    pub par: Option<Url>,
}

impl Endpoints {
    /// These, and where there is none, the other's.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        let of = |field: fn(&Self) -> &Option<Url>| field(self).as_ref().or(field(other).as_ref()).cloned();
        Self {
            authorization: of(|all| &all.authorization),
            token: of(|all| &all.token),
            introspection: of(|all| &all.introspection),
            revocation: of(|all| &all.revocation),
            userinfo: of(|all| &all.userinfo),
            end_session: of(|all| &all.end_session),
            par: of(|all| &all.par),
        }
    }
}

/// What an issuer says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    pub jwks: Option<Url>,
    pub endpoints: Endpoints,
    /// The same for clients that show a certificate: `mtls_endpoint_aliases` (RFC 8705 section 5), where it has them.
    pub mtls_endpoints: Endpoints,
    /// `authorization_response_iss_parameter_supported` (RFC 9207 section 3).
    pub names_itself_in_answers: bool,
    /// `require_pushed_authorization_requests` (RFC 9126 section 5).
    pub requires_par: bool,
    /// `require_signed_request_object` (RFC 9101 section 10.5).
    pub requires_signed_requests: bool,
    /// `code_challenge_methods_supported` has `S256`. `None`: the document does not say.
    pub takes_s256: Option<bool>,
}

/// What discovery needs to know of an issuer.
#[derive(Clone, Copy, Debug)]
pub struct Discovery<'a> {
    pub issuer: &'a str,
    pub tls: Option<&'a FetchTls>,
    pub allow_http: bool,
}

/// Why an issuer's keys could not be located.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    #[error("the issuer `{0}` is no URL without query and fragment")]
    Issuer(String),
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("no metadata at any well-known address; the first said: {0}")]
    Nowhere(FetchError),
    #[error("the metadata at {url} is {source}")]
    Json { url: Box<Url>, source: JsonError },
    #[error("the metadata at {url} names the issuer {named}, not `{wanted}`")]
    OtherIssuer { url: Box<Url>, named: String, wanted: String },
    #[error("the issuer's metadata has no usable jwks_uri: it must be https")]
    KeysAddress,
}

impl Discovery<'_> {
    /// What the issuer says of itself.
    ///
    /// # Errors
    /// [`DiscoveryError`] when no metadata is found, or what is found is not this issuer's.
    pub async fn metadata(&self, fetch: &Fetch) -> Result<Metadata, DiscoveryError> {
        let issuer = self.issuer_url()?;
        let mut absent = None;
        for url in well_known(&issuer) {
            let wanted =
                Wanted { url: &url, bearer: None, tls: self.tls, allow_http: self.allow_http, limit: DOCUMENT_LIMIT };
            match fetch.get(wanted).await {
                Ok(document) => return self.read(&issuer, url, &document),
                Err(error) if error.is_absent() => absent = absent.or(Some(error)),
                Err(error) => return Err(error.into()),
            }
        }
        Err(absent.map_or_else(|| DiscoveryError::Issuer(self.issuer.to_owned()), DiscoveryError::Nowhere))
    }

    fn issuer_url(&self) -> Result<Url, DiscoveryError> {
        let url = Url::parse(self.issuer).ok();
        let url = url.filter(|url| url.query().is_none() && url.fragment().is_none() && url.has_host());
        url.ok_or_else(|| DiscoveryError::Issuer(self.issuer.to_owned()))
    }

    fn read(&self, issuer: &Url, url: Url, document: &[u8]) -> Result<Metadata, DiscoveryError> {
        let url = Box::new(url);
        let metadata = match json::object(document) {
            Ok(metadata) => metadata,
            Err(source) => return Err(DiscoveryError::Json { url, source }),
        };
        match metadata.get("issuer") {
            Some(Value::String(named)) if named == self.issuer => {}
            other => {
                let named =
                    other.map_or_else(|| "nobody".to_owned(), |named| named.to_string().chars().take(200).collect());
                return Err(DiscoveryError::OtherIssuer { url, named, wanted: self.issuer.to_owned() });
            }
        }
        Ok(self.told(issuer, &metadata))
    }

    fn told(&self, issuer: &Url, metadata: &Claims) -> Metadata {
        // A provider elsewhere must not point us at plain services of this machine.
        let may_be_plain = self.allow_http || (issuer.scheme() == "http" && is_loopback(issuer));
        let is_good = |address: &Url| match address.scheme() {
            "https" => true,
            "http" => may_be_plain && (self.allow_http || is_loopback(address)),
            _ => false,
        };
        let address = |members: &Claims, name: &str| {
            let text = members.get(name).and_then(Value::as_str)?;
            Url::parse(text).ok().filter(|url| is_good(url) && url.has_host() && url.fragment().is_none())
        };
        let endpoints = |members: &Claims| Endpoints {
            authorization: address(members, "authorization_endpoint"),
            token: address(members, "token_endpoint"),
            introspection: address(members, "introspection_endpoint"),
            revocation: address(members, "revocation_endpoint"),
            userinfo: address(members, "userinfo_endpoint"),
            end_session: address(members, "end_session_endpoint"),
            par: address(members, "pushed_authorization_request_endpoint"),
        };
        let everybodys = endpoints(metadata);
        let aliases = metadata.get("mtls_endpoint_aliases").and_then(Value::as_object).map(endpoints);
        let flag = |name: &str| metadata.get(name) == Some(&Value::Bool(true));
        let challenges = metadata.get("code_challenge_methods_supported").and_then(Value::as_array);
        Metadata {
            jwks: address(metadata, "jwks_uri"),
            mtls_endpoints: aliases.map_or_else(|| everybodys.clone(), |aliases| aliases.or(&everybodys)),
            endpoints: everybodys,
            names_itself_in_answers: flag("authorization_response_iss_parameter_supported"),
            requires_par: flag("require_pushed_authorization_requests"),
            requires_signed_requests: flag("require_signed_request_object"),
            takes_s256: challenges.map(|methods| methods.iter().any(|method| method == "S256")),
        }
    }
}

/// OpenID Connect Discovery 4 appends; RFC 8414 section 3.1 inserts before the path; some providers append that, too.
fn well_known(issuer: &Url) -> Vec<Url> {
    let path = issuer.path().trim_end_matches('/');
    let mut paths = vec![
        format!("{path}/.well-known/openid-configuration"),
        format!("/.well-known/oauth-authorization-server{path}"),
        format!("{path}/.well-known/oauth-authorization-server"),
    ];
    paths.dedup();
    let at = |path: &String| {
        let mut url = issuer.clone();
        url.set_path(path);
        url
    };
    paths.iter().map(at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn well_known_addresses_follow_both_specifications() {
        let of = |issuer: &str| well_known(&Url::parse(issuer).unwrap()).iter().map(Url::to_string).collect::<Vec<_>>();
        assert_eq!(
            of("https://id.example/realms/corp"),
            [
                "https://id.example/realms/corp/.well-known/openid-configuration",
                "https://id.example/.well-known/oauth-authorization-server/realms/corp",
                "https://id.example/realms/corp/.well-known/oauth-authorization-server",
            ]
        );
        let plain = [
            "https://id.example/.well-known/openid-configuration",
            "https://id.example/.well-known/oauth-authorization-server",
        ];
        assert_eq!(of("https://id.example"), plain);
        assert_eq!(of("https://id.example/"), plain);
    }

    fn read(issuer: &str, allow_http: bool, document: &str) -> Result<Metadata, DiscoveryError> {
        let discovery = Discovery { issuer, tls: None, allow_http };
        let url = discovery.issuer_url()?;
        discovery.read(&url, url.clone(), document.as_bytes())
    }

    #[test]
    fn metadata_of_another_issuer_is_refused() {
        let document = |issuer: &str| format!(r#"{{"issuer":"{issuer}","jwks_uri":"https://id.example/keys"}}"#);
        let ours = "https://id.example/a";
        assert_eq!(read(ours, false, &document(ours)).unwrap().jwks.unwrap().as_str(), "https://id.example/keys");
        for other in
            ["https://id.example/a/", "https://ID.example/a", "https://id.example/b", "http://id.example/a", ""]
        {
            assert!(matches!(read(ours, false, &document(other)), Err(DiscoveryError::OtherIssuer { .. })), "{other}");
        }
        for broken in ["{}", r#"{"issuer":["https://id.example/a"]}"#, "<html>", "[]"] {
            assert!(read(ours, false, broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn keys_are_fetched_over_https_or_on_this_machine() {
        let keys = |issuer: &str, allow_http, keys: &str| {
            let document = format!(r#"{{"issuer":"{issuer}","jwks_uri":"{keys}","token_endpoint":"{keys}"}}"#);
            let told = read(issuer, allow_http, &document).unwrap();
            assert_eq!(told.jwks, told.endpoints.token, "endpoints are held to the rule of keys");
            told.jwks.is_some()
        };
        assert!(keys("https://id.example", false, "https://elsewhere.example/keys"));
        assert!(keys("http://127.0.0.1:9", false, "http://127.0.0.1:9/keys"));
        assert!(keys("http://localhost:9", false, "http://[::1]:9/keys"));
        assert!(keys("http://id.internal", true, "http://id.internal/keys"));
        assert!(!keys("https://id.example", false, "http://id.example/keys"));
        assert!(!keys("https://id.example", false, "http://127.0.0.1/keys"));
        assert!(!keys("http://127.0.0.1:9", false, "http://id.example/keys"));
        assert!(!keys("https://id.example", false, "file:///etc/passwd"));
        assert!(!keys("https://id.example", false, "keys"));
    }

    #[test]
    fn what_is_configured_wins_over_what_is_discovered() {
        let at = |text: &str| Some(Url::parse(text).unwrap());
        let told = read(
            "https://id.example",
            false,
            r#"{"issuer":"https://id.example","token_endpoint":"https://id.example/t",
                "introspection_endpoint":"https://id.example/i","code_challenge_methods_supported":["plain"]}"#,
        )
        .unwrap();
        let ours = Endpoints { introspection: at("https://id.example/ours"), ..Endpoints::default() };
        let both = ours.or(&told.endpoints);
        assert_eq!((both.introspection, both.token), (ours.introspection, at("https://id.example/t")));
        assert_eq!((told.takes_s256, told.names_itself_in_answers, told.requires_par), (Some(false), false, false));
    }

    #[test]
    fn an_issuer_is_a_url_without_query() {
        for issuer in ["corp", "https://id.example/?a", "https://id.example/#a", "mailto:a@b"] {
            assert!(matches!(read(issuer, false, "{}"), Err(DiscoveryError::Issuer(_))), "{issuer}");
        }
    }
}
