//! The arguments of both programs: options, texts, and the files to read.
#![allow(clippy::unwrap_used)]

mod support;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Stdio};

use support::{Address, Client, Program, SILENT_SUCCESS, Server, fails, oyez, oyezd, succeeds};

/// Returns a command for an `oyez` that connects to this server.
fn client(server: &Server, arguments: &[&str]) -> Command {
    let mut command = oyez();
    command.args(["-s", &server.address.to_string()]).args(arguments);
    command
}

/// Asserts that the next broadcast has this text, after its number and sender.
#[track_caller]
fn expect_text(reader: &mut Client, text: &str) {
    let line = reader.line();
    let actual = line.splitn(4, ' ').nth(3);
    assert_eq!(actual, Some(text), "{line}");
}

#[test]
fn text_with_options_is_sent_as_it_is() {
    let server = Server::start(&[]);
    let mut bob = server.client();
    bob.ask("name bob", "ok name bob");
    for words in [
        &["run", "it", "with", "--timeout", "5", "please"][..],
        &["curl", "--insecure", "is", "bad"],
        &["--name", "al", "see", "-h", "or", "--version"],
        &["a", "--", "b", "-", "--"],
        &["--", "--insecure", "is", "bad"],
    ] {
        let text = words.join(" ").replacen("--name al ", "", 1);
        let text = text.strip_prefix("-- ").unwrap_or(&text);
        assert_eq!(succeeds(client(&server, &["broadcast"]).args(words)), "");
        expect_text(&mut bob, text);
        assert_eq!(succeeds(client(&server, &["send", "bob"]).args(words)), "");
        assert_eq!(bob.line().splitn(3, ' ').nth(2), Some(text));
        let pong = succeeds(client(&server, &["ping"]).args(words));
        assert!(pong.starts_with(&format!("pong {text}: ")), "{pong}");
    }
}

#[test]
fn any_text_can_follow_two_dashes() {
    let server = Server::start(&[]);
    let mut bob = server.client();
    for text in ["-", "--", "--help", "-h", "-V", "-s", "--file", "--name=x", "-5 degrees", " -- "]
    {
        assert_eq!(succeeds(&mut client(&server, &["broadcast", "--", text])), "");
        expect_text(&mut bob, text);
    }
    fails(&mut client(&server, &["broadcast", "--", ""]), 2, "the text is empty");
    fails(&mut client(&server, &["broadcast", "--"]), 2, "broadcast needs a text, or -");
    fails(&mut client(&server, &["broadcast", "-", "see below"]), 2, "broadcast - takes no text");
}

#[test]
fn server_address_can_follow_its_option_without_a_space() {
    let server = Server::start(&[]);
    let mut bob = server.client();
    let address = format!("-s{}", server.address);
    assert_eq!(succeeds(oyez().args([&address, "broadcast", "one"])), "");
    assert_eq!(succeeds(oyez().args(["broadcast", &address, "two"])), "");
    bob.expect("broadcast 1 2 one");
    bob.expect("broadcast 2 3 two");
}

#[test]
fn option_without_a_value_takes_no_other_option() {
    let folder = tempfile::tempdir().unwrap();
    let mut oyezd = oyezd();
    oyezd.current_dir(&folder).args(["--listen-tls", "127.0.0.1:0", "--tls-self-signed"]);
    fails(oyezd.args(["--log-level", "debug"]), 2, "--tls-self-signed needs a value; if");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    fails(oyez().args(["--name", "--insecure", "ping"]), 2, "--name needs a value; if");
    fails(oyez().args(["--secret-file", "", "ping"]), 2, "--secret-file needs a value");
    fails(oyez().args(["--secret-file=", "ping"]), 2, "--secret-file needs a value");
    fails(oyez().args(["ping", "--timeout"]), 2, "--timeout needs a value");
}

