//! The cells that [`Lifecycle::init_cell`](crate::Lifecycle::init_cell) fills.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

/// A cell for a process-wide value that is written once: `once_cell::sync::OnceCell`, `std::sync::OnceLock` or
/// `tokio::sync::OnceCell`.
///
/// [`Lifecycle::init_cell`](crate::Lifecycle::init_cell) fills it in the Init phase. Handlers read it with the cell's own `get`.
/// The trait is sealed.
pub trait WriteOnce: sealed::Sealed {
    /// The type of the value.
    type Value;

    /// The value. `init` creates it if there is none yet. Of several concurrent callers one runs its `init`, and the others wait.
    #[doc(hidden)]
    fn get_or_try_init<E>(
        &'static self,
        init: impl Future<Output = Result<Self::Value, E>>,
    ) -> impl Future<Output = Result<&'static Self::Value, E>>;
}

mod sealed {
    pub trait Sealed {}
    impl<T> Sealed for once_cell::sync::OnceCell<T> {}
    impl<T> Sealed for std::sync::OnceLock<T> {}
    impl<T> Sealed for tokio::sync::OnceCell<T> {}
}

impl<T> WriteOnce for once_cell::sync::OnceCell<T> {
    type Value = T;

    async fn get_or_try_init<E>(&'static self, init: impl Future<Output = Result<T, E>>) -> Result<&'static T, E> {
        one_at_a_time(self, || self.get(), |value| self.get_or_init(|| value), init).await
    }
}

impl<T> WriteOnce for OnceLock<T> {
    type Value = T;

    async fn get_or_try_init<E>(&'static self, init: impl Future<Output = Result<T, E>>) -> Result<&'static T, E> {
        one_at_a_time(self, || self.get(), |value| self.get_or_init(|| value), init).await
    }
}

impl<T> WriteOnce for tokio::sync::OnceCell<T> {
    type Value = T;

    async fn get_or_try_init<E>(&'static self, init: impl Future<Output = Result<T, E>>) -> Result<&'static T, E> {
        Self::get_or_try_init(self, || init).await
    }
}

/// Fills a cell whose own initialization would block the threads of waiting callers.
async fn one_at_a_time<C, T: 'static, E>(
    cell: &'static C,
    get: impl Fn() -> Option<&'static T>,
    set: impl FnOnce(T) -> &'static T,
    init: impl Future<Output = Result<T, E>>,
) -> Result<&'static T, E> {
    if let Some(value) = get() {
        return Ok(value);
    }
    let turn = turn_of(std::ptr::from_ref(cell).addr());
    let _turn = turn.lock().await;
    if let Some(value) = get() {
        return Ok(value);
    }
    init.await.map(set)
}

/// The lock for callers that fill the cell at this address. It lives as long as the process, like the cell.
fn turn_of(address: usize) -> Arc<tokio::sync::Mutex<()>> {
    static TURNS: Mutex<BTreeMap<usize, Arc<tokio::sync::Mutex<()>>>> = Mutex::new(BTreeMap::new());
    Arc::clone(TURNS.lock().unwrap_or_else(PoisonError::into_inner).entry(address).or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{init::InitPhase, invocation::Shared, settings::Settings};
    use std::{
        fmt::Debug,
        sync::atomic::{AtomicU8, Ordering},
    };

    async fn fill<C: WriteOnce>(
        cell: &'static C,
        init: impl Future<Output = Result<C::Value, &'static str>>,
    ) -> Result<&'static C::Value, String> {
        // The first invocation of the process, in another test, would get the spans.
        let phase = InitPhase::begin(&Shared::of(Settings { trace: false, ..Settings::default() }));
        cell.get_or_try_init(phase.attempt("cell".into(), init)).await.map_err(|error| error.to_string())
    }

    async fn is_filled_once<C>(cell: &'static C, get: impl Fn() -> Option<u8>)
    where
        C: WriteOnce<Value = u8> + Sync + Debug,
    {
        let runs = AtomicU8::new(0);
        fill(cell, async { Err("refused") }).await.expect_err("refused");
        fill(cell, async { panic!("planned") }).await.expect_err("panicked");
        assert_eq!(get(), None, "a failed initializer leaves the cell empty");

        let of = |value| {
            let runs = &runs;
            async move {
                runs.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Ok(value)
            }
        };
        let (one, two) = tokio::join!(fill(cell, of(1)), fill(cell, of(2)));
        assert_eq!((one, two, get()), (Ok(&1), Ok(&1), Some(1)));
        assert_eq!(fill(cell, of(3)).await, Ok(&1));
        assert_eq!(runs.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn each_kind_of_cell_is_filled_once_and_stays_empty_after_a_failure() {
        static ONCE_CELL: once_cell::sync::OnceCell<u8> = once_cell::sync::OnceCell::new();
        static ONCE_LOCK: OnceLock<u8> = OnceLock::new();
        static TOKIO: tokio::sync::OnceCell<u8> = tokio::sync::OnceCell::const_new();
        is_filled_once(&ONCE_CELL, || ONCE_CELL.get().copied()).await;
        is_filled_once(&ONCE_LOCK, || ONCE_LOCK.get().copied()).await;
        is_filled_once(&TOKIO, || TOKIO.get().copied()).await;
    }

    #[tokio::test]
    async fn after_a_failure_another_that_waits_fills_the_cell() {
        static CELL: OnceLock<u8> = OnceLock::new();
        let failing = async {
            tokio::task::yield_now().await;
            Err("refused")
        };
        let (failed, filled) = tokio::join!(fill(&CELL, failing), fill(&CELL, async { Ok(2) }));
        assert!(failed.is_err());
        assert_eq!(filled, Ok(&2));
    }
}
