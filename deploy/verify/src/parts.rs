//! The parts of a walk: which functions each has, and with what trace header they are invoked.

/// The parts of a walk, each of which can be observed alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Part {
    /// On demand, with active tracing, sampled.
    Traced,
    /// The same, not sampled.
    NotSampled,
    /// On demand, under `PassThrough`, from callers without a trace header.
    PassThrough,
    /// On Managed Instances.
    Managed,
    /// Orders, their queue and their worker.
    Orders,
    /// Movements, their FIFO queue and their worker.
    Movements,
    /// Open questions.
    Questions,
}

/// The environments.
pub(crate) const ENVIRONMENTS: [Part; 4] = [Part::Traced, Part::NotSampled, Part::PassThrough, Part::Managed];

/// All parts, in the order of the walk.
pub(crate) const PARTS: [Part; 7] =
    [Part::Traced, Part::NotSampled, Part::PassThrough, Part::Managed, Part::Orders, Part::Movements, Part::Questions];

impl Part {
    /// Whether functions of this class are in its environment.
    pub(crate) fn has(self, class: Class) -> bool {
        let in_every = matches!(class, Class::Plain | Class::Deadline | Class::CleanUp | Class::HungWork);
        match self {
            Self::Traced | Self::NotSampled => true,
            Self::PassThrough => in_every || class == Class::Blocking,
            Self::Managed => in_every,
            Self::Orders | Self::Movements | Self::Questions => false,
        }
    }

    /// The beginning of the names of its functions in the stack's outputs, if it has separate ones.
    pub(crate) fn output(self) -> Option<&'static str> {
        match self {
            Self::Traced => Some("Outcomes"),
            Self::PassThrough => Some("OutcomesPassThrough"),
            Self::Managed => Some("OutcomesManaged"),
            Self::NotSampled | Self::Orders | Self::Movements | Self::Questions => None,
        }
    }

    /// The trace header of its callers.
    pub(crate) fn header(self) -> Header {
        match self {
            Self::NotSampled => Header::NotSampled,
            Self::PassThrough => Header::None,
            _ => Header::Sampled,
        }
    }
}

/// The trace header of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    Sampled,
    NotSampled,
    None,
}

/// Which function of an environment does an act. On AWS several of them are the same function; in the sandbox they differ in their times, so that no
/// act depends on the speed of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Plain,
    /// Its deadline passes.
    Deadline,
    /// Its deadline passes, and it has time to clean up.
    CleanUp,
    /// Lambda ends it.
    Blocking,
    /// Work after the response is canceled.
    HungWork,
    /// It is killed for its memory.
    Memory,
    /// It has hooks after the response.
    Hooks,
    /// It streams.
    Stream,
    /// The same, and its deadline passes.
    StreamDeadline,
    InitFails,
    InitHangs,
}

/// All classes.
pub(crate) const CLASSES: [Class; 11] = [
    Class::Plain,
    Class::Deadline,
    Class::CleanUp,
    Class::Blocking,
    Class::HungWork,
    Class::Memory,
    Class::Hooks,
    Class::Stream,
    Class::StreamDeadline,
    Class::InitFails,
    Class::InitHangs,
];

impl Class {
    /// The end of the name of its function in the stack's outputs.
    pub(crate) fn output(self) -> String {
        if self == Self::Plain { String::new() } else { format!("{self:?}") }
    }

    /// The class whose function does its acts if it has no function. On AWS memory is limited; elsewhere it may not be.
    pub(crate) fn otherwise(self) -> Option<Self> {
        match self {
            Self::Deadline | Self::CleanUp | Self::Blocking | Self::HungWork => Some(Self::Plain),
            Self::StreamDeadline => Some(Self::Stream),
            Self::Plain | Self::Memory | Self::Hooks | Self::Stream | Self::InitFails | Self::InitHangs => None,
        }
    }
}
