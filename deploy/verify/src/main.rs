//! Compares what the callers, the log and X-Ray show of deployed functions with what lambda-lifecycle promises, and writes a report.

mod acts;
mod assertions;
mod aws;
mod checks;
mod hops;
mod metrics;
mod observed;
mod parts;
mod questions;
mod relay;
mod report;
mod sandbox;
mod target;
mod walk;

use assertions::{ASSERTIONS, Assertion};
use observed::{Observed, Progress};
use parts::{PARTS, Part};
use report::Report;
use sandbox::{Programs, Sandbox};
use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use target::{Failure, Target};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};

const USAGE: &str = "usage: verify --sandbox [--faults | --fault ID] [OPTIONS]
       verify --serve FILE
       verify --stack NAME [--deploy ARCHITECTURE [--keep]] [--yes] [OPTIONS]

  --sandbox              compare in the sandbox, without an account
  --fault ID             plant the fault of one assertion: exactly that one must fail
  --faults               the same for every assertion
  --serve FILE           start the sandbox for other programs until Ctrl-C: prints the variables of its endpoints, and writes the stack's outputs
  --stack NAME           compare a deployed stack of deploy/template.yaml, which has the parameter WithOutcomes=true
  --deploy ARCHITECTURE  deploy it first: arm64 or x86_64, as deploy/build was called. It is removed afterwards, also after Ctrl-C
  --keep                 do not remove it
  --yes                  do not ask before creating and removing
  --transaction-search   retrieve traces as Transaction Search needs it
  --pause SECONDS        before AWS is asked again for what is not there yet; 5 by default
  --report FOLDER        write verify.md and verify.xml
  --list                 print the assertions";

/// Faults that are looked for at the same time. Most of a walk is waiting for deadlines.
const AT_ONCE: usize = 4;

#[derive(Debug, Default)]
struct Arguments {
    sandbox: bool,
    fault: Option<String>,
    faults: bool,
    serve: Option<PathBuf>,
    pause: Option<u64>,
    stack: Option<String>,
    deploy: Option<String>,
    keep: bool,
    yes: bool,
    transaction_search: bool,
    report: Option<PathBuf>,
    list: bool,
}

