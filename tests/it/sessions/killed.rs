//! A process that is killed while it renews a session's tokens, for real: two processes that share Redis, and a provider
//! that takes its time. Whoever comes next goes on or signs in: never a 500, never left hanging.

use postern::clock::Clock;

use super::*;
use crate::support::eventually_async;
use crate::support::gateway::Gateway as Process;

/// By the clock of everybody: the processes' own can't be moved.
const SHORT: Duration = Duration::from_secs(3);

const PATIENCE: Duration = Duration::from_secs(45);

struct Pair {
    provider: Provider,
    redis: Redis,
    _upstream: Upstream,
    first: Process,
    second: Process,
}

impl Pair {
    async fn start() -> Self {
        let redis = Redis::start().await;
        let upstream = Upstream::start(app).await;
        let settings = Settings::demo().behind(SITE);
        let client = |client: ClientEntry| ClientEntry {
            backchannel_logout_uri: None,
            access_token_lifetime: SHORT,
            refresh_rotation: true,
            ..client
        };
        let settings = Settings { clients: settings.clients.into_iter().map(client).collect(), ..settings };
        let provider =
            Provider::start(([127, 0, 0, 1], 0).into(), settings, Clock::system()).await.expect("a provider");
        let config = format!(
            "server: {{ listeners: [{{ bind: 127.0.0.1:0 }}], workers: 1 }}\nadmin: {{ bind: 127.0.0.1:0 }}\n\
             sessions: {{ store: redis, keys: [{KEY}], redis: {{ urls: ['redis://{}'] }} }}\n\
             upstreams: {{ app: {{ servers: [http://{}] }} }}\nissuers: {{ corp: {{ issuer: {}, audiences: [orders] }} }}\n\
             clients: {{ corp-web: {{ issuer: corp, client_id: shop, client_secret: shop-secret }} }}\n\
             sites: {{ shop: {{ url: '{SITE}', sign_in: [corp-web] }} }}\n\
             routes:\n  - {{ match: {{ path: /** }}, upstream: app, access: {{ session: {{ site: shop }} }} }}\n",
            redis.address(),
            upstream.address,
            provider.issuer(),
        );
        let (first, second) = (Process::start(&config).await, Process::start(&config).await);
        Self { provider, redis, _upstream: upstream, first, second }
    }

    fn lease(&self) -> Option<String> {
        let keys = self.redis.cli(&["--raw", "KEYS", "*lease:*"]);
        keys.lines().next().filter(|key| !key.is_empty()).map(ToOwned::to_owned)
    }
}

async fn fetch(process: &Process, cookies: &str) -> Answer {
    let head = format!(
        "GET /a HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\nSec-Fetch-Site: same-origin\r\n\
         Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\nCookie: {cookies}\r\n\r\n"
    );
    raw::request(process.address(), &head).await
}

#[tokio::test]
async fn who_comes_after_a_process_that_was_killed_in_a_renewal_goes_on_or_signs_in() {
    // Before the provider did anything, and after it took the old refresh token and nobody heard of the new.
    for (fault, afterwards) in [(Fault::Hang, 200), (Fault::HangAfter, 401)] {
        let mut pair = Pair::start().await;
        let mut alice = Browser::default().knows(SITE, pair.first.address());
        let page = alice.sign_in(&format!("{SITE}/orders"), "alice", "wonderland").await;
        assert_eq!(page.status, 200, "{:#?}", page.trail());
        let cookies = cookies_of(&alice);
        pair.provider.set_fault(Endpoint::Token, fault.clone());
        let before = pair.provider.count(Endpoint::Token);
        let using = async {
            loop {
                fetch(&pair.first, &cookies).await;
            }
        };
        let asked = crate::support::eventually("the provider is asked for new tokens", PATIENCE, || {
            (pair.provider.count(Endpoint::Token) > before).then_some(())
        });
        tokio::select! { () = asked => {}, () = using => unreachable!("it goes on") }
        pair.first.signal("KILL");
        pair.first.exit(PATIENCE).await;
        let lease = pair.lease().expect("the lease is left");
        pair.provider.clear_faults();
        let left = || pair.redis.cli(&["--raw", "PTTL", &lease]).trim().parse::<u64>().expect("it ends by itself");
        let (asked, at_first) = (pair.provider.count(Endpoint::Token), left());
        assert!((1..=45_000).contains(&at_first), "{at_first}");
        let time = async {
            crate::support::eventually("the lease lasts a while", PATIENCE, || {
                (left() + 1000 < at_first).then_some(())
            })
            .await;
            // For as long as it lasts nobody asks the provider.
            assert_eq!(pair.provider.count(Endpoint::Token), asked, "{fault:?}");
            // As if the rest had gone by.
            pair.redis.cli(&["DEL", &lease]);
        };
        let (answer, ()) = tokio::join!(fetch(&pair.second, &cookies), time);
        assert!(answer.status == 200 || answer.status == afterwards, "{fault:?}: {}", answer.status);
        let answer = eventually_async("it goes on", PATIENCE, async || {
            let answer = fetch(&pair.second, &cookies).await;
            assert!(matches!(answer.status, 200 | 401 | 503), "{fault:?}: {}", answer.status);
            (answer.status == afterwards).then_some(answer)
        })
        .await;
        if afterwards == 401 {
            assert!(answer.json()["login_url"].as_str().is_some(), "{}", answer.text());
        } else {
            eventually_async("with new tokens", PATIENCE, async || {
                fetch(&pair.second, &cookies).await;
                (pair.provider.calls(GrantType::RefreshToken) > 0).then_some(())
            })
            .await;
        }
    }
}
