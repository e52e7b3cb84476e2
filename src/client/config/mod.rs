//! The command line of `oyez`: its options. The module `task` parses the command, `environment`
//! reads the environment variables, and `pages` has the texts of the help.

mod environment;
mod pages;
mod task;

use std::ffi::OsString;

use crate::cli::help::{HelpGroup, Page};
use crate::cli::{self, CommandLine, digits, number, seconds};
use crate::client::connection::address::ServerAddress;
use crate::client::connection::options::ConnectOptions;
use crate::net::tls_config::{ClientTlsConfig, ServerVerification};
use crate::protocol::{FeedPosition, Name};
use environment::Environment;
pub use environment::Lookup;
pub use pages::EXAMPLES;
pub use task::{COMMANDS, ChatOptions, Format, InputOptions, Listen, Since, Start, Task};

/// How many of the last lines the chat shows by default.
const CHAT_HISTORY: u64 = 10;

/// The action that the command line requests.
pub type Action = cli::Action<Config>;

/// How to connect, and which command to run.
#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    /// The connection options.
    pub route: ConnectOptions,
    /// The command to run.
    pub task: Task,
}

/// Formats a page of the help.
pub fn help(page: Page) -> String {
    pages::help(options()).page(page)
}

/// Returns every option.
pub fn options() -> Vec<HelpGroup> {
    cli::options(|line| configure(line, &Environment(&|_| None)))
}

/// Parses the arguments that follow the program's name. `variable` returns the value of an
/// environment variable. The error is one line.
pub fn parse(arguments: Vec<OsString>, variable: Lookup<'_>) -> Result<Action, String> {
    cli::parse(arguments, &options(), COMMANDS, |line| configure(line, &Environment(variable)))
}

/// Reads the options and the command.
#[rustfmt::skip] // One row per option.
fn configure(line: &mut CommandLine, environment: &Environment<'_>) -> Result<Action, String> {
    let address = line.group("Connection").option(["-s, --server ADDR", "127.0.0.1:5050", "address \
        of the server: `HOST`, `HOST:PORT`, `[IPv6]:PORT` or `unix:PATH`; overrides the \
        environment variable OYEZ_SERVER"]).address(ServerAddress::Unix)?;
    let mut route = ConnectOptions {
        server: ServerAddress::default(),
        name: line.option(["--name NAME", "", "use this name on the server"]).optional(name)?,
        is_name_optional: false,
        secret_file: line.option(["--secret-file FILE", "",
            "authenticate with the secret in FILE"]).path()?,
        insecure: line.flag("--insecure", "allow sending the secret over a network without TLS"),
        timeout: line.option(["--timeout SECS", "60",
            "time limit for a reply and, up to 10, for each connection attempt"]).value(seconds)?,
        reconnect: !line.only_for(&["chat", "listen", "broadcast -"]).flag("--no-reconnect",
            "exit when the connection is lost, instead of reconnecting; `broadcast -` with `--name` \
            always does"),
        wait: false,
        tls: tls(line)?,
        known_servers: environment.known_servers(),
    };
    let files = line.group("Command options").only_for(&["broadcast"]).option(["--file FILE", "",
        "send the lines of FILE instead of standard input; may be repeated"])
        .paths()?;
    let skip_bad = line.only_for(&["broadcast -"]).flag("--skip-bad",
        "skip lines that cannot be sent, instead of exiting");
    let escape_bad = line.flag("--escape-bad", "send control characters and invalid UTF-8 \
        escaped, such as `\\u{1b}` and `\\xff`; skip lines that are too long");
    let history = line.only_for(&["chat", "listen"]).option(["--history N", "",
        "start with the last N lines; in `chat`, the default is 10"]).optional(number)?;
    let presence = !line.only_for(&["chat"]).flag("--no-presence",
        "do not show who joins and leaves");
    let since = line.only_for(&["listen"]).option(["--since FEED-SEQ", "", "start after this \
        position, which `listen` prints when it ends, and as `id` in JSON; a number alone refers \
        to the server's current feed"]).optional(since)?;
    let count = line.option(["--count N", "", "exit after N lines"]).optional(at_least_one)?;
    let duration = line.option(["--for SECS", "", "exit after SECS seconds"]).optional(seconds)?;
    route.wait = line.flag("--wait", "wait for the server to start, instead of exiting if it \
        cannot be reached");
    let format = line.only_for(&["listen", "broadcast TEXT", "clients", "stats"]).option([
        "--format FORMAT", "text", "`text` or `json` (one object per line); `listen` also has \
        `named` (`<from>: <text>`) and `lines` (as the server sends them)"]).value(|text| Ok::<_, String>(text.to_owned()))?;

    let is_one = since.is_none() || history.is_none();
    line.require(is_one, "--since and --history cannot be combined");
    let input = InputOptions { files, skip_bad, escape_bad };
    let start = match (since, history) {
        (Some(since), _) => Start::After(since),
        (None, Some(lines)) => Start::Last(lines),
        (None, None) => Start::New,
    };
    let chat = ChatOptions { history: history.unwrap_or(CHAT_HISTORY), presence };
    let options = task::Options { chat, input, listen: Listen { start, count, duration, format: Format::Text }, format };
    let Some(task) = task::parse(&line.words()?, options)? else { return Ok(Action::Help(Page::Full)) };
    line.check_command(task.usage())?;
    route.server = address.map_or_else(|| environment.server().map(Option::unwrap_or_default),
        Ok)?;
    route.secret_file = route.secret_file.or_else(|| environment.path("OYEZ_SECRET_FILE"));
    if route.tls.is_none() {
        route.tls = environment.tls()?;
    }
    // Other commands do not use the name, or would keep it from the user's own chat.
    let uses_name = matches!(task, Task::Chat(_) | Task::Broadcast { .. } | Task::Send { .. });
    if route.name.is_none() && uses_name {
        route.name = environment.text("OYEZ_NAME", name)?;
        route.is_name_optional = route.name.is_some();
    }
    route.reconnect &= matches!(task, Task::BroadcastInput(_) | Task::Listen(_) | Task::Chat(_));
    Ok(Action::Run(Box::new(Config { route, task })))
}

