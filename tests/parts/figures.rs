//! The stopwatch of the performance figures, and the program as it is measured there.

#[path = "../../benches/figures/house.rs"]
#[expect(dead_code, reason = "the figures use all of it")]
pub(crate) mod house;
#[path = "../../benches/figures/latency.rs"]
#[expect(dead_code, reason = "the figures use all of it")]
pub(crate) mod latency;
#[path = "../../benches/figures/line.rs"]
pub(crate) mod line;
