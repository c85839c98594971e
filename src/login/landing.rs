//! Where a browser is sent after a sign-in or a sign-out. Comes in: an address that somebody wrote into a link. Goes out: a
//! [`Landing`], which is on the site itself or on an allowed address, or nothing. There is no other way to make one.
//!
//! Browsers, proxies and applications read odd addresses differently, and every difference was once an open redirect. So an
//! address on the site must be a target that the gateway itself would serve (one reading, see `wire::path`), and an address
//! elsewhere must be written exactly as the URL standard writes it.

use url::Url;

use crate::wire::path::NormalPath;

/// The longest address that is looked at. Bytes.
const LONGEST: usize = 2048;

/// An address that browsers may be sent to: a path on the site, or an absolute address that was allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landing(Box<str>);

impl Landing {
    /// The site's first page.
    pub fn home() -> Self {
        Self("/".into())
    }

    /// A target on the site that this gateway was just asked for, or has in its configuration.
    pub fn at(target: &NormalPath) -> Self {
        let text = target.target().as_str();
        if text.len() > LONGEST { Self::home() } else { Self(text.into()) }
    }

    /// For the `Location` field. On the site itself it has no host: whatever the request said of its own can't matter.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The addresses that a site sends browsers to.
#[derive(Clone, Debug)]
pub struct Landings {
    site: Url,
    allowed: Vec<Allowed>,
}

/// An entry of `allowed_redirects`: an address, or `/**` at its end for all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Scheme, host and port, as the URL standard writes them.
    origin: Box<str>,
    /// Normalised; without a slash at its end where all below it is allowed.
    path: Box<str>,
    below: bool,
}

/// Why text is no entry of `allowed_redirects`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllowedError {
    #[error("not an https (or http) address, written plainly: scheme, host, path")]
    Address,
    #[error("`*` stands only as `/**` at the end")]
    Wildcard,
    #[error("a query or fragment is of no use here: those of the landing address are not looked at")]
    Query,
}

impl Allowed {
    /// # Errors
    /// [`AllowedError`] for what is no plain address.
    pub fn parse(text: &str) -> Result<Self, AllowedError> {
        let (base, below) = match text.strip_suffix("/**") {
            Some(base) => (base, true),
            None => (text, false),
        };
        if base.contains('*') {
            return Err(AllowedError::Wildcard);
        }
        if base.contains(['?', '#']) {
            return Err(AllowedError::Query);
        }
        let url = plainly_written(base).ok_or(AllowedError::Address)?;
        let path = NormalPath::parse(url.path()).ok().filter(|path| !path.has_encoded_slash());
        let path = path.ok_or(AllowedError::Address)?;
        let path = if below { path.as_str().trim_end_matches('/') } else { path.as_str() };
        Ok(Self { origin: url.origin().ascii_serialization().into(), path: path.into(), below })
    }

    fn takes(&self, origin: &str, path: &str) -> bool {
        let fits = match path.strip_prefix(&*self.path) {
            Some(rest) => rest.is_empty() || (self.below && rest.starts_with('/')),
            None => false,
        };
        *self.origin == *origin && fits
    }
}

impl Landings {
    /// `site` is the site's own origin.
    pub fn new(site: Url, allowed: Vec<Allowed>) -> Self {
        Self { site, allowed }
    }

    /// The address that `wanted` means, if browsers may be sent there.
    pub fn find(&self, wanted: &str) -> Option<Landing> {
        if wanted.len() > LONGEST || !wanted.bytes().all(|byte| byte.is_ascii_graphic()) || wanted.contains('\\') {
            return None;
        }
        if wanted.starts_with('/') { self.on_site(wanted) } else { self.elsewhere(wanted) }
    }

    /// The address that `wanted` means, or the site's first page.
    pub fn find_or_home(&self, wanted: Option<&str>) -> Landing {
        wanted.and_then(|wanted| self.find(wanted)).unwrap_or_else(Landing::home)
    }

    fn on_site(&self, wanted: &str) -> Option<Landing> {
        let (target, fragment) = match wanted.split_once('#') {
            Some((target, fragment)) => (target, Some(fragment)),
            None => (wanted, None),
        };
        let path = NormalPath::parse(target).ok()?;
        // Whatever the route says of `%2f`: an application that decodes it could be led to another host.
        if path.has_encoded_slash() || !is_harmless(path.as_str()) {
            return None;
        }
        let text = match fragment {
            None => path.target().as_str().to_owned(),
            Some(fragment) => format!("{}#{fragment}", path.target()),
        };
        // The last word is a browser's: read as it reads, the address must stay on the site.
        let read = self.site.join(&text).ok()?;
        (read.origin() == self.site.origin()).then(|| Landing(text.into()))
    }

    fn elsewhere(&self, wanted: &str) -> Option<Landing> {
        let url = plainly_written(wanted)?;
        let path = NormalPath::parse(url.path()).ok().filter(|path| path.as_str() == url.path())?;
        if path.has_encoded_slash() {
            return None;
        }
        let origin = url.origin().ascii_serialization();
        if url.origin() == self.site.origin() {
            let rest = wanted.get(origin.len()..)?;
            return self.on_site(if rest.is_empty() { "/" } else { rest });
        }
        let may = self.allowed.iter().any(|allowed| allowed.takes(&origin, path.as_str()));
        may.then(|| Landing(url.as_str().into()))
    }
}

/// An address that means to every reader what it means to the URL standard: it is written as that would write it, with
/// neither user name nor password.
fn plainly_written(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let is_web = matches!(url.scheme(), "https" | "http") && url.has_host();
    let is_plain = url.as_str() == text || url.as_str().strip_suffix('/') == Some(text);
    (is_web && is_plain && url.username().is_empty() && url.password().is_none()).then_some(url)
}

