//! The same with a real browser: Debian's Chromium, driven by `tests/chromium/drive.mjs`. Screenshots of every page are
//! left under `target/screenshots`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use postern::clock::Clock;
use postern::devidp::{ClientEntry, GrantType, Provider, Settings};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

use super::{KEY, app};
use crate::support::Folder;
use crate::support::gateway::{Gateway, Start};
use crate::support::raw;
use crate::support::upstream::Upstream;

/// Starting a browser and a dozen pages on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// Where Debian and others put it.
fn chromium() -> PathBuf {
    let names = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
    let found = names.iter().map(Path::new).find(|path| path.exists());
    found.expect("Chromium is installed: tests/run does so").to_owned()
}

/// A provider for these sites; what it hands out is over after a few seconds.
async fn provider(sites: &[String]) -> Provider {
    let client = |client: ClientEntry| ClientEntry {
        redirect_uris: sites.iter().map(|site| format!("{site}/oauth2/callback")).collect(),
        post_logout_redirect_uris: sites.iter().map(|site| format!("{site}/oauth2/signed_out")).collect(),
        backchannel_logout_uri: None,
        access_token_lifetime: Duration::from_secs(2),
        ..client
    };
    let settings = Settings::demo();
    let settings = Settings { clients: settings.clients.into_iter().map(client).collect(), ..settings };
    Provider::start(([127, 0, 0, 1], 0).into(), settings, Clock::system()).await.expect("a provider")
}

