//! A gateway in the test's own process, on a clock that the test moves.

use std::net::SocketAddr;
use std::sync::Arc;

use http::request::Parts as Head;
use postern::app::{self, Parts, Running};
use postern::authn::{MemoryLimits, TokenMemory};
use postern::clock::ManualClock;
use postern::config::{self, Environment, File, Sources, ZeroFile};
use postern::control::Control;
use postern::plan;
use postern::plan::compile::{Wiring, compile, process};
use postern::plan::running::{Plan, Process};
use postern::server::Address;
use postern::telemetry::Metrics;

use super::eventually_async;
use super::raw::{self, Answer, PATIENCE};

pub struct Inside {
    pub plan: Arc<Plan>,
    pub process: Process,
    pub running: Arc<Running>,
}

impl Inside {
    /// A gateway with this configuration whose issuers have all been looked up once. `fault` runs before every request.
    pub async fn start(text: &str, hands: &ManualClock, fault: Option<fn(&Head)>) -> Self {
        let file = File::Text { path: "gateway.yaml".into(), text: text.to_owned() };
        let sources = Sources { file, environment: Environment::default(), zero_file: ZeroFile::default() };
        let loaded = config::load(sources).unwrap_or_else(|report| panic!("{report}"));
        let checked = plan::check(&loaded).unwrap_or_else(|report| panic!("{report}"));
        let (clock, control, metrics) = (hands.clock(), Control::current(), Metrics::new());
        let memory = Arc::new(TokenMemory::new(MemoryLimits::default()));
        let wiring = Wiring {
            clock: clock.clone(),
            control: control.clone(),
            metrics: metrics.clone(),
            memory: Arc::clone(&memory),
        };
        let plan = Arc::new(compile(&checked, &wiring).expect("a plan"));
        let workers = checked.server.workers.map_or(1, |workers| workers as usize);
        let process = process(&checked, workers, 20_000);
        let parts = Parts { clock, control, metrics, memory, access_log: None, fault };
        let running = Arc::new(app::start(Arc::clone(&plan), &process, &parts).expect("a gateway"));
        for issuer in &plan.issuers {
            issuer.attempted(1).await;
        }
        Self { plan, process, running }
    }

    pub fn address(&self) -> SocketAddr {
        self.running.address().expect("a TCP listener")
    }

    pub async fn admin(&self, target: &str) -> Answer {
        let Address::Tcp(address) = self.running.admin() else { panic!("the admin listens on TCP") };
        raw::get(*address, "localhost", target).await
    }

    /// Waits until a metric, given with its labels, has this value: a request is counted when all is over, which may be
    /// after its answer has come.
    pub async fn until_metric(&self, name: &str, value: u64) {
        let line = format!("{name} {value}");
        eventually_async(&line, PATIENCE, async || {
            self.admin("/metrics").await.text().lines().any(|have| have == line).then_some(())
        })
        .await;
    }
}
