//! The command line of `oyezd`.

use std::ffi::OsString;
use std::fmt::Display;
use std::path::PathBuf;

use log::LevelFilter;

use crate::cli::{
    self, CommandLine, HELP_AND_VERSION, OptionTable, digits, number, option, path, seconds,
    unexpected,
};
use crate::hub::{AllowShutdown, SlowConsumerPolicy};
use crate::limits::Limits;
use crate::net::stream::{DEFAULT_ADDRESS, Endpoint};
use crate::net::tls_config::{Identity, ServerTlsConfig};

/// Every option.
#[rustfmt::skip] // A row per option.
pub const OPTIONS: &OptionTable = &[
    ("Listeners", &[
        option("--listen", "ADDR", "`IP:PORT`, `[IPv6]:PORT` or `unix:PATH`; may be repeated. \
            `0.0.0.0:5050` accepts connections from other hosts").default("127.0.0.1:5050"),
        option("--listen-tls", "ADDR", "the same, with TLS. If only this is given, there is no \
            plaintext listener"),
        option("--unix-mode", "OCTAL", "file mode of Unix sockets").default("600"),
    ]),
    ("TLS", &[
        option("--tls-cert", "FILE", "certificate chain of the server, in PEM format"),
        option("--tls-key", "FILE", "private key of `--tls-cert`, in PEM format"),
        option("--tls-self-signed", "DIR", "use a self-signed certificate in DIR instead; it is \
            created on the first start"),
        option("--tls-client-ca", "FILE", "require a client certificate signed by a CA in FILE"),
    ]),
    ("Access", &[
        option("--secret-file", "FILE", "require clients to authenticate with the secret in FILE"),
        option("--admin-secret-file", "FILE", "the secret in FILE makes a client an admin"),
        option("--allow-shutdown", "WHO", "who may use the `shutdown` command: `nobody`, `local` \
            (clients on this host, and admins) or `admin`. With `--admin-secret-file`, the \
            default is `admin`").default("local"),
    ]),
    ("Limits", &[
        option("--max-clients", "N", "maximum number of clients").default("10000"),
        option("--max-per-address", "N", "maximum number of connections from one IP address")
            .default("off"),
        option("--rate-limit", "LINES", "maximum number of lines per second from one client; \
            further lines are delayed").default("off"),
        option("--max-line", "SIZE", "maximum length of a line from a client").default("4K"),
        option("--max-outbox", "SIZE", "maximum size of the replies and direct messages queued \
            for one client; until it reads some, its commands wait").default("256K"),
        option("--send-buffer", "SIZE", "kernel send buffer for one client").default("128K"),
        option("--feed-size", "SIZE", "memory for the latest broadcast lines: the backlog for \
            slow readers, `history` and `resume`").default("16M"),
    ]),
    ("Slow and idle clients", &[
        option("--slow-clients", "POLICY", "what to do when a reader falls behind by the whole \
            feed: `disconnect` it; `skip` lines, and tell it how many; or `wait`, which delays \
            all broadcasts").default("disconnect"),
        option("--stall-timeout", "SECS", "with `wait`: disconnect a client that reads less than \
            32K in this time").default("30"),
        option("--idle-timeout", "SECS", "disconnect a client that sends and reads nothing for \
            this long").default("off"),
        option("--auth-timeout", "SECS", "time limit for the TLS handshake and authentication")
            .default("30"),
        option("--drain-timeout", "SECS", "time limit for clients to read pending output when \
            their connection closes or the server shuts down").default("5"),
    ]),
    ("Logging", &[
        option("--log-level", "LEVEL", "`error`, `warn`, `info`, `debug` or `trace`; `debug` logs \
            every line that clients send").default("info"),
    ]),
    ("Help", &HELP_AND_VERSION),
];

/// The text of `oyezd --help`.
pub fn help() -> String {
    cli::help(INTRO, &[], OPTIONS, NOTES)
}

const INTRO: &str = "\
oyezd - a line-broadcast server for netcat, scripts, devices and people

Usage: oyezd [OPTIONS]

Try it: start oyezd, run 'nc 127.0.0.1 5050' in two terminals, and type
'say hello' in one of them.
";

const NOTES: &str = "\
SIZE is in bytes; K, M and G are powers of 1024, as in 64K. SECS is in seconds.
off means no limit. The log goes to standard error.

SIGINT and SIGTERM shut the server down gracefully; a second one stops it at
once. SIGHUP reloads certificates and secrets for new connections.
Exit status: 0 after a graceful shutdown, 1 on failure, 2 for wrong arguments.
";

