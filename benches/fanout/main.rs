//! Fan-out benchmark: the server's CPU time per delivered line.
//!
//! `cargo bench --bench fanout` starts one server at a time on one CPU core, connects the same
//! clients from another core, checks that every subscriber receives every line, and compares the
//! servers' CPU time. It skips servers that are not installed. `--baseline` compares two builds of
//! oyezd. `-- --help` lists the options.

mod chart;
mod connection;
mod contender;
mod load;
mod machine;
mod measure;
mod protocol;
mod quantiles;
mod relay;
mod report;
mod window;
mod workload;

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use pico_args::Arguments;

use contender::{Contender, Tls};
use machine::Cores;
use report::Results;
use workload::{BLOCK_KIB, DEFAULT_WINDOW, Shape, WORKLOADS};

const HELP: &str = "\
Measures the CPU time per delivered line for oyezd, a bare relay, and the other
servers that are installed: Redis, NATS, mosquitto, ngircd and ncat --broker.

Usage: cargo bench --bench fanout [-- OPTION ...]

  --quick          run one short round
  --rounds N       number of rounds; each measures every server once, in
                   changing order [default: 9]
  --seconds S      duration of one measurement [default: 1]
  --only TEXT      run only workloads whose name contains TEXT; may be repeated
  --servers A,B    measure only servers whose name contains A or B
  --baseline PATH  also measure another oyezd binary, twice per round, and print
                   two ratios of CPU time: oyezd to baseline, and baseline to
                   baseline, which shows the noise; use --rounds 25
  --window KIB     maximum lead of the publishers over the slowest subscriber, a
                   multiple of 64; 'ping' always uses 256 [default: 128]
  --json FILE      write all figures to FILE [default: target/tmp/fanout.json]
  --chart FILE     draw the chart to FILE [default: target/tmp/fanout.svg]
  -h, --help       show this help

Workloads, named after their publishers, subscribers and line size:
";

/// File descriptors that the server and the load generator each need besides one per client.
const SPARE_DESCRIPTORS: usize = 200;

struct Options {
    rounds: usize,
    time: Duration,
    only: Vec<String>,
    contenders: Vec<Contender>,
    /// The maximum lead of the publishers, in blocks.
    window: usize,
    json: PathBuf,
    chart: PathBuf,
    idle_clients: usize,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fanout: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let mut arguments = Arguments::from_env();
    if arguments.contains(["-h", "--help"]) {
        print!("{HELP}");
        WORKLOADS.iter().for_each(|workload| println!("  {}", workload.name));
        println!("  idle (memory per idle client)\n  ping (latency during broadcasts)");
        return Ok(());
    }
    // The benchmark runs itself with this option to start the relay in a separate process.
    if let Ok(Some(port)) = arguments.opt_value_from_str("--relay") {
        return relay::run(port).map_err(|error| format!("relay: {error}"));
    }
    let options = Options::parse(arguments).map_err(|error| format!("{error}; see --help"))?;
    let mut results = Results::default();
    let outcome = measure_all(&options, &mut results);
    eprint!("\r\x1b[K");
    // If a measurement failed, report those before it.
    results.print();
    let Options { json, chart, .. } = &options;
    results
        .write_json(json, options.window * BLOCK_KIB)
        .map_err(|error| format!("{}: {error}", json.display()))?;
    chart::draw(&results, chart).map_err(|error| format!("{}: {error}", chart.display()))?;
    println!("\nall figures: {}; chart: {}", json.display(), chart.display());
    outcome
}

fn measure_all(options: &Options, results: &mut Results) -> Result<(), String> {
    let cores = Cores::choose()?;
    machine::pin(cores.generator).map_err(|error| format!("cannot pin to a CPU core: {error}"))?;
    let max_clients = machine::raise_descriptor_limit().saturating_sub(SPARE_DESCRIPTORS);
    let tls = Tls::generate()?;
    let wanted = WORKLOADS.iter().filter(|workload| options.includes(workload.name));
    let (workloads, too_large): (Vec<_>, Vec<_>) =
        wanted.partition(|workload| workload.shape.max_clients() <= max_clients);
    for workload in too_large {
        println!("skipped: {} needs more file descriptors (ulimit -Hn)", workload.name);
    }
    for round in 1..=options.rounds {
        for workload in &workloads {
            let name = workload.name;
            let shape = Shape { window: options.window, ..workload.shape };
            for contender in order(&options.contenders, round) {
                if !contender.supports(shape, workload.tls) {
                    continue;
                }
                let server = contender.name;
                progress(&format!("round {round}, {name}: {server}"));
                let tls = workload.tls.then_some(&tls);
                let sample = measure::delivery(contender, cores, shape, tls, options.time)
                    .map_err(|error| format!("{name}: {server}: {error}"))?;
                results.add(name, server, sample);
            }
        }
    }
    for contender in &options.contenders {
        let server = contender.name;
        let clients = options.idle_clients.min(max_clients);
        if options.includes("idle") && contender.supports(Shape::new(clients, 64), false) {
            progress(&format!("idle: {server}"));
            let bytes = measure::idle_memory(contender, cores, clients)
                .map_err(|error| format!("idle: {server}: {error}"))?;
            results.add_idle(server, clients, bytes);
        }
        if options.includes("ping") && contender.is_oyezd() {
            progress(&format!("ping: {server}"));
            let subscribers = max_clients.min(10_000);
            let latency = measure::ping_latency(contender, cores, subscribers, options.time * 5)
                .map_err(|error| format!("ping: {server}: {error}"))?;
            results.add_ping(server, latency);
        }
    }
    Ok(())
}

