//! The command line of `oyezd`.

use std::ffi::OsString;
use std::fmt::Display;
use std::path::PathBuf;

use log::{Level, LevelFilter};

use crate::cli::help::{Help, HelpGroup, Page};
use crate::cli::{self, CommandLine, digits, number, one_of, seconds, unexpected};
use crate::hub::{AllowShutdown, SlowConsumerPolicy};
use crate::limits::Limits;
use crate::net::listen_address::ListenAddress;
use crate::net::tls_config::{Identity, ServerTlsConfig};

const INTRO: &str = "\
oyezd - a line-broadcast server for netcat, scripts, devices and people

Usage: oyezd [OPTIONS]

Try it: start oyezd, run 'nc 127.0.0.1 5050' in two terminals, and type
'say hello' in one of them.
";

/// The options on the short page of the help.
const SHORT: &[&str] = &[
    "--listen",
    "--listen-tls",
    "--tls-self-signed",
    "--secret-file",
    "--max-clients",
    "--feed-size",
    "--slow-clients",
    "--log-level",
    "--help",
    "--version",
];

const NOTES: &str = "\
SIZE is in bytes; K, M and G are powers of 1024, as in 64K. SECS is in seconds.
off means no limit. The log is written to standard error.

SIGINT and SIGTERM shut the server down gracefully; a second one stops it
immediately. SIGHUP reloads certificates and secrets for new connections.
Exit status: 0 after a graceful shutdown, 1 on failure, 2 for wrong arguments.
";

/// The action that the command line requests.
pub type Action = cli::Action<Config>;

/// The server's configuration.
#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    /// The addresses of the plaintext listeners.
    pub listen: Vec<ListenAddress>,
    /// The addresses of the TLS listeners. At least one of the two lists has an entry.
    pub listen_tls: Vec<ListenAddress>,
    /// The settings of the TLS listeners.
    pub tls: Option<ServerTlsConfig>,
    /// The file mode of Unix sockets.
    pub unix_mode: u32,
    /// The file with the secret that clients authenticate with.
    pub secret_file: Option<PathBuf>,
    /// The file with the secret that makes clients admins.
    pub admin_secret_file: Option<PathBuf>,
    /// Who may use the `shutdown` command.
    pub allow_shutdown: AllowShutdown,
    /// The policy for slow consumers.
    pub slow_clients: SlowConsumerPolicy,
    /// The limits, validated by [`Limits::check`].
    pub limits: Limits,
    /// The least severe level to log.
    pub log_level: LevelFilter,
}

/// Formats a page of the help.
pub fn help(page: Page) -> String {
    let help = Help {
        program: "oyezd",
        intro: INTRO,
        commands: &[],
        options: options(),
        short: SHORT,
        examples: &[],
        notes: NOTES,
    };
    help.page(page)
}

/// Every option.
pub fn options() -> Vec<HelpGroup> {
    cli::options(configure)
}

/// Parses the arguments, without the program's name. The error is one line.
pub fn parse(arguments: Vec<OsString>) -> Result<Action, String> {
    cli::parse(arguments, &options(), &[], configure)
}