#[test]
fn paths_that_are_not_utf8_are_used_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().as_os_str().as_bytes();
    let path = |name: &[u8]| OsStr::from_bytes(&[folder, b"/", name].concat()).to_owned();
    let address = [b"unix:", path(b"socket\xff").as_bytes()].concat();
    let address = OsStr::from_bytes(&address);
    fs::write(path(b"secret\xff"), "open sesame\n").unwrap();
    fs::write(path(b"input\xff"), "from a file\n").unwrap();

    let mut command = oyezd();
    command.arg("--listen").arg(address).arg("--secret-file").arg(path(b"secret\xff"));
    let mut program = Program::start_with_piped_stderr(&mut command);
    program.stderr.wait_for("listening on unix:");
    assert!(fs::exists(path(b"socket\xff")).unwrap());
    let mut bob = Client::connect_and_read_welcome(&Address::Unix(path(b"socket\xff").into()));
    bob.ask("auth open sesame", "ok auth user");
    let run = |command: &mut Command| {
        let command = command.arg("--secret-file").arg(path(b"secret\xff"));
        assert_eq!(succeeds(command.args(["broadcast", "--file"]).arg(path(b"input\xff"))), "");
    };
    run(oyez().arg("-s").arg(address));
    run(oyez().env("OYEZ_SERVER", address));
    let attached = [b"-s", address.as_bytes()].concat();
    run(oyez().arg(OsStr::from_bytes(&attached)));
    (0..3).for_each(|_| expect_text(&mut bob, "from a file"));
    fails(oyez().arg("broadcast").arg(OsStr::from_bytes(b"\xff")), 2, "\\xFF\" is not UTF-8");
}

/// Runs a program whose stdout is a full disk. It must fail with one line on stderr.
#[track_caller]
fn fails_on_a_full_disk(command: &mut Command) {
    let name = format!("{}: ", command.get_program().to_str().unwrap().rsplit('/').next().unwrap());
    let full = File::options().write(true).open("/dev/full").unwrap();
    let (status, _, stderr) = Program::start_with_piped_stderr(command.stdout(full)).wait_all();
    assert_eq!((status, stderr.lines().count()), (1, 1), "{command:?}: {stderr}");
    let expected = "cannot write to standard output: No space left";
    assert!(stderr.starts_with(&(name + expected)), "{command:?}: {stderr}");
}

#[test]
fn output_that_cannot_be_written_is_an_error() {
    for arguments in [["--help"], ["-h"], ["--version"], ["-V"]] {
        fails_on_a_full_disk(oyez().args(arguments));
        fails_on_a_full_disk(oyezd().args(arguments));
    }
    fails_on_a_full_disk(oyez().arg("help"));
    let server = Server::start(&[]);
    let _bob = server.client();
    succeeds(&mut client(&server, &["broadcast", "hi"]));
    for arguments in [
        &["clients"][..],
        &["listen", "--since", "0"],
        &["listen", "--since", "0", "--count", "1", "--format", "json"],
        &["ping"],
        &["raw"],
        &["stats"],
    ] {
        fails_on_a_full_disk(&mut client(&server, arguments));
    }
}

#[test]
fn help_succeeds_when_its_reader_closes_the_pipe() {
    for mut command in [oyez(), oyezd()] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut program = Program::start_with_piped_stderr(command.arg("--help").stdout(writer));
        assert_eq!((program.wait().code(), program.stderr.all()), (Some(0), String::new()));
    }
}

/// The input of `tail -F app.log | oyez broadcast -`: it has empty and coloured lines, and does not
/// end.
#[test]
fn empty_lines_are_skipped_and_bad_ones_escaped() {
    let server = Server::start(&[]);
    let mut bob = server.client();
    let mut broadcast = client(&server, &["broadcast", "-", "--escape-bad"]);
    let mut broadcast = Program::start(broadcast.stdin(Stdio::piped()));
    broadcast.write_input(b"\n\x1b[31mred\x1b[0m\r\n\r\n\n");
    expect_text(&mut bob, "\\u{1b}[31mred\\u{1b}[0m");
    broadcast.write_input(b"caf\xe9 10%\r20%\n \n\n\n");
    expect_text(&mut bob, "caf\\xe9 10%\\r20%");
    expect_text(&mut bob, " ");
    broadcast.write_input(b"last\0");
    broadcast.close_input();
    expect_text(&mut bob, "last\\u{0}");
    assert_eq!(broadcast.wait_all(), SILENT_SUCCESS);

    let mut empty = client(&server, &["broadcast", "-"]);
    assert_eq!(Program::run_with(&mut empty, b"\n\r\n\n"), SILENT_SUCCESS);
    let mut plain = client(&server, &["broadcast", "-"]);
    assert_eq!(Program::run_with(&mut plain, b"\n\n\none\n\ntwo\n\n"), SILENT_SUCCESS);
    expect_text(&mut bob, "one");
    expect_text(&mut bob, "two");
}

