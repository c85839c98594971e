//! What checking promises: every mistake of meaning at its place, no finding that only follows from another, and nothing
//! public by accident.

use super::*;
use crate::config::{Environment, Sources, load};

/// A configuration with one route, in which one line is replaced.
fn base(route: &str) -> String {
    format!(
        "\
issuers: {{ corp: {{ issuer: 'https://login.example.com', audiences: [orders] }} }}
upstreams: {{ orders: {{ servers: ['http://127.0.0.1:9001'] }} }}
routes:
  - {route}
"
    )
}

fn checked(text: &str) -> Result<Checked, Report> {
    let loaded = load(Sources::text("postern.yaml", text)).map_err(|report| report.to_string()).unwrap();
    check(&loaded)
}

/// `path: message` of every finding.
fn findings(text: &str) -> Vec<String> {
    let report = match checked(text) {
        Ok(checked) => checked.warnings,
        Err(report) => report,
    };
    report.diagnostics().iter().map(|found| format!("{}: {}", found.path, found.message)).collect()
}

const ROUTE: &str = "{ match: { path: /** }, upstream: orders, access: { bearer: { issuers: [corp] } } }";

fn with_server(server: &str) -> String {
    format!("server: {server}\n{}", base(ROUTE))
}

fn with_issuer(more: &str) -> String {
    let issuer = format!("issuers: {{ corp: {{ audiences: [orders], {more} }} }}\n");
    base(ROUTE).split_once('\n').map(|(_, rest)| issuer + rest).unwrap()
}

fn with_upstream(upstream: &str) -> String {
    base(ROUTE).replace("{ servers: ['http://127.0.0.1:9001'] }", upstream)
}

#[test]
fn a_good_configuration_has_no_findings() {
    assert_eq!(findings(&base(ROUTE)), Vec::<String>::new());
    let checked = checked(&base(ROUTE)).unwrap();
    assert_eq!(checked.describe(), "* /**  bearer corp  -> orders\n");
    assert_eq!(checked.server.limits.header_bytes, 65_536);
}

#[test]
fn nothing_is_public_unless_it_says_so() {
    assert_eq!(findings(&base("{ match: { path: /a }, upstream: orders }")), ["routes[0]: `access` is missing"]);
    for access in ["{}", "{ bearer: }"] {
        let text = base(&format!("{{ match: {{ path: /a }}, upstream: orders, access: {access} }}"));
        assert_eq!(findings(&text), ["routes[0].access: nothing says who may pass"], "{access}");
    }
    let text = base("{ match: { path: /a }, upstream: orders, access: { bearer: {} } }");
    assert_eq!(findings(&text), ["routes[0].access.bearer: `issuers` is missing"]);
}

#[test]
fn a_name_that_is_not_there_is_answered_with_the_nearest() {
    let text = base("{ match: { path: /** }, upstream: oders, access: { bearer: { issuers: [crop] } } }");
    let shown = checked(&text).unwrap_err().to_string();
    assert!(shown.contains("routes[0].upstream: no upstream is called `oders`"), "{shown}");
    assert!(shown.contains("^^^^^ did you mean `orders`?"), "{shown}");
    assert!(shown.contains("routes[0].access.bearer.issuers[0]: no issuer is called `crop`"), "{shown}");
}

#[test]
fn a_broken_entry_is_reported_once_and_not_again_by_those_who_name_it() {
    assert_eq!(findings(&with_upstream("{ servers: [] }")), ["upstreams.orders: `servers` is missing"]);
    assert_eq!(
        findings(&with_upstream("{ servrs: ['http://a:1'] }")),
        ["upstreams.orders.servrs: unknown key `servrs`"]
    );
    assert_eq!(findings(&with_upstream("just text")).len(), 1);
    assert_eq!(findings(&base("{ mtch: { path: /** }, upstream: orders, access: public }")).len(), 1);
}

#[test]
fn routes_that_could_tie_are_an_error() {
    let two = |first: &str, second: &str| {
        let route = |name: &str, matching: &str| {
            format!("{{ name: {name}, match: {matching}, upstream: orders, access: public }}")
        };
        let text = base(&format!("{}\n  - {}", route("a", first), route("b", second)));
        findings(&text).into_iter().filter(|found| found.contains("equal right")).count()
    };
    assert_eq!(two("{ path: '/x/{a}' }", "{ path: '/x/{b}' }"), 1);
    assert_eq!(two("{ path: /x, methods: [GET] }", "{ path: /x, methods: [HEAD, POST] }"), 1, "GET takes HEAD");
    assert_eq!(two("{ path: /x, hosts: [a.com, b.com] }", "{ path: /x, hosts: [B.com.] }"), 1);
    assert_eq!(two("{ path: /x }", "{ path: /x, methods: [POST] }"), 1);
    assert_eq!(two("{ path: /x, methods: [GET] }", "{ path: /x, methods: [POST] }"), 0);
    assert_eq!(two("{ path: /x, hosts: [a.com] }", "{ path: /x }"), 0);
    assert_eq!(two("{ path: /x, hosts: [a.com] }", "{ path: /x, hosts: ['*.com'] }"), 0);
    assert_eq!(two("{ path: /x }", "{ path: '/{x}' }"), 0);
}

