//! What the tests share.

use crate::browser::Page;
use lambda_lifecycle_sandbox::{
    console::{Console, ConsoleBuilder},
    function::{Function, FunctionBuilder},
    wait,
    xray::Daemon,
};
use libtest_mimic::{Failed, Trial};
use std::{future::Future, time::Duration};

pub(crate) type Tested = Result<(), Failed>;

pub(crate) fn test<F: Future<Output = Tested>>(name: &str, run: impl FnOnce() -> F + Send + 'static) -> Trial {
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(run())
    })
}

pub(crate) fn ensure(holds: bool, otherwise: impl Into<String>) -> Tested {
    if holds { Ok(()) } else { Err(Failed::from(otherwise.into())) }
}

pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T, Failed> {
    Ok(wait::within(what, future).await?)
}

/// This binary as a function, with a console in a browser.
pub(crate) struct Stage {
    pub(crate) function: Function,
    pub(crate) daemon: Daemon,
    pub(crate) console: Console,
    pub(crate) page: Page,
}

impl Stage {
    pub(crate) async fn start(describe: impl FnOnce(FunctionBuilder) -> FunctionBuilder) -> Result<Self, Failed> {
        let daemon = Daemon::start().await?;
        let builder = Function::builder("probe", std::env::current_exe()?)
            .timeout(Duration::from_secs(60))
            .xray(daemon.address())
            .trace_store(daemon.store())
            .log_format("JSON");
        let function = describe(builder).build().await;
        let console = start(Console::builder().daemon(&daemon).function(&function)).await?;
        let page = Page::open(&console.url()).await?;
        Ok(Self { function, daemon, console, page })
    }

    /// Sends an event from the page, and opens the trace it becomes when `ready` says so of the row in the list.
    pub(crate) async fn send(&self, event: &str) -> Result<String, Failed> {
        self.page.go("#/send").await?;
        self.page.wait("document.querySelector('#sample')?.length > 1").await?;
        let fill =
            format!("document.querySelector('#payload').value = {}; document.querySelector('#send').click()", quoted(event));
        self.page.run(&fill).await?;
        let done = "(() => { const done = document.querySelector('.results [data-request]'); \
                    return done && !done.textContent.includes('running') && done.querySelector('a').hash })()";
        self.page.text(done).await
    }

    pub(crate) async fn end(self) -> Tested {
        self.page.close().await?;
        drop(self.console);
        Ok(())
    }
}

pub(crate) async fn start(builder: ConsoleBuilder) -> Result<Console, Failed> {
    Ok(within("the start of the console", builder.start()).await??)
}

/// A string of JavaScript.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}