#[test]
fn escape_bad_skips_lines_that_are_too_long() {
    let server = Server::start(&["--max-line", "1000"]);
    let mut bob = server.client();
    let long = [b'x'; 100_000];
    let input =
        [b"first\n\n", &[0xff; 300][..], b"\nca\xe9f\n", &long, b"\nlast\n", &long].concat();
    for options in [&["--escape-bad"][..], &["--escape-bad", "--skip-bad"]] {
        let mut broadcast = client(&server, &["broadcast", "-"]);
        let (status, _, stderr) = Program::run_with(broadcast.args(options), &input);
        let too_long = "is longer than 990 bytes, the server's limit";
        let expected = format!(
            "oyez: skipped: input line 3 {too_long}, when it is escaped\n\
             oyez: skipped: input line 5 {too_long}\n\
             oyez: skipped: input line 7 {too_long}\n"
        );
        assert_eq!((status, stderr), (0, expected), "{options:?}");
        for text in ["first", "ca\\xe9f", "last"] {
            expect_text(&mut bob, text);
        }
    }
}

#[test]
fn byte_order_mark_is_not_part_of_the_input() {
    let server = Server::start(&[]);
    let mut bob = server.client();
    let input = b"\xef\xbb\xbfone\n\xef\xbb\xbftwo\n";
    let mut pipe = client(&server, &["broadcast", "-"]);
    assert_eq!(Program::run_with(&mut pipe, input), SILENT_SUCCESS);
    expect_text(&mut bob, "one");
    expect_text(&mut bob, "\u{feff}two");
    let mut alone = client(&server, &["broadcast", "-"]);
    assert_eq!(Program::run_with(&mut alone, b"\xef\xbb\xbf\n"), SILENT_SUCCESS);
    // The longest text that the server accepts.
    let longest = "x".repeat(4096 - "broadcast ".len());
    let input = format!("\u{feff}{longest}\n");
    let mut long = client(&server, &["broadcast", "-"]);
    assert_eq!(Program::run_with(&mut long, input.as_bytes()), SILENT_SUCCESS);
    expect_text(&mut bob, &longest);
    // Here the server cannot drop it, because the client sends its `name` first.
    let mut raw = client(&server, &["--name", "al", "raw"]);
    let (status, stdout, _) = Program::run_with(&mut raw, b"\xef\xbb\xbfping\n");
    assert!(status == 0 && stdout.ends_with("ok name al\npong\n"), "{stdout}");
}

#[test]
fn files_are_sent_in_order() {
    let server = Server::start(&[]);
    let mut bob = server.client();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let first = write("first", "\u{feff}1\n\n2");
    let empty = write("empty", "");
    let last = write("-", "\u{feff}3\nlast");
    let mut files = client(&server, &["broadcast", "--file", &first, "--file", &empty]);
    files.args([&format!("--file={last}"), "--file", "-", "--file", &first]);
    assert_eq!(Program::run_with(&mut files, b"standard\ninput"), SILENT_SUCCESS);
    for text in ["1", "2", "3", "last", "standard", "input", "1", "2"] {
        expect_text(&mut bob, text);
    }
    let mut relative = client(&server, &["--file", "./-", "broadcast"]);
    assert_eq!(succeeds(relative.current_dir(&folder)), "");
    expect_text(&mut bob, "3");
    expect_text(&mut bob, "last");
}

#[test]
fn nothing_is_sent_if_a_file_cannot_be_opened() {
    let server = Server::start(&[]);
    let mut bob = server.client();
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input");
    fs::write(&input, "one\n").unwrap();
    let input = input.to_str().unwrap();
    let missing = folder.path().join("missing");
    let missing = missing.to_str().unwrap();
    for (path, error) in [
        (missing, format!("cannot read {missing}: No such file")),
        ("/", "cannot read /: Is a directory".to_owned()),
    ] {
        fails(&mut client(&server, &["broadcast", "--file", input, "--file", path]), 1, &error);
    }
    fails(&mut client(&server, &["broadcast", "--file", input, "hi"]), 2, "either --file, or");
    bob.ask("ping", "pong");
}

#[test]
fn named_pipe_is_read_as_its_writers_write() {
    let server = Server::start(&[]);
    let mut bob = server.client();
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let clients = server.stat("clients_total");
    let mut broadcast = client(&server, &["broadcast", "--file", pipe.to_str().unwrap()]);
    let mut broadcast = Program::start(&mut broadcast);
    // It connects although nobody has opened the pipe for writing.
    support::wait_until(|| server.stat("clients") >= 3 && server.stat("clients_total") > clients);
    let mut writer = File::options().write(true).open(&pipe).unwrap();
    for text in ["one", "two"] {
        std::io::Write::write_all(&mut writer, format!("{text}\n").as_bytes()).unwrap();
        expect_text(&mut bob, text);
    }
    assert!(broadcast.try_wait().is_none());
    drop(writer);
    assert_eq!(broadcast.wait_all(), SILENT_SUCCESS);
}
