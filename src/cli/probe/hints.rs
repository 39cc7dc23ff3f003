//! The usual causes when no wallbox answers, judged by what came instead. Pure.

use std::fmt::Write as _;

use control::Millis;

use crate::charger::bus::Remark;
use crate::charger::codec::{Failure, Flaw, Sample};
use crate::charger::profile::{LinkDefaults, Parity};

/// What came instead of answers.
#[derive(Debug, Default)]
pub(super) struct Clues {
    echo: bool,
    noise: Option<Sample>,
    late: Option<Millis>,
    other_unit: Option<u8>,
    out_of_step: bool,
}

impl Clues {
    /// Records a failed request.
    pub(super) fn failed(&mut self, failure: Failure) {
        match failure {
            Failure::EchoOnly => self.echo = true,
            Failure::Noise(first) => self.noise = self.noise.filter(|noise| !noise.is_empty()).or(Some(first)),
            Failure::Late { after, .. } => self.late = self.late.max(Some(after)),
            Failure::Malformed(Flaw::Unit(unit)) => self.other_unit = Some(unit),
            Failure::Malformed(
                Flaw::Function | Flaw::Length | Flaw::Echo | Flaw::Twice | Flaw::Transaction | Flaw::Master,
            ) => self.out_of_step = true,
            Failure::Timeout | Failure::Gone => {}
        }
    }

    /// Records a remark of the line.
    pub(super) fn noticed(&mut self, remark: Remark) {
        match remark {
            Remark::Echo => self.echo = true,
            Remark::Late { after, .. } => self.late = self.late.max(Some(after)),
            Remark::Strays(_) | Remark::ClosedAfterAnswer => {}
        }
    }

    /// What to do if nothing has answered. `asked`: the unit, if only one was asked; `wired`: the line is a cable at this machine, not
    /// behind a gateway.
    pub(super) fn hints(&self, link: &LinkDefaults, asked: Option<u8>, wired: bool) -> String {
        let mut text = String::new();
        if self.echo {
            text.push_str(ECHO);
        }
        if let Some(after) = self.late {
            // Half as much again, rounded up to hundreds.
            let enough = (after.0 * 3 / 2).div_ceil(100) * 100;
            let _ = writeln!(
                text,
                "Something answers, but late: {} ms after the request. Wait longer: --reply-ms {enough} here, and `reply-ms = {enough}`\n\
                 in the charger's table of the configuration.",
                after.0
            );
        } else if let Some(unit) = self.other_unit {
            let _ = match asked {
                Some(asked) => writeln!(
                    text,
                    "Unit {unit} answered when unit {asked} was asked: try --unit {unit}, or set the address switch. If it did not answer\n\
                     this program, another master is on the line, for instance a running surplusd: a line has one master."
                ),
                None => writeln!(text, "Unit {unit} answered when another was asked: {ONE_MASTER}"),
            };
        } else if self.out_of_step {
            let _ = writeln!(text, "Frames arrive that answer another program: {ONE_MASTER}");
        } else if let Some(first) = &self.noise {
            noise(&mut text, *first, link, wired);
        } else {
            text.push_str(if wired { SILENT } else { SILENT_GATEWAY });
        }
        text
    }
}

const ONE_MASTER: &str =
    "another master is on the line, for instance a running surplusd or an energy manager. A line has one master.";

const ECHO: &str = "\
The adapter returns each request (local echo). That does no harm: surplusd drops the copy. It also shows that the port is the right one.
";

const SILENT: &str = "\
Nothing answers. Usual causes:
  - A and B are swapped at one end of the cable.
  - DIP switch S5/4 of the wallbox is ON: then it is a leader and does not listen. It must be OFF.
  - The address (DIP switch S4, binary, S4/4 counts 1) is another one: try --scan.
  - The wallbox sleeps: without a car it goes into standby after some minutes. Plug a car in, or switch the wallbox off and on.
  - Another master is on the line, for instance a running surplusd: a line has one master.
  - No 120 ohm resistors at the two ends of a long cable.