/// Escaped white space and controls at the start of a segment are how addresses hide their second slash.
fn is_harmless(path: &str) -> bool {
    let decoded: Vec<u8> = percent_encoding::percent_decode(path.as_bytes()).collect();
    let no_control = decoded.iter().all(|byte| *byte >= b' ' && *byte != 0x7f);
    let leads = decoded.get(1).is_none_or(|first| *first != b' ' && *first != b'/');
    no_control && leads && std::str::from_utf8(&decoded).is_ok_and(|text| !text.chars().any(is_odd_space))
}

/// Spaces and marks that some readers drop.
fn is_odd_space(c: char) -> bool {
    (c.is_whitespace() && c != ' ')
        || matches!(c, '\u{ad}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn landings() -> Landings {
        let allowed = ["https://docs.example.com/**", "https://www.example.com/bye", "http://127.0.0.1:9000/a/**"];
        let allowed = allowed.iter().map(|text| Allowed::parse(text).unwrap()).collect();
        Landings::new(Url::parse("https://shop.example.com").unwrap(), allowed)
    }

    fn found(wanted: &str) -> Option<String> {
        landings().find(wanted).map(|landing| landing.as_str().to_owned())
    }

    #[test]
    fn the_site_itself_and_what_is_allowed_are_found() {
        for (wanted, address) in [
            ("/", "/"),
            ("/cart", "/cart"),
            ("/cart?item=1&back=//evil.example", "/cart?item=1&back=//evil.example"),
            ("/my%20file.pdf", "/my%20file.pdf"),
            ("/app#/orders/7", "/app#/orders/7"),
            ("/a/../b", "/b"),
            ("/caf%C3%A9", "/caf%C3%A9"),
            ("/@user", "/@user"),
            ("https://shop.example.com", "/"),
            ("https://shop.example.com/cart?a=b", "/cart?a=b"),
            ("https://docs.example.com/", "https://docs.example.com/"),
            ("https://docs.example.com", "https://docs.example.com/"),
            ("https://docs.example.com/a/b?c#d", "https://docs.example.com/a/b?c#d"),
            ("https://www.example.com/bye", "https://www.example.com/bye"),
            ("https://www.example.com/bye?x=1", "https://www.example.com/bye?x=1"),
            ("http://127.0.0.1:9000/a", "http://127.0.0.1:9000/a"),
        ] {
            assert_eq!(found(wanted).as_deref(), Some(address), "{wanted}");
        }
    }

    #[test]
    fn what_is_almost_allowed_is_not() {
        for wanted in [
            "https://www.example.com/bye/more",
            "https://www.example.com/",
            "https://www.example.com/byebye",
            "http://docs.example.com/",
            "https://docs.example.com:8443/",
            "https://docs.example.com.evil.example/",
            "https://docs.example.com@evil.example/",
            "https://docs.example.com:443@evil.example/",
            "https://DOCS.example.com/",
            "https:docs.example.com/",
            "https:/docs.example.com/",
            "https:///docs.example.com/",
            "https://docs.example.com/a/%2e%2e/b",
            "https://docs.example.com/a%2fb",
            "https://docs.example.com/a\\b",
            "http://127.0.0.1:9000/ab",
            "http://127.1:9000/a",
            "http://2130706433:9000/a",
            "http://127.0.0.1:9000/a/../b",
            "http://shop.example.com/",
            "https://shop.example.com:444/",
            "https://shop.example.com//evil.example",
        ] {
            assert_eq!(found(wanted), None, "{wanted}");
        }
    }

    #[test]
    fn an_address_beyond_the_limit_is_not_looked_at() {
        assert!(found(&format!("/{}", "a".repeat(LONGEST - 1))).is_some());
        assert_eq!(found(&format!("/{}", "a".repeat(LONGEST))), None);
    }

    #[test]
    fn an_entry_is_a_plain_address() {
        for (text, error) in [
            ("docs.example.com/**", AllowedError::Address),
            ("ftp://docs.example.com/**", AllowedError::Address),
            ("https://user@docs.example.com/**", AllowedError::Address),
            ("https://docs.example.com/a%2fb", AllowedError::Address),
            ("https://*.example.com/**", AllowedError::Wildcard),
            ("https://docs.example.com/*", AllowedError::Wildcard),
            ("https://docs.example.com/**/x", AllowedError::Wildcard),
            ("https://docs.example.com/?a", AllowedError::Query),
            ("https://docs.example.com/#a", AllowedError::Query),
        ] {
            assert_eq!(Allowed::parse(text).err(), Some(error), "{text}");
        }
    }

    /// The list is shared with the black-box tests, which follow every one of them through a whole sign-in.
    #[test]
    fn no_open_redirect_of_the_list_leaves_the_site() {
        let list: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/corpus/open_redirects.json")).unwrap();
        let payloads: Vec<&str> =
            list["payloads"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
        assert!(payloads.len() >= 400, "{}", payloads.len());
        let site = Url::parse("https://shop.example.com").unwrap();
        let alone = Landings::new(site.clone(), Vec::new());
        for payload in payloads {
            if let Some(landing) = alone.find(payload) {
                let read = site.join(landing.as_str()).unwrap();
                assert_eq!(read.origin(), site.origin(), "{payload:?} led to {read}");
                assert!(landing.as_str().starts_with('/') && !landing.as_str().starts_with("//"), "{payload:?}");
            }
            if let Some(landing) = landings().find(payload) {
                let read = site.join(landing.as_str()).unwrap();
                let hosts = ["shop.example.com", "docs.example.com", "www.example.com"];
                assert!(hosts.contains(&read.host_str().unwrap()), "{payload:?} led to {read}");
            }
        }
    }
}
