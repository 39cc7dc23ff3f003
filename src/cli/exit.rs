//! Exit codes: a documented interface, as systemd units and scripts rely on them. Values above 63 are those of sysexits.h.

/// All went well.
pub const OK: u8 = 0;
/// `replay`: something came out differently.
pub const DIFFERENT: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// A service that is needed is not available. Only one-shot commands give up; the daemon tries again.
pub const UNAVAILABLE: u8 = 69;
/// A bug of ours.
pub const BUG: u8 = 70;
/// What a command prints or writes cannot be written: the disk is full or broken. A closed pipe is no error.
pub const OUTPUT: u8 = 74;
/// Not permitted: a file, a device.
pub const PERMISSION: u8 = 77;
/// The configuration is wrong.
pub const CONFIGURATION: u8 = 78;
