//! Warm invocations without a receiver for their spans: no X-Ray daemon, and a collector that refuses connections.

use crate::{environment, error::Error, measured::Measured, sinks::Sinks};
use bench_report::format;

/// Invocations of a process. A flush that fails takes long.
const INVOCATIONS: usize = 5;

pub(crate) async fn measure(all: &mut [Measured], rounds: usize) -> Result<(), Error> {
    let sinks = Sinks::absent()?;
    for round in 0..rounds {
        eprint!("\rwithout a receiver, round {} of {rounds}", round + 1);
        for measured in all.iter_mut().filter(|measured| is_shown(measured)) {
            let samples = &mut measured.absent;
            environment::measure_warm(measured.contender, &measured.built.program, &sinks, INVOCATIONS, samples).await?;
        }
    }
    eprintln!();
    Ok(())
}

pub(crate) fn table(text: &mut String, all: &[Measured]) {
    text.push_str(
        "\n### Without a receiver\n\nWarm invocations without a daemon, and with a collector that refuses connections. Median (10th to 90th \
         percentile), in microseconds, 10 ms between two invocations; in brackets the median of the table above, where they are received.\n\n",
    );
    format::head(text, &["contender", "event to response", "response to next `/next`"]);
    for of in all.iter().filter(|measured| is_shown(measured)) {
        let cells = [(&of.absent.to_answer, &of.samples.to_answer), (&of.absent.to_ready, &of.samples.to_ready)];
        let cells = cells.map(|(absent, present)| format!("{} [{}]", format::spread(absent), format::middle(present)));
        format::line(text, of.contender.name, &cells);
    }
}

/// And the first, to compare with.
fn is_shown(measured: &Measured) -> bool {
    measured.contender.receiver || measured.contender.name == "bare"
}
