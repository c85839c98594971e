//! Records in Redis: one server, a set that Sentinel watches, or a cluster. Every command runs on Control, where the
//! connection lives, and has a deadline. So many commands at most wait or are under way at once; what is beyond fails at
//! once, because a Redis that is slow must not fill the gateway with waiting requests.
//!
//! A command is sent a second time only if the first was surely not carried out (a server that is loading, read-only, or
//! has moved the key). All else fails once and is the caller's to repeat.

mod connection;
mod link;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::sync::Semaphore;

use super::lease::{Owner, REMEMBERED};
use super::settings::{RedisSettings, Standing, Tally};
use super::{Key, KvError, MAX_MEMBERS};
use crate::clock::Clock;
use crate::control::Control;
use link::Link;

/// Commands that wait or are under way at once.
const QUEUE: usize = 1024;

/// So many commands in a row without an answer, and the connection is given up: what was sent on it would otherwise
/// gather without end.
const SILENT_COMMANDS: u64 = 16;

/// A store in Redis. Clones share the connection.
#[derive(Clone)]
pub struct RedisKv {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Arc<RedisSettings>,
    clock: Clock,
    control: Control,
    link: Arc<Link>,
    room: Arc<Semaphore>,
    tally: Tally,
    /// Commands in a row that were not answered in time.
    silent: AtomicU64,
}

