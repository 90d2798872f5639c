//! The median and the percentiles of many samples.

/// A quantile of the samples, by the nearest rank; 0 of none.
pub fn quantile(samples: &[f64], quantile: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (quantile * (sorted.len().saturating_sub(1)) as f64).round() as usize;
    sorted.get(rank).copied().unwrap_or_default()
}

pub fn median(samples: &[f64]) -> f64 {
    quantile(samples, 0.5)
}

/// The order of so many contenders in one round. It is another one in each round, because what ran before leaves its mark on caches and on
/// the scheduler, and the same in each run.
pub fn order(contenders: usize, round: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..contenders).collect();
    fastrand::Rng::with_seed(round as u64).shuffle(&mut order);
    order
}
