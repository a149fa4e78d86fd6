//! Lanes as two AVX2 registers.

#[cfg(not(target_arch = "x86_64"))]
pub(crate) use absent::Avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) use present::Avx2;

#[cfg(not(target_arch = "x86_64"))]
mod absent {
    use crate::simd::Task;

    /// There is no such processor on this architecture, so there is no such value.
    #[derive(Clone, Copy, Debug)]
    pub(crate) enum Avx2 {}

    impl Avx2 {
        pub(crate) fn detect() -> Option<Self> {
            None
        }

        pub(crate) fn run<T: Task>(self, _task: T) -> T::Output {
            match self {}
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod present {
    use std::arch::x86_64::*;
    use std::mem::transmute;

    use half::{bf16, f16};

    use crate::simd::{LANES, Simd, Task};

    /// Made only where AVX2, FMA and F16C were found: that is what makes the intrinsics below sound.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct Avx2(());

    impl Avx2 {
        pub(crate) fn detect() -> Option<Self> {
            let found = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c");
            found.then_some(Self(()))
        }

        #[inline]
        pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
            #[target_feature(enable = "avx2,fma,f16c")]
            fn compiled<T: Task>(simd: Avx2, task: T) -> T::Output {
                task.run(simd)
            }
            // SAFETY: a value of `Avx2` exists, so the processor has all three.
            unsafe { compiled(self, task) }
        }
    }

    /// Lanes 0..8 and 8..16.
    type V = (__m256, __m256);

    macro_rules! lanewise {
        ($($name:ident = $intrinsic:ident;)*) => {
            $(
                #[inline(always)]
                fn $name(self, a: V, b: V) -> V {
                    // SAFETY: a value of `Avx2` exists, so the processor has the instruction.
                    unsafe { ($intrinsic(a.0, b.0), $intrinsic(a.1, b.1)) }
                }
            )*
        };
    }

    impl Simd for Avx2 {
        type V = V;

        lanewise! {
            add = _mm256_add_ps;
            sub = _mm256_sub_ps;
            mul = _mm256_mul_ps;
            div = _mm256_div_ps;
            max = _mm256_max_ps;
            min = _mm256_min_ps;
        }

        #[inline(always)]
        fn splat(self, x: f32) -> V {
            // SAFETY: a value of `Avx2` exists, so the processor has the instruction.
            let lanes = unsafe { _mm256_set1_ps(x) };
            (lanes, lanes)
        }

        #[inline(always)]
        fn load(self, x: &[f32; LANES]) -> V {
            // SAFETY: sixteen floats are two registers; any bits are one.
            let [low, high] = unsafe { transmute::<[f32; LANES], [__m256; 2]>(*x) };
            (low, high)
        }

        #[inline(always)]
        fn load_f16(self, x: &[f16; LANES]) -> V {
            // SAFETY: as above; sixteen halves are two 16-byte registers.
            unsafe {
                let [low, high] = transmute::<[f16; LANES], [__m128i; 2]>(*x);
                (_mm256_cvtph_ps(low), _mm256_cvtph_ps(high))
            }
        }

        #[inline(always)]
        fn load_bf16(self, x: &[bf16; LANES]) -> V {
            // SAFETY: as above; sixteen bfloat16 are two 16-byte registers.
            unsafe {
                let [low, high] = transmute::<[bf16; LANES], [__m128i; 2]>(*x);
                let low = _mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(low));
                let high = _mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(high));
                (_mm256_castsi256_ps(low), _mm256_castsi256_ps(high))
            }
        }

        #[inline(always)]
        fn store(self, x: V, out: &mut [f32; LANES]) {
            // SAFETY: two registers are sixteen floats.
            *out = unsafe { transmute::<[__m256; 2], [f32; LANES]>([x.0, x.1]) };
        }

        #[inline(always)]
        fn fma(self, a: V, b: V, c: V) -> V {
            // SAFETY: as above.
            unsafe { (_mm256_fmadd_ps(a.0, b.0, c.0), _mm256_fmadd_ps(a.1, b.1, c.1)) }
        }

        #[inline(always)]
        fn round(self, x: V) -> V {
            const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
            // SAFETY: as above.
            unsafe { (_mm256_round_ps::<NEAREST>(x.0), _mm256_round_ps::<NEAREST>(x.1)) }
        }

        #[inline(always)]
        fn pow2(self, x: V) -> V {
            // SAFETY: as above.
            unsafe {
                let bias = _mm256_set1_epi32(127);
                let low = _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_cvtps_epi32(x.0), bias));
                let high = _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_cvtps_epi32(x.1), bias));
                (_mm256_castsi256_ps(low), _mm256_castsi256_ps(high))
            }
        }

        #[inline(always)]
        fn zero_below(self, value: V, x: V, limit: V) -> V {
            // SAFETY: as above.
            unsafe {
                let low = _mm256_cmp_ps::<_CMP_LT_OQ>(x.0, limit.0);
                let high = _mm256_cmp_ps::<_CMP_LT_OQ>(x.1, limit.1);
                (_mm256_andnot_ps(low, value.0), _mm256_andnot_ps(high, value.1))
            }
        }

        #[inline(always)]
        fn sum(self, x: V) -> f32 {
            // SAFETY: as above.
            unsafe {
                let eight = _mm256_add_ps(x.0, x.1);
                let four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
                let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)))
            }
        }

        #[inline(always)]
        fn largest(self, x: V) -> f32 {
            // SAFETY: as above.
            unsafe {
                let eight = _mm256_max_ps(x.0, x.1);
                let four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps::<1>(eight));
                let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)))
            }
        }
    }
}
