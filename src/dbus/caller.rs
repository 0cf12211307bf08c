//! Who calls, whether it may, and whether it is still connected.

use futures_util::StreamExt;
use zbus::fdo::DBusProxy;
use zbus::message::Header;
use zbus::names::{BusName, UniqueName};
use zbus::object_server::SignalEmitter;
use zbus::{Connection, fdo};

use super::PATH;
use super::error::Error;
use crate::error_kind::Kind;

/// Who may call methods that write or that use root's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// On the system bus: root.
    Root,
    /// On a private socket: its other end, which has started this process.
    Anyone,
}

/// The caller of a method.
pub(super) struct Caller {
    connection: Connection,
    /// Its name on the bus; the other end of a socket has none.
    name: Option<UniqueName<'static>>,
}

impl Caller {
    pub(super) fn new(connection: &Connection, header: &Header<'_>) -> Self {
        // Only a bus guarantees that the sender is who it says.
        let name = header.sender().filter(|_| connection.is_bus()).map(|name| name.to_owned());
        Self { connection: connection.clone(), name }
    }

    #[cfg(test)]
    pub(super) fn named(connection: &Connection, name: &'static str) -> Self {
        let name = UniqueName::from_static_str(name).expect("a unique name");
        Self { connection: connection.clone(), name: Some(name) }
    }

    /// Its name on the bus, if it is on one.
    pub(super) fn name(&self) -> Option<&UniqueName<'static>> {
        self.name.as_ref()
    }

    /// Checks that it may call.
    pub(super) async fn admit(&self, admission: Admission) -> Result<(), Error> {
        if admission == Admission::Anyone {
            return Ok(());
        }
        match self.user().await {
            Ok(Some(0)) => Ok(()),
            Ok(_) => Err(Error::new(
                Kind::AccessDenied,
                "permission denied: only root may use the system instance; dnf5 starts a private \
                 one for other users",
            )),
            Err(error) => {
                let line = format!("identifying the caller failed: {error}");
                Err(Error::new(Kind::AccessDenied, line))
            }
        }
    }

    async fn user(&self) -> fdo::Result<Option<u32>> {
        let Some(name) = &self.name else {
            return Ok(None);
        };
        let bus = DBusProxy::new(&self.connection).await?;
        bus.get_connection_unix_user(BusName::Unique(name.clone())).await.map(Some)
    }

    /// Returns when the caller has disconnected.
    pub(super) async fn disconnected(&self) {
        match &self.name {
            None => self.connection.closed().await,
            Some(name) => {
                if let Err(error) = name_lost(&self.connection, name).await {
                    tracing::warn!(%error, "watching for the caller to disconnect failed");
                    std::future::pending().await
                }
            }
        }
    }

    /// Emits signals to this caller only.
    pub(super) fn emitter(&self) -> zbus::Result<SignalEmitter<'static>> {
        let emitter = SignalEmitter::new(&self.connection, PATH)?.into_owned();
        Ok(match &self.name {
            Some(name) => emitter.set_destination(BusName::Unique(name.clone())),
            None => emitter,
        })
    }
}

async fn name_lost(connection: &Connection, name: &UniqueName<'static>) -> zbus::Result<()> {
    let bus = DBusProxy::new(connection).await?;
    let mut changes = bus.receive_name_owner_changed_with_args(&[(0, name.as_str())]).await?;
    // It may have disconnected before the watch began.
    if !bus.name_has_owner(BusName::Unique(name.clone())).await? {
        return Ok(());
    }
    while let Some(change) = changes.next().await {
        if change.args()?.new_owner().is_none() {
            return Ok(());
        }
    }
    Ok(())
}
