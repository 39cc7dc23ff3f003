//! See `surplusd::fuzz`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| surplusd::fuzz::simulate_setup(bytes));
