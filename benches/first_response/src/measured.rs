//! All measurements of one contender.

use crate::{contender::Contender, sample::Sample};
use bench_report::statistics::median;
use std::{fs, io, path::PathBuf};

/// The memory sizes, in MB, whose CPU shares are measured.
pub(crate) const SIZES: [u32; 3] = [128, 512, 1_769];

pub(crate) struct Measured {
    pub(crate) contender: &'static Contender,
    pub(crate) program: PathBuf,
    /// Of the program's file.
    pub(crate) bytes: u64,
    pub(crate) sizes: Vec<Size>,
}

/// All samples at one memory size; times in milliseconds, memory in MB.
#[derive(Debug, Default)]
pub(crate) struct Size {
    pub(crate) mb: u32,
    pub(crate) init: Vec<f64>,
    pub(crate) first: Vec<f64>,
    pub(crate) second: Vec<f64>,
    pub(crate) start_to_first: Vec<f64>,
    pub(crate) cpu: Vec<f64>,
    pub(crate) resident: Vec<f64>,
}

impl Measured {
    pub(crate) fn new(contender: &'static Contender, program: PathBuf, sizes: &[u32]) -> io::Result<Self> {
        let sizes = sizes.iter().map(|&mb| Size { mb, ..Size::default() }).collect();
        Ok(Self { contender, bytes: fs::metadata(&program)?.len(), program, sizes })
    }

    pub(crate) fn megabytes(&self) -> f64 {
        self.bytes as f64 / f64::from(1 << 20)
    }

    pub(crate) fn at(&self, mb: u32) -> Option<&Size> {
        self.sizes.iter().find(|size| size.mb == mb)
    }
}

impl Size {
    pub(crate) fn push(&mut self, sample: &Sample) {
        let milliseconds = |time: std::time::Duration| time.as_secs_f64() * 1e3;
        self.init.push(milliseconds(sample.init));
        self.first.push(milliseconds(sample.first));
        self.second.push(milliseconds(sample.second));
        self.start_to_first.push(milliseconds(sample.init + sample.first));
        self.cpu.push(milliseconds(sample.cpu));
        self.resident.push(sample.resident / f64::from(1 << 20));
    }
}

pub(crate) fn named<'a>(all: &'a [Measured], name: &str) -> Option<&'a Measured> {
    all.iter().find(|measured| measured.contender.name == name)
}

/// The contender of this name, at a memory size.
pub(crate) fn of<'a>(all: &'a [Measured], name: &str, mb: u32) -> Option<&'a Size> {
    named(all, name)?.at(mb)
}

/// A quotient of two medians.
pub(crate) fn ratio(value: &[f64], base: &[f64]) -> f64 {
    median(value) / median(base)
}
