//! Settings as they are typed on the relay's console, line by line, until they can be saved.
//!
//! `set NAME VALUE` sets short values; `set ca`, `set certificate` and `set key` read the lines of a PEM file that follow. Secrets are
//! accepted and never shown.

use core::fmt::Arguments;

use base64ct::{Base64, Encoding as _};
use heapless::{String, Vec};

use crate::settings::{BAUD, PAGE, PORT, Settings, SettingsFault};

/// The longest meaningful line, in bytes: `set broker` with the longest name.
pub const LINE_MAX: usize = 280;
/// The longest certificate, in bytes; those with P-256 keys have some 500.
const DER_MAX: usize = 1_024;
const KEY_MAX: usize = 256;
/// Most bytes decoded from a line of PEM (RFC 7468: 64 characters), with some room.
const PEM_LINE_MAX: usize = 64;

/// What a line asks its caller to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Nothing: the line was empty or has been handled here.
    Nothing,
    /// Show the relay's status.
    Status,
    /// Write the draft to flash and restart.
    Save,
    /// Restart.
    Reset,
}

/// The setting that a pasted PEM file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Authority,
    Certificate,
    Key,
}

impl Part {
    const fn name(self) -> &'static str {
        match self {
            Self::Authority => "ca",
            Self::Certificate => "certificate",
            Self::Key => "key",
        }
    }
}

/// The settings being typed.
#[derive(Clone)]
pub struct Draft {
    id: String<32>,
    ssid: String<32>,
    passphrase: String<63>,
    host: String<253>,
    port: u16,
    baud: u32,
    authority: Vec<u8, DER_MAX>,
    certificate: Vec<u8, DER_MAX>,
    key: Vec<u8, KEY_MAX>,
    /// The PEM file being pasted, with the bytes received so far; `None` once it cannot be valid.
    pasted: Option<(Part, Option<Vec<u8, DER_MAX>>)>,
}

impl Draft {
    /// Creates a draft with nothing set.
    pub const fn new() -> Self {
        Self {
            id: String::new(),
            ssid: String::new(),
            passphrase: String::new(),
            host: String::new(),
            port: PORT,
            baud: BAUD,
            authority: Vec::new(),
            certificate: Vec::new(),
            key: Vec::new(),
            pasted: None,
        }
    }

    /// Starts from existing settings. A value too long for the draft is left out, and reported as missing on saving.
    pub fn begin(&mut self, settings: &Settings<'_>) {
        *self = Self {
            id: String::try_from(settings.id).unwrap_or_default(),
            ssid: String::try_from(settings.ssid).unwrap_or_default(),
            passphrase: String::try_from(settings.passphrase).unwrap_or_default(),
            host: String::try_from(settings.host).unwrap_or_default(),
            port: settings.port,
            baud: settings.baud,
            authority: Vec::from_slice(settings.authority).unwrap_or_default(),
            certificate: Vec::from_slice(settings.certificate).unwrap_or_default(),
            key: Vec::from_slice(settings.key).unwrap_or_default(),
            pasted: None,
        };
    }

