//! One page in one browser.

use crate::support::{Tested, ensure, within};
use chromiumoxide::{
    Browser, BrowserConfig,
    cdp::{
        browser_protocol::{
            emulation::{MediaFeature, SetDeviceMetricsOverrideParams},
            input::{DispatchKeyEventParams, DispatchKeyEventType},
            log::{EventEntryAdded, LogEntryLevel},
            network::EventRequestWillBeSent,
            page::CaptureScreenshotFormat,
        },
        js_protocol::runtime::{ConsoleApiCalledType, EvaluateParams, EventConsoleApiCalled, EventExceptionThrown},
    },
    page::ScreenshotParams,
};
use futures_util::StreamExt;
use libtest_mimic::Failed;
use serde::de::DeserializeOwned;
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// The programs that Chromium has on different systems.
const PROGRAMS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// The browser's own bound of a request, which only a hang reaches: ours is shorter.
const LONGEST: Duration = Duration::from_secs(600);

pub(crate) fn program() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("CHROME") {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    PROGRAMS.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|program| program.is_file())
}

pub(crate) struct Page {
    browser: Browser,
    page: chromiumoxide::Page,
    complaints: Arc<Mutex<Vec<String>>>,
    requests: Arc<Mutex<Vec<String>>>,
    tasks: Vec<JoinHandle<()>>,
    _profile: TempDir,
}

fn lock(list: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Page {
    /// Opens a URL in a new browser, in a window of 1280 × 800.
    pub(crate) async fn open(url: &str) -> Result<Self, Failed> {
        let profile = tempfile::tempdir()?;
        let config = BrowserConfig::builder()
            .chrome_executable(program().ok_or("no browser")?)
            .user_data_dir(profile.path())
            .new_headless_mode()
            .no_sandbox()
            .viewport(None)
            .launch_timeout(LONGEST)
            .request_timeout(LONGEST)
            .arg("--disable-gpu")
            .arg("--disable-dev-shm-usage")
            .build()?;
        let (browser, mut handler) = within("the browser", Browser::launch(config)).await??;
        // Messages of a newer browser that the client does not know are no end.
        let handling = tokio::spawn(async move { while handler.next().await.is_some() {} });
        let page = within("a page", browser.new_page("about:blank")).await??;
        let (complaints, requests) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let mut this = Self { browser, page, complaints, requests, tasks: vec![handling], _profile: profile };
        this.listen().await?;
        this.size(1280, 800).await?;
        within("the page", this.page.goto(url)).await??;
        this.wait("document.querySelector('#live')?.dataset.state === 'live'").await?;
        Ok(this)
    }

    /// Keeps what the page complains about and asks for.
    async fn listen(&mut self) -> Tested {
        let mut thrown = self.page.event_listener::<EventExceptionThrown>().await?;
        let mut said = self.page.event_listener::<EventConsoleApiCalled>().await?;
        let mut logged = self.page.event_listener::<EventEntryAdded>().await?;
        let mut sent = self.page.event_listener::<EventRequestWillBeSent>().await?;
        self.page.enable_log().await?;
        let (complaints, requests) = (Arc::clone(&self.complaints), Arc::clone(&self.requests));
        self.tasks.push(tokio::spawn(async move {
            loop {
                tokio::select! {
                    Some(event) = thrown.next() => lock(&complaints).push(format!("{:?}", event.exception_details)),
                    Some(event) = said.next() => {
                        if matches!(event.r#type, ConsoleApiCalledType::Error | ConsoleApiCalledType::Warning | ConsoleApiCalledType::Assert) {
                            lock(&complaints).push(format!("{:?}", event.args));
                        }
                    }
                    Some(event) = logged.next() => {
                        if event.entry.level == LogEntryLevel::Error {
                            lock(&complaints).push(format!("{} {:?}", event.entry.text, event.entry.url));
                        }
                    }
                    Some(event) = sent.next() => lock(&requests).push(event.request.url.clone()),
                    else => break,
                }
            }
        }));
        Ok(())
    }

    pub(crate) async fn size(&self, width: i64, height: i64) -> Tested {
        self.page.execute(SetDeviceMetricsOverrideParams::new(width, height, 1.0, width < 600)).await?;
        Ok(())
    }

    /// `light` or `dark`.
    pub(crate) async fn theme(&self, theme: &str) -> Tested {
        self.page.emulate_media_features(vec![MediaFeature::new("prefers-color-scheme", theme)]).await?;
        Ok(())
    }

    /// Shows another view.
    pub(crate) async fn go(&self, hash: &str) -> Tested {
        self.run(&format!("location.hash = {}", crate::support::quoted(hash))).await
    }

    /// Runs a script that has no value.
    pub(crate) async fn run(&self, script: &str) -> Tested {
        self.value::<bool>(&format!("(() => {{ {script} }})(), true")).await.map(drop)
    }

    /// The value of an expression, or of its promise.
    pub(crate) async fn value<T: DeserializeOwned>(&self, expression: &str) -> Result<T, Failed> {
        let evaluate = EvaluateParams::builder().expression(expression).await_promise(true).return_by_value(true).build()?;
        let result = within(expression, self.page.evaluate_expression(evaluate)).await??;
        // `null` has none.
        Ok(serde_json::from_value(result.value().cloned().unwrap_or_default())?)
    }

    /// Waits until an expression is true. The page looks again after every frame.
    pub(crate) async fn wait(&self, expression: &str) -> Tested {
        self.text(&format!("({expression}) ? 'true' : ''")).await.map(drop)
    }

    /// Waits until an expression is a text that is not empty.
    pub(crate) async fn text(&self, expression: &str) -> Result<String, Failed> {
        let wait = format!(
            "new Promise((resolve) => {{ const look = () => {{ const value = {expression}; \
             if (value) resolve(String(value)); else setTimeout(look, 15); }}; look(); }})"
        );
        self.value(&wait).await.map_err(|failed| format!("{expression}: {}", failed.message().unwrap_or_default()).into())
    }

    /// Presses a key, as the user does.
    pub(crate) async fn press(&self, key: &str) -> Tested {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "ArrowLeft" => 37,
            "ArrowUp" => 38,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            "End" => 35,
            other => return Err(format!("the key {other} is not known here").into()),
        };
        for kind in [DispatchKeyEventType::KeyDown, DispatchKeyEventType::KeyUp] {
            let mut event =
                DispatchKeyEventParams::builder().r#type(kind.clone()).key(key).code(key).windows_virtual_key_code(code);
            if key == "Enter" && kind == DispatchKeyEventType::KeyDown {
                event = event.text("\r");
            }
            self.page.execute(event.build()?).await?;
        }
        Ok(())
    }

    /// Keeps a picture of the page as `target/console/NAME.png`.
    pub(crate) async fn picture(&self, name: &str) -> Tested {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/console");
        std::fs::create_dir_all(&folder)?;
        let parameters = ScreenshotParams::builder().format(CaptureScreenshotFormat::Png).build();
        let picture = within("a screenshot", self.page.screenshot(parameters)).await??;
        std::fs::write(folder.join(name).with_extension("png"), picture)?;
        Ok(())
    }

    /// The URLs of all requests so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        lock(&self.requests).clone()
    }

    /// Ends the browser. The page must have logged no error.
    pub(crate) async fn close(mut self) -> Tested {
        let complaints = lock(&self.complaints).clone();
        let _ = within("the end of the browser", self.browser.close()).await?;
        let _ = within("the end of the browser", self.browser.wait()).await?;
        for task in &self.tasks {
            task.abort();
        }
        ensure(complaints.is_empty(), format!("errors in the page: {complaints:#?}"))
    }
}
