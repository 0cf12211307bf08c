//! Who calls, whether it may, and whether it is still there.

use futures_util::StreamExt;
use zbus::fdo::DBusProxy;
use zbus::message::Header;
use zbus::names::{BusName, UniqueName};
use zbus::object_server::SignalEmitter;
use zbus::{Connection, fdo};

use super::PATH;
use super::error::Error;

/// Who may call what writes or uses root's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// On the system bus: root.
    Root,
    /// On a socket of our own: its other end, which has started us.
    Anyone,
}

/// The caller of a method.
pub(super) struct Caller {
    connection: Connection,
    /// Its name on the bus; a socket's other end has none.
    name: Option<UniqueName<'static>>,
}

impl Caller {
    pub(super) fn new(connection: &Connection, header: &Header<'_>) -> Self {
        // Only a bus vouches for the sender.
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

    /// Lets it pass, or not.
    pub(super) async fn admit(&self, admission: Admission) -> Result<(), Error> {
        if admission == Admission::Anyone {
            return Ok(());
        }
        match self.user().await {
            Ok(Some(0)) => Ok(()),
            Ok(_) => Err(Error::access_denied(
                "only root may use the system's instance; dnf5 run by another user starts an \
                 instance of its own"
                    .to_owned(),
            )),
            Err(error) => {
                Err(Error::access_denied(format!("it cannot be told who is calling: {error}")))
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

    /// Returns when the caller has left.
    pub(super) async fn gone(&self) {
        match &self.name {
            None => self.connection.closed().await,
            Some(name) => {
                if let Err(error) = left_the_bus(&self.connection, name).await {
                    tracing::warn!(%error, "it is not noticed when the caller leaves");
                    std::future::pending().await
                }
            }
        }
    }

    /// Emits signals to the caller alone.
    pub(super) fn emitter(&self) -> zbus::Result<SignalEmitter<'static>> {
        let emitter = SignalEmitter::new(&self.connection, PATH)?.into_owned();
        Ok(match &self.name {
            Some(name) => emitter.set_destination(BusName::Unique(name.clone())),
            None => emitter,
        })
    }
}

async fn left_the_bus(connection: &Connection, name: &UniqueName<'static>) -> zbus::Result<()> {
    let bus = DBusProxy::new(connection).await?;
    let mut changes = bus.receive_name_owner_changed_with_args(&[(0, name.as_str())]).await?;
    // It may have left before it was watched.
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
