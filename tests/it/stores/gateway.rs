//! A gateway whose Redis goes away says so, and what does not need it goes on.

use crate::support::eventually_async;
use crate::support::raw::{self, PATIENCE};
use crate::support::redis::Redis;
use crate::support::standard::{Layout, Standard};
use crate::support::tokens::good;

async fn tells(standard: &Standard, path: &str, what: &str) {
    eventually_async(&format!("{path} tells {what}"), PATIENCE, async || {
        let answer = raw::get(standard.gateway.admin, "localhost", path).await;
        (answer.status == 200 && answer.text().contains(what)).then_some(())
    })
    .await;
}

/// F12
#[tokio::test]
async fn redis_away_is_degraded_and_bearer_routes_go_on() {
    let mut redis = Redis::start().await;
    let sections = format!("sessions: {{ redis: {{ urls: [\"{}\"] }} }}\n", redis.url());
    let standard = Standard::start_with(Layout { sections, ..Layout::default() }).await;
    tells(&standard, "/metrics", "\npostern_redis_up 1\n").await;
    tells(&standard, "/readyz", "\"ready\"").await;
    redis.kill();
    tells(&standard, "/metrics", "\npostern_redis_up 0\n").await;
    tells(&standard, "/readyz", "\"degraded\"").await;
    tells(&standard, "/readyz", "\"redis\"").await;
    tells(&standard, "/status", "\"unhealthy\"").await;
    assert_eq!(standard.get("/api/x", Some(&good("read"))).await.status, 200);
    redis.restart().await;
    tells(&standard, "/metrics", "\npostern_redis_up 1\n").await;
    tells(&standard, "/readyz", "\"ready\"").await;
}

#[tokio::test]
async fn redis_away_at_the_start_keeps_no_gateway_from_starting() {
    let mut redis = Redis::start().await;
    redis.kill();
    let sections = format!("sessions: {{ redis: {{ urls: [\"{}\"] }} }}\n", redis.url());
    let standard = Standard::start_with(Layout { sections, ..Layout::default() }).await;
    tells(&standard, "/readyz", "\"degraded\"").await;
    assert_eq!(standard.get("/api/x", Some(&good("read"))).await.status, 200);
}