impl RedisKv {
    /// Connects to nothing yet.
    pub fn new(settings: RedisSettings, clock: Clock, control: Control) -> Self {
        let shared = Shared {
            settings: Arc::new(settings),
            clock,
            control,
            link: Arc::new(Link::new()),
            room: Arc::new(Semaphore::new(QUEUE)),
            tally: Tally::default(),
            silent: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Begins to connect in the background, and keeps the connection until the last clone is dropped. Call it once.
    pub fn start(&self) {
        let Shared { settings, clock, control, link, .. } = &*self.shared;
        link.start(Arc::clone(settings), clock.clone(), control);
    }

    pub fn settings(&self) -> &RedisSettings {
        &self.shared.settings
    }

    pub fn standing(&self) -> Standing {
        self.shared.link.standing()
    }

    pub fn tally(&self) -> &Tally {
        &self.shared.tally
    }

    /// How often a connection was opened.
    pub fn connects(&self) -> u64 {
        self.shared.link.connects()
    }

    /// Commands that wait or are under way.
    pub fn under_way(&self) -> usize {
        QUEUE.saturating_sub(self.shared.room.available_permits())
    }

    /// Asks whether Redis is there and lets us in, waiting for the connection that is being opened.
    ///
    /// # Errors
    /// [`KvError`] when it is not, or does not.
    pub async fn ping(&self) -> Result<(), KvError> {
        self.ask(redis::cmd("PING")).await.map(drop)
    }

    pub(super) async fn get(&self, key: &Key) -> Result<Option<Bytes>, KvError> {
        self.read(command("GET", self.named(key))).await
    }

    pub(super) async fn renew(&self, key: &Key, lifetime: Duration) -> Result<Option<Bytes>, KvError> {
        let Some(millis) = millis(lifetime) else { return self.get(key).await };
        let mut get = command("GETEX", self.named(key));
        get.arg("PX").arg(millis);
        self.read(get).await
    }

    pub(super) async fn put(&self, key: &Key, value: Bytes, lifetime: Duration) -> Result<(), KvError> {
        let Some(millis) = millis(lifetime) else { return self.delete(key).await.map(drop) };
        let mut set = command("SET", self.named(key));
        set.arg(&value[..]).arg("PX").arg(millis);
        self.ask(set).await.map(drop)
    }

    pub(super) async fn take(&self, key: &Key) -> Result<Option<Bytes>, KvError> {
        self.read(command("GETDEL", self.named(key))).await
    }

    pub(super) async fn delete(&self, key: &Key) -> Result<bool, KvError> {
        self.ask(command("DEL", self.named(key))).await.map(|deleted| is_one(&deleted))
    }

    pub(super) async fn put_if_absent(&self, key: &Key, value: Bytes, lifetime: Duration) -> Result<bool, KvError> {
        let Some(millis) = millis(lifetime) else { return Ok(false) };
        let mut set = command("SET", self.named(key));
        set.arg(&value[..]).arg("NX").arg("PX").arg(millis);
        self.ask(set).await.map(|answer| answer == Value::Okay)
    }

    pub(super) async fn delete_if(&self, key: &Key, expected: &[u8]) -> Result<bool, KvError> {
        let mut script = script(DELETE_IF, &[self.named(key)]);
        script.arg(expected);
        self.ask(script).await.map(|deleted| is_one(&deleted))
    }

    pub(super) async fn add_member(&self, key: &Key, member: &[u8], lifetime: Duration) -> Result<(), KvError> {
        let Some(millis) = millis(lifetime) else { return self.remove_member(key, member).await };
        let mut script = script(ADD_MEMBER, &[self.named(key)]);
        script.arg(member).arg(millis).arg(MAX_MEMBERS);
        self.ask(script).await.map(drop)
    }

    pub(super) async fn members(&self, key: &Key) -> Result<Vec<Bytes>, KvError> {
        let answer = self.ask(script(MEMBERS, &[self.named(key)])).await?;
        let members: Vec<Vec<u8>> = redis::from_redis_value(answer).unwrap_or_default();
        Ok(members.into_iter().map(Bytes::from).collect())
    }

    pub(super) async fn remove_member(&self, key: &Key, member: &[u8]) -> Result<(), KvError> {
        let mut script = script(REMOVE_MEMBER, &[self.named(key)]);
        script.arg(member);
        self.ask(script).await.map(drop)
    }

    pub(super) async fn lease(
        &self,
        key: &Key,
        owner: &Owner,
        lifetime: Duration,
    ) -> Result<Option<Duration>, KvError> {
        let [lock, last] = self.lease_names(key);
        let mut script = script(LEASE, &[lock, last]);
        script.arg(owner).arg(millis(lifetime).unwrap_or(1)).arg(millis(lifetime + REMEMBERED).unwrap_or(1));
        match self.ask(script).await? {
            Value::Int(left) if left > 0 => Ok(Some(Duration::from_millis(left.unsigned_abs()))),
            _ => Ok(None),
        }
    }

    pub(super) async fn put_leased(
        &self,
        key: &Key,
        owner: &Owner,
        value: Bytes,
        lifetime: Duration,
    ) -> Result<bool, KvError> {
        let Some(millis) = millis(lifetime) else { return Ok(false) };
        let [_, last] = self.lease_names(key);
        let mut script = script(PUT_LEASED, &[self.named(key), last]);
        script.arg(owner).arg(&value[..]).arg(millis);
        self.ask(script).await.map(|put| is_one(&put))
    }

    pub(super) async fn release(&self, key: &Key, owner: &Owner) -> Result<(), KvError> {
        let [lock, _] = self.lease_names(key);
        let mut script = script(DELETE_IF, &[lock]);
        script.arg(owner);
        self.ask(script).await.map(drop)
    }

    fn named(&self, key: &Key) -> String {
        key.render(&self.shared.settings.prefix)
    }

    /// Who holds the lease, and who was given it last. Of the same id as the record, so on the same node.
    fn lease_names(&self, key: &Key) -> [String; 2] {
        [self.named(&key.beside("lease")), self.named(&key.beside("lease-last"))]
    }

    /// A value; another type under the name is none of ours.
    async fn read(&self, command: Cmd) -> Result<Option<Bytes>, KvError> {
        match self.ask(command).await {
            Ok(Value::BulkString(bytes)) => Ok(Some(bytes.into())),
            Ok(_) => Ok(None),
            Err(KvError::Refused(why)) if why.starts_with("WRONGTYPE") => {
                tracing::warn!("a record in Redis is of a foreign type; it counts as none");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn ask(&self, command: Cmd) -> Result<Value, KvError> {
        let shared = Arc::clone(&self.shared);
        let Ok(place) = Arc::clone(&shared.room).try_acquire_owned() else {
            shared.tally.busy.fetch_add(1, Ordering::Relaxed);
            return Err(KvError::Busy);
        };
        let answered = self.shared.control.run(async move {
            // The place is taken until the command has ended, whether or not its caller still waits.
            let _place = place;
            let timeout = shared.settings.timeout;
            let outcome = tokio::select! {
                outcome = shared.attempt(&command) => outcome,
                () = shared.clock.sleep(timeout) => Err(KvError::TimedOut(timeout)),
            };
            shared.note(&outcome);
            outcome
        });
        answered.await.unwrap_or_else(|stopped| Err(KvError::Unreachable(stopped.to_string().into())))
    }
}

impl Shared {
    async fn attempt(&self, command: &Cmd) -> Result<Value, KvError> {
        let mut tries = 2;
        loop {
            tries -= 1;
            let mut link = self.link.ready().await.map_err(KvError::Unreachable)?;
            let error = match link.connection.ask(command).await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            match Trouble::of(&error) {
                Trouble::Refused => return Err(KvError::Refused(told(&error))),
                Trouble::Silent => return Err(KvError::TimedOut(self.settings.timeout)),
                Trouble::NotCarriedOut if tries > 0 => self.link.is_broken(link.number),
                Trouble::NotCarriedOut | Trouble::Broken => {
                    self.link.is_broken(link.number);
                    return Err(KvError::Unreachable(told(&error)));
                }
            }
        }
    }

    fn note(&self, outcome: &Result<Value, KvError>) {
        let Tally { answered, refused, unreachable, timed_out, .. } = &self.tally;
        let count = match outcome {
            Ok(_) => answered,
            Err(KvError::Refused(_)) => refused,
            Err(KvError::Unreachable(_) | KvError::Busy) => unreachable,
            Err(KvError::TimedOut(_)) => timed_out,
        };
        count.fetch_add(1, Ordering::Relaxed);
        if !matches!(outcome, Err(KvError::TimedOut(_))) {
            self.silent.store(0, Ordering::Relaxed);
        } else if self.silent.fetch_add(1, Ordering::Relaxed) + 1 >= SILENT_COMMANDS {
            self.silent.store(0, Ordering::Relaxed);
            self.link.is_silent();
        }
    }
}

impl std::fmt::Debug for RedisKv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RedisKv({:?})", self.standing())
    }
}

/// What an error means for the connection and for the command.
enum Trouble {
    /// The server is there and says no.
    Refused,
    /// No answer in time; it may come yet.
    Silent,
    /// The server did nothing, and another may (a failover, a restart).
    NotCarriedOut,
    /// Whether it did anything is not known.
    Broken,
}

impl Trouble {
    fn of(error: &RedisError) -> Self {
        use ServerErrorKind::{Ask, BusyLoading, ClusterDown, MasterDown, Moved, ReadOnly, TryAgain};
        if error.is_timeout() {
            return Self::Silent;
        }
        match error.kind() {
            ErrorKind::Server(BusyLoading | ReadOnly | MasterDown | ClusterDown | Moved | Ask | TryAgain)
            | ErrorKind::ClusterConnectionNotFound => Self::NotCarriedOut,
            ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::Client | ErrorKind::UnexpectedReturnType => {
                Self::Refused
            }
            _ => Self::Broken,
        }
    }
}

/// The error's own words, its code first. Servers quote at most the name of a key, which is a digest.
fn told(error: &RedisError) -> Arc<str> {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}").into(),
        (Some(code), None) => code.into(),
        _ => error.to_string().into(),
    }
}

/// Redis counts lifetimes in whole milliseconds from 1.
fn millis(lifetime: Duration) -> Option<u64> {
    u64::try_from(lifetime.as_millis()).ok().filter(|millis| *millis > 0)
}

fn is_one(answer: &Value) -> bool {
    *answer == Value::Int(1)
}

fn command(name: &str, key: String) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(key);
    command
}

