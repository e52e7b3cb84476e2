//! What `oyezd` is told on its command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use log::LevelFilter;
use pico_args::Arguments;

use crate::cli::{count, describe, digits, given, milliseconds, option, unexpected};
use crate::hub::{AllowShutdown, SlowConsumerPolicy};
use crate::limits::Limits;
use crate::net::stream::{DEFAULT_ADDRESS, Endpoint};
use crate::net::tls_config::{Identity, ServerTrust};

/// `oyezd --help`
pub const HELP: &str = "\
oyezd - sends every line that one client says to all of them

Usage: oyezd [OPTION ...]          Talk to it with: nc 127.0.0.1 5050

  --listen ADDR           IP:PORT, [IPv6]:PORT or unix:PATH; may be repeated
                          (127.0.0.1:5050; 0.0.0.0:5050 lets other hosts in)
  --listen-tls ADDR       the same, encrypted; alone, it opens no plain port
  --tls-cert FILE         certificate to show, in PEM form, and those that lead
                          from it to a root
  --tls-key FILE          the key that belongs to it
  --tls-self-signed DIR   make a certificate and a key in DIR, once, instead
  --tls-client-ca FILE    let nobody in without a certificate signed by one that
                          is in FILE
  --unix-mode OCTAL       file mode of the sockets at unix:PATH (600)
  --secret-file FILE      let nobody in who does not 'auth' with what is in FILE
  --admin-secret-file FILE
                          who does with this may also 'shutdown'
  --allow-shutdown WHO    whose 'shutdown' is obeyed: nobody; local, that is
                          clients on this host, and admins (local); or admin
                          (admin, where there is an admin secret)
  --max-clients N         clients at once (10000)
  --max-per-address N     connections from one IP address, or off (off)
  --max-line SIZE         longest line that a client may send (4K)
  --max-outbox SIZE       replies that may wait for one client (256K)
  --feed-size SIZE        broadcast lines kept (16M)
  --send-buffer SIZE      what the kernel may buffer for one client (128K)
  --slow-clients WHAT     what becomes of those who lag behind by all of this:
                          disconnect; skip, they miss lines and are told how
                          many; or wait, everybody waits for them (disconnect)
  --stall-timeout SECS    how long a client may hold the others so that takes
                          next to nothing (30)
  --idle-timeout SECS     how long a client may say and take nothing, or off
                          (off)
  --auth-timeout SECS     how long a client may take to come in (30)
  --drain-timeout SECS    how long a closing connection may take (5)
  --rate-limit LINES      lines that a client may say in a second, the others
                          wait; or off (off)
  --log-level LEVEL       error, warn, info, debug or trace (info); debug
                          shows every line
  -h, --help              show this
  -V, --version           show the version

SIZE is in bytes, or with K, M or G. The log goes to stderr. SIGINT and SIGTERM
end the server gracefully, a second one at once. SIGHUP reads certificates and
secrets anew, where there are any, for those who come after it.
";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Serve.
    Serve(Box<Config>),
    /// Print [`HELP`].
    Help,
    /// Print the version.
    Version,
}

/// How to serve.
#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to listen.
    pub listen: Vec<Endpoint>,
    /// Where to listen for encrypted connections. There is one at least, here or in `listen`.
    pub listen_tls: Vec<Endpoint>,
    /// What to show there, if there is any.
    pub trust: Option<ServerTrust>,
    /// The mode of the Unix sockets' files.
    pub unix_mode: u32,
    /// The file with the secret that clients have to show.
    pub secret_file: Option<PathBuf>,
    /// The file with the secret that admins have to show.
    pub admin_secret_file: Option<PathBuf>,
    /// Who may end the server by command.
    pub allow_shutdown: AllowShutdown,
    /// What becomes of clients that the feed would lap.
    pub slow_clients: SlowConsumerPolicy,
    /// Held against each other already.
    pub limits: Limits,
    /// How much is logged.
    pub log_level: LevelFilter,
}