/// Reads the TLS options. Any of them enables TLS.
#[rustfmt::skip] // One row per option.
fn tls(line: &mut CommandLine) -> Result<Option<ClientTlsConfig>, String> {
    let is_tls = line.group("TLS").flag("--tls",
        "use TLS and trust the system's CA certificates; on a terminal, ask whether to trust any \
        other certificate, and remember the answer");
    let roots = line.option(["--tls-ca FILE", "",
        "use TLS and trust the certificates in FILE: CA certificates, or the server's own"]).path()?;
    let pinned = line.option(["--tls-fingerprint HASH", "", "use TLS and trust the certificate \
        with this fingerprint, which the server logs: `sha256:` and 64 hexadecimal digits"])
        .optional(str::parse)?;
    let certificate = line.option(["--tls-cert FILE", "",
        "use TLS and present the client certificate in FILE"]).path()?;
    let key = line.option(["--tls-key FILE", "",
        "private key for `--tls-cert`; both files are in PEM format"]).path()?;

    let is_pair = certificate.is_some() == key.is_some();
    line.require(is_pair, "--tls-cert and --tls-key must be given together");
    let is_one = roots.is_none() || pinned.is_none();
    line.require(is_one, "--tls-ca and --tls-fingerprint cannot be combined");
    let verification = roots.map(ServerVerification::Roots).or(pinned.map(ServerVerification::Pinned));
    let identity = certificate.zip(key);
    let is_tls = is_tls || verification.is_some() || identity.is_some();
    let verification = verification.unwrap_or(ServerVerification::System);
    Ok(is_tls.then_some(ClientTlsConfig { verification, identity }))
}

fn name(text: &str) -> Result<String, &'static str> {
    const EXPECTED: &str = "expected 1 to 32 of A-Z a-z 0-9 _ . -, starting with a letter";
    Name::parse(text).map(|name| name.as_str().to_owned()).ok_or(EXPECTED)
}