/// Scripts go whole with each call: they are short, and a server that was restarted or took over knows none.
fn script(text: &str, keys: &[String]) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(text).arg(keys.len()).arg(keys);
    command
}

const DELETE_IF: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/// The lease is free if its lock is. Who is given it is remembered beyond the lock's end.
const LEASE: &str = "\
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then \
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3]) return 0 end \
return math.max(redis.call('PTTL', KEYS[1]), 1)";

const PUT_LEASED: &str = "\
if redis.call('GET', KEYS[2]) == ARGV[1] and redis.call('EXISTS', KEYS[1]) == 1 then \
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) return 1 end return 0";

/// A sorted set whose scores are the members' ends, by the server's clock.
const ADD_MEMBER: &str = "\
local time = redis.call('TIME') local now = time[1] * 1000 + math.floor(time[2] / 1000) \
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now) \
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1]) \
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[3]) \
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES') \
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', last[2])) return 1";

const MEMBERS: &str = "\
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' then return {} end \
local time = redis.call('TIME') local now = time[1] * 1000 + math.floor(time[2] / 1000) \
return redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. string.format('%.0f', now), '+inf')";

const REMOVE_MEMBER: &str = "\
if redis.call('TYPE', KEYS[1]).ok ~= 'zset' then return 0 end return redis.call('ZREM', KEYS[1], ARGV[1])";
