//! `oyez chat`, on a pseudoterminal.
#![cfg(feature = "chat")]
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Command;
use std::time::Duration;

use support::fake_server::{FEED, FakeServer};
use support::terminal::Terminal;
use support::{Client, Server, oyez, oyezd};

const COLUMNS: u16 = 60;

/// Starts a chat without colors and waits until it has joined. After that, it shows nothing by
/// itself.
fn chat(server: &Server, arguments: &[&str], prompt: &str) -> Terminal {
    let arguments = [arguments, &["--no-presence"]].concat();
    let mut chat = start(&server.address.to_string(), &arguments);
    chat.wait_until(|chat| {
        let rows = chat.rows();
        rows.iter().any(|row| row.contains(" here: ")) && rows.ends_with(&[prompt.to_owned()])
    });
    chat
}

/// Starts a chat without colors.
fn start(address: &str, arguments: &[&str]) -> Terminal {
    let mut command = oyez();
    command.args(["-s", address]).args(arguments).env("NO_COLOR", "1");
    Terminal::start(&mut command, 24, COLUMNS)
}

fn bob(server: &Server) -> Client {
    let mut bob = server.client();
    bob.ask("name bob", "ok name bob");
    bob
}

#[test]
fn typed_lines_are_sent_and_received_lines_are_shown() {
    let server = Server::start(&[]);
    let mut bob = bob(&server);
    let mut alice = chat(&server, &["--name", "alice"], "alice>");
    alice.press("hello, all\r");
    bob.expect("broadcast 1 alice hello, all");
    alice.expect(&["> hello, all", "alice>"]);
    bob.send("say hello alice");
    alice.expect(&["=> bob: hello alice", "alice>"]);
    bob.expect("broadcast 2 bob hello alice");
    bob.ask("send alice psst", "ok send alice");
    alice.expect(&["[bob] psst", "alice>"]);
    alice.press("/send bob  psst yourself\r");
    bob.expect("direct alice  psst yourself");
    alice.expect(&["[> bob]  psst yourself", "alice>"]);
    alice.press("//help is a command\r");
    bob.expect("broadcast 3 alice /help is a command");
    alice.expect(&["> /help is a command", "alice>"]);
}

#[test]
fn slash_commands_show_their_answers_and_errors() {
    let server = Server::start(&[]);
    let _bob = bob(&server);
    let mut chat = chat(&server, &[], "2>");
    chat.press("/name bob\r");
    chat.expect(&[
        "! somebody is already called bob; choose another name",
        "      with /nick",
        "2>",
    ]);
    for name in ["/name", "/nick 1x"] {
        chat.press(&format!("{name}\r"));
        let usage = format!("! usage: {} <name>; a name has 1 to 32 of A-Z a-z", &name[..5]);
        chat.expect(&[&usage, "      0-9 _ . -, and starts with a letter", "2>"]);
    }
    chat.press("/nick al\r");
    chat.expect(&["- you are now called al", "al>"]);
    chat.press("/clients\r");
    chat.expect(&["- 1 bob", "- 2 al", "- 2 of 2 clients", "al>"]);
    chat.press("/who\r");
    chat.expect(&["- 2 here: al (you), bob", "al>"]);
    chat.press("/ping\r");
    chat.wait_until(|chat| {
        let rows = chat.rows();
        rows.iter().any(|row| row.contains("- the server answered in "))
            && rows.ends_with(&["al>".to_owned()])
    });
    chat.press("/send carol x\r");
    chat.expect(&["! nobody called carol is here; /who shows who is", "al>"]);
    chat.press("/msg 1 hi\r");
    chat.expect(&["[> bob] hi", "al>"]);
    chat.press("/hsitory\r");
    let hint = "! unknown command /hsitory (did you mean /history?);";
    chat.expect(&[hint, "      see /help, or send it as text with //hsitory", "al>"]);
    chat.press("quit\r");
    let hint = "! not sent: type /quit for the command, or /say quit";
    chat.expect(&[hint, "      to send it", "al>"]);
    chat.press("/msg 99 x\r");
    chat.expect(&["! nobody with the id 99 is here; see /clients", "al>"]);
    chat.press("/send bob\r");
    let usage = "! usage: /send <client> <text>; the client is a name";
    chat.expect(&[usage, "      or an id; see /who", "al>"]);
    chat.press("/reply x\r");
    chat.expect(&["! nobody has sent you a direct message yet", "al>"]);
    chat.press("/history 5\r");
    chat.expect(&["- there are no earlier lines", "al>"]);
    chat.press("hello\r/history\r");
    chat.expect(&["> hello", "- the last line:", "al: hello", "al>"]);
    chat.press("/history x\r");
    let usage = "! usage: /history [count]; the count is a number, such";
    chat.expect(&[usage, "      as 20", "al>"]);
    chat.press("/help\r");
    chat.wait_until(|chat| chat.rows().iter().any(|row| row.contains("-   /history [count] ")));
    chat.press("/quit\r");
    assert_eq!(chat.program.wait().code(), Some(0));
}

