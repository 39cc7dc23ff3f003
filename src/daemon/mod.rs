//! The one loop, its clock, supervision, notification of systemd, and the orderly end.

pub mod clock;