fn since(text: &str) -> Result<Since, &'static str> {
    let position = || FeedPosition::parse(text).map(Since::Position);
    digits(text)
        .map(Since::Line)
        .or_else(position)
        .ok_or("expected FEED-SEQ, such as 9f3c21aa-25, or a sequence number")
}

fn at_least_one(text: &str) -> Result<u64, &'static str> {
    number(text).ok().filter(|number| *number > 0).ok_or("expected a number of at least 1")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::cli::help::HelpRow;
    use crate::cli::tests::check_options;
    use crate::protocol::FeedId;

    fn parse_words(words: &[&str]) -> Result<Action, String> {
        parse(words.iter().map(OsString::from).collect(), &|_| None)
    }

    fn config(line: &str) -> Config {
        match parse_words(&line.split_whitespace().collect::<Vec<_>>()) {
            Ok(Action::Run(config)) => *config,
            other => panic!("{line:?}: {other:?}"),
        }
    }

    #[test]
    fn every_option_in_the_table_is_parsed_and_has_the_documented_default() {
        check_options(&options(), |option| {
            let command = match option.split(' ').next() {
                Some("--file") => "broadcast",
                Some("--skip-bad" | "--escape-bad") => "broadcast -",
                Some("--no-presence") => "chat",
                _ => "listen",
            };
            let line = format!("{command} {option}");
            parse_words(&line.split_whitespace().collect::<Vec<_>>())
        });
    }

    #[test]
    fn command_options_are_refused_by_other_commands() {
        let groups = options();
        let (_, group) =
            groups.iter().find(|(title, _)| *title == "Command options").expect("a group");
        for HelpRow { usage, .. } in group {
            let option = usage
                .replace("FORMAT", "json")
                .replace("FEED-SEQ", "7")
                .replace(" N", " 7")
                .replace("SECS", "7");
            let line = format!("raw {option}");
            let error = parse_words(&line.split(' ').collect::<Vec<_>>()).expect_err(usage);
            assert!(error.contains(" is only for "), "{error}");
        }
    }

    #[test]
    fn commands_are_parsed_with_their_options() {
        assert_eq!(config("").task, Task::Chat(ChatOptions { history: 10, presence: true }));
        let chat = Task::Chat(ChatOptions { history: 0, presence: false });
        assert_eq!(config("--history 0 --no-presence").task, chat);
        for (arguments, reconnects) in [
            ("listen", true),
            ("broadcast -", true),
            ("broadcast - --no-reconnect", false),
            ("broadcast hi", false),
        ] {
            assert_eq!(config(arguments).route.reconnect, reconnects, "{arguments}");
        }
        assert!(config("").route.reconnect && !config("chat --no-reconnect").route.reconnect);
        assert_eq!(config("").route.server.to_string(), "127.0.0.1:5050");
        assert_eq!(config("-s host stats").route.server.to_string(), "host:5050");
        let text = Task::Broadcast { text: "a b".to_owned(), format: Format::Text };
        assert_eq!(config("broadcast a b").task, text);
        assert_eq!(config("stats --format json").task, Task::Stats { format: Format::Json });
        assert_eq!(config("broadcast -").task, Task::BroadcastInput(input("-", false)));
        assert_eq!(config("broadcast --skip-bad -").task, Task::BroadcastInput(input("-", true)));
        assert_eq!(config("broadcast --file x").task, Task::BroadcastInput(input("x", false)));
        let files = ["b", "a", "-"].map(PathBuf::from).to_vec();
        let several = InputOptions { files, skip_bad: false, escape_bad: true };
        assert_eq!(
            config("--file b broadcast --file=a --escape-bad --file -").task,
            Task::BroadcastInput(several)
        );
        let send = Task::Send { client: "bob".to_owned(), text: "-h x".to_owned() };
        assert_eq!(config("--name al send bob -- -h x").task, send);
        assert_eq!(config("send --name al bob --timeout 5 x -h").route.timeout.as_secs(), 5);
        assert_eq!(config("ping").task, Task::Ping { text: None });
        let start = Start::After(Since::Line(0));
        let listen = Listen { start, count: Some(3), duration: None, format: Format::Json };
        assert_eq!(config("listen --since 0 --count=3 --format json").task, Task::Listen(listen));
        let duration = Some(Duration::from_secs(5));
        let listen = Listen { start: Start::Last(0), count: None, duration, format: Format::Named };
        assert_eq!(config("listen --history 0 --for 5 --format named").task, Task::Listen(listen));
        let position = Since::Position(FeedPosition { feed: FeedId(0x9f3c_21aa), seq: 25 });
        let start = Start::After(position);
        let listen = Listen { start, count: None, duration: None, format: Format::Text };
        assert_eq!(config("listen --since 9f3c21aa-25").task, Task::Listen(listen));
        assert_eq!(config("--timeout 5 raw").route.timeout, Duration::from_secs(5));
        assert!(config("ping").route.tls.is_none() && config("--tls ping").route.tls.is_some());
        let roots = config("--tls-ca x ping").route.tls.map(|tls| tls.verification);
        assert_eq!(roots, Some(ServerVerification::Roots("x".into())));
        assert_eq!(parse_words(&["stats", "-V"]), Ok(Action::Version));
    }

    #[test]
    fn help_is_requested_for_the_program_or_a_command() {
        for (arguments, page) in [
            ("-h", Page::Short),
            ("--help", Page::Full),
            ("help", Page::Full),
            ("help help", Page::Full),
            ("-- help", Page::Full),
            ("broadcast -h", Page::Command("broadcast")),
            ("--tls send bob --help", Page::Command("send")),
            ("help listen", Page::Command("listen")),
            ("listen --count --help", Page::Command("listen")),
        ] {
            let words: Vec<&str> = arguments.split(' ').collect();
            assert_eq!(parse_words(&words), Ok(Action::Help(page)), "{arguments}");
        }
    }

    fn input(file: &str, skip_bad: bool) -> InputOptions {
        InputOptions { files: vec![file.into()], skip_bad, escape_bad: false }
    }

    #[test]
    fn paths_need_not_be_utf8() {
        use std::os::unix::ffi::OsStringExt as _;
        let bytes = |text: &[u8]| OsString::from_vec(text.to_owned());
        let path = PathBuf::from(bytes(b"\xff"));
        let parse_bytes = |arguments: &[&[u8]], server: Option<&[u8]>| {
            let arguments = arguments.iter().copied().map(bytes).collect();
            match parse(arguments, &|name| server.filter(|_| name == "OYEZ_SERVER").map(bytes)) {
                Ok(Action::Run(config)) => Ok(*config),
                Ok(other) => panic!("{other:?}"),
                Err(error) => Err(error),
            }
        };
        let server = ServerAddress::Unix(path.clone());
        for (arguments, variable) in [
            (&[&b"-sunix:\xff"[..], b"ping"][..], None),
            (&[b"--server=unix:\xff", b"ping"], None),
            (&[b"ping", b"-s", b"unix:\xff"], None),
            (&[b"ping"], Some(&b"unix:\xff"[..])),
        ] {
            let config = parse_bytes(arguments, variable);
            assert_eq!(config.map(|config| config.route.server), Ok(server.clone()));
        }
        let config = parse_bytes(
            &[
                b"--secret-file",
                b"\xff",
                b"--tls-ca=\xff",
                b"--tls-cert=\xff",
                b"--tls-key",
                b"\xff",
                b"broadcast",
                b"--file",
                b"\xff",
            ],
            None,
        );
        let Config { route, task } = config.expect("valid arguments");
        let tls = route.tls.expect("TLS is on");
        assert_eq!(route.secret_file.as_ref(), Some(&path));
        assert_eq!(tls.verification, ServerVerification::Roots(path.clone()));
        assert_eq!(tls.identity, Some((path.clone(), path.clone())));
        let files = vec![path];
        assert_eq!(task, Task::BroadcastInput(InputOptions { files, ..InputOptions::default() }));
        for (arguments, variable, error) in [
            (&[&b"-s\xff"[..], b"ping"][..], None, "--server \"\\xFF\": not UTF-8"),
            (&[b"--name=\xff", b"ping"], None, "--name \"\\xFF\": not UTF-8"),
            (&[b"ping", b"\xff"], None, "\"\\xFF\" is not UTF-8"),
            (&[b"\xff"], None, "\"\\xFF\" is not UTF-8"),
            (&[b"ping"], Some(&b"\xff"[..]), "OYEZ_SERVER \"\\xFF\": not UTF-8"),
        ] {
            assert_eq!(parse_bytes(arguments, variable).err().as_deref(), Some(error));
        }
    }

    #[test]
    fn wrong_arguments_give_an_error_of_one_line() {
        for (words, error) in [
            (&["bradcast", "x"][..], "unknown command \"bradcast\" (did you mean broadcast?)"),
            (&["dance", "--frobnicate"], "unknown command \"dance\""),
            (&["help", "lsiten"], "unknown command \"lsiten\" (did you mean listen?)"),
            (&["lsiten", "-h"], "unknown command \"lsiten\" (did you mean listen?)"),
            (&["--", "lsiten"], "unknown command \"lsiten\" (did you mean listen?)"),
            (&["broadcast"], "broadcast needs a text"),
            (&["broadcast", ""], "the text is empty"),
            (&["broadcast", "a\nb"], "line breaks or control characters"),
            (&["broadcast", "-5 degrees"], "(to send it as text: oyez broadcast -- '-5 degrees')"),
            (&["send", "bob"], "send needs a client and a text"),
            (&["broadcast", "-", "-"], "broadcast - takes no text; put -- before a text"),
            (&["broadcast", "-", "--", "x"], "broadcast - takes no text; put -- before a text"),
            (&["broadcast", "--file", "x", "hi"], "either --file, or standard input, or a text"),
            (&["broadcast", "-", "--file", "x"], "either --file, or standard input, or a text"),
            (&["broadcast", "--file="], "--file needs a value"),
            (&["listen", "--file", "x"], "--file is only for broadcast"),
            (&["--secret-file", "", "ping"], "--secret-file needs a value"),
            (&["--name", "--insecure", "ping"], "--name needs a value; if \"--insecure\" is the"),
            (&["-s", "a", "--server", "b"], "--server is given more than once"),
            (&["-s", "a", "-s", "b"], "--server is given more than once"),
            (&["stats", "now"], "unexpected argument \"now\"; stats takes no arguments"),
            (&["stats", "--count", "2"], "--count is only for listen"),
            (&["stats", "--wait"], "--wait is only for listen"),
            (&["listen", "--skip-bad"], "--skip-bad is only for broadcast -"),
            (&["ping", "--escape-bad", "x"], "--escape-bad is only for broadcast -"),
            (&["raw", "--no-reconnect"], "--no-reconnect is only for chat, listen and broadcast -"),
            (&["listen", "--count", "0"], "expected a number of at least 1"),
            (&["listen", "--count"], "--count needs a value"),
            (&["listen", "--format", "xml"], "expected text, json, named or lines"),
            (&["clients", "--format", "lines"], "expected text or json"),
            (&["broadcast", "--format", "named", "x"], "expected text or json"),
            (
                &["broadcast", "-", "--format", "json"],
                "--format is only for listen, broadcast TEXT,",
            ),
            (&["listen", "--history", "1", "--since", "1"], "--since and --history cannot be"),
            (&["listen", "--history", "x"], "expected a number"),
            (&["listen", "--no-presence"], "--no-presence is only for chat"),
            (&["listen", "--since", "9f3c21aa"], "expected FEED-SEQ, such as 9f3c21aa-25, or a"),
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
            (&["--tls-cert", "x", "--tls-kye", "y"], "(did you mean --tls-key?)"),
            (&["--frobnicate"], "unknown option --frobnicate"),
        ] {
            let actual = parse_words(words).expect_err(error);
            assert!(actual.contains(error) && !actual.contains('\n'), "{words:?}: {actual}");
        }
    }
}
