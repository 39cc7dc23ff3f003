//! What the demo shows: a few lines redrawn in place on a terminal, otherwise one line whenever the decision changes.
//!
//! No line is wider than the terminal: one that wraps would take two rows, and the next picture would begin too low. From 60 columns
//! upwards nothing is left out; wider terminals get longer bars.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use control::ChargerView;
use tokio::sync::watch;

use crate::cli::screen::{Screen, Size, cut, wrapped};
use crate::model::status::Status;
use crate::sim::demo::WorldView;

/// How often the terminal is redrawn, in real time.
const REDRAW: Duration = Duration::from_millis(250);
/// The power of a full bar, in watts.
const BAR_W: f64 = 12_000.0;
/// Shortest and longest bar, in columns.
const BAR_COLUMNS: (usize, usize) = (4, 60);
/// Columns of a row beside its bar: name, power, and the widest text after it.
const BESIDE_BAR: usize = 8 + 12 + 35;
/// The view on some output.
pub(super) struct View<W> {
    screen: Screen<W>,
    terminal: bool,
    speed: u32,
    /// Content of the last plain line.
    said: Option<Said>,
}

/// A plain line is printed when one of these changes.
type Said = (u32, &'static str, &'static str);

impl<W: Write> View<W> {
    pub(super) const fn new(out: W, terminal: bool, speed: u32) -> Self {
        Self { screen: Screen::new(out), terminal, speed, said: None }
    }

    /// Shows world and daemon until the world ends.
    pub(super) async fn show(
        &mut self,
        mut world: watch::Receiver<WorldView>,
        mut decided: watch::Receiver<Option<Arc<Status>>>,
    ) -> io::Result<()> {
        if self.terminal {
            while world.changed().await.is_ok() {
                let (seen, status) = (*world.borrow_and_update(), decided.borrow_and_update().clone());
                self.redraw(&seen, status.as_deref(), Size::of_stdout())?;
                tokio::time::sleep(REDRAW).await;
            }
        } else {
            while decided.changed().await.is_ok() {
                let (seen, status) = (*world.borrow(), decided.borrow_and_update().clone());
                self.line(&seen, status.as_deref())?;
            }
            // The daemon has dropped its end of the channel and will return by itself.
            while world.changed().await.is_ok() {}
        }
        Ok(())
    }

    /// Ends drawing in place: what is on the screen stays.
    pub(super) fn close(&mut self) -> io::Result<()> {
        self.screen.close()
    }

    fn redraw(&mut self, world: &WorldView, status: Option<&Status>, size: Size) -> io::Result<()> {
        self.screen.draw(&frame(world, status, self.speed, size), size)
    }

    fn line(&mut self, world: &WorldView, status: Option<&Status>) -> io::Result<()> {
        let Some(charger) = charger(status) else { return Ok(()) };
        let said = (charger.setpoint.0, charger.reason.code(), charger.mode.name());
        if self.said == Some(said) {
            return Ok(());
        }
        self.said = Some(said);
        self.screen.line(&plain(world, charger))
    }
}

fn charger(status: Option<&Status>) -> Option<&ChargerView> {
    Some(&status?.chargers.first()?.view)
}

/// Formats one line for a log.
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

