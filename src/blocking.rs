//! Blocking work, away from the threads that run async tasks.

use std::panic::resume_unwind;
use std::thread;

use tokio::task::JoinError;

/// The runtime is shutting down, or the task was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

/// Runs `work` on a thread that may block. Panics if `work` does.
///
/// # Errors
/// Those of `work`, and [`Cancelled`].
pub async fn run<T, E, W>(work: W) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Cancelled> + Send + 'static,
    W: FnOnce() -> Result<T, E> + Send + 'static,
{
    join(tokio::task::spawn_blocking(work)).await
}

/// Does the same on a thread that ends with the work, for work that changes its thread for good.
///
/// # Errors
/// Those of `work`, and [`Cancelled`].
pub async fn run_on_own_thread<T, E, W>(work: W) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Cancelled> + Send + 'static,
    W: FnOnce() -> Result<T, E> + Send + 'static,
{
    // The runtime waits for its own threads when it shuts down, and so for this one.
    run(|| thread::spawn(work).join().unwrap_or_else(|panic| resume_unwind(panic))).await
}

/// Awaits a task. Panics if the task did: a bug must not look like a failed request.
///
/// # Errors
/// Those of the task, and [`Cancelled`].
pub async fn join<T, E: From<Cancelled>>(
    task: impl Future<Output = Result<Result<T, E>, JoinError>>,
) -> Result<T, E> {
    match task.await.map_err(JoinError::try_into_panic) {
        Ok(result) => result,
        Err(Ok(panic)) => resume_unwind(panic),
        Err(Err(_)) => Err(Cancelled.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_not_an_error() {
        let bug = || -> Result<(), Cancelled> { panic!("a bug") };
        for outer in [tokio::spawn(run(bug)), tokio::spawn(run_on_own_thread(bug))] {
            let panic = outer.await.expect_err("the panic goes on").into_panic();
            assert_eq!(panic.downcast_ref(), Some(&"a bug"));
        }
    }

    #[tokio::test]
    async fn an_aborted_task_is_cancelled() {
        let task = tokio::spawn(std::future::pending::<Result<(), Cancelled>>());
        task.abort();
        assert_eq!(join(task).await, Err(Cancelled));
    }
}
