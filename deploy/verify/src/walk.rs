//! Invokes the functions in every way that is compared, and collects what the caller, the log and X-Ray show of it.

use crate::{
    acts::{ACTS, Act},
    hops, metrics,
    observed::{Acts, Observed, Progress, see},
    parts::Part,
    questions,
    target::{Environment, Failure, Named, Target},
};
use futures_util::future::try_join_all;
use std::collections::BTreeMap;

/// Observes these parts of a stack, and leaves the others as they were.
pub(crate) async fn walk(
    target: &Target,
    parts: &[Part],
    observed: &mut Observed,
    progress: Progress<'_>,
) -> Result<(), Failure> {
    let from = metrics::minute();
    for &part in parts {
        match part {
            Part::Orders => observed.orders = Some(hops::orders(target, progress).await?),
            Part::Movements => observed.movements = hops::movements(target, progress).await?,
            Part::Questions => observed.questions = questions::ask(target, observed, progress).await?,
            part => {
                if let Some(environment) = target.environments.iter().find(|environment| environment.part == part) {
                    observed.environments.insert(part, acts(target, environment, progress).await?);
                }
            }
        }
    }
    // Last, because metrics arrive minutes after the lines that have them.
    let traced =
        target.environments.iter().find(|environment| environment.part == Part::Traced && parts.contains(&environment.part));
    if let Some(environment) = traced {
        progress("reading metrics");
        // On AWS the functions of an environment share one log.
        let logs: BTreeMap<&str, &Named> = environment.functions.values().map(|named| (&*named.log_group, named)).collect();
        observed.counted = Some(metrics::count(target, &logs.into_values().collect::<Vec<_>>(), from).await?);
    }
    Ok(())
}

/// Does every act that the environment has a function for: one after the other in each function, and the functions at the same time.
async fn acts(target: &Target, environment: &Environment, progress: Progress<'_>) -> Result<Acts, Failure> {
    let mut of_function: BTreeMap<&str, (&Named, Vec<&Act>)> = BTreeMap::new();
    for act in &ACTS {
        if let Some(named) = environment.functions.get(&act.class) {
            of_function.entry(&named.function).or_insert((named, Vec::new())).1.push(act);
        }
    }
    let invoking = of_function.into_values().map(|(named, acts)| async move {
        let mut invoked = Vec::new();
        for act in acts {
            progress(&format!("invoking {}: {}", named.function, act.label));
            let result = target.invoke(named, act.event, environment.part.header()).await?;
            // A process that keeps running may be ended by the next act before it has sent all of this one.
            if environment.part == Part::Managed {
                see(target, named, result.clone(), act.shown, true).await?;
            }
            invoked.push((act, named, result));
        }
        Ok::<_, Failure>(invoked)
    });
    let invoked = try_join_all(invoking).await?;
    if environment.part == Part::NotSampled {
        // Nothing should arrive, so there is nothing to wait for but the time in which it could.
        tokio::time::sleep(6 * target.pause).await;
    }
    let mut seen = Acts::new();
    for (act, named, invoked) in invoked.into_iter().flatten() {
        progress(&format!("reading log and trace: {}", act.label));
        let seen_act = see(target, named, invoked, act.shown, environment.part == Part::Managed).await?;
        seen.insert(act.label, seen_act);
    }
    Ok(seen)
}
