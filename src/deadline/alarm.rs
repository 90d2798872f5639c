//! The timer of one invocation. It is created when the handler first waits, and dropped with the invocation.

use crate::invocation::Deadline;
use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll},
};
use tokio::{task::unconstrained, time::Sleep};

pub(crate) struct Alarm {
    deadline: Option<Deadline>,
    sleep: Option<Pin<Box<Sleep>>>,
    soft_passed: bool,
}

impl Alarm {
    pub(crate) fn new(deadline: Option<Deadline>) -> Self {
        Self { deadline, sleep: None, soft_passed: false }
    }

    pub(crate) fn deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    /// Ready at the hard deadline; calls `at_soft` once when the soft deadline has passed. Never ready without a deadline.
    pub(crate) fn poll_hard(&mut self, cx: &mut Context<'_>, at_soft: impl FnOnce()) -> Poll<()> {
        let Some(deadline) = self.deadline else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.soft.into())));
        if !self.soft_passed {
            if poll_timer(sleep, cx).is_pending() {
                return Poll::Pending;
            }
            self.soft_passed = true;
            at_soft();
            sleep.as_mut().reset(deadline.hard.into());
        }
        poll_timer(sleep, cx)
    }
}

/// A handler that has used up Tokio's cooperative budget of this poll must not keep the alarm from being polled.
fn poll_timer(sleep: &mut Pin<Box<Sleep>>, cx: &mut Context<'_>) -> Poll<()> {
    pin!(unconstrained(sleep.as_mut())).poll(cx)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{future::poll_fn, time::Duration};
    use tokio::time::Instant;

    #[tokio::test(start_paused = true)]
    async fn soft_comes_before_hard_and_once() {
        let began = Instant::now();
        let mut alarm = Alarm::new(Some(Deadline::after(Duration::from_secs(3), began.into_std(), None, None)));
        let mut softs = Vec::new();
        poll_fn(|cx| alarm.poll_hard(cx, || softs.push(began.elapsed()))).await;
        let ms = |duration: &Duration| duration.as_millis();
        assert_eq!(softs.iter().map(ms).collect::<Vec<_>>(), [2_700]);
        assert_eq!(ms(&began.elapsed()), 2_850);
    }

    #[tokio::test]
    async fn a_task_without_budget_hears_it() {
        let began = Instant::now().into_std();
        let mut alarm = Alarm::new(Some(Deadline::after(Duration::from_millis(20), began, None, None)));
        poll_fn(|cx| {
            while pin!(tokio::task::consume_budget()).poll(cx).is_ready() {}
            alarm.poll_hard(cx, || ())
        })
        .await;
    }

    #[tokio::test]
    async fn without_a_deadline_it_never_rings() {
        let mut alarm = Alarm::new(None);
        let rang = poll_fn(|cx| Poll::Ready(alarm.poll_hard(cx, || unreachable!()).is_ready())).await;
        assert!(!rang);
    }
}
