//! Formats the results for people and for programs.

use std::fmt::Write;

use serde_json::{Value, json};
use surplusd::simulate::Totals;

use crate::days::rival_scenario;
use crate::{Row, Table};

/// The columns other than the name, summed over the days.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    days: f64,
    value: f64,
    bound: f64,
    solar: f64,
    grid: f64,
    battery: f64,
    starts: u32,
    writes: u32,
    switches: u32,
    requests: u32,
    /// The rival's value, and ours on the same days.
    rival: Option<(f64, f64)>,
}

impl Sum {
    fn of<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Self {
        rows.into_iter().fold(Self::default(), |sum, row| {
            let Totals { ledger, setpoint_writes, phase_switches, refresh_requests, .. } = row.totals;
            let value = row.totals.value_kwh();
            let (theirs, ours) = sum.rival.unwrap_or((0.0, 0.0));
            Self {
                days: sum.days + 1.0,
                value: sum.value + value,
                bound: sum.bound + row.bound,
                solar: sum.solar + ledger.solar_to_car_wh / 1e3,
                grid: sum.grid + ledger.grid_to_car_wh / 1e3,
                battery: sum.battery + ledger.battery_to_car_wh / 1e3,
                starts: sum.starts + ledger.starts,
                writes: sum.writes + setpoint_writes,
                switches: sum.switches + phase_switches,
                requests: sum.requests + refresh_requests,
                rival: row.rival.map(|rival| (theirs + rival, ours + value)).or(sum.rival),
            }
        })
    }

    /// `None` on a dark day, when there is nothing to gain.
    fn score(&self) -> Option<f64> {
        (self.bound > 0.0).then(|| self.value / self.bound)
    }

    /// Formats a row of the table: energies and counts as averages per day, value and bound as sums.
    fn line(&self, name: &str) -> String {
        let mean = |sum: f64| sum / self.days.max(1.0);
        let count = |sum: u32| mean(f64::from(sum));
        let score = self.score().map_or_else(|| "-".to_owned(), |score| format!("{score:.4}"));
        let mut line = format!(
            "{name:<26}{:>9.2}{:>9.2}{score:>8}{:>8.2}{:>7.2}{:>8.2}{:>7.1}{:>8.1}{:>7.1}{:>8.0}",
            self.value,
            self.bound,
            mean(self.solar),
            mean(self.grid),
            mean(self.battery),
            count(self.starts),
            count(self.writes),
            count(self.switches),
            count(self.requests),
        );
        if let Some((theirs, ours)) = self.rival {
            let _ = write!(line, "{theirs:>9.2}{:>+8.2}", ours - theirs);
        }
        line + "\n"
    }
}

fn head(first: &str) -> String {
    format!(
        "{first:<26}{:>9}{:>9}{:>8}{:>8}{:>7}{:>8}{:>7}{:>8}{:>7}{:>8}{:>9}{:>8}\n",
        "U", "U*", "score", "solar", "grid", "battery", "starts", "writes", "phases", "asked", "rival U", "U-rival"
    )
}

/// The day on which the rival leads most, or we lead least.
fn worst(table: &Table) -> Option<(&str, f64)> {
    let ahead = table.rows.iter().filter_map(|row| Some((row.day.as_str(), row.totals.value_kwh() - row.rival?)));
    ahead.min_by(|a, b| a.1.total_cmp(&b.1))
}

/// Formats the doubts about meters that are right, in one line.
fn doubted(table: &Table) -> String {
    let mut began = std::collections::BTreeMap::<_, u32>::new();
    for (code, times) in table.rows.iter().flat_map(|row| &row.doubts.began) {
        *began.entry(code).or_default() += times;
    }
    let seconds: u32 = table.rows.iter().map(|row| row.doubts.seconds).sum();
    let list: Vec<String> = began.iter().map(|(code, times)| format!("{code} {times}")).collect();
    let list = if list.is_empty() { "nothing".to_owned() } else { list.join(", ") };
    format!("{:<18} doubted of right meters: {list}; {seconds} s in all\n", table.scenario.name())
}

/// Formats the tables of days, if wanted, and one of the scenarios.
pub(crate) fn text(tables: &[Table], days: bool) -> String {
    let mut text = String::new();
    if days {
        for table in tables {
            text += &head(table.scenario.name());
            for row in &table.rows {
                text += &Sum::of([row]).line(&row.day);
            }
            text += "\n";
        }
    }
    text += &head("scenario");
    for table in tables {
        text += &Sum::of(&table.rows).line(table.scenario.name());
    }
    text += "\nU and U* in kWh over all days; solar, grid, battery (kWh into the car), starts, writes, changes of phases and requests for fresh\nsamples are averages of a day.\n";
    for table in tables {
        text += &doubted(table);
    }
    for table in tables {
        if let Some((day, ahead)) = worst(table) {
            let better =
                table.rows.iter().filter(|row| row.rival.is_some_and(|rival| rival > row.totals.value_kwh() + 0.05));
            let _ = writeln!(
                text,
                "{:<18} worst day against the rival ({}): {day} {ahead:+.3} kWh; days on which it is ahead by more than 0.05 kWh: {}",
                table.scenario.name(),
                rival_scenario(table.scenario),
                better.count(),
            );
        }
    }
    text
}

/// Formats all results as one JSON object.
pub(crate) fn json(tables: &[Table]) -> Value {
    let scenarios: Vec<Value> = tables
        .iter()
        .map(|table| {
            let days: Vec<Value> = table.rows.iter().map(|row| object(&row.day, &Sum::of([row]))).collect();
            let worst = worst(table).map(|(day, ahead)| json!({ "day": day, "ahead_kwh": round(ahead) }));
            let rival = rival_scenario(table.scenario);
            json!({ "scenario": table.scenario.name(), "days": days, "total": object("total", &Sum::of(&table.rows)), "rival_scenario": rival, "worst_day": worst })
        })
        .collect();
    json!({ "scenarios": scenarios })
}

fn object(name: &str, sum: &Sum) -> Value {
    json!({
        "day": name,
        "u": round(sum.value),
        "u_star": round(sum.bound),
        "score": sum.score().map(round),
        "solar_to_car_kwh": round(sum.solar),
        "grid_to_car_kwh": round(sum.grid),
        "battery_to_car_kwh": round(sum.battery),
        "starts": sum.starts,
        "setpoint_writes": sum.writes,
        "phase_switches": sum.switches,
        "refresh_requests": sum.requests,
        "rival_u": sum.rival.map(|(theirs, _)| round(theirs)),
    })
}

fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}
