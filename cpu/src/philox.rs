//! Philox4x32-10 (Salmon et al., 2011): random words as a function of a key and a counter.
//!
//! There is no state, so a word does not depend on what was drawn before it, and any of them can be had at any time.

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// What a word is for; words of different purposes are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Choice of a token.
    Noise = 0,
    /// Green list of the watermark.
    Watermark = 1,
}

/// The blocks of `N` counters side by side.
#[inline(always)]
fn blocks<const N: usize>(counters: [[u32; N]; 4], key: u64) -> [[u32; N]; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counters;
    let mut key = [key as u32, (key >> 32) as u32];
    for _ in 0..ROUNDS {
        for lane in 0..N {
            let first = u64::from(MULTIPLIERS[0]) * u64::from(c0[lane]);
            let second = u64::from(MULTIPLIERS[1]) * u64::from(c2[lane]);
            c0[lane] = (second >> 32) as u32 ^ c1[lane] ^ key[0];
            c2[lane] = (first >> 32) as u32 ^ c3[lane] ^ key[1];
            c1[lane] = second as u32;
            c3[lane] = first as u32;
        }
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    [c0, c1, c2, c3]
}

/// A word for each of `N` tokens from `first` on, of the counter (token, position, purpose).
#[inline(always)]
pub(crate) fn words<const N: usize>(key: u64, purpose: Purpose, position: u64, first: u32) -> [u32; N] {
    let mut tokens = [first; N];
    for (lane, token) in tokens.iter_mut().enumerate() {
        *token = token.wrapping_add(lane as u32);
    }
    let high = (position >> 32) as u32;
    blocks([tokens, [position as u32; N], [high; N], [purpose as u32; N]], key)[0]
}

/// A word as a number strictly between 0 and 1.
#[inline(always)]
pub(crate) fn uniform(word: u32) -> f64 {
    (f64::from(word) + 0.5) / 4_294_967_296.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
        let key = u64::from(key[0]) | u64::from(key[1]) << 32;
        blocks(counter.map(|word| [word]), key).map(|[word]| word)
    }

    /// The known answers that come with the authors' library, Random123.
    #[test]
    fn known_answers() {
        assert_eq!(block([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(block([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = block([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]);
        assert_eq!(pi, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn lanes_are_single_counters() {
        let many: [u32; 16] = words(77, Purpose::Noise, 1 << 40, 1000);
        for (lane, word) in many.into_iter().enumerate() {
            assert_eq!(words::<1>(77, Purpose::Noise, 1 << 40, 1000 + lane as u32), [word]);
        }
    }

    #[test]
    fn uniforms_stay_inside() {
        assert!(uniform(0) > 0.0 && uniform(u32::MAX) < 1.0);
    }
}
