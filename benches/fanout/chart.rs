//! One chart: what a delivery costs each server, for each workload.

use std::error::Error;
use std::ops::Range;
use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::quantiles::median;
use crate::report::Results;

/// All in pixels.
const WIDTH: i32 = 860;
const TOP: i32 = 70;
const LEFT: i32 = 260;
const RIGHT: i32 = 70;
const BAR: i32 = 15;
const GAP: i32 = 16;

const GREY: RGBColor = RGBColor(0x9a, 0xa5, 0xb1);
const OURS: RGBColor = RGBColor(0xd9, 0x48, 0x0f);
const LINES: RGBColor = RGBColor(0xdd, 0xe1, 0xe6);
const INK: RGBColor = RGBColor(0x21, 0x25, 0x29);

pub(crate) fn draw(results: &Results, path: &Path) -> Result<(), String> {
    let draw = || -> Result<(), Box<dyn Error>> {
        let bars = bars(results);
        let shown = bars.iter().flat_map(|(_, bars)| bars.iter().map(|(_, cost)| *cost));
        let decades = decades(shown);
        let rows: i32 = bars.iter().map(|(_, bars)| bars.len() as i32 * BAR + GAP).sum();
        let height = TOP + rows + GAP;
        let area = SVGBackend::new(path, (WIDTH as u32, height as u32)).into_drawing_area();
        area.fill(&WHITE)?;
        let text = |size: i32, h: HPos| {
            ("sans-serif", size).into_font().color(&INK).pos(Pos::new(h, VPos::Center))
        };
        let title = "CPU time of the server for one delivery, in microseconds (less is better)";
        area.draw(&Text::new(title, (GAP, 20), text(17, HPos::Left)))?;
        let x = |cost: f64| {
            let part =
                (cost.log10() - f64::from(decades.start)) / f64::from(decades.end - decades.start);
            LEFT + (part * f64::from(WIDTH - LEFT - RIGHT)) as i32
        };
        for decade in decades.start..=decades.end {
            let cost = 10_f64.powi(decade);
            area.draw(&PathElement::new([(x(cost), TOP - 8), (x(cost), height - GAP)], LINES))?;
            area.draw(&Text::new(format!("{cost}"), (x(cost), TOP - 18), text(12, HPos::Center)))?;
        }
        let mut y = TOP;
        for (workload, bars) in &bars {
            area.draw(&Text::new(*workload, (GAP, y + BAR / 2), text(13, HPos::Left)))?;
            for (server, cost) in bars {
                let colour = if *server == "oyezd" { OURS } else { GREY };
                let bar = [(LEFT, y + 2), (x(*cost), y + BAR - 1)];
                area.draw(&Rectangle::new(bar, colour.filled()))?;
                let middle = y + BAR / 2 + 1;
                area.draw(&Text::new(*server, (LEFT - 6, middle), text(12, HPos::Right)))?;
                let cost_text = format!("{cost:.3}");
                area.draw(&Text::new(cost_text, (x(*cost) + 5, middle), text(12, HPos::Left)))?;
                y += BAR;
            }
            y += GAP;
        }
        area.present()?;
        Ok(())
    };
    draw().map_err(|error| format!("chart: {error}"))
}

/// For each workload, the servers and what a delivery costs them, the cheapest first.
fn bars(results: &Results) -> Vec<(&'static str, Vec<(&'static str, f64)>)> {
    let workloads = results.workloads().iter().map(|&workload| {
        let cost = |(server, figures): (_, &[crate::report::Figures])| {
            (server, median(figures.iter().map(|figures| figures.cpu_us)))
        };
        let mut bars: Vec<(&'static str, f64)> = results.of(workload).map(cost).collect();
        bars.sort_by(|(_, one), (_, other)| one.total_cmp(other));
        (workload, bars)
    });
    workloads.filter(|(_, bars)| !bars.is_empty()).collect()
}

/// The powers of ten around all of them.
fn decades(costs: impl Iterator<Item = f64>) -> Range<i32> {
    let (least, most) =
        costs.fold((1.0_f64, 1.0_f64), |(least, most), cost| (least.min(cost), most.max(cost)));
    least.log10().floor() as i32..(most.log10().ceil() as i32).max(1)
}
