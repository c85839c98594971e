use super::*;
use crate::clock::{ManualClock, Time};
use crate::control::Control;
use crate::reason::Reason;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn the_limit_on_connections_holds_and_waiting_requests_get_what_is_put_back() {
    let server = Server::answering(OK).await;
    let (pools, limited) = (Arc::new(pools()), UpstreamSettings { connections: 2, ..server.settings() });
    let upstream = Upstream::new(limited).unwrap();
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let (pools, upstream) = (Arc::clone(&pools), Arc::clone(&upstream));
            tokio::spawn(async move {
                for _ in 0..10 {
                    let sent = send(&pools, &upstream, get("/")).await.unwrap();
                    assert!(upstream.open_connections() <= 2);
                    text(sent).await.unwrap();
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(server.accepted(), 2, "they were handed on, not closed");
    assert_eq!(upstream.queued(), 0);
}

#[tokio::test]
async fn two_workers_share_the_limit_and_neither_starves() {
    let server = Server::answering(OK).await;
    let upstream = Upstream::new(UpstreamSettings { connections: 1, ..server.settings() }).unwrap();
    let workers: Vec<_> = (0..2)
        .map(|_| {
            let upstream = Arc::clone(&upstream);
            tokio::spawn(async move {
                let pools = pools();
                for _ in 0..40 {
                    text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap();
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    assert!(upstream.open_connections() <= 1);
}

#[tokio::test]
async fn an_idle_connection_to_one_server_gives_way_to_another() {
    let one = Server::answering(OK).await;
    let two = Server::answering(OK).await;
    let limited = UpstreamSettings {
        connections: 1,
        balance: Balance::RoundRobin,
        ..settings(&[one.address, two.address], ServerScheme::Http)
    };
    let (pools, upstream) = (pools(), Upstream::new(limited).unwrap());
    for _ in 0..4 {
        text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap();
    }
    assert_eq!((one.accepted(), two.accepted()), (2, 2));
}

#[tokio::test]
async fn a_full_queue_refuses_and_a_wait_in_it_has_an_end() {
    let server = Server::answering_at_length().await;
    let limited =
        UpstreamSettings { connections: 1, queue: 1, connect_timeout: Duration::from_millis(100), ..server.settings() };
    let (pools, upstream) = (pools(), Upstream::new(limited).unwrap());
    let holder = send(&pools, &upstream, get("/")).await.unwrap();
    let (waiting, refused) = tokio::join!(send(&pools, &upstream, get("/")), async {
        while upstream.queued() == 0 {
            tokio::task::yield_now().await;
        }
        send(&pools, &upstream, get("/")).await
    });
    for failed in [waiting.unwrap_err(), refused.unwrap_err()] {
        assert_eq!(failed.error.reason(), Reason::UpstreamQueueFull);
        assert_eq!(failed.error.status(), 503);
    }
    assert_eq!(upstream.queued(), 0);
    text(holder).await.unwrap();
    text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap();
}

/// A server whose health the test decides.
async fn moody() -> (tokio::sync::watch::Sender<bool>, Server) {
    let (mood, well) = tokio::sync::watch::channel(true);
    let server = Server::start(move |_, mut stream| {
        let well = well.clone();
        async move {
            while let Some(head) = read_head(&mut stream).await {
                let sick = head.starts_with("GET /healthz ") && !*well.borrow();
                let answer = if sick { "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n" } else { OK };
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    (mood, server)
}

#[tokio::test]
async fn a_server_that_fails_its_health_checks_gets_nothing_until_it_is_well_again() {
    let hands = ManualClock::at(Time::from_seconds(1));
    let (mood, server) = moody().await;
    let check =
        HealthCheck { path: "/healthz".into(), interval: Duration::from_secs(5), timeout: Duration::from_secs(2) };
    let upstream = Upstream::new(UpstreamSettings { health_check: Some(check), ..server.settings() }).unwrap();
    upstream.start_health_checks(&Control::current(), &hands.clock());
    let pools = pools();
    mood.send(false).unwrap();
    while upstream.is_healthy() {
        hands.advance(Duration::from_secs(5));
        tokio::task::yield_now().await;
    }
    let failed = send(&pools, &upstream, get("/")).await.unwrap_err();
    assert_eq!((failed.error.reason(), failed.error.status().as_u16()), (Reason::UpstreamUnhealthy, 503));
    assert!(upstream.endpoints().all(|endpoint| !endpoint.healthy));
    mood.send(true).unwrap();
    while !upstream.is_healthy() {
        hands.advance(Duration::from_secs(5));
        tokio::task::yield_now().await;
    }
    text(send(&pools, &upstream, get("/")).await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let address = || ServerAddress::Tcp { scheme: ServerScheme::Http, host: "a.example".into(), port: 80 };
    let idle = ServerSettings { address: address(), weight: 0 };
    assert!(matches!(Upstream::new(UpstreamSettings::new("none", vec![])), Err(SetUpError::NoServer)));
    assert!(matches!(Upstream::new(UpstreamSettings::new("idle", vec![idle])), Err(SetUpError::NoServer)));
    let bad = ServerAddress::Tcp { scheme: ServerScheme::Http, host: "a b".into(), port: 80 };
    let bad = ServerSettings { address: bad, weight: 1 };
    assert!(matches!(Upstream::new(UpstreamSettings::new("bad", vec![bad])), Err(SetUpError::Host(_))));
}
