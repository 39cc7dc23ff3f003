//! Modbus RTU requests as seen by a slave: bytes in, frames out (Modbus over serial line V1.02, section 2.5.1).
//!
//! Written independently, with its own CRC: it shares no code with the master that it is there to judge. Only the functions known to the
//! Heidelberg Energy Control (03, 04, 06, 16) are split into frames by length; anything else is taken as a whole when the line falls
//! silent.

/// Modbus CRC-16 in the order of transmission (low byte first).
pub fn crc(bytes: &[u8]) -> [u8; 2] {
    let mut crc = 0xFFFF_u16;
    for byte in bytes {
        crc ^= u16::from(*byte);
        for _ in 0..8 {
            let carry = crc & 1 == 1;
            crc >>= 1;
            if carry {
                crc ^= 0xA001;
            }
        }
    }
    crc.to_le_bytes()
}

/// Appends the CRC to the bytes.
pub fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    let crc = crc(&bytes);
    bytes.extend(crc);
    bytes
}

/// The content of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Function 03 or 04.
    Read {
        /// 03 (holding) or 04 (input).
        function: u8,
        /// First register.
        start: u16,
        /// Number of registers, as requested (not checked).
        count: u16,
    },
    /// Function 06 or 16.
    Write {
        /// 06 (one) or 16 (several).
        function: u8,
        /// First register.
        start: u16,
        /// The values; `None` where the byte count contradicts the quantity.
        values: Option<Vec<u16>>,
    },
    /// A function that the wallbox does not support.
    Other {
        /// The function code.
        function: u8,
    },
}

/// A request with a valid CRC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The unit addressed.
    pub unit: u8,
    /// The content.
    pub ask: Ask,
    /// The frame as received, including the CRC.
    pub frame: Vec<u8>,
}

/// Longest frame of Modbus RTU.
const FRAME_MAX: usize = 256;

/// Splits a stream of bytes into requests. Silence on the line ends a frame; a frame with a wrong CRC spoils everything that follows it
/// without a pause.
#[derive(Debug, Clone)]
pub struct Parser {
    gap_ms: u64,
    buffer: Vec<u8>,
    last_ms: u64,
    spoilt: bool,
    bad_frames: u64,
}

impl Parser {
    /// A parser for which `gap_ms` of silence ends a frame. On a real line that is 3.5 characters, 2 ms at 19200 baud; behind a
    /// pseudo-terminal, the scheduling of two programs needs more.
    pub const fn new(gap_ms: u64) -> Self {
        Self { gap_ms, buffer: Vec::new(), last_ms: 0, spoilt: false, bad_frames: 0 }
    }

    /// Frames discarded so far: wrong CRC, too long, or incomplete.
    pub const fn bad_frames(&self) -> u64 {
        self.bad_frames
    }

    /// Takes the bytes received at `now_ms`; returns the requests that they complete.
    pub fn push(&mut self, now_ms: u64, bytes: &[u8]) -> Vec<Request> {
        if now_ms.saturating_sub(self.last_ms) > self.gap_ms {
            self.silence();
        }
        self.last_ms = now_ms;
        if self.spoilt {
            return Vec::new();
        }
        self.buffer.extend_from_slice(bytes);
        let mut requests = Vec::new();
        while let Some(length) = self.complete() {
            let rest = self.buffer.split_off(length);
            let frame = std::mem::replace(&mut self.buffer, rest);
            if let Some(request) = decode(frame) {
                requests.push(request);
            } else {
                self.spoil();
                break;
            }
        }
        if self.buffer.len() > FRAME_MAX {
            self.spoil();
        }
        requests
    }

    /// Discards what has been received (power cut, or the rest did not come in time).
    pub fn silence(&mut self) {
        if !self.buffer.is_empty() {
            self.bad_frames += 1;
        }
        self.buffer.clear();
        self.spoilt = false;
    }

    fn spoil(&mut self) {
        self.bad_frames += 1;
        self.buffer.clear();
        self.spoilt = true;
    }

    /// The length of the frame at the start of the buffer, if it is complete.
    fn complete(&self) -> Option<usize> {
        let length = match self.buffer.get(1)? {
            0x03 | 0x04 | 0x06 => 8,
            0x10 => 9 + usize::from(*self.buffer.get(6)?),
            // An unknown function has no known length: a slave waits for silence. Here a matching CRC shows that the frame is complete.
            _ => match self.buffer.split_last_chunk::<2>() {
                Some((body, tail)) if body.len() >= 2 && crc(body) == *tail => self.buffer.len(),
                Some(_) | None => return None,
            },
        };
        (self.buffer.len() >= length).then_some(length)
    }
}

