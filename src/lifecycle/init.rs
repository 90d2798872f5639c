//! Initializers, which run in the Init phase.

use super::Lifecycle;
use crate::{
    init::{InitError, Optional, WriteOnce, off_the_executor},
    notice::{self, Data, Warning},
    urls,
};
use lambda_runtime::Error;
use std::{borrow::Cow, future::Future};

/// The Init phase.
impl<L> Lifecycle<L> {
    /// Runs an initializer in the Init phase. It is timed, traced as `init <name>`, and limited by the phase's budget. A failure
    /// is posted to Lambda.
    ///
    /// To run several concurrently, use `tokio::try_join!(life.init("a", a()), life.init("b", b()))`.
    ///
    /// # Errors
    /// [`InitError`] when the initializer fails, panics or exceeds the phase's remaining time. Return it from `main`.
    pub async fn init<T, E>(
        &self,
        name: impl Into<Cow<'static, str>>,
        setup: impl Future<Output = Result<T, E>>,
    ) -> Result<T, InitError>
    where
        E: Into<Error>,
    {
        self.init.run(name.into(), setup).await
    }

    /// Like [`init`](Self::init), but stores the value in a cell of the process: `once_cell::sync::OnceCell`,
    /// `std::sync::OnceLock` or `tokio::sync::OnceCell`.
    ///
    /// A cell that is already filled keeps its value. Of several concurrent callers one runs its initializer, and the others
    /// wait.
    ///
    /// ```no_run
    /// use lambda_lifecycle::{Error, LambdaEvent, Lifecycle, service_fn};
    /// use once_cell::sync::OnceCell;
    ///
    /// struct App { table: String }
    /// impl App {
    ///     async fn connect() -> Result<Self, Error> { Ok(Self { table: "orders".to_owned() }) }
    /// }
    ///
    /// static APP: OnceCell<App> = OnceCell::new();
    ///
    /// #[tokio::main]
    /// async fn main() -> Result<(), Error> {
    ///     let life = Lifecycle::from_env();
    ///     life.init_cell("app", &APP, App::connect()).await?;
    ///     life.run_concurrent(service_fn(handle)).await
    /// }
    ///
    /// async fn handle(_: LambdaEvent<()>) -> Result<&'static str, Error> {
    ///     Ok(&APP.get().ok_or("init fills it")?.table)
    /// }
    /// ```
    ///
    /// # Errors
    /// Like [`init`](Self::init). The cell is then still empty, so the call can be repeated.
    pub async fn init_cell<C, E>(
        &self,
        name: impl Into<Cow<'static, str>>,
        cell: &'static C,
        setup: impl Future<Output = Result<C::Value, E>>,
    ) -> Result<&'static C::Value, InitError>
    where
        C: WriteOnce,
        E: Into<Error>,
    {
        cell.get_or_try_init(self.init(name, setup)).await
    }

    /// Like [`init`](Self::init), for an initializer that blocks its thread. It runs outside of the executor, so that others
    /// continue and the budget applies. An initializer that exceeds the budget is not waited for, but it cannot be interrupted.
    ///
    /// # Errors
    /// Like [`init`](Self::init).
    pub async fn init_blocking<T, E>(
        &self,
        name: impl Into<Cow<'static, str>>,
        setup: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, InitError>
    where
        T: Send + 'static,
        E: Into<Error> + Send + 'static,
    {
        self.init(name, off_the_executor(setup)).await
    }

    /// Like [`init`](Self::init), for an initializer that the function can start without. A failure is logged and marked in the
    /// trace, and the initializer runs again when its value is first requested.
    pub async fn init_optional<T, F, Setup, E>(&self, name: impl Into<Cow<'static, str>>, setup: F) -> Optional<T>
    where
        F: Fn() -> Setup + Send + Sync + 'static,
        Setup: Future<Output = Result<T, E>> + Send + 'static,
        E: Into<Error>,
    {
        // The future is created inside of the attempt, which then catches a panic of `setup` too.
        let first = self.init.attempt(name.into(), async { setup().await }).await;
        let value = first
            .inspect_err(|error| {
                notice::log(Warning::InitOptionalFailed, Data::error(&urls::without_secrets(&error.to_string())));
            })
            .ok();
        Optional::new(value, setup)
    }
}
