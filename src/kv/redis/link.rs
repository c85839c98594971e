//! The connection to Redis, kept. One task on Control opens it, looks after it while it stands, and opens it anew when a
//! command finds it broken, with a growing wait between attempts. Commands never connect themselves: they wait a moment
//! for a connection that is being opened, and fail at once while Redis is known to be away, so that nothing piles up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::RedisError;
use tokio::sync::{Notify, watch};

use super::connection::Connection;
use crate::clock::{Clock, Tick};
use crate::control::Control;
use crate::kv::settings::{RedisSettings, Standing};
use crate::seal::random;

/// The link. Shared by all commands.
pub(super) struct Link {
    state: watch::Sender<State>,
    /// A command found the connection of this number broken.
    broken: Notify,
    broken_number: AtomicU64,
    connects: AtomicU64,
}

#[derive(Clone)]
enum State {
    /// An attempt is under way, and none has failed since the connection was lost.
    Opening,
    Up(Numbered),
    Down(Arc<str>),
}

/// A connection and its number; a newer one has a higher number.
#[derive(Clone)]
pub(super) struct Numbered {
    pub number: u64,
    pub connection: Connection,
}

/// The first wait between two attempts; it doubles up to the last. So that a Redis that has come back is in use again
/// within a second.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LAST_WAIT: Duration = Duration::from_millis(400);

/// How often an idle connection is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Before one that broke sooner than this is replaced, there is a wait as well: the server takes connections and can't
/// serve. A short one, for commands wait along.
const BRIEF: Duration = Duration::from_secs(1);
const LAST_WAIT_AFTER_BRIEF: Duration = Duration::from_millis(200);

impl Link {
    pub(super) fn new() -> Self {
        let state = watch::Sender::new(State::Opening);
        Self { state, broken: Notify::new(), broken_number: AtomicU64::new(0), connects: AtomicU64::new(0) }
    }

    pub(super) fn standing(&self) -> Standing {
        match &*self.state.borrow() {
            State::Opening if self.connects.load(Ordering::Relaxed) > 0 => {
                Standing::Down { error: "the connection was lost".into() }
            }
            State::Opening => Standing::Waiting,
            State::Up(_) => Standing::Up,
            State::Down(error) => Standing::Down { error: Arc::clone(error) },
        }
    }

    /// How often a connection was opened.
    pub(super) fn connects(&self) -> u64 {
        self.connects.load(Ordering::Relaxed)
    }

    /// The connection to use now: waits for one that is being opened, not for one that could not be.
    pub(super) async fn ready(&self) -> Result<Numbered, Arc<str>> {
        let mut state = self.state.subscribe();
        // The sender lives in `self`, which this future borrows: it cannot be gone.
        let known = state.wait_for(|state| !matches!(state, State::Opening)).await;
        match known.as_deref() {
            Ok(State::Up(numbered)) => Ok(numbered.clone()),
            Ok(State::Down(error)) => Err(Arc::clone(error)),
            Ok(State::Opening) | Err(_) => Err("the link has ended".into()),
        }
    }

    /// Tells that the connection of this number is no good. The first to say so has it replaced.
    pub(super) fn is_broken(&self, number: u64) {
        let changed = self.state.send_if_modified(|state| {
            let is_it = matches!(state, State::Up(current) if current.number == number);
            if is_it {
                *state = State::Opening;
            }
            is_it
        });
        if changed {
            self.broken_number.store(number, Ordering::Release);
            self.broken.notify_one();
        }
    }

    /// Tells that the connection of now does not answer.
    pub(super) fn is_silent(&self) {
        let number = match &*self.state.borrow() {
            State::Up(current) => current.number,
            State::Opening | State::Down(_) => return,
        };
        self.is_broken(number);
    }

