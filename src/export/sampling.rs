//! Decides whether the user's exporters get an invocation, by `OTEL_TRACES_SAMPLER`, or else by the builder's sampler.

use crate::{
    Environment,
    environment::variable,
    notice::{self, Data, Problem, Warning},
    panics,
};
use opentelemetry::{
    Context, TraceId,
    trace::{SpanContext, SpanKind, TraceContextExt},
};
use opentelemetry_sdk::trace::{Sampler, SamplingDecision, SamplingResult, ShouldSample};
use std::sync::Once;

const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";

/// The values of [`SAMPLER`] in the
/// [specification](https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#general-sdk-configuration).
const SAMPLERS: &str =
    "always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off or parentbased_traceidratio";

/// The sampler of the environment, or else the one set in code, or else `always_on`. Exporters that the environment disables get
/// nothing.
pub(super) fn sampler(in_code: Option<Box<dyn ShouldSample>>) -> Box<dyn ShouldSample> {
    if are_off(&variable) {
        return Box::new(Sampler::AlwaysOff);
    }
    let mut problems = Vec::new();
    let sampler = read(&variable, &mut problems).or(in_code).unwrap_or_else(|| Box::new(Sampler::AlwaysOn));
    problems.into_iter().for_each(Problem::log_once);
    sampler
}

/// True if the environment disables OpenTelemetry, or its exporters of traces.
fn are_off(get: &dyn Fn(&str) -> Option<String>) -> bool {
    let says = |name: &str, wanted: &str| get(name).is_some_and(|text| text.trim().eq_ignore_ascii_case(wanted));
    says("OTEL_SDK_DISABLED", "true") || says("OTEL_TRACES_EXPORTER", "none")
}

/// `None` if the environment names no sampler, or an unknown one.
fn read(get: &dyn Fn(&str) -> Option<String>, problems: &mut Vec<Problem>) -> Option<Box<dyn ShouldSample>> {
    let named = get(SAMPLER).filter(|named| !named.trim().is_empty())?;
    let name = named.trim().to_ascii_lowercase();
    let (parent_based, root) = name.strip_prefix("parentbased_").map_or((false, &*name), |root| (true, root));
    let sampler = match root {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => Sampler::TraceIdRatioBased(ratio(get(ARGUMENT), problems)),
        _ => {
            problems.push(Problem::invalid(SAMPLER, &named, SAMPLERS));
            return None;
        }
    };
    Some(if parent_based { Box::new(Sampler::ParentBased(Box::new(sampler))) } else { Box::new(sampler) })
}

/// The specification's default is 1.
fn ratio(text: Option<String>, problems: &mut Vec<Problem>) -> f64 {
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else { return 1.0 };
    let ratio = text.trim().parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.unwrap_or_else(|| {
        problems.push(Problem::invalid(ARGUMENT, &text, "a number from 0 to 1"));
        1.0
    })
}

/// Calls a sampler for an invocation. If it panics, the invocation is sampled, so that nothing is lost.
pub(super) fn sample(sampler: &dyn ShouldSample, parent: Option<&SpanContext>, trace: TraceId) -> SamplingResult {
    let name = &Environment::current().function_name;
    let context = parent.map(|parent| Context::new().with_remote_span_context(parent.clone()));
    let ask = || sampler.should_sample(context.as_ref(), trace, name, &SpanKind::Server, &[], &[]);
    panics::catch(ask).unwrap_or_else(|panic| {
        static LOGGED: Once = Once::new();
        LOGGED.call_once(|| notice::log(Warning::SamplerPanicked, Data::error(&panic)));
        let trace_state = parent.map(|parent| parent.trace_state().clone()).unwrap_or_default();
        SamplingResult { decision: SamplingDecision::RecordAndSample, attributes: Vec::new(), trace_state }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_from(sampler: &str, argument: &str) -> (String, Vec<String>) {
        let mut problems = Vec::new();
        let get = |name: &str| Some(if name == SAMPLER { sampler.to_owned() } else { argument.to_owned() });
        let sampler = read(&get, &mut problems).map_or_else(String::new, |sampler| format!("{sampler:?}"));
        (sampler, problems.into_iter().filter_map(|problem| problem.name).collect())
    }

    #[test]
    fn every_value_that_an_sdk_must_know_is_read() {
        for (value, argument, read) in [
            ("always_on", "", "AlwaysOn"),
            ("always_off", "", "AlwaysOff"),
            ("traceidratio", "0.25", "TraceIdRatioBased(0.25)"),
            ("traceidratio", "", "TraceIdRatioBased(1.0)"),
            ("parentbased_always_on", "", "ParentBased(AlwaysOn)"),
            ("parentbased_always_off", "", "ParentBased(AlwaysOff)"),
            ("parentbased_traceidratio", "0.5", "ParentBased(TraceIdRatioBased(0.5))"),
            (" Always_On ", "", "AlwaysOn"),
            ("", "", ""),
        ] {
            assert_eq!(read_from(value, argument), (read.to_owned(), Vec::new()), "{value:?}");
        }
    }

    #[test]
    fn the_variables_of_an_sdk_switch_exporters_off() {
        for (name, value, off) in [
            ("OTEL_SDK_DISABLED", "true", true),
            ("OTEL_SDK_DISABLED", "TRUE", true),
            ("OTEL_SDK_DISABLED", "false", false),
            ("OTEL_SDK_DISABLED", "1", false),
            ("OTEL_TRACES_EXPORTER", "none", true),
            ("OTEL_TRACES_EXPORTER", "otlp", false),
        ] {
            assert_eq!(are_off(&|asked| (asked == name).then(|| value.to_owned())), off, "{name}={value}");
        }
    }

    #[test]
    fn a_value_that_is_not_understood_is_reported_and_the_default_counts() {
        for value in ["sometimes", "xray", "jaeger_remote", "parentbased_jaeger_remote", "parentbased_", "parentbased"] {
            assert_eq!(read_from(value, ""), (String::new(), vec![SAMPLER.to_owned()]), "{value:?}");
        }
        for ratio in ["half", "-0.1", "1.1", "NaN", "inf"] {
            let expected = ("TraceIdRatioBased(1.0)".to_owned(), vec![ARGUMENT.to_owned()]);
            assert_eq!(read_from("traceidratio", ratio), expected, "{ratio:?}");
        }
    }
}
