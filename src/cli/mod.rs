//! Commands. One file each; the only place that prints.

pub mod probe;
