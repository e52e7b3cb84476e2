//! What `oyez` is told on its command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use pico_args::Arguments;

use crate::cli::{count, given, option, seconds, unexpected};
use crate::client::connection::address::ServerAddress;
use crate::client::connection::options::ConnectOptions;
use crate::net::tls_config::{ClientTrust, ServerVerification};
use crate::protocol::{Name, validate_text};

/// `oyez --help`
pub const HELP: &str = "\
oyez - talks to an oyezd, and lets scripts talk to it

Usage: oyez [OPTION ...] [COMMAND]

  chat                 talk, on a terminal; /help there (the default)
  broadcast TEXT       send a line to everybody who listens
  broadcast -          send every line of standard input; done when all of them
                       are on their way to everybody, in order, each once
  listen               print what is broadcast
  send CLIENT TEXT     send a line to one client, by id or name
  clients              list who else is here: id and name
  ping [TEXT]          measure how long the server takes to answer
  stats                print the server's counters
  shutdown             end the server gracefully, if you may
  raw                  speak the protocol: standard input goes to the server,
                       what it says to standard output
  help                 show this

  -s, --server ADDR    HOST, HOST:PORT, [IPv6]:PORT or unix:PATH (OYEZ_SERVER,
                       or 127.0.0.1:5050)
  --name NAME          be called this
  --secret-file FILE   where the secret is that the server asks for
  --insecure           send the secret over a network in the clear
  --tls                encrypt, and trust certificates that the system trusts
  --tls-ca FILE        the same, but trust those signed by one in FILE
  --tls-fingerprint FINGERPRINT
                       the same, but trust the one with this fingerprint, as the
                       server logs it: sha256:...
  --tls-cert FILE      certificate to show, in PEM form
  --tls-key FILE       the key that belongs to it
  --timeout SECS       how long to wait for an answer (60), and for a
                       connection to each address (10 at most)
  --no-reconnect       chat, listen, broadcast -: end when the connection is
                       lost; broadcast - does so under a --name as well
  --skip-bad           broadcast -: leave out lines that cannot be sent
  --since SEQ          listen: begin after this line, if the server keeps it
  --count N            listen: end after N lines
  --format FORMAT      listen: text; lines, as the server says them; or json,
                       an object a line (text)
  -h, --help           show this
  -V, --version        show the version

Words behind -- are no options. Exit status: 0 done, 1 failed, 2 wrong
arguments. Notices and errors go to standard error.
";

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Talk to a server.
    Run(Box<Config>),
    /// Print [`HELP`].
    Help,
    /// Print the version.
    Version,
}

/// Where to go, and what to do there.
#[derive(Debug, PartialEq, Eq)]
pub struct Config {
    /// How to come to the server.
    pub route: ConnectOptions,
    /// What to do there.
    pub task: Task,
}

/// What to do at a server.
#[derive(Debug, PartialEq, Eq)]
#[allow(missing_docs)] // `HELP` says what each is for.
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

/// What to print of what is broadcast.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Listen {
    /// The line to begin after; without it, begin with what is new.
    pub since: Option<u64>,
    /// How many lines.
    pub count: Option<u64>,
    /// In which form.
    pub format: Format,
}

/// How a line is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Its text alone.
    #[default]
    Text,
    /// As the server says it.
    Lines,
    /// As a JSON object.
    Json,
}

/// Options that belong to some commands only, and whether they are given.
struct Special {
    since: Option<u64>,
    count: Option<u64>,
    format: Option<Format>,
    skip_bad: bool,
    no_reconnect: bool,
}

/// Refuses to take for an option of its own what more likely belongs to a text.
fn check_text(arguments: &[OsString]) -> Result<(), String> {
    let takes_text = |word: &OsString| word == "broadcast" || word == "send" || word == "ping";
    let Some(command) = arguments.iter().position(takes_text) else { return Ok(()) };
    let asks =
        |word: &&OsString| ["-h", "--help", "-V", "--version"].iter().any(|ask| *word == ask);
    match arguments[command + 1..].iter().skip(1).find(asks) {
        Some(word) => Err(unexpected(&word.to_string_lossy(), HELP) + BEHIND),
        None => Ok(()),
    }
}

const BEHIND: &str = "; a text that begins so goes behind --";