fn decode(frame: Vec<u8>) -> Option<Request> {
    let (body, tail) = frame.split_last_chunk::<2>()?;
    if crc(body) != *tail {
        return None;
    }
    let (&unit, rest) = body.split_first()?;
    let (&function, data) = rest.split_first()?;
    let ask = match (function, data) {
        (0x03 | 0x04, &[a, b, c, d]) => {
            Ask::Read { function, start: u16::from_be_bytes([a, b]), count: u16::from_be_bytes([c, d]) }
        }
        (0x06, &[a, b, c, d]) => {
            Ask::Write { function, start: u16::from_be_bytes([a, b]), values: Some(vec![u16::from_be_bytes([c, d])]) }
        }
        (0x10, &[a, b, c, d, bytes, ref data @ ..]) => {
            let quantity = usize::from(u16::from_be_bytes([c, d]));
            let (pairs, odd) = data.as_chunks::<2>();
            let fits = odd.is_empty() && pairs.len() == quantity && usize::from(bytes) == data.len() && quantity > 0;
            let values = fits.then(|| pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect());
            Ask::Write { function, start: u16::from_be_bytes([a, b]), values }
        }
        (function, _) => Ask::Other { function },
    };
    Some(Request { unit, ask, frame })
}

/// The reply to a read.
pub fn read_reply(unit: u8, function: u8, values: &[u16]) -> Vec<u8> {
    let bytes = u8::try_from(values.len() * 2).unwrap_or(u8::MAX);
    let mut reply = vec![unit, function, bytes];
    reply.extend(values.iter().flat_map(|value| value.to_be_bytes()));
    seal(reply)
}

/// The reply to a write: function 06 repeats the request, function 16 its first six bytes.
pub fn write_reply(request: &Request) -> Vec<u8> {
    seal(request.frame.iter().take(6).copied().collect())
}

/// An exception reply.
pub fn exception_reply(unit: u8, function: u8, code: u8) -> Vec<u8> {
    seal(vec![unit, function | 0x80, code])
}

/// Transmission time of `bytes` at 19200 baud 8E1 (11 bits per character), in milliseconds, rounded up.
pub const fn line_time_ms(bytes: usize) -> u64 {
    (bytes as u64 * 11 * 1_000).div_ceil(19_200)
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ_257: [u8; 8] = [0x01, 0x03, 0x01, 0x01, 0x00, 0x01, 0xd4, 0x36];

    #[test]
    fn requests_are_cut_wherever_the_bytes_break() {
        for cut in 0..=READ_257.len() {
            let mut parser = Parser::new(20);
            let mut requests = parser.push(100, &READ_257[..cut]);
            requests.extend(parser.push(105, &READ_257[cut..]));
            let [Request { unit: 1, ask: Ask::Read { function: 3, start: 257, count: 1 }, .. }] = requests.as_slice()
            else {
                panic!("cut at {cut}: {requests:?}");
            };
        }
    }

    #[test]
    fn silence_ends_a_frame() {
        let mut parser = Parser::new(20);
        assert_eq!(parser.push(100, &READ_257[..5]), []);
        assert_eq!(parser.push(200, &READ_257).len(), 1);
        assert_eq!(parser.bad_frames(), 1);
    }

    #[test]
    fn a_wrong_crc_spoils_the_line_until_silence() {
        let mut parser = Parser::new(20);
        let mut bad = READ_257;
        bad[7] ^= 1;
        assert_eq!(parser.push(100, &bad), []);
        assert_eq!(parser.push(110, &READ_257), [], "no pause before it");
        assert_eq!(parser.push(140, &READ_257).len(), 1);
    }

    #[test]
    fn a_write_of_several_registers_is_read_with_its_byte_count() {
        let mut parser = Parser::new(20);
        let frame = [0x01, 0x10, 0x01, 0x05, 0x00, 0x01, 0x02, 0x00, 0xa0, 0xb6, 0xbd];
        let requests = parser.push(1, &frame);
        assert_eq!(requests[0].ask, Ask::Write { function: 16, start: 261, values: Some(vec![160]) });
        let lying = seal(vec![0x01, 0x10, 0x01, 0x05, 0x00, 0x02, 0x02, 0x00, 0xa0]);
        assert_eq!(parser.push(2, &lying)[0].ask, Ask::Write { function: 16, start: 261, values: None });
    }

    #[test]
    fn an_unknown_function_is_whole_when_its_crc_says_so() {
        let mut parser = Parser::new(20);
        assert_eq!(parser.push(1, &seal(vec![1, 0x2b, 0x0e, 1, 0]))[0].ask, Ask::Other { function: 0x2b });
    }

    #[test]
    fn rubbish_without_end_is_bounded() {
        let mut parser = Parser::new(20);
        for _ in 0..100 {
            assert_eq!(parser.push(1, &[0x55; 60]), []);
        }
        assert!(parser.buffer.len() <= FRAME_MAX);
    }

    #[test]
    fn line_time_counts_eleven_bits_a_character() {
        assert_eq!(line_time_ms(8), 5);
        assert_eq!(line_time_ms(0), 0);
    }
}
