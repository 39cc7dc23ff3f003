//! What the demo shows: a few lines redrawn in place on a terminal, else one line whenever the decision changes.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use control::{ChargerView, Snapshot};
use tokio::sync::watch;

use crate::sim::demo::WorldView;

/// How often the terminal is redrawn, in real time.
const REDRAW: Duration = Duration::from_millis(250);
/// Width of a bar, and the power of a full one.
const BAR: u16 = 24;
const BAR_W: f64 = 12_000.0;
/// Ends what is left of a line on a terminal.
const CLEAR_LINE: &str = "\x1b[K";

/// The view, on some output.
pub(super) struct View<W> {
    out: W,
    terminal: bool,
    speed: u32,
    /// Lines drawn in place so far.
    drawn: usize,
    /// What the last plain line said.
    said: Option<Said>,
}

/// What a plain line is printed for when it changes.
type Said = (u32, &'static str, &'static str);

impl<W: Write> View<W> {
    pub(super) const fn new(out: W, terminal: bool, speed: u32) -> Self {
        Self { out, terminal, speed, drawn: 0, said: None }
    }

    /// Shows both until the world ends.
    pub(super) async fn show(
        &mut self,
        mut world: watch::Receiver<WorldView>,
        mut decided: watch::Receiver<Option<Snapshot>>,
    ) -> io::Result<()> {
        if self.terminal {
            while world.changed().await.is_ok() {
                let (seen, snapshot) = (*world.borrow_and_update(), decided.borrow_and_update().clone());
                self.redraw(&seen, snapshot.as_ref())?;
                tokio::time::sleep(REDRAW).await;
            }
        } else {
            while decided.changed().await.is_ok() {
                let (seen, snapshot) = (*world.borrow(), decided.borrow_and_update().clone());
                self.line(&seen, snapshot.as_ref())?;
            }
            // The daemon has dropped its end, and will return of its own.
            while world.changed().await.is_ok() {}
        }
        Ok(())
    }

    /// Nothing more is drawn in place.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.drawn = 0;
        self.out.flush()
    }

    fn redraw(&mut self, world: &WorldView, snapshot: Option<&Snapshot>) -> io::Result<()> {
        let lines = frame(world, snapshot, self.speed);
        let mut text = String::new();
        if self.drawn > 0 {
            // Up to the first line of the last frame.
            write!(text, "\x1b[{}A", self.drawn).map_err(io::Error::other)?;
        }
        for line in &lines {
            text.push_str(line);
            text.push_str(CLEAR_LINE);
            text.push('\n');
        }
        self.drawn = lines.len();
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    fn line(&mut self, world: &WorldView, snapshot: Option<&Snapshot>) -> io::Result<()> {
        let Some(charger) = charger(snapshot) else { return Ok(()) };
        let said = (charger.setpoint.0, charger.reason.code(), charger.mode.name());
        if self.said == Some(said) {
            return Ok(());
        }
        self.said = Some(said);
        writeln!(self.out, "{}", plain(world, charger))?;
        self.out.flush()
    }
}

fn charger(snapshot: Option<&Snapshot>) -> Option<&ChargerView> {
    snapshot.and_then(|snapshot| snapshot.chargers.values().next())
}

/// One line for a log.
fn plain(world: &WorldView, charger: &ChargerView) -> String {
    let flows = world.flows;
    format!(
        "{}  {}  {}  solar {:.0} W  house {:.0} W  car {:.0} W  battery {:+.0} W  grid {:+.0} W  {}",
        clock_time(world.time_of_day_s),
        charger.mode,
        charger.setpoint,
        flows.solar_w,
        flows.house_w,
        flows.car_w,
        tidy(flows.battery_w),
        tidy(flows.grid_w),
        charger.reason,
    )
}

/// The lines of one picture; always as many for the same house.
fn frame(world: &WorldView, snapshot: Option<&Snapshot>, speed: u32) -> Vec<String> {
    let flows = world.flows;
    let ledger = world.ledger;
    let kwh = |wh: f64| format!("{:.2} kWh", wh / 1_000.0);
    let mut lines = vec![
        format!("{}   (x{speed})", clock_time(world.time_of_day_s)),
        row("solar", flows.solar_w, &kwh(ledger.solar_wh)),
        row("house", flows.house_w, &kwh(ledger.house_wh)),
        row(
            "car",
            flows.car_w,
            &format!(
                "{} (sun {:.2}, battery {:.2}, grid {:.2})",
                kwh(ledger.car_wh),
                ledger.solar_to_car_wh / 1_000.0,
                ledger.battery_to_car_wh / 1_000.0,
                ledger.grid_to_car_wh / 1_000.0
            ),
        ),
    ];
    if let Some(soc_pct) = flows.soc_pct {
        let doing = direction(flows.battery_w, "discharging", "charging");
        lines.push(row("battery", flows.battery_w, &format!("{soc_pct:.0} % {doing}")));
    }
    let doing = direction(flows.grid_w, "import", "export");
    lines.push(row(
        "grid",
        flows.grid_w,
        &format!("{} in, {} out {doing}", kwh(ledger.import_wh), kwh(ledger.export_wh)),
    ));
    lines.push(match charger(snapshot) {
        Some(charger) => format!("setpoint {} in mode {}: {}", charger.setpoint, charger.mode, charger.reason),
        None => "the daemon is starting".to_owned(),
    });
    lines
}