/// Reads the arguments, without the program's name. `server` is the variable OYEZ_SERVER. An error
/// is one line that says what is wrong.
pub fn parse(mut arguments: Vec<OsString>, server: Option<OsString>) -> Result<Action, String> {
    let behind = match arguments.iter().position(|argument| argument == "--") {
        Some(position) => arguments.split_off(position).split_off(1),
        None => vec![],
    };
    check_text(&arguments)?;
    let mut arguments = Arguments::from_vec(arguments);
    if arguments.contains(["-h", "--help"]) {
        return Ok(Action::Help);
    }
    if arguments.contains(["-V", "--version"]) {
        return Ok(Action::Version);
    }
    let mut route = route(&mut arguments, server)?;
    let special = Special {
        since: given(&mut arguments, "--since", "--since", count)?,
        count: given(&mut arguments, "--count", "--count", at_least_one)?,
        format: given(&mut arguments, "--format", "--format", format)?,
        skip_bad: arguments.contains("--skip-bad"),
        no_reconnect: arguments.contains("--no-reconnect"),
    };
    let mut words = vec![];
    for argument in arguments.finish() {
        let word = text_of(argument)?;
        if word.len() > 1 && word.starts_with('-') {
            let error = unexpected(&word, HELP);
            let may_be_text = !words.is_empty() && error.starts_with("unexpected");
            return Err(error + if may_be_text { BEHIND } else { "" });
        }
        words.push(word);
    }
    for word in behind {
        words.push(text_of(word)?);
    }
    let (command, words) = match words.split_first() {
        Some((command, words)) => (command.as_str(), words),
        None => ("chat", &[][..]),
    };
    if command == "help" {
        return Ok(Action::Help);
    }
    let task = task(command, words, &special)?;
    special.check(&task)?;
    route.reconnect = !special.no_reconnect
        && match task {
            Task::Chat | Task::Listen(_) => true,
            // Under a name, which can pass on to another, one's own lines are not known again.
            Task::BroadcastInput { .. } => route.name.is_none(),
            _ => false,
        };
    Ok(Action::Run(Box::new(Config { route, task })))
}

fn route(arguments: &mut Arguments, server: Option<OsString>) -> Result<ConnectOptions, String> {
    let asked = given(arguments, ["-s", "--server"], "--server", |text| text.parse())?;
    let server = match (asked, server.filter(|server| !server.is_empty())) {
        (Some(server), _) => server,
        (None, Some(text)) => {
            let text = text_of(text)?;
            text.parse().map_err(|error| format!("OYEZ_SERVER {text:?}: {error}"))?
        }
        (None, None) => ServerAddress::default(),
    };
    let name = given(arguments, "--name", "--name", name)?;
    let secret_file = given(arguments, "--secret-file", "--secret-file", |path| Ok(path.into()))?;
    let mut timeout = Duration::from_secs(60);
    option(arguments, "--timeout", &mut timeout, seconds)?;
    let insecure = arguments.contains("--insecure");
    let tls = trust(arguments)?;
    Ok(ConnectOptions { server, name, secret_file, tls, insecure, timeout, reconnect: false })
}

/// What is said of certificates; any of it means that the connection is to be encrypted.
fn trust(arguments: &mut Arguments) -> Result<Option<ClientTrust>, String> {
    let file = |path: &str| Ok(PathBuf::from(path));
    let is_tls = arguments.contains("--tls");
    let roots = given(arguments, "--tls-ca", "--tls-ca", file)?;
    let pinned = given(arguments, "--tls-fingerprint", "--tls-fingerprint", |text| text.parse())?;
    let certificate = given(arguments, "--tls-cert", "--tls-cert", file)?;
    let key = given(arguments, "--tls-key", "--tls-key", file)?;
    let trust = match (roots, pinned) {
        (None, None) => ServerVerification::System,
        (Some(path), None) => ServerVerification::Roots(path),
        (None, Some(fingerprint)) => ServerVerification::Pinned(fingerprint),
        (Some(_), Some(_)) => {
            return Err("either --tls-ca or --tls-fingerprint says whom to trust".to_owned());
        }
    };
    let identity = match (certificate, key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((certificate, key)),
        _ => return Err("--tls-cert and --tls-key go together".to_owned()),
    };
    let is_wanted = is_tls || trust != ServerVerification::System || identity.is_some();
    Ok(is_wanted.then_some(ClientTrust { trust, identity }))
}

fn task(command: &str, words: &[String], special: &Special) -> Result<Task, String> {
    let takes_none = |task| match words {
        [] => Ok(task),
        [word, ..] => Err(format!("{command} takes no argument, and {word:?} is one")),
    };
    match command {
        "chat" => takes_none(Task::Chat),
        "broadcast" => match words {
            [] => Err("broadcast needs a text, or - for standard input".to_owned()),
            [dash] if dash == "-" => Ok(Task::BroadcastInput { skip_bad: special.skip_bad }),
            words => Ok(Task::Broadcast { text: text(words)? }),
        },
        "listen" => takes_none(Task::Listen(Listen {
            since: special.since,
            count: special.count,
            format: special.format.unwrap_or_default(),
        })),
        "send" => match words {
            [] | [_] => Err("send needs a client and a text".to_owned()),
            [client, words @ ..] => Ok(Task::Send { client: client.clone(), text: text(words)? }),
        },
        "clients" => takes_none(Task::Clients),
        "ping" => Ok(Task::Ping { text: if words.is_empty() { None } else { Some(text(words)?) } }),
        "stats" => takes_none(Task::Stats),
        "shutdown" => takes_none(Task::Shutdown),
        "raw" => takes_none(Task::Raw),
        other => Err(format!("{other:?} is no command")),
    }
}

