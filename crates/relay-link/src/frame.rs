//! A frame: the envelope of a message.
//!
//! ```text
//!  0  "SR"         2 bytes
//!  2  version      u8, MIN … CURRENT
//!  3  kind         u8
//!  4  session      u32 LE, assigned by the relay; 0 in Hello
//!  8  sequence     u32 LE, ascending within a session
//! 12  body length  u16 LE
//! 14  body
//!     CRC-32       u32 LE (ISO-HDLC: reflected 0x04C11DB7), over all before
//! ```

/// The protocol version written here.
pub const CURRENT: u8 = 1;
/// The oldest protocol version understood here.
pub const MIN: u8 = 1;
/// The longest frame, in bytes.
pub const FRAME_MAX: usize = 300;

const MAGIC: [u8; 2] = *b"SR";
const HEADER: usize = 14;
const CHECK: usize = 4;
/// The longest body, in bytes.
pub const BODY_MAX: usize = FRAME_MAX - HEADER - CHECK;

/// The parts of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The protocol version it is written in.
    pub version: u8,
    /// The kind of body.
    pub kind: u8,
    /// The session, assigned by the relay; 0 in `Hello`.
    pub session: u32,
    /// The sequence number, ascending within a session.
    pub sequence: u32,
    /// The body; its meaning depends on the kind.
    pub body: &'a [u8],
}

/// Why bytes are not a frame, or a frame cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameFault {
    /// Not one of our frames, or cut off.
    Shape,
    /// The checksum is wrong.
    Damaged,
    /// A version that is not understood.
    Version(u8),
    /// The frame does not fit into the buffer.
    NoRoom,
}

impl<'a> Frame<'a> {
    /// Parses a frame.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FrameFault> {
        if bytes.len() > FRAME_MAX {
            return Err(FrameFault::Shape);
        }
        let (content, check) = bytes.split_last_chunk::<CHECK>().ok_or(FrameFault::Shape)?;
        let (header, body) = content.split_first_chunk::<HEADER>().ok_or(FrameFault::Shape)?;
        let [m0, m1, version, kind, s0, s1, s2, s3, q0, q1, q2, q3, l0, l1] = *header;
        if [m0, m1] != MAGIC || usize::from(u16::from_le_bytes([l0, l1])) != body.len() {
            return Err(FrameFault::Shape);
        }
        if crc32(content) != u32::from_le_bytes(*check) {
            return Err(FrameFault::Damaged);
        }
        if !(MIN..=CURRENT).contains(&version) {
            return Err(FrameFault::Version(version));
        }
        let session = u32::from_le_bytes([s0, s1, s2, s3]);
        let sequence = u32::from_le_bytes([q0, q1, q2, q3]);
        Ok(Self { version, kind, session, sequence, body })
    }

    /// Writes the frame; returns its length.
    pub fn write(&self, out: &mut [u8]) -> Result<usize, FrameFault> {
        if self.body.len() > BODY_MAX {
            return Err(FrameFault::NoRoom);
        }
        let length = u16::try_from(self.body.len()).map_err(|_| FrameFault::NoRoom)?;
        let mut writer = Writer::new(out);
        writer.bytes(&MAGIC);
        writer.bytes(&[self.version, self.kind]);
        writer.bytes(&self.session.to_le_bytes());
        writer.bytes(&self.sequence.to_le_bytes());
        writer.bytes(&length.to_le_bytes());
        writer.bytes(self.body);
        let check = crc32(writer.written().ok_or(FrameFault::NoRoom)?);
        writer.bytes(&check.to_le_bytes());
        writer.written().map(<[u8]>::len).ok_or(FrameFault::NoRoom)
    }
}

/// Writes pieces one after another, and notes whether all of them fitted.
pub(crate) struct Writer<'a> {
    out: &'a mut [u8],
    length: usize,
    full: bool,
}

impl<'a> Writer<'a> {
    pub(crate) const fn new(out: &'a mut [u8]) -> Self {
        Self { out, length: 0, full: false }
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        let end = self.length.saturating_add(bytes.len());
        match self.out.get_mut(self.length..end) {
            Some(place) if !self.full => {
                place.copy_from_slice(bytes);
                self.length = end;
            }
            Some(_) | None => self.full = true,
        }
    }

    /// Returns what was written; `None` if something did not fit.
    pub(crate) fn written(&self) -> Option<&[u8]> {
        if self.full { None } else { self.out.get(..self.length) }
    }
}

/// Reads pieces one after another; a piece that is not there is `None`.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(taken)
    }

    pub(crate) const fn rest(self) -> &'a [u8] {
        self.rest
    }
}

/// Returns the CRC-32 as in Ethernet and zip (ISO-HDLC).
pub fn crc32(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0xEDB8_8320;
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ POLYNOMIAL } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    extern crate std;
    use proptest::prelude::*;
    use std::vec;

    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_the_catalogue() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn golden_bytes_of_version_1() {
        let frame = Frame { version: 1, kind: 3, session: 0x0A0B_0C0D, sequence: 7, body: &[1, 15, 0] };
        let mut out = [0; FRAME_MAX];
        let length = frame.write(&mut out).unwrap();
        let golden = [0x53, 0x52, 1, 3, 0x0D, 0x0C, 0x0B, 0x0A, 7, 0, 0, 0, 3, 0, 1, 15, 0, 0x17, 0x1E, 0xBF, 0x89];
        assert_eq!(out.get(..length), Some(&golden[..]));
        assert_eq!(Frame::parse(&golden), Ok(frame));
    }

    #[test]
    fn what_has_no_room_is_told() {
        let frame = Frame { version: 1, kind: 1, session: 0, sequence: 0, body: &[0; BODY_MAX] };
        assert_eq!(frame.write(&mut [0; FRAME_MAX]), Ok(FRAME_MAX));
        assert_eq!(frame.write(&mut [0; FRAME_MAX - 1]), Err(FrameFault::NoRoom));
        let long = vec![0; BODY_MAX + 1];
        assert_eq!(Frame { body: &long, ..frame }.write(&mut [0; 999]), Err(FrameFault::NoRoom));
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_is_read(kind: u8, session: u32, sequence: u32, body in prop::collection::vec(any::<u8>(), 0..=BODY_MAX)) {
            let frame = Frame { version: CURRENT, kind, session, sequence, body: &body };
            let mut out = [0; FRAME_MAX];
            let length = frame.write(&mut out).unwrap();
            prop_assert_eq!(Frame::parse(&out[..length]), Ok(frame));
        }

        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = Frame::parse(&bytes);
        }

        #[test]
        fn a_flipped_bit_is_noticed(body in prop::collection::vec(any::<u8>(), 0..40), place: prop::sample::Index, bit in 0..8_u8) {
            let mut out = [0; FRAME_MAX];
            let length = Frame { version: CURRENT, kind: 2, session: 1, sequence: 2, body: &body }.write(&mut out).unwrap();
            let frame = &mut out[..length];
            let place = place.index(length);
            frame[place] ^= 1 << bit;
            prop_assert!(Frame::parse(frame).is_err());
        }
    }
}