";

const SILENT_GATEWAY: &str = "\
Nothing answers. Usual causes:
  - The gateway's serial side has another baud rate or parity than the wallbox, or A and B are swapped there.
  - The gateway passes bytes through as they are: set it to convert between Modbus TCP and Modbus RTU.
  - The address (DIP switch S4, binary, S4/4 counts 1) is another one: try --scan.
  - DIP switch S5/4 of the wallbox is ON: then it is a leader and does not listen. It must be OFF.
  - The wallbox sleeps: without a car it goes into standby after some minutes. Plug a car in, or switch the wallbox off and on.
  - The gateway takes longer to answer than surplusd waits: try --reply-ms 3000.
";

fn noise(text: &mut String, first: Sample, link: &LinkDefaults, wired: bool) {
    let shown = if first.is_empty() { String::new() } else { format!(" (the first: {first})") };
    let _ = writeln!(text, "Bytes come, but they make no frame{shown}. Usual causes:");
    if !wired {
        text.push_str("  - What listens there does not speak Modbus TCP: look at address and port.\n");
    }
    let parity = match link.parity {
        Parity::None => "no",
        Parity::Even => "even",
        Parity::Odd => "odd",
    };
    let _ = writeln!(
        text,
        "  - The wallbox has other settings than {} baud, 8 data bits, {parity} parity, {} stop bit(s): it is another one than --profile says.",
        link.baud, link.stop_bits
    );
    text.push_str(
        "  - A and B are swapped at one end of the cable: then bytes arrive inverted.\n\
        \x20 - The line floats: no common ground, no bias, no 120 ohm resistors at its two ends.\n\
        \x20 - Two wallboxes have the same address and answer at the same time: switch all but one off.\n",
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::charger::profile;

    fn hints(failures: &[Failure], wired: bool) -> String {
        let mut clues = Clues::default();
        for failure in failures {
            clues.failed(*failure);
        }
        let text = clues.hints(&profile::load("heidelberg-energy-control").unwrap().link, Some(1), wired);
        assert!(text.ends_with('\n') && text.lines().all(|line| line.len() < 160), "{text}");
        text
    }

    #[test]
    fn each_case_has_its_own_hints() {
        let late = Failure::Late { after: Millis(612), limit: Millis(500) };
        let noise = Failure::Noise(Sample::of(&[0xfe, 0x00]));
        let other = Failure::Malformed(Flaw::Unit(3));
        let master = Failure::Malformed(Flaw::Master);
        for (failures, wired, says, not) in [
            (&[Failure::Timeout][..], true, "Nothing answers", "Bytes come"),
            (&[Failure::Timeout], false, "Modbus TCP and Modbus RTU", "120 ohm"),
            (&[Failure::Timeout, noise], true, "the first: fe 00", "Nothing answers"),
            (&[noise], true, "19200 baud, 8 data bits, even parity, 1 stop bit", "local echo"),
            (&[noise], false, "does not speak Modbus TCP", "S5/4"),
            (&[Failure::EchoOnly], true, "local echo", "Bytes come"),
            (&[Failure::EchoOnly], true, "A and B are swapped", "raise"),
            (&[Failure::EchoOnly, late], true, "612 ms after the request", "Nothing answers"),
            (&[late], true, "--reply-ms 1000 here, and `reply-ms = 1000`", "A and B"),
            (&[other], true, "Unit 3 answered when unit 1 was asked: try --unit 3", "Nothing answers"),
            (&[master], true, "A line has one master", "Nothing answers"),
        ] {
            let text = hints(failures, wired);
            assert!(text.contains(says), "{failures:?}: {says:?} is not in\n{text}");
            assert!(!text.contains(not), "{failures:?}: {not:?} is in\n{text}");
        }
    }
}