    fn settings(&self) -> Settings<'_> {
        Settings {
            id: &self.id,
            ssid: &self.ssid,
            passphrase: &self.passphrase,
            host: &self.host,
            port: self.port,
            authority: &self.authority,
            certificate: &self.certificate,
            key: &self.key,
            baud: self.baud,
        }
    }

    /// Returns the page to be written to flash.
    pub fn page(&self) -> Result<[u8; PAGE], SettingsFault> {
        let mut page = [0xFF; PAGE];
        self.settings().write(&mut page)?;
        Ok(page)
    }

    /// Notes that a line was lost or damaged on its way: a PEM file being pasted is then of no use.
    pub fn damaged(&mut self) {
        if let Some((_, der)) = &mut self.pasted {
            *der = None;
        }
    }

    /// Handles a typed line; answers go to `say`.
    pub fn line(&mut self, line: &str, say: &mut dyn FnMut(Arguments<'_>)) -> Wish {
        let line = line.trim();
        if self.pasted.is_some() {
            self.paste(line, say);
            return Wish::Nothing;
        }
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        match command {
            "" => {}
            "status" => return Wish::Status,
            "save" => return Wish::Save,
            "reset" => return Wish::Reset,
            "show" => self.show(say),
            "set" => self.set(rest.trim(), say),
            _ => say(format_args!("commands: status, show, set, save, reset")),
        }
        Wish::Nothing
    }

    fn set(&mut self, rest: &str, say: &mut dyn FnMut(Arguments<'_>)) {
        let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
        let value = value.trim();
        let part = match name {
            "ca" => Some(Part::Authority),
            "certificate" => Some(Part::Certificate),
            "key" => Some(Part::Key),
            _ => None,
        };
        if let Some(part) = part {
            self.pasted = Some((part, Some(Vec::new())));
            say(format_args!("paste the PEM of the {}; it ends with its END line", part.name()));
            return;
        }
        let taken = match name {
            "id" => Some(put(&mut self.id, value)),
            "ssid" => Some(put(&mut self.ssid, value)),
            "passphrase" => Some(put(&mut self.passphrase, value)),
            "broker" => Some(put(&mut self.host, value)),
            "port" => Some(value.parse().map(|port| self.port = port).is_ok()),
            "baud" => Some(value.parse().map(|baud| self.baud = baud).is_ok()),
            _ => None,
        };
        match taken {
            Some(true) => say(format_args!("{name}: taken, not saved yet")),
            Some(false) => say(format_args!("{name}: too long, or not a number; left unchanged")),
            None => say(format_args!("set id|ssid|passphrase|broker|port|baud VALUE, set ca|certificate|key")),
        }
    }

    fn paste(&mut self, line: &str, say: &mut dyn FnMut(Arguments<'_>)) {
        let Some((part, mut der)) = self.pasted.take() else { return };
        let name = part.name();
        if !line.starts_with("-----END") {
            if !line.is_empty() && !line.starts_with("-----BEGIN") {
                let mut bytes = [0; PEM_LINE_MAX];
                let decoded = Base64::decode(line, &mut bytes).ok();
                der = der.and_then(|mut der| der.extend_from_slice(decoded?).ok().map(|()| der));
            }
            self.pasted = Some((part, der));
            return;
        }
        let Some(der) = der.filter(|der| is_whole(der)) else {
            say(format_args!("{name}: that was not PEM, or not all of it arrived; left unchanged"));
            return;
        };
        let length = der.len();
        match (part, Vec::from_slice(&der)) {
            (Part::Authority, _) => self.authority = der,
            (Part::Certificate, _) => self.certificate = der,
            (Part::Key, Ok(key)) => self.key = key,
            (Part::Key, Err(_)) => return say(format_args!("{name}: too long; use a P-256 key")),
        }
        say(format_args!("{name}: {length} bytes taken, not saved yet"));
    }

    fn show(&self, say: &mut dyn FnMut(Arguments<'_>)) {
        say(format_args!("id {}, broker {}, port {}, baud {}", self.id, self.host, self.port, self.baud));
        let secret = |length: usize| if length == 0 { "none" } else { "******** (not shown)" };
        say(format_args!("ssid {}, passphrase {}", self.ssid, secret(self.passphrase.len())));
        let (ca, certificate) = (self.authority.len(), self.certificate.len());
        say(format_args!("ca {ca} bytes, certificate {certificate} bytes, key {}", secret(self.key.len())));
        if let Err(fault) = self.settings().check() {
            say(format_args!("{}", Missing(fault)));
        }
    }
}

/// Leaves out what [`Settings`] leaves out, and what is being pasted: it may be a key.
impl core::fmt::Debug for Draft {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Draft").field(&self.settings()).finish_non_exhaustive()
    }
}

impl Default for Draft {
    fn default() -> Self {
        Self::new()
    }
}

/// The reason why a draft cannot be saved, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing(pub SettingsFault);

impl core::fmt::Display for Missing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            SettingsFault::Wrong("host") => f.write_str("missing or wrong: broker"),
            SettingsFault::Wrong("authority") => f.write_str("missing or wrong: ca"),
            SettingsFault::Wrong(what) => write!(f, "missing or wrong: {what}"),
            SettingsFault::TooLong => f.write_str("the settings together are too long: use P-256 certificates"),
            SettingsFault::Empty | SettingsFault::Damaged => f.write_str("this cannot be saved"),
        }
    }
}

