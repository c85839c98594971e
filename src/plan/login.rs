//! What a site says of signing in and out, checked and built: where people may land, how the pages look, who Postern is to
//! the providers. Cookies and sessions are `sites`' business.

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use url::Url;

use super::compile::{CompileError, Wiring, client_identity};
use super::findings::Findings;
use super::patterns::{PathPattern, PathSegment};
use super::router::{HostPattern, Methods, Router, Segment};
use super::running::{DoorPlan, Target};
use super::settings::{Checked, ClientSettings, CookieSettings, SessionStore, SiteSettings};
use crate::authn::{AllowedPath, CrossSite};
use crate::config::ValuePath;
use crate::config::client::{Par, Pkce, RequestObject};
use crate::config::session::Store;
use crate::config::site::{Authorize, BackChannelLogout, Pages, SameSite};
use crate::config::values::ByteSize;
use crate::idp::authorize::Wishes;
use crate::idp::{self, ClientKey, Issuer, Registration, RegistrationSettings};
use crate::kv::{Kv, MemoryKv, MemoryKvLimits};
use crate::login::{self, Allowed, Brand, DOORS, Forms, Landing, Landings, Site};
use crate::session::index::Ended;

use crate::session::store::Kept;
use crate::session::{self, Sessions, SessionsSettings};
use crate::wire::cookies::{self, CookieScope};

/// A style sheet or a logo stands in every page: no larger than this. Bytes.
const LARGEST_FILE: u64 = 64 * 1024;

/// `allowed_redirects`, and `after_sign_out`, which must be the site's own or one of those.
pub(super) fn landings(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    site: &Url,
    (allowed, after_sign_out): (&[String], Option<&str>),
) -> Option<(Vec<Allowed>, Option<Landing>)> {
    let mut good = Vec::new();
    for (index, text) in allowed.iter().enumerate() {
        match Allowed::parse(text) {
            Ok(entry) => good.push(entry),
            Err(error) => {
                let hint = "`https://docs.example.com/**`, or one page of it";
                findings.error_with(&at.key("allowed_redirects").index(index), error.to_string(), hint);
            }
        }
    }
    let all_good = good.len() == allowed.len();
    let Some(text) = after_sign_out else { return all_good.then_some((good, None)) };
    let landing = Landings::new(site.clone(), good.clone()).find(text);
    if landing.is_none() && all_good {
        let message = format!("`{text}` is neither a path of the site nor among `allowed_redirects`");
        findings.error_with(&at.key("after_sign_out"), message, "`/bye`, or allow the address");
    }
    landing.filter(|_| all_good).map(|landing| (good, Some(landing)))
}

/// The looks of a site's pages. The files are read here: pages hold them, and load nothing.
pub(super) fn brand(findings: &mut Findings<'_>, at: &ValuePath, site: &str, written: &Pages) -> Option<Brand> {
    let css = match &written.css {
        None => Some(None),
        Some(path) => css(findings, &at.key("css"), path).map(Some),
    };
    let logo = match &written.logo {
        None => Some(None),
        Some(path) => logo(findings, &at.key("logo"), path).map(Some),
    };
    Some(Brand { name: written.name.as_deref().unwrap_or(site).into(), css: css?, logo: logo? })
}

fn css(findings: &mut Findings<'_>, at: &ValuePath, path: &Path) -> Option<Box<str>> {
    let text = String::from_utf8(read(findings, at, path)?).ok();
    // What would end the element that the sheet stands in. A sheet needs no such text.
    let text = text.filter(|text| !text.contains("</"));
    if text.is_none() {
        findings.error(at, format!("{} is no style sheet that can stand in a page", path.display()));
    }
    text.map(Into::into)
}

fn logo(findings: &mut Findings<'_>, at: &ValuePath, path: &Path) -> Option<Box<str>> {
    let media_type = match path.extension().and_then(|extension| extension.to_str()) {
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        _ => {
            findings.error_with(at, format!("{} is no picture that is known here", path.display()), "an SVG or a PNG");
            return None;
        }
    };
    let bytes = read(findings, at, path)?;
    Some(format!("data:{media_type};base64,{}", STANDARD.encode(bytes)).into())
}

