//! The namespace and the dimensions that all metrics of a lifecycle have.

use crate::{
    emf::{self, Base, Dimensions, MOST_DIMENSIONS},
    invocation::Shared,
    notice::{self, Data, Warning},
};
use std::sync::Once;

/// The namespace and the dimensions of all metrics of a lifecycle.
pub(crate) fn base(shared: &Shared) -> &Base {
    shared.metrics.base(|| {
        let settings = &shared.settings.metrics;
        let mut dimensions = Dimensions::new();
        add_dimension(&mut dimensions, &[], "service", &settings.service());
        for (name, value) in &settings.dimensions {
            add_dimension(&mut dimensions, &[], name, value);
        }
        Base { namespace: settings.namespace.clone().unwrap_or_default(), dimensions, redactor: shared.settings.redactor.clone() }
    })
}

/// Adds a dimension, unless the limit is reached together with the `common` ones.
pub(super) fn add_dimension(dimensions: &mut Dimensions, common: &[(String, String)], name: &str, value: &str) {
    let (Some(valid), Some(of)) = (emf::name(name), emf::value(value)) else { return refuse_dimension(name, value) };
    if let Some((_, known)) = dimensions.iter_mut().find(|(known, _)| *known == valid) {
        *known = of.into_owned();
        return;
    }
    let replaces = |(other, _): &&(String, String)| dimensions.iter().all(|(name, _)| name != other) && *other != valid;
    if common.iter().filter(replaces).count() + dimensions.len() < MOST_DIMENSIONS {
        dimensions.push((valid.into_owned(), of.into_owned()));
    } else {
        refuse_dimension(name, value);
    }
}

#[cold]
fn refuse_dimension(name: &str, value: &str) {
    static LOGGED: Once = Once::new();
    LOGGED.call_once(|| notice::log(Warning::MetricDimensionRefused, Data { value: Some(value), ..Data::name(name) }));
}
