//! Exit codes: a documented interface that systemd units and scripts rely on. Values above 63 are those of sysexits.h.

/// Success.
pub const OK: u8 = 0;
/// `replay`: something differs from what was recorded.
pub const DIFFERENT: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// A required service is not available. Only one-shot commands give up; the daemon retries.
pub const UNAVAILABLE: u8 = 69;
/// A bug in surplusd.
pub const BUG: u8 = 70;
/// Output cannot be written: the disk is full or broken. A closed pipe is not an error.
pub const OUTPUT: u8 = 74;
/// No permission for a file or a device.
pub const PERMISSION: u8 = 77;
/// The configuration is wrong.
pub const CONFIGURATION: u8 = 78;