#[rustfmt::skip] // A row per option.
fn configure(line: &mut CommandLine) -> Result<Action, String> {
    let mut limits = Limits::default();
    let mut listen = line.group("Listeners").option(["--listen ADDR", "127.0.0.1:5050",
        "listen on `IP:PORT`, `[IPv6]:PORT` or `unix:PATH`; may be repeated. `0.0.0.0:5050` \
        accepts connections from other hosts"]).addresses(ListenAddress::unix)?;
    let listen_tls = line.option(["--listen-tls ADDR", "", "listen with TLS; may be repeated. If \
        only this is given, there is no plaintext listener"]).addresses(ListenAddress::unix)?;
    let unix_mode = line.option(["--unix-mode OCTAL", "600",
        "file mode of Unix sockets"]).value(file_mode)?;
    let tls = tls(line, !listen_tls.is_empty())?;
    let secret_file = line.group("Access").option(["--secret-file FILE", "",
        "require clients to authenticate with the secret in FILE"]).path()?;
    let admin_secret_file = line.option(["--admin-secret-file FILE", "",
        "clients that authenticate with the secret in FILE are admins"]).path()?;
    let allow_shutdown = line.option(["--allow-shutdown WHO", "local",
        "who may use the `shutdown` command: `nobody`, `local` (clients on this host, and admins) \
        or `admin`. With `--admin-secret-file`, the default is `admin`"]).optional(allow_shutdown)?;
    limits.max_clients = line.group("Limits").option(["--max-clients N", "10000",
        "maximum number of clients"]).value(number)?;
    limits.max_per_address = line.option(["--max-per-address N", "off", "maximum number of \
        connections from one IPv4 address or IPv6 network (/64)"])
        .value(|text| or_off(text, number))?;
    limits.rate_limit = line.option(["--rate-limit LINES", "off", "maximum number of lines per \
        second from one client; further lines are delayed"]).value(|text| or_off(text, number))?;
    limits.max_line = line.option(["--max-line SIZE", "4K",
        "maximum length of a line from a client"]).value(size)?;
    limits.max_outbox = line.option(["--max-outbox SIZE", "256K", "maximum size of the replies and \
        direct messages queued for one client; when it is nearly reached, the client's \
        commands wait"]).value(size)?;
    limits.send_buffer = line.option(["--send-buffer SIZE", "128K",
        "size of the kernel send buffer for one client"]).value(size)?;
    limits.feed_size = line.option(["--feed-size SIZE", "16M", "memory for the latest broadcast \
        lines: the backlog for slow readers, `history` and `resume`"]).value(size)?;
    let slow_clients = line.group("Slow and idle clients").option(["--slow-clients POLICY",
        "disconnect", "what to do when a reader falls behind by the whole feed: `disconnect` it; \
        `skip` lines, and report how many; or `wait` for it, which delays all broadcasts"])
        .value(slow_consumer_policy)?;
    limits.stall_timeout_ms = line.option(["--stall-timeout SECS", "30", "with `wait`: disconnect \
        a client that reads less than 32K in this time"]).value(milliseconds)?;
    limits.idle_timeout_ms = line.option(["--idle-timeout SECS", "off", "disconnect a client that \
        sends and reads nothing for this long"]).value(|text| or_off(text, milliseconds))?;
    limits.auth_timeout_ms = line.option(["--auth-timeout SECS", "30",
        "time limit for the TLS handshake and authentication"]).value(milliseconds)?;
    limits.drain_timeout_ms = line.option(["--drain-timeout SECS", "5", "time limit for clients to \
        read pending output when their connection closes or the server shuts down"])
        .value(milliseconds)?;
    let log_level = line.group("Logging").option(["--log-level LEVEL", "info", "how much to log: \
        `error`, `warn`, `info`, `debug` or `trace`; `debug` logs every line that clients send"])
        .value(log_level)?;

    let has_admins = admin_secret_file.is_some();
    let may_shut_down = has_admins || allow_shutdown != Some(AllowShutdown::Admin);
    line.require(may_shut_down, "--allow-shutdown admin needs --admin-secret-file");
    if let Some(word) = line.words()?.all().next() {
        let word = word.to_string_lossy();
        let advice = match word.parse::<ListenAddress>() {
            Ok(address) => format!("to listen there, use --listen {address}"),
            Err(_) => "oyezd has options only".to_owned(),
        };
        return Err(format!("{}; {advice}", unexpected(&word)));
    }
    limits.check()?;
    if listen.is_empty() && listen_tls.is_empty() {
        listen.push(ListenAddress::default());
    }
    let default = if has_admins { AllowShutdown::Admin } else { AllowShutdown::Local };
    Ok(Action::Run(Box::new(Config {
        listen,
        listen_tls,
        tls,
        unix_mode,
        secret_file,
        admin_secret_file,
        allow_shutdown: allow_shutdown.unwrap_or(default),
        slow_clients,
        limits,
        log_level,
    })))
}