/// What the command line asks for.
pub type Action = cli::Action<Config>;

/// How to serve.
#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    /// Plaintext listeners.
    pub listen: Vec<Endpoint>,
    /// TLS listeners. At least one of the two lists has an entry.
    pub listen_tls: Vec<Endpoint>,
    /// The certificate for the TLS listeners, and which clients they accept.
    pub tls: Option<ServerTlsConfig>,
    /// The file mode of Unix sockets.
    pub unix_mode: u32,
    /// The file with the secret that clients authenticate with.
    pub secret_file: Option<PathBuf>,
    /// The file with the secret that makes a client an admin.
    pub admin_secret_file: Option<PathBuf>,
    /// Who may shut the server down by command.
    pub allow_shutdown: AllowShutdown,
    /// What to do with slow consumers.
    pub slow_clients: SlowConsumerPolicy,
    /// The limits, validated by [`Limits::check`].
    pub limits: Limits,
    /// The least severe level that is logged.
    pub log_level: LevelFilter,
}

/// Parses the arguments, without the program's name. The error is one line.
pub fn parse(arguments: Vec<OsString>) -> Result<Action, String> {
    cli::parse(arguments, OPTIONS, |line| Ok(Action::Run(Box::new(config(line)?))))
}

fn config(line: &mut CommandLine) -> Result<Config, String> {
    if let Some(word) = line.words.first() {
        return Err(unexpected(word));
    }
    let mut listen = line.values("--listen", str::parse)?;
    let listen_tls = line.values("--listen-tls", str::parse)?;
    let tls = tls(line, !listen_tls.is_empty())?;
    if listen.is_empty() && listen_tls.is_empty() {
        listen.push(Endpoint::Tcp(DEFAULT_ADDRESS));
    }
    let admin_secret_file = line.optional("--admin-secret-file", path)?;
    let allow_shutdown = match line.optional("--allow-shutdown", allow_shutdown)? {
        Some(AllowShutdown::Admin) if admin_secret_file.is_none() => {
            return Err("--allow-shutdown admin needs --admin-secret-file".to_owned());
        }
        Some(who) => who,
        None if admin_secret_file.is_some() => AllowShutdown::Admin,
        None => AllowShutdown::Local,
    };
    let limits = Limits {
        max_clients: line.value("--max-clients", number)?,
        max_per_address: line.value("--max-per-address", or_off(number))?,
        rate_limit: line.value("--rate-limit", or_off(number))?,
        max_line: line.value("--max-line", size)?,
        max_outbox: line.value("--max-outbox", size)?,
        send_buffer: line.value("--send-buffer", size)?,
        feed_size: line.value("--feed-size", size)?,
        stall_timeout_ms: line.value("--stall-timeout", milliseconds)?,
        idle_timeout_ms: line.value("--idle-timeout", or_off(milliseconds))?,
        auth_timeout_ms: line.value("--auth-timeout", milliseconds)?,
        drain_timeout_ms: line.value("--drain-timeout", milliseconds)?,
        ..Limits::default()
    };
    limits.check()?;
    Ok(Config {
        listen,
        listen_tls,
        tls,
        unix_mode: line.value("--unix-mode", file_mode)?,
        secret_file: line.optional("--secret-file", path)?,
        admin_secret_file,
        allow_shutdown,
        slow_clients: line.value("--slow-clients", slow_consumer_policy)?,
        limits,
        log_level: line.value("--log-level", log_level)?,
    })
}

/// Reads the TLS options, which need a TLS listener and are needed by one.
fn tls(line: &mut CommandLine, has_tls_listener: bool) -> Result<Option<ServerTlsConfig>, String> {
    let certificate = line.optional("--tls-cert", path)?;
    let key = line.optional("--tls-key", path)?;
    let folder = line.optional("--tls-self-signed", path)?;
    let client_ca = line.optional("--tls-client-ca", path)?;
    let identity = match (certificate, key, folder) {
        (Some(certificate), Some(key), None) => Some(Identity::Files { certificate, key }),
        (None, None, Some(folder)) => Some(Identity::SelfSigned { folder }),
        (None, None, None) => None,
        (_, _, None) => return Err("--tls-cert and --tls-key must be given together".to_owned()),
        (_, _, Some(_)) => {
            return Err("--tls-self-signed cannot be combined with --tls-cert and --tls-key".into());
        }
    };
    match identity {
        Some(identity) if has_tls_listener => Ok(Some(ServerTlsConfig { identity, client_ca })),
        None if has_tls_listener => {
            Err("--listen-tls needs --tls-cert and --tls-key, or --tls-self-signed".to_owned())
        }
        None if client_ca.is_none() => Ok(None),
        _ => Err("the --tls options need --listen-tls".to_owned()),
    }
}

