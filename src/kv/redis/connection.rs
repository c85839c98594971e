//! How a connection to Redis is opened. Comes in: [`RedisSettings`]. Goes out: one connection that many commands share; to
//! a cluster, one to each of its nodes. Certificates are read anew for each attempt, so that a rotated one is used.

use std::path::Path;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster::ClusterClientBuilder;
use redis::cluster_async::ClusterConnection;
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo,
    RedisError, RedisResult, TlsCertificates, TlsMode, Value,
};
use tokio::io::AsyncReadExt;

use crate::kv::settings::{RedisAddress, RedisMode, RedisSettings, RedisTls};
use crate::seal::Secret;

/// A connection that commands share. Cheap to clone.
#[derive(Clone)]
pub(super) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// How often a cluster's client follows a move or asks another node.
const CLUSTER_RETRIES: u32 = 3;

/// The largest certificate or key file that is read.
const MAX_FILE: u64 = 1024 * 1024;

impl RedisSettings {
    pub(super) async fn open(&self) -> RedisResult<Connection> {
        let certificates = self.certificates().await?;
        match &self.mode {
            RedisMode::Single => self.open_single(certificates).await.map(Connection::One),
            RedisMode::Sentinel { master, username, password } => {
                let sentinel = (master.as_str(), username.as_deref(), password.as_ref());
                self.open_sentinel(sentinel, certificates).await.map(Connection::One)
            }
            RedisMode::Cluster => self.open_cluster(certificates).await.map(Connection::Cluster),
        }
    }

    async fn open_single(&self, certificates: Option<TlsCertificates>) -> RedisResult<MultiplexedConnection> {
        let mut last = RedisError::from((redis::ErrorKind::InvalidClientConfig, "no address"));
        for address in &self.addresses {
            let client = match (&certificates, address.tls) {
                (Some(certificates), true) => Client::build_with_tls(self.info(address)?, certificates.clone())?,
                _ => Client::open(self.info(address)?)?,
            };
            match client.get_multiplexed_async_connection_with_config(&self.config()).await {
                Ok(connection) => return Ok(connection),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn open_sentinel(
        &self,
        (master, username, password): (&str, Option<&str>, Option<&Secret>),
        certificates: Option<TlsCertificates>,
    ) -> RedisResult<MultiplexedConnection> {
        let sentinels = self.addresses.iter().map(RedisAddress::connection_address);
        let mut builder = SentinelClientBuilder::new(sentinels, master, SentinelServerType::Master)?;
        if let Some(name) = username {
            builder = builder.set_client_to_sentinel_username(name);
        }
        if let Some(password) = password {
            builder = builder.set_client_to_sentinel_password(password.expose());
        }
        if let Some(name) = &self.username {
            builder = builder.set_client_to_redis_username(name);
        }
        if let Some(password) = &self.password {
            builder = builder.set_client_to_redis_password(password.expose());
        }
        builder = builder.set_client_to_redis_db(self.addresses.first().map_or(0, |address| address.database));
        if self.addresses.iter().any(|address| address.tls) {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
            if let Some(certificates) = certificates {
                builder = builder.set_client_to_sentinel_certificates(certificates.clone());
                builder = builder.set_client_to_redis_certificates(certificates);
            }
        }
        builder.build()?.get_async_connection_with_config(&self.config()).await
    }

    async fn open_cluster(&self, certificates: Option<TlsCertificates>) -> RedisResult<ClusterConnection> {
        let nodes = self.addresses.iter().map(|address| self.info(address)).collect::<RedisResult<Vec<_>>>()?;
        let mut builder = ClusterClientBuilder::new(nodes)
            .retries(CLUSTER_RETRIES)
            .connection_timeout(self.timeout)
            .response_timeout(self.timeout);
        if self.addresses.iter().any(|address| address.tls) {
            builder = builder.tls(TlsMode::Secure);
            if let Some(certificates) = certificates {
                builder = builder.certs(certificates);
            }
        }
        builder.build()?.get_async_connection().await
    }

    fn info(&self, address: &RedisAddress) -> RedisResult<redis::ConnectionInfo> {
        // Without telling its name: a user with few rights may not.
        let mut login = RedisConnectionInfo::default().set_db(address.database).set_skip_set_lib_name();
        if let Some(name) = &self.username {
            login = login.set_username(name);
        }
        if let Some(password) = &self.password {
            login = login.set_password(password.expose());
        }
        Ok(address.connection_address().into_connection_info()?.set_redis_settings(login))
    }

    fn config(&self) -> AsyncConnectionConfig {
        AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout))
            .set_pipeline_buffer_size(super::QUEUE)
    }

    async fn certificates(&self) -> RedisResult<Option<TlsCertificates>> {
        let RedisTls { ca, identity } = &self.tls;
        if ca.is_none() && identity.is_none() {
            return Ok(None);
        }
        let root_cert = match ca {
            Some(path) => Some(read(path).await?),
            None => None,
        };
        let client_tls = match identity {
            Some((certificate, key)) => {
                Some(ClientTlsConfig { client_cert: read(certificate).await?, client_key: read(key).await? })
            }
            None => None,
        };
        Ok(Some(TlsCertificates { client_tls, root_cert }))
    }
}

impl RedisAddress {
    fn connection_address(&self) -> ConnectionAddr {
        let (host, port) = (self.host.clone(), self.port);
        if self.tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        }
    }
}

impl Connection {
    pub(super) async fn ask(&mut self, command: &Cmd) -> RedisResult<Value> {
        let answer = match self {
            Self::One(connection) => connection.req_packed_command(command).await,
            Self::Cluster(connection) => connection.req_packed_command(command).await,
        };
        // What the server refused comes as a value.
        answer.and_then(Value::extract_error)
    }
}

async fn read(path: &Path) -> RedisResult<Vec<u8>> {
    let named = |error: std::io::Error| std::io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let file = tokio::fs::File::open(path).await.map_err(named)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes).await.map_err(named)?;
    Ok(bytes)
}
