//! Who is measured.

/// A function and how it is built.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    /// The description in the table.
    pub(crate) what: &'static str,
    /// Its package in `contenders`, which has a program of this name.
    pub(crate) package: &'static str,
    /// Variables of its build. Each set of variables has its own target folder.
    pub(crate) build: &'static [(&'static str, &'static str)],
    /// Whether it is linked statically.
    pub(crate) linked_statically: bool,
    /// Whether it uses this library.
    pub(crate) ours: bool,
    /// Whether it is in the chart too, which shows what a user would choose between.
    pub(crate) charted: bool,
}

/// The baseline of this library's goals.
pub(crate) const DEFAULTS: &str = "sdk_defaults";
/// The contender that must reach the goals.
pub(crate) const OURS: &str = "ours";
pub(crate) const NO_JITTER: &str = "sdk_no_jitter";
pub(crate) const RING: &str = "sdk_ring";
pub(crate) const CONFIG: &str = "sdk_config";
pub(crate) const SMALL: &str = "ours_small";

const SDK: Contender = Contender {
    name: DEFAULTS,
    what: "`lambda_runtime` and `aws_config::load_defaults`, with the SDK's default features: TLS with aws-lc",
    package: "sdk_defaults",
    build: &[],
    linked_statically: false,
    ours: false,
    charted: true,
};

/// In the order of the tables.
pub(crate) const CONTENDERS: &[Contender] = &[
    SDK,
    Contender {
        name: NO_JITTER,
        what: "the same, built with `AWS_LC_SYS_NO_JITTER_ENTROPY=1`",
        build: &[("AWS_LC_SYS_NO_JITTER_ENTROPY", "1")],
        ..SDK
    },
    Contender { name: RING, what: "the same, with ring", package: "sdk_ring", ..SDK },
    Contender {
        name: CONFIG,
        what: "`lambda_runtime` and this library's `aws_sdk::config()`",
        package: "sdk_config",
        ours: true,
        ..SDK
    },
    Contender {
        name: OURS,
        what: "this library with all stages and its defaults, `aws_sdk::config()`, and `aws_sdk::connect` in the Init phase",
        package: "ours",
        ours: true,
        ..SDK
    },
    Contender {
        name: "ours_static",
        what: "the same, linked statically with glibc",
        package: "ours",
        linked_statically: true,
        ours: true,
        ..SDK
    },
    Contender {
        name: SMALL,
        what: "as `ours`, built with `opt-level = \"s\"`",
        package: "ours",
        build: &[("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s")],
        ours: true,
        charted: false,
        ..SDK
    },
];
