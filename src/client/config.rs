//! The command line of `oyez`.

use std::ffi::OsString;

use crate::cli::{
    self, CommandLine, HELP_AND_VERSION, OptionTable, flag, number, option, path, seconds,
    unexpected, utf8,
};
use crate::client::connection::address::ServerAddress;
use crate::client::connection::options::ConnectOptions;
use crate::net::tls_config::{ClientTlsConfig, ServerVerification};
use crate::protocol::{Name, validate_text};

/// Every command: its usage, and what it does.
#[rustfmt::skip] // A row per command.
pub const COMMANDS: &[(&str, &str)] = &[
    ("chat", "chat on a terminal (the default); type `/help` to list its commands"),
    ("broadcast TEXT", "send a line to every client that listens"),
    ("broadcast -", "send every line of standard input, in order and exactly once; exit when all \
        are confirmed"),
    ("listen", "print broadcast lines"),
    ("send CLIENT TEXT", "send a line to one client, by id or name"),
    ("clients", "list the ids and names of the other clients"),
    ("ping [TEXT]", "measure how long the server takes to answer"),
    ("stats", "print the server's counters"),
    ("shutdown", "shut the server down gracefully"),
    ("raw", "send standard input to the server unchanged, and print what it sends"),
    ("help", "show this help"),
];

/// Every option.
#[rustfmt::skip] // A row per option.
pub const OPTIONS: &OptionTable = &[
    ("Connection", &[
        option("--server", "ADDR", "`HOST`, `HOST:PORT`, `[IPv6]:PORT` or `unix:PATH`; overrides \
            the environment variable OYEZ_SERVER").short("-s").default("127.0.0.1:5050"),
        option("--name", "NAME", "take this name on the server"),
        option("--secret-file", "FILE", "authenticate with the secret in FILE"),
        flag("--insecure", "allow sending the secret over an unencrypted network"),
        option("--timeout", "SECS", "time limit for a reply; for a connection attempt, it is at \
            most 10").default("60"),
        flag("--no-reconnect", "exit when the connection is lost. Without this, `chat`, `listen` \
            and `broadcast -` reconnect, except for `broadcast -` with `--name`"),
    ]),
    ("TLS", &[
        flag("--tls", "use TLS, and trust the CA certificates of the system"),
        option("--tls-ca", "FILE", "use TLS, and trust the CA certificates in FILE"),
        option("--tls-fingerprint", "HASH", "use TLS, and trust the certificate with this \
            fingerprint, as the server logs it: `sha256:` and 64 hexadecimal digits"),
        option("--tls-cert", "FILE", "use TLS, and present the client certificate in FILE"),
        option("--tls-key", "FILE", "private key of `--tls-cert`; both files are in PEM format"),
    ]),
    ("Command options", &[
        flag("--skip-bad", "with `broadcast -`: skip lines that cannot be sent, instead of \
            exiting"),
        option("--since", "SEQ", "with `listen`: start after the line with this sequence number, \
            if the server still keeps it"),
        option("--count", "N", "with `listen`: exit after N lines"),
        option("--format", "FORMAT", "with `listen`: `text`; `lines`, as the server sends them; \
            or `json`, one JSON object per line").default("text"),
    ]),
    ("Help", &HELP_AND_VERSION),
];

/// The text of `oyez --help`.
pub fn help() -> String {
    cli::help(INTRO, COMMANDS, OPTIONS, NOTES)
}

const INTRO: &str = "\
oyez - client for oyezd: chat on a terminal, or broadcast and listen in scripts

Usage: oyez [OPTIONS] [COMMAND]
";

const NOTES: &str = "\
Arguments after -- are never options. Notices and errors go to standard error.
Exit status: 0 on success, 1 on failure, 2 for wrong arguments.
";

/// What the command line asks for.
pub type Action = cli::Action<Config>;

/// Which server to connect to, and what to do there.
#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    /// How to connect.
    pub route: ConnectOptions,
    /// The command to run.
    pub task: Task,
}

/// A command with its arguments and options.
#[derive(Debug, PartialEq, Eq)]
#[allow(missing_docs)] // `COMMANDS` describes them.
pub enum Task {
    Chat,
    Broadcast { text: String },
    BroadcastInput { skip_bad: bool },
    Listen(Listen),
    Send { client: String, text: String },
    Clients,
    Ping { text: Option<String> },
    Stats,
    Shutdown,
    Raw,
}

