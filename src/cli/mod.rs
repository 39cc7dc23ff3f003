//! Commands, one file each. Nothing else prints.

pub mod check;
pub mod exit;