    /// Starts the task that keeps the link, until the last other holder of the link is gone.
    pub(super) fn start(self: &Arc<Self>, settings: Arc<RedisSettings>, clock: Clock, control: &Control) {
        let link = Arc::downgrade(self);
        let mut keeper = Keeper { settings, clock, wait: FIRST_WAIT, number: 0 };
        control.start(async move {
            while let Some(link) = link.upgrade() {
                let opened = keeper.open(&link).await;
                drop(link);
                match opened {
                    Some(opened) => keeper.watch(&opened).await,
                    None => keeper.pause(LAST_WAIT).await,
                }
            }
        });
    }
}

struct Keeper {
    settings: Arc<RedisSettings>,
    clock: Clock,
    wait: Duration,
    number: u64,
}

/// A connection that stands, and what is needed to notice its end.
struct Opened {
    link: std::sync::Weak<Link>,
    numbered: Numbered,
    since: Tick,
}

impl Keeper {
    async fn open(&mut self, link: &Arc<Link>) -> Option<Opened> {
        let attempt = async {
            let mut connection = self.settings.open().await?;
            // A server that loads its data or refuses the user says so to the first command.
            connection.ask(&redis::cmd("PING")).await?;
            Ok::<_, RedisError>(connection)
        };
        // Sentinels and nodes are asked one after the other; each has a deadline of its own.
        let patience = self.settings.timeout.saturating_mul(4);
        let outcome = tokio::select! {
            outcome = attempt => outcome.map_err(|error| error.to_string()),
            () = self.clock.sleep(patience) => Err(format!("no answer within {patience:?}")),
        };
        match outcome {
            Ok(connection) => {
                self.number += 1;
                link.connects.fetch_add(1, Ordering::Relaxed);
                let numbered = Numbered { number: self.number, connection };
                tracing::info!(servers = %self.servers(), "connected to Redis");
                link.state.send_replace(State::Up(numbered.clone()));
                Some(Opened { link: Arc::downgrade(link), numbered, since: self.clock.tick() })
            }
            Err(error) => {
                let is_news = !matches!(&*link.state.borrow(), State::Down(known) if **known == *error);
                if is_news {
                    tracing::warn!(servers = %self.servers(), error, "Redis is out of reach");
                }
                link.state.send_replace(State::Down(error.into()));
                None
            }
        }
    }

    /// Returns when the connection is broken, or the link is gone.
    async fn watch(&mut self, opened: &Opened) {
        let Opened { link, numbered, since } = opened;
        let mut connection = numbered.connection.clone();
        while let Some(link) = link.upgrade() {
            tokio::select! {
                () = link.broken.notified() => {
                    if link.broken_number.load(Ordering::Acquire) >= numbered.number {
                        break;
                    }
                }
                () = self.clock.sleep(LOOK) => {
                    if self.clock.tick().since(*since) >= BRIEF {
                        self.wait = FIRST_WAIT;
                    }
                    if let Err(error) = self.look(&mut connection).await {
                        tracing::warn!(servers = %self.servers(), error, "the connection to Redis is lost");
                        link.is_broken(numbered.number);
                    }
                }
            }
        }
        if self.clock.tick().since(*since) < BRIEF {
            self.pause(LAST_WAIT_AFTER_BRIEF).await;
        }
    }

    async fn look(&self, connection: &mut Connection) -> Result<(), String> {
        let ping = redis::cmd("PING");
        tokio::select! {
            answer = connection.ask(&ping) => answer.map(drop).map_err(|error| error.to_string()),
            () = self.clock.sleep(self.settings.timeout) => Err("no answer to PING".to_owned()),
        }
    }

    /// Waits, longer each time, and not in step with other gateways.
    async fn pause(&mut self, longest: Duration) {
        let [chance] = random::bytes::<1>();
        let span = self.wait.min(longest);
        let span = span.saturating_sub(span / 1024 * u32::from(chance));
        self.wait = (self.wait * 2).min(LAST_WAIT);
        self.clock.sleep(span).await;
    }

    fn servers(&self) -> String {
        let servers: Vec<String> = self.settings.addresses.iter().map(ToString::to_string).collect();
        servers.join(", ")
    }
}
