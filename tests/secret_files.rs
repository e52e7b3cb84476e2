//! Secrets from files and pipes: which bytes are part of a secret, and what a reload reads again.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use support::{Client, Program, Server, fails, oyez};
use tempfile::TempDir;

/// Writes a file that only its owner can read. Returns its path.
fn write(folder: &TempDir, name: &str, contents: impl AsRef<[u8]>) -> String {
    let path = folder.path().join(name);
    fs::write(&path, contents).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[track_caller]
fn authenticate(server: &Server, secret: &str, reply: &str) {
    let mut client = Client::connect(&server.address);
    assert!(client.line().starts_with("welcome "));
    client.ask(&format!("auth {secret}"), reply);
}

#[test]
fn secrets_from_pipes_are_read_at_start_and_kept_at_reload() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder, "file", "from a file\n");
    // One secret from a command, one from standard input, then one of each kind.
    for (user, admin, input) in [
        ("<(printf 'open sesame\\n')", "/dev/stdin", "<(printf 'hunter2\\r\\n')"),
        ("/dev/fd/0", "<(printf hunter2)", "<(printf 'open sesame')"),
    ] {
        let options = ["--secret-file", user, "--admin-secret-file", admin, "<", input];
        let mut server = Server::start_after_script("", &options);
        for _ in 0..2 {
            authenticate(&server, "open sesame", "ok auth user");
            authenticate(&server, "hunter2", "ok auth admin");
            server.signal("HUP");
            server.wait_for_log("for new connections; kept the contents of the pipe /dev/fd/");
        }
    }
    // A file is still read again.
    let options = ["--secret-file", &file, "--admin-secret-file", "<(printf hunter2)"];
    let mut server = Server::start_after_script("", &options);
    authenticate(&server, "from a file", "ok auth user");
    write(&folder, "file", "changed\n");
    server.signal("HUP");
    server.wait_for_log(&format!("reloaded {file}, /dev/fd/"));
    authenticate(&server, "changed", "ok auth user");
    authenticate(&server, "hunter2", "ok auth admin");
}

#[test]
fn client_reads_its_secret_from_a_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder, "file", "open sesame\n");
    let server = Server::start(&["--secret-file", &file]);
    let mut ping = oyez();
    ping.args(["-s", &server.address.to_string(), "--secret-file", "/dev/stdin", "ping"]);
    let (status, _, stderr) = Program::run_with(&mut ping, b"open sesame\n");
    assert_eq!((status, stderr.as_str()), (0, ""));
    let (status, _, stderr) = Program::run_with(&mut ping, b"");
    assert!(status == 1 && stderr.contains("secret file /dev/stdin: empty"), "{stderr}");
}

/// Some editors write U+FEFF at the beginning of a file.
#[test]
fn byte_order_mark_is_not_part_of_a_secret() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder, "file", "\u{feff}open sesame\r\n");
    let server = Server::start(&["--secret-file", &file]);
    authenticate(&server, "open sesame", "ok auth user");
    let mut ping = oyez();
    ping.args(["-s", &server.address.to_string(), "--secret-file", &file, "ping"]);
    assert_eq!(Program::run(&mut ping).0, 0);
    // Only one is dropped, and only at the beginning.
    let file = write(&folder, "two", "\u{feff}\u{feff}open sesame");
    let server = Server::start(&["--secret-file", &file]);
    authenticate(&server, "\u{feff}open sesame", "ok auth user");
}

#[test]
fn secret_in_utf_16_is_an_error_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let utf16: Vec<u8> = "\u{feff}secret".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let file = write(&folder, "file", utf16);
    let mut ping = oyez();
    ping.args(["--secret-file", &file, "ping"]);
    fails(&mut ping, 1, &format!("secret file {file}: UTF-16 text; save it as UTF-8"));
}

#[test]
fn blank_around_a_secret_is_part_of_it_and_logs_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    for (secret, position) in [("open sesame ", "ends"), ("open\t", "ends"), (" open", "begins")] {
        let file = write(&folder, "file", format!("{secret}\n"));
        let mut server = Server::start(&["--secret-file", &file]);
        let warning =
            format!("the secret in {file} {position} with a blank, which is part of the secret");
        authenticate(&server, secret, "ok auth user");
        server.signal("HUP");
        server.wait_for_log(&warning);
        let mut ping = oyez();
        ping.args(["-s", &server.address.to_string(), "--secret-file", &file, "ping"]);
        let (status, _, stderr) = Program::run(&mut ping);
        assert!(status == 0 && stderr.contains(&warning), "{stderr}");
        server.signal("TERM");
        let (_, log) = server.wait();
        assert_eq!(log.matches(&warning).count(), 2, "at start and at reload: {log}");
    }
}
