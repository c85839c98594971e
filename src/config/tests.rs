//! What reading promises: precedence, places, every mistake at once, and no secret in a report.

use super::*;

fn sources(path: &str, text: &str, variables: &[(&str, &str)]) -> Sources {
    let environment = variables.iter().copied().collect();
    Sources { environment, ..Sources::text(path, text) }
}

fn read(text: &str) -> Loaded {
    load(Sources::text("postern.yaml", text)).map_err(|report| report.to_string()).unwrap()
}

fn report(text: &str) -> String {
    let mut findings = read(text).findings;
    findings.sort();
    findings.to_string()
}

fn in_no_file(zero_file: ZeroFile, variables: &[(&str, &str)]) -> Result<Loaded, Report> {
    let file = File::DefaultIn("/nonexistent".into());
    load(Sources { file, environment: variables.iter().copied().collect(), zero_file })
}

fn sidecar() -> ZeroFile {
    ZeroFile {
        issuer: Some("https://login.example.com".to_owned()),
        audience: vec!["orders".to_owned()],
        upstream: Some("http://127.0.0.1:3000".to_owned()),
        ..ZeroFile::default()
    }
}

#[test]
fn a_missing_key_takes_its_default() {
    let config = read("admin: { ready_after: 5s }\n").config;
    assert_eq!(config.admin.ready_after, values::Period::seconds(5));
    assert_eq!(config.admin.bind, "127.0.0.1:9090");
    assert_eq!(config.server.listeners[0].bind.as_deref(), Some("0.0.0.0:8080"));
    assert_eq!(config.server.limits.field_bytes.0, 16 * 1024);
}

#[test]
fn the_environment_wins_over_the_file_and_the_rest_of_the_file_stays() {
    let yaml = "admin: { bind: '127.0.0.1:1', ready_after: 5s }\n";
    let loaded = load(sources("postern.yaml", yaml, &[("POSTERN__ADMIN__BIND", "127.0.0.1:2")])).unwrap();
    assert_eq!(loaded.config.admin.bind, "127.0.0.1:2");
    assert_eq!(loaded.config.admin.ready_after, values::Period::seconds(5));
}

#[test]
fn variables_match_without_case_and_reach_names_with_a_hyphen() {
    let yaml = "upstreams: { my-orders: { servers: ['http://a:1'] } }\n";
    let variables = [
        ("POSTERN__Upstreams__MY_ORDERS__retries", "0"),
        ("POSTERN__UPSTREAMS__MY_ORDERS__SERVERS", "[http://b:2, http://c:3]"),
    ];
    let config = load(sources("postern.yaml", yaml, &variables)).unwrap().config;
    let orders = &config.upstreams["my-orders"];
    assert_eq!(orders.retries, 0);
    assert_eq!(
        orders.servers.iter().map(|server| server.url.as_str()).collect::<Vec<_>>(),
        ["http://b:2", "http://c:3"]
    );
}

#[test]
fn what_kubernetes_injects_is_never_read() {
    let variables = [("POSTERN_PORT", "tcp://10.0.0.1:80"), ("POSTERN_SERVICE_HOST", "10.0.0.1")];
    let loaded = load(sources("postern.yaml", "", &variables)).unwrap();
    assert!(loaded.findings.is_empty(), "{}", loaded.findings);
}

#[test]
fn an_unknown_variable_is_an_error_that_names_it() {
    let loaded = load(sources("postern.yaml", "", &[("POSTERN__ADMIN__BNID", "x")])).unwrap();
    assert_eq!(
        loaded.findings.to_string(),
        "error: admin.bnid: unknown key `bnid`\n --> environment variable POSTERN__ADMIN__BNID\n  = did you mean `bind`?\n"
    );
}

#[test]
fn a_variable_of_digits_is_text_where_text_is_expected() {
    let yaml = "issuers: { corp: { jwks: { token: x } } }\n";
    let loaded = load(sources("postern.yaml", yaml, &[("POSTERN__ISSUERS__CORP__JWKS__TOKEN", "123456")])).unwrap();
    let token = loaded.config.issuers["corp"].jwks.token.clone().unwrap();
    assert!(token.read(&loaded.folder, &loaded.environment).unwrap().equals(b"123456"));
}

