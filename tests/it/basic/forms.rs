//! How a name and a password are shown (RFC 7617), and where they never go.

use super::*;

#[tokio::test]
async fn what_has_no_single_reading_is_a_400_and_asks_nobody() {
    let world = World::start().await;
    for field in [
        "Basic",
        "Basic !",
        "Basic YWxpY2U",
        "Basic YWxpY2U=",
        "Basic YWxpY2U6d29uZGVybGFuZA",
        "Basic YWxpY2U6d29uZGVybGFuZA===",
        "Basic  YWxpY2U6d29uZGVybGFuZA==",
        "Basic YWxpY2U6d29uZGVybGFuZA==,",
        "Basic YWxpY2U6d29uZGVybGFuZA== x",
        "Basic username=alice",
        // NUL and line feed in the password; Latin-1.
        "Basic YWxpY2U6AA==",
        "Basic YWxpY2U6Cg==",
        "Basic YWxpY2U6/A==",
    ] {
        let answer = world.get("/basic/x", field).await;
        assert_eq!((answer.status, answer.value("www-authenticate")), (400, None), "{field}");
    }
    let long = shown("alice", &"x".repeat(1025));
    assert_eq!(world.get("/basic/x", &long).await.status, 400);
    let alice = shown("alice", "wonderland");
    let twice = world.send("GET", "/basic/x", &[("Authorization", &alice), ("Authorization", &alice)]).await;
    assert_eq!(twice.status, 400);
    for two in [
        [("Authorization", alice.as_str()), ("Authorization", "Bearer x")],
        [("Authorization", "Bearer x"), ("Authorization", &alice)],
    ] {
        for route in ["/basic/x", "/both/x", "/optional/x", "/bearer/x"] {
            assert_eq!(world.send("GET", route, &two).await.status, 400, "{route}");
        }
    }
    assert_eq!(world.get("/both/x?access_token=x", &alice).await.status, 400);
    assert_eq!((world.asked(), world.seen().len()), (0, 0));
    assert_eq!(world.get("/basic/x", &alice.replace("Basic", "bASIC")).await.status, 200);
}

#[tokio::test]
async fn no_password_goes_up_on_any_route() {
    let world = World::start().await;
    let alice = shown("alice", "wonderland");
    for (route, wanted) in
        [("/basic/x", None), ("/optional/x", None), ("/relayed/x", Some("Bearer ")), ("/exchanged/x", Some("Bearer "))]
    {
        let spelt = [
            ("Authorization", alice.as_str()),
            ("Proxy-Authorization", &alice),
            ("X-Forwarded-User", "root"),
            ("X-Forwarded-Access-Token", "forged"),
            ("Connection", "x-forwarded-user"),
        ];
        let answer = world.send("GET", route, &spelt).await;
        assert_eq!(answer.status, 200, "{route}: {}", answer.text());
        let seen = world.seen();
        let raw = format!("{:?}", seen[0]);
        for secret in ["wonderland", &STANDARD.encode("alice:wonderland"), "root", "forged"] {
            assert!(!raw.contains(secret), "{route}: {raw}");
        }
        let up = seen[0].value("authorization");
        assert_eq!(up.map(|field| field.get(..7).unwrap_or_default()), wanted, "{route}");
        assert_eq!(seen[0].value("x-forwarded-user"), Some("alice"));
    }
}

#[tokio::test]
async fn nothing_of_a_password_is_printed() {
    let world = World::start().await;
    world.alice("/basic/x").await;
    world.status("/basic/x", "alice", "looking-glass").await;
    let told = format!("{:?} {}", world.gateway.plan, world.gateway.admin("/metrics").await.text());
    let status = world.gateway.admin("/status?format=json").await.text();
    for secret in ["wonderland", "looking-glass", &STANDARD.encode("alice:wonderland"), "legacy-secret"] {
        assert!(!told.contains(secret) && !status.contains(secret), "{secret}");
    }
}
