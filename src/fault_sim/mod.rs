//! Deterministic fault simulation: the product's loop, line, drivers, session and parsers in a simulated household, in virtual time, with
//! faults of everything around them that all follow from one seed; after every step the rules of [`judge`] must hold.
//!
//! ```text
//!  seed ─▶ draw ─▶ Scenario ─▶ run: World ◀─bytes, messages─▶ Gateway (the product's own code)
//!                     ▲               └──────── Judge ────────┘
//!                     └── shrink ◀── Violation
//! ```
//! `scripts/soak` runs many hours of it and repeats one seed. Left out: two chargers on one line, relays, and the journal, which have tests
//! of their own; what the operating system does, which `scripts/test-faults` tests.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "each part handles the faults that concern it, of a list that grows"
)]

mod draw;
mod gateway;
mod judge;
mod modem;
mod run;
mod scenario;
mod shrink;
mod tests;
mod world;