/// The lines of one picture. None is as wide as the terminal, and one row is left for the cursor.
fn frame(world: &WorldView, status: Option<&Status>, speed: u32, size: Size) -> Vec<String> {
    let flows = world.flows;
    let ledger = world.ledger;
    let width = size.columns.saturating_sub(1).max(1);
    let bar = width.saturating_sub(BESIDE_BAR).clamp(BAR_COLUMNS.0, BAR_COLUMNS.1);
    let kwh = |wh: f64| format!("{:.2} kWh", wh / 1_000.0);
    let mut lines = vec![
        format!("{}   (x{speed})", clock_time(world.time_of_day_s)),
        row("solar", flows.solar_w, bar, &kwh(ledger.solar_wh)),
        row("house", flows.house_w, bar, &kwh(ledger.house_wh)),
        row("car", flows.car_w, bar, &kwh(ledger.car_wh)),
        format!(
            "        of it solar {:.2}, battery {:.2}, grid {:.2} kWh",
            ledger.solar_to_car_wh / 1_000.0,
            ledger.battery_to_car_wh / 1_000.0,
            ledger.grid_to_car_wh / 1_000.0
        ),
    ];
    if let Some(soc_pct) = flows.soc_pct {
        let doing = direction(flows.battery_w, "discharging", "charging");
        lines.push(row("battery", flows.battery_w, bar, &format!("{soc_pct:.0} % {doing}")));
    }
    let doing = direction(flows.grid_w, "import", "export");
    let grid = format!("{} in, {} out {doing}", kwh(ledger.import_wh), kwh(ledger.export_wh));
    lines.push(row("grid", flows.grid_w, bar, &grid));
    let decided = charger(status).map_or_else(
        || "the daemon is starting".to_owned(),
        |charger| format!("setpoint {} in mode {}: {}", charger.setpoint, charger.mode, charger.reason),
    );
    lines.extend(wrapped(&decided, width));
    // Cut at the top: the decision is at the bottom and matters most.
    let hidden = lines.len().saturating_sub(size.rows.saturating_sub(1).max(1));
    lines.drain(..hidden);
    lines.into_iter().map(|line| cut(&line, width)).collect()
}

fn row(name: &str, watts: f64, bar: usize, rest: &str) -> String {
    #[expect(clippy::cast_precision_loss, reason = "some dozens of columns are exact")]
    let share = (watts.abs() / BAR_W).min(1.0) * bar as f64;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the width of a bar")]
    let full = (share.round() as usize).min(bar);
    let bar = format!("{}{}", "█".repeat(full), "·".repeat(bar - full));
    format!("{name:<8}{bar} {:>6.0} W   {rest}", tidy(watts))
}

/// Avoids "-0".
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