/// Reads the arguments, without the program's name. An error is one line that says what is wrong.
pub fn parse(arguments: Vec<OsString>) -> Result<Action, String> {
    let mut arguments = Arguments::from_vec(arguments);
    if arguments.contains(["-h", "--help"]) {
        return Ok(Action::Help);
    }
    if arguments.contains(["-V", "--version"]) {
        return Ok(Action::Version);
    }
    let mut listen = arguments
        .values_from_fn("--listen", |text| text.parse::<Endpoint>())
        .map_err(|error| describe("--listen", &error))?;
    let listen_tls = arguments
        .values_from_fn("--listen-tls", |text| text.parse::<Endpoint>())
        .map_err(|error| describe("--listen-tls", &error))?;
    let trust = trust(&mut arguments, !listen_tls.is_empty())?;
    if listen.is_empty() && listen_tls.is_empty() {
        listen.push(Endpoint::Tcp(DEFAULT_ADDRESS));
    }
    let mut limits = Limits::default();
    option(&mut arguments, "--max-clients", &mut limits.max_clients, count)?;
    option(&mut arguments, "--max-per-address", &mut limits.max_per_address, or_off)?;
    option(&mut arguments, "--max-line", &mut limits.max_line, size)?;
    option(&mut arguments, "--max-outbox", &mut limits.max_outbox, size)?;
    option(&mut arguments, "--feed-size", &mut limits.feed_size, size)?;
    option(&mut arguments, "--send-buffer", &mut limits.send_buffer, size)?;
    option(&mut arguments, "--idle-timeout", &mut limits.idle_timeout_ms, milliseconds_or_off)?;
    option(&mut arguments, "--stall-timeout", &mut limits.stall_timeout_ms, milliseconds)?;
    option(&mut arguments, "--auth-timeout", &mut limits.auth_timeout_ms, milliseconds)?;
    option(&mut arguments, "--drain-timeout", &mut limits.drain_timeout_ms, milliseconds)?;
    option(&mut arguments, "--rate-limit", &mut limits.rate_limit, or_off)?;
    let mut slow_clients = SlowConsumerPolicy::default();
    option(&mut arguments, "--slow-clients", &mut slow_clients, slow)?;
    let mut unix_mode = 0o600;
    option(&mut arguments, "--unix-mode", &mut unix_mode, mode)?;
    let file = |path: &str| Ok(PathBuf::from(path));
    let secret_file = given(&mut arguments, "--secret-file", "--secret-file", file)?;
    let admin_secret_file =
        given(&mut arguments, "--admin-secret-file", "--admin-secret-file", file)?;
    let has_admins = admin_secret_file.is_some();
    let default = if has_admins { AllowShutdown::Admin } else { AllowShutdown::Local };
    let allow_shutdown =
        given(&mut arguments, "--allow-shutdown", "--allow-shutdown", who)?.unwrap_or(default);
    if allow_shutdown == AllowShutdown::Admin && !has_admins {
        return Err("--allow-shutdown admin needs --admin-secret-file, or there are none".into());
    }
    let mut log_level = LevelFilter::Info;
    option(&mut arguments, "--log-level", &mut log_level, level)?;
    if let Some(argument) = arguments.finish().first() {
        return Err(unexpected(&argument.to_string_lossy(), HELP));
    }
    limits.check()?;
    Ok(Action::Serve(Box::new(Config {
        listen,
        listen_tls,
        trust,
        unix_mode,
        secret_file,
        admin_secret_file,
        allow_shutdown,
        slow_clients,
        limits,
        log_level,
    })))
}

/// What is said of certificates. It is needed where there are encrypted connections, and of no use
/// elsewhere.
fn trust(arguments: &mut Arguments, is_needed: bool) -> Result<Option<ServerTrust>, String> {
    let file = |path: &str| Ok(PathBuf::from(path));
    let certificate = given(arguments, "--tls-cert", "--tls-cert", file)?;
    let key = given(arguments, "--tls-key", "--tls-key", file)?;
    let folder = given(arguments, "--tls-self-signed", "--tls-self-signed", file)?;
    let client_ca = given(arguments, "--tls-client-ca", "--tls-client-ca", file)?;
    let identity = match (certificate, key, folder) {
        (Some(certificate), Some(key), None) => Some(Identity::Files { certificate, key }),
        (None, None, Some(folder)) => Some(Identity::SelfSigned { folder }),
        (None, None, None) => None,
        (_, _, None) => return Err("--tls-cert and --tls-key go together".to_owned()),
        (_, _, Some(_)) => {
            return Err("--tls-self-signed takes the place of --tls-cert and --tls-key".to_owned());
        }
    };
    match identity {
        Some(identity) if is_needed => Ok(Some(ServerTrust { identity, client_ca })),
        None if is_needed => {
            Err("--listen-tls needs --tls-cert and --tls-key, or --tls-self-signed".to_owned())
        }
        None if client_ca.is_none() => Ok(None),
        _ => Err("the --tls options are for --listen-tls, and there is none".to_owned()),
    }
}

