//! How a credential is shown (RFC 6750 section 2; configuration contract, sections 4 and 6).

use super::{Ask, Check, rows};

pub async fn run(check: &mut Check) {
    let machine = check.machine("orders:read");
    let alice = check.alice("orders:read");
    let orders = || Ask::get("/orders");
    let basic = "Basic YmF0Y2g6YmF0Y2gtc2VjcmV0";
    let cases = vec![
        ("no token", "401 credential.missing", orders()),
        ("machine token, scope orders:read", "200", orders().bearer(&machine)),
        ("the same token again, remembered", "200", orders().bearer(&machine)),
        ("user token, scope orders:read", "200", orders().bearer(&alice)),
        ("scheme in another case", "200", orders().with("authorization", format!("bEARER {machine}"))),
        ("token in the query only", "401 credential.missing", Ask::get(format!("/orders?access_token={machine}"))),
        (
            "token in header and query",
            "400 credential.repeated",
            Ask::get(format!("/orders?access_token={machine}")).bearer(&machine),
        ),
        ("two Authorization fields", "400 credential.repeated", orders().bearer(&machine).bearer(&alice)),
        ("Bearer with nothing", "400 credential.malformed", orders().with("Authorization", "Bearer")),
        ("Bearer with a comma", "400 credential.malformed", orders().with("Authorization", "Bearer a,b")),
        ("Basic, which the route does not take", "401 credential.missing", orders().with("Authorization", basic)),
        ("token in a cookie", "401 credential.missing", orders().with("Cookie", format!("access_token={machine}"))),
        ("public route, no token", "200", Ask::get("/public/status")),
        ("public route, any token", "200", Ask::get("/public/status").bearer("not.looked.at")),
        ("optional route, no token", "200", Ask::get("/check/optional/headers")),
        ("optional route, good token", "200", Ask::get("/check/optional/headers").bearer(&alice)),
        ("optional route, bad token", "401 token.malformed", Ask::get("/check/optional/headers").bearer("garbage")),
    ];
    rows(check, cases).await;
}
