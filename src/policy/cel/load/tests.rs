use super::*;

fn reads(source: &str) -> Reads {
    load(source).map(|loaded| loaded.reads).expect(source)
}

fn refused(source: &str) -> ProgramError {
    load(source).map(|_| ()).expect_err(source)
}

fn these(names: &[&str]) -> Members {
    Members::These(names.iter().map(|name| Box::from(*name)).collect())
}

#[test]
fn only_the_claims_that_are_named_are_read() {
    let reads = reads(r#"claims.tenant == claims["org"].name && "admin" in claims.roles && has(claims.email)"#);
    assert_eq!(reads, Reads { claims: these(&["tenant", "org", "roles", "email"]), ..Reads::default() });
}

#[test]
fn a_computed_name_reads_all_claims() {
    assert_eq!(reads(r"claims[request.method] == 1").claims, Members::All);
    assert_eq!(reads("claims.exists(name, name.startsWith('x'))").claims, Members::All);
}

#[test]
fn a_header_is_read_by_its_name() {
    let reads = reads(r#"request.headers["x-tenant"] == "a" && "x-region" in request.headers"#);
    assert_eq!(reads.headers, these(&["x-tenant", "x-region"]));
    assert_eq!(reads.request, these(&["headers"]));
    assert_eq!(reads.claims, Members::None);
}

#[test]
fn a_loop_variable_hides_a_variable_and_is_no_unknown_one() {
    assert_eq!(reads("[1].all(claims, claims == 1)"), Reads::default());
    assert_eq!(reads("claims.groups.exists(group, group == caller.subject)").caller, these(&["subject"]));
}

#[test]
fn what_does_not_exist_is_refused_by_its_name() {
    assert_eq!(refused("claim.tenant == 1"), ProgramError::UnknownVariable("claim".into()));
    assert_eq!(refused("claims.groups.exists(g, h == 1)"), ProgramError::UnknownVariable("h".into()));
    assert!(matches!(refused("request.heders.a == 1"), ProgramError::UnknownField { of: "request", .. }));
    assert!(matches!(refused("caller.name == 1"), ProgramError::UnknownField { of: "caller", .. }));
    assert_eq!(refused("lookup(claims.sub)"), ProgramError::UnknownFunction("lookup".into()));
    assert_eq!(refused("claims.sub.lookup()"), ProgramError::UnknownFunction("lookup".into()));
    assert_eq!(refused(r#"request.headers["X-Tenant"] == "a""#), ProgramError::HeaderCase("x-tenant".into()));
}

#[test]
fn standard_functions_are_known() {
    for source in [
        "size(claims.groups) > 0",
        "claims.sub.startsWith('a') && claims.sub.endsWith('b') && claims.sub.contains('c')",
        "type(claims.sub) == string && int(claims.level) > 2",
        "timestamp(claims.until) > timestamp('2026-01-01T00:00:00Z') && duration('1h') > duration('1m')",
        "claims.groups.exists_one(g, g == 'a') || claims.groups.map(g, g).filter(g, true).all(g, true)",
        "claims.admin ? true : !false",
        "true",
    ] {
        reads(source);
    }
}

#[test]
fn comprehensions_nest_at_most_twice_and_chain_freely() {
    reads("claims.a.exists(x, claims.b.exists(y, x == y))");
    reads("claims.a.map(x, x).filter(x, true).map(x, x).exists(x, true)");
    let three = "claims.a.exists(x, claims.b.exists(y, claims.c.exists(z, x == y && y == z)))";
    assert_eq!(refused(three), ProgramError::TooNested);
    assert_eq!(refused(&format!("[{three}].all(x, true)")), ProgramError::TooNested);
}

#[test]
fn patterns_are_compiled_when_loaded() {
    let loaded = load("claims.sub.matches('^a+$') && matches(claims.org, 'b')").map_err(|error| error.to_string());
    assert_eq!(loaded.map(|loaded| loaded.patterns.len()), Ok(2));
    assert!(matches!(refused("claims.sub.matches('(')"), ProgramError::Pattern { .. }));
    assert_eq!(refused("claims.sub.matches(claims.pattern)"), ProgramError::PatternNotLiteral);
    assert!(matches!(refused("claims.sub.matches('(a{1000}){1000}')"), ProgramError::Pattern { .. }));
}

#[test]
fn what_can_never_be_a_policy_is_refused() {
    assert!(matches!(refused("claims.tenant =="), ProgramError::Syntax(_)));
    assert!(matches!(refused(""), ProgramError::Syntax(_)));
    assert_eq!(refused("'yes'"), ProgramError::NotBoolean);
    assert_eq!(refused("[true]"), ProgramError::NotBoolean);
    assert_eq!(refused(&format!("true || '{}' == ''", "a".repeat(MAX_LENGTH))), ProgramError::TooLong);
    assert!(matches!(refused(&format!("{}true{}", "(".repeat(300), ")".repeat(300))), ProgramError::Syntax(_)));
}