struct Stage {
    provider: Provider,
    _partner: Provider,
    gateway: Gateway,
    site: String,
    choice: String,
    /// Sites whose answers come by these ways, by name.
    fronts: [(&'static str, String); 3],
    _folder: Folder,
    _upstream: Upstream,
}

/// A gateway that ends TLS itself, with a site of one provider, a site of two, and sites with tokens in the browser: by a
/// fragment, by a form across sites, and by a form on loopback without TLS.
async fn stage() -> Stage {
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (port, plain) = (free(), free());
    let (site, choice) = (format!("https://shop.test:{port}"), format!("https://choice.test:{port}"));
    let fronts = [
        ("fragment", format!("https://fragment.test:{port}")),
        ("posted", format!("https://posted.test:{port}")),
        ("loopback", format!("http://127.0.0.1:{plain}")),
    ];
    let mut sites = vec![site.clone(), choice.clone()];
    sites.extend(fronts.iter().map(|(_, site)| site.clone()));
    let (upstream, provider, partner) = (Upstream::start(app).await, provider(&sites).await, provider(&sites).await);
    let folder = Folder::new();
    let names = ["shop.test", "choice.test", "fragment.test", "posted.test"].map(str::to_owned);
    let certified = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let certificate = folder.write("tls.crt", certified.cert.pem());
    let key = folder.write("tls.key", certified.signing_key.serialize_pem());
    let scopes = "[openid, profile, email]";
    let config = format!(
        "server:\n  listeners:\n    - bind: 127.0.0.1:{port}\n      tls: {{ certificates: [{{ certificate: {}, private_key: {} }}] }}\n    - bind: 127.0.0.1:{plain}\n  workers: 1\n\
         admin: {{ bind: 127.0.0.1:0 }}\ntelemetry: {{ log: {{ format: json }}, access_log: json }}\n\
         sessions: {{ store: memory, keys: [{KEY}] }}\nupstreams: {{ app: {{ servers: [http://{}] }} }}\n\
         issuers:\n  corp: {{ issuer: {}, audiences: [orders] }}\n  partner: {{ issuer: {}, audiences: [orders] }}\n\
         clients:\n  corp: {{ issuer: corp, client_id: shop, client_secret: shop-secret, scopes: {scopes} }}\n  partner: {{ issuer: partner, client_id: shop, client_secret: shop-secret, scopes: {scopes} }}\n  hybrid: {{ issuer: corp, client_id: hybrid, client_secret: hybrid-secret, allowed_grant_types: hybrid, allow_access_tokens_via_browser: true, scopes: {scopes} }}\n\
         sites:\n  shop: {{ url: {site}, sign_in: [corp], preserve_post: 4KiB }}\n  choice: {{ url: {choice}, sign_in: [corp, partner], pages: {{ name: The Shop }} }}\n{}\
         routes:\n  - {{ match: {{ path: /** }}, upstream: app, access: {{ session: {{ site: shop }} }} }}\n  - {{ match: {{ path: /** }}, upstream: app, access: {{ session: {{ site: choice }} }} }}\n{}",
        certificate.display(),
        key.display(),
        upstream.address,
        provider.issuer(),
        partner.issuer(),
        fronts.iter().map(|(name, url)| front(name, url)).collect::<String>(),
        fronts
            .iter()
            .map(|(name, _)| format!(
                "  - {{ match: {{ path: /** }}, upstream: app, access: {{ session: {{ site: {name} }} }} }}\n"
            ))
            .collect::<String>(),
    );
    let gateway = Gateway::start_as(Start { config: &config, ..Start::default() }).await;
    Stage { provider, _partner: partner, gateway, site, choice, fronts, _folder: folder, _upstream: upstream }
}

/// A site with tokens in the browser.
fn front(name: &str, url: &str) -> String {
    let asked = if name == "fragment" { "code id_token, response_mode: fragment" } else { "code id_token token" };
    format!("  {name}: {{ url: \"{url}\", sign_in: [hybrid], response_type: {asked} }}\n")
}

impl Stage {
    /// Does what the driver can't.
    async fn act(&self, what: &str) {
        match what {
            "renewed" => assert!(self.provider.calls(GrantType::RefreshToken) > 0, "no token was renewed"),
            "backchannel" => {
                let token = self.provider.logout_token("shop", Some("alice"), None, None);
                let body = format!("logout_token={token}");
                let host = self.site.trim_start_matches("https://");
                let head = format!(
                    "POST /oauth2/backchannel_logout HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
                     Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                let answer = raw::request(self.gateway.addresses[1], &(head + &body)).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
            other => panic!("the driver asks for {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_real_browser_signs_in_goes_on_and_signs_out() {
    let stage = stage().await;
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = checkout.join("tests/chromium");
    assert!(
        folder.join("node_modules").is_dir(),
        "tests/run installs what the tests start; without it: npm ci in {}",
        folder.display()
    );
    let shots = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("screenshots");
    std::fs::create_dir_all(&shots).expect("a folder for screenshots");
    let fronts: serde_json::Map<_, _> =
        stage.fronts.iter().map(|(name, site)| ((*name).to_owned(), json!(site))).collect();
    let told = json!({ "site": stage.site, "choice": stage.choice, "fronts": fronts, "executable": chromium(), "shots": shots });
    let mut driver = Command::new("node")
        .arg("drive.mjs")
        .arg(told.to_string())
        .current_dir(&folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("node is installed: tests/run does so");
    let mut says = BufReader::new(driver.stdout.take().expect("piped")).lines();
    let mut hears = driver.stdin.take().expect("piped");
    let driven = async {
        let mut held = 0;
        while let Some(line) = says.next_line().await.expect("a line") {
            println!("{line}");
            held += usize::from(line.starts_with("held: "));
            if let Some(what) = line.strip_prefix("ask: ") {
                stage.act(what).await;
                hears.write_all(b"done\n").await.expect("the driver listens");
            }
        }
        (held, driver.wait().await.expect("a child of ours"))
    };
    let (held, status) = tokio::time::timeout(PATIENCE, driven).await.expect("the browser is done in time");
    assert!(status.success(), "the driver: {status}");
    assert_eq!(held, 16, "everything was looked at");
    for name in
        ["signed-in", "failed", "expired", "confirm", "signed-out", "choice-light", "choice-dark", "fragment-no-script"]
    {
        assert!(shots.join(format!("{name}.png")).is_file(), "{name}");
    }
}