/// Reads the TLS options. They need a TLS listener, and a TLS listener needs a certificate.
#[rustfmt::skip] // A row per option.
fn tls(line: &mut CommandLine, has_listener: bool) -> Result<Option<ServerTlsConfig>, String> {
    let certificate = line.group("TLS").option(["--tls-cert FILE", "",
        "certificate chain of the server, in PEM format"]).path()?;
    let key = line.option(["--tls-key FILE", "",
        "private key of `--tls-cert`, in PEM format"]).path()?;
    let folder = line.option(["--tls-self-signed DIR", "", "use a self-signed certificate in DIR; \
        it is created on the first start"]).path()?;
    let client_ca = line.option(["--tls-client-ca FILE", "",
        "require clients to present a certificate that is in FILE, or signed by a CA in FILE"])
        .path()?;

    let has_files = certificate.is_some() || key.is_some();
    line.require(
        folder.is_none() || !has_files,
        "--tls-self-signed cannot be combined with --tls-cert and --tls-key",
    );
    let is_pair = certificate.is_some() == key.is_some();
    line.require(is_pair, "--tls-cert and --tls-key must be given together");
    let files = certificate.zip(key).map(|(certificate, key)| Identity::Files { certificate, key });
    let identity = files.or(folder.map(|folder| Identity::SelfSigned { folder }));
    let is_used = has_listener || (identity.is_none() && client_ca.is_none());
    line.require(is_used, "the --tls options need --listen-tls");
    line.require(
        identity.is_some() || !has_listener,
        "--listen-tls needs --tls-cert and --tls-key, or --tls-self-signed",
    );
    Ok(identity.map(|identity| ServerTlsConfig { identity, client_ca }))
}

/// Parses a number of bytes. K, M and G are powers of 1024.
fn size(text: &str) -> Result<usize, &'static str> {
    let units = [("K", 1 << 10), ("M", 1 << 20), ("G", 1 << 30), ("", 1)];
    let upper = text.to_ascii_uppercase();
    let parts = units.iter().find_map(|(unit, bytes)| Some((upper.strip_suffix(unit)?, *bytes)));
    parts
        .and_then(|(number, bytes)| digits::<usize>(number)?.checked_mul(bytes))
        .ok_or("expected a size, as in 65536, 64K, 16M or 1G")
}

fn milliseconds(text: &str) -> Result<u64, &'static str> {
    seconds(text).map(|duration| duration.as_secs() * 1000)
}

fn or_off<T, E: Display>(text: &str, parse: fn(&str) -> Result<T, E>) -> Result<Option<T>, String> {
    match text {
        "off" => Ok(None),
        text => parse(text).map(Some).map_err(|error| format!("{error}, or off")),
    }
}

fn file_mode(text: &str) -> Result<u32, &'static str> {
    match u32::from_str_radix(text, 8) {
        Ok(mode @ 0..=0o777) if !text.starts_with('+') => Ok(mode),
        _ => Err("expected an octal file mode, as in 600 or 660"),
    }
}

fn allow_shutdown(text: &str) -> Result<AllowShutdown, String> {
    use AllowShutdown::{Admin, Local, Nobody};
    one_of(text, &[("nobody", Nobody), ("local", Local), ("admin", Admin)])
}

fn slow_consumer_policy(text: &str) -> Result<SlowConsumerPolicy, String> {
    use SlowConsumerPolicy::{Block, Disconnect, Skip};
    one_of(text, &[("disconnect", Disconnect), ("skip", Skip), ("wait", Block)])
}

