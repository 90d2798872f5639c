//! Runs one function behind a function URL or another front, and shows what comes of every invocation.

mod options;
mod watch;

use self::{
    options::{Command, Front, Options, USAGE},
    watch::{Logs, Watched},
};
use lambda_lifecycle_sandbox::{
    console::{self, Console},
    control_groups::ControlGroups,
    function::Function,
    url::{FunctionUrl, Gateway, HttpFront, WebSocketApi},
    xray::Daemon,
};
use std::{
    error::Error,
    io,
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};

/// How long a running invocation may still take when the sandbox is to end.
const LAST_INVOCATION: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let options = match options::parse(std::env::args_os().skip(1)) {
        Ok(Command::Run(options)) => options,
        Ok(Command::Help) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Ok(Command::Version) => {
            println!("lambda-sandbox {}", env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("lambda-sandbox: {error}; see lambda-sandbox --help");
            return ExitCode::from(2);
        }
    };
    if options.program.components().count() > 1 && !options.program.is_file() {
        eprintln!("lambda-sandbox: {}: no such program; build it first", options.program.display());
        return ExitCode::from(2);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(options)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lambda-sandbox: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> Result<(), Box<dyn Error>> {
    // Before anything is started that would have to be ended.
    let (mut interrupted, mut terminated) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let groups = if options.limit { Some(ControlGroups::find()?) } else { None };
    let daemon = Daemon::start().await?;
    let xray = daemon.address();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, options.port));
    let program = options.program.display().to_string();
    let (has_console, open, front) = (options.console, options.open, options.front.clone());
    let function = build(options, groups, &daemon).await;
    let console = if has_console { Some(Console::builder().daemon(&daemon).function(&function).start().await?) } else { None };
    let watched = Watched::new(function.clone(), daemon);
    let listening = Listening::start(front, address, watched).await;
    let listening = listening.map_err(|error| format!("cannot listen on {address}: {error}; choose another --port"))?;

    println!("{program}");
    listening.print();
    println!("  X-Ray daemon  {xray}");
    if let Some(console) = &console {
        println!("  console       {}", console.url());
        if open && let Err(error) = console::open(&console.url()) {
            eprintln!("lambda-sandbox: no browser was opened: {error}; open the console's address yourself");
        }
    }
    println!("Ctrl-C ends everything.\n");
    let logs = Logs::print(&function);

    tokio::select! {
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    drop((listening, console));
    tokio::select! {
        shutdown = tokio::time::timeout(LAST_INVOCATION, function.shutdown()) => {
            logs.finish().await;
            for ended in shutdown.unwrap_or_default().ended {
                println!("ended: {}", ended.exit);
            }
        }
        // Whoever asks twice does not want to wait.
        _ = interrupted.recv() => {}
    }
    Ok(())
}

/// The front that listens, until it is dropped.
enum Listening {
    FunctionUrl(FunctionUrl),
    Http { name: &'static str, root: String, front: HttpFront },
    WebSocket(WebSocketApi),
}

impl Listening {
    async fn start(front: Front, address: SocketAddr, function: Watched) -> io::Result<Self> {
        Ok(match front {
            Front::FunctionUrl => Self::FunctionUrl(FunctionUrl::start_at(address, function).await?),
            Front::Http { name, gateway } => {
                let root = match &gateway {
                    Gateway::RestApi { stage } => format!("{stage}/"),
                    _ => String::new(),
                };
                Self::Http { name, root, front: HttpFront::start_at(address, gateway, function).await? }
            }
            Front::WebSocket => Self::WebSocket(WebSocketApi::builder(function).two_way().start_at(address).await?),
        })
    }

    fn print(&self) {
        match self {
            Self::FunctionUrl(url) => {
                println!("  function URL  {}", url.url());
                println!("  invoke        curl -d '{{}}' {}2015-03-31/functions/function/invocations", url.url());
            }
            Self::Http { name, root, front } => println!("  {name:13} {}{root}", front.url()),
            Self::WebSocket(api) => {
                println!("  WebSocket API {}", api.url());
                println!("  connections   {}/@connections", api.management_endpoint());
            }
        }
    }
}

async fn build(options: Options, groups: Option<ControlGroups>, daemon: &Daemon) -> Function {
    let name = options.program.file_name().unwrap_or(options.program.as_os_str()).to_string_lossy().into_owned();
    let mut function = Function::builder(name, options.program)
        .timeout(options.timeout)
        .memory(options.memory)
        .trace_mode(options.trace)
        .xray(daemon.address())
        .trace_store(daemon.store());
    for arg in options.args {
        function = function.arg(arg);
    }
    for (key, value) in options.env {
        function = function.env(key, value);
    }
    if let Some(groups) = groups {
        function = function.limit(groups);
    }
    if let Some(concurrency) = options.managed {
        function = function.managed(concurrency);
    }
    function.build().await
}
