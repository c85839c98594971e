//! What checking promises about sites: one origin each, cookies that browsers keep to, and keys before anything is sealed.

use super::super::{Checked, check};
use crate::config::{Environment, File, Report, Sources, ZeroFile, load};
use crate::login::{Flow, Mode};

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn checked(text: &str) -> Result<Checked, Report> {
    let environment = Environment::from_iter([
        ("KEY", KEY),
        ("OTHER", "YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmI="),
        ("SHORT", "YWJj"),
    ]);
    let file = File::Text { path: "postern.yaml".into(), text: text.to_owned() };
    let loaded = load(Sources { file, environment, zero_file: ZeroFile::default() });
    check(&loaded.map_err(|report| report.to_string()).unwrap())
}

fn findings(text: &str) -> Vec<String> {
    let report = match checked(text) {
        Ok(checked) => checked.warnings,
        Err(report) => report,
    };
    report.diagnostics().iter().map(|found| format!("{}: {}", found.path, found.message)).collect()
}

fn with(sessions: &str, sites: &str, routes: &str) -> String {
    format!(
        "\
issuers: {{ corp: {{ issuer: 'https://login.example.com' }} }}
clients:
  web: {{ issuer: corp, client_id: shop, authentication: none }}
  machine: {{ issuer: corp, client_id: m, client_secret: {{ env: KEY }}, allowed_grant_types: client_credentials }}
  hybrid: {{ issuer: corp, client_id: h, authentication: none, allowed_grant_types: hybrid }}
  implicit: {{ issuer: corp, client_id: i, authentication: none, allowed_grant_types: implicit }}
  tokens: {{ issuer: corp, client_id: t, authentication: none, allowed_grant_types: implicit, allow_access_tokens_via_browser: true }}
  bare: {{ issuer: corp, client_id: b, authentication: none, scopes: [profile] }}
sessions: {sessions}
sites: {sites}
upstreams: {{ app: {{ servers: ['http://127.0.0.1:9001'] }} }}
routes: {routes}
"
    )
}

const SESSIONS: &str = "{ keys: [{ env: KEY }] }";
const ROUTES: &str = "[{ match: { path: /** }, upstream: app, access: { session: { site: shop } } }]";

fn site(more: &str) -> String {
    with(SESSIONS, &format!("{{ shop: {{ url: 'https://shop.example.com', sign_in: [web], {more} }} }}"), ROUTES)
}

fn site_at(url: &str, more: &str) -> String {
    with(SESSIONS, &format!("{{ shop: {{ url: '{url}', sign_in: [web], {more} }} }}"), ROUTES)
}

#[test]
fn a_session_route_without_hosts_is_for_its_sites_host() {
    assert_eq!(findings(&site("")), Vec::<String>::new());
    let checked = checked(&site("")).unwrap();
    assert_eq!(checked.describe(), "* shop.example.com/**  session shop  -> app\n");
    let cookie = &checked.sites[0].cookie;
    assert_eq!((&*cookie.name, cookie.secure, &cookie.domain), ("__Host-postern-shop", true, &None));
    let routes = ROUTES.replace("path: /**", "path: /**, hosts: [other.example.com]");
    let sites = "{ shop: { url: 'https://shop.example.com', sign_in: [web] } }";
    assert_eq!(
        findings(&with(SESSIONS, sites, &routes)),
        ["routes[0].match.hosts: `other.example.com` is not the host of the site `shop`, where its sessions are"]
    );
}

#[test]
fn what_replicas_share_is_told() {
    let alone = checked(&site("")).unwrap();
    assert!(alone.notes().iter().any(|note| note.contains("sessions.redis")), "{:?}", alone.notes());
    let shared = site("")
        .replace("{ keys: [{ env: KEY }] }", "{ keys: [{ env: KEY }], redis: { urls: ['rediss://redis:6379'] } }");
    assert!(checked(&shared).unwrap().notes().is_empty());
    let none = "issuers: {}\nupstreams: { app: { servers: ['http://127.0.0.1:9001'] } }\nroutes: [{ match: { path: /** }, upstream: app, access: public }]\n";
    assert!(checked(none).unwrap().notes().is_empty());
}

#[test]
fn a_session_and_a_token_may_guard_one_route() {
    let text = site("").replace(
        "{ session: { site: shop } }",
        "{ session: { site: shop, policy: 'claims.sub != \"\"' }, bearer: { issuers: [corp], scopes: [shop] } }",
    );
    let text = text.replace("'https://login.example.com'", "'https://login.example.com', audiences: [shop]");
    assert_eq!(findings(&text), Vec::<String>::new());
    let words = checked(&text).unwrap().describe();
    assert_eq!(words, "* shop.example.com/**  session shop, policy or bearer corp, scopes shop  -> app\n");
}