fn log_level(text: &str) -> Result<LevelFilter, &'static str> {
    const EXPECTED: &str = "expected error, warn, info, debug or trace";
    text.parse().map(|level: Level| level.to_level_filter()).map_err(|_| EXPECTED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::check_options;

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
    fn every_option_in_the_table_is_parsed_and_has_the_documented_default() {
        check_options(&options(), parse_line);
        assert_eq!(config("").listen, [ListenAddress::default()]);
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
    fn listeners_keep_their_order() {
        let listen = config("--listen=127.0.0.1:1 --listen unix:a --listen=127.0.0.1:2").listen;
        let listen: Vec<String> = listen.iter().map(ToString::to_string).collect();
        assert_eq!(listen, ["127.0.0.1:1", "unix:a", "127.0.0.1:2"]);
    }

    #[test]
    fn paths_need_not_be_utf8() {
        use std::os::unix::ffi::OsStringExt as _;
        let arguments = [
            &b"--listen=unix:\xff"[..],
            b"--listen-tls",
            b"unix:\xff",
            b"--tls-cert=\xff",
            b"--tls-key=\xff",
            b"--tls-client-ca",
            b"\xff",
            b"--secret-file=\xff",
            b"--admin-secret-file=\xff",
        ];
        let arguments = arguments.map(|argument| OsString::from_vec(argument.to_owned())).to_vec();
        let config = match parse(arguments) {
            Ok(Action::Run(config)) => *config,
            other => panic!("{other:?}"),
        };
        let path = PathBuf::from(OsString::from_vec(b"\xff".to_vec()));
        assert_eq!(config.listen, [ListenAddress::unix(path.clone())]);
        assert_eq!(config.listen_tls, [ListenAddress::unix(path.clone())]);
        assert_eq!(config.secret_file.as_ref(), Some(&path));
        assert_eq!(config.admin_secret_file.as_ref(), Some(&path));
        let tls = config.tls.expect("TLS is configured");
        assert_eq!(tls.client_ca.as_ref(), Some(&path));
        assert_eq!(tls.identity, Identity::Files { certificate: path.clone(), key: path.clone() });
        let bad = OsString::from_vec(b"--listen=127.0.0.1:\xff".to_vec());
        assert!(parse(vec![bad]).is_err());
    }

    #[test]
    fn wrong_arguments_give_an_error_of_one_line() {
        for (line, error) in [
            ("--lisen x", "unknown option --lisen (did you mean --listen?)"),
            ("-", "unexpected argument \"-\""),
            ("--help=1", "--help takes no value"),
            ("--feed", "unknown option --feed (did you mean --feed-size?)"),
            ("127.0.0.1:7", "\"127.0.0.1:7\"; to listen there, use --listen 127.0.0.1:7"),
            ("serve", "unexpected argument \"serve\""),
            ("--listen 127.0.0.1:1 serve --log-level info", "unexpected argument \"serve\""),
            ("-- --help", "unexpected argument \"--help\""),
            ("--secret-file=", "--secret-file needs a value"),
            ("--tls-self-signed --log-level debug", "--tls-self-signed needs a value; if"),
            ("--secret-file --admin-secret-file x", "--secret-file needs a value; if"),
            ("--feed-size 1M --feed-size 2M", "--feed-size is given more than once"),
            ("--listen", "--listen needs a value"),
            ("--listen host:5050", "expected IP:PORT"),
            ("--listen 5050", "not an address; write 127.0.0.1:5050, or 0.0.0.0:5050"),
            ("--listen unix:", "unix: needs a path"),
            ("--listen-tls 65536", "expected IP:PORT"),
            ("--listen-tls 127.0.0.1:1", "--listen-tls needs --tls-cert and --tls-key, or"),
            (
                "--listen-tls 127.0.0.1:1 --tls-cert x",
                "--tls-cert and --tls-key must be given together",
            ),
            ("--tls-cert x --tls-self-signed y", "cannot be combined with --tls-cert"),
            ("--tls-cert x --tls-kye y", "(did you mean --tls-key?)"),
            ("--tls-self-signed x", "need --listen-tls"),
            ("--tls-client-ca x", "need --listen-tls"),
            ("--max-clients 0", "--max-clients must be at least 1"),
            ("--max-clients -1", "expected a number"),
            ("--max-line +5", "expected a size"),
            ("--max-line 99999999999G", "expected a size"),
            ("--max-line 1M", "--max-line 1048576 is too large: at most"),
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