fn put<const N: usize>(place: &mut String<N>, value: &str) -> bool {
    String::try_from(value).map(|value| *place = value).is_ok()
}

/// Returns whether the bytes are exactly one DER sequence (X.690, 8.1.3): nothing else reveals a lost line of base64.
fn is_whole(der: &[u8]) -> bool {
    match *der {
        [0x30, length @ ..=0x7F, ref rest @ ..] | [0x30, 0x81, length, ref rest @ ..] => {
            rest.len() == usize::from(length)
        }
        [0x30, 0x82, high, low, ref rest @ ..] => rest.len() == usize::from(u16::from_be_bytes([high, low])),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::string::{String, ToString as _};
    use std::vec::Vec;

    use base64ct::{Base64, Encoding as _};
    use proptest::prelude::*;

    use super::*;

    const PASSPHRASE: &str = "correct horse";

    fn type_in(draft: &mut Draft, lines: &[&str]) -> Vec<String> {
        let mut said = Vec::new();
        for line in lines {
            assert_eq!(draft.line(line, &mut |text| said.push(text.to_string())), Wish::Nothing, "{line}");
        }
        said
    }

    /// Makes a DER sequence of `length` bytes.
    fn der(length: u16) -> Vec<u8> {
        let [high, low] = (length - 4).to_be_bytes();
        let mut der = std::vec![0x30, 0x82, high, low];
        der.extend((4..length).map(|place| (place * 7 % 251) as u8));
        der
    }

    fn pem(der: &[u8]) -> Vec<String> {
        let mut text = std::vec![0; 2 * der.len() + 4];
        let text = Base64::encode(der, &mut text).unwrap();
        let lines = text.as_bytes().chunks(64).map(|line| core::str::from_utf8(line).unwrap().to_string());
        let ends = ["-----BEGIN X-----", "-----END X-----"].map(String::from);
        let [begin, end] = ends;
        std::iter::once(begin).chain(lines).chain([end]).collect()
    }

    fn paste(draft: &mut Draft, what: &str, lines: &[String]) -> String {
        let command = std::format!("set {what}");
        let mut all = std::vec![command.as_str()];
        all.extend(lines.iter().map(String::as_str));
        type_in(draft, &all).last().unwrap().clone()
    }

    fn whole() -> Draft {
        let mut draft = Draft::new();
        type_in(&mut draft, &["set id pico-carport", "set ssid my home ", "set broker 192.168.1.2", "set baud 9600"]);
        type_in(&mut draft, &["set passphrase correct horse"]);
        for (what, length) in [("ca", 500), ("certificate", 1_024), ("key", 138)] {
            assert_eq!(
                paste(&mut draft, what, &pem(&der(length))),
                std::format!("{what}: {length} bytes taken, not saved yet")
            );
        }
        draft
    }

    #[test]
    fn what_is_typed_becomes_a_page() {
        let page = whole().page().unwrap();
        let settings = Settings::parse(&page).unwrap();
        let expected = Settings {
            id: "pico-carport",
            ssid: "my home",
            passphrase: PASSPHRASE,
            host: "192.168.1.2",
            port: 8_883,
            authority: &der(500),
            certificate: &der(1_024),
            key: &der(138),
            baud: 9_600,
        };
        assert_eq!(settings, expected);
        let mut again = Draft::new();
        again.begin(&settings);
        type_in(&mut again, &["set port 1"]);
        assert_eq!(Settings::parse(&again.page().unwrap()), Ok(Settings { port: 1, ..expected }));
    }

    #[test]
    fn secrets_are_taken_and_never_shown() {
        let mut draft = whole();
        let mut said = type_in(&mut draft, &["set passphrase another secret", "show"]);
        said.push(paste(&mut draft, "key", &pem(&der(121))));
        let key = &pem(&der(138))[1];
        for line in &said {
            assert!(!line.contains("secret") && !line.contains(PASSPHRASE) && !line.contains(&key[..8]), "{line}");
        }
        assert!(said.iter().any(|line| line == "ssid my home, passphrase ******** (not shown)"), "{said:?}");
    }

    /// As in a panic message, or in the log of a debug probe.
    #[test]
    fn secrets_are_not_in_debug_output() {
        let mut draft = whole();
        draft.line("set key", &mut |_| {});
        draft.line(&pem(&der(121))[1], &mut |_| {});
        let page = whole().page().unwrap();
        let texts = [std::format!("{draft:?}"), std::format!("{:?}", Settings::parse(&page).unwrap())];
        // The key's own length, and the beginnings of both keys after it.
        let keys = [138, 121].map(|length| std::format!("{:?}", &der(length)[..8]).replace(['[', ']'], ""));
        for text in texts {
            assert!(text.contains("pico-carport"), "{text}");
            assert!(!text.contains(PASSPHRASE) && !keys.iter().any(|key| text.contains(key.as_str())), "{text}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let mut draft = Draft::new();
        for (next, missing) in
            [("set id pico-carport", "id"), ("set ssid home", "ssid"), ("set broker h", "broker"), ("set port 0", "ca")]
        {
            if missing != "ca" {
                let fault = draft.page().unwrap_err();
                assert_eq!(Missing(fault).to_string(), std::format!("missing or wrong: {missing}"));
            }
            type_in(&mut draft, &[next]);
        }
        assert_eq!(draft.page(), Err(SettingsFault::Wrong("port")));
        type_in(&mut draft, &["set port 8883"]);
        assert_eq!(Missing(draft.page().unwrap_err()).to_string(), "missing or wrong: ca");
    }

    #[test]
    fn a_damaged_paste_leaves_what_was_before() {
        let mut draft = whole();
        let before = draft.page().unwrap();
        let good = pem(&der(400));
        let mut lost = good.clone();
        lost.remove(3);
        let mut bad = good.clone();
        bad[2].replace_range(5..6, "*");
        let mut short = good.clone();
        short[2].pop();
        for wrong in [&lost, &bad, &short, &pem(&der(1_025)), &pem(&[1, 2, 3])] {
            let said = paste(&mut draft, "certificate", wrong);
            assert!(said.contains("left unchanged"), "{said}");
        }
        assert!(paste(&mut draft, "key", &pem(&der(300))).contains("too long"));
        draft.line("set ca", &mut |_| {});
        draft.damaged();
        for line in &good {
            draft.line(line, &mut |_| {});
        }
        let long = std::format!("set ssid {}", "x".repeat(33));
        type_in(&mut draft, &[&long, "set port 70000", "set baud x", "set nonsense 1", "set"]);
        assert_eq!(draft.page(), Ok(before));
    }

    #[test]
    fn commands() {
        let mut draft = Draft::new();
        for (line, wish) in [("status", Wish::Status), (" save ", Wish::Save), ("reset", Wish::Reset)] {
            assert_eq!(draft.line(line, &mut |_| panic!()), wish);
        }
        assert_eq!(type_in(&mut draft, &["", "help"]), ["commands: status, show, set, save, reset"]);
    }

    proptest! {
        #[test]
        fn any_lines_are_taken_without_harm(lines in prop::collection::vec("(set |set key|-----END|[ -~]{0,8}|\\PC{0,100})+", 0..20)) {
            let mut draft = Draft::new();
            for line in &lines {
                draft.line(line, &mut |_| {});
            }
            let _ = draft.page();
        }
    }
}
