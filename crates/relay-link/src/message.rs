//! The meaning of bodies. Append-only: fields are added at the end, kinds are added, and nothing is changed or removed within a version; a
//! reader ignores what follows the fields it knows, and refuses kinds it does not know.

use crate::contacts::{CONTACTS, ContactState, LeaseRefusal};
use crate::frame::{BODY_MAX, Reader, Writer};

/// Why an exchange on the RS-485 line failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExchangeFailure {
    /// No answer in time.
    Timeout,
    /// Parity or framing errors.
    Garbage,
    /// More bytes than fit, or faster than they were read.
    Overrun,
    /// This relay has no RS-485 line, or it does not work.
    NoBus,
}

impl ExchangeFailure {
    const fn code(self) -> u8 {
        match self {
            Self::Timeout => 1,
            Self::Garbage => 2,
            Self::Overrun => 3,
            Self::NoBus => 4,
        }
    }

    /// Decodes a failure. An unknown code of a newer relay is taken for garbage: nothing of use came.
    const fn of(code: u8) -> Self {
        match code {
            1 => Self::Timeout,
            3 => Self::Overrun,
            4 => Self::NoBus,
            _ => Self::Garbage,
        }
    }
}

/// The longest frame on the RS-485 line (Modbus over Serial Line V1.02, 2.5.1: 256 bytes).
pub const RS485_MAX: usize = 256;
/// Set in the kind of every reply.
pub const REPLY: u8 = 0x80;
/// The kind of a refusal.
pub const REFUSED: u8 = 0xFF;

/// A request from the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request<'a> {
    /// Begin a session.
    Hello,
    /// Send these bytes on the RS-485 line and return the answer.
    Exchange {
        /// Time for the answer to begin, in milliseconds.
        reply_timeout_ms: u16,
        /// Length of the answer in bytes; 0 if it ends with silence.
        expected: u16,
        /// The bytes to send, at most [`RS485_MAX`].
        bytes: &'a [u8],
    },
    /// Close a contact for this time and no longer.
    Lease {
        /// The contact, counted from 1.
        contact: u8,
        /// Duration in seconds; 0 opens the contact.
        seconds: u16,
    },
    /// Report the relay's status.
    Status,
    /// Flash the LED.
    Identify {
        /// Duration in seconds.
        seconds: u8,
    },
    /// Keep a closed contact closed for this time from now, and no longer. Never closes an open one.
    Renew {
        /// The contact, counted from 1.
        contact: u8,
        /// Duration in seconds; 0 opens the contact.
        seconds: u16,
    },
}

impl<'a> Request<'a> {
    /// Returns the kind of its frame.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Hello => 1,
            Self::Exchange { .. } => 2,
            Self::Lease { .. } => 3,
            Self::Status => 4,
            Self::Identify { .. } => 5,
            Self::Renew { .. } => 6,
        }
    }

    /// Writes the body; `None` if it does not fit.
    pub fn write<'o>(&self, out: &'o mut [u8; BODY_MAX]) -> Option<&'o [u8]> {
        let mut writer = Writer::new(out);
        match self {
            Self::Hello | Self::Status => {}
            Self::Exchange { reply_timeout_ms, expected, bytes } => {
                if bytes.len() > RS485_MAX {
                    return None;
                }
                writer.bytes(&reply_timeout_ms.to_le_bytes());
                writer.bytes(&expected.to_le_bytes());
                writer.bytes(bytes);
            }
            Self::Lease { contact, seconds } | Self::Renew { contact, seconds } => {
                writer.bytes(&[*contact]);
                writer.bytes(&seconds.to_le_bytes());
            }
            Self::Identify { seconds } => writer.bytes(&[*seconds]),
        }
        let length = writer.written()?.len();
        out.get(..length)
    }

    /// Parses a body.
    pub fn parse(kind: u8, body: &'a [u8]) -> Result<Self, Refusal> {
        let mut reader = Reader::new(body);
        let read = match kind {
            1 => Some(Self::Hello),
            2 => {
                let head = reader.u16().zip(reader.u16());
                let bytes = reader.rest();
                head.filter(|_| (1..=RS485_MAX).contains(&bytes.len()))
                    .map(|(reply_timeout_ms, expected)| Self::Exchange { reply_timeout_ms, expected, bytes })
            }
            3 => reader.u8().zip(reader.u16()).map(|(contact, seconds)| Self::Lease { contact, seconds }),
            4 => Some(Self::Status),
            5 => reader.u8().map(|seconds| Self::Identify { seconds }),
            6 => reader.u8().zip(reader.u16()).map(|(contact, seconds)| Self::Renew { contact, seconds }),
            _ => return Err(Refusal::UnknownKind),
        };
        read.ok_or(Refusal::Malformed)
    }
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// Its session does not exist: send `Hello` first.
    UnknownSession,
    /// The relay does not know the kind: the gateway is newer.
    UnknownKind,
    /// The body is malformed.
    Malformed,
    /// A reason unknown to this gateway.
    Other(u8),
}