fn row(name: &str, watts: f64, rest: &str) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the width of a bar")]
    let full = (watts.abs() / BAR_W * f64::from(BAR)).round().clamp(0.0, f64::from(BAR)) as usize;
    let bar = format!("{}{}", "█".repeat(full), "·".repeat(usize::from(BAR) - full));
    format!("{name:<8}{bar} {:>6.0} W   {rest}", tidy(watts))
}

/// Without "-0".
fn tidy(watts: f64) -> f64 {
    if watts.abs() < 0.5 { 0.0 } else { watts }
}

fn direction(watts: f64, positive: &'static str, negative: &'static str) -> &'static str {
    match tidy(watts) {
        watts if watts > 0.0 => positive,
        watts if watts < 0.0 => negative,
        _ => "",
    }
}

/// A second of the day as HH:MM:SS.
pub(super) fn clock_time(second: u32) -> String {
    format!("{:02}:{:02}:{:02}", second / 3_600 % 24, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use control::{ChargerId, Milliamps, Mode, Reason, SiteView, Tick, Watts};

    use super::*;
    use crate::sim::plant::{Flows, Ledger};

    fn world() -> WorldView {
        WorldView {
            time_of_day_s: 36_061,
            flows: Flows {
                solar_w: 6_000.0,
                house_w: 500.0,
                car_w: 4_140.0,
                battery_w: -1_360.0,
                grid_w: -0.2,
                soc_pct: Some(55.4),
            },
            ledger: Ledger {
                car_wh: 1_500.0,
                solar_to_car_wh: 1_400.0,
                grid_to_car_wh: 100.0,
                starts: 1,
                ..Ledger::default()
            },
            offer_deciamps: 60,
            wallbox_state: 7,
        }
    }

    fn snapshot(reason: Reason, setpoint: u32) -> Snapshot {
        let site = SiteView {
            grid: None,
            solar: None,
            battery: None,
            load: None,
            soc: None,
            house: None,
            surplus: None,
            age: None,
            imbalance: None,
            soc_age: None,
            missing: control::Sources::NONE,
            doubt: None,
            cadence: None,
            off_grid: false,
        };
        let charger = ChargerView {
            mode: Mode::Solar,
            fixed: Milliamps(6_000),
            setpoint: Milliamps(setpoint),
            reason,
            report: None,
            phases: 3,
            starts: 1,
            overdrawn: None,
            needs: None,
            box_limit: None,
        };
        Snapshot { at: Tick(1), site, chargers: BTreeMap::from([(ChargerId(0), charger)]) }
    }

    #[test]
    fn a_picture_has_a_row_for_each_part_and_the_reason() {
        let lines = frame(&world(), Some(&snapshot(Reason::Following { surplus: Watts(5_500) }, 6_000)), 10);
        assert_eq!(lines[0], "10:01:01   (x10)");
        assert_eq!(lines[1], "solar   ████████████············   6000 W   0.00 kWh");
        assert_eq!(
            lines[3],
            "car     ████████················   4140 W   1.50 kWh (sun 1.40, battery 0.00, grid 0.10)"
        );
        assert_eq!(lines[4], "battery ███·····················  -1360 W   55 % charging");
        assert_eq!(lines[5], "grid    ························      0 W   0.00 kWh in, 0.00 kWh out ");
        assert_eq!(lines[6], "setpoint 6.0 A in mode solar: following 5500 W of sun");
        let no_battery = WorldView { flows: Flows { soc_pct: None, ..world().flows }, ..world() };
        assert_eq!(frame(&no_battery, None, 1).len(), 6);
    }

    #[test]
    fn plain_lines_come_on_changes_alone() {
        let mut out = Vec::new();
        let mut view = View::new(&mut out, false, 10);
        view.line(&world(), None).unwrap();
        view.line(&world(), Some(&snapshot(Reason::Following { surplus: Watts(5_500) }, 6_000))).unwrap();
        view.line(&world(), Some(&snapshot(Reason::Following { surplus: Watts(5_600) }, 6_000))).unwrap();
        view.line(&world(), Some(&snapshot(Reason::Off, 0))).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "10:01:01  solar  6.0 A  solar 6000 W  house 500 W  car 4140 W  battery -1360 W  grid +0 W  following 5500 W of sun\n\
             10:01:01  solar  0.0 A  solar 6000 W  house 500 W  car 4140 W  battery -1360 W  grid +0 W  switched off\n"
                .replace("switched off", &Reason::Off.to_string())
        );
    }

    #[test]
    fn pictures_are_drawn_over_each_other() {
        let mut out = Vec::new();
        let mut view = View::new(&mut out, true, 10);
        view.redraw(&world(), None).unwrap();
        view.redraw(&world(), None).unwrap();
        assert_eq!(String::from_utf8(out).unwrap().matches("\x1b[7A").count(), 1);
    }
}
