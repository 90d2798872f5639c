//! A process-wide value that is made in the Init phase.

use std::{future::Future, sync::OnceLock};
use tokio::sync::Mutex;

/// A cell for a `static`, filled once, usually by [`Lifecycle::init_cell`](crate::Lifecycle::init_cell).
///
/// Reading it is one atomic load. A fill that fails leaves it empty, so it can be tried again.
///
/// ```
/// use lambda_lifecycle::InitCell;
///
/// static POOL: InitCell<String> = InitCell::new();
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), std::io::Error> {
/// assert_eq!(POOL.get(), None);
/// let pool = POOL.get_or_init(async { Ok::<_, std::io::Error>("postgres".to_owned()) }).await?;
/// assert_eq!(pool, "postgres");
/// assert_eq!(POOL.get().map(String::as_str), Some("postgres"));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct InitCell<T> {
    value: OnceLock<T>,
    filling: Mutex<()>,
}

impl<T> InitCell<T> {
    /// An empty cell.
    pub const fn new() -> Self {
        Self { value: OnceLock::new(), filling: Mutex::const_new(()) }
    }

    /// The value, `None` while nobody has filled the cell.
    pub fn get(&self) -> Option<&T> {
        self.value.get()
    }

    /// The value, made by `fill` if there is none yet. Of several callers at once one fills, the others wait for it.
    ///
    /// # Errors
    /// What `fill` returns; the cell is then still empty.
    pub async fn get_or_init<E>(&self, fill: impl Future<Output = Result<T, E>>) -> Result<&T, E> {
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        let _filling = self.filling.lock().await;
        if let Some(value) = self.value.get() {
            return Ok(value);
        }
        let value = fill.await?;
        Ok(self.value.get_or_init(|| value))
    }
}

impl<T> Default for InitCell<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failed_fill_can_be_tried_again_and_a_filled_cell_stays() {
        static CELL: InitCell<u8> = InitCell::new();
        assert_eq!(CELL.get_or_init(async { Err("refused") }).await, Err("refused"));
        assert_eq!(CELL.get(), None);
        assert_eq!(CELL.get_or_init(async { Ok::<_, &str>(1) }).await, Ok(&1));
        assert_eq!(CELL.get_or_init(async { Ok::<_, &str>(2) }).await, Ok(&1));
    }

    #[tokio::test]
    async fn of_two_callers_at_once_one_fills() {
        static CELL: InitCell<u8> = InitCell::new();
        let fill = |value| async move {
            tokio::task::yield_now().await;
            Ok::<u8, ()>(value)
        };
        let (one, two) = tokio::join!(CELL.get_or_init(fill(1)), CELL.get_or_init(fill(2)));
        assert_eq!((one, two), (Ok(&1), Ok(&1)));
    }
}
