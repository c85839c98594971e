//! Real Redis servers (Debian's `redis-server`), each a process of its own in a folder of its own, on ports that were
//! free a moment ago: one server, a cluster, a set that Sentinel watches.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use postern::kv::{RedisAddress, RedisMode, RedisSettings, RedisTls};
use postern::seal::Secret;

use super::Folder;

mod guarded;

pub use guarded::{GuardedCluster, GuardedWatched};

/// How long a server may take to come up, or a set of them to agree.
const COMING_UP: Duration = Duration::from_secs(20);

/// One server. Killed when dropped.
pub struct Redis {
    pub port: u16,
    folder: Folder,
    arguments: Vec<String>,
    child: Option<Child>,
    tls: Option<TlsFiles>,
    user: Option<(String, String)>,
    /// As whom the test itself looks in.
    looks_in_as: Option<(String, String)>,
}

/// A CA, a server's certificate from it, and a client's.
#[derive(Clone)]
pub struct TlsFiles {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// A port that nobody has now. Somebody may take it before it is used; whoever starts a server tries again then.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback socket");
    listener.local_addr().expect("an address").port()
}

impl Redis {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub async fn start_with(arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Self::launch(|_, _| arguments.clone(), None, None).await
    }

    /// TLS only, client certificates wanted, and a user with the rights that docs/redis.md names and no others. The test
    /// itself looks in as another.
    pub async fn start_with_tls(files: &TlsFiles) -> Self {
        let user = ("gateway", "let me in");
        let make = |port: u16, folder: &Folder| {
            let users = format!(
                "user default off\nuser {} on #{} {}\nuser test on #{} ~* &* +@all\n",
                user.0,
                sha256_hex(user.1),
                documented_rights(),
                sha256_hex("test")
            );
            let users = folder.write("users.acl", users);
            let mut arguments = tls_arguments(port, files);
            arguments.extend(["--aclfile".to_owned(), users.display().to_string()]);
            arguments
        };
        let owned = |(name, password): (&str, &str)| Some((name.to_owned(), password.to_owned()));
        Self::launch_as(make, Some(files.clone()), owned(user), owned(("test", "test"))).await
    }

    async fn launch(
        make: impl Fn(u16, &Folder) -> Vec<String>,
        tls: Option<TlsFiles>,
        user: Option<(String, String)>,
    ) -> Self {
        Self::launch_as(make, tls, user, None).await
    }

    async fn launch_as(
        make: impl Fn(u16, &Folder) -> Vec<String>,
        tls: Option<TlsFiles>,
        user: Option<(String, String)>,
        looks_in_as: Option<(String, String)>,
    ) -> Self {
        for _ in 0..10 {
            let (port, folder) = (free_port(), Folder::new());
            let mut arguments = make(port, &folder);
            // A file of settings comes first, if there is one; without it the port must be said.
            if arguments.first().is_none_or(|first| first.starts_with("--")) {
                arguments.splice(0..0, ["--port".to_owned(), port.to_string()]);
            }
            let mut redis = Self {
                port,
                folder,
                arguments,
                child: None,
                tls: tls.clone(),
                user: user.clone(),
                looks_in_as: looks_in_as.clone(),
            };
            if redis.come_up().await {
                return redis;
            }
        }
        panic!("redis-server does not start: is Debian's redis-server installed? tests/run does so");
    }

    /// Starts it (again), on its port, with nothing in it.
    pub async fn restart(&mut self) {
        self.kill();
        let end = Instant::now() + COMING_UP;
        while !self.come_up().await {
            assert!(Instant::now() < end, "redis-server does not come back on port {}", self.port);
        }
    }

