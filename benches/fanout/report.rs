//! What was measured: a table, and all figures for other programs.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use crate::contender::{BASELINE, BASELINE_AGAIN, OYEZD};
use crate::load::Run;
use crate::quantiles::{Quantiles, median};
use crate::storm::Storm;

/// One server doing one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cell {
    pub(crate) workload: &'static str,
    pub(crate) server: &'static str,
}

/// What one round of it cost.
#[derive(Clone, Debug)]
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
        let latency =
            (!run.latencies.is_empty()).then(|| Quantiles::of(run.latencies.iter().copied()));
        Self {
            cpu_us: cpu_seconds * 1e6 / deliveries,
            rate: deliveries / run.seconds,
            memory,
            latency,
        }
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

    /// The CPU time of `server` relative to that of `other`, in each round.
    fn ratios(
        &self,
        workload: &'static str,
        server: &'static str,
        other: &'static str,
    ) -> Option<Quantiles> {
        let cell = |server| self.cells.get(&Cell { workload, server });
        let rounds = cell(server)?.iter().zip(cell(other)?);
        Some(Quantiles::of(rounds.map(|(one, other)| one.cpu_us / other.cpu_us)))
    }

    /// Each comparison with the baseline: the workload, the server, and the ratios.
    fn baseline_ratios(&self) -> impl Iterator<Item = (&'static str, &'static str, Quantiles)> {
        let pairs = self
            .workloads
            .iter()
            .flat_map(|&workload| [OYEZD, BASELINE_AGAIN].map(|server| (workload, server)));
        pairs.filter_map(|(workload, server)| {
            let ratios = self.ratios(workload, server, BASELINE)?;
            Some((workload, server, ratios))
        })
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
                let ratio = self
                    .ratios(workload, OYEZD, server)
                    .map_or("-".into(), |ratios| format!("{:.3}", ratios.at(0.5)));
                let latency = latency_text(figures);
                println!(
                    "  {server:14} {:11.4} {ratio:>10} of it {:12.3} {:9.1}   {latency}",
                    of(|figures| figures.cpu_us),
                    of(|figures| figures.rate / 1e6),
                    of(|figures| figures.memory as f64 / (1024.0 * 1024.0)),
                );
            }
        }
    }

    /// Prints how oyezd compares with the baseline, and the baseline with itself.
    pub(crate) fn print_baseline(&self) {
        let mut ratios = self.baseline_ratios().peekable();
        if ratios.peek().is_none() {
            return;
        }
        println!("\nCPU time per delivery relative to the baseline: ratios of the same round");
        println!(
            "  {:26} {:14} {:>6} {:>7}   {:14}   range",
            "", "", "rounds", "median", "quartiles"
        );
        for (workload, server, ratios) in ratios {
            let [min, q1, median, q3, max] =
                [0.0, 0.25, 0.5, 0.75, 1.0].map(|part| ratios.at(part));
            println!(
                "  {workload:26} {server:14} {:6} {median:7.3}   {q1:.3} to {q3:.3}   {min:.3} to {max:.3}",
                ratios.count(),
            );
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
        for (what, times) in [("alone", &storm.broadcasts), ("with a flood", &storm.flooded)] {
            let [p50, p99, max] = microseconds(times);
            println!("  {what:14} {p50:.0}, {p99:.0}, {max:.0}");
        }
    }

    pub(crate) fn write_json(&self, path: &Path) -> io::Result<()> {
        let rounds = |figures: &[Figures]| -> Vec<Value> {
            let round = |figures: &Figures| {
                json!({
                    "cpu_us_per_delivery": figures.cpu_us,
                    "deliveries_per_second": figures.rate,
                    "memory_bytes": figures.memory,
                    "latency": figures.latency.as_ref().map(latency_json),
                })
            };
            figures.iter().map(round).collect()
        };
        let cells = self.cells.iter().map(|(cell, figures)| {
            json!({
                "workload": cell.workload,
                "server": cell.server,
                "oyezd_cpu_ratio": self.ratios(cell.workload, OYEZD, cell.server).map(|ratios| ratios.at(0.5)),
                "rounds": rounds(figures),
            })
        });
        let baseline_ratios = self.baseline_ratios().map(|(workload, server, ratios)| {
            json!({
                "workload": workload,
                "server": server,
                "rounds": ratios.count(),
                "min": ratios.at(0.0),
                "q1": ratios.at(0.25),
                "median": ratios.at(0.5),
                "q3": ratios.at(0.75),
                "max": ratios.at(1.0),
            })
        });
        let idle = self.idle.iter().map(|(server, clients, bytes)| {
            json!({ "server": server, "clients": clients, "bytes_per_client": bytes })
        });
        let storm = self.storm.as_ref().map(|storm| {
            json!({
                "readers": storm.readers,
                "ping": latency_json(&storm.broadcasts),
                "ping_with_flood": latency_json(&storm.flooded),
            })
        });
        let all = json!({
            "window_kib": self.window_kib,
            "cells": cells.collect::<Vec<_>>(),
            "baseline_ratios": baseline_ratios.collect::<Vec<_>>(),
            "idle": idle.collect::<Vec<_>>(),
            "storm": storm,
        });
        fs::write(path, format!("{all:#}\n"))
    }
}

/// Of times in seconds: the median, the 99th percentile and the maximum, in microseconds.
fn microseconds(times: &Quantiles) -> [f64; 3] {
    [0.5, 0.99, 1.0].map(|part| times.at(part) * 1e6)
}

fn latency_json(times: &Quantiles) -> Value {
    let [p50, p99, max] = microseconds(times);
    json!({ "p50_us": p50, "p99_us": p99, "max_us": max })
}

/// The medians over the rounds of p50, p99 and maximum, for printing; empty if latency was not measured.
fn latency_text(figures: &[Figures]) -> String {
    let rounds: Option<Vec<_>> =
        figures.iter().map(|figures| figures.latency.as_ref().map(microseconds)).collect();
    rounds.map_or(String::new(), |rounds| {
        let [p50, p99, max] = [0, 1, 2].map(|nth| median(rounds.iter().map(|round| round[nth])));
        format!("{p50:.0}, {p99:.0}, {max:.0}")
    })
}
