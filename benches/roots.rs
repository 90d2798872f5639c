//! The CPU time that root certificates cost the first client of a process. Each sample is a separate process, as on Lambda.
//!
//! `cargo bench --manifest-path benches/Cargo.toml --bench roots` prints rows of the table in `docs/init.md`. With `-- --write` it puts them
//! there.

use aws_sdk_sqs::{Client, config::Credentials};
use bench_report::{section, statistics::median};
use lambda_lifecycle::{
    aws_config::Region,
    aws_sdk::{HttpsClient, Roots},
};
use lambda_lifecycle_benches::measure::thread_cpu;
use std::{
    error::Error,
    path::Path,
    process::{Command, Stdio},
};

const SAMPLES: usize = 51;

/// The baseline, which has the cost of the client itself.
const BASE: &str = "one certificate";

/// The first cell of a row, and its roots.
type Choice = (&'static str, fn() -> Roots);

const CHOICES: [Choice; 3] = [
    ("compiled roots, the default", || Roots::Compiled),
    ("the operating system's roots", || Roots::Native),
    ("`Roots::Amazon`", || Roots::Amazon),
];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(name) = arguments.iter().skip_while(|argument| *argument != "--one").nth(1) {
        println!("{}", create_client(roots(name)?)?);
        return Ok(());
    }
    let names = || std::iter::once(BASE).chain(CHOICES.map(|(name, _)| name));
    let mut samples: Vec<Vec<f64>> = names().map(|_| Vec::new()).collect();
    for _ in 0..SAMPLES {
        for (name, samples) in names().zip(&mut samples) {
            samples.push(in_a_process(name)?);
        }
    }
    let milliseconds = |samples: &[f64]| format!("{:.1}", median(samples) / 1e6);
    let base = milliseconds(&samples[0]);
    for (name, samples) in names().zip(&samples).skip(1) {
        let cost = milliseconds(samples);
        let row = format!("| {name} | {BASE} | CPU time to create the first client: {cost} ms instead of {base} | `roots` |");
        println!("{row}");
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/init.md");
        if arguments.iter().any(|argument| argument == "--write") && !section::replace_row(&page, name, &row)? {
            return Err(format!("docs/init.md has no row that begins with `| {name} |`").into());
        }
    }
    Ok(())
}

fn roots(name: &str) -> Result<Roots, Box<dyn Error>> {
    if name == BASE {
        return Ok(Roots::Pem(ONE.into()));
    }
    let choice = CHOICES.iter().find(|(known, _)| *known == name);
    choice.map(|(_, roots)| roots()).ok_or_else(|| format!("unknown roots: {name}").into())
}

/// Nanoseconds in a new process.
fn in_a_process(name: &str) -> Result<f64, Box<dyn Error>> {
    let output = Command::new(std::env::current_exe()?).args(["--one", name]).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("the process for {name} failed: {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// Nanoseconds of this thread.
fn create_client(roots: Roots) -> Result<u128, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let before = thread_cpu();
        let config = HttpsClient::with_roots(roots)?
            .loader()
            .region(Region::new("eu-west-1"))
            .credentials_provider(Credentials::new("AKIDEXAMPLE", "none", None, None, "bench"))
            .load()
            .await;
        let client = Client::new(&config);
        let spent = thread_cpu() - before;
        drop(client);
        Ok(spent.as_nanos())
    })
}

/// Signed by itself, for this bench.
const ONE: &str = "-----BEGIN CERTIFICATE-----
MIIBbzCCARWgAwIBAgIUZ7XOg7H51Sm72vGOX1+No4g2dBowCgYIKoZIzj0EAwIw
DTELMAkGA1UEAwwCY2EwHhcNMjYxMTI2MTcyODExWhcNMjYxMjI2MTcyODExWjAN
MQswCQYDVQQDDAJjYTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABH2+zXjwq7D+
XL/2H9lwbuVDUAkZUbXbJhFlB/7QrJPmqTEAl1LVOj8Lqt04wGSie+SnGpeuVFfg
t6HVKHQzhPujUzBRMB0GA1UdDgQWBBTjPG5AD4aDBsLkoKp2G8NnZH5sCjAfBgNV
HSMEGDAWgBTjPG5AD4aDBsLkoKp2G8NnZH5sCjAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0gAMEUCIQCgO2hkCeuYWHCMLPsW0uJC1t19sl0+xrZjTMPZiDcw
2QIgV1gutTo6QHq+7Q5EG7b1sM0Aq09LjbWc/1uDmp3oPK8=
-----END CERTIFICATE-----";
