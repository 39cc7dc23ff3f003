//! Random numbers for keys. The bits of the ring oscillator are weak one by one (RP2040 datasheet, 2.17.5), so many of them go through
//! SHA-256 and seed a `ChaCha20` generator.

use embassy_rp::clocks::RoscRng;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sha2::{Digest, Sha256};

/// Number of rounds of 64 bytes: 8192 bits for a seed of 256.
const ROUNDS: usize = 16;

/// Creates a generator that nobody can predict.
pub(crate) fn generator() -> ChaCha20Rng {
    let mut hash = Sha256::new();
    for _ in 0..ROUNDS {
        let mut bits = [0; 64];
        RoscRng.fill_bytes(&mut bits);
        hash.update(bits);
    }
    ChaCha20Rng::from_seed(hash.finalize().into())
}