/// Which broadcast lines to print, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The sequence number to begin after. Without it, only new lines are printed.
    pub since: Option<u64>,
    /// How many lines to print. Without it, there is no end.
    pub count: Option<u64>,
    /// The output format.
    pub format: Format,
}

/// How a line is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Its text alone.
    Text,
    /// As the server sends it.
    Lines,
    /// As a JSON object.
    Json,
}

const OPTION_IN_TEXT: &str = "; put -- before a text that starts with -";

/// Parses the arguments, without the program's name. `server` is the value of OYEZ_SERVER. The
/// error is one line.
pub fn parse(mut arguments: Vec<OsString>, server: Option<OsString>) -> Result<Action, String> {
    let literal = match arguments.iter().position(|argument| argument == "--") {
        Some(position) => arguments.split_off(position).split_off(1),
        None => vec![],
    };
    check_text(&arguments)?;
    cli::parse(arguments, OPTIONS, |line| configure(line, literal, server))
}

/// Refuses `-h` and the like after the first word of a text, where they are probably part of it.
fn check_text(arguments: &[OsString]) -> Result<(), String> {
    let takes_text = |word: &OsString| word == "broadcast" || word == "send" || word == "ping";
    let Some(command) = arguments.iter().position(takes_text) else { return Ok(()) };
    let is_option =
        |word: &&OsString| ["-h", "--help", "-V", "--version"].iter().any(|option| *word == option);
    match arguments[command + 1..].iter().skip(1).find(is_option) {
        Some(word) => Err(unexpected(&word.to_string_lossy()) + OPTION_IN_TEXT),
        None => Ok(()),
    }
}

/// `literal` are the arguments after `--`.
fn configure(
    line: &mut CommandLine,
    literal: Vec<OsString>,
    server: Option<OsString>,
) -> Result<Action, String> {
    let mut words = std::mem::take(&mut line.words);
    if let Some(at) = words.iter().position(|word| word.len() > 1 && word.starts_with('-')) {
        return Err(unexpected(&words[at]) + if at > 0 { OPTION_IN_TEXT } else { "" });
    }
    for word in literal {
        words.push(utf8(word)?);
    }
    let mut route = connect_options(line, server)?;
    let (command, words) = match words.split_first() {
        Some((command, words)) => (command.as_str(), words),
        None => ("chat", &[][..]),
    };
    if command == "help" {
        return Ok(Action::Help);
    }
    let task = task(command, words, line)?;
    let stays = matches!(task, Task::Chat | Task::Listen(_) | Task::BroadcastInput { .. });
    // A sender cannot tell its own lines from those of another client that took its name meanwhile.
    let may_mistake_lines = matches!(task, Task::BroadcastInput { .. }) && route.name.is_some();
    route.reconnect = stays && !line.flag("--no-reconnect") && !may_mistake_lines;
    Ok(Action::Run(Box::new(Config { route, task })))
}

fn connect_options(
    line: &mut CommandLine,
    server: Option<OsString>,
) -> Result<ConnectOptions, String> {
    let option = line.optional("--server", str::parse)?;
    let server = match (option, server.filter(|server| !server.is_empty())) {
        (Some(server), _) => server,
        (None, Some(text)) => {
            let text = utf8(text)?;
            text.parse().map_err(|error| format!("OYEZ_SERVER {text:?}: {error}"))?
        }
        (None, None) => ServerAddress::default(),
    };
    Ok(ConnectOptions {
        server,
        name: line.optional("--name", name)?,
        secret_file: line.optional("--secret-file", path)?,
        tls: tls(line)?,
        insecure: line.flag("--insecure"),
        timeout: line.value("--timeout", seconds)?,
        reconnect: false,
    })
}

/// Reads the TLS options. Each of them turns TLS on.
fn tls(line: &mut CommandLine) -> Result<Option<ClientTlsConfig>, String> {
    let is_tls = line.flag("--tls");
    let roots = line.optional("--tls-ca", path)?;
    let pinned = line.optional("--tls-fingerprint", str::parse)?;
    let certificate = line.optional("--tls-cert", path)?;
    let key = line.optional("--tls-key", path)?;
    let verification = match (roots, pinned) {
        (None, None) => ServerVerification::System,
        (Some(path), None) => ServerVerification::Roots(path),
        (None, Some(fingerprint)) => ServerVerification::Pinned(fingerprint),
        (Some(_), Some(_)) => {
            return Err("--tls-ca and --tls-fingerprint cannot be combined".to_owned());
        }
    };
    let identity = match (certificate, key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((certificate, key)),
        _ => return Err("--tls-cert and --tls-key must be given together".to_owned()),
    };
    let is_tls = is_tls || verification != ServerVerification::System || identity.is_some();
    Ok(is_tls.then_some(ClientTlsConfig { verification, identity }))
}

