//! An initializer that the function can start without.

use lambda_runtime::Error;
use std::{fmt, future::Future, pin::Pin};
use tokio::sync::OnceCell;

type Initializer<T> = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Result<T, Error>> + Send>> + Send + Sync>;

/// A value whose initializer ran in the Init phase, and runs again at its first use if it failed.
///
/// Made by [`Lifecycle::init_optional`](crate::Lifecycle::init_optional). It can be a field of the function's state:
///
/// ```no_run
/// use lambda_lifecycle::{Error, Lifecycle, init::Optional};
///
/// struct App { cache: Optional<Vec<String>> }
///
/// async fn warm() -> Result<Vec<String>, std::io::Error> { Ok(vec![]) }
///
/// async fn start(life: &Lifecycle) -> App {
///     App { cache: life.init_optional("cache", warm).await }
/// }
///
/// async fn look_up(app: &App) -> Result<usize, Error> {
///     Ok(app.cache.get_or_retry().await?.len())
/// }
/// ```
pub struct Optional<T> {
    value: OnceCell<T>,
    initializer: Initializer<T>,
}

impl<T> Optional<T> {
    pub(crate) fn new<Initializing, E>(value: Option<T>, initializer: impl Fn() -> Initializing + Send + Sync + 'static) -> Self
    where
        Initializing: Future<Output = Result<T, E>> + Send + 'static,
        E: Into<Error>,
    {
        let boxed = move || -> Pin<Box<dyn Future<Output = Result<T, Error>> + Send>> {
            let initializing = initializer();
            Box::pin(async move { initializing.await.map_err(Into::into) })
        };
        Self { value: OnceCell::new_with(value), initializer: Box::new(boxed) }
    }

    /// The value, if it is initialized. One atomic load.
    pub fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// The value. Its initializer runs again if it has failed before. Of several concurrent callers one runs it, and the others
    /// wait.
    ///
    /// # Errors
    /// The error that the initializer returns this time; the next call tries again.
    pub async fn get_or_retry(&self) -> Result<&T, Error> {
        self.value.get_or_try_init(&self.initializer).await
    }
}

impl<T: fmt::Debug> fmt::Debug for Optional<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Optional").field("value", &self.value.get()).finish_non_exhaustive()
    }
}