#[test]
fn keys_are_there_before_anything_is_sealed() {
    let sites = "{ shop: { url: 'https://shop.example.com', sign_in: [web] } }";
    let of = |sessions: &str| findings(&with(sessions, sites, ROUTES));
    assert_eq!(of("{}"), ["sessions: `keys` is missing"]);
    assert_eq!(of("{ keys: [{ env: SHORT }] }"), ["sessions.keys[0]: 3 bytes, and not 32"]);
    assert_eq!(of("{ keys: [{ env: NOWHERE }] }"), ["sessions.keys[0]: the environment variable `NOWHERE` is not set"]);
    assert_eq!(of("{ keys: [{ env: KEY }, { env: KEY }] }"), ["sessions.keys[1]: this key is there twice"]);
    assert_eq!(of("{ store: redis, keys: [{ env: KEY }] }"), ["sessions: `redis` is missing"]);
    assert_eq!(of("{ store: memory, keys: [{ env: KEY }, { env: OTHER }] }"), Vec::<String>::new());
}

#[test]
fn a_site_is_an_https_origin_of_its_own() {
    for (url, finding) in [
        ("https://shop.example.com/app", "sites.shop.url: `https://shop.example.com/app` is no origin"),
        (
            "http://shop.example.com",
            "sites.shop.url: `http://shop.example.com` is http: sessions would travel in clear",
        ),
        ("shop", "sites.shop.url: `shop` is no origin"),
    ] {
        assert_eq!(findings(&site_at(url, "")), [finding], "{url}");
    }
    let loopback = checked(&site_at("http://127.0.0.1:8080", "")).unwrap();
    assert_eq!((&*loopback.sites[0].cookie.name, loopback.sites[0].cookie.secure), ("postern-shop", false));
    let two = "{ shop: { url: 'https://a.example.com', sign_in: [web] }, shop2: { url: 'https://A.example.com:443', sign_in: [web] } }";
    assert_eq!(findings(&with(SESSIONS, two, ROUTES)), ["sites.shop2.url: `shop` has this origin too"]);
    let ports = two.replace("A.example.com:443", "a.example.com:8443");
    let finding = "sites.shop2.url: `shop` is on this host too, and ports do not tell sites apart";
    assert_eq!(findings(&with(SESSIONS, &ports, ROUTES)), [finding]);
}

#[test]
fn cookies_are_such_that_browsers_keep_to_them() {
    let named = |name: &str| format!("cookie: {{ name: {name} }}");
    for (text, finding) in [
        (site("cookie: { name: 'a b' }"), "sites.shop.cookie.name: `a b` is no name for a cookie"),
        (
            site("cookie: { name: __Host-a, domain: example.com }"),
            "sites.shop.cookie.name: `__Host-a` begins with `__Host-`, and such a cookie has no domain",
        ),
        (
            site_at("http://localhost", &named("__host-a")),
            "sites.shop.cookie.name: `__host-a` needs https: browsers would not keep it on an http site",
        ),
        (
            site_at("http://localhost", "cookie: { same_site: none }"),
            "sites.shop.cookie.same_site: browsers keep `SameSite=None` cookies on https sites only",
        ),
        (
            site("cookie: { domain: example.org }"),
            "sites.shop.cookie.domain: `example.org` is no domain of https://shop.example.com/",
        ),
        (site("cookie: { domain: com }"), "sites.shop.cookie.domain: `com` is no domain of https://shop.example.com/"),
        (
            site("cookie: { domain: ample.com }"),
            "sites.shop.cookie.domain: `ample.com` is no domain of https://shop.example.com/",
        ),
    ] {
        assert_eq!(findings(&text), [finding]);
    }
    let wide = checked(&site("cookie: { domain: .example.com }")).unwrap();
    assert_eq!(&*wide.sites[0].cookie.name, "__Secure-postern-shop");
    assert_eq!(wide.sites[0].cookie.domain.as_deref(), Some("example.com"));
    let near = "{ shop: { url: 'https://a.example.com', sign_in: [web], cookie: { name: c } }, b: { url: 'https://b.example.com', sign_in: [web], cookie: { name: c.1 } } }";
    let all = findings(&with(SESSIONS, near, ROUTES));
    assert_eq!(all, ["sites.shop.cookie.name: the cookie `c` would be taken for one of `b`"]);
}

#[test]
fn people_sign_in_by_clients_that_can_do_that() {
    let by = |client: &str| {
        let sites = format!("{{ shop: {{ url: 'https://shop.example.com', sign_in: [{client}] }} }}");
        findings(&with(SESSIONS, &sites, ROUTES))
    };
    assert_eq!(by(""), ["sites.shop: `sign_in` is missing"]);
    assert_eq!(by("wbe"), ["sites.shop.sign_in[0]: no client is called `wbe`"]);
    assert_eq!(by("web, web"), ["sites.shop.sign_in[1]: `web` is there twice"]);
    assert_eq!(by("machine"), ["sites.shop.sign_in[0]: `machine` may not use `authorization_code`"]);
    let message = "sites.shop.sign_in[0]: `bare` does not ask for `openid`: the issuer would not say who signed in";
    assert_eq!(by("bare"), [message]);
}