fn read(findings: &mut Findings<'_>, at: &ValuePath, path: &Path) -> Option<Vec<u8>> {
    let file = findings.file(path);
    let size = std::fs::metadata(&file).map(|metadata| metadata.len());
    match size.and_then(|size| if size <= LARGEST_FILE { std::fs::read(&file).map(Some) } else { Ok(None) }) {
        Ok(Some(bytes)) => return Some(bytes),
        Ok(None) => findings.error(at, format!("{} is larger than 64 KiB", file.display())),
        Err(error) => findings.error(at, format!("cannot read {}: {error}", file.display())),
    }
    None
}

/// The largest form that can be kept: it goes through memory once more, and into a page. Bytes.
const LARGEST_FORM: u64 = 256 * 1024;

/// Forms are kept where sessions are; a cookie has no room for one.
pub(super) fn preserve_post(findings: &mut Findings<'_>, at: &ValuePath, written: ByteSize) -> Option<usize> {
    let store = findings.loaded.config.sessions.store;
    if written.0 > LARGEST_FORM {
        findings.error_with(at, "more than is kept of a form", "at most 256KiB");
    } else if written.0 > 0 && store == Store::Cookie {
        let hint = "`sessions.store: memory`, or `redis`";
        findings.error_with(at, "with `sessions.store: cookie` there is no place for a form", hint);
    } else {
        return usize::try_from(written.0).ok();
    }
    None
}

/// Parameters that are passed on: plain text, as they are.
pub(super) fn authorize(findings: &mut Findings<'_>, at: &ValuePath, written: &Authorize) {
    let texts = [("prompt", &written.prompt), ("acr_values", &written.acr_values), ("ui_locales", &written.ui_locales)];
    for (key, text) in texts {
        let Some(text) = text else { continue };
        let words: Vec<&str> = text.split(' ').collect();
        if words.iter().any(|word| word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_graphic())) {
            findings.error_with(
                &at.key(key),
                format!("`{text}` is no list of words"),
                "words with a space between them",
            );
        }
        // OpenID Connect Core section 3.1.2.1.
        if key == "prompt" && words.contains(&"none") {
            let message = "with `none` nobody could ever sign in: the provider may show nothing";
            findings.error_with(&at.key(key), message, "leave it out");
        }
    }
}

/// Who Postern is to each issuer that it is registered with, in the order of `clients`.
pub(super) fn registrations(
    checked: &Checked,
    issuers: &[Arc<Issuer>],
) -> Result<Vec<Arc<Registration>>, CompileError> {
    let one = |client: &ClientSettings| {
        let dangling = || CompileError::Client { name: (*client.name).into() };
        let issuer = issuers.get(client.issuer).cloned().ok_or_else(dangling)?;
        let settings = RegistrationSettings {
            name: (*client.name).into(),
            identity: client_identity(client),
            scope: client.scopes.join(" ").into(),
            pkce: client.pkce == Pkce::Required,
            par: match client.par {
                Par::Auto => idp::Par::Auto,
                Par::Required => idp::Par::Required,
                Par::Off => idp::Par::Off,
            },
            request_object: match client.request_object {
                RequestObject::Auto => idp::RequestObject::Auto,
                RequestObject::Signed => idp::RequestObject::Signed,
                RequestObject::Off => idp::RequestObject::Off,
            },
            key: client.key.clone().map(ClientKey),
        };
        Ok(Registration::new(settings, issuer))
    };
    checked.clients.iter().map(one).collect()
}

/// What this process remembers of states and logout tokens that were used. Bytes.
const USED: MemoryKvLimits = MemoryKvLimits { entries: 500_000, bytes: 128 * 1024 * 1024 };

/// Forms that wait for a sign-in. Bytes.
const FORMS: MemoryKvLimits = MemoryKvLimits { entries: 100_000, bytes: 128 * 1024 * 1024 };

/// Sessions, or what is remembered of them, of each kind. Bytes.
const MEMORY: MemoryKvLimits = MemoryKvLimits { entries: 1_000_000, bytes: 1024 * 1024 * 1024 };

