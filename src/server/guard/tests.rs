use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::deadline::Sweeper;

const LIMITS: HeadLimits = HeadLimits { target: 1024, header: 4096, field: 1024, fields: 20 };
const TIMEOUTS: ReadTimeouts =
    ReadTimeouts { head: Duration::from_secs(1), body: Duration::from_secs(1), idle: Duration::from_secs(1) };

fn guarded() -> (DuplexStream, Guard<DuplexStream>, Sweeper) {
    let (client, server) = tokio::io::duplex(64 * 1024);
    let sweeper = Sweeper::default();
    let guard = Guard::new(server, Vec::new(), (LIMITS, TIMEOUTS), Arc::new(sweeper.slot()));
    (client, guard, sweeper)
}

async fn read(guard: &mut Guard<DuplexStream>) -> String {
    let mut bytes = vec![0; 8192];
    let read = guard.read(&mut bytes).await.unwrap();
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

/// What can be read without waiting.
async fn at_hand(guard: &mut Guard<DuplexStream>) -> Option<String> {
    tokio::select! {
        biased;
        text = read(guard) => Some(text),
        () = tokio::task::yield_now() => None,
    }
}

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

#[tokio::test]
async fn half_a_head_is_held_until_it_is_whole() {
    let (mut client, mut guard, _sweeper) = guarded();
    for byte in GET.as_bytes() {
        assert_eq!(at_hand(&mut guard).await, None);
        client.write_all(&[*byte]).await.unwrap();
    }
    assert_eq!(read(&mut guard).await, GET);
}

#[tokio::test]
async fn pipelined_requests_pass_and_the_half_one_waits() {
    let (mut client, mut guard, _sweeper) = guarded();
    let post = "POST /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    client.write_all(format!("{GET}{post}GET /c").as_bytes()).await.unwrap();
    assert_eq!(read(&mut guard).await, format!("{GET}{post}"));
    assert_eq!(at_hand(&mut guard).await, None);
    client.write_all(b" HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
    assert_eq!(read(&mut guard).await, GET.replace("/a", "/c"));
}

#[tokio::test]
async fn a_violation_passes_what_was_good_and_stands_in_once() {
    let (mut client, mut guard, _sweeper) = guarded();
    let watch = guard.watch();
    client.write_all(format!("{GET}GET / HTTP/1.1\nHost: h\n\n").as_bytes()).await.unwrap();
    assert_eq!(read(&mut guard).await, GET);
    assert_eq!(watch.violation_of(1), None);
    assert_eq!(read(&mut guard).await.as_bytes(), SYNTHETIC);
    assert_eq!(watch.violation_of(2), Some(Violation::Malformed));
    // Not the end while two answers are due, for hyper would take that for a client that left.
    assert_eq!(at_hand(&mut guard).await, None);
    watch.answered();
    watch.answered();
    assert_eq!(read(&mut guard).await, "");
}

#[tokio::test]
async fn broken_chunks_break_the_body_after_its_good_part() {
    let (mut client, mut guard, _sweeper) = guarded();
    let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.write_all(format!("{head}3\r\nabc\r\n5\nhello").as_bytes()).await.unwrap();
    assert_eq!(read(&mut guard).await, format!("{head}3\r\nabc\r\n5"));
    assert!(guard.read(&mut [0; 16]).await.is_err());
    assert_eq!(guard.watch().body_violation(), Some(Violation::Framing));
}

#[tokio::test]
async fn bytes_after_an_upgrade_wait_for_its_fate() {
    let upgrade = "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    for refused in [true, false] {
        let (mut client, mut guard, _sweeper) = guarded();
        client.write_all(format!("{upgrade}{GET}").as_bytes()).await.unwrap();
        assert_eq!(read(&mut guard).await, upgrade);
        assert_eq!(at_hand(&mut guard).await, None);
        if refused {
            guard.watch().not_upgraded();
        } else {
            guard.watch().upgraded();
            client.write_all(b"\0\n").await.unwrap();
        }
        assert_eq!(read(&mut guard).await, GET);
        if !refused {
            assert_eq!(read(&mut guard).await, "\0\n");
        }
    }
}

#[tokio::test]
async fn a_slow_head_becomes_a_refusal_and_an_idle_connection_an_end() {
    let (mut client, mut guard, sweeper) = guarded();
    client.write_all(b"GET / HT").await.unwrap();
    for _ in 0..11 {
        assert_eq!(at_hand(&mut guard).await, None);
        client.write_all(b"T").await.unwrap();
        sweeper.beat();
    }
    assert_eq!(read(&mut guard).await.as_bytes(), SYNTHETIC);
    assert_eq!(guard.watch().violation_of(1), Some(Violation::HeadTimeout));

    let (_client, mut guard, sweeper) = guarded();
    for _ in 0..11 {
        assert_eq!(at_hand(&mut guard).await, None);
        sweeper.beat();
    }
    assert_eq!(read(&mut guard).await, "");
}

#[tokio::test]
async fn heads_that_come_in_time_leave_no_limit_behind() {
    let (mut client, mut guard, sweeper) = guarded();
    let (half, other) = GET.split_at(9);
    client.write_all(half.as_bytes()).await.unwrap();
    // There is half a head at all times, but never the same for long.
    for _ in 0..30 {
        assert_eq!(at_hand(&mut guard).await, None);
        sweeper.beat();
        client.write_all(format!("{other}{half}").as_bytes()).await.unwrap();
        assert_eq!(read(&mut guard).await, GET);
        guard.watch().answered();
    }
    client.write_all(other.as_bytes()).await.unwrap();
    assert_eq!(read(&mut guard).await, GET);
    // The answer takes longer than a head may.
    for _ in 0..30 {
        sweeper.beat();
    }
    assert_eq!(at_hand(&mut guard).await, None);
}

#[tokio::test]
async fn requests_sent_ahead_do_not_pile_up() {
    let (mut client, mut guard, _sweeper) = guarded();
    let (half, other) = GET.split_at(9);
    client.write_all(half.as_bytes()).await.unwrap();
    for _ in 0..100 {
        assert_eq!(at_hand(&mut guard).await, None);
        client.write_all(format!("{other}{half}").as_bytes()).await.unwrap();
        assert_eq!(read(&mut guard).await, GET);
        assert!(guard.held.len() < 2 * GET.len(), "{} bytes are held", guard.held.len());
    }
}

#[tokio::test]
async fn an_answer_to_an_earlier_request_settles_no_upgrade() {
    let upgrade = "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let (mut client, mut guard, _sweeper) = guarded();
    let watch = guard.watch();
    client.write_all(format!("{GET}{upgrade}{GET}").as_bytes()).await.unwrap();
    assert_eq!(read(&mut guard).await, format!("{GET}{upgrade}"));
    watch.not_upgraded();
    watch.answered();
    assert_eq!(at_hand(&mut guard).await, None);
    watch.upgraded();
    client.write_all(b"\0\n").await.unwrap();
    assert_eq!(read(&mut guard).await, GET);
    assert_eq!(read(&mut guard).await, "\0\n");
}

#[tokio::test]
async fn a_client_that_only_ended_its_side_is_waited_for_a_moment() {
    for answered in [true, false] {
        let (mut client, mut guard, sweeper) = guarded();
        client.write_all(GET.as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read(&mut guard).await, GET);
        assert_eq!(at_hand(&mut guard).await, None);
        if answered {
            guard.watch().answered();
        } else {
            assert!(guard.watch().in_flight());
            for _ in 0..4 {
                let _ = at_hand(&mut guard).await;
                sweeper.beat();
            }
        }
        assert_eq!(read(&mut guard).await, "");
    }
}
