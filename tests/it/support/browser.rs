//! A scripted browser: keeps cookies as RFC 6265bis says (prefixes, `Secure`, `SameSite`, host-only), follows links,
//! redirects and the ways in which our pages go on by themselves, fills in forms, and says where a request comes from
//! (`Origin`, `Sec-Fetch-*`) as browsers do. It runs no script.
//!
//! Host names are made up: where a name leads is told with [`Browser::knows`]. A site with `https` is reached through plain
//! TCP there, as behind a load balancer that ends TLS; to the browser it is https all the same.

use std::collections::HashMap;
use std::net::SocketAddr;

use regex::Regex;
use url::{Url, form_urlencoded};

use super::raw::{self, Answer};

/// More redirects than any sign-in has.
const MOST_HOPS: usize = 20;

/// By this our page is known that posts the fragment of its address.
const POSTS_FRAGMENT: &str = "new URLSearchParams(answer)";

/// What caused a request.
#[derive(Clone, Debug)]
enum Cause {
    /// The address bar or a bookmark.
    Person,
    /// A link or a form of this page, which navigates.
    Page(Url),
    /// A script of this page.
    Script(Url),
    /// A frame in this page.
    Frame(Url),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    pub name: String,
    pub value: String,
    domain: String,
    host_only: bool,
    path: String,
    secure: bool,
    pub http_only: bool,
    pub same_site: String,
}

/// One request and its answer.
#[derive(Clone, Debug)]
pub struct Hop {
    pub method: String,
    pub url: Url,
    pub answer: Answer,
}

/// What the browser shows at the end, and how it came there.
#[derive(Clone, Debug)]
pub struct Page {
    pub url: Url,
    pub status: u16,
    pub answer: Answer,
    pub hops: Vec<Hop>,
}

impl Page {
    pub fn text(&self) -> String {
        self.answer.text()
    }

    /// The last request before this page whose address has this path.
    pub fn hop(&self, path: &str) -> &Hop {
        let found = self.hops.iter().rev().find(|hop| hop.url.path() == path);
        found.unwrap_or_else(|| panic!("no hop over {path}: {:?}", self.trail()))
    }

    pub fn trail(&self) -> Vec<String> {
        self.hops.iter().map(|hop| format!("{} {} {}", hop.method, hop.url, hop.answer.status)).collect()
    }

