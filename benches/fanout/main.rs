//! What a delivery costs, beside a bare relay and beside what people would use instead.
//!
//! `cargo bench --bench fanout` starts each server in turn on a core of its own, drives it from another
//! one with the same clients, sees that every client gets every line, and compares the CPU time that
//! the servers used. Servers that are not installed are left out, and named. `-- --help` tells more.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on says where it stands")]

mod chart;
mod contender;
mod load;
mod machine;
mod pipe;
mod quantiles;
mod relay;
mod report;
mod storm;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use contender::{Contender, OYEZD, RunningServer, Tls};
use load::{Load, Shape};
use machine::Cores;
use report::{Cell, Figures, Results};

const HELP: &str = "\
What a delivery costs: oyezd, a bare relay, and what else is installed.

  cargo bench --bench fanout [-- OPTIONS]

  --quick            one short round: a look, no measurement
  --rounds N         how many rounds, each of them all servers in turn (9)
  --seconds S        how long each server is driven in each round (1)
  --only TEXT        only the workloads with this in their names; may be given again
  --servers A,B      only these servers; a part of a name is enough
  --baseline PATH    compare with another oyezd binary: measure it twice per round, and print
                     the per-round ratios of CPU time, oyezd to baseline and baseline to itself
  --window N         how many KiB of lines who publishes may be ahead of the slowest one
                     who hears it, a multiple of 64 (128); the storm has a window of its own
  --json FILE        where all figures go (target/tmp/fanout.json)
  --chart FILE       where the chart goes (target/tmp/fanout.svg)
  -h, --help         this
";

/// What all servers are made to do.
struct Workload {
    name: &'static str,
    shape: Shape,
    tls: bool,
}

const fn to(receivers: usize, size: usize) -> Shape {
    Shape { senders: 1, receivers, all_talk: false, size, rate: None, window: load::WINDOW }
}

const WORKLOADS: [Workload; 10] = [
    Workload { name: "1 to 10, 64 B", shape: to(10, 64), tls: false },
    Workload { name: "1 to 100, 64 B", shape: to(100, 64), tls: false },
    Workload { name: "1 to 1000, 64 B", shape: to(1000, 64), tls: false },
    Workload { name: "1 to 10000, 64 B", shape: to(10_000, 64), tls: false },
    Workload { name: "1 to 100, 1 KiB", shape: to(100, 1024), tls: false },
    Workload { name: "1 to 1000, 1 KiB", shape: to(1000, 1024), tls: false },
    Workload {
        name: "100 to 100, 64 B",
        shape: Shape { senders: 100, all_talk: true, ..to(100, 64) },
        tls: false,
    },
    Workload {
        name: "500 lines/s to 100, 64 B",
        shape: Shape { rate: Some(500), ..to(100, 64) },
        tls: false,
    },
    Workload { name: "TLS, 1 to 100, 64 B", shape: to(100, 64), tls: true },
    Workload { name: "TLS, 1 to 100, 1 KiB", shape: to(100, 1024), tls: true },
];

struct Options {
    rounds: usize,
    time: Duration,
    only: Vec<String>,
    servers: Vec<Contender>,
    /// In blocks.
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
    let mut arguments = pico_args::Arguments::from_env();
    let wrong = |error: pico_args::Error| format!("{error}; --help lists the options");
    if let Some(port) = arguments.opt_value_from_str("--relay").map_err(wrong)? {
        return relay::run(port).map_err(|error| format!("relay: {error}"));
    }
    if arguments.contains(["-h", "--help"]) {
        print!("{HELP}");
        return Ok(());
    }
    let options = options(arguments).map_err(wrong)?;
    let cores = Cores::find()?;
    let descriptors = machine::raise_descriptors();
    machine::pin(cores.generator).map_err(|error| format!("cannot stay on a core: {error}"))?;
    let tls = Tls::generate()?;
    let workloads: Vec<&Workload> = WORKLOADS.iter().filter(|w| options.wants(w.name)).collect();
    let names = workloads.iter().map(|workload| workload.name);
    let mut results = Results::new(names, options.window * load::BLOCK_KIB);
    for round in 1..=options.rounds {
        for workload in &workloads {
            let shape = Shape { window: options.window, ..workload.shape };
            if shape.clients() + 100 > descriptors {
                continue;
            }
            let able = options.servers.iter().filter(|server| server.supports(shape, workload.tls));
            for contender in in_turn(able.collect(), round) {
                eprint!("\r\x1b[Kround {round}, {}: {}", workload.name, contender.name);
                let tls = workload.tls.then_some(&tls);
                let figures = measure(contender, cores, shape, tls, options.time)
                    .map_err(|error| format!("{}: {}: {error}", workload.name, contender.name))?;
                results.add(Cell { workload: workload.name, server: contender.name }, figures);
            }
        }
    }
    eprint!("\r\x1b[K");
    results.print();
    results.print_baseline();
    if options.wants("idle") {
        let clients = options.idle_clients.min(descriptors.saturating_sub(200));
        for contender in &options.servers {
            let bytes = idle(contender, cores, clients)?;
            results.add_idle(contender.name, clients, bytes);
        }
        results.print_idle();
    }
    if options.wants("storm")
        && let Some(oyezd) = options.servers.iter().find(|contender| contender.name == OYEZD)
    {
        let readers = 10_000.min(descriptors.saturating_sub(200));
        results.set_storm(storm::measure(oyezd, cores, readers, options.time * 5)?);
        results.print_storm();
    }
    results
        .write_json(&options.json)
        .map_err(|error| format!("{}: {error}", options.json.display()))?;
    chart::draw(&results, &options.chart)?;
    println!("\nall figures: {}; chart: {}", options.json.display(), options.chart.display());
    Ok(())
}