fn arguments(mut given: impl Iterator<Item = String>) -> Option<Arguments> {
    let mut arguments = Arguments::default();
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--sandbox" => arguments.sandbox = true,
            "--fault" => arguments.fault = Some(given.next()?),
            "--faults" => arguments.faults = true,
            "--serve" => arguments.serve = Some(given.next()?.into()),
            "--pause" => arguments.pause = Some(given.next()?.parse().ok()?),
            "--stack" => arguments.stack = Some(given.next()?),
            "--deploy" => arguments.deploy = Some(given.next()?),
            "--keep" => arguments.keep = true,
            "--yes" => arguments.yes = true,
            "--transaction-search" => arguments.transaction_search = true,
            "--report" => arguments.report = Some(given.next()?.into()),
            "--list" => arguments.list = true,
            _ => return None,
        }
    }
    let modes = [arguments.list, arguments.sandbox, arguments.serve.is_some(), arguments.stack.is_some()];
    (modes.into_iter().filter(|&chosen| chosen).count() == 1).then_some(arguments)
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(arguments) = arguments(env::args().skip(1)) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if arguments.list {
        for Assertion { id, claim, source, fault, .. } in &ASSERTIONS {
            println!("{id}: {claim} ({source}; fault: {fault:?})");
        }
        return ExitCode::SUCCESS;
    }
    match Box::pin(run(&arguments)).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("verify: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  caused by: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

/// Whether all is as promised; with planted faults, whether exactly they were found.
async fn run(arguments: &Arguments) -> Result<bool, Failure> {
    if let Some(file) = &arguments.serve {
        return serve(file).await;
    }
    let Some(name) = &arguments.stack else { return in_sandbox(arguments).await };
    let config = aws::config().await;
    let stack = aws::Stack { name: name.clone() };
    eprintln!("{}", aws::caller(&config).await?);
    let pause = Duration::from_secs(arguments.pause.unwrap_or(5));
    let comparing = async {
        let target = stack.target(&config, arguments.transaction_search, pause).await?;
        compare(&target, arguments).await
    };
    let Some(architecture) = &arguments.deploy else { return comparing.await };
    let question = format!("Create the stack {name} there? docs/stack.md lists what it has, and what it costs.");
    if !arguments.yes && !aws::is_agreed(&question)? {
        return Ok(false);
    }
    let mut interrupts = Interrupts::listen()?;
    eprintln!("creating the stack {name} …");
    let mut deployed = stack.deploy(architecture);
    let passed = tokio::select! {
        passed = async { (&mut deployed).await??; comparing.await } => passed,
        () = interrupts.next() => {
            eprintln!("interrupted");
            // A stack that is still being created cannot be removed.
            if !deployed.is_finished() {
                eprintln!("waiting until the stack {name} is there …");
                let _ = (&mut deployed).await;
            }
            Err("interrupted".into())
        }
    };
    // What was created is removed whatever comes of the comparison.
    if arguments.keep {
        eprintln!("The stack {name} is kept. Remove it with: sam delete --stack-name {name}");
    } else {
        eprintln!("removing the stack {name} …");
        stack.delete().await?;
    }
    passed
}

/// Ctrl-C, and the SIGTERM of a canceled job. From here on they do not end this process, so that they cannot stop the removal.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

async fn compare(target: &Target, arguments: &Arguments) -> Result<bool, Failure> {
    let observed = observe(target, &PARTS, Observed::default(), &|step| eprintln!("{step} …")).await?;
    let report = Report::new(&target.region, &observed);
    print!("{}", report.markdown());
    if let Some(folder) = &arguments.report {
        report.write(folder)?;
    }
    Ok(report.failed().is_empty())
}

/// What was observed before, with these parts observed again.
async fn observe(target: &Target, parts: &[Part], mut observed: Observed, progress: Progress<'_>) -> Result<Observed, Failure> {
    walk::walk(target, parts, &mut observed, progress).await?;
    Ok(observed)
}

async fn serve(file: &Path) -> Result<bool, Failure> {
    let sandbox = Sandbox::start(&Programs::build()?, None, false).await?;
    sandbox.delay_metrics();
    fs::write(file, sandbox.outputs().to_string())?;
    for (key, value) in sandbox.variables() {
        println!("export {key}={value}");
    }
    println!();
    tokio::signal::ctrl_c().await?;
    Ok(true)
}

async fn in_sandbox(arguments: &Arguments) -> Result<bool, Failure> {
    eprintln!("building the functions …");
    let programs = Programs::build()?;
    let planted: Vec<&'static Assertion> = match &arguments.fault {
        Some(id) => vec![
            ASSERTIONS
                .iter()
                .find(|assertion| assertion.id == id)
                .ok_or_else(|| format!("there is no assertion {id}: see --list"))?,
        ],
        None if arguments.faults => ASSERTIONS.iter().collect(),
        None => {
            let sandbox = Sandbox::start(&programs, None, arguments.transaction_search).await?;
            return compare(&sandbox.target, arguments).await;
        }
    };
    // The functions of other parts have no fault: they are observed once.
    let sandbox = Sandbox::start(&programs, None, arguments.transaction_search).await?;
    let sound = observe(&sandbox.target, &PARTS, Observed::default(), &|_| ()).await?;
    drop(sandbox);
    let mut all_found = Report::new("", &sound).failed().is_empty();
    let mut finding = JoinSet::new();
    let mut waiting = planted.into_iter();
    loop {
        while finding.len() < AT_ONCE
            && let Some(assertion) = waiting.next()
        {
            finding.spawn(find(programs.clone(), assertion, arguments.transaction_search, sound.clone()));
        }
        let Some(found) = finding.join_next().await else { return Ok(all_found) };
        all_found &= found??;
    }
}

/// Whether exactly the assertion fails whose fault is planted.
async fn find(
    programs: Programs,
    assertion: &'static Assertion,
    transaction_search: bool,
    sound: Observed,
) -> Result<bool, Failure> {
    let sandbox = Sandbox::start(&programs, Some(assertion), transaction_search).await?;
    let observed = observe(&sandbox.target, &[assertion.part], sound, &|_| ()).await?;
    let report = Report::new(&sandbox.target.region, &observed);
    let failed = report.failed();
    let is_found = failed == [assertion.id];
    println!("{} fault {}: failed {failed:?}", if is_found { "found" } else { "MISSED" }, assertion.id);
    if !is_found {
        print!("{}", report.markdown());
    }
    Ok(is_found)
}
