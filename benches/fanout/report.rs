//! The results: printed tables, and a JSON file with every figure.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use crate::contender::{BASELINE, BASELINE_AGAIN, OYEZD};
use crate::measure::{PingLatency, Sample};
use crate::quantiles::{Quantiles, median};
use crate::workload::WORKLOADS;

#[derive(Default)]
pub(crate) struct Results {
    /// One sample per round, by workload and server.
    samples: BTreeMap<(&'static str, &'static str), Vec<Sample>>,
    /// The server, the number of clients, and the memory per client in bytes.
    idle: Vec<(&'static str, usize, f64)>,
    /// The server and its latency.
    pings: Vec<(&'static str, PingLatency)>,
}

impl Results {
    pub(crate) fn add(&mut self, workload: &'static str, server: &'static str, sample: Sample) {
        self.samples.entry((workload, server)).or_default().push(sample);
    }

    pub(crate) fn add_idle(&mut self, server: &'static str, clients: usize, bytes: f64) {
        self.idle.push((server, clients, bytes));
    }

    pub(crate) fn add_ping(&mut self, server: &'static str, latency: PingLatency) {
        self.pings.push((server, latency));
    }

    /// Returns each measured workload with its servers and their samples.
    pub(crate) fn workloads(
        &self,
    ) -> impl Iterator<Item = (&'static str, Vec<(&'static str, &[Sample])>)> {
        WORKLOADS.iter().filter_map(|workload| {
            let samples = self.samples.iter().filter(|((name, _), _)| *name == workload.name);
            let servers: Vec<_> =
                samples.map(|((_, server), samples)| (*server, samples.as_slice())).collect();
            (!servers.is_empty()).then_some((workload.name, servers))
        })
    }

    /// Returns the ratio of CPU time per delivery, `server` to `other`, in each round.
    fn ratios(
        &self,
        workload: &'static str,
        server: &'static str,
        other: &'static str,
    ) -> Option<Quantiles> {
        let samples = |server| self.samples.get(&(workload, server));
        let rounds = samples(server)?.iter().zip(samples(other)?);
        Some(Quantiles::of(rounds.map(|(one, other)| one.cpu_us / other.cpu_us)))
    }

    /// Returns the ratios to the baseline, each with its workload and server.
    fn baseline_ratios(&self) -> Vec<(&'static str, &'static str, Quantiles)> {
        let pairs = WORKLOADS
            .iter()
            .flat_map(|workload| [OYEZD, BASELINE_AGAIN].map(|server| (workload.name, server)));
        let with_ratios = pairs.filter_map(|(workload, server)| {
            Some((workload, server, self.ratios(workload, server, BASELINE)?))
        });
        with_ratios.collect()
    }

    pub(crate) fn print(&self) {
        for (workload, servers) in self.workloads() {
            println!("\n{workload}");
            println!(
                "  {:14} {:>15} {:>12} {:>15} {:>11}   latency µs: p50, p99, max",
                "", "CPU µs/delivery", "oyezd/server", "M deliveries/s", "memory MiB"
            );
            for (server, samples) in servers {
                let median_of = |figure: fn(&Sample) -> f64| median(samples.iter().map(figure));
                let ratio = self.ratios(workload, OYEZD, server);
                println!(
                    "  {server:14} {:15.4} {:>12} {:15.3} {:11.1}   {}",
                    median_of(|sample| sample.cpu_us),
                    ratio.map_or("-".into(), |ratios| format!("{:.3}", ratios.median())),
                    median_of(|sample| sample.rate / 1e6),
                    median_of(|sample| sample.memory as f64 / (1024.0 * 1024.0)),
                    latency_text(samples),
                );
            }
        }
        self.print_baseline_ratios();
        if !self.idle.is_empty() {
            println!("\nmemory per idle client, in bytes");
            for (server, clients, bytes) in &self.idle {
                println!("  {server:14} {bytes:11.0}   {clients} clients");
            }
        }
        for (server, latency) in &self.pings {
            let subscribers = latency.subscribers;
            println!("\n{server}: ping during broadcasts to {subscribers} clients");
            for (load, times) in
                [("broadcasts", &latency.broadcast), ("with a flood", &latency.flooded)]
            {
                let [p50, p99, max] = latency_us(times);
                println!("  {load:14} p50 {p50:.0}, p99 {p99:.0}, max {max:.0} µs");
            }
        }
    }

    fn print_baseline_ratios(&self) {
        let ratios = self.baseline_ratios();
        if ratios.is_empty() {
            return;
        }
        println!("\nCPU time per delivery, relative to the baseline in the same round");
        println!("  {:41} {:>6} {:>7}   {:16} range", "", "rounds", "median", "quartiles");
        for (workload, server, ratios) in ratios {
            let [min, q1, q2, q3, max] = ratios.quartiles();
            let rounds = ratios.count();
            println!(
                "  {workload:26} {server:14} {rounds:6} {q2:7.3}   \
                 {q1:.3} to {q3:.3}   {min:.3} to {max:.3}"
            );
        }
    }

    pub(crate) fn write_json(&self, path: &Path, window_kib: usize) -> io::Result<()> {
        let round = |sample: &Sample| {
            json!({
                "cpu_us_per_delivery": sample.cpu_us,
                "deliveries_per_second": sample.rate,
                "memory_bytes": sample.memory,
                "latency": sample.latency.as_ref().map(latency_json),
            })
        };
        let cells = self.samples.iter().map(|(&(workload, server), samples)| {
            json!({
                "workload": workload,
                "server": server,
                "oyezd_cpu_ratio": self.ratios(workload, OYEZD, server).map(|r| r.median()),
                "rounds": samples.iter().map(round).collect::<Vec<_>>(),
            })
        });
        let ratios = self.baseline_ratios().into_iter().map(|(workload, server, ratios)| {
            let [min, q1, median, q3, max] = ratios.quartiles();
            json!({
                "workload": workload,
                "server": server,
                "rounds": ratios.count(),
                "min": min,
                "q1": q1,
                "median": median,
                "q3": q3,
                "max": max,
            })
        });
        let idle = self.idle.iter().map(|(server, clients, bytes)| {
            json!({ "server": server, "clients": clients, "bytes_per_client": bytes })
        });
        let pings = self.pings.iter().map(|(server, latency)| {
            json!({
                "server": server,
                "subscribers": latency.subscribers,
                "broadcast": latency_json(&latency.broadcast),
                "flooded": latency_json(&latency.flooded),
            })
        });
        let all = json!({
            "window_kib": window_kib,
            "cells": cells.collect::<Vec<_>>(),
            "baseline_ratios": ratios.collect::<Vec<_>>(),
            "idle": idle.collect::<Vec<_>>(),
            "ping": pings.collect::<Vec<_>>(),
        });
        fs::write(path, format!("{all:#}\n"))
    }
}

/// Returns the median, 99th percentile and maximum in microseconds, for times in seconds.
fn latency_us(times: &Quantiles) -> [f64; 3] {
    [0.5, 0.99, 1.0].map(|part| times.at(part) * 1e6)
}

fn latency_json(times: &Quantiles) -> Value {
    let [p50, p99, max] = latency_us(times);
    json!({ "p50_us": p50, "p99_us": p99, "max_us": max })
}

/// Formats the p50, p99 and maximum latency, each the median over the rounds. Returns an empty text
/// if latency was not measured.
fn latency_text(samples: &[Sample]) -> String {
    let rounds: Option<Vec<_>> =
        samples.iter().map(|sample| sample.latency.as_ref().map(latency_us)).collect();
    rounds.map_or(String::new(), |rounds| {
        let [p50, p99, max] = [0, 1, 2].map(|nth| median(rounds.iter().map(|round| round[nth])));
        format!("{p50:.0}, {p99:.0}, {max:.0}")
    })
}
