//! Every second as a row of CSV: `t_s,pv_w,house_w,charger_w,setpoint_ma,enabled,battery_w,battery_soc_pct,grid_w,reason`.

use std::io::{self, Write};

use control::Milliamps;

use super::engine::{Observer, Second};

/// Writes the rows; powers to a tenth of a watt. Without a battery its columns are `0.0` and empty.
#[derive(Debug)]
pub struct RowWriter<W> {
    out: W,
}

impl<W: Write> RowWriter<W> {
    /// Writes the header.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(b"t_s,pv_w,house_w,charger_w,setpoint_ma,enabled,battery_w,battery_soc_pct,grid_w,reason\n")?;
        Ok(Self { out })
    }

    /// Returns the underlying writer.
    pub fn into_inner(self) -> W {
        self.out
    }

    /// Flushes the buffer.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<W: Write> Observer for RowWriter<W> {
    type Error = io::Error;

    fn second(&mut self, second: &Second<'_>) -> io::Result<()> {
        let Second { t_s, flows, setpoint, .. } = second;
        let enabled = u8::from(*setpoint > Milliamps::ZERO);
        let reason = second.reason().code();
        write!(self.out, "{t_s},{:.1},{:.1},{:.1},", flows.solar_w, flows.house_w, flows.car_w)?;
        write!(self.out, "{},{enabled},{:.1},", setpoint.0, unsigned_zero(flows.battery_w))?;
        if let Some(soc_pct) = flows.soc_pct {
            write!(self.out, "{soc_pct:.3}")?;
        }
        writeln!(self.out, ",{:.1},{reason}", unsigned_zero(flows.grid_w))
    }
}

/// Avoids `-0.0`, which looks like a mistake.
fn unsigned_zero(watts: f64) -> f64 {
    if watts.abs() < 0.05 { 0.0 } else { watts }
}
