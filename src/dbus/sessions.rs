//! The gateway's sessions, one for each caller.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zbus::names::UniqueName;

use super::caller::Caller;
use crate::gateway::Session;
use crate::jobs::Jobs;

/// Sessions by the caller's bus name; the other end of a socket has none.
type ByCaller = HashMap<Option<UniqueName<'static>>, Arc<Session>>;

#[derive(Clone, Default)]
pub(super) struct Sessions(Arc<Mutex<ByCaller>>);

impl Sessions {
    /// The session of a caller, opened if there is none. It ends when the caller disconnects or sessions are
    /// ended. Until then it counts as a job, so that the service does not exit.
    pub(super) fn get_or_open<E>(
        &self,
        caller: Caller,
        open: impl FnOnce() -> Result<Session, E>,
        jobs: &Jobs,
    ) -> Result<Arc<Session>, E> {
        let mut sessions = self.lock();
        if let Some(session) = sessions.get(&caller.name().cloned()) {
            return Ok(Arc::clone(session));
        }
        let session = Arc::new(open()?);
        sessions.insert(caller.name().cloned(), Arc::clone(&session));
        drop(sessions);
        let (sessions, job, ended) = (self.clone(), jobs.start(), jobs.sessions_ended.clone());
        tokio::spawn(async move {
            ended.run_until_cancelled(caller.disconnected()).await;
            sessions.lock().remove(&caller.name().cloned());
            drop(job);
        });
        Ok(session)
    }

    /// The session of a caller, if there is one.
    pub(super) fn get(&self, caller: &Caller) -> Option<Arc<Session>> {
        self.lock().get(&caller.name().cloned()).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, ByCaller> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
