//! Calls, on a bus or on a socket.

use std::collections::HashMap;

use dnf5_oci::dbus::PATH;
use zbus::message::Message;
use zbus::names::BusName;
use zbus::{Connection, OwnedVariant, Variant};

pub const INTERFACE: &str = "io.github.dnf5_oci.Backend1";

/// Somebody who calls the service.
#[derive(Clone)]
pub struct Client {
    pub connection: Connection,
    /// Whom to call; nobody by name on a socket.
    pub service: Option<BusName<'static>>,
}

impl Client {
    /// A call that this skopeo never answers.
    pub async fn inspect(&self) -> zbus::Result<Message> {
        let options = HashMap::<&str, Variant<'_>>::new();
        let arguments = ("oci://quay.io/acme/rpms", options);
        self.connection
            .call_method(self.service.clone(), PATH, Some(INTERFACE), "Inspect", &arguments)
            .await
    }

    /// The same, on its way while the test goes on.
    pub fn inspecting(&self) -> tokio::task::JoinHandle<zbus::Result<Message>> {
        let client = self.clone();
        tokio::spawn(async move { client.inspect().await })
    }

    pub async fn property<T>(&self, name: &str) -> zbus::Result<T>
    where
        T: TryFrom<OwnedVariant, Error: std::fmt::Debug>,
    {
        let properties = Some("org.freedesktop.DBus.Properties");
        let reply = self
            .connection
            .call_method(self.service.clone(), PATH, properties, "Get", &(INTERFACE, name))
            .await?;
        let value: OwnedVariant = reply.body().deserialize()?;
        Ok(T::try_from(value).expect("of that type"))
    }
}

/// The name and the line of a call that fails.
#[track_caller]
pub fn failure(result: zbus::Result<Message>) -> (String, String) {
    match result {
        Err(zbus::Error::MethodError(name, line, _)) => {
            (name.to_string(), line.unwrap_or_default())
        }
        other => unreachable!("{other:?}"),
    }
}