/// All sites, built: their sessions, and what signs people in to them.
pub(super) fn sites(
    checked: &Checked,
    registrations: &[Arc<Registration>],
    redis: Option<&Kv>,
    wiring: &Wiring,
) -> Result<Vec<Arc<Site>>, CompileError> {
    let stores = Stores::new(checked.sessions.store, redis, wiring);
    let dangling = |written: &SiteSettings| CompileError::Site { name: Arc::clone(&written.name) };
    let with_sessions = |written: &SiteSettings| {
        let dangling = || dangling(written);
        let keys = checked.sessions.keys.as_ref().ok_or_else(dangling)?;
        let registrations = written.sign_in.iter().map(|at| registrations.get(*at).cloned().ok_or_else(dangling));
        let settings = SessionsSettings {
            site: Arc::clone(&written.name),
            registrations: registrations.collect::<Result<_, _>>()?,
            idle: written.idle_timeout,
            absolute: written.absolute_timeout,
            cookie: written.cookie.name.clone(),
            scope: cookie_scope(&written.cookie),
            userinfo: written.userinfo,
        };
        let store = stores.of(checked.sessions.store).ok_or_else(dangling)?;
        Ok(Sessions::new(settings, keys, store, wiring.clock.clone(), wiring.control.clone()))
    };
    let all = checked.sites.iter().map(with_sessions).collect::<Result<Vec<_>, CompileError>>()?;
    let takers = checked.sites.iter().zip(&all).filter(|(site, _)| site.back_channel_logout != BackChannelLogout::Off);
    let told: Vec<_> = takers.map(|(_, sessions)| Arc::clone(sessions)).collect();
    let one = |(written, sessions): (&SiteSettings, &Arc<Sessions>)| {
        let keys = checked.sessions.keys.as_ref().ok_or_else(|| dangling(written))?;
        let settings = site(written, &checked.server.auth_prefix, sessions, told.clone());
        let forms = Forms::new(written.preserve_post, stores.forms.clone(), keys);
        Ok(Arc::new(Site::new(settings, Arc::clone(sessions), stores.used.clone(), forms, keys)))
    };
    checked.sites.iter().zip(&all).map(one).collect()
}

/// Where sessions are kept, and what is remembered of them. In this process each kind has a store of its own: of none can
/// so many be made that those of another go.
struct Stores {
    redis: Option<Kv>,
    records: Kv,
    index: Kv,
    ended: Kv,
    renewed: Kv,
    used: Kv,
    forms: Kv,
}

impl Stores {
    fn new(store: SessionStore, redis: Option<&Kv>, wiring: &Wiring) -> Self {
        let shared = |limits| redis.cloned().unwrap_or_else(|| own(limits, wiring));
        let forms = match (store, redis) {
            (SessionStore::Redis, Some(redis)) => redis.clone(),
            _ => own(FORMS, wiring),
        };
        let (records, index) = (own(MEMORY, wiring), own(MEMORY, wiring));
        let (ended, renewed) = (shared(MEMORY), shared(MEMORY));
        Self { redis: redis.cloned(), records, index, ended, renewed, used: shared(USED), forms }
    }

    fn of(&self, store: SessionStore) -> Option<session::SessionStore> {
        Some(match store {
            SessionStore::Cookie => {
                session::SessionStore::InCookie(Ended::new(self.ended.clone(), self.renewed.clone()))
            }
            SessionStore::Memory => session::SessionStore::Kept(Kept::new(self.records.clone(), self.index.clone())),
            SessionStore::Redis => {
                let redis = self.redis.clone()?;
                session::SessionStore::Kept(Kept::new(redis.clone(), redis))
            }
        })
    }
}

fn own(limits: MemoryKvLimits, wiring: &Wiring) -> Kv {
    Kv::Memory(MemoryKv::new(limits, wiring.clock.clone()))
}

fn site(written: &SiteSettings, prefix: &str, sessions: &Sessions, told: Vec<Arc<Sessions>>) -> login::SiteSettings {
    login::SiteSettings {
        name: Arc::clone(&written.name),
        url: written.url.clone(),
        prefix: prefix.into(),
        registrations: sessions.settings().registrations.clone(),
        flow: written.flow,
        mode: written.mode,
        wishes: wishes(&written.authorize),
        userinfo: written.userinfo,
        after_sign_out: written.after_sign_out.clone(),
        allowed_redirects: written.allowed_redirects.clone(),
        cookie: written.cookie.name.clone(),
        cookie_scope: cookie_scope(&written.cookie),
        takes_logout_tokens: written.back_channel_logout != BackChannelLogout::Off,
        told,
        brand: Arc::clone(&written.brand),
    }
}

