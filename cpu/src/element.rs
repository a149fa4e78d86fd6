//! Number formats in memory: how one is widened into lanes, and narrowed from f32.

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::simd::{LANES, Simd};

/// A number format that weights and the KV cache may be held in.
///
/// # Safety
/// Every bit pattern is a value, all zeros is zero.
pub(crate) unsafe trait Element: Copy + Default + Send + Sync + 'static {
    /// Widens a full vector; exact.
    fn load<S: Simd>(simd: S, values: &[Self; LANES]) -> S::V;

    /// Widens one value; exact.
    fn widen(self) -> f32;

    /// Rounds to nearest even. Halves saturate: they have too little range for what models compute.
    fn narrow(values: &[f32], out: &mut [Self]);

    /// Widens up to one vector; lanes beyond are zero.
    #[inline(always)]
    fn load_part<S: Simd>(simd: S, values: &[Self]) -> S::V {
        if let Some(full) = values.first_chunk() {
            return Self::load(simd, full);
        }
        let mut padded = [Self::default(); LANES];
        padded[..values.len()].copy_from_slice(values);
        Self::load(simd, &padded)
    }
}

// SAFETY: any 32 bits are a float, and zero bits are 0.0.
unsafe impl Element for f32 {
    #[inline(always)]
    fn load<S: Simd>(simd: S, values: &[Self; LANES]) -> S::V {
        simd.load(values)
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        self
    }

    fn narrow(values: &[f32], out: &mut [Self]) {
        out.copy_from_slice(values);
    }
}

// SAFETY: any 16 bits are a half, and zero bits are 0.0.
unsafe impl Element for f16 {
    #[inline(always)]
    fn load<S: Simd>(simd: S, values: &[Self; LANES]) -> S::V {
        simd.load_f16(values)
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        self.to_f32()
    }

    fn narrow(values: &[f32], out: &mut [Self]) {
        let (max, mut clamped) = (Self::MAX.to_f32(), [0.0; LANES]);
        for (values, out) in values.chunks(LANES).zip(out.chunks_mut(LANES)) {
            for (clamped, value) in clamped.iter_mut().zip(values) {
                *clamped = value.clamp(-max, max);
            }
            out.convert_from_f32_slice(&clamped[..values.len()]);
        }
    }
}

// SAFETY: any 16 bits are a bfloat16, and zero bits are 0.0.
unsafe impl Element for bf16 {
    #[inline(always)]
    fn load<S: Simd>(simd: S, values: &[Self; LANES]) -> S::V {
        simd.load_bf16(values)
    }

    #[inline(always)]
    fn widen(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    fn narrow(values: &[f32], out: &mut [Self]) {
        for (value, out) in values.iter().zip(out) {
            let bits = value.to_bits();
            let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
            let quiet = bits >> 16 | 0x40;
            *out = Self::from_bits(if value.is_nan() { quiet } else { rounded } as u16);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrowed<T: Element>(value: f32) -> f32 {
        let mut out = [T::default()];
        T::narrow(&[value], &mut out);
        out[0].widen()
    }

    #[test]
    fn rounds_to_nearest_even_as_the_reference_does() {
        for step in 0..2_000_000u32 {
            let value = f32::from_bits(step.wrapping_mul(2_654_435_761));
            if !value.is_nan() {
                assert_eq!(narrowed::<bf16>(value), bf16::from_f32(value).to_f32(), "{value}");
                let half = f16::from_f32(value).to_f32();
                let half = if half.is_infinite() { f16::MAX.to_f32().copysign(half) } else { half };
                assert_eq!(narrowed::<f16>(value), half, "{value}");
            }
        }
    }

    #[test]
    fn halves_saturate_and_nan_stays() {
        assert_eq!(narrowed::<f16>(1e9), 65504.0);
        assert_eq!(narrowed::<f16>(f32::NEG_INFINITY), -65504.0);
        assert!(narrowed::<f16>(f32::NAN).is_nan());
        assert!(narrowed::<bf16>(f32::from_bits(0x7f80_0001)).is_nan());
        assert!(narrowed::<bf16>(f32::from_bits(u32::MAX)).is_nan());
    }
}
