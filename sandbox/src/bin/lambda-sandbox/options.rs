//! The command line.

use lambda_lifecycle_sandbox::{function::TraceMode, url::Gateway};
use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

pub(crate) const USAGE: &str = "\
Runs a function in AWS Lambda's execution environment, on this machine, behind a function URL or another front.

Usage: lambda-sandbox [OPTIONS] PROGRAM [ARGS...]

PROGRAM is what would be deployed as bootstrap: a binary on lambda_runtime, or on any other runtime that speaks Lambda's
Runtime API. Log lines are printed as they come, and the X-Ray trace of every invocation after its end.

Options:
  --timeout TIME     the function's timeout, as in 3s, 500ms or 2m                     [default: 3s]
  --memory MB        the function's memory, as in AWS_LAMBDA_FUNCTION_MEMORY_SIZE      [default: 128]
  --limit            gives it the CPU share and the memory of that size; needs root or a delegated control group
  --env KEY=VALUE    sets a variable of the function; may be repeated
  --managed N        runs it as Managed Instances do: N invocations in one process at a time,
                     and 429 for more
  --front FRONT      the service in front of it: function-url, http-api, rest-api (with the stage prod), alb, lattice
                     or websocket (with the stage dev and the route $default)          [default: function-url]
  --trace MODE       active, pass-through, pass-through-not-sampled or not-sampled     [default: active]
  --console          shows traces, environments and logs in the browser, and invokes the function from there
  --open             the same, and opens the browser
  --port PORT        where to listen on the loopback interface; 0 is a free port       [default: 9000]
  -h, --help         prints this
  -V, --version      prints the version
";

/// The parsed command.
#[derive(Debug)]
pub(crate) enum Command {
    Run(Options),
    Help,
    Version,
}

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(String, String)>,
    pub(crate) timeout: Duration,
    pub(crate) memory: u32,
    pub(crate) limit: bool,
    pub(crate) managed: Option<usize>,
    pub(crate) front: Front,
    pub(crate) trace: TraceMode,
    pub(crate) console: bool,
    pub(crate) open: bool,
    pub(crate) port: u16,
}

/// The service in front of the function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Front {
    FunctionUrl,
    Http { name: &'static str, gateway: Gateway },
    WebSocket,
}

/// An error in the command line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("no program to run")]
    NoProgram,
    #[error("unknown option {0}")]
    Unknown(String),
    #[error("{option} needs a value: {expected}")]
    NoValue { option: String, expected: &'static str },
    #[error("{option} takes no value, but got {value}")]
    NotAValue { option: String, value: String },
    #[error("{option} {value}: expected {expected}")]
    BadValue { option: String, value: String, expected: &'static str },
}

pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Command, UsageError> {
    let mut args: VecDeque<OsString> = args.into_iter().collect();
    let mut options = Options {
        program: PathBuf::new(),
        args: Vec::new(),
        env: Vec::new(),
        timeout: Duration::from_secs(3),
        memory: 128,
        limit: false,
        managed: None,
        front: Front::FunctionUrl,
        trace: TraceMode::Active,
        console: false,
        open: false,
        port: 9000,
    };
    while let Some(arg) = args.pop_front() {
        let text = arg.to_string_lossy().into_owned();
        if text == "--" {
            break;
        }
        if !text.starts_with('-') {
            args.push_front(arg);
            break;
        }
        let (option, inline) = match text.split_once('=') {
            Some((option, value)) if text.starts_with("--") => (option.to_owned(), Some(value.to_owned())),
            _ => (text, None),
        };
        let mut value = Value { option: &option, inline, args: &mut args };
        match option.as_str() {
            "-h" | "--help" => return Ok(Command::Help),
            "-V" | "--version" => return Ok(Command::Version),
            "--timeout" => options.timeout = value.parsed("a time as in 3s, 500ms or 2m", duration)?,
            "--memory" => options.memory = value.parsed("a number of MB, at least 1", positive)?,
            "--limit" => options.limit = value.none()?,
            "--env" => options.env.push(value.parsed("KEY=VALUE", variable)?),
            "--managed" => options.managed = Some(value.parsed("a number of invocations, at least 1", positive)?),
            "--front" => options.front = value.parsed(FRONTS, front)?,
            "--trace" => options.trace = value.parsed("active, pass-through, pass-through-not-sampled or not-sampled", mode)?,
            "--console" => options.console = value.none()?,
            "--open" => {
                options.open = value.none()?;
                options.console = true;
            }
            "--port" => options.port = value.parsed("a port", |text| text.parse().ok())?,
            _ => return Err(UsageError::Unknown(option)),
        }
    }
    options.program = args.pop_front().filter(|program| program != OsStr::new("")).ok_or(UsageError::NoProgram)?.into();
    options.args = args.into();
    Ok(Command::Run(options))
}

/// The value of an option, after `=` or as the next argument.
struct Value<'a> {
    option: &'a str,
    inline: Option<String>,
    args: &'a mut VecDeque<OsString>,
}