fn task(command: &str, words: &[String], line: &mut CommandLine) -> Result<Task, String> {
    let without_arguments = |task| match words {
        [] => Ok(task),
        [word, ..] => Err(format!("{}; {command} takes no arguments", unexpected(word))),
    };
    match command {
        "chat" => without_arguments(Task::Chat),
        "broadcast" => match words {
            [] => Err("broadcast needs a text, or - for standard input".to_owned()),
            [dash] if dash == "-" => Ok(Task::BroadcastInput { skip_bad: line.flag("--skip-bad") }),
            words => Ok(Task::Broadcast { text: text(words)? }),
        },
        "listen" => without_arguments(Task::Listen(Listen {
            since: line.optional("--since", number)?,
            count: line.optional("--count", at_least_one)?,
            format: line.value("--format", format)?,
        })),
        "send" => match words {
            [] | [_] => Err("send needs a client and a text".to_owned()),
            [client, words @ ..] => Ok(Task::Send { client: client.clone(), text: text(words)? }),
        },
        "clients" => without_arguments(Task::Clients),
        "ping" => Ok(Task::Ping { text: if words.is_empty() { None } else { Some(text(words)?) } }),
        "stats" => without_arguments(Task::Stats),
        "shutdown" => without_arguments(Task::Shutdown),
        "raw" => without_arguments(Task::Raw),
        other => Err(format!("unknown command {other:?}")),
    }
}

/// Joins the words with spaces, like echo.
fn text(words: &[String]) -> Result<String, String> {
    let text = words.join(" ");
    if text.is_empty() {
        return Err("the text is empty".to_owned());
    }
    match validate_text(text.as_bytes()) {
        Some(_) => Ok(text),
        None => Err("the text has line breaks or control characters; to send several lines, pipe \
                     them into: oyez broadcast -"
            .to_owned()),
    }
}

fn name(text: &str) -> Result<String, &'static str> {
    match Name::parse(text) {
        Some(name) => Ok(name.as_str().to_owned()),
        None => Err("expected 1 to 32 of A-Z a-z 0-9 _ . -, starting with a letter"),
    }
}

fn at_least_one(text: &str) -> Result<u64, &'static str> {
    number(text).ok().filter(|number| *number > 0).ok_or("expected a number of at least 1")
}

