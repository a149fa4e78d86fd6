//! Rotary position embedding (Su et al., 2021) and the ways it is stretched to longer contexts.

use std::f64::consts::PI;

/// Rotation of pairs `(i, i + dim / 2)` of each head by `position * inv_freq[i]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Base of the geometric series of frequencies.
    pub theta: f64,
    /// Values of a head that are rotated.
    pub dim: usize,
    /// How frequencies are stretched.
    pub scaling: Scaling,
}

/// How the frequencies are stretched. Parameter names are those of `rope_scaling` in `config.json`.
#[derive(Clone, Debug, PartialEq)]
pub enum Scaling {
    /// Not at all.
    None,
    /// Every frequency divided by `factor` (Chen et al., 2023).
    Linear {
        /// Stretch of the context.
        factor: f64,
    },
    /// The base grows with the sequence beyond `original` positions (NTK-aware, "dynamic").
    Dynamic {
        /// Stretch of the context.
        factor: f64,
        /// Positions up to which nothing changes.
        original: usize,
    },
    /// Llama 3.1: low frequencies divided, high ones kept, a ramp between.
    Llama3 {
        /// Stretch of the context.
        factor: f64,
        /// Wavelengths longer than `original / low` are divided by `factor`.
        low: f64,
        /// Wavelengths shorter than `original / high` are kept.
        high: f64,
        /// Positions of the original training.
        original: usize,
    },
    /// YaRN (Peng et al., 2023): a ramp over dimensions, and a factor on the rotated values.
    Yarn {
        /// Stretch of the context.
        factor: f64,
        /// Positions of the original training.
        original: usize,
        /// Rotations above which a dimension is kept.
        beta_fast: f64,
        /// Rotations below which a dimension is divided.
        beta_slow: f64,
        /// Multiplies cosine and sine.
        attention_factor: f64,
        /// Whether the ends of the ramp are rounded to whole dimensions.
        truncate: bool,
    },
}

impl Rope {
    /// Frequencies in radians a position, `dim / 2` of them, for a sequence of `length` tokens.
    ///
    /// Only [`Scaling::Dynamic`] depends on `length`.
    pub fn inv_freq(&self, length: usize) -> Vec<f32> {
        let plain = |theta: f64| -> Vec<f64> { (0..self.dim / 2).map(|i| self.plain(theta, i)).collect() };
        let freqs = match &self.scaling {
            Scaling::None => plain(self.theta),
            Scaling::Linear { factor } => plain(self.theta).into_iter().map(|f| f / factor).collect(),
            Scaling::Dynamic { factor, original } => plain(self.dynamic_theta(*factor, *original, length)),
            Scaling::Llama3 { factor, low, high, original } => plain(self.theta)
                .into_iter()
                .map(|f| llama3(f, *factor, *low, *high, *original as f64))
                .collect(),
            Scaling::Yarn { factor, original, beta_fast, beta_slow, truncate, .. } => {
                let ramp = self.yarn_ramp(*original as f64, *beta_fast, *beta_slow, *truncate);
                plain(self.theta).into_iter().zip(ramp).map(|(f, r)| f / factor * r + f * (1.0 - r)).collect()
            }
        };
        freqs.into_iter().map(|f| f as f32).collect()
    }

    /// Multiplies cosine and sine.
    pub fn attention_factor(&self) -> f32 {
        match self.scaling {
            Scaling::Yarn { attention_factor, .. } => attention_factor as f32,
            _ => 1.0,
        }
    }

    /// Whether frequencies change with the length of the sequence, and beyond which length.
    pub fn grows_beyond(&self) -> Option<usize> {
        match self.scaling {
            Scaling::Dynamic { original, .. } => Some(original),
            _ => None,
        }
    }

    /// Rounded to f32 where transformers rounds: thousands of positions on, the last bit of a frequency shows.
    fn plain(&self, theta: f64, pair: usize) -> f64 {
        let exponent = (2 * pair) as f32 / self.dim as f32;
        f64::from(1.0 / theta.powf(f64::from(exponent)) as f32)
    }

    fn dynamic_theta(&self, factor: f64, original: usize, length: usize) -> f64 {
        if length <= original {
            return self.theta;
        }
        let stretch = factor * length as f64 / original as f64 - (factor - 1.0);
        self.theta * stretch.powf(self.dim as f64 / (self.dim as f64 - 2.0))
    }

    /// 0 where a dimension is kept, 1 where it is divided.
    fn yarn_ramp(&self, original: f64, fast: f64, slow: f64, truncate: bool) -> Vec<f64> {
        let dim = self.dim as f64;
        let at = |rotations: f64| dim * (original / (rotations * 2.0 * PI)).ln() / (2.0 * self.theta.ln());
        let (low, high) = if truncate { (at(fast).floor(), at(slow).ceil()) } else { (at(fast), at(slow)) };
        let (low, mut high) = (low.max(0.0), high.min(dim - 1.0));
        if low == high {
            high += 0.001;
        }
        (0..self.dim / 2).map(|i| ((i as f64 - low) / (high - low)).clamp(0.0, 1.0)).collect()
    }
}

fn llama3(freq: f64, factor: f64, low: f64, high: f64, original: f64) -> f64 {
    let wavelength = 2.0 * PI / freq;
    if wavelength < original / high {
        return freq;
    }
    if wavelength > original / low {
        return freq / factor;
    }
    let smooth = (original / wavelength - low) / (high - low);
    (1.0 - smooth) * freq / factor + smooth * freq
}