/// Formats a second of the day as HH:MM:SS.
pub(super) fn clock_time(second: u32) -> String {
    format!("{:02}:{:02}:{:02}", second / 3_600 % 24, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use control::{ChargerId, Milliamps, Mode, Reason, SiteView, Snapshot, Tick, Watts};

    use super::*;
    use crate::cli::screen::CLEAR_SCREEN;
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

    fn status(reason: Reason, setpoint: u32) -> Status {
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
            power_doubted: false,
            needs: None,
            box_limit: None,
        };
        Status::of(Snapshot { at: Tick(1), site, chargers: BTreeMap::from([(ChargerId(0), charger)]) })
    }

    const USUAL: Size = Size { columns: 80, rows: 24 };

    #[test]
    fn a_picture_has_a_row_for_each_part_and_the_reason() {
        let following = status(Reason::Following { surplus: Watts(5_500) }, 6_000);
        let lines = frame(&world(), Some(&following), 10, USUAL);
        assert_eq!(lines[0], "10:01:01   (x10)");
        assert_eq!(lines[1], "solar   ████████████············   6000 W   0.00 kWh");
        assert_eq!(lines[3], "car     ████████················   4140 W   1.50 kWh");
        assert_eq!(lines[4], "        of it solar 1.40, battery 0.00, grid 0.10 kWh");
        assert_eq!(lines[5], "battery ███·····················  -1360 W   55 % charging");
        assert_eq!(lines[6], "grid    ························      0 W   0.00 kWh in, 0.00 kWh out");
        assert_eq!(
            lines[7..].concat(),
            format!("setpoint 6.0 A in mode solar: {}", Reason::Following { surplus: Watts(5_500) })
        );
        let no_battery = WorldView { flows: Flows { soc_pct: None, ..world().flows }, ..world() };
        assert_eq!(frame(&no_battery, None, 1, USUAL).len(), 7);
    }

    /// The largest numbers of a long day, and the longest reasons.
    #[test]
    fn a_picture_fits_the_terminal_and_loses_nothing_that_matters() {
        let flows = Flows {
            solar_w: 11_999.0,
            house_w: 12_345.0,
            car_w: 11_040.0,
            battery_w: -10_000.0,
            grid_w: -11_111.0,
            soc_pct: Some(100.0),
        };
        let ledger = Ledger {
            solar_wh: 98_765.0,
            import_wh: 87_654.0,
            export_wh: 76_543.0,
            car_wh: 65_432.0,
            solar_to_car_wh: 54_321.0,
            battery_to_car_wh: 43_210.0,
            grid_to_car_wh: 32_109.0,
            ..world().ledger
        };
        let world = WorldView { flows, ledger, ..world() };
        let reasons = [
            Reason::Holding {
                surplus: Watts(-11_111),
                mean: Watts(-11_111),
                stop_below: Watts(2_865),
                left: Some(control::Millis(870_000)),
            },
            Reason::BatteryFirst { soc: None, below: control::Percent(100) },
            Reason::SwitchingPhases { to: 3, surplus: Some(Watts(11_111)) },
        ];
        for (columns, rows) in [(80, 24), (60, 20), (120, 40), (200, 50)] {
            for reason in reasons {
                let lines = frame(&world, Some(&status(reason, 16_000)), 120, Size { columns, rows });
                let widest = lines.iter().map(|line| line.chars().count()).max().unwrap();
                assert!(widest < columns && lines.len() < rows, "{columns}x{rows}: {lines:#?}");
                let text = lines.join(" ").split_whitespace().collect::<Vec<_>>().join(" ");
                for part in [
                    "98.77 kWh",
                    "65.43 kWh",
                    "of it solar 54.32, battery 43.21, grid 32.11 kWh",
                    "100 % charging",
                    "87.65 kWh in, 76.54 kWh out export",
                    "setpoint 16.0 A in mode solar: ",
                    &reason.to_string(),
                ] {
                    assert!(text.contains(part), "{columns}x{rows}: {part}: {lines:#?}");
                }
                assert!(!text.contains('…'));
            }
        }
        let bar = |columns| frame(&world, None, 1, Size { columns, rows: 24 })[2].matches('█').count();
        assert!(bar(120) > 2 * bar(80) && bar(80) > 2 * bar(60), "more columns, longer bars");
    }

    /// Smaller terminals lose text, not the place of the picture.
    #[test]
    fn a_picture_never_exceeds_the_terminal() {
        let following = status(Reason::Following { surplus: Watts(5_500) }, 6_000);
        for columns in 1..130 {
            for rows in [1, 2, 5, 24] {
                let lines = frame(&world(), Some(&following), 10, Size { columns, rows });
                assert!(lines.len() <= (rows - 1).max(1), "{columns}x{rows}: {lines:#?}");
                assert!(
                    lines.iter().all(|line| line.chars().count() <= (columns - 1).max(1)),
                    "{columns}x{rows}: {lines:#?}"
                );
            }
        }
        let last = |rows| frame(&world(), Some(&following), 10, Size { columns: 60, rows }).last().unwrap().clone();
        assert_eq!(last(3), last(24));
    }

    #[test]
    fn plain_lines_come_on_changes_alone() {
        let mut out = Vec::new();
        let mut view = View::new(&mut out, false, 10);
        view.line(&world(), None).unwrap();
        view.line(&world(), Some(&status(Reason::Following { surplus: Watts(5_500) }, 6_000))).unwrap();
        view.line(&world(), Some(&status(Reason::Following { surplus: Watts(5_600) }, 6_000))).unwrap();
        view.line(&world(), Some(&status(Reason::Off, 0))).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "10:01:01  solar  6.0 A  solar 6000 W  house 500 W  car 4140 W  battery -1360 W  grid +0 W  following 5500 W of surplus\n\
             10:01:01  solar  0.0 A  solar 6000 W  house 500 W  car 4140 W  battery -1360 W  grid +0 W  switched off\n"
                .replace("switched off", &Reason::Off.to_string())
        );
    }

    #[test]
    fn pictures_are_drawn_over_each_other() {
        let mut out = Vec::new();
        let mut view = View::new(&mut out, true, 10);
        view.redraw(&world(), None, USUAL).unwrap();
        view.redraw(&world(), None, USUAL).unwrap();
        view.redraw(&world(), None, Size { columns: 60, ..USUAL }).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!((text.matches("\x1b[8A").count(), text.matches(CLEAR_SCREEN).count()), (1, 1), "{text:?}");
    }
}
