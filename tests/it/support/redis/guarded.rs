//! The same sets with everything locked: TLS between all of them and towards clients, certificates on both sides, and
//! passwords, of the servers' own and of the sentinels'.

use std::process::Command;

use postern::kv::{RedisMode, RedisSettings, RedisTls};
use postern::seal::Secret;

use super::{COMING_UP, Redis, TlsFiles, certificates, free_port, settings, tls_arguments};
use crate::support::{Folder, eventually};

const PASSWORD: &str = "of-the-servers";
const SENTINELS: &str = "of-the-sentinels";

/// Three nodes that share the slots.
pub struct GuardedCluster {
    pub nodes: Vec<Redis>,
    files: TlsFiles,
    _folder: Folder,
}

/// A server and a sentinel that watches it.
pub struct GuardedWatched {
    _server: Redis,
    sentinel: Redis,
    files: TlsFiles,
    _folder: Folder,
}

fn login(password: &str) -> Option<(String, String)> {
    Some(("default".to_owned(), password.to_owned()))
}

fn guarded(settings: RedisSettings, files: &TlsFiles) -> RedisSettings {
    let identity = Some((files.certificate.clone(), files.key.clone()));
    let tls = RedisTls { ca: Some(files.ca.clone()), identity };
    RedisSettings { tls, password: Some(Secret::new(PASSWORD.to_owned())), ..settings }
}

impl GuardedCluster {
    pub async fn start() -> Self {
        let folder = Folder::new();
        let files = certificates(&folder, "cluster");
        let mut nodes = Vec::new();
        for _ in 0..3 {
            let make = |port: u16, _: &Folder| {
                let bus = free_port().to_string();
                let more = ["--tls-cluster", "yes", "--cluster-enabled", "yes", "--cluster-port", &bus];
                let password = ["--requirepass", PASSWORD, "--masterauth", PASSWORD];
                let more = more.into_iter().chain(password).map(ToOwned::to_owned);
                tls_arguments(port, &files).into_iter().chain(more).collect()
            };
            nodes.push(Redis::launch_as(make, Some(files.clone()), None, login(PASSWORD)).await);
        }
        let cluster = Self { nodes, files, _folder: folder };
        let mut command = Command::new("redis-cli");
        command.args(["--no-auth-warning", "--pass", PASSWORD, "--tls"]);
        command.arg("--cacert").arg(&cluster.files.ca).arg("--cert").arg(&cluster.files.certificate);
        command.arg("--key").arg(&cluster.files.key).args(["--cluster", "create"]);
        command.args(cluster.nodes.iter().map(|node| node.address().to_string()));
        let said = command.args(["--cluster-replicas", "0", "--cluster-yes"]).output().expect("redis-cli");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
        eventually("a whole cluster", COMING_UP, || {
            let is_whole = |node: &Redis| node.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
            cluster.nodes.iter().all(is_whole).then_some(())
        })
        .await;
        cluster
    }

    pub fn settings(&self) -> RedisSettings {
        let ports: Vec<u16> = self.nodes.iter().map(|node| node.port).collect();
        guarded(settings(&ports, RedisMode::Cluster, true), &self.files)
    }
}

impl GuardedWatched {
    pub async fn start() -> Self {
        let folder = Folder::new();
        let files = certificates(&folder, "sentinel");
        let make = |port: u16, _: &Folder| {
            let password = ["--requirepass", PASSWORD, "--masterauth", PASSWORD].map(ToOwned::to_owned);
            tls_arguments(port, &files).into_iter().chain(password).collect()
        };
        let server = Redis::launch_as(make, Some(files.clone()), None, login(PASSWORD)).await;
        let make = |own: u16, folder: &Folder| {
            // In the file, for a sentinel writes what it learns to where it read.
            let tls = tls_arguments(own, &files);
            let tls: Vec<String> =
                tls.chunks(2).map(|pair| pair.join(" ").trim_start_matches("--").to_owned()).collect();
            let text = format!(
                "{}\nrequirepass {SENTINELS}\nsentinel monitor shop 127.0.0.1 {} 1\nsentinel auth-pass shop {PASSWORD}\n",
                tls.join("\n"),
                server.port
            );
            vec![folder.write("sentinel.conf", text).display().to_string(), "--sentinel".to_owned()]
        };
        let sentinel = Redis::launch_as(make, Some(files.clone()), None, login(SENTINELS)).await;
        Self { _server: server, sentinel, files, _folder: folder }
    }

    pub fn settings(&self) -> RedisSettings {
        let password = Some(Secret::new(SENTINELS.to_owned()));
        let mode = RedisMode::Sentinel { master: "shop".to_owned(), username: None, password };
        guarded(settings(&[self.sentinel.port], mode, true), &self.files)
    }
}
