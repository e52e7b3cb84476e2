//! Environment variables as defaults for options.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::process::Command;

use support::{Program, SILENT_SUCCESS, Server, fails, oyez, succeeds};

fn command(server: &Server, variables: &[(&str, &str)], arguments: &[&str]) -> Command {
    let mut command = oyez();
    command.env("OYEZ_SERVER", server.address.to_string());
    command.envs(variables.iter().copied()).args(arguments);
    command
}

#[test]
fn secret_file_variable_authenticates_and_the_option_overrides_it() {
    let folder = tempfile::tempdir().unwrap();
    let [good, bad] = ["good", "bad"].map(|name| {
        let path = folder.path().join(name);
        fs::write(&path, format!("{name}\n")).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let server = Server::start(&["--secret-file", &good]);
    succeeds(&mut command(&server, &[("OYEZ_SECRET_FILE", &good)], &["stats"]));
    let option = ["--secret-file", &good, "stats"];
    succeeds(&mut command(&server, &[("OYEZ_SECRET_FILE", &bad)], &option));
    fails(
        &mut command(&server, &[("OYEZ_SECRET_FILE", &bad)], &["stats"]),
        1,
        "rejected the secret",
    );
    fails(
        &mut command(&server, &[("OYEZ_SECRET_FILE", "/nowhere")], &["stats"]),
        1,
        "secret file /nowhere: ",
    );
}

#[test]
fn lines_carry_the_name_in_the_variable() {
    let server = Server::start(&[]);
    let mut other = server.client();
    let name = [("OYEZ_NAME", "al")];
    succeeds(&mut command(&server, &name, &["broadcast", "hello"]));
    other.expect("broadcast 1 al hello");
    succeeds(&mut command(&server, &name, &["send", &other.id.to_string(), "psst"]));
    other.expect("direct al psst");
    succeeds(&mut command(&server, &name, &["broadcast", "--name", "bo", "hello"]));
    other.expect("broadcast 2 bo hello");
    // `broadcast -` with a name could not reconnect, so it does not use the variable.
    let mut stream = command(&server, &name, &["broadcast", "-"]);
    assert_eq!(Program::run_with(&mut stream, b"hello\n"), SILENT_SUCCESS);
    assert!(other.line().starts_with("broadcast 3 5 hello"));
}

#[test]
fn broadcast_continues_without_a_name_that_the_users_chat_has() {
    let server = Server::start(&[]);
    let mut chat = server.client();
    chat.ask("name al", "ok name al");
    let name = [("OYEZ_NAME", "al")];
    let (status, _, stderr) = Program::run(&mut command(&server, &name, &["broadcast", "hello"]));
    assert_eq!(status, 0, "{stderr}");
    assert!(stderr.starts_with("oyez: sending without the name in OYEZ_NAME: "), "{stderr}");
    chat.expect("broadcast 1 2 hello");
    fails(&mut command(&server, &[], &["--name", "al", "broadcast", "x"]), 1, "already called al");
    // Commands that do not use the name do not read it.
    for variables in [name, [("OYEZ_NAME", "not a name")]] {
        succeeds(&mut command(&server, &variables, &["ping"]));
        succeeds(&mut command(&server, &variables, &["clients"]));
    }
    let error = "OYEZ_NAME \"not a name\": expected 1 to 32 of A-Z";
    fails(&mut command(&server, &[("OYEZ_NAME", "not a name")], &["broadcast", "x"]), 2, error);
}

#[cfg(feature = "tls")]
#[test]
fn tls_variables_enable_tls_and_any_tls_option_overrides_them_all() {
    use support::Address;

    let mut server = Server::start_tls(&[]);
    let line = server.wait_for_log("certificate sha256:");
    let (_, rest) = line.split_once("certificate ").unwrap();
    let pin = rest.split(';').next().unwrap();
    let Address::Tls(_, ca) = &server.address else { panic!("a TLS server") };
    let ca = ca.to_str().unwrap();
    let wrong = &format!("sha256:{}", "0".repeat(64));
    for variables in [
        &[("OYEZ_TLS_CA", ca)][..],
        &[("OYEZ_TLS_FINGERPRINT", pin)],
        &[("OYEZ_TLS", "1"), ("OYEZ_TLS_FINGERPRINT", pin)],
        &[("OYEZ_TLS_FINGERPRINT", pin), ("OYEZ_TLS_CA", "")],
    ] {
        succeeds(&mut command(&server, variables, &["ping"]));
    }
    let variables = [("OYEZ_TLS", "x"), ("OYEZ_TLS_CA", "x"), ("OYEZ_TLS_FINGERPRINT", wrong)];
    succeeds(&mut command(&server, &variables, &["--tls-ca", ca, "ping"]));
    succeeds(&mut command(&server, &variables, &["--tls-fingerprint", pin, "ping"]));
    let untrusted = "the certificate is not signed by a trusted authority";
    fails(&mut command(&server, &[("OYEZ_TLS", "1")], &["ping"]), 1, untrusted);
    fails(&mut command(&server, &[("OYEZ_TLS_CA", ca)], &["--tls", "ping"]), 1, untrusted);
    fails(
        &mut command(&server, &[("OYEZ_TLS_FINGERPRINT", wrong)], &["ping"]),
        1,
        &format!("expected certificate {wrong}; received certificate {pin}"),
    );
    // OYEZ_TLS disables TLS for one command.
    let plain = Server::start(&[]);
    for no in ["", "0", "no", "false"] {
        succeeds(&mut command(&plain, &[("OYEZ_TLS", no)], &["ping"]));
    }
    succeeds(&mut command(&plain, &[("OYEZ_TLS", "0"), ("OYEZ_TLS_CA", ca)], &["ping"]));
    let error = "does not speak TLS on this port; use its TLS port, or connect without TLS\n";
    fails(&mut command(&plain, &[("OYEZ_TLS", "1")], &["ping"]), 1, error);
    fails(&mut command(&plain, &[], &["--tls", "ping"]), 1, error);
}

#[cfg(not(feature = "tls"))]
#[test]
fn tls_variables_need_a_build_with_tls() {
    let server = Server::start(&[]);
    let error = "this build does not support TLS";
    fails(&mut command(&server, &[], &["--tls", "ping"]), 1, error);
    fails(&mut command(&server, &[("OYEZ_TLS", "1")], &["ping"]), 1, error);
    fails(&mut command(&server, &[("OYEZ_TLS_CA", "ca")], &["ping"]), 1, error);
    succeeds(&mut command(&server, &[("OYEZ_TLS", "0")], &["ping"]));
}

#[test]
fn wrong_value_is_an_error_that_names_the_variable() {
    let server = Server::start(&[]);
    for (variable, value, error) in [
        ("OYEZ_SERVER", "host:x", "OYEZ_SERVER \"host:x\": expected a port"),
        ("OYEZ_TLS", "2", "OYEZ_TLS \"2\": expected 1, yes, true, 0, no or false"),
        ("OYEZ_TLS_FINGERPRINT", "x", "OYEZ_TLS_FINGERPRINT \"x\": expected sha256: and 64"),
    ] {
        fails(&mut command(&server, &[(variable, value)], &["ping"]), 2, error);
        succeeds(&mut command(&server, &[(variable, value)], &["help"]));
    }
}
