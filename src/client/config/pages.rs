//! The pages of `oyez --help`.

use super::task::COMMANDS;
use crate::cli::help::{ExampleRow, Help, HelpGroup};

const INTRO: &str = "\
oyez - client for oyezd: chat on a terminal, or broadcast and listen in scripts

Usage: oyez [OPTIONS] [COMMAND]
";

/// The options on the short page.
const SHORT: &[&str] = &["--server", "--name", "--secret-file", "--tls"];

const NOTES: &str = "\
Options may appear anywhere before the text; its first word, or --, ends them.
After --, every argument is text: oyez broadcast -- \"$TEXT\"

The environment variables OYEZ_SERVER, OYEZ_NAME, OYEZ_SECRET_FILE, OYEZ_TLS_CA
and OYEZ_TLS_FINGERPRINT set the defaults of options; OYEZ_TLS=1 means --tls.
If any --tls option is given, all OYEZ_TLS variables are ignored.

Notices and errors go to standard error.
Exit status: 0 on success, 1 on failure, 2 for wrong arguments.
";

/// Two examples of every command except `help`.
#[rustfmt::skip] // One row per example.
pub const EXAMPLES: &[ExampleRow] = &[
    ("chat", [
        ("oyez --name alice", "chat as alice"),
        ("oyez chat -s unix:/run/oyez.sock --history 50", "start with the last 50 lines"),
    ]),
    ("broadcast", [
        ("oyez broadcast 'lunch is ready'", "send one line"),
        ("tail -F app.log | oyez broadcast - --escape-bad", "send a log as it grows"),
    ]),
    ("listen", [
        ("oyez listen --history 10 --format named", "print the last 10 lines, then new ones"),
        ("oyez listen --format json | jq -r 'select(.type == \"broadcast\").text'", "process lines in a script"),
    ]),
    ("send", [
        ("oyez send bob 'are you there?'", "send a line to bob only"),
        ("oyez --name alice send 7 -- -1", "send the text -1 to client 7 as alice"),
    ]),
    ("clients", [
        ("oyez clients", "list the connected clients"),
        ("oyez clients --format json | jq -r .name", "list their names"),
    ]),
    ("ping", [
        ("oyez ping", "check that the server answers"),
        ("oyez ping --timeout 2 || systemctl restart oyezd", "act if it does not"),
    ]),
    ("stats", [
        ("oyez stats", "print the counters"),
        ("oyez stats --format json | jq .clients", "print one of them"),
    ]),
    ("shutdown", [
        ("oyez shutdown", "shut down a server on this host"),
        ("oyez shutdown --secret-file admin.secret", "authenticate as an admin first"),
    ]),
    ("raw", [
        ("oyez raw", "type the protocol's commands"),
        ("printf 'name al\\nsay hello\\n' | oyez raw", "send commands from a script"),
    ]),
];

/// Returns the contents of the help.
pub(super) fn help(options: Vec<HelpGroup>) -> Help {
    Help {
        program: "oyez",
        intro: INTRO,
        commands: COMMANDS,
        options,
        short: SHORT,
        examples: EXAMPLES,
        notes: NOTES,
    }
}