#[test]
fn a_method_that_a_narrower_path_swallows_is_warned_of() {
    let text = base(
        "{ name: read, match: { path: '/orders/{id}', methods: [GET] }, upstream: orders, access: public }
  - { name: write, match: { path: /orders/**, methods: [POST] }, upstream: orders, access: public }",
    );
    let found = findings(&text);
    assert!(
        found.iter().any(|found| found.contains("POST on /orders/{id} never comes here: `read` takes that path")),
        "{found:?}"
    );
}

#[test]
fn what_is_unsafe_is_warned_of() {
    let warns = |text: &str, part: &str| {
        let found = findings(text);
        assert!(checked(text).is_ok(), "{found:?}");
        assert!(found.iter().any(|found| found.contains(part)), "{part}: {found:?}");
    };
    warns(&base(ROUTE).replace("audiences: [orders]", "audiences: any"), "`aud` is not looked at");
    warns(&with_issuer("issuer: 'http://login.internal', allow_http: true"), "http without TLS");
    warns(&with_issuer("issuer: 'https://a', accept_id_tokens: true"), "ID tokens are meant for a client");
    warns(&with_issuer("issuer: 'https://a', jwks: { url: 'https://a/jwks', token: hunter2 }"), "in the open");
    warns(&with_server("{ trusted_proxies: ['0.0.0.0/0'] }"), "trusts every peer");
    warns(&base("{ match: { path: /** }, upstream: orders, access: public }"), "no route takes tokens of this issuer");
}

#[test]
fn issuers_are_checked() {
    let wrong = [
        ("issuer: 'http://login.example.com'", "issuers.corp.issuer: http is accepted on loopback only"),
        ("issuer: login.example.com", "is no https URL"),
        ("issuer: 'https://a?x=1'", "no query"),
        ("clock_skew: 61s, issuer: 'https://a'", "61s is more than 1m"),
        ("algorithms: [HS256], issuer: 'https://a'", "issuers.corp.algorithms[0]: `HS256` needs a secret"),
        ("algorithms: [none], issuer: 'https://a'", "issuers.corp.algorithms[0]: `none` is no signature"),
        ("algorithms: [], issuer: 'https://a'", "no algorithm is left"),
        ("issuer: 'https://a', jwks: { url: 'https://a/k', file: k.json }", "not from both"),
        ("issuer: 'https://a', jwks: { token: { env: NOWHERE } }", "a token is sent to `url` only"),
        ("issuer: 'https://a', jwks: { url: 'https://a/k', token: { env: NOWHERE } }", "`NOWHERE` is not set"),
        (
            "issuer: 'https://a', jwks: { file: /nonexistent/k.json }",
            "issuers.corp.jwks.file: cannot read /nonexistent/k.json",
        ),
        ("issuer: 'https://a', jwks: { max_stale: 1m }", "too old"),
        ("issuer: 'https://a', tls: { ca: /nonexistent/ca.crt }", "issuers.corp.tls.ca: cannot read"),
        ("issuer: 'https://a', tls: { certificate: /nonexistent/c.crt }", "issuers.corp.tls: `private_key` is missing"),
        ("allow_http: false", "issuers.corp: `issuer` is missing"),
    ];
    for (more, part) in wrong {
        let found = findings(&with_issuer(more));
        assert!(found.iter().any(|found| found.contains(part)), "{more}: {found:?}");
        assert!(checked(&with_issuer(more)).is_err(), "{more}");
    }
    assert_eq!(findings(&with_issuer("issuer: 'http://127.0.0.1:8083/realms/x'")), Vec::<String>::new());
    assert_eq!(findings(&with_issuer("issuer: 'http://localhost:8083'")), Vec::<String>::new());
}

#[test]
fn an_issuer_is_kept_byte_for_byte() {
    let checked = checked(&with_issuer("issuer: 'https://LOGIN.example.com:443/Realm/'")).unwrap();
    assert_eq!(&*checked.issuers[0].issuer, "https://LOGIN.example.com:443/Realm/");
}

#[test]
fn servers_and_listeners_are_checked() {
    let wrong = [
        (with_upstream("{ servers: ['http://a:1/path'] }"), "upstreams.orders.servers[0]: a server has no path"),
        (with_upstream("{ servers: ['a:1'] }"), "upstreams.orders.servers[0]: `a:1` is no server"),
        (with_upstream("{ servers: [{ url: 'http://a:1', weight: 0 }] }"), "no server has a weight above 0"),
        (with_upstream("{ servers: ['http://a:1'], host: 'a b' }"), "`a b` is no host"),
        (
            with_upstream("{ servers: ['http://a:1'], health_check: {} }"),
            "upstreams.orders.health_check: `path` is missing",
        ),
        (with_server("{ listeners: [{ bind: 'example.com:80' }] }"), "is no address to listen on"),
        (with_server("{ listeners: [{ bind: '0.0.0.0:80' }, { bind: '0.0.0.0:80' }] }"), "is listened on twice"),
        (with_server("{ listeners: [{ bind: '127.0.0.1:9090' }] }"), "admin.bind: `127.0.0.1:9090` is also a listener"),
        (with_server("{ listeners: [{ bind: 'unix:run/x' }] }"), "absolute path"),
        (
            with_server("{ listeners: [{ bind: '0.0.0.0:1', tls: {} }] }"),
            "server.listeners[0].tls: `certificates` is missing",
        ),
        (
            with_server(
                "{ listeners: [{ bind: '0.0.0.0:1', tls: { certificates: [{ certificate: /nonexistent, private_key: /nonexistent }] } }] }",
            ),
            "server.listeners[0].tls.certificates[0].private_key: cannot read",
        ),
        (with_server("{ public_url: 'https://a/b' }"), "is no origin"),
        (with_server("{ trusted_proxies: ['10.0.0.0/33'] }"), "server.trusted_proxies[0]: `10.0.0.0/33` is no network"),
        (with_server("{ auth_prefix: oauth2/ }"), "is no prefix"),
        (
            with_server("{ limits: { header_timeout: 0s } }"),
            "server.limits.header_timeout: a wait for clients can't be off",
        ),
        (with_server("{ limits: { field_bytes: 128KiB } }"), "server.limits.field_bytes: one header field"),
        (with_server("{ limits: { h2_streams: 0 } }"), "server.limits.h2_streams: 0 is out of range"),
    ];
    for (text, part) in wrong {
        let found = findings(&text);
        assert!(found.iter().any(|found| found.contains(part)), "{part}: {found:?}");
        assert!(checked(&text).is_err(), "{text}");
    }
}

#[test]
fn routes_are_checked() {
    let bearer = |rules: &str| {
        format!("{{ match: {{ path: /** }}, upstream: orders, access: {{ bearer: {{ issuers: [corp], {rules} }} }} }}")
    };
    let forward = |rules: &str| {
        format!(
            "{{ match: {{ path: /** }}, upstream: orders, access: {{ bearer: {{ issuers: [corp] }} }}, forward: {{ {rules} }} }}"
        )
    };
    let matching = |rules: &str| {
        format!("{{ match: {{ {rules} }}, upstream: orders, access: {{ bearer: {{ issuers: [corp] }} }} }}")
    };
    let wrong = [
        (
            bearer("scopes: ['orders:read orders:list']"),
            "routes[0].access.bearer.scopes[0]: no token can have the scope",
        ),
        (bearer("any_scope: ['']"), "no token can have the scope"),
        (bearer("policy: 'claims.tenant =='"), "routes[0].access.bearer.policy: "),
        (bearer("step_up: {}"), "routes[0].access.bearer.step_up: nothing is asked for"),
        (bearer("claims: { a: { any: [] } }"), "routes[0].access.bearer.claims.a: `any` takes a list"),
        (forward("headers: { Connection: sub }"), "routes[0].forward.headers.Connection: `Connection` frames"),
        (forward("headers: { 'X Y': sub }"), "is no header field name"),
        (forward("headers: { X-User: '' }"), "the claim is empty"),
        (forward("headers: { X-User: sub, x-user: email }"), "is filled twice"),
        (forward("strip_prefix: api"), "routes[0].forward.strip_prefix: a path starts with `/`"),
        (forward("add_prefix: /"), "routes[0].forward.add_prefix: `/` is no prefix"),
        (matching("hosts: ['api.example.com:8080'], path: /**"), "routes[0].match.hosts[0]: "),
        (matching("path: /a**"), "routes[0].match.path: `**` stands for whole segments"),
        (matching("path: /**, methods: [get]"), "routes[0].match.methods[0]: `get` has lower-case letters"),
        (matching("path: /**, methods: [CONNECT]"), "is refused on every route"),
        (matching("hosts: [a.com]"), "routes[0].match: `path` is missing"),
        ("{ upstream: orders, access: public }".to_owned(), "routes[0]: `match` is missing"),
    ];
    for (route, part) in wrong {
        let found = findings(&base(&route));
        assert!(found.iter().any(|found| found.contains(part)), "{part}: {found:?}");
        assert!(checked(&base(&route)).is_err(), "{route}");
    }
}

#[test]
fn mistakes_of_form_and_of_meaning_are_reported_together() {
    let text =
        format!("server: {{ drain_delay: soon }}\n{}", base(&ROUTE.replace("upstream: orders", "upstream: oders")));
    let found = findings(&text);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("server.drain_delay") && found[1].starts_with("routes[0].upstream"), "{found:?}");
}

#[test]
fn a_secret_is_read_from_the_environment_that_was_given() {
    let text = with_issuer("issuer: 'https://a', jwks: { url: 'https://a/k', token: { env: JWKS_TOKEN } }");
    let sources =
        Sources { environment: Environment::from_iter([("JWKS_TOKEN", "t")]), ..Sources::text("postern.yaml", text) };
    let checked = check(&load(sources).unwrap()).unwrap();
    let settings::KeySource::Url { token: Some(token), .. } = &checked.issuers[0].keys else {
        unreachable!("no token")
    };
    assert!(token.equals(b"t"));
}

#[test]
fn an_empty_configuration_says_what_is_missing() {
    assert_eq!(findings(""), [": `routes` is missing"]);
}

fn with_clients(clients: &str) -> String {
    format!("clients: {clients}\n{}", base(ROUTE))
}

#[test]
fn a_client_is_registered_somewhere_and_has_what_its_method_shows() {
    let good = "{ issuer: corp, client_id: shop, authentication: none, allowed_grant_types: hybrid }";
    let checked = checked(&with_clients(&format!("{{ shop: {good} }}"))).unwrap();
    assert_eq!((checked.clients[0].issuer, &*checked.clients[0].client_id), (0, "shop"));
    assert_eq!(checked.clients[0].grant_types.len(), 2);
    for (client, finding) in [
        ("{ client_id: a, authentication: none }", "clients.a: `issuer` is missing"),
        ("{ issuer: crop, client_id: a, authentication: none }", "clients.a.issuer: no issuer is called `crop`"),
        ("{ issuer: corp, authentication: none }", "clients.a: `client_id` is missing"),
        (
            "{ issuer: corp, client_id: '', authentication: none }",
            "clients.a.client_id: a client's identifier is one line of text",
        ),
        ("{ issuer: corp, client_id: a }", "clients.a: `client_secret` is missing"),
        (
            "{ issuer: corp, client_id: a, authentication: none, client_secret: x }",
            "clients.a.client_secret: a secret is of no use to `authentication: none`",
        ),
        (
            "{ issuer: corp, client_id: a, client_secret: { env: NOWHERE } }",
            "clients.a.client_secret: the environment variable `NOWHERE` is not set",
        ),
        (
            "{ issuer: corp, client_id: a, client_secret: x }",
            "clients.a.client_secret: a secret stands here in the open",
        ),
        (
            "{ issuer: corp, client_id: a, authentication: none, pkce: off }",
            "clients.a.pkce: a code that leaks can be redeemed by whoever finds it",
        ),
        (
            "{ issuer: corp, client_id: a, authentication: none, scopes: ['a b'] }",
            "clients.a.scopes[0]: no token can have the scope `a b`",
        ),
    ] {
        assert_eq!(findings(&with_clients(&format!("{{ a: {client} }}"))), [finding], "{client}");
    }
}

#[test]
fn grants_that_make_no_sense_together_are_refused_with_the_reason() {
    let of = |more: &str| {
        let client = format!("{{ issuer: corp, client_id: a, client_secret: x, {more} }}");
        let found = findings(&with_clients(&format!("{{ a: {client} }}")));
        found.into_iter().filter(|one| !one.contains("in the open")).collect::<Vec<_>>().join("\n")
    };
    for (more, finding) in [
        (
            "allowed_grant_types: [implicit, authorization_code]",
            "allowed_grant_types: `implicit` beside `authorization_code`",
        ),
        ("allowed_grant_types: [hybrid, implicit]", "allowed_grant_types: `implicit` beside `hybrid`"),
        (
            "allowed_grant_types: [authorization_code, hybrid]",
            "allowed_grant_types: `authorization_code` beside `hybrid`",
        ),
        (
            "allowed_grant_types: [client_credentials, refresh_token]",
            "allowed_grant_types: `refresh_token` without a grant",
        ),
        ("allowed_grant_types: [implicit, refresh_token]", "allowed_grant_types: `refresh_token` without a grant"),
        (
            "allowed_grant_types: [authorization_code], scopes: [openid, offline_access]",
            "scopes[1]: `offline_access` asks",
        ),
        ("allow_access_tokens_via_browser: true", "allow_access_tokens_via_browser: has no effect"),
    ] {
        let found = of(more);
        assert!(found.starts_with(&format!("clients.a.{finding}")) && !found.contains('\n'), "{more}: {found}");
    }
    for set in
        ["code", "hybrid_and_client_credentials", "implicit_and_client_credentials", "resource_owner_password", "[]"]
    {
        assert_eq!(of(&format!("allowed_grant_types: {set}")), "", "{set}");
    }
    let public = "{ a: { issuer: corp, client_id: a, authentication: none, allowed_grant_types: client_credentials } }";
    assert!(findings(&with_clients(public))[0].contains("`client_credentials` without credentials"));
}

#[test]
fn names_and_passwords_are_never_taken_without_a_word() {
    let of = |basic: &str, more: &str, server: &str| {
        let client = "{ legacy: { issuer: corp, client_id: a, client_secret: { env: NONE_SUCH }, allowed_grant_types: [password] } }";
        let route =
            format!("{{ match: {{ path: /** }}, upstream: orders, access: {{ basic: {{ {basic} }} }}, {more} }}");
        let text = format!("server: {{ {server} }}\nclients: {client}\n{}", base(&route));
        let found = findings(&text.replace("{ env: NONE_SUCH }", "x"));
        found.into_iter().filter(|one| !one.contains("in the open")).collect::<Vec<_>>()
    };
    let near = "listeners: [{ bind: '127.0.0.1:8080' }]";
    let good = of("client: legacy, scopes: [read]", "", near);
    assert!(good.len() == 1 && good[0].starts_with("routes[0].access.basic: legacy"), "{good:?}");
    let far = of("client: legacy", "", "listeners: [{ bind: '0.0.0.0:8080' }]");
    assert!(far.iter().any(|one| one.contains("passwords travel in clear")), "{far:?}");
    for (basic, more, finding) in [
        ("scopes: [read]", "", "routes[0].access.basic: `client` is missing"),
        ("client: legasy", "", "routes[0].access.basic.client: no client is called `legasy`"),
        (
            "client: legacy, grant: client_credentials",
            "",
            "routes[0].access.basic.client: `legacy` may not use `client_credentials`",
        ),
        ("client: legacy, ttl: 0s", "", "routes[0].access.basic.ttl: every request"),
        ("client: legacy, failures_per_user: 60001", "", "routes[0].access.basic.failures_per_user: 60001 a minute"),
        ("client: legacy, failures_per_client: 0", "", "routes[0].access.basic.failures_per_client: anybody may try"),
        ("client: legacy, request_scopes: ['a b']", "", "routes[0].access.basic.request_scopes[0]: no token can have"),
        ("client: legacy, audience: ''", "", "routes[0].access.basic.audience: whom a token is for"),
        ("client: legacy, policy: 'claims.('", "", "routes[0].access.basic.policy: "),
        (
            "client: legacy",
            "forward: { authorization: keep }",
            "routes[0].forward.authorization: a route that takes names",
        ),
    ] {
        let found = of(basic, more, near);
        assert!(found.iter().any(|one| one.starts_with(finding)), "{basic}: {found:#?}");
    }
}

#[test]
fn an_endpoint_is_held_to_the_rule_of_its_issuer() {
    let of = |endpoints: &str| {
        findings(&with_issuer(&format!("issuer: 'https://login.example.com', endpoints: {{ {endpoints} }}")))
    };
    assert_eq!(of("introspection: 'https://login.example.com/i', token: 'http://127.0.0.1:9/t'"), Vec::<String>::new());
    assert!(of("introspection: 'http://login.example.com/i'")[0].contains("http is accepted on loopback only"));
    assert!(of("userinfo: /userinfo")[0].contains("is no https URL"));
    assert!(of("authorization: 'https://login.example.com/a#b'")[0].contains("an endpoint has no fragment"));
}