/// Parses a number of bytes. K, M and G are powers of 1024.
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

fn milliseconds(text: &str) -> Result<u64, &'static str> {
    seconds(text).map(|duration| duration.as_secs() * 1000)
}

fn or_off<T, E: Display>(
    parse: fn(&str) -> Result<T, E>,
) -> impl Fn(&str) -> Result<Option<T>, String> {
    move |text| match text {
        "off" => Ok(None),
        text => parse(text).map(Some).map_err(|error| format!("{error}, or off")),
    }
}

fn file_mode(text: &str) -> Result<u32, &'static str> {
    let octal = text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    match u32::from_str_radix(text, 8) {
        Ok(mode @ 0..=0o777) if octal => Ok(mode),
        _ => Err("expected an octal file mode, as in 600 or 660"),
    }
}

fn allow_shutdown(text: &str) -> Result<AllowShutdown, &'static str> {
    match text {
        "nobody" => Ok(AllowShutdown::Nobody),
        "local" => Ok(AllowShutdown::Local),
        "admin" => Ok(AllowShutdown::Admin),
        _ => Err("expected nobody, local or admin"),
    }
}

fn slow_consumer_policy(text: &str) -> Result<SlowConsumerPolicy, &'static str> {
    match text {
        "disconnect" => Ok(SlowConsumerPolicy::Disconnect),
        "skip" => Ok(SlowConsumerPolicy::Skip),
        "wait" => Ok(SlowConsumerPolicy::Block),
        _ => Err("expected disconnect, skip or wait"),
    }
}

fn log_level(text: &str) -> Result<LevelFilter, &'static str> {
    match text.parse() {
        Ok(LevelFilter::Off) | Err(_) => Err("expected error, warn, info, debug or trace"),
        Ok(level) => Ok(level),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::check_table;

    fn parse_line(line: &str) -> Result<Action, String> {
        parse(line.split_whitespace().map(OsString::from).collect())
    }

    fn config(line: &str) -> Config {
        match parse_line(line) {
            Ok(Action::Run(config)) => *config,
            other => panic!("{line:?}: {other:?}"),
        }
    }

    #[test]
    fn every_option_of_the_table_is_parsed_and_has_the_default_that_it_names() {
        check_table(OPTIONS, parse_line);
        assert_eq!(config("").listen, [Endpoint::Tcp(DEFAULT_ADDRESS)]);
        assert_eq!(config("").limits, Limits::default());
    }

    #[test]
    fn options_are_parsed_with_a_space_or_an_equals_sign() {
        let config = config(
            "--listen 0.0.0.0:1 --listen=[::1]:2 --listen unix:/tmp/o --feed-size=1m \
             --unix-mode 0660 --drain-timeout 1 --allow-shutdown nobody --log-level DEBUG",
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
        assert!(tls.listen.is_empty() && tls.listen_tls.len() == 1 && tls.tls.is_some());
        assert_eq!(self::config("--slow-clients skip").slow_clients, SlowConsumerPolicy::Skip);
        assert_eq!(self::config("--slow-clients wait").slow_clients, SlowConsumerPolicy::Block);
        let limits = self::config("--idle-timeout 5 --rate-limit 7 --max-per-address 3").limits;
        assert_eq!(limits.idle_timeout_ms, Some(5000));
        assert_eq!((limits.rate_limit, limits.max_per_address), (Some(7), Some(3)));
        assert_eq!(config.log_level, LevelFilter::Debug);
    }

    #[test]
    fn wrong_arguments_give_an_error_of_one_line() {
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
            (
                "--listen-tls 127.0.0.1:1 --tls-cert x",
                "--tls-cert and --tls-key must be given together",
            ),
            ("--tls-cert x --tls-self-signed y", "cannot be combined with --tls-cert"),
            ("--tls-self-signed x", "need --listen-tls"),
            ("--tls-client-ca x", "need --listen-tls"),
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
            let actual = parse_line(line).expect_err(line);
            assert!(actual.contains(error) && !actual.contains('\n'), "{line}: {actual}");
        }
    }
}