impl Value<'_> {
    /// Of an option that has none.
    fn none(&mut self) -> Result<bool, UsageError> {
        let option = self.option.to_owned();
        self.inline.take().map_or(Ok(true), |value| Err(UsageError::NotAValue { option, value }))
    }

    fn parsed<T>(&mut self, expected: &'static str, parse: impl Fn(&str) -> Option<T>) -> Result<T, UsageError> {
        let option = self.option.to_owned();
        let next = || self.args.pop_front().map(|value| value.to_string_lossy().into_owned());
        let Some(value) = self.inline.take().or_else(next) else {
            return Err(UsageError::NoValue { option, expected });
        };
        parse(&value).ok_or(UsageError::BadValue { option, value, expected })
    }
}

fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u32 = number.parse().ok().filter(|number| *number > 0)?;
    let unit = match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        _ => return None,
    };
    unit.checked_mul(number)
}

fn variable(text: &str) -> Option<(String, String)> {
    let (key, value) = text.split_once('=')?;
    (!key.is_empty()).then(|| (key.to_owned(), value.to_owned()))
}

fn positive<N: FromStr + PartialOrd + Default>(text: &str) -> Option<N> {
    text.parse().ok().filter(|number| *number > N::default())
}

const FRONTS: &str = "function-url, http-api, rest-api, alb, lattice or websocket";

fn front(text: &str) -> Option<Front> {
    Some(match text {
        "function-url" => Front::FunctionUrl,
        "http-api" => Front::Http { name: "HTTP API", gateway: Gateway::HttpApi { stage: "$default".to_owned() } },
        "rest-api" => Front::Http { name: "REST API", gateway: Gateway::RestApi { stage: "prod".to_owned() } },
        "alb" => Front::Http { name: "load balancer", gateway: Gateway::LoadBalancer { multi_value_headers: false } },
        "lattice" => Front::Http { name: "VPC Lattice", gateway: Gateway::VpcLattice },
        "websocket" => Front::WebSocket,
        _ => return None,
    })
}

fn mode(text: &str) -> Option<TraceMode> {
    match text {
        "active" => Some(TraceMode::Active),
        "pass-through" => Some(TraceMode::PassThrough),
        "pass-through-not-sampled" => Some(TraceMode::PassThroughNotSampled),
        "not-sampled" => Some(TraceMode::NotSampled),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Result<Options, UsageError> {
        match parse(line.split(' ').map(OsString::from))? {
            Command::Run(options) => Ok(options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_end_at_the_program_and_the_rest_is_its_own() {
        let line =
            "--timeout 500ms --memory=256 --limit --env A=1 --env B=x=y --managed 4 --trace pass-through --port 0 ./f --port x";
        let options = run(line).expect("a command line");
        assert_eq!((options.timeout, options.memory), (Duration::from_millis(500), 256));
        assert_eq!(options.env, [("A".to_owned(), "1".to_owned()), ("B".to_owned(), "x=y".to_owned())]);
        assert_eq!((options.managed, options.port), (Some(4), 0));
        assert!(options.limit && !run("./f --limit").expect("a program").limit);
        assert!(!options.console && run("--console ./f").expect("a program").console);
        let open = run("--open ./f").expect("a program");
        assert!(open.console && open.open);
        assert!(matches!(options.trace, TraceMode::PassThrough));
        assert_eq!(options.front, Front::FunctionUrl);
        assert_eq!(run("--front websocket ./f").expect("a program").front, Front::WebSocket);
        assert_eq!((options.program, options.args), (PathBuf::from("./f"), vec!["--port".into(), "x".into()]));
        assert_eq!(run("-- --odd").expect("a program").program, PathBuf::from("--odd"));
    }

    #[test]
    fn errors_say_what_is_expected() {
        for (line, message) in [
            ("", "no program to run"),
            ("--port 0", "no program to run"),
            ("--color f", "unknown option --color"),
            ("--timeout", "--timeout needs a value: a time as in 3s, 500ms or 2m"),
            ("--timeout 3 f", "--timeout 3: expected a time as in 3s, 500ms or 2m"),
            ("--timeout 0s f", "--timeout 0s: expected a time as in 3s, 500ms or 2m"),
            ("--timeout 4294967296m f", "--timeout 4294967296m: expected a time as in 3s, 500ms or 2m"),
            ("--managed 0 f", "--managed 0: expected a number of invocations, at least 1"),
            ("--memory 0 f", "--memory 0: expected a number of MB, at least 1"),
            ("--limit=yes f", "--limit takes no value, but got yes"),
            ("--env A f", "--env A: expected KEY=VALUE"),
            ("--trace yes f", "--trace yes: expected active, pass-through, pass-through-not-sampled or not-sampled"),
            ("--front api f", "--front api: expected function-url, http-api, rest-api, alb, lattice or websocket"),
            ("--port 70000 f", "--port 70000: expected a port"),
        ] {
            assert_eq!(run(line).expect_err(line).to_string(), message);
        }
    }

    #[test]
    fn help_and_version_need_no_program() {
        assert!(matches!(parse(["--help".into()]), Ok(Command::Help)));
        assert!(matches!(parse(["-V".into()]), Ok(Command::Version)));
    }
}
