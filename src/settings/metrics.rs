//! The settings of the metrics.

use super::reader::Reader;
use crate::{
    Environment,
    emf::{self, is_namespace},
    environment::variable,
    notice::Problem,
};
use std::borrow::Cow;

/// The characters and the length that a namespace can have.
const NAMESPACE: &str = "1 to 255 of the characters A-Z a-z 0-9 . - _ / # : and space, and not one of AWS's";

/// Powertools' variable that switches metrics off.
const DISABLED: &str = "POWERTOOLS_METRICS_DISABLED";

/// The name that Powertools gives a service without a name.
const NO_SERVICE: &str = "service_undefined";

/// The settings of the metrics: off without a namespace.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    pub(crate) namespace: Option<String>,
    /// Powertools' switch, which wins over every namespace.
    pub(crate) disabled: bool,
    pub(crate) built_in: bool,
    /// The default dimensions.
    pub(crate) dimensions: Vec<(String, String)>,
    pub(crate) service: Option<String>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { namespace: None, disabled: false, built_in: true, dimensions: Vec::new(), service: None }
    }
}

impl Metrics {
    pub(crate) fn is_on(&self) -> bool {
        self.namespace.is_some() && !self.disabled
    }

    /// Reads `LAMBDA_LIFECYCLE_METRICS_*`, and Powertools' variable if this library's variable is unset.
    pub(super) fn read(&mut self, reader: &mut Reader<'_>) {
        const OURS: &str = "LAMBDA_LIFECYCLE_METRICS_NAMESPACE";
        const POWERTOOLS: &str = "POWERTOOLS_METRICS_NAMESPACE";
        if let Some(namespace) = reader.text(OURS) {
            self.set_namespace(OURS, &namespace, reader.problems);
        } else if let Some(namespace) = variable(POWERTOOLS) {
            self.set_namespace(POWERTOOLS, &namespace, reader.problems);
        }
        self.read_disabled(variable(DISABLED), reader.problems);
        reader.switch("LAMBDA_LIFECYCLE_METRICS_BUILT_IN", &mut self.built_in);
    }

    /// The words for yes and no are Powertools'.
    fn read_disabled(&mut self, text: Option<String>, problems: &mut Vec<Problem>) {
        let Some(text) = text else { return };
        match text.trim().to_ascii_lowercase().as_str() {
            "1" | "y" | "yes" | "t" | "true" | "on" => self.disabled = true,
            "0" | "n" | "no" | "f" | "false" | "off" => self.disabled = false,
            _ => problems.push(Problem::invalid(DISABLED, &text, "true or false")),
        }
    }

    /// Sets the namespace. `name` is the setting to report if the namespace is invalid.
    pub(crate) fn set_namespace(&mut self, name: &str, namespace: &str, problems: &mut Vec<Problem>) {
        if is_namespace(namespace) {
            self.namespace = Some(namespace.to_owned());
        } else {
            problems.push(Problem::invalid(name, namespace, NAMESPACE));
        }
    }

    /// The name of the service. It comes from the variable that the functions of a service share in all languages, else from the
    /// builder, else it is the function's name.
    pub(crate) fn service(&self) -> Cow<'_, str> {
        let valid = |name: String| emf::value(&name).map(Cow::into_owned);
        let named = Environment::current().service.clone().and_then(valid);
        let named = named.or_else(|| self.service.clone().and_then(valid));
        let named = named.or_else(|| variable("OTEL_SERVICE_NAME").and_then(valid));
        let named = named.or_else(|| valid(Environment::current().function_name.clone()));
        named.map_or(Cow::Borrowed(NO_SERVICE), Cow::Owned)
    }
}
