//! Attack benchmark: what some clients can take from the others.
//!
//! `cargo bench --bench attacks -- ATTACK` runs an attack against oyezd on loopback, and prints how
//! innocent clients fare. `--baseline` runs the same attack against another build, in turns.
//! `-- --help` lists the attacks and options.

mod server;
mod slow_readers;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use pico_args::Arguments;

const HELP: &str = "\
Runs an attack against oyezd, and prints how innocent clients fare.

Usage: cargo bench --bench attacks -- ATTACK [OPTION ...]

Attacks:
  slow-readers     slow readers among good ones, under a flood of broadcasts:
                   the sender's rate, what part that is of its rate with the
                   good readers alone, and how many good readers lost lines

  --baseline PATH  also attack another oyezd binary, in turns
  --rounds N       number of rounds, whose medians are printed [default: 3]
  --seconds S      duration of one measurement [default: 3]
  --only TEXT      run only attacks whose description contains TEXT; may be
                   repeated, and then all must match
  -h, --help       show this help
";

struct Options {
    /// The oyezd binaries to attack.
    programs: Vec<PathBuf>,
    rounds: usize,
    time: Duration,
    only: Vec<String>,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("attacks: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = Arguments::from_env();
    // Cargo passes this to every benchmark.
    let _ = arguments.contains("--bench");
    if arguments.contains(["-h", "--help"]) {
        print!("{HELP}");
        return Ok(());
    }
    let baseline: Option<PathBuf> = arguments.opt_value_from_str("--baseline")?;
    let rounds: Option<usize> = arguments.opt_value_from_str("--rounds")?;
    let seconds: Option<f64> = arguments.opt_value_from_str("--seconds")?;
    let options = Options {
        programs: baseline.into_iter().chain([env!("CARGO_BIN_EXE_oyezd").into()]).collect(),
        rounds: rounds.unwrap_or(3).max(1),
        time: Duration::try_from_secs_f64(seconds.unwrap_or(3.0))?,
        only: arguments.values_from_str("--only")?,
    };
    let attack: Option<String> = arguments.opt_free_from_str()?;
    match attack.as_deref() {
        Some("slow-readers") => slow_readers::run(&options),
        // `cargo bench` runs every benchmark without arguments.
        None => {
            print!("{HELP}");
            Ok(())
        }
        Some(unknown) => Err(format!("unknown attack: {unknown}; see --help").into()),
    }
}

impl Options {
    fn includes(&self, description: &str) -> bool {
        self.only.iter().all(|text| description.contains(text.as_str()))
    }
}
