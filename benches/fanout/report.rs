//! What was measured: a table, and all figures for other programs.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use crate::load::Run;
use crate::storm::Storm;

/// One server doing one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cell {
    pub(crate) workload: &'static str,
    pub(crate) server: &'static str,
}

/// What one round of it cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// CPU time of the server for each delivery, in microseconds; or seconds for a million of them.
    pub(crate) cpu_us: f64,
    /// Deliveries in a second.
    pub(crate) rate: f64,
    /// Of the server's process, in bytes.
    pub(crate) memory: u64,
    pub(crate) latency: Option<Quantiles>,
}

impl Figures {
    pub(crate) fn new(cpu_seconds: f64, run: &Run, memory: u64) -> Self {
        let deliveries = run.deliveries as f64;
        let latency = (!run.latencies.is_empty()).then(|| Quantiles::of(run.latencies.clone()));
        Self {
            cpu_us: cpu_seconds * 1e6 / deliveries,
            rate: deliveries / run.seconds,
            memory,
            latency,
        }
    }
}

/// Of some times, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quantiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) most: f64,
}

impl Quantiles {
    pub(crate) fn of(mut times: Vec<f64>) -> Self {
        times.sort_unstable_by(f64::total_cmp);
        let at = |part: f64| times[((times.len() - 1) as f64 * part).round() as usize];
        Self { p50: at(0.5), p99: at(0.99), most: at(1.0) }
    }

    fn json(self) -> Value {
        json!({ "p50_us": self.p50 * 1e6, "p99_us": self.p99 * 1e6, "max_us": self.most * 1e6 })
    }
}

/// Everything that was measured.
pub(crate) struct Results {
    workloads: Vec<&'static str>,
    window_kib: usize,
    /// By round.
    cells: BTreeMap<Cell, Vec<Figures>>,
    idle: Vec<(&'static str, usize, f64)>,
    storm: Option<Storm>,
}

/// Whom the others are compared with.
const US: &str = "oyezd";

impl Results {
    pub(crate) fn new(workloads: impl Iterator<Item = &'static str>, window_kib: usize) -> Self {
        Self {
            workloads: workloads.collect(),
            window_kib,
            cells: BTreeMap::new(),
            idle: Vec::new(),
            storm: None,
        }
    }

    pub(crate) fn add(&mut self, cell: Cell, figures: Figures) {
        self.cells.entry(cell).or_default().push(figures);
    }

    pub(crate) fn add_idle(&mut self, server: &'static str, clients: usize, bytes: Option<f64>) {
        self.idle.extend(bytes.map(|bytes| (server, clients, bytes)));
    }

    pub(crate) fn set_storm(&mut self, storm: Storm) {
        self.storm = Some(storm);
    }

    pub(crate) fn workloads(&self) -> &[&'static str] {
        &self.workloads
    }

    /// The servers that did this, and what each round of it cost them.
    pub(crate) fn of(
        &self,
        workload: &'static str,
    ) -> impl Iterator<Item = (&'static str, &[Figures])> {
        let cells = self.cells.iter().filter(move |(cell, _)| cell.workload == workload);
        cells.map(|(cell, figures)| (cell.server, figures.as_slice()))
    }

    /// What this server used of that of ours: the median of the rounds' ratios.
    fn ratio(&self, workload: &'static str, server: &'static str) -> Option<f64> {
        let ours = self.cells.get(&Cell { workload, server: US })?;
        let theirs = self.cells.get(&Cell { workload, server })?;
        Some(median(ours.iter().zip(theirs).map(|(ours, theirs)| ours.cpu_us / theirs.cpu_us)))
    }

    pub(crate) fn print(&self) {
        for &workload in &self.workloads {
            println!("\n{workload}");
            println!(
                "  {:14} {:>11} {:>14} {:>12} {:>9}   latency µs: p50, p99, max",
                "", "CPU µs each", "oyezd uses", "million/s", "MiB"
            );
            for (server, figures) in self.of(workload) {
                let of = |figure: fn(&Figures) -> f64| median(figures.iter().map(figure));
                let ratio =
                    self.ratio(workload, server).map_or("-".into(), |ratio| format!("{ratio:.3}"));
                let latency = of_latency(figures).map_or(String::new(), |latency| {
                    format!(
                        "{:.0}, {:.0}, {:.0}",
                        latency.p50 * 1e6,
                        latency.p99 * 1e6,
                        latency.most * 1e6
                    )
                });
                println!(
                    "  {server:14} {:11.4} {ratio:>10} of it {:12.3} {:9.1}   {latency}",
                    of(|figures| figures.cpu_us),
                    of(|figures| figures.rate / 1e6),
                    of(|figures| figures.memory as f64 / (1024.0 * 1024.0)),
                );
            }
        }
    }

    pub(crate) fn print_idle(&self) {
        println!("\nan idle client, in bytes of the server's memory");
        for (server, clients, bytes) in &self.idle {
            println!("  {server:14} {bytes:11.0}   with {clients} of them");
        }
    }

    pub(crate) fn print_storm(&self) {
        let Some(storm) = &self.storm else { return };
        println!("\na ping while lines go out to {} clients, in µs: p50, p99, max", storm.readers);
        for (what, times) in [("alone", storm.broadcasts), ("with a flood", storm.flooded)] {
            let Quantiles { p50, p99, most } = times;
            println!("  {what:14} {:.0}, {:.0}, {:.0}", p50 * 1e6, p99 * 1e6, most * 1e6);
        }
    }

    pub(crate) fn write_json(&self, path: &Path) -> io::Result<()> {
        let rounds = |figures: &[Figures]| -> Vec<Value> {
            let round = |figures: &Figures| {
                json!({
                    "cpu_us_per_delivery": figures.cpu_us,
                    "deliveries_per_second": figures.rate,
                    "memory_bytes": figures.memory,
                    "latency": figures.latency.map(Quantiles::json),
                })
            };
            figures.iter().map(round).collect()
        };
        let cells = self.cells.iter().map(|(cell, figures)| {
            json!({
                "workload": cell.workload,
                "server": cell.server,
                "oyezd_cpu_ratio": self.ratio(cell.workload, cell.server),
                "rounds": rounds(figures),
            })
        });
        let idle = self.idle.iter().map(|(server, clients, bytes)| {
            json!({ "server": server, "clients": clients, "bytes_per_client": bytes })
        });
        let storm = self.storm.as_ref().map(|storm| {
            json!({
                "readers": storm.readers,
                "ping": storm.broadcasts.json(),
                "ping_with_flood": storm.flooded.json(),
            })
        });
        let all = json!({
            "window_kib": self.window_kib,
            "cells": cells.collect::<Vec<_>>(),
            "idle": idle.collect::<Vec<_>>(),
            "storm": storm,
        });
        fs::write(path, format!("{all:#}\n"))
    }
}

/// The medians over rounds, if there was something to time.
fn of_latency(figures: &[Figures]) -> Option<Quantiles> {
    let all: Option<Vec<Quantiles>> = figures.iter().map(|figures| figures.latency).collect();
    let all = all?;
    let of = |part: fn(&Quantiles) -> f64| median(all.iter().map(part));
    Some(Quantiles { p50: of(|q| q.p50), p99: of(|q| q.p99), most: of(|q| q.most) })
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values[middle]
    }
}