/// Returns the contenders in the order for this round: rotated by one after every two rounds, and
/// reversed in every second round. A drift in the machine's speed then favors none of them. Three
/// contenders go through all six orders.
fn order(contenders: &[Contender], round: usize) -> Vec<&Contender> {
    let mut order: Vec<&Contender> = contenders.iter().collect();
    order.rotate_left((round - 1) / 2 % contenders.len());
    if round.is_multiple_of(2) {
        order.reverse();
    }
    order
}

/// Replaces the progress line on the terminal.
fn progress(text: &str) {
    eprint!("\r\x1b[K{text}");
}

impl Options {
    fn parse(mut arguments: Arguments) -> Result<Self, Box<dyn Error>> {
        // Cargo passes this to every benchmark.
        let _ = arguments.contains("--bench");
        let is_quick = arguments.contains("--quick");
        let (rounds, seconds, idle_clients) =
            if is_quick { (1, 0.2, 1000) } else { (9, 1.0, 15_000) };
        let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let json = arguments.opt_value_from_str("--json")?;
        let chart = arguments.opt_value_from_str("--chart")?;
        let options = Self {
            rounds: arguments.opt_value_from_str("--rounds")?.unwrap_or(rounds),
            time: arguments
                .opt_value_from_fn("--seconds", parse_seconds)?
                .unwrap_or(Duration::from_secs_f64(seconds)),
            only: arguments.values_from_str("--only")?,
            contenders: contenders(&mut arguments)?,
            window: arguments
                .opt_value_from_fn("--window", parse_window)?
                .unwrap_or(DEFAULT_WINDOW),
            json: json.unwrap_or_else(|| target.join("fanout.json")),
            chart: chart.unwrap_or_else(|| target.join("fanout.svg")),
            idle_clients,
        };
        match arguments.finish().into_iter().next() {
            Some(unknown) => Err(format!("unknown argument: {}", unknown.display()).into()),
            None => Ok(options),
        }
    }

    fn includes(&self, workload: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|text| workload.contains(text.as_str()))
    }
}

/// Returns the installed servers that `--servers` selects, and the servers for `--baseline`.
fn contenders(arguments: &mut Arguments) -> Result<Vec<Contender>, Box<dyn Error>> {
    let wanted: Option<String> = arguments.opt_value_from_str("--servers")?;
    let is_wanted = |contender: &Contender| {
        let name = contender.name.to_lowercase();
        wanted.as_ref().is_none_or(|wanted| {
            wanted.split(',').any(|wanted| name.contains(&wanted.to_lowercase()))
        })
    };
    let (mut contenders, missing): (Vec<_>, Vec<_>) =
        Contender::all().into_iter().filter(is_wanted).partition(Contender::is_installed);
    for contender in missing {
        println!("skipped: {} is not installed", contender.name);
    }
    if let Some(program) =
        arguments.opt_value_from_fn("--baseline", |path| fs::canonicalize(path))?
    {
        contenders.extend(Contender::baselines(&program));
    }
    if contenders.is_empty() {
        return Err("no installed server matches --servers".into());
    }
    Ok(contenders)
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds.ok_or_else(|| "expected a number of seconds".into())
}

/// Converts a window from KiB to blocks.
fn parse_window(kib: &str) -> Result<usize, String> {
    match kib.parse::<usize>() {
        Ok(kib) if kib > 0 && kib.is_multiple_of(BLOCK_KIB) => Ok(kib / BLOCK_KIB),
        _ => Err(format!("the window must be a multiple of {BLOCK_KIB} KiB")),
    }
}
