use super::super::{Checked, check};
use crate::config::{Environment, File, Report, Sources, ZeroFile, load};
use crate::kv::RedisMode;

fn checked(redis: &str) -> Result<Checked, Report> {
    let text = format!(
        "\
issuers: {{ corp: {{ issuer: 'https://login.example.com', audiences: [a] }} }}
sessions: {{ redis: {redis} }}
upstreams: {{ app: {{ servers: ['http://127.0.0.1:9001'] }} }}
routes: [{{ match: {{ path: /** }}, upstream: app, access: {{ bearer: {{ issuers: [corp] }} }} }}]
"
    );
    let environment = Environment::from_iter([("PASSWORD", "let me in")]);
    let file = File::Text { path: "postern.yaml".into(), text };
    let loaded = load(Sources { file, environment, zero_file: ZeroFile::default() });
    check(&loaded.map_err(|report| report.to_string()).unwrap())
}

fn findings(redis: &str) -> Vec<String> {
    let report = match checked(redis) {
        Ok(checked) => checked.warnings,
        Err(report) => report,
    };
    report.diagnostics().iter().map(|found| format!("{}: {}", found.path, found.message)).collect()
}

#[test]
fn a_redis_is_an_address_and_what_opens_it() {
    let redis = "{ urls: ['rediss://redis.example.com'], username: gateway, password: { env: PASSWORD }, prefix: 'shop:', timeout: 250ms }";
    assert_eq!(findings(redis), Vec::<String>::new());
    let settings = checked(redis).unwrap().sessions.redis.unwrap();
    let [address] = &settings.addresses[..] else { unreachable!("one address") };
    assert_eq!((&*address.host, address.port, address.tls, address.database), ("redis.example.com", 6379, true, 0));
    assert!(settings.password.as_ref().unwrap().equals(b"let me in"));
    assert_eq!((&*settings.prefix, settings.timeout.as_millis()), ("shop:", 250));
    assert!(!format!("{settings:?}").contains("let me in"));
}

#[test]
fn sentinels_have_a_port_and_a_master_of_their_own() {
    let redis = "{ urls: ['rediss://a', 'rediss://[::1]:7'], mode: sentinel, master_name: shop }";
    let settings = checked(redis).unwrap().sessions.redis.unwrap();
    let ports: Vec<_> = settings.addresses.iter().map(|address| (&*address.host, address.port)).collect();
    assert_eq!(ports, [("a", 26379), ("::1", 7)]);
    assert!(matches!(&settings.mode, RedisMode::Sentinel { master, .. } if master == "shop"));
}

#[test]
fn clear_text_is_warned_of_beyond_this_machine() {
    for near in ["redis://127.0.0.1", "redis://localhost:1", "redis://[::1]/2"] {
        assert_eq!(findings(&format!("{{ urls: ['{near}'] }}")), Vec::<String>::new(), "{near}");
    }
    let far = findings("{ urls: ['redis://redis:6379'] }");
    assert_eq!(far, ["sessions.redis.urls[0]: without TLS the password and the times of sign-ins travel in clear"]);
}

#[test]
fn what_cannot_work_is_refused_with_its_place() {
    for (redis, expected) in [
        ("{}", "sessions.redis: `urls` is missing"),
        ("{ urls: ['http://redis'] }", "sessions.redis.urls[0]: `http://redis` is no address of a Redis"),
        ("{ urls: ['redis'] }", "sessions.redis.urls[0]: `redis` is no address of a Redis"),
        ("{ urls: ['rediss://u:p@redis'] }", "sessions.redis.urls[0]: a URL here holds no user name and no password"),
        (
            "{ urls: ['rediss://redis/x'] }",
            "sessions.redis.urls[0]: `rediss://redis/x` has more than host, port and database",
        ),
        (
            "{ urls: ['rediss://redis?x'] }",
            "sessions.redis.urls[0]: `rediss://redis?x` has more than host, port and database",
        ),
        ("{ urls: ['rediss://a', 'rediss://b'] }", "sessions.redis.urls[1]: a single server has one address"),
        (
            "{ urls: ['rediss://a', 'redis://localhost'], mode: cluster }",
            "sessions.redis.urls[1]: some are `redis://` and some `rediss://`",
        ),
        (
            "{ urls: ['rediss://a/1'], mode: cluster }",
            "sessions.redis.urls[0]: a cluster has no databases but the first",
        ),
        (
            "{ urls: ['rediss://a/1', 'rediss://a/2'], mode: sentinel, master_name: m }",
            "sessions.redis.urls[1]: another database than that of the first address",
        ),
        ("{ urls: ['rediss://a'], mode: sentinel }", "sessions.redis: `master_name` is missing"),
        ("{ urls: ['rediss://a'], master_name: m }", "sessions.redis.master_name: there are no sentinels"),
        (
            "{ urls: ['rediss://a'], sentinel_password: { env: PASSWORD } }",
            "sessions.redis.sentinel_password: there are no sentinels",
        ),
        ("{ urls: ['rediss://a'], username: u }", "sessions.redis: `password` is missing"),
        (
            "{ urls: ['rediss://a'], password: { env: NOWHERE } }",
            "sessions.redis.password: the environment variable `NOWHERE` is not set",
        ),
        ("{ urls: ['redis://localhost'], tls: {} }", "sessions.redis.tls: no address speaks TLS"),
        ("{ urls: ['rediss://a'], timeout: 0s }", "sessions.redis.timeout: 0s is no wait for Redis"),
        ("{ urls: ['rediss://a'], timeout: 11s }", "sessions.redis.timeout: 11s is no wait for Redis"),
        ("{ urls: ['rediss://a'], prefix: 'a{b}' }", "sessions.redis.prefix: `a{b}` is no prefix for names of records"),
    ] {
        assert!(checked(redis).is_err(), "{redis}");
        assert_eq!(findings(redis), [expected], "{redis}");
    }
}