impl Refusal {
    const fn code(self) -> u8 {
        match self {
            Self::UnknownSession => 1,
            Self::UnknownKind => 2,
            Self::Malformed => 3,
            Self::Other(code) => code,
        }
    }

    const fn of(code: u8) -> Self {
        match code {
            1 => Self::UnknownSession,
            2 => Self::UnknownKind,
            3 => Self::Malformed,
            code => Self::Other(code),
        }
    }
}

/// Why the relay restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetReason {
    /// Power, or the reset button.
    PowerOn,
    /// Its watchdog was not fed in time.
    Watchdog,
    /// A panic: a bug.
    Panic,
    /// A command on its console.
    Console,
    /// The reason could not be found out.
    Unknown,
}

impl ResetReason {
    const fn code(self) -> u8 {
        match self {
            Self::Unknown => 0,
            Self::PowerOn => 1,
            Self::Watchdog => 2,
            Self::Panic => 3,
            Self::Console => 4,
        }
    }

    const fn of(code: u8) -> Self {
        match code {
            1 => Self::PowerOn,
            2 => Self::Watchdog,
            3 => Self::Panic,
            4 => Self::Console,
            _ => Self::Unknown,
        }
    }

    /// Returns the reason in words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PowerOn => "power on",
            Self::Watchdog => "watchdog",
            Self::Panic => "panic",
            Self::Console => "console",
            Self::Unknown => "unknown",
        }
    }
}

/// The status of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Time since its last start.
    pub uptime_s: u32,
    /// Signal strength of its Wi-Fi; 0 if not known.
    pub rssi_dbm: i8,
    /// Temperature of its chip, in hundredths of a degree Celsius.
    pub temperature_centi_c: i16,
    /// Why it last started.
    pub reset: ResetReason,
    /// Its contacts.
    pub contacts: [ContactState; CONTACTS],
    /// Number of exchanges on its RS-485 line since its start.
    pub exchanges: u32,
    /// Number of these that were not answered.
    pub timeouts: u32,
    /// Number of these with a damaged or overlong answer.
    pub garbage: u32,
    /// Version of its firmware.
    pub version: [u8; 3],
}

/// An answer from the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply<'a> {
    /// A session has begun; its number is that of the frame.
    Welcome {
        /// Oldest and newest protocol version that the relay understands.
        versions: (u8, u8),
        /// Version of its firmware.
        firmware: [u8; 3],
    },
    /// The answer on the RS-485 line.
    Exchanged(&'a [u8]),
    /// The exchange failed.
    ExchangeFailed(ExchangeFailure),
    /// The state of the contact now.
    Leased(ContactState),
    /// The contact was not closed.
    LeaseRefused(LeaseRefusal),
    /// The relay's status.
    Status(Status),
    /// The LED is flashing.
    Identifying,
    /// The request was not carried out.
    Refused(Refusal),
}

