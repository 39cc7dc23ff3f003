//! The page of flash that gives a relay its network, broker and certificates. It is written when the relay is provisioned, without
//! rebuilding the firmware.
//!
//! `"SRP1"`, then items of tag (u8), length (u16 LE) and bytes, then `FF`, then the CRC-32 of everything before it. An erased page is all
//! `FF`.

use crate::frame::{Reader, Writer, crc32};
use crate::topic::is_id;

/// The longest page, in bytes: one sector of flash.
pub const PAGE: usize = 4_096;
/// Offset of the page in the Pico's 2 MiB of flash: the last sector.
pub const FLASH_OFFSET: u32 = 0x1F_F000;

const MAGIC: [u8; 4] = *b"SRP1";
const END: u8 = 0xFF;
/// The broker's port if none is set: MQTT over TLS (IANA).
pub const PORT: u16 = 8_883;
/// The speed of the RS-485 line if none is set (Heidelberg Energy Control, 19200 8E1).
pub const BAUD: u32 = 19_200;

/// A relay's settings.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Settings<'a> {
    /// The relay's id: part of its topics, and the name in its certificate.
    pub id: &'a str,
    /// The network's name, 1 … 32 bytes (IEEE 802.11).
    pub ssid: &'a str,
    /// WPA2 passphrase, 8 … 63 characters; empty for an open network.
    pub passphrase: &'a str,
    /// The broker's DNS name or IP address, as in its certificate.
    pub host: &'a str,
    /// The broker's TCP port.
    pub port: u16,
    /// The certificate of the household's authority, DER.
    pub authority: &'a [u8],
    /// The relay's certificate, DER.
    pub certificate: &'a [u8],
    /// The relay's key, DER (PKCS#8 or SEC 1).
    pub key: &'a [u8],
    /// Speed of the RS-485 line, in bits per second.
    pub baud: u32,
}

/// Leaves out the passphrase and the key.
impl core::fmt::Debug for Settings<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { id, ssid, passphrase: _, host, port, authority, certificate, key: _, baud } = self;
        let mut shown = f.debug_struct("Settings");
        shown.field("id", id).field("ssid", ssid).field("host", host).field("port", port).field("baud", baud);
        shown.field("authority", authority).field("certificate", certificate).finish_non_exhaustive()
    }
}

/// Why a page cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingsFault {
    /// Nothing was ever written.
    Empty,
    /// The page is cut off or damaged.
    Damaged,
    /// The named setting is missing or not valid.
    Wrong(&'static str),
    /// The settings do not fit into a page.
    TooLong,
}

impl<'a> Settings<'a> {
    /// Parses a page; what follows the checksum is ignored.
    pub fn parse(page: &'a [u8]) -> Result<Self, SettingsFault> {
        let mut reader = Reader::new(page);
        match reader.array() {
            Some(MAGIC) => {}
            Some([END, ..]) => return Err(SettingsFault::Empty),
            Some(_) | None => return Err(SettingsFault::Damaged),
        }
        let mut settings = Self {
            id: "",
            ssid: "",
            passphrase: "",
            host: "",
            port: PORT,
            authority: &[],
            certificate: &[],
            key: &[],
            baud: BAUD,
        };
        let mut length = MAGIC.len();
        loop {
            let tag = reader.u8().ok_or(SettingsFault::Damaged)?;
            length += 1;
            if tag == END {
                break;
            }
            let item = usize::from(reader.u16().ok_or(SettingsFault::Damaged)?);
            let bytes = reader.bytes(item).ok_or(SettingsFault::Damaged)?;
            length += 2 + item;
            settings.take(tag, bytes)?;
        }
        let content = page.get(..length).ok_or(SettingsFault::Damaged)?;
        if reader.u32() != Some(crc32(content)) {
            return Err(SettingsFault::Damaged);
        }
        settings.check()
    }

    fn take(&mut self, tag: u8, bytes: &'a [u8]) -> Result<(), SettingsFault> {
        let text = |name| core::str::from_utf8(bytes).map_err(|_| SettingsFault::Wrong(name));
        match tag {
            1 => self.id = text("id")?,
            2 => self.ssid = text("ssid")?,
            3 => self.passphrase = text("passphrase")?,
            4 => self.host = text("host")?,
            5 => self.port = Reader::new(bytes).u16().ok_or(SettingsFault::Wrong("port"))?,
            6 => self.authority = bytes,
            7 => self.certificate = bytes,
            8 => self.key = bytes,
            9 => self.baud = Reader::new(bytes).u32().ok_or(SettingsFault::Wrong("baud"))?,
            // An item of a newer gateway.
            _ => {}
        }
        Ok(())
    }