fn wishes(written: &Authorize) -> Wishes {
    let text = |text: &Option<String>| text.as_deref().map(Box::from);
    Wishes {
        prompt: text(&written.prompt),
        login_hint: None,
        ui_locales: text(&written.ui_locales),
        acr_values: text(&written.acr_values),
        max_age: written.max_age.map(|period| period.0.as_secs()),
    }
}

/// What a site's sessions are not for: what other sites cause.
pub(super) fn cross_site(written: &SiteSettings) -> CrossSite {
    let path = |pattern: &PathPattern| {
        let (segments, below) = match pattern.segments() {
            [segments @ .., PathSegment::Rest] => (segments, true),
            segments => (segments, false),
        };
        let segment = |segment: &PathSegment| match segment {
            PathSegment::Literal(text) => Some(text.clone()),
            PathSegment::Param(_) | PathSegment::Rest => None,
        };
        AllowedPath { segments: segments.iter().map(segment).collect(), below }
    };
    CrossSite {
        origin: written.url.origin().ascii_serialization().into(),
        refuses: written.refuses_cross_site,
        allowed: written.cross_site_paths.iter().map(path).collect(),
    }
}

/// To whom a browser shows a site's cookies.
pub(super) fn cookie_scope(written: &CookieSettings) -> CookieScope {
    CookieScope {
        same_site: match written.same_site {
            SameSite::Strict => cookies::SameSite::Strict,
            SameSite::Lax => cookies::SameSite::Lax,
            SameSite::None => cookies::SameSite::None,
        },
        secure: written.secure,
        domain: written.domain.clone(),
    }
}

/// Puts the sites' doors into the router: each on its site's host alone.
pub(super) fn doors(sites: &[Arc<Site>], router: &mut Router<Target>, wiring: &Wiring) -> Vec<DoorPlan> {
    let mut doors = Vec::with_capacity(sites.len() * DOORS.len());
    for site in sites {
        let Some(host) = site.settings().url.host_str() else { continue };
        let host = HostPattern::Exact(host.to_ascii_lowercase().into());
        for row in DOORS {
            let path = site.path(row.door);
            let segments: Vec<Segment> =
                path.trim_start_matches('/').split('/').map(|part| Segment::Literal(part.into())).collect();
            router.insert(&host, &segments, Methods::Only(row.methods.into()), Target::Door(doors.len()));
            let name: Arc<str> = format!("{}/{}", site.settings().name, row.path).into();
            let meters = wiring.metrics.route(&name);
            doors.push(DoorPlan { site: Arc::clone(site), door: row.door, name, meters });
        }
    }
    doors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authn::{MemoryLimits, TokenMemory};
    use crate::clock::{ManualClock, Time};
    use crate::control::Control;
    use crate::kv::Key;
    use crate::telemetry::Metrics;

    #[tokio::test]
    async fn of_no_kind_can_so_many_be_made_that_another_goes() {
        let wiring = Wiring {
            clock: ManualClock::at(Time::from_seconds(1_900_000_000)).clock(),
            control: Control::current(),
            metrics: Metrics::new(),
            memory: Arc::new(TokenMemory::new(MemoryLimits::default())),
        };
        let stores = Stores::new(SessionStore::Memory, None, &wiring);
        let kinds = [&stores.records, &stores.index, &stores.ended, &stores.renewed, &stores.used, &stores.forms];
        let long = std::time::Duration::from_secs(600);
        // One mebibyte, shared: only the count of it grows.
        let large = bytes::Bytes::from(vec![0; 1024 * 1024]);
        let key = |name: &str| Key::new("kind", &[name.as_bytes()]);
        for (filled, kind) in kinds.iter().enumerate() {
            for other in kinds {
                other.put(&key("kept"), "v".into(), long).await.unwrap();
            }
            for number in 0..1100 {
                kind.put(&key(&number.to_string()), large.clone(), long).await.unwrap();
            }
            for (looked_at, other) in kinds.iter().enumerate() {
                let kept = other.get(&key("kept")).await.unwrap().is_some();
                assert_eq!(kept, looked_at != filled, "{filled} was filled, {looked_at} looked at");
            }
        }
    }
}