fn format(text: &str) -> Result<Format, &'static str> {
    match text {
        "text" => Ok(Format::Text),
        "lines" => Ok(Format::Lines),
        "json" => Ok(Format::Json),
        _ => Err("expected text, lines or json"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::tests::check_table;

    fn parse_words(words: &[&str]) -> Result<Action, String> {
        parse(words.iter().map(OsString::from).collect(), None)
    }

    fn config(line: &str) -> Config {
        match parse_words(&line.split_whitespace().collect::<Vec<_>>()) {
            Ok(Action::Run(config)) => *config,
            other => panic!("{line:?}: {other:?}"),
        }
    }

    #[test]
    fn every_option_of_the_table_is_parsed_and_has_the_default_that_it_names() {
        check_table(OPTIONS, |option| {
            let command = if option.starts_with("--skip-bad") { "broadcast -" } else { "listen" };
            let line = format!("{command} {option}");
            parse_words(&line.split_whitespace().collect::<Vec<_>>())
        });
    }

    #[test]
    fn every_command_of_the_table_is_parsed() {
        for (usage, _) in COMMANDS {
            let words: Vec<&str> = usage.split(' ').collect();
            assert!(parse_words(&words).is_ok(), "{words:?}");
        }
    }

    #[test]
    fn commands_are_parsed_with_their_options() {
        assert_eq!(config("").task, Task::Chat);
        for (arguments, reconnects) in [
            ("listen", true),
            ("broadcast -", true),
            ("--name al broadcast -", false),
            ("broadcast - --no-reconnect", false),
            ("broadcast hi", false),
        ] {
            assert_eq!(config(arguments).route.reconnect, reconnects, "{arguments}");
        }
        assert!(config("").route.reconnect && !config("chat --no-reconnect").route.reconnect);
        assert_eq!(config("").route.server.to_string(), "127.0.0.1:5050");
        assert_eq!(config("-s host stats").route.server.to_string(), "host:5050");
        assert_eq!(config("broadcast a b").task, Task::Broadcast { text: "a b".to_owned() });
        assert_eq!(config("broadcast -").task, Task::BroadcastInput { skip_bad: false });
        assert_eq!(config("broadcast --skip-bad -").task, Task::BroadcastInput { skip_bad: true });
        assert_eq!(config("broadcast - -").task, Task::Broadcast { text: "- -".to_owned() });
        assert_eq!(
            config("broadcast -- --count 1").task,
            Task::Broadcast { text: "--count 1".to_owned() }
        );
        let send = Task::Send { client: "bob".to_owned(), text: "-h x".to_owned() };
        assert_eq!(config("--name al send bob -- -h x").task, send);
        assert_eq!(config("ping").task, Task::Ping { text: None });
        let listen = Listen { since: Some(0), count: Some(3), format: Format::Json };
        assert_eq!(config("listen --since 0 --count=3 --format json").task, Task::Listen(listen));
        assert_eq!(config("--timeout 5 raw").route.timeout, Duration::from_secs(5));
        assert!(config("ping").route.tls.is_none() && config("--tls ping").route.tls.is_some());
        let roots = config("--tls-ca x ping").route.tls.map(|tls| tls.verification);
        assert_eq!(roots, Some(ServerVerification::Roots("x".into())));
        assert_eq!(parse_words(&["help"]), Ok(Action::Help));
        assert_eq!(parse_words(&["broadcast", "-h"]), Ok(Action::Help));
        assert_eq!(parse_words(&["stats", "-V"]), Ok(Action::Version));
    }

    #[test]
    fn server_option_overrides_the_environment_variable() {
        let server = |words: &[&str]| match parse(
            words.iter().map(OsString::from).collect(),
            Some("[::1]:7".into()),
        ) {
            Ok(Action::Run(config)) => config.route.server.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(server(&["stats"]), "[::1]:7");
        assert_eq!(server(&["stats", "--server=h:1"]), "h:1");
    }

    #[test]
    fn wrong_arguments_give_an_error_of_one_line() {
        for (words, error) in [
            (&["bradcast", "x"][..], "unknown command \"bradcast\""),
            (&["broadcast"], "broadcast needs a text"),
            (&["broadcast", ""], "the text is empty"),
            (&["broadcast", "a\nb"], "line breaks or control characters"),
            (&["broadcast", "-5 degrees"], "put -- before a text"),
            (&["send", "bob"], "send needs a client and a text"),
            (&["broadcast", "see", "-h"], "put -- before a text"),
            (&["-s", "a", "--server", "b"], "--server is given more than once"),
            (&["-s", "a", "-s", "b"], "--server is given more than once"),
            (&["stats", "now"], "unexpected argument \"now\"; stats takes no arguments"),
            (&["stats", "--count", "2"], "--count cannot be used with this command"),
            (&["listen", "--skip-bad"], "--skip-bad cannot be used with this command"),
            (&["raw", "--no-reconnect"], "--no-reconnect cannot be used with this command"),
            (&["listen", "--count", "0"], "expected a number of at least 1"),
            (&["listen", "--count"], "--count needs a value"),
            (&["listen", "--format", "xml"], "expected text, lines or json"),
            (&["listen", "--since", "1", "--since", "2"], "--since is given more than once"),
            (&["--name", "1a"], "starting with a letter"),
            (&["-s", "host:x"], "expected a port"),
            (&["--timeout", "0"], "from 1 to 86400"),
            (&["--tls-fingerprint", "sha256:00", "ping"], "expected sha256: and 64"),
            (
                &["--tls-ca", "x", "--tls-fingerprint", &format!("sha256:{}", "0".repeat(64))],
                "--tls-ca and --tls-fingerprint cannot be combined",
            ),
            (&["--tls-cert", "x", "ping"], "--tls-cert and --tls-key must be given together"),
            (&["--frobnicate"], "unexpected argument \"--frobnicate\""),
        ] {
            let actual = parse_words(words).expect_err(error);
            assert!(actual.contains(error) && !actual.contains('\n'), "{words:?}: {actual}");
        }
    }
}