/// A number of bytes, with K, M or G for powers of 1024.
fn size(text: &str) -> Result<usize, &'static str> {
    let (number, unit) = match text.as_bytes().last().map(u8::to_ascii_uppercase) {
        Some(b'K') => (&text[..text.len() - 1], 1 << 10),
        Some(b'M') => (&text[..text.len() - 1], 1 << 20),
        Some(b'G') => (&text[..text.len() - 1], 1 << 30),
        _ => (text, 1),
    };
    digits::<usize>(number)
        .and_then(|number| number.checked_mul(unit))
        .ok_or("expected a size, as in 65536, 64K, 16M or 1G")
}

fn or_off<T: FromStr>(text: &str) -> Result<Option<T>, &'static str> {
    match text {
        "off" => Ok(None),
        text => digits(text).map(Some).ok_or("expected a number, or off"),
    }
}

fn milliseconds_or_off(text: &str) -> Result<Option<u64>, &'static str> {
    if text == "off" { Ok(None) } else { milliseconds(text).map(Some) }
}

fn mode(text: &str) -> Result<u32, &'static str> {
    let octal = text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    match u32::from_str_radix(text, 8) {
        Ok(mode @ 0..=0o777) if octal => Ok(mode),
        _ => Err("expected an octal file mode, as in 600 or 660"),
    }
}

fn who(text: &str) -> Result<AllowShutdown, &'static str> {
    match text {
        "nobody" => Ok(AllowShutdown::Nobody),
        "local" => Ok(AllowShutdown::Local),
        "admin" => Ok(AllowShutdown::Admin),
        _ => Err("expected nobody, local or admin"),
    }
}

fn slow(text: &str) -> Result<SlowConsumerPolicy, &'static str> {
    match text {
        "disconnect" => Ok(SlowConsumerPolicy::Disconnect),
        "skip" => Ok(SlowConsumerPolicy::Skip),
        "wait" => Ok(SlowConsumerPolicy::Block),
        _ => Err("expected disconnect, skip or wait"),
    }
}