    /// The address of the link with this text.
    pub fn link(&self, text: &str) -> String {
        let links = Regex::new(r#"(?s)<a[^>]*href="([^"]*)"[^>]*>(.*?)</a>"#).unwrap();
        let html = self.text();
        let found = links.captures_iter(&html).find(|link| link[2].contains(text));
        unescape(&found.unwrap_or_else(|| panic!("no link {text:?} in {html}"))[1])
    }

    /// The forms of the page.
    fn forms(&self) -> Vec<WrittenForm> {
        let forms = Regex::new(r"(?s)<form([^>]*)>(.*?)</form>").unwrap();
        let inputs = Regex::new(r"<(?:input|button)([^>]*)>").unwrap();
        let of = |attributes: &str, name: &str| {
            let attribute = Regex::new(&format!(r#"\b{name}="([^"]*)""#)).unwrap();
            attribute.captures(attributes).map(|found| unescape(&found[1]))
        };
        let html = self.text();
        let form = |form: regex::Captures<'_>| WrittenForm {
            method: of(&form[1], "method").unwrap_or_else(|| "get".to_owned()).to_ascii_uppercase(),
            action: of(&form[1], "action").unwrap_or_default(),
            fields: inputs
                .captures_iter(&form[2])
                .filter(|input| !input[0].starts_with("<button"))
                .filter_map(|input| Some((of(&input[1], "name")?, of(&input[1], "value").unwrap_or_default())))
                .collect(),
        };
        forms.captures_iter(&html).map(form).collect()
    }
}

struct WrittenForm {
    method: String,
    action: String,
    fields: Vec<(String, String)>,
}

fn unescape(text: &str) -> String {
    text.replace("&quot;", "\"").replace("&#39;", "'").replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
}

/// See the module. A clone is another profile with the same cookies.
#[derive(Clone, Debug, Default)]
pub struct Browser {
    jar: Vec<Cookie>,
    known: HashMap<String, SocketAddr>,
    /// Further header lines of every request, each ended by CR LF.
    pub lines: String,
    /// Redirects to this path are not followed, and forms not sent there unless somebody does.
    stop_at: Option<String>,
}

impl Browser {
    /// Where this origin (`https://shop.test`) is.
    #[must_use]
    pub fn knows(mut self, origin: &str, address: SocketAddr) -> Self {
        self.known.insert(origin.to_owned(), address);
        self
    }

    pub fn cookies(&self) -> &[Cookie] {
        &self.jar
    }

    pub fn cookie(&self, name: &str) -> Option<&Cookie> {
        self.jar.iter().find(|cookie| cookie.name == name)
    }

    /// Changes cookies by hand, as somebody with developer tools does.
    pub fn jar(&mut self) -> &mut Vec<Cookie> {
        &mut self.jar
    }

    /// Types an address.
    pub async fn open(&mut self, address: &str) -> Page {
        let url = Url::parse(address).expect("an absolute address");
        self.navigate("GET", url, None, Cause::Person).await
    }

    /// Follows a link of a page.
    pub async fn follow(&mut self, page: &Page, href: &str) -> Page {
        let url = page.url.join(href).expect("an address");
        self.navigate("GET", url, None, Cause::Page(page.url.clone())).await
    }

    /// Follows a link, or submits a form, on a page of this other origin.
    pub async fn lured(&mut self, from: &str, method: &str, address: &str, body: Option<&str>) -> Page {
        let url = Url::parse(address).expect("an absolute address");
        self.navigate(method, url, body.map(str::to_owned), Cause::Page(Url::parse(from).expect("an origin"))).await
    }

    /// Fills in a form of a page and submits it; what is not among its fields is added, as a button does.
    pub async fn submit(&mut self, page: &Page, fields: &[(&str, &str)]) -> Page {
        let mut forms = page.forms();
        assert!(!forms.is_empty(), "a form on {}: {}", page.url, page.text());
        let form = forms.remove(0);
        let mut pairs = form.fields;
        for (name, value) in fields {
            match pairs.iter_mut().find(|(known, _)| known == name) {
                Some(pair) => (*value).clone_into(&mut pair.1),
                None => pairs.push(((*name).to_owned(), (*value).to_owned())),
            }
        }
        let url = page.url.join(&form.action).expect("an address");
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        self.navigate(&form.method, url, Some(body), Cause::Page(page.url.clone())).await
    }

    /// A request of a script on `page`; redirects are not followed.
    pub async fn fetch(&mut self, page: &str, method: &str, address: &str) -> Hop {
        let (page, url) = (Url::parse(page).expect("an address"), Url::parse(address).expect("an address"));
        self.request(method, &url, None, &Cause::Script(page), &[]).await
    }

    /// Loads an address in a frame of a page.
    pub async fn frame(&mut self, page: &str, address: &str) -> Hop {
        let (page, url) = (Url::parse(page).expect("an address"), Url::parse(address).expect("an address"));
        self.request("GET", &url, None, &Cause::Frame(page), &[]).await
    }

    /// One navigation without following where it leads.
    pub async fn step(&mut self, address: &str) -> Hop {
        let url = Url::parse(address).expect("an absolute address");
        self.request("GET", &url, None, &Cause::Person, &[]).await
    }

    /// Opens an address of a site that needs a sign-in, and signs in at the development provider.
    pub async fn sign_in(&mut self, address: &str, name: &str, password: &str) -> Page {
        let asked = self.open(address).await;
        self.sign_in_at(&asked, name, password).await
    }

    /// Signs in on the provider's page.
    pub async fn sign_in_at(&mut self, asked: &Page, name: &str, password: &str) -> Page {
        assert!(asked.text().contains("name=\"password\""), "a page to sign in: {:?}\n{}", asked.trail(), asked.text());
        self.submit(asked, &[("username", name), ("password", password)]).await
    }

    /// The same, up to the redirect to `path`, which is not followed. Goes out: its address.
    pub async fn sign_in_at_until(&mut self, asked: &Page, name: &str, password: &str, path: &str) -> String {
        self.stop_at = Some(path.to_owned());
        let page = self.sign_in_at(asked, name, password).await;
        self.stop_at = None;
        let to = page.answer.value("location").unwrap_or_else(|| panic!("a redirect to {path}: {:?}", page.trail()));
        page.url.join(to).expect("an address").into()
    }

    /// The same, up to the page that would post itself to `path`. Goes out: what it would post.
    pub async fn sign_in_at_until_form(
        &mut self,
        asked: &Page,
        name: &str,
        password: &str,
        path: &str,
    ) -> Vec<(String, String)> {
        self.stop_at = Some(path.to_owned());
        let page = self.sign_in_at(asked, name, password).await;
        self.stop_at = None;
        let mut forms = page.forms();
        assert!(!forms.is_empty(), "a form for {path}: {:?}\n{}", page.trail(), page.text());
        forms.remove(0).fields
    }

    /// Sends these fields as the form of a page of this origin, with whatever a browser says of it.
    pub async fn post_from(&mut self, from: &str, address: &str, fields: &[(String, String)]) -> Page {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.lured(from, "POST", address, Some(&body)).await
    }

    async fn navigate(&mut self, method: &str, url: Url, body: Option<String>, cause: Cause) -> Page {
        let (mut method, mut url, mut body, mut cause) = (method.to_owned(), url, body, cause);
        let mut hops: Vec<Hop> = Vec::new();
        // The addresses that this navigation was redirected over.
        let mut chain: Vec<Url> = Vec::new();
        let refresh = Regex::new(r#"http-equiv="refresh" content="0;url=([^"]*)""#).unwrap();
        loop {
            assert!(
                hops.len() < MOST_HOPS,
                "it goes round: {:#?}",
                hops.iter().map(|hop| hop.url.as_str()).collect::<Vec<_>>()
            );
            let hop = self.request(&method, &url, body.as_deref(), &cause, &chain).await;
            hops.push(hop.clone());
            let location = hop.answer.value("location").map(|to| url.join(to).expect("a location"));
            let location = location.filter(|to| self.stop_at.as_deref() != Some(to.path()));
            if let (Some(to), 300..=399) = (location, hop.answer.status) {
                chain.push(url.clone());
                if hop.answer.status == 303 || (hop.answer.status == 302 && method == "POST") {
                    (method, body) = ("GET".to_owned(), None);
                }
                url = to;
                continue;
            }
            let page = Page { url: url.clone(), status: hop.answer.status, answer: hop.answer, hops: hops.clone() };
            let html = page.text();
            let posts_itself = html.contains("document.forms[0].submit()") || html.contains(POSTS_FRAGMENT);
            if posts_itself {
                let mut form = page.forms().remove(0);
                let to = url.join(&form.action).expect("an address");
                if self.stop_at.as_deref() == Some(to.path()) {
                    return page;
                }
                if html.contains(POSTS_FRAGMENT) {
                    let answer = url.fragment().unwrap_or_default();
                    form.fields.extend(form_urlencoded::parse(answer.as_bytes()).into_owned());
                }
                body = Some(form_urlencoded::Serializer::new(String::new()).extend_pairs(form.fields).finish());
                (method, url) = (form.method, to);
            } else if let Some(found) = refresh.captures(&html) {
                (method, body, url) = ("GET".to_owned(), None, url.join(&unescape(&found[1])).expect("an address"));
            } else {
                return page;
            }
            (cause, chain) = (Cause::Page(page.url), Vec::new());
        }
    }

    async fn request(&mut self, method: &str, url: &Url, body: Option<&str>, cause: &Cause, chain: &[Url]) -> Hop {
        let address = self.address_of(url);
        let host = url
            .port()
            .map_or_else(|| url.host_str().unwrap().to_owned(), |port| format!("{}:{port}", url.host_str().unwrap()));
        let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let (mode, dest, initiator) = match cause {
            Cause::Person => ("navigate", "document", None),
            Cause::Page(page) => ("navigate", "document", Some(page)),
            Cause::Script(page) => ("cors", "empty", Some(page)),
            Cause::Frame(page) => ("navigate", "iframe", Some(page)),
        };
        // What a person typed stays theirs, however often it is redirected (Fetch Metadata, section 2.3).
        let relation =
            initiator.and_then(|page| [page].into_iter().chain(chain).map(|other| Relation::of(other, url)).max());
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        let accept = if mode == "navigate" { "text/html,application/xhtml+xml,*/*;q=0.8" } else { "*/*" };
        head += &format!(
            "Accept: {accept}\r\nSec-Fetch-Mode: {mode}\r\nSec-Fetch-Dest: {dest}\r\nSec-Fetch-Site: {}\r\n",
            relation.map_or("none", Relation::name)
        );
        if let (Some(page), true) = (initiator, method != "GET" && method != "HEAD") {
            head += &format!("Origin: {}\r\n", page.origin().ascii_serialization());
        }
        let is_top = matches!(cause, Cause::Person | Cause::Page(_));
        let cookies = self.sent_to(url, relation == Some(Relation::CrossSite), is_top && method == "GET");
        if !cookies.is_empty() {
            head += &format!("Cookie: {cookies}\r\n");
        }
        if let Some(body) = body {
            head += &format!("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n", body.len());
        }
        head += &self.lines;
        let answer = raw::request(address, &format!("{head}\r\n{}", body.unwrap_or_default())).await;
        for field in answer.values("set-cookie") {
            self.keep(url, field);
        }
        Hop { method: method.to_owned(), url: url.clone(), answer }
    }

    fn address_of(&self, url: &Url) -> SocketAddr {
        let origin = url.origin().ascii_serialization();
        let known = self.known.get(&origin).copied();
        known.unwrap_or_else(|| {
            let host = url.host_str().unwrap_or_default();
            assert!(url.scheme() == "http" && host == "127.0.0.1", "nobody knows where {origin} is");
            SocketAddr::from(([127, 0, 0, 1], url.port().unwrap_or(80)))
        })
    }

    /// RFC 6265bis section 5.8.3.
    fn sent_to(&self, url: &Url, cross_site: bool, is_safe_top_level: bool) -> String {
        let host = url.host_str().unwrap_or_default();
        let fits = |cookie: &&Cookie| {
            let domain = cookie.domain == host || (!cookie.host_only && host.ends_with(&format!(".{}", cookie.domain)));
            let path = url.path().starts_with(&cookie.path);
            let may_cross = match cookie.same_site.as_str() {
                "None" => true,
                "Strict" => !cross_site,
                _ => !cross_site || is_safe_top_level,
            };
            domain && path && may_cross && (!cookie.secure || url.scheme() == "https")
        };
        self.jar
            .iter()
            .filter(fits)
            .map(|cookie| format!("{}={}", cookie.name, cookie.value))
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// RFC 6265bis section 5.7.
    fn keep(&mut self, url: &Url, field: &str) {
        let host = url.host_str().unwrap_or_default();
        let mut parts = field.split(';').map(str::trim);
        let (name, value) = parts.next().unwrap_or_default().split_once('=').unwrap_or_default();
        let mut cookie = Cookie {
            name: name.to_owned(),
            value: value.to_owned(),
            domain: host.to_owned(),
            host_only: true,
            path: "/".to_owned(),
            secure: false,
            http_only: false,
            same_site: "Lax".to_owned(),
        };
        let mut is_over = false;
        for part in parts {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            match key.to_ascii_lowercase().as_str() {
                "domain" => (cookie.domain, cookie.host_only) = (value.trim_start_matches('.').to_owned(), false),
                "path" => value.clone_into(&mut cookie.path),
                "secure" => cookie.secure = true,
                "httponly" => cookie.http_only = true,
                "samesite" => value.clone_into(&mut cookie.same_site),
                "max-age" => is_over = value.parse::<i64>().is_ok_and(|seconds| seconds <= 0),
                _ => {}
            }
        }
        let domain_fits = cookie.host_only || host == cookie.domain || host.ends_with(&format!(".{}", cookie.domain));
        let host_prefix = !name.starts_with("__Host-") || (cookie.secure && cookie.host_only && cookie.path == "/");
        let secure_prefix = !name.starts_with("__Secure-") || cookie.secure;
        let secure_origin = !cookie.secure || url.scheme() == "https";
        let none_is_secure = cookie.same_site != "None" || cookie.secure;
        let refused = !(domain_fits && host_prefix && secure_prefix && secure_origin && none_is_secure);
        assert!(!refused, "a browser would not keep this cookie from {url}: {field}");
        assert!(name.len() + value.len() <= 4096, "a browser would not keep a cookie of this size: {name}");
        self.jar
            .retain(|known| (&known.name, &known.domain, &known.path) != (&cookie.name, &cookie.domain, &cookie.path));
        if !is_over {
            self.jar.push(cookie);
        }
    }
}

/// How near two addresses are, the farthest last. The site of a made-up name is its last two labels, of an address the
/// whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Relation {
    SameOrigin,
    SameSite,
    CrossSite,
}

impl Relation {
    fn of(from: &Url, to: &Url) -> Self {
        let site = |url: &Url| {
            let host = url.host_str().unwrap_or_default();
            let labels: Vec<&str> = host.rsplit('.').take(2).collect();
            (url.scheme().to_owned(), if url.domain().is_some() { labels.join(".") } else { host.to_owned() })
        };
        match from.origin() == to.origin() {
            true => Self::SameOrigin,
            false if site(from) == site(to) => Self::SameSite,
            false => Self::CrossSite,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::SameOrigin => "same-origin",
            Self::SameSite => "same-site",
            Self::CrossSite => "cross-site",
        }
    }
}