    async fn come_up(&mut self) -> bool {
        let dir = self.folder.path(".");
        let child = Command::new("redis-server")
            .args(&self.arguments)
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"])
            .args(["--enable-debug-command", "yes", "--loglevel", "warning"])
            .arg("--dir")
            .arg(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed: tests/run does so");
        self.child = Some(child);
        let end = Instant::now() + COMING_UP;
        while Instant::now() < end {
            if let Some(Ok(Some(_))) = self.child.as_mut().map(Child::try_wait) {
                return false;
            }
            if self.cli(&["PING"]).trim() == "PONG" {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    /// What `redis-cli` prints for a command, errors included.
    pub fn cli(&self, command: &[&str]) -> String {
        let mut cli = Command::new("redis-cli");
        cli.args(["--raw", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
        if let Some(files) = &self.tls {
            cli.arg("--tls").arg("--cacert").arg(&files.ca).arg("--cert").arg(&files.certificate);
            cli.arg("--key").arg(&files.key);
        }
        if let Some((name, password)) = &self.looks_in_as {
            cli.args(["--no-auth-warning", "--user", name, "--pass", password]);
        }
        let output = cli.args(command).output().expect("redis-cli is installed: tests/run does so");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    }

    /// Ends it without a word, as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops it where it stands: connections stay open, nothing is answered.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let child = self.child.as_ref().expect("a server that runs");
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill");
        assert!(sent.success());
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// `redis://…`, for a configuration.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn settings(&self) -> RedisSettings {
        let tls = self.tls.as_ref().map_or_else(RedisTls::default, |files| RedisTls {
            ca: Some(files.ca.clone()),
            identity: Some((files.certificate.clone(), files.key.clone())),
        });
        RedisSettings {
            username: self.user.as_ref().map(|(name, _)| name.clone()),
            password: self.user.as_ref().map(|(_, password)| Secret::new(password.clone())),
            tls,
            ..settings(&[self.port], RedisMode::Single, self.tls.is_some())
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// TLS on this port and nothing else, client certificates wanted.
fn tls_arguments(port: u16, files: &TlsFiles) -> Vec<String> {
    let [certificate, key, ca] = [&files.certificate, &files.key, &files.ca].map(|path| path.display().to_string());
    let port = port.to_string();
    let pairs = [
        ("--port", "0"),
        ("--tls-port", &*port),
        ("--tls-cert-file", &*certificate),
        ("--tls-key-file", &*key),
        ("--tls-ca-cert-file", &*ca),
        ("--tls-auth-clients", "yes"),
        ("--tls-replication", "yes"),
    ];
    pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_owned()]).collect()
}

fn settings(ports: &[u16], mode: RedisMode, tls: bool) -> RedisSettings {
    let address = |port: &u16| RedisAddress { host: "127.0.0.1".to_owned(), port: *port, tls, database: 0 };
    RedisSettings {
        addresses: ports.iter().map(address).collect(),
        mode,
        username: None,
        password: None,
        tls: RedisTls::default(),
        prefix: "postern:".to_owned(),
        timeout: Duration::from_millis(500),
    }
}

/// The rights that an operator is told to give, as the documentation has them.
fn documented_rights() -> String {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/redis.md")).expect("the documentation");
    let line =
        text.lines().find_map(|line| line.strip_prefix("    user postern on >PASSWORD ")).expect("a user's rights");
    line.to_owned()
}

fn sha256_hex(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Certificates for one test, made anew.
pub fn certificates(folder: &Folder, name: &str) -> TlsFiles {
    let ca_key = rcgen::KeyPair::generate().expect("a key");
    let mut ca = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, format!("{name} CA"));
    let ca_certificate = ca.self_signed(&ca_key).expect("a certificate");
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().expect("a key");
    let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned(), "localhost".to_owned()]).expect("parameters");
    let certificate = leaf.signed_by(&key, &issuer).expect("a certificate");
    TlsFiles {
        ca: folder.write(&format!("{name}-ca.crt"), ca_certificate.pem()),
        certificate: folder.write(&format!("{name}.crt"), certificate.pem()),
        key: folder.write(&format!("{name}.key"), key.serialize_pem()),
    }
}

/// Three nodes that share the slots, each with a replica.
pub struct Cluster {
    pub nodes: Vec<Redis>,
}

impl Cluster {
    pub async fn start() -> Self {
        let mut nodes = Vec::new();
        for _ in 0..6 {
            let make = |_: u16, _: &Folder| {
                let bus = free_port().to_string();
                ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "1000"]
                    .map(ToOwned::to_owned)
                    .to_vec()
            };
            nodes.push(Redis::launch(make, None, None).await);
        }
        let cluster = Self { nodes };
        let addresses: Vec<String> = cluster.nodes.iter().map(|node| node.address().to_string()).collect();
        let mut command = vec!["--cluster", "create"];
        command.extend(addresses.iter().map(String::as_str));
        command.extend(["--cluster-replicas", "1", "--cluster-yes"]);
        let said = Command::new("redis-cli").args(&command).output().expect("redis-cli");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stdout));
        cluster.until_whole().await;
        cluster
    }

    /// Waits until every node that runs sees all slots served and three replicas that follow.
    pub async fn until_whole(&self) {
        let runs = |node: &&Redis| node.child.is_some();
        super::eventually("a whole cluster", COMING_UP, || {
            self.nodes
                .iter()
                .filter(runs)
                .all(|node| node.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok"))
                .then_some(())
        })
        .await;
    }

    pub async fn until_replicated(&self) {
        super::eventually("replicas that follow", COMING_UP, || {
            let followed = self.nodes.iter().filter(|node| node.cli(&["INFO", "replication"]).contains("state=online"));
            (followed.count() == 3).then_some(())
        })
        .await;
    }

    pub fn settings(&self) -> RedisSettings {
        let ports: Vec<u16> = self.nodes.iter().map(|node| node.port).collect();
        settings(&ports, RedisMode::Cluster, false)
    }
}

/// A master, a replica, and three sentinels that watch them.
pub struct Watched {
    pub servers: Vec<Redis>,
    pub sentinels: Vec<Redis>,
}

impl Watched {
    pub async fn start() -> Self {
        let master = Redis::start().await;
        let replica = Redis::start_with(&["--replicaof", "127.0.0.1", &master.port.to_string()]).await;
        super::eventually("a replica that follows", COMING_UP, || {
            master.cli(&["INFO", "replication"]).contains("state=online").then_some(())
        })
        .await;
        let mut sentinels = Vec::new();
        for _ in 0..3 {
            let port = master.port;
            let make = move |own: u16, folder: &Folder| {
                let text = format!(
                    "port {own}\nsentinel monitor shop 127.0.0.1 {port} 2\nsentinel down-after-milliseconds shop 500\n\
                     sentinel failover-timeout shop 2000\n"
                );
                let file = folder.write("sentinel.conf", text);
                vec![file.display().to_string(), "--sentinel".to_owned()]
            };
            sentinels.push(Redis::launch(make, None, None).await);
        }
        let watched = Self { servers: vec![master, replica], sentinels };
        super::eventually("sentinels that know each other", COMING_UP, || {
            let knows = |sentinel: &Redis| {
                let told = sentinel.cli(&["SENTINEL", "MASTER", "shop"]);
                let fields: Vec<&str> = told.lines().collect();
                let value = |name: &str| fields.windows(2).find(|pair| pair[0] == name).map(|pair| pair[1]);
                value("num-other-sentinels") == Some("2") && value("num-slaves") == Some("1")
            };
            watched.sentinels.iter().all(knows).then_some(())
        })
        .await;
        watched
    }

    pub fn settings(&self) -> RedisSettings {
        let ports: Vec<u16> = self.sentinels.iter().map(|sentinel| sentinel.port).collect();
        let mode = RedisMode::Sentinel { master: "shop".to_owned(), username: None, password: None };
        settings(&ports, mode, false)
    }
}
