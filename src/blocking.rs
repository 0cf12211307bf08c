//! Blocking work, away from the threads that run async tasks.

use tokio::task::JoinError;

/// The runtime is shutting down, or the task was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cancelled")]
pub struct Cancelled;

/// Runs `work` on a thread that may block.
///
/// # Errors
/// Those of `work`, and [`Cancelled`].
///
/// # Panics
/// If `work` panics.
pub async fn run<T, E, W>(work: W) -> Result<T, E>
where
    T: Send + 'static,
    E: From<Cancelled> + Send + 'static,
    W: FnOnce() -> Result<T, E> + Send + 'static,
{
    join(tokio::task::spawn_blocking(work)).await
}

/// Awaits a task.
///
/// # Errors
/// Those of the task, and [`Cancelled`].
///
/// # Panics
/// If the task has panicked: a bug must not look like a failed request.
pub async fn join<T, E: From<Cancelled>>(
    task: impl Future<Output = Result<Result<T, E>, JoinError>>,
) -> Result<T, E> {
    match task.await.map_err(JoinError::try_into_panic) {
        Ok(result) => result,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_)) => Err(Cancelled.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_not_an_error() {
        let outer = tokio::spawn(run(|| -> Result<(), Cancelled> { panic!("a bug") }));
        let panic = outer.await.expect_err("the panic goes on").into_panic();
        assert_eq!(panic.downcast_ref(), Some(&"a bug"));
    }

    #[tokio::test]
    async fn an_aborted_task_is_cancelled() {
        let task = tokio::spawn(std::future::pending::<Result<(), Cancelled>>());
        task.abort();
        assert_eq!(join(task).await, Err(Cancelled));
    }
}