fn options(mut arguments: pico_args::Arguments) -> Result<Options, pico_args::Error> {
    // What cargo says to every benchmark.
    let _ = arguments.contains("--bench");
    let quick = arguments.contains("--quick");
    let (rounds, seconds, idle_clients) = if quick { (1, 0.2, 1000) } else { (9, 1.0, 15_000) };
    let target = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let named: Option<String> = arguments.opt_value_from_str("--servers")?;
    let is_wanted = |contender: &Contender| {
        let mut names = named.iter().flat_map(|names| names.split(','));
        named.is_none()
            || names.any(|name| contender.name.to_lowercase().contains(&name.to_lowercase()))
    };
    let (mut servers, missing): (Vec<Contender>, Vec<Contender>) = Contender::all()
        .into_iter()
        .filter(is_wanted)
        .partition(|contender| contender.is_installed());
    for contender in missing {
        println!("{} is not installed, and is left out", contender.name);
    }
    if let Some(program) = arguments.opt_value_from_fn("--baseline", program)? {
        servers.extend(Contender::baselines(&program));
    }
    let seconds = arguments.opt_value_from_str("--seconds")?.unwrap_or(seconds);
    let window = arguments.opt_value_from_fn("--window", blocks)?;
    let options = Options {
        rounds: arguments.opt_value_from_str("--rounds")?.unwrap_or(rounds),
        time: Duration::try_from_secs_f64(seconds)
            .map_err(|_| pico_args::Error::MissingArgument)?,
        only: arguments.values_from_str("--only")?,
        servers,
        window: window.unwrap_or(load::WINDOW),
        json: arguments.opt_value_from_str("--json")?.unwrap_or_else(|| target.join("fanout.json")),
        chart: arguments
            .opt_value_from_str("--chart")?
            .unwrap_or_else(|| target.join("fanout.svg")),
        idle_clients,
    };
    match arguments.finish().into_iter().next() {
        Some(unknown) => Err(pico_args::Error::ArgumentParsingFailed {
            cause: format!("unknown argument: {}", unknown.display()),
        }),
        None => Ok(options),
    }
}

/// How many blocks so many KiB are.
fn blocks(kib: &str) -> Result<usize, String> {
    match kib.parse::<usize>() {
        Ok(kib) if kib > 0 && kib.is_multiple_of(load::BLOCK_KIB) => Ok(kib / load::BLOCK_KIB),
        _ => Err(format!("it is a multiple of {}", load::BLOCK_KIB)),
    }
}

/// An existing file, as an absolute path: a bare name would be searched for in `PATH`.
fn program(path: &str) -> Result<PathBuf, String> {
    std::fs::canonicalize(path).map_err(|error| format!("{path}: {error}"))
}

/// The order of the contenders in a round. Reversing it in every other round and rotating it after every
/// second one gives all of them the same share of each position, so that drift of the machine's speed
/// favors none.
fn in_turn(mut contenders: Vec<&Contender>, round: usize) -> Vec<&Contender> {
    let rotation = (round - 1) / 2 % contenders.len().max(1);
    contenders.rotate_left(rotation);
    if round.is_multiple_of(2) {
        contenders.reverse();
    }
    contenders
}

impl Options {
    fn wants(&self, workload: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|text| workload.contains(text.as_str()))
    }
}

/// Starts a server, drives it, and sees what that cost it.
fn measure(
    contender: &Contender,
    cores: Cores,
    shape: Shape,
    tls: Option<&Tls>,
    time: Duration,
) -> Result<Figures, String> {
    let server = RunningServer::start(contender, cores, shape.clients(), tls)?;
    let client = tls.map(|tls| &tls.client);
    let mut load = Load::connect(contender.wire(), server.port, client, shape)?;
    load.run(time / 10)?;
    let used = || machine::cpu_seconds(server.id()).map_err(|error| format!("CPU time: {error}"));
    let before = used()?;
    let run = load.run(time)?;
    let cpu_seconds = used()? - before;
    let memory = machine::memory(server.id()).map_err(|error| format!("memory: {error}"))?;
    Ok(Figures::new(cpu_seconds, &run, memory))
}

/// What a client costs that is there and does nothing, in bytes of the server's own memory. Each of them
/// has got a line; after that all of them leave.
fn idle(contender: &Contender, cores: Cores, clients: usize) -> Result<Option<f64>, String> {
    if !contender.supports(to(clients, 64), false) {
        return Ok(None);
    }
    let server = RunningServer::start(contender, cores, clients, None)?;
    let memory = || machine::memory(server.id()).map_err(|error| format!("memory: {error}"));
    // The first ones bring what there is only once.
    let few = Load::connect(contender.wire(), server.port, None, to(10, 64))?;
    let before = memory()?;
    let many = Load::connect(contender.wire(), server.port, None, to(clients, 64))?;
    let after = memory()?;
    drop((few, many));
    Ok(Some(after.saturating_sub(before) as f64 / clients as f64))
}
