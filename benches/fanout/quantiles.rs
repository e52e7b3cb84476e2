//! Quantiles of measured values.

/// The measured values in ascending order, at least one.
#[derive(Clone, Debug)]
pub(crate) struct Quantiles(Vec<f64>);

impl Quantiles {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        assert!(!values.is_empty(), "nothing was measured");
        values.sort_unstable_by(f64::total_cmp);
        Self(values)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns the value below which `part` (0.0 to 1.0) of the values lie, interpolated linearly.
    pub(crate) fn at(&self, part: f64) -> f64 {
        let position = (self.0.len() - 1) as f64 * part;
        let (lower, upper) = (self.0[position.floor() as usize], self.0[position.ceil() as usize]);
        lower + (upper - lower) * position.fract()
    }

    pub(crate) fn median(&self) -> f64 {
        self.at(0.5)
    }

    /// Returns the minimum, lower quartile, median, upper quartile and maximum.
    pub(crate) fn quartiles(&self) -> [f64; 5] {
        [0.0, 0.25, 0.5, 0.75, 1.0].map(|part| self.at(part))
    }
}

pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    Quantiles::of(values).median()
}
