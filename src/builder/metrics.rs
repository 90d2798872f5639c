//! The options of metrics.

use super::Builder;

/// Metrics.
impl Builder {
    /// The CloudWatch namespace of the metrics that the library writes: see [`metrics`](crate::metrics). Default: none, so
    /// metrics are disabled.
    ///
    /// A namespace has 1 to 255 of the characters `A-Z a-z 0-9 . - _ / # :` and space, and does not begin with `AWS/`. An invalid
    /// one is logged, and metrics stay disabled. See
    /// [Namespaces](https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html#Namespace).
    ///
    /// ```no_run
    /// use lambda_lifecycle::Lifecycle;
    ///
    /// let life = Lifecycle::builder()
    ///     .metrics_namespace("Shop")
    ///     .service_name("orders")
    ///     .metrics_dimensions([("environment", "production")])
    ///     .build();
    /// ```
    pub fn metrics_namespace(mut self, namespace: impl AsRef<str>) -> Self {
        self.settings.metrics.set_namespace("Builder::metrics_namespace", namespace.as_ref(), &mut self.problems);
        self
    }

    /// Whether the library's own metrics are written in addition to yours. Default: yes, if there is a namespace.
    ///
    /// CloudWatch bills each of them as a custom metric.
    pub fn metrics_built_in(mut self, on: bool) -> Self {
        self.settings.metrics.built_in = on;
        self
    }

    /// Dimensions of every metric, in addition to the service. Default: none.
    ///
    /// CloudWatch accepts 30 dimensions for a metric: the service, and 29 in total from here and from
    /// [`Metrics::dimension`](crate::metrics::Metrics). Further ones are left out, which is logged. The last value of a name
    /// counts.
    pub fn metrics_dimensions<N: Into<String>, V: Into<String>>(mut self, dimensions: impl IntoIterator<Item = (N, V)>) -> Self {
        let dimensions = dimensions.into_iter().map(|(name, value)| (name.into(), value.into()));
        self.settings.metrics.dimensions.extend(dimensions);
        self
    }

    /// The name of the service that this function is a part of: the dimension `service` of its metrics. Default: `OTEL_SERVICE_NAME`, else the
    /// function's name.
    ///
    /// `POWERTOOLS_SERVICE_NAME` takes precedence, because the functions of a service share that variable.
    pub fn service_name(mut self, name: impl Into<String>) -> Self {
        self.settings.metrics.service = Some(name.into());
        self
    }
}