    /// Checks that a relay can use these settings.
    pub fn check(self) -> Result<Self, SettingsFault> {
        let wrong = |name| Err(SettingsFault::Wrong(name));
        if !is_id(self.id) {
            return wrong("id");
        }
        if !(1..=32).contains(&self.ssid.len()) {
            return wrong("ssid");
        }
        if !(self.passphrase.is_empty() || (8..=63).contains(&self.passphrase.len())) {
            return wrong("passphrase");
        }
        if !(1..=253).contains(&self.host.len()) || self.host.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return wrong("host");
        }
        if self.port == 0 {
            return wrong("port");
        }
        if !(1_200..=115_200).contains(&self.baud) {
            return wrong("baud");
        }
        for (name, der) in [("authority", self.authority), ("certificate", self.certificate), ("key", self.key)] {
            // A DER sequence.
            if der.first() != Some(&0x30) {
                return wrong(name);
            }
        }
        Ok(self)
    }

    /// Writes a page; returns its length.
    pub fn write(&self, out: &mut [u8]) -> Result<usize, SettingsFault> {
        self.check()?;
        let mut writer = Writer::new(out);
        writer.bytes(&MAGIC);
        let (port, baud) = (self.port.to_le_bytes(), self.baud.to_le_bytes());
        for (tag, bytes) in (1_u8..).zip([
            self.id.as_bytes(),
            self.ssid.as_bytes(),
            self.passphrase.as_bytes(),
            self.host.as_bytes(),
            &port,
            self.authority,
            self.certificate,
            self.key,
            &baud,
        ]) {
            let length = u16::try_from(bytes.len()).map_err(|_| SettingsFault::TooLong)?;
            writer.bytes(&[tag]);
            writer.bytes(&length.to_le_bytes());
            writer.bytes(bytes);
        }
        writer.bytes(&[END]);
        let check = crc32(writer.written().ok_or(SettingsFault::TooLong)?);
        writer.bytes(&check.to_le_bytes());
        let length = writer.written().ok_or(SettingsFault::TooLong)?.len();
        if length > PAGE { Err(SettingsFault::TooLong) } else { Ok(length) }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use proptest::prelude::*;
    use std::vec;

    use super::*;

    const SETTINGS: Settings<'_> = Settings {
        id: "pico-carport",
        ssid: "home",
        passphrase: "correct horse",
        host: "homeassistant.local",
        port: 8_883,
        authority: &[0x30, 1],
        certificate: &[0x30, 2],
        key: &[0x30, 3],
        baud: 19_200,
    };

    #[test]
    fn what_is_written_is_what_is_read() {
        let mut page = [0xFF; PAGE];
        SETTINGS.write(&mut page).unwrap();
        assert_eq!(Settings::parse(&page), Ok(SETTINGS));
    }

    #[test]
    fn golden_page() {
        let mut page = [0; PAGE];
        let length = SETTINGS.write(&mut page).unwrap();
        let golden = b"SRP1\x01\x0c\0pico-carport\x02\x04\0home\x03\x0d\0correct horse\x04\x13\0homeassistant.local\
            \x05\x02\0\xb3\x22\x06\x02\0\x30\x01\x07\x02\0\x30\x02\x08\x02\0\x30\x03\x09\x04\0\x00\x4b\0\0\xff";
        assert_eq!(&page[..length - 4], golden);
        assert_eq!(page[length - 4..length], crc32(golden).to_le_bytes());
    }

    #[test]
    fn an_erased_page_is_empty_and_a_damaged_one_is_told() {
        assert_eq!(Settings::parse(&[0xFF; PAGE]), Err(SettingsFault::Empty));
        let mut page = [0xFF; PAGE];
        let length = SETTINGS.write(&mut page).unwrap();
        for place in 0..length {
            let mut page = page;
            page[place] ^= 1;
            assert!(Settings::parse(&page).is_err(), "{place}");
        }
        assert_eq!(Settings::parse(&page[..length - 1]), Err(SettingsFault::Damaged));
    }

    #[test]
    fn what_cannot_work_is_not_written() {
        let mut page = [0; PAGE];
        for (wrong, name) in [
            (Settings { id: "Pico", ..SETTINGS }, "id"),
            (Settings { ssid: "", ..SETTINGS }, "ssid"),
            (Settings { passphrase: "short", ..SETTINGS }, "passphrase"),
            (Settings { host: "a b", ..SETTINGS }, "host"),
            (Settings { port: 0, ..SETTINGS }, "port"),
            (Settings { baud: 1, ..SETTINGS }, "baud"),
            (Settings { key: b"-----BEGIN", ..SETTINGS }, "key"),
        ] {
            assert_eq!(wrong.write(&mut page), Err(SettingsFault::Wrong(name)));
        }
        let long = vec![0x30; PAGE];
        assert_eq!(Settings { authority: &long, ..SETTINGS }.write(&mut page), Err(SettingsFault::TooLong));
    }

    #[test]
    fn a_newer_item_is_passed_over() {
        let mut page = [0; PAGE];
        let length = SETTINGS.write(&mut page).unwrap();
        let mut longer = page[..length - 5].to_vec();
        longer.extend([77, 2, 0, 1, 2, 0xFF]);
        let check = crc32(&longer);
        longer.extend(check.to_le_bytes());
        assert_eq!(Settings::parse(&longer), Ok(SETTINGS));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Settings::parse(&bytes);
            let mut page = MAGIC.to_vec();
            page.extend(bytes);
            let _ = Settings::parse(&page);
        }
    }
}