fn level(text: &str) -> Result<LevelFilter, &'static str> {
    match text.parse() {
        Ok(LevelFilter::Off) | Err(_) => Err("expected error, warn, info, debug or trace"),
        Ok(level) => Ok(level),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Action, String> {
        parse(line.split_whitespace().map(OsString::from).collect())
    }

    fn config(line: &str) -> Config {
        match parse_line(line) {
            Ok(Action::Serve(config)) => *config,
            other => panic!("{line:?}: {other:?}"),
        }
    }

    #[test]
    fn defaults_are_those_of_the_help() {
        let config = config("");
        assert_eq!(config.listen, [Endpoint::Tcp(DEFAULT_ADDRESS)]);
        assert_eq!(config.limits, Limits::default());
        for (option, default) in [
            ("--listen", "127.0.0.1:5050"),
            ("--unix-mode", "600"),
            ("--allow-shutdown", "local"),
            ("--max-clients", "10000"),
            ("--max-per-address", "off"),
            ("--idle-timeout", "off"),
            ("--auth-timeout", "30"),
            ("--slow-clients", "disconnect"),
            ("--stall-timeout", "30"),
            ("--rate-limit", "off"),
            ("--max-line", "4K"),
            ("--max-outbox", "256K"),
            ("--feed-size", "16M"),
            ("--send-buffer", "128K"),
            ("--drain-timeout", "5"),
            ("--log-level", "info"),
        ] {
            assert_eq!(parse_line(&format!("{option} {default}")), parse_line(""), "{option}");
            let row = HELP.split("\n  --").find(|row| format!("--{row}").starts_with(option));
            let row = row.unwrap_or_else(|| panic!("{option} is not in the help"));
            assert!(row.contains(&format!("({default}")), "{row}");
        }
    }

    #[test]
    fn options_are_taken_in_both_forms() {
        let config = config(
            "--listen 0.0.0.0:1 --listen=[::1]:2 --listen unix:/tmp/o --feed-size=1m --unix-mode 0660 \
             --drain-timeout 1 --allow-shutdown nobody --log-level DEBUG",
        );
        let mut listen: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
        listen.sort();
        assert_eq!(listen, ["0.0.0.0:1", "[::1]:2", "unix:/tmp/o"]);
        assert_eq!(config.limits.feed_size, 1 << 20);
        assert_eq!(config.limits.drain_timeout_ms, 1000);
        assert_eq!(config.unix_mode, 0o660);
        assert_eq!(config.allow_shutdown, AllowShutdown::Nobody);
        let admin = self::config("--admin-secret-file x");
        assert_eq!(admin.allow_shutdown, AllowShutdown::Admin);
        let tls = self::config("--listen-tls 127.0.0.1:1 --tls-self-signed x");
        assert!(tls.listen.is_empty() && tls.listen_tls.len() == 1 && tls.trust.is_some());
        assert_eq!(self::config("--slow-clients skip").slow_clients, SlowConsumerPolicy::Skip);
        assert_eq!(self::config("--slow-clients wait").slow_clients, SlowConsumerPolicy::Block);
        let limits = self::config("--idle-timeout 5 --rate-limit 7 --max-per-address 3").limits;
        assert_eq!(limits.idle_timeout_ms, Some(5000));
        assert_eq!((limits.rate_limit, limits.max_per_address), (Some(7), Some(3)));
        assert_eq!(config.log_level, LevelFilter::Debug);
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        for (line, error) in [
            ("--lisen x", "unexpected argument \"--lisen\""),
            ("-", "unexpected argument \"-\""),
            ("--help=1", "unexpected argument \"--help=1\""),
            ("--feed", "unexpected argument \"--feed\""),
            ("serve", "unexpected argument \"serve\""),
            ("--feed-size 1M --feed-size 2M", "--feed-size is given more than once"),
            ("--listen", "--listen needs a value"),
            ("--listen localhost:5050", "expected IP:PORT"),
            ("--listen 5050", "expected IP:PORT"),
            ("--listen unix:", "unix: needs a path"),
            ("--listen-tls 5050", "expected IP:PORT"),
            ("--listen-tls 127.0.0.1:1", "--listen-tls needs --tls-cert and --tls-key, or"),
            ("--listen-tls 127.0.0.1:1 --tls-cert x", "--tls-cert and --tls-key go together"),
            ("--tls-cert x --tls-self-signed y", "takes the place of"),
            ("--tls-self-signed x", "are for --listen-tls"),
            ("--tls-client-ca x", "are for --listen-tls"),
            ("--max-clients 0", "--max-clients must be at least 1"),
            ("--max-clients -1", "expected a number"),
            ("--max-line +5", "expected a size"),
            ("--max-line 99999999999G", "expected a size"),
            ("--max-line 1M", "--max-line 1048576 is too long for this feed"),
            ("--drain-timeout 0", "from 1 to 86400"),
            ("--unix-mode 888", "octal file mode"),
            ("--unix-mode 1777", "octal file mode"),
            ("--allow-shutdown root", "expected nobody, local or admin"),
            ("--allow-shutdown admin", "needs --admin-secret-file"),
            ("--rate-limit 0", "--rate-limit must be from 1"),
            ("--rate-limit x", "expected a number, or off"),
            ("--max-per-address 0", "--max-per-address must be at least 1"),
            ("--idle-timeout 0", "from 1 to 86400"),
            ("--log-level off", "expected error, warn"),
            ("--slow-clients never", "expected disconnect, skip or wait"),
        ] {
            let said = parse_line(line).expect_err(line);
            assert!(said.contains(error) && !said.contains('\n'), "{line}: {said}");
        }
    }
}
