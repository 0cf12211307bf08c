//! Calls, on a bus or on a socket.

use std::collections::HashMap;

use dnf5_oci::dbus::PATH;
use zbus::message::Message;
use zbus::names::BusName;
use zbus::{Connection, OwnedVariant, Variant};

pub const INTERFACE: &str = "io.github.dnf5_oci.Backend1";

/// A caller of the service.
#[derive(Clone)]
pub struct Client {
    pub connection: Connection,
    /// The bus name to call; none on a socket.
    pub service: Option<BusName<'static>>,
}

impl Client {
    async fn call<B>(&self, method: &str, arguments: &B) -> zbus::Result<Message>
    where
        B: serde::Serialize + zbus::Type + Sync,
    {
        let interface = Some(INTERFACE);
        self.connection.call_method(self.service.clone(), PATH, interface, method, arguments).await
    }

    /// A call that this skopeo never answers.
    pub async fn inspect(&self) -> zbus::Result<Message> {
        let options = HashMap::<&str, Variant<'_>>::new();
        self.call("Inspect", &("oci://quay.io/acme/rpms", options)).await
    }

    /// The same in the background.
    pub fn inspecting(&self) -> tokio::task::JoinHandle<zbus::Result<Message>> {
        let client = self.clone();
        tokio::spawn(async move { client.inspect().await })
    }

    /// Opens a repository; the reply has its baseurl, its proxy and the user name for the proxy.
    pub async fn open_repository(&self) -> zbus::Result<Message> {
        let options = HashMap::<&str, Variant<'_>>::new();
        self.call("OpenRepository", &("tools", "oci://quay.io/acme/rpms", options)).await
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

/// The name and the message of the error of a call.
#[track_caller]
pub fn failure(result: zbus::Result<Message>) -> (String, String) {
    match result {
        Err(zbus::Error::MethodError(name, line, _)) => {
            (name.to_string(), line.unwrap_or_default())
        }
        other => unreachable!("{other:?}"),
    }
}