#[test]
fn unquoted_yaml_is_text_where_text_is_expected() {
    let config = read("routes: [{ name: 010, access: { bearer: { scopes: [no, 1e3, true] } } }]\n").config;
    assert_eq!(config.routes[0].name.as_deref(), Some("010"));
    let Some(route::Access::Ways(ways)) = &config.routes[0].access else { unreachable!("no ways") };
    assert_eq!(ways.bearer.as_ref().unwrap().scopes, ["no", "1e3", "true"]);
}

#[test]
fn every_mistake_is_reported_at_once_with_its_place() {
    let text = "\
server:
  drain_delay: 5 minutes
  limts: { target_bytes: 1KiB }
  listeners:
    - bind: 0.0.0.0:8080
      serve: forward_auth
upstreams:
  orders: { servers: [http://a:1], balance: fastest, retries: -1 }
routes:
  - name: docs
    acces: public
  - just text
telemetry: { otlp: {} }
";
    assert_eq!(
        report(text),
        "\
error: server.drain_delay: expected a duration such as `250ms`, `30s`, `5m`, `8h` or `7d`, found the text `5 minutes`
 --> postern.yaml:2:16
  |
2 |   drain_delay: 5 minutes
  |                ^^^^^^^^^

error: server.limts: unknown key `limts`
 --> postern.yaml:3:3
  |
3 |   limts: { target_bytes: •••• }
  |   ^^^^^ did you mean `limits`?

error: server.listeners[0].serve: `forward_auth` is not supported yet
 --> postern.yaml:6:14
  |
6 |       serve: forward_auth
  |              ^^^^^^^^^^^^

error: upstreams.orders.balance: unknown value `fastest`
 --> postern.yaml:8:45
  |
8 |   orders: { servers: [http://a:1], balance: fastest, retries: -1 }
  |                                             ^^^^^^^ known here: `least_requests`, `round_robin`

error: upstreams.orders.retries: expected a whole number, not negative, found the number -1
 --> postern.yaml:8:63
  |
8 |   orders: { servers: [http://a:1], balance: fastest, retries: -1 }
  |                                                               ^^

error: routes[0].acces: unknown key `acces`
  --> postern.yaml:11:5
   |
11 |     acces: ••••••
   |     ^^^^^ did you mean `access`?

error: routes[1]: expected a map of keys, found the text `just text`
  --> postern.yaml:12:5
   |
12 |   - just text
   |     ^^^^^^^^^

error: telemetry.otlp: not supported yet
  --> postern.yaml:13:14
   |
13 | telemetry: { otlp: {} }
   |              ^^^^
"
    );
}

#[test]
fn toml_places_are_as_exact() {
    let text = "[server]\ndrain_delay = \"soon\"\n\n[[routes]]\nname = \"a\"\n[routes.match]\npth = \"/**\"\n";
    let mut findings = load(Sources::text("postern.toml", text)).unwrap().findings;
    findings.sort();
    let places: Vec<String> =
        findings.diagnostics().iter().map(|found| found.place.as_ref().unwrap().label.clone()).collect();
    assert_eq!(places, ["postern.toml:2:15", "postern.toml:7:1"]);
}

#[test]
fn text_that_is_no_yaml_or_no_toml_is_reported_where_it_stops() {
    let label = |path: &str, text: &str| {
        let report = load(Sources::text(path, text)).unwrap_err();
        report.diagnostics()[0].place.as_ref().unwrap().label.clone()
    };
    assert!(label("postern.yaml", "server:\n  a: [1, 2\nb: 1\n").starts_with("postern.yaml:"));
    assert_eq!(label("postern.toml", "[server]\na = = 1\n"), "postern.toml:2:5");
    assert_eq!(label("postern.yaml", "a: 1\na: 2\n"), "postern.yaml:2:1");
}

#[test]
fn a_key_with_nothing_behind_it_is_as_if_it_were_not_written() {
    let loaded = read("telemetry:\nadmin:\n  bind:\nsites:\n");
    assert!(loaded.findings.is_empty(), "{}", loaded.findings);
    assert_eq!(loaded.config.admin.bind, "127.0.0.1:9090");
}

#[test]
fn no_secret_is_shown_by_a_report_or_by_debug() {
    let text = "issuers: { corp: { jwks: { token: hunter2, refresh: never } } }\n";
    let loaded = read(text);
    assert!(loaded.findings.has_errors());
    for shown in
        [loaded.findings.to_string(), format!("{:?}", loaded.config), serde_json::to_string(&loaded.config).unwrap()]
    {
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    let misspelt = report("issuers: { corp: { jwks: { tokn: hunter2 } } }\n");
    assert!(misspelt.contains("did you mean `token`?") && !misspelt.contains("hunter2"), "{misspelt}");
    let neighbour = report("issuers: { corp: { jwks: { refresh: never, tokn: hunter2 } } }\n");
    assert!(neighbour.contains("refresh: expected") && !neighbour.contains("hunter2"), "{neighbour}");
    let unparsed = load(Sources::text("postern.yaml", "a:\n  client_secret: \"hunter2\n")).unwrap_err().to_string();
    assert!(!unparsed.contains("hunter2"), "{unparsed}");
    let nested = report("issuers: { corp: { jwks: { token: { env: NAME, value: hunter2 } } } }\n");
    assert!(nested.contains("unknown key `value`") && !nested.contains("hunter2"), "{nested}");
}

#[test]
fn zero_file_mode_is_one_issuer_one_upstream_one_route() {
    let zero = ZeroFile { scope: vec!["orders:read orders:list".to_owned(), "x".to_owned()], ..sidecar() };
    let loaded =
        in_no_file(zero, &[("POSTERN_ADMIN_BIND", "127.0.0.1:9"), ("POSTERN_ISSUER", "https://ignored.example")])
            .unwrap();
    assert!(loaded.findings.is_empty(), "{}", loaded.findings);
    let config = loaded.config;
    assert_eq!(config.issuers["default"].issuer.as_deref(), Some("https://login.example.com"));
    assert_eq!(config.issuers["default"].audiences, Some(issuer::Audiences::OneOf(vec!["orders".to_owned()])));
    assert_eq!(config.upstreams["default"].servers[0].url, "http://127.0.0.1:3000");
    assert_eq!(config.admin.bind, "127.0.0.1:9");
    assert_eq!(config.routes[0].matching.path.as_deref(), Some("/**"));
    let Some(route::Access::Ways(ways)) = &config.routes[0].access else { unreachable!("no ways") };
    assert_eq!(ways.bearer.as_ref().unwrap().scopes, ["orders:read", "orders:list", "x"]);
}

#[test]
fn zero_file_mode_says_what_is_missing() {
    let report = in_no_file(ZeroFile { issuer: Some("https://a".to_owned()), ..ZeroFile::default() }, &[]).unwrap_err();
    assert_eq!(report.errors(), 2);
    assert!(report.to_string().contains("`--audience` is needed"), "{report}");
    assert!(in_no_file(ZeroFile::default(), &[]).unwrap_err().to_string().contains("there is no configuration"));
}

#[test]
fn zero_file_flags_beside_a_file_are_an_error() {
    let sources = Sources { zero_file: sidecar(), ..Sources::text("postern.yaml", "") };
    let report = load(sources).unwrap_err().to_string();
    assert!(report.contains("flag --issuer can't stand beside a configuration file"), "{report}");
    let by_variable = load(sources_with_variable()).unwrap_err().to_string();
    assert!(by_variable.contains("environment variable POSTERN_UPSTREAM can't"), "{by_variable}");
}

fn sources_with_variable() -> Sources {
    sources("postern.yaml", "", &[("POSTERN_UPSTREAM", "http://a:1")])
}

#[test]
fn a_mistake_in_zero_file_mode_names_the_flag() {
    let loaded = in_no_file(sidecar(), &[]).unwrap();
    let path = ValuePath::root().key("issuers").key("default").key("issuer");
    assert_eq!(loaded.places.locate(&path).unwrap().label, "flag --issuer");
}

#[test]
fn claims_read_as_values_or_rules() {
    let text = "routes: [{ access: { bearer: { claims: { a: acme, b: { contains: 1 }, c: { any: [x, y] }, d: { exists: true }, e: [1], f: { has: 1 } } } } }]\n";
    let loaded = read(text);
    let messages: Vec<String> = loaded.findings.diagnostics().iter().map(|found| found.path.to_string()).collect();
    assert_eq!(messages, ["routes[0].access.bearer.claims.e", "routes[0].access.bearer.claims.f.has"]);
    let Some(route::Access::Ways(ways)) = &loaded.config.routes[0].access else { unreachable!("no ways") };
    let claims = &ways.bearer.as_ref().unwrap().claims;
    assert_eq!(claims["a"], route::ClaimRule::Equal("acme".into()));
    assert_eq!(claims["b"], route::ClaimRule::Contains(1.into()));
    assert_eq!(claims["c"], route::ClaimRule::Any(vec!["x".into(), "y".into()]));
    assert_eq!(claims["d"], route::ClaimRule::Exists(true));
}

#[test]
fn everything_the_documentation_names_and_this_version_lacks_is_refused_by_name() {
    let unbuilt = [
        "telemetry: { otlp: {} }",
        "server: { mode: report_only }",
        "server: { mode: { enforce: 10% } }",
        "server: { listeners: [{ bind: 'a:1', proxy_protocol: v1v2 }] }",
        "server: { listeners: [{ bind: 'a:1', serve: ext_authz }] }",
        "server: { listeners: [{ bind: 'a:1', tls: { client_certificates: { mode: optional } } }] }",
        "server: { listeners: [{ bind: 'a:1', tls: { client_certificates: { ca: x } } }] }",
        "routes: [{ access: { bearer: { sender_constraint: dpop } } }]",
        "routes: [{ mode: report_only }]",
    ];
    for text in unbuilt {
        let loaded = read(text);
        assert_eq!(loaded.findings.errors(), 1, "{text}");
        let shown = loaded.findings.to_string();
        assert!(shown.contains("not supported yet") && shown.contains("postern.yaml:1:"), "{shown}");
    }
}

#[test]
fn grant_types_are_a_list_or_a_named_set() {
    use client::GrantType::{AuthorizationCode, ClientCredentials, RefreshToken, TokenExchange};
    let of = |text: &str| {
        let loaded = read(&format!("clients: {{ a: {{ allowed_grant_types: {text} }} }}\n"));
        (loaded.config.clients["a"].allowed_grant_types.as_slice().to_vec(), loaded.findings.to_string())
    };
    assert_eq!(of("").0, [AuthorizationCode, RefreshToken]);
    assert_eq!(of("[]").0, []);
    assert_eq!(of("code_and_client_credentials").0, [AuthorizationCode, RefreshToken, ClientCredentials]);
    let exchange = "['urn:ietf:params:oauth:grant-type:token-exchange', client_credentials]";
    assert_eq!(of(exchange).0, [TokenExchange, ClientCredentials]);
    for (wrong, why) in [
        ("[authorisation_code]", "did you mean `authorization_code`?"),
        ("cod", "unknown value `cod`"),
        ("authorization_code", "unknown value"),
        ("7", "expected a list of grant types, or one named set"),
    ] {
        let (_, report) = of(wrong);
        assert!(report.contains(why), "{wrong}: {report}");
    }
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut text = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for (name, below) in ["b", "c", "d", "e", "f", "g"].iter().zip(["a", "b", "c", "d", "e", "f"]) {
        let many = vec![format!("*{below}"); 10].join(", ");
        text.push_str(&format!("{name}: &{name} [{many}]\n"));
    }
    assert!(load(Sources::text("postern.yaml", text)).is_err());
}