impl<'a> Reply<'a> {
    /// Returns the kind of its frame.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Welcome { .. } => REPLY | 1,
            Self::Exchanged(_) | Self::ExchangeFailed(_) => REPLY | 2,
            Self::Leased(_) | Self::LeaseRefused(_) => REPLY | 3,
            Self::Status(_) => REPLY | 4,
            Self::Identifying => REPLY | 5,
            Self::Refused(_) => REFUSED,
        }
    }

    /// Writes the body; `None` if it does not fit.
    pub fn write<'o>(&self, out: &'o mut [u8; BODY_MAX]) -> Option<&'o [u8]> {
        let mut writer = Writer::new(out);
        match self {
            Self::Welcome { versions: (min, current), firmware } => {
                writer.bytes(&[*min, *current]);
                writer.bytes(firmware);
            }
            Self::Exchanged(bytes) => {
                writer.bytes(&[0]);
                writer.bytes(bytes);
            }
            Self::ExchangeFailed(failure) => writer.bytes(&[failure.code()]),
            Self::Leased(state) => {
                writer.bytes(&[0]);
                write_contact(&mut writer, *state);
            }
            Self::LeaseRefused(refusal) => writer.bytes(&[refusal.code()]),
            Self::Status(status) => write_status(&mut writer, status),
            Self::Identifying => {}
            Self::Refused(refusal) => writer.bytes(&[refusal.code()]),
        }
        let length = writer.written()?.len();
        out.get(..length)
    }

    /// Parses a body; `None` if it is not a reply.
    pub fn parse(kind: u8, body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(body);
        Some(match kind {
            0x81 => Self::Welcome { versions: (reader.u8()?, reader.u8()?), firmware: reader.array()? },
            0x82 => match reader.u8()? {
                0 => Self::Exchanged(reader.rest()),
                code => Self::ExchangeFailed(ExchangeFailure::of(code)),
            },
            0x83 => match reader.u8()? {
                0 => Self::Leased(read_contact(&mut reader)?),
                code => Self::LeaseRefused(LeaseRefusal::of(code)),
            },
            0x84 => Self::Status(read_status(&mut reader)?),
            0x85 => Self::Identifying,
            REFUSED => Self::Refused(Refusal::of(reader.u8()?)),
            _ => return None,
        })
    }
}

fn write_contact(writer: &mut Writer<'_>, state: ContactState) {
    let ContactState { closed, read_back, welded, left_ms } = state;
    writer.bytes(&[u8::from(closed) | u8::from(read_back) << 1 | u8::from(welded) << 2]);
    writer.bytes(&left_ms.to_le_bytes());
}

fn read_contact(reader: &mut Reader<'_>) -> Option<ContactState> {
    let flags = reader.u8()?;
    let bit = |bit: u8| flags & (1 << bit) != 0;
    Some(ContactState { closed: bit(0), read_back: bit(1), welded: bit(2), left_ms: reader.u32()? })
}

fn write_status(writer: &mut Writer<'_>, status: &Status) {
    writer.bytes(&status.uptime_s.to_le_bytes());
    writer.bytes(&status.rssi_dbm.to_le_bytes());
    writer.bytes(&status.temperature_centi_c.to_le_bytes());
    writer.bytes(&[status.reset.code()]);
    for contact in status.contacts {
        write_contact(writer, contact);
    }
    for count in [status.exchanges, status.timeouts, status.garbage] {
        writer.bytes(&count.to_le_bytes());
    }
    writer.bytes(&status.version);
}

fn read_status(reader: &mut Reader<'_>) -> Option<Status> {
    Some(Status {
        uptime_s: reader.u32()?,
        rssi_dbm: reader.array().map(i8::from_le_bytes)?,
        temperature_centi_c: reader.array().map(i16::from_le_bytes)?,
        reset: ResetReason::of(reader.u8()?),
        contacts: [read_contact(reader)?, read_contact(reader)?],
        exchanges: reader.u32()?,
        timeouts: reader.u32()?,
        garbage: reader.u32()?,
        version: reader.array()?,
    })
}

#[cfg(test)]
mod tests;
