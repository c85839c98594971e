//! The gateway in this process, where a test holds its clock and can make a handler fail: F35 (a handler panics), F46
//! (the wall clock steps), readiness and drain by the clock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts as Head;
use postern::app::Running;
use postern::clock::{ManualClock, Time};
use postern::idp::Standing;
use postern::plan::running::{Plan, Process};
use postern::server::Address;
use serde_json::json;
use tokio::net::TcpStream;

use crate::support::inside::Inside;
use crate::support::keys::{Key, ring};
use crate::support::provider::Provider;
use crate::support::raw::{self, Answer, Connection, PATIENCE, Until};
use crate::support::standard::{HOST, Layout};
use crate::support::tokens::{AUDIENCE, signed};
use crate::support::upstream::{Reply, Seen, Step, Upstream, answer};
use crate::support::{eventually, eventually_async};

mod clock;
mod faults;
mod lifetime;

/// Seconds since 1970 when a test begins.
const START: u64 = 1_700_000_000;
const HOUR: u64 = 3600;

struct World {
    hands: ManualClock,
    provider: Provider,
    upstream: Upstream,
    plan: Arc<Plan>,
    process: Process,
    running: Arc<Running>,
}

impl World {
    /// A gateway with one worker that has tried once to load its issuer's keys.
    async fn start(
        server: &str,
        provider: Provider,
        upstream: impl Fn(&Seen) -> Reply + Send + Sync + 'static,
        fault: Option<fn(&Head)>,
    ) -> Self {
        let upstream = Upstream::start(upstream).await;
        let server = format!("  listeners: [{{ bind: 127.0.0.1:0 }}]\n  workers: 1\n{server}");
        let text = Layout { server, ..Layout::default() }.config(&provider.issuer(), upstream.address);
        let hands = ManualClock::at(Time::from_seconds(START));
        let Inside { plan, process, running } = Inside::start(&text, &hands, fault).await;
        Self { hands, provider, upstream, plan, process, running }
    }

    fn address(&self) -> SocketAddr {
        self.running.address().expect("a TCP listener")
    }

    async fn connect(&self) -> Connection {
        Connection::open(self.address()).await
    }

    async fn admin(&self, target: &str) -> Answer {
        let Address::Tcp(address) = self.running.admin() else { panic!("the admin listens on TCP") };
        raw::get(*address, "localhost", target).await
    }

    async fn ready(&self) -> u16 {
        self.admin("/readyz").await.status
    }

    /// Waits until a metric, given with its labels, has this value: a request is counted when all is over, which may
    /// be after its answer has come.
    async fn until_metric(&self, name: &str, value: u64) {
        let line = format!("{name} {value}");
        eventually_async(&line, PATIENCE, async || {
            self.admin("/metrics").await.text().lines().any(|have| have == line).then_some(())
        })
        .await;
    }

    /// A token of the issuer that is good for five minutes from this time.
    fn token(&self, key: &Key, at: u64) -> String {
        signed(
            key,
            json!({
                "iss": self.provider.issuer(), "sub": "alice", "aud": AUDIENCE, "client_id": "shop", "scope": "read",
                "iat": at - 5, "nbf": at - 5, "exp": at + 300,
            }),
        )
    }

    fn step_wall(&self, to: u64) {
        self.hands.step_wall(Time::from_seconds(to));
    }
}

/// A GET with these further header lines, each ended by CR LF, on a connection that is kept.
async fn get(connection: &mut Connection, target: &str, lines: &str) -> Answer {
    connection.send(format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n").as_bytes()).await;
    connection.answer().await
}

async fn with_token(connection: &mut Connection, token: &str) -> Answer {
    get(connection, "/api/x", &format!("Authorization: Bearer {token}\r\n")).await
}

async fn healthy() -> Provider {
    Provider::start(&ring().set()).await
}

fn echo(_: &Seen) -> Reply {
    Reply::Echo
}
