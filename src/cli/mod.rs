//! Commands, one file each. Nothing else prints.

pub mod demo;