#[test]
fn chat_joins_with_the_last_lines_and_shows_who_is_here() {
    let server = Server::start(&[]);
    let mut bob = bob(&server);
    for i in 1..=12 {
        bob.ask(&format!("say line {i}"), &format!("broadcast {i} bob line {i}"));
    }
    let address = server.address.to_string();
    let connected = format!("- connected to {address}; your lines go to");
    let connected = [&*connected, "      everybody; see /help"];
    let join = |arguments: &[&str], lines: std::ops::Range<u32>, end: &[&str]| {
        let mut chat = start(&address, arguments);
        let lines: Vec<String> = lines.map(|i| format!("bob: line {i}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        chat.expect(&[&connected, &lines[..], end].concat());
        chat
    };
    let al = join(&["--name", "al"], 3..13, &["- 2 here: al (you), bob", "al>"]);
    assert_eq!(al.rows().iter().filter(|row| row.starts_with("--:-- bob: ")).count(), 10);
    let _three = join(&["--history", "2"], 11..13, &["- 3 here: client 3 (you), al, bob", "3>"]);
    let _four =
        join(&["--history", "99"], 1..13, &["- 4 here: client 4 (you), al, bob, client 3", "4>"]);
    let end = ["- 5 here: client 5 (you), al, bob, client 3, client 4", "5>"];
    join(&["--history", "0", "--no-presence"], 13..13, &end);
}

#[test]
fn replayed_lines_show_no_time() {
    let server = Server::start(&[]);
    let mut bob = bob(&server);
    bob.ask("say one", "broadcast 1 bob one");
    let mut chat = chat(&server, &["--name", "al"], "al>");
    bob.send("say two, al");
    chat.expect(&["=> bob: two, al", "al>"]);
    chat.press("/history\r");
    chat.expect(&["- the last 2 lines:", "bob: one", "=> bob: two, al", "al>"]);
    let has_time = |row: &String| !row.starts_with("--:-- ");
    let rows = chat.rows();
    let times: Vec<bool> = rows.iter().filter(|row| row.contains("bob: ")).map(has_time).collect();
    assert_eq!(times, [false, true, false, false], "{rows:?}");
}

#[test]
fn no_line_is_lost_or_repeated_while_the_chat_joins() {
    let server = FakeServer::new();
    let mut chat = start(&server.address(), &["--name", "al", "--history", "3"]);
    let mut oyez = server.welcome_as(7, FEED, 10);
    oyez.expect("name al");
    oyez.expect("resume 7 00c0ffee");
    oyez.send("broadcast 11 bob k\nok name al\nbroadcast 12 bob l\nerror gone 9 00c0ffee older");
    oyez.expect("resume 8 00c0ffee");
    // The server replays the line that it skips here.
    oyez.send("broadcast 13 bob m\nlagged 1\nok resume 8");
    let lines = ["i", "j", "k", "l", "m", "n"].map(|text| format!("bob: {text}"));
    for (seq, line) in (9..).zip(&lines) {
        oyez.send(&format!("broadcast {seq} {}", line.replace(": ", " ")));
    }
    oyez.expect("clients");
    oyez.send("client 7 al\nclient 8 bob\nok clients 2 2");
    let mut rows: Vec<&str> = vec!["      everybody; see /help"];
    rows.extend(lines.iter().map(String::as_str));
    rows.extend(["- 2 here: al (you), bob", "al>"]);
    chat.expect(&rows);
    // The server has fewer earlier lines than requested, which is no loss.
    assert!(!chat.output().contains("miss"), "{}", chat.output());
}

#[test]
fn chat_shows_nothing_until_the_client_is_authenticated() {
    let folder = tempfile::tempdir().unwrap();
    let secret = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        path.to_str().unwrap().to_owned()
    };
    let right = secret("right", "correct horse battery staple");
    let wrong = secret("wrong", "incorrect horse battery staple");
    let server = Server::start(&["--secret-file", &right]);
    for (arguments, error) in [
        (&[][..], "requires a secret; use --secret-file FILE"),
        (&["--secret-file", &wrong], "rejected the secret"),
    ] {
        let mut chat = start(&server.address.to_string(), arguments);
        assert_eq!(chat.program.wait().code(), Some(1));
        chat.program.stderr.expect(error);
        assert!(!chat.output().contains("everybody"), "{}", chat.output());
    }
    let mut chat = chat(&server, &["--secret-file", &right], "3>");
    chat.press("hello\r");
    chat.expect(&["> hello", "3>"]);
}

#[test]
fn clients_that_join_and_leave_are_shown() {
    let server = Server::start(&[]);
    let mut al = start(&server.address.to_string(), &["--name", "al"]);
    al.expect(&["- 1 here: al (you)", "al>"]);
    let mut quiet = chat(&server, &[], "2>");
    al.expect(&["- client 2 joined", "al>"]);
    let mut bob = bob(&server);
    al.expect(&["- bob joined", "al>"]);
    bob.ask("name robert", "ok name robert");
    al.expect(&["- bob is now called robert", "al>"]);
    drop(bob);
    al.expect(&["- robert left", "al>"]);
    quiet.press("/who\r");
    quiet.expect(&["- 2 here: client 2 (you), al", "2>"]);
    assert!(!quiet.output().contains("bob"), "{}", quiet.output());
}

#[test]
fn client_lists_are_compared_across_a_reconnect() {
    let server = FakeServer::new();
    let mut chat = start(&server.address(), &["--name", "al"]);
    let mut oyez = server.welcome_as(1, FEED, 0);
    oyez.expect("name al");
    oyez.expect("resume 0 00c0ffee");
    oyez.send("ok name al\nok resume 0");
    oyez.expect("clients");
    oyez.send("client 1 al\nclient 2 bob\nok clients 2 2\ndirect bob hello");
    chat.expect(&["- 2 here: al (you), bob", "[bob] hello", "al>"]);
    drop(oyez);
    let mut oyez = server.welcome_as(3, FEED, 0);
    oyez.expect("name al");
    oyez.expect("resume 0 00c0ffee");
    oyez.send("ok name al\nok resume 0");
    oyez.expect("clients");
    // The lost connection is still listed.
    oyez.send("client 1 -\nclient 3 al\nclient 4 carol\nok clients 3 3");
    chat.expect(&["- carol joined; bob left", "al>"]);
    drop(oyez);
    let mut oyez = server.welcome_as(1, "0badcafe", 0);
    oyez.expect("name al");
    oyez.expect("resume 0 0badcafe");
    oyez.send("ok name al\nok resume 0");
    oyez.expect("clients");
    oyez.send("client 1 al\nclient 2 dave\nok clients 2 2");
    chat.expect(&["- 2 here: al (you), dave", "al>"]);
    // Somebody else may be called bob now.
    chat.press("/reply hello\r");
    chat.expect(&["! nobody has sent you a direct message yet", "al>"]);
    drop(oyez);
    // On the next connection, the client has no rights to list the others.
    let mut oyez = server.welcome_as(2, "0badcafe", 0);
    oyez.expect("name al");
    oyez.expect("resume 0 0badcafe");
    oyez.send("ok name al\nok resume 0");
    oyez.expect("clients");
    oyez.send("error busy later\nbroadcast 1 dave hi");
    chat.expect(&["dave: hi", "al>"]);
    chat.press("hello\r");
    oyez.expect("broadcast hello");
}

/// A keep-alive is due after four seconds, and the list of clients after five, unless somebody new
/// speaks.
#[test]
fn newcomer_is_shown_when_it_speaks() {
    let fake = FakeServer::new();
    let mut chat = start(&fake.address(), &["--name", "al", "--timeout", "16"]);
    let mut server = fake.welcome(FEED, 0);
    server.expect("name al");
    server.send("ok name al");
    server.expect("resume 0 00c0ffee");
    server.send("ok resume 0");
    server.expect("clients");
    server.send("client 1 al\nok clients 1 1");
    chat.expect(&["- 1 here: al (you)", "al>"]);
    server.send("broadcast 1 bob hello");
    server.expect("clients");
    server.send("client 1 al\nclient 2 bob\nok clients 2 2");
    chat.expect(&["bob: hello", "- bob joined", "al>"]);
}

#[test]
fn refused_history_is_reported_and_the_chat_continues() {
    let fake = FakeServer::new();
    let mut chat = start(&fake.address(), &[]);
    let mut server = fake.welcome(FEED, 30);
    server.expect("resume 20 00c0ffee");
    server.send("error not-allowed not for you");
    let address = fake.address();
    chat.expect(&[
        "! cannot replay earlier lines: the server refused: not",
        "      for you",
        &format!("- connected to {address}; your lines go to"),
        "      everybody; see /help",
        "1>",
    ]);
}

#[test]
fn mentions_and_direct_messages_stand_out_and_ring_the_bell_once() {
    let server = Server::start(&[]);
    let mut bob = bob(&server);
    let mut chat = chat(&server, &["--name", "al"], "al>");
    let bells = |chat: &Terminal| chat.output().matches('\x07').count();
    bob.send("say all is well");
    chat.expect(&["bob: all is well", "al>"]);
    assert_eq!(bells(&chat), 0);
    bob.send("say hi, AL!");
    chat.expect(&["=> bob: hi, AL!", "al>"]);
    for i in 0..20 {
        bob.send(&format!("send al psst {i}\nsay al {i}"));
    }
    chat.expect(&["[bob] psst 19", "=> bob: al 19", "al>"]);
    assert_eq!(bells(&chat), 1);
    chat.press("al is me\r");
    chat.expect(&["> al is me", "al>"]);
    chat.press("/reply yes?\r");
    chat.expect(&["[> bob] yes?", "al>"]);
    assert_eq!(bells(&chat), 1);
    let mut direct = start(&server.address.to_string(), &["--history", "50"]);
    // Client 3 has no name yet, so nothing mentions it.
    direct.expect(&["bob: al 19", "al: al is me", "- 3 here: client 3 (you), al, bob", "3>"]);
    bob.send("send 3 psst");
    direct.expect(&["[bob] psst", "3>"]);
    assert_eq!(bells(&direct), 1);
}

#[test]
fn me_sends_an_action() {
    let server = Server::start(&[]);
    let mut bob = bob(&server);
    let mut chat = chat(&server, &["--name", "al"], "al>");
    chat.press("/Me waves\r");
    bob.expect("broadcast 1 al /me waves");
    chat.expect(&["* al waves", "al>"]);
    bob.send("say /me waves at al");
    chat.expect(&["=> * bob waves at al", "al>"]);
    bob.send("say * root: approved");
    chat.expect(&["bob: * root: approved", "al>"]);
    chat.press("/me\r");
    chat.expect(&["! usage: /me <text>", "al>"]);
}

#[test]
fn incoming_lines_do_not_disturb_the_line_being_typed() {
    let server = Server::start(&[]);
    let mut bob = bob(&server);
    let mut chat = chat(&server, &["--name", "al"], "al>");
    let typed = "你好 👩‍🚀 and é, and 더";
    for (i, c) in typed.char_indices() {
        chat.press(&c.to_string());
        bob.send(&format!("say line {i}"));
        bob.expect(&format!("broadcast {} bob line {i}", typed[..i].chars().count() + 1));
        let so_far = format!("al> {}", &typed[..i + c.len_utf8()]);
        chat.expect(&[&format!("bob: line {i}"), so_far.trim_end()]);
    }
    let prompts =
        |chat: &Terminal| chat.rows().iter().filter(|row| row.starts_with("al> ")).count();
    assert_eq!(prompts(&chat), 1, "the prompt must be on the screen once");
    let long = "word ".repeat(40);
    bob.send(&format!("say {long}"));
    chat.expect(&[&format!("al> {typed}")]);
    chat.press("\r");
    assert_eq!(bob.line(), format!("broadcast {} bob {long}", typed.chars().count() + 1));
    bob.expect(&format!("broadcast {} al {typed}", typed.chars().count() + 2));
}

#[test]
fn grapheme_clusters_are_edited_as_single_characters() {
    let server = Server::start(&[]);
    let mut bob = bob(&server);
    let mut chat = chat(&server, &["--name", "al"], "al>");
    // Left twice moves before 好, and Backspace deletes 你.
    chat.press("你好e\u{301}\x1b[D\x1b[D\x7f我");
    chat.expect(&["al> 我好e\u{301}"]);
    chat.wait_until(|chat| chat.cursor().1 == 6);
    // Ctrl-E moves to the end, and Ctrl-A to the beginning.
    chat.press("\x05x\x01>\x05\x7f\x7f👩‍🚀!\r");
    bob.expect("broadcast 1 al >我好👩‍🚀!");
    // Up recalls the last line.
    chat.press("draft\x1b[A\x1b[D\x1b[D\x1b[3~?\r");
    bob.expect("broadcast 2 al >我好?!");
    chat.press("one two three\x17\x17\x15\x19\x19\r");
    bob.expect("broadcast 3 al one one ");
}

#[test]
fn long_input_scrolls_within_one_row() {
    let server = Server::start(&[]);
    let mut bob = bob(&server);
    let mut chat = chat(&server, &["--name", "al"], "al>");
    let long: String = ('a'..='z').cycle().take(100).collect();
    chat.press(&long);
    let tail = &long[80..];
    chat.wait_until(|chat| {
        let row = chat.rows().pop().unwrap();
        row.starts_with("al> <") && row.ends_with(tail)
    });
    chat.press("\x01");
    chat.wait_until(|chat| {
        let row = chat.rows().pop().unwrap();
        row.starts_with("al> abc") && row.ends_with('>') && chat.cursor().1 == 4
    });
    chat.press("\r");
    bob.expect(&format!("broadcast 1 al {long}"));
}

#[test]
fn resizing_keeps_the_line_being_typed() {
    let server = Server::start(&[]);
    let mut bob = bob(&server);
    let mut chat = chat(&server, &["--name", "al"], "al>");
    chat.press("half a line");
    chat.expect(&["al> half a line"]);
    for (rows, columns) in [(10, 30), (40, 200), (4, 20), (24, 60)] {
        chat.resize(rows, columns);
        let text = format!("{columns}c");
        bob.send(&format!("say {text}"));
        chat.wait_until(|chat| {
            let rows = chat.rows();
            let [.., message, typed] = &rows[..] else { return false };
            message.contains(&text) && typed.starts_with("al> ")
        });
    }
    bob.send("say end");
    chat.expect(&["bob: end", "al> half a line"]);
    chat.press(" and more\r");
    for seq in 1..=5 {
        assert!(bob.line().starts_with(&format!("broadcast {seq} bob ")));
    }
    bob.expect("broadcast 6 al half a line and more");
}

#[test]
fn pasted_lines_are_sent_on_enter_and_never_run_as_commands() {
    let server = Server::start(&[]);
    let mut bob = bob(&server);
    let mut chat = chat(&server, &["--name", "al"], "al>");
    chat.press("\x1b[200~/quit\r\r  two\tx\r\x1b[201~");
    chat.expect(&["al> /quit↵↵  two x↵"]);
    chat.press("\r");
    bob.expect("broadcast 1 al /quit");
    bob.expect("broadcast 2 al  ");
    bob.expect("broadcast 3 al   two\tx");
    chat.expect(&["> /quit", ">", ">   two    x", "al>"]);
}

#[test]
fn terminal_is_restored_however_the_chat_ends() {
    // The chat may change its own terminal before the test can look.
    let unused = Terminal::start(&mut Command::new("true"), 24, COLUMNS);
    let before = format!("{:?}", unused.modes());
    for ending in
        ["/quit\r", "\x04", "\x03", "half a line\x03\x03", "TERM", "INT", "HUP", "shutdown"]
    {
        let server = Server::start(&[]);
        let mut command = oyez();
        command.args(["-s", &server.address.to_string(), "--no-reconnect"]);
        let mut chat = Terminal::start(&mut command, 24, COLUMNS);
        chat.expect(&["1>"]);
        assert_ne!(format!("{:?}", chat.modes()), before, "raw mode");
        let status = match ending {
            "shutdown" => {
                server.client().ask("shutdown", "goodbye shutdown");
                1
            }
            signal if signal.bytes().all(|byte| byte.is_ascii_uppercase()) => {
                chat.program.signal(signal);
                0
            }
            keys => {
                chat.press(keys);
                0
            }
        };
        assert_eq!(chat.program.wait().code(), Some(status), "{ending:?}");
        assert_eq!(format!("{:?}", chat.modes()), before, "{ending:?}");
        chat.wait_until(|chat| chat.output().ends_with("\x1b[?2004l\x1b[?7h\x1b[m"));
        let shown = chat.rows().join("\n");
        assert!(
            !shown.contains("half") && !shown.contains("1>"),
            "the prompt was not erased: {shown}"
        );
    }
}

#[test]
fn unsent_line_survives_a_reconnect() {
    let server = Server::start(&[]);
    let address = server.address.to_string();
    let mut chat = chat(&server, &["--name", "al"], "al>");
    server.signal("KILL");
    server.wait();
    chat.expect(&["(not connected) >"]);
    chat.press("kept\r");
    let error = "! not sent: not connected; press Up and Enter to try";
    chat.expect(&[error, "      again", "(not connected) >"]);
    chat.press("a draft");
    let mut again = oyezd();
    again.args(["--listen", &address]);
    let server = Server::spawn(again);
    chat.expect(&[
        "- the server was restarted, or it is another server;",
        "      lines may be missing",
        "- 1 here: al (you)",
        "al> a draft",
    ]);
    let mut bob = bob(&server);
    chat.press("\x1b[A\r");
    bob.expect("broadcast 1 al kept");
    chat.expect(&["> kept", "al>"]);
    chat.press("\x1b[A\x1b[A");
    chat.expect(&["al> a draft"]);
}

#[test]
fn quit_works_without_a_connection() {
    let server = Server::start(&[]);
    let mut chat = chat(&server, &[], "1>");
    server.signal("KILL");
    server.wait();
    chat.expect(&["(not connected) >"]);
    chat.press("/quit\r");
    assert_eq!(chat.program.wait().code(), Some(0));
}

#[test]
fn terminal_is_unchanged_if_the_server_is_unreachable() {
    let mut command = oyez();
    command.args(["-s", "unix:/nowhere/socket"]);
    let mut chat = Terminal::start(&mut command, 24, COLUMNS);
    let before = format!("{:?}", chat.modes());
    assert_eq!(chat.program.wait().code(), Some(1));
    chat.program.stderr.expect("cannot reach unix:/nowhere/socket");
    assert_eq!(format!("{:?}", chat.modes()), before);
    assert_eq!(chat.output(), "");
}

#[test]
fn control_sequences_from_the_server_never_reach_the_terminal() {
    let host = FakeServer::new();
    let mut chat = start(&host.address(), &[]);
    let mut server = host.welcome(FEED, 0);
    server.expect("resume 0 00c0ffee");
    server.send("ok resume 0");
    server.expect("clients");
    server.send("client 1 \u{202e}\nclient 2 \u{202e}\nok clients 2 2");
    chat.expect(&["- 2 here: client 1 (you), client 2", "1>"]);
    // Characters that change the text's direction are escaped.
    server.send(
        "broadcast 1 \u{202e}x a\u{202e}b\ndirect \u{2066}y \u{200f}\nerror \u{202a} \u{202b}",
    );
    chat.expect(&[
        "\\u{202e}x: a\\u{202e}b",
        "[\\u{2066}y] \\u{200f}",
        "! the server refused: \\u{202b}",
        "1>",
    ]);
    server.send_bytes(b"broadcast 2 bob \x1b[2J\x1b]0;owned\x07\n");
    assert_eq!(chat.program.wait().code(), Some(1));
    chat.program.stderr.expect("is not an oyez server: it sent a line that is not text");
    chat.wait_until(|chat| chat.output().ends_with("\x1b[m"));
    assert!(!chat.output().contains("\x1b[2J") && !chat.output().contains("\x1b]"));
}

#[test]
fn forged_message_in_a_broadcast_stays_on_its_row() {
    let server = Server::start(&[]);
    let mut eve = server.client();
    eve.ask("name eve", "ok name eve");
    let mut chat = chat(&server, &[], "2>");
    // The width of these characters differs between terminals.
    for filler in ["\u{ad}", "\u{200b}", "\u{115f}", "\u{feff}", "\u{e0041}", "\u{202e}"] {
        eve.send(&format!("say {}12:00 root: approved", filler.repeat(COLUMNS.into())));
    }
    eve.send("say end");
    chat.expect(&["eve: end", "2>"]);
    let rows = chat.rows();
    let is_safe = |row: &&String| {
        let row = row.as_str();
        row.starts_with("      ") || row.contains("eve: ") || row.contains(" - ") || row == "2>"
    };
    assert!(rows.iter().all(|row| is_safe(&row)), "{rows:?}");
    // Each message disables autowrap, because this test's terminal may agree with the chat.
    let output = chat.output();
    let messages = output.split("\x1b[?7h").filter(|part| part.contains("eve: "));
    assert_eq!(messages.clone().count(), 7);
    assert!(messages.clone().all(|message| message.contains("\x1b[?7l")), "{output:?}");
    assert!(output.contains("\\u{ad}\\u{ad}") && !output.contains('\u{ad}'), "{output:?}");
}

#[test]
fn listen_escapes_invisible_characters_on_a_terminal_but_not_in_a_pipe() {
    let server = Server::start(&[]);
    let mut eve = server.client();
    let text = "a\u{ad}b\tc\u{e0041} 👩\u{200d}🚀";
    eve.ask(&format!("say {text}"), &format!("broadcast 1 1 {text}"));
    for (format, on_terminal, in_pipe) in [
        ("text", "a\\u{ad}b        c\\u{e0041} 👩\u{200d}🚀\x1b[?7h\r\n", format!("{text}\n")),
        (
            "lines",
            "broadcast 1 1 a\\u{ad}b  c\\u{e0041} 👩\u{200d}🚀\x1b[?7h\r\n",
            format!("broadcast 1 1 {text}\n"),
        ),
        (
            "json",
            r#""text":"a\u00adb\tc\udb40\udc41 👩"#,
            "\"text\":\"a\u{ad}b\\tc\u{e0041} 👩\u{200d}🚀\"}\n".to_owned(),
        ),
    ] {
        let listen = || {
            let mut command = oyez();
            command.args(["-s", &server.address.to_string(), "listen", "--since", "0"]);
            command.args(["--count", "1", "--format", format]);
            command
        };
        let mut terminal = Terminal::start(&mut listen(), 24, 200);
        terminal.wait_until(|terminal| terminal.output().contains(on_terminal));
        assert!(!terminal.output().contains('\u{ad}'));
        let output = listen().output().unwrap();
        let output = String::from_utf8(output.stdout).unwrap();
        assert!(output.ends_with(&in_pipe), "{output:?}");
    }
}

#[test]
fn no_color_disables_colors() {
    let server = Server::start(&[]);
    for (variable, has_color) in [("OYEZ_NOTHING", true), ("NO_COLOR", false)] {
        let mut command = oyez();
        command.args(["-s", &server.address.to_string()]).env(variable, "1");
        let mut chat = Terminal::start(&mut command, 24, COLUMNS);
        chat.press("hello\r");
        chat.wait_until(|chat| chat.rows().iter().any(|row| row.ends_with("> hello")));
        let output = chat.output();
        let is_colored = output.contains("\x1b[1m>\x1b[m");
        assert_eq!(is_colored, has_color, "{output:?}");
    }
}

#[test]
fn dumb_terminal_is_refused() {
    for term in ["dumb", ""] {
        let mut chat = Terminal::start_as(term, &mut oyez(), 24, COLUMNS);
        assert_eq!(chat.program.wait().code(), Some(2));
        let error = format!("that can move its cursor, but TERM is {term:?}");
        chat.program.stderr.expect(&error);
        assert_eq!(chat.output(), "");
    }
}

#[test]
fn idle_chat_writes_nothing() {
    let server = Server::start(&[]);
    let mut chat = chat(&server, &[], "1>");
    chat.press("x");
    chat.expect(&["1> x"]);
    assert_eq!(chat.read_until_quiet_for(Duration::from_millis(500)), "");
}

#[test]
fn narrow_terminal_truncates_a_long_prompt() {
    let server = Server::start(&[]);
    let mut bob = bob(&server);
    let name = "a2345678901234567890123456789012";
    let mut command = oyez();
    command.args(["-s", &server.address.to_string(), "--name", name]).env("NO_COLOR", "1");
    let mut chat = Terminal::start(&mut command, 24, 24);
    chat.expect(&["      (you), bob", "a234567890123456789"]);
    for i in 0..5 {
        bob.send(&format!("say {i}"));
    }
    let rows = ["bob: 0", "bob: 1", "bob: 2", "bob: 3", "bob: 4", "a234567890123456789"];
    chat.expect(&rows);
    chat.press("xyz");
    chat.expect(&["bob: 4", "a234567890123456789xyz"]);
}

#[test]
fn oversized_paste_is_refused_and_the_line_is_kept() {
    let server = Server::start(&[]);
    let mut chat = chat(&server, &[], "1>");
    chat.press("kept");
    chat.press(&format!("\x1b[200~{}\x1b[201~", "x".repeat(70_000)));
    chat.expect(&[
        "! the text exceeds 64 KiB; to send a file, run: oyez",
        "      broadcast - < FILE",
        "1> kept",
    ]);
    // The same applies to a search.
    chat.press(&format!("\x12pat\x1b[200~{}\x1b[201~", "x".repeat(70_000)));
    chat.wait_until(|chat| {
        let rows = chat.rows();
        rows.iter().filter(|row| row.contains("! the text exceeds 64 KiB")).count() == 2
            && rows.ends_with(&["(no match) 'pat': kept".to_owned()])
    });
}

#[test]
fn input_that_is_not_utf8_is_refused_and_the_line_is_kept() {
    let server = Server::start(&[]);
    let mut bob = bob(&server);
    let mut chat = chat(&server, &["--name", "al"], "al>");
    // This test's terminal does not show U+FFFD.
    let expect_kept = |chat: &mut Terminal, line: &str| {
        let [first, second, third] = [
            "! not sent: the line has U+FFFD in place of bytes that",
            "      are not UTF-8; replace it, and set the terminal and",
            "      the locale to UTF-8",
        ];
        chat.expect(&[first, second, third, &line.replace('\u{fffd}', "")]);
        assert!(chat.output().contains(line));
    };
    // ISO 8859-1, with Enter directly after the character, and in a slash command and a paste.
    chat.press_bytes(b"caf\xe9\r");
    expect_kept(&mut chat, "al> caf�");
    chat.press("\x15/send bob ");
    chat.press_bytes(b"\xe9t\xe9\r");
    expect_kept(&mut chat, "al> /send bob �t�");
    chat.press_bytes(b"\x15\x1b[200~one\rtw\xf6\x1b[201~\r");
    expect_kept(&mut chat, "al> one↵tw�");
    chat.press("\x7fö\r");
    bob.expect("broadcast 1 al one");
    bob.expect("broadcast 2 al twö");
    // A character may arrive in two parts.
    chat.press_bytes(&[0xc3]);
    chat.press_bytes(&[0xa9, b'\r']);
    bob.expect("broadcast 3 al é");
}

#[test]
fn terminal_without_utf8_receives_only_ascii() {
    let server = Server::start(&[]);
    let mut eve = server.client();
    eve.ask("name eve", "ok name eve");
    // In ISO 8859-1, the second byte of U+00DB begins a control sequence.
    let text = "Û1;1H12:00 root: approvedÛK";
    let shown = "\\u{db}1;1H12:00 root: approved\\u{db}K";
    eve.ask(&format!("say {text}"), &format!("broadcast 1 eve {text}"));
    for locale in ["C", "de_DE.ISO-8859-1", "de_DE"] {
        let start = |arguments: &[&str]| {
            let mut command = oyez();
            command.args(["-s", &server.address.to_string()]).args(arguments);
            Terminal::start(command.env("LC_ALL", locale).env("NO_COLOR", "1"), 24, COLUMNS)
        };
        let mut chat = start(&[]);
        chat.wait_until(|chat| chat.output().contains("- the locale is not UTF-8: "));
        chat.press("\x1b[200~a\nb\x1b[201~\x15/history 1\r");
        chat.wait_until(|chat| chat.output().contains(&format!("eve: {shown}")));
        chat.press("é\x01");
        chat.wait_until(|chat| chat.output().contains("> \\u{e9}"));
        assert!(chat.output().is_ascii(), "{:?}", chat.output());
        for format in ["text", "lines", "json"] {
            let mut listen = start(&["listen", "--since", "0", "--count", "1", "--format", format]);
            assert_eq!(listen.program.wait().code(), Some(0));
            listen.wait_until(|listen| listen.output().ends_with("\r\n"));
            assert!(listen.output().is_ascii(), "{:?}", listen.output());
        }
    }
}

#[test]
fn second_signal_ends_a_chat_with_a_stuck_terminal() {
    let server = Server::start(&[]);
    let mut bob = bob(&server);
    let mut chat = chat(&server, &[], "2>");
    // Unread output fills the terminal's buffer.
    chat.stop_reading();
    let flood = format!("say {}\n", "x".repeat(1000)).repeat(500);
    bob.send_bytes(flood.as_bytes());
    while bob.line() != format!("broadcast 500 bob {}", "x".repeat(1000)) {}
    chat.program.signal("TERM");
    // The first signal may wait for the terminal. The second must not.
    while chat.program.try_wait().is_none() {
        chat.program.signal("TERM");
    }
}
