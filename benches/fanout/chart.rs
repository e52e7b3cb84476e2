//! The chart: bars on a logarithmic scale, one group per workload.

use std::error::Error;
use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::contender::OYEZD;
use crate::quantiles::median;
use crate::report::Results;

/// In pixels.
const WIDTH: i32 = 860;
const TOP: i32 = 70;
const LEFT: i32 = 260;
const RIGHT: i32 = 70;
const BAR: i32 = 15;
const GAP: i32 = 16;

const OYEZD_COLOR: RGBColor = RGBColor(0xd9, 0x48, 0x0f);
const OTHER_COLOR: RGBColor = RGBColor(0x9a, 0xa5, 0xb1);
const GRID_COLOR: RGBColor = RGBColor(0xdd, 0xe1, 0xe6);
const TEXT_COLOR: RGBColor = RGBColor(0x21, 0x25, 0x29);

pub(crate) fn draw(results: &Results, path: &Path) -> Result<(), Box<dyn Error>> {
    let groups = groups(results);
    let costs = groups.iter().flat_map(|(_, bars)| bars.iter().map(|(_, cost)| cost.log10()));
    // The axis ends at the powers of ten below and above all costs.
    let (min, max) = costs
        .fold((0, 1), |(min, max), log| (min.min(log.floor() as i32), max.max(log.ceil() as i32)));
    let x = |cost: f64| {
        let part = (cost.log10() - f64::from(min)) / f64::from(max - min);
        LEFT + (part * f64::from(WIDTH - LEFT - RIGHT)) as i32
    };
    let rows: i32 = groups.iter().map(|(_, bars)| bars.len() as i32 * BAR + GAP).sum();
    let height = TOP + rows + GAP;
    let area = SVGBackend::new(path, (WIDTH as u32, height as u32)).into_drawing_area();
    let text = |text: &str, size: i32, align: HPos, at: (i32, i32)| {
        let style = ("sans-serif", size).into_font().color(&TEXT_COLOR);
        area.draw(&Text::new(text.to_owned(), at, style.pos(Pos::new(align, VPos::Center))))
    };
    area.fill(&WHITE)?;
    let title = "Server CPU time per delivery, in microseconds (lower is better)";
    text(title, 17, HPos::Left, (GAP, 20))?;
    text("publishers to subscribers, line size", 12, HPos::Left, (GAP, TOP - 18))?;
    for power in min..=max {
        let cost = 10_f64.powi(power);
        area.draw(&PathElement::new([(x(cost), TOP - 8), (x(cost), height - GAP)], GRID_COLOR))?;
        text(&cost.to_string(), 12, HPos::Center, (x(cost), TOP - 18))?;
    }
    let mut y = TOP;
    for (workload, bars) in &groups {
        text(workload, 13, HPos::Left, (GAP, y + BAR / 2))?;
        for &(server, cost) in bars {
            let color = if server == OYEZD { OYEZD_COLOR } else { OTHER_COLOR };
            let middle = y + BAR / 2 + 1;
            let bar = [(LEFT, y + 2), (x(cost), y + BAR - 1)];
            area.draw(&Rectangle::new(bar, color.filled()))?;
            text(server, 12, HPos::Right, (LEFT - 6, middle))?;
            text(&format!("{cost:.3}"), 12, HPos::Left, (x(cost) + 5, middle))?;
            y += BAR;
        }
        y += GAP;
    }
    Ok(area.present()?)
}

/// Returns each workload with its servers and their median costs, cheapest first.
fn groups(results: &Results) -> Vec<(&'static str, Vec<(&'static str, f64)>)> {
    let mut groups = Vec::new();
    for (workload, servers) in results.workloads() {
        let bars = servers
            .into_iter()
            .map(|(server, samples)| (server, median(samples.iter().map(|sample| sample.cpu_us))));
        let mut bars: Vec<_> = bars.collect();
        bars.sort_by(|(_, one), (_, other)| one.total_cmp(other));
        groups.push((workload, bars));
    }
    groups
}