impl Special {
    /// Refuses options that the task has no use for.
    fn check(&self, task: &Task) -> Result<(), String> {
        let listens = matches!(task, Task::Listen(_));
        let sends_input = matches!(task, Task::BroadcastInput { .. });
        let stays = listens || sends_input || matches!(task, Task::Chat);
        for (option, is_given, has_use, where_it_has) in [
            ("--since", self.since.is_some(), listens, "listen"),
            ("--count", self.count.is_some(), listens, "listen"),
            ("--format", self.format.is_some(), listens, "listen"),
            ("--skip-bad", self.skip_bad, sends_input, "broadcast -"),
            ("--no-reconnect", self.no_reconnect, stays, "chat, listen and broadcast -"),
        ] {
            if is_given && !has_use {
                return Err(format!("{option} is only for {where_it_has}"));
            }
        }
        Ok(())
    }
}

/// The words as one text, as echo has it.
fn text(words: &[String]) -> Result<String, String> {
    let text = words.join(" ");
    if text.is_empty() {
        return Err("the text is empty".to_owned());
    }
    match validate_text(text.as_bytes()) {
        Some(_) => Ok(text),
        None => Err(
            "the text has line ends or control characters; lines can be piped into: oyez broadcast -"
                .to_owned(),
        ),
    }
}

fn text_of(argument: OsString) -> Result<String, String> {
    argument.into_string().map_err(|argument| format!("{} is not UTF-8", argument.display()))
}

fn name(text: &str) -> Result<String, &'static str> {
    match Name::parse(text) {
        Some(name) => Ok(name.as_str().to_owned()),
        None => Err("expected 1 to 32 of A-Z a-z 0-9 _ . -, a letter first"),
    }
}

fn at_least_one(text: &str) -> Result<u64, &'static str> {
    match count(text) {
        Ok(0) | Err(_) => Err("expected a number from 1 on"),
        Ok(count) => Ok(count),
    }
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
    use super::*;

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
    fn commands_are_read_with_their_options() {
        assert_eq!(config("").task, Task::Chat);
        for (arguments, comes_back) in [
            ("listen", true),
            ("broadcast -", true),
            ("--name al broadcast -", false),
            ("broadcast - --no-reconnect", false),
            ("broadcast hi", false),
        ] {
            assert_eq!(config(arguments).route.reconnect, comes_back, "{arguments}");
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
        let roots = config("--tls-ca x ping").route.tls.map(|tls| tls.trust);
        assert_eq!(roots, Some(ServerVerification::Roots("x".into())));
        assert_eq!(parse_words(&["help"]), Ok(Action::Help));
        assert_eq!(parse_words(&["broadcast", "-h"]), Ok(Action::Help));
        assert_eq!(parse_words(&["stats", "-V"]), Ok(Action::Version));
    }

    #[test]
    fn the_option_comes_before_the_variable() {
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
    fn what_is_wrong_is_said_in_one_line() {
        for (words, error) in [
            (&["bradcast", "x"][..], "\"bradcast\" is no command"),
            (&["broadcast"], "broadcast needs a text"),
            (&["broadcast", ""], "the text is empty"),
            (&["broadcast", "a\nb"], "line ends or control characters"),
            (&["broadcast", "-5 degrees"], "goes behind --"),
            (&["send", "bob"], "send needs a client and a text"),
            (&["broadcast", "see", "-h"], "goes behind --"),
            (&["-s", "a", "--server", "b"], "--server is given more than once"),
            (&["-s", "a", "-s", "b"], "-s is given more than once"),
            (&["stats", "now"], "stats takes no argument"),
            (&["stats", "--count", "2"], "--count is only for listen"),
            (&["listen", "--skip-bad"], "--skip-bad is only for broadcast -"),
            (&["raw", "--no-reconnect"], "--no-reconnect is only for chat, listen and"),
            (&["listen", "--count", "0"], "expected a number from 1 on"),
            (&["listen", "--count"], "--count needs a value"),
            (&["listen", "--format", "xml"], "expected text, lines or json"),
            (&["listen", "--since", "1", "--since", "2"], "--since is given more than once"),
            (&["--name", "1a"], "a letter first"),
            (&["-s", "host:x"], "expected a port"),
            (&["--timeout", "0"], "from 1 to 86400"),
            (&["--tls-fingerprint", "sha256:00", "ping"], "expected sha256: and 64"),
            (&["--tls-cert", "x", "ping"], "--tls-cert and --tls-key go together"),
            (&["--frobnicate"], "unexpected argument \"--frobnicate\""),
        ] {
            let said = parse_words(words).expect_err(error);
            assert!(said.contains(error) && !said.contains('\n'), "{words:?}: {said}");
        }
    }
}
