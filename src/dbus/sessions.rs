//! The runs of dnf5 that the gateway serves: one for each caller.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use zbus::names::UniqueName;

use super::caller::Caller;
use super::jobs::Jobs;
use crate::gateway::Session;

/// Sessions by their callers' names; a socket's other end has none.
type ByCaller = HashMap<Option<UniqueName<'static>>, Arc<Session>>;

#[derive(Clone, Default)]
pub(super) struct Sessions(Arc<Mutex<ByCaller>>);

impl Sessions {
    /// The run of a caller. It begins with the first call, and ends when the caller leaves or all
    /// is given up; as long as it lasts it counts as a job, so that the service does not end.
    pub(super) fn of<E>(
        &self,
        caller: Caller,
        begin: impl FnOnce() -> Result<Session, E>,
        jobs: &Jobs,
    ) -> Result<Arc<Session>, E> {
        let mut known = self.lock();
        if let Some(run) = known.get(&caller.name().cloned()) {
            return Ok(Arc::clone(run));
        }
        let run = Arc::new(begin()?);
        known.insert(caller.name().cloned(), Arc::clone(&run));
        drop(known);
        let (sessions, jobs, counted) = (self.clone(), jobs.clone(), jobs.begin());
        tokio::spawn(async move {
            tokio::select! {
                () = caller.gone() => (),
                () = jobs.given_up() => (),
            }
            sessions.lock().remove(&caller.name().cloned());
            drop(counted);
        });
        Ok(run)
    }

    /// The run of a caller, if one has begun.
    pub(super) fn known(&self, caller: &Caller) -> Option<Arc<Session>> {
        self.lock().get(&caller.name().cloned()).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, ByCaller> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