#[test]
fn what_a_site_cannot_be_is_refused() {
    for (more, finding) in [
        (
            "preserve_post: 64KiB",
            "sites.shop.preserve_post: with `sessions.store: cookie` there is no place for a form",
        ),
        ("preserve_post: 1MiB", "sites.shop.preserve_post: more than is kept of a form"),
        (
            "back_channel_logout: required",
            "sites.shop.back_channel_logout: without `sessions.redis` a logout reaches one process only",
        ),
        (
            "after_sign_out: 'https://evil.example'",
            "sites.shop.after_sign_out: `https://evil.example` is neither a path of the site nor among `allowed_redirects`",
        ),
        (
            "allowed_redirects: ['https://*.example.com/**']",
            "sites.shop.allowed_redirects[0]: `*` stands only as `/**` at the end",
        ),
        (
            "authorize: { prompt: none }",
            "sites.shop.authorize.prompt: with `none` nobody could ever sign in: the provider may show nothing",
        ),
        ("authorize: { acr_values: 'a  b' }", "sites.shop.authorize.acr_values: `a  b` is no list of words"),
        ("pages: { logo: logo.gif }", "sites.shop.pages.logo: logo.gif is no picture that is known here"),
        ("idle_timeout: 0s", "sites.shop.idle_timeout: a session without an end can't be had"),
        ("idle_timeout: 13h", "sites.shop.idle_timeout: longer than `absolute_timeout`, which ends the session first"),
        ("cross_site: { allow: ['saml'] }", "sites.shop.cross_site.allow[0]: a path starts with `/`"),
    ] {
        assert_eq!(findings(&site(more)), [finding]);
    }
    let unused = ROUTES.replace("{ session: { site: shop } }", "public");
    let sites = "{ shop: { url: 'https://shop.example.com', sign_in: [web] } }";
    let all = findings(&with(SESSIONS, sites, &unused));
    assert_eq!(all, ["sites.shop: no route asks for a session of this site"]);
}

fn asking(client: &str, more: &str) -> String {
    with(SESSIONS, &format!("{{ shop: {{ url: 'https://shop.example.com', sign_in: [{client}], {more} }} }}"), ROUTES)
}

#[test]
fn a_response_type_needs_its_grant_and_tokens_need_leave() {
    for (client, response_type, finding) in [
        ("web", "code id_token", "`web` may not use `hybrid`"),
        ("web", "code token", "`web` may not use `hybrid`"),
        ("web", "id_token", "`web` may not use `implicit`"),
        ("hybrid", "code", "`hybrid` may not use `authorization_code`"),
        ("hybrid", "id_token token", "`hybrid` may not use `implicit`"),
        ("hybrid", "code token", "`hybrid` may not get access tokens through the browser: `code token`"),
        (
            "hybrid",
            "code id_token token",
            "`hybrid` may not get access tokens through the browser: `code id_token token`",
        ),
        ("implicit", "id_token token", "`implicit` may not get access tokens through the browser: `id_token token`"),
        ("implicit", "code id_token", "`implicit` may not use `hybrid`"),
    ] {
        let found = findings(&asking(client, &format!("response_type: {response_type}")));
        assert_eq!(found, [format!("sites.shop.sign_in[0]: {finding}")]);
    }
    let report = checked(&asking("hybrid", "response_type: code token")).unwrap_err().to_string();
    assert!(report.contains("`clients.hybrid.allow_access_tokens_via_browser: true`, postern.yaml:"), "{report}");
    for (client, response_type) in
        [("hybrid", "code id_token"), ("implicit", "id_token"), ("tokens", "id_token token"), ("tokens", "id_token")]
    {
        assert_eq!(findings(&asking(client, &format!("response_type: {response_type}"))), Vec::<String>::new());
    }
}

#[test]
fn tokens_are_posted_unless_the_site_says_otherwise_and_never_in_a_query() {
    let mode = |client: &str, more: &str| {
        let checked = checked(&asking(client, more)).unwrap();
        (checked.sites[0].flow, checked.sites[0].mode)
    };
    assert_eq!(mode("web", ""), (Flow::CODE, Mode::QUERY));
    assert_eq!(mode("web", "response_mode: jwt"), (Flow::CODE, Mode::QUERY.signed()));
    assert_eq!(mode("web", "response_mode: form_post.jwt"), (Flow::CODE, Mode::FORM_POST.signed()));
    assert_eq!(mode("hybrid", "response_type: code id_token"), (Flow::CODE_ID_TOKEN, Mode::FORM_POST));
    assert_eq!(mode("implicit", "response_type: id_token, response_mode: fragment"), (Flow::ID_TOKEN, Mode::FRAGMENT));
    let signed = (Flow::ID_TOKEN, Mode::FORM_POST.signed());
    assert_eq!(mode("implicit", "response_type: id_token, response_mode: jwt"), signed);
    for mode in ["query", "query.jwt"] {
        let found = findings(&asking("hybrid", &format!("response_type: code id_token, response_mode: {mode}")));
        let finding =
            "sites.shop.response_mode: `code id_token` brings tokens, which in a query stand in logs and histories";
        assert_eq!(found, [finding]);
    }
    let found = findings(&asking("implicit", "response_type: id_token, userinfo: true"));
    assert_eq!(found, ["sites.shop.userinfo: `id_token` brings no access token to ask userinfo with"]);
}
