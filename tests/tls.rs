//! TLS: certificates, confidentiality, handshakes, close_notify, and peers that do not speak TLS.
#![cfg(feature = "tls")]
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
};
use support::terminal::Terminal;
use support::tls::{self, Authority};
use support::{Address, Client, Program, Server, TIMEOUT, oyez, oyezd, size, succeeds, wait_until};
use tempfile::TempDir;

/// A directory with a CA certificate in `ca`, and the test's other files.
struct Files {
    folder: TempDir,
    authority: Authority,
}

impl Files {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(&folder.path().join("ca"));
        let files = Self { folder, authority };
        files.issue("server", "localhost");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// Issues a certificate for `host` in `<name>.cert`, with its key in `<name>.key`.
    fn issue(&self, name: &str, host: &str) {
        let (certificate, key) =
            (self.path(&format!("{name}.cert")), self.path(&format!("{name}.key")));
        self.authority.issue(host, &certificate, &key);
        fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Starts a server with the certificate `<name>.cert`.
    fn server(&self, name: &str, arguments: &[&str]) -> Server {
        let mut command = oyezd();
        command.args(["--listen-tls", "127.0.0.1:0"]);
        command.args(["--tls-cert", &self.text(&format!("{name}.cert"))]);
        command.args(["--tls-key", &self.text(&format!("{name}.key"))]);
        command.args(arguments);
        let mut server = Server::spawn(command);
        server.address = Address::Tls(server.tcp(), self.path("ca"));
        server
    }

    /// Returns an `oyez ping` command that pins this fingerprint and authenticates with this
    /// secret.
    fn ping(&self, server: &Server, fingerprint: &str, secret: &str) -> Command {
        fs::write(self.path("client-secret"), secret).unwrap();
        let file = self.text("client-secret");
        self.oyez(server, &["--tls-fingerprint", fingerprint, "--secret-file", &file, "ping"])
    }

    /// Returns a command that runs `oyez` and connects to the server by host name.
    fn oyez(&self, server: &Server, arguments: &[&str]) -> Command {
        let mut command = oyez();
        command.args(["-s", &format!("localhost:{}", server.port())]).args(arguments);
        command
    }
}

#[track_caller]
fn fails(command: &mut Command, error: &str) {
    support::fails(command, 1, error);
}

/// Returns the fingerprint of the certificate that the server has just loaded, from its log.
fn fingerprint(server: &mut Server) -> String {
    let line = server.wait_for_log("certificate sha256:");
    let (_, rest) = line.split_once("certificate ").unwrap();
    rest.split(';').next().unwrap().to_owned()
}

#[test]
fn certificate_is_verified_by_authority_or_fingerprint() {
    let files = Files::new();
    let mut server = files.server("server", &[]);
    let pin = fingerprint(&mut server);
    succeeds(&mut files.oyez(&server, &["--tls-ca", &files.text("ca"), "ping"]));
    succeeds(&mut files.oyez(&server, &["--tls-fingerprint", &pin, "ping"]));
    let upper_case = pin.to_uppercase().replace("SHA256", "sha256");
    succeeds(&mut files.oyez(&server, &["--tls-fingerprint", &upper_case, "ping"]));
    // The format that openssl prints is accepted too.
    let mut openssl = Command::new("openssl");
    openssl.args(["x509", "-noout", "-fingerprint", "-sha256", "-in", &files.text("server.cert")]);
    if let Ok(output) = openssl.output() {
        let text = String::from_utf8(output.stdout).unwrap();
        let (_, printed) = text.trim().split_once('=').unwrap();
        let printed = format!("sha256:{printed}");
        succeeds(&mut files.oyez(&server, &["--tls-fingerprint", &printed, "ping"]));
    }
}

#[test]
fn wrong_certificate_error_shows_both_fingerprints() {
    let files = Files::new();
    let mut server = files.server("server", &[]);
    let received = format!("received certificate {}", fingerprint(&mut server));
    let other = format!("sha256:{}", "00".repeat(32));
    let mut pinned = files.oyez(&server, &["--tls-fingerprint", &other, "ping"]);
    fails(&mut pinned, &format!("expected certificate {other}; {received}"));
    server.wait_for_log("the client rejected the certificate of this server");
    fails(&mut files.oyez(&server, &["--tls", "ping"]), &received);
    server.wait_for_log("(unknown ca); trust it there with --tls-ca or --tls-fingerprint");
    fails(
        &mut files.oyez(&server, &["--tls", "listen"]),
        "the certificate is not signed by a trusted authority",
    );
    // The certificate is valid only for the host name.
    let mut by_address = oyez();
    by_address.args(["-s", &server.tcp().to_string(), "--tls-ca", &files.text("ca"), "ping"]);
    fails(&mut by_address, "the certificate is not valid for 127.0.0.1, only for localhost; ");
}

#[test]
fn expired_certificate_is_refused() {
    let files = Files::new();
    let (certificate, key) = (files.path("old.cert"), files.path("old.key"));
    files.authority.issue_until("localhost", 2020, &certificate, &key);
    let mut server = files.server("old", &[]);
    let warning = format!(
        "WARN  [oyezd] certificate {} expired on 2020-01-01 00:00 UTC, so clients refuse it; ",
        certificate.display()
    );
    server.wait_for_log(&warning);
    let mut ping = files.oyez(&server, &["--tls-ca", &files.text("ca"), "ping"]);
    fails(&mut ping, "certificate expired on 2020-01-01 00:00 UTC; renew it");
    server.wait_for_log("the client rejected the certificate of this server (certificate expired)");
    server.signal("HUP");
    server.wait_for_log("reloaded the certificate");
    server.wait_for_log(&warning);
}

#[test]
fn self_signed_authority_is_trusted_as_the_servers_own_certificate() {
    let files = Files::new();
    let trust = ["--tls-ca", &files.text("own.cert"), "ping"];
    tls::self_sign("localhost", 4000, &files.path("own.cert"), &files.path("own.key"));
    let server = files.server("own", &[]);
    succeeds(&mut files.oyez(&server, &trust));
    // Its name is still checked.
    let mut by_address = oyez();
    by_address.args(["-s", &server.tcp().to_string()]).args(trust);
    fails(&mut by_address, "the certificate is not valid for 127.0.0.1, only for localhost; ");
    // Another certificate of the same name is not trusted.
    tls::self_sign("localhost", 4000, &files.path("other.cert"), &files.path("other.key"));
    let mut other = files.oyez(&server, &["--tls-ca", &files.text("other.cert"), "ping"]);
    fails(&mut other, "received certificate sha256:");
    // Its dates are still checked, too.
    tls::self_sign("localhost", 2020, &files.path("own.cert"), &files.path("own.key"));
    let server = files.server("own", &[]);
    fails(&mut files.oyez(&server, &trust), "the certificate expired on 2020-01-01 00:00 UTC; ");
}

#[test]
fn self_signed_authority_is_trusted_as_the_clients_own_certificate() {
    let files = Files::new();
    for (year, name) in [(4000, "client"), (2020, "expired")] {
        let [certificate, key] = ["cert", "key"].map(|kind| files.path(&format!("{name}.{kind}")));
        tls::self_sign("me", year, &certificate, &key);
    }
    let ping = |server: &Server, name: &str| {
        let [certificate, key] = ["cert", "key"].map(|kind| files.text(&format!("{name}.{kind}")));
        let identity = ["--tls-cert", &certificate, "--tls-key", &key];
        files.oyez(server, &[&["--tls-ca", &files.text("ca"), "ping"], &identity[..]].concat())
    };
    let server = files.server("server", &["--tls-client-ca", &files.text("client.cert")]);
    succeeds(&mut ping(&server, "client"));
    let mut server = files.server("server", &["--tls-client-ca", &files.text("expired.cert")]);
    let error = "the server rejected the certificate of this client (certificate expired); renew";
    fails(&mut ping(&server, "expired"), error);
    server.wait_for_log("TLS handshake failed: the certificate expired on 2020-01-01 00:00 UTC");
}

#[test]
fn pinned_fingerprint_needs_no_matching_name() {
    let files = Files::new();
    let mut server = files.server("server", &[]);
    let pin = fingerprint(&mut server);
    let by = |host: &str, trust: &[&str]| {
        let mut command = oyez();
        command.args(["-s", &format!("{host}:{}", server.port())]).args(trust).arg("ping");
        command
    };
    succeeds(&mut by("127.1", &["--tls-fingerprint", &pin]));
    let trust = ["--tls-ca", &files.text("ca")];
    let error = "the certificate is not valid for 127.0.0.1, only for localhost";
    fails(&mut by("127.1", &trust), error);
}

/// The certificate need not contain the zone of an IPv6 address.
#[test]
fn certificate_is_valid_for_an_address_with_a_zone() {
    let files = Files::new();
    files.issue("v6", "::1");
    let mut command = oyezd();
    command.args(["--listen-tls", "[::1]:0", "--tls-cert", &files.text("v6.cert")]);
    command.args(["--tls-key", &files.text("v6.key")]);
    let server = Server::spawn(command);
    let mut ping = oyez();
    ping.args(["-s", &format!("[::1%1]:{}", server.port()), "--tls-ca", &files.text("ca")]);
    succeeds(ping.arg("ping"));
}

#[test]
fn client_without_a_trusted_certificate_is_refused() {
    let files = Files::new();
    files.issue("client", "al");
    let others = Files::new();
    others.issue("client", "al");
    let mut server = files.server("server", &["--tls-client-ca", &files.text("ca")]);
    let trust = ["--tls-ca", &files.text("ca")];
    let mut ping = files.oyez(&server, &[&trust[..], &["ping"]].concat());
    fails(&mut ping, "the server requires a client certificate; use --tls-cert and --tls-key");
    server.wait_for_log("TLS handshake failed: the client sent no certificate");
    let certificate = |files: &Files| {
        let (certificate, key) = (files.text("client.cert"), files.text("client.key"));
        vec!["--tls-cert".to_owned(), certificate, "--tls-key".to_owned(), key]
    };
    succeeds(files.oyez(&server, &trust).args(certificate(&files)).arg("ping"));
    let mut untrusted = files.oyez(&server, &trust);
    let error =
        "the server rejected the certificate of this client (unknown ca); its authority must";
    fails(untrusted.args(certificate(&others)).arg("ping"), error);
    server
        .wait_for_log("TLS handshake failed: the certificate is not signed by a trusted authority");
}

#[test]
fn self_signed_certificate_is_created_once_and_reused() {
    let folder = tempfile::tempdir().unwrap();
    let created = folder.path().join("deep/tls");
    let start = || {
        let mut command = oyezd();
        command.args(["--listen-tls", "127.0.0.1:0", "--tls-self-signed"]).arg(&created);
        Server::spawn(command)
    };
    let mut server = start();
    let first = fingerprint(&mut server);
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(created.clone()), mode(created.join("key.pem"))), (0o700, 0o600));
    let certificate = created.join("cert.pem");
    let trust = ["--tls-ca", certificate.to_str().unwrap(), "ping"];
    let mut by_name = oyez();
    succeeds(by_name.args(["-s", &format!("localhost:{}", server.port())]).args(trust));
    succeeds(oyez().args(["-s", &server.tcp().to_string()]).args(trust));
    drop(server);
    assert_eq!(fingerprint(&mut start()), first, "the certificate must be reused");
    // The key without a certificate, as if the server was interrupted: the server reuses the key.
    fs::remove_file(&certificate).unwrap();
    let key = fs::read(created.join("key.pem")).unwrap();
    assert_ne!(fingerprint(&mut start()), first);
    assert_eq!(fs::read(created.join("key.pem")).unwrap(), key);
}

#[test]
fn expired_self_signed_certificate_is_replaced_at_start_and_at_reload() {
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    tls::self_sign_as("oyezd", "localhost", 2020, &certificate, &key);
    let old_key = fs::read(&key).unwrap();
    let mut command = oyezd();
    command.args(["--listen-tls", "127.0.0.1:0", "--tls-self-signed"]).arg(folder.path());
    let mut server = Server::spawn(command);
    let replaced = "WARN  [oyezd] created a new certificate in";
    let mut check = || {
        let line = server.wait_for_log(replaced);
        assert!(line.contains("because the old one expired on 2020-01-01 00:00 UTC; "), "{line}");
        let mut ping = oyez();
        ping.args(["-s", &server.tcp().to_string(), "--tls-ca", certificate.to_str().unwrap()]);
        succeeds(ping.arg("ping"));
        assert_eq!(fs::read(&key).unwrap(), old_key);
        let unused = folder.path().join("unused");
        tls::self_sign_as("oyezd", "localhost", 2020, &certificate, &unused);
        server.signal("HUP");
    };
    check();
    check();
}

/// Starts a server with `--tls-self-signed`. Returns it and its log until it has loaded the
/// certificate.
fn start_self_signed(folder: &TempDir) -> (Server, String) {
    let mut command = oyezd();
    command.args(["--listen-tls", "127.0.0.1:0", "--tls-self-signed"]).arg(folder.path());
    let mut server = Server::spawn(command);
    let log = server.wait_for_log("[oyezd] ") + &server.wait_for_log("WARN  [oyezd] certificate ");
    (server, log)
}

#[test]
fn certificate_that_the_server_did_not_create_is_never_replaced() {
    for name in ["somebody", "oyezd2", "oyez"] {
        let folder = tempfile::tempdir().unwrap();
        let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
        tls::self_sign_as(name, "localhost", 2020, &certificate, &key);
        let old = fs::read(&certificate).unwrap();
        let (mut server, log) = start_self_signed(&folder);
        let expected = "expired on 2020-01-01 00:00 UTC, so clients refuse it; replace it, then";
        assert!(log.contains(expected), "{log}");
        server.signal("HUP");
        server.wait_for_log(expected);
        assert_eq!(fs::read(&certificate).unwrap(), old, "{name}");
    }
    // A certificate signed by an authority.
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    let authority = Authority::new(&folder.path().join("ca"));
    authority.issue_until("localhost", 2020, &certificate, &key);
    let old = fs::read(&certificate).unwrap();
    start_self_signed(&folder);
    assert_eq!(fs::read(&certificate).unwrap(), old);
}

#[test]
fn certificate_that_cannot_be_replaced_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    tls::self_sign_as("oyezd", "localhost", 2020, &certificate, &key);
    let old = fs::read(&certificate).unwrap();
    // Even root cannot write the file while a directory has its name.
    fs::create_dir_all(folder.path().join("cert.new/full")).unwrap();
    let mut command = oyezd();
    command.args(["--listen-tls", "127.0.0.1:0", "--tls-self-signed"]).arg(folder.path());
    let mut server = Server::spawn(command);
    for _ in 0..2 {
        let line = server.wait_for_log("WARN  [oyezd] keeping the certificate in ");
        assert!(line.contains("expired on 2020-01-01 00:00 UTC but cannot be replaced"), "{line}");
        assert!(line.contains("cannot write ") && line.contains("cert.new: File exists"), "{line}");
        server.wait_for_log("; replace it, then send SIGHUP to this process");
        assert_eq!(fs::read(&certificate).unwrap(), old);
        server.signal("HUP");
    }
    // Once the directory is writable, a reload replaces it.
    fs::remove_dir_all(folder.path().join("cert.new")).unwrap();
    server.signal("HUP");
    server.wait_for_log("WARN  [oyezd] created a new certificate in");
}

#[test]
fn key_from_which_no_certificate_can_be_created_is_explained() {
    const SEC1: &str = "\
        -----BEGIN EC PRIVATE KEY-----\n\
        MHcCAQEEIP8AucbgJK8zziW03X6aZ9CPKQOOc3jddf4EZi6Emv41oAoGCCqGSM49\n\
        AwEHoUQDQgAEKfQ3GLOl8PEnRjl1mti6OykVWmxGrEPs0osQLAIzB6iGOfuquvis\n\
        uMTUYn6TRg84ROqF8ZDORRwtdCJvY4SUjg==\n\
        -----END EC PRIVATE KEY-----\n";
    for (key, expected) in [
        (SEC1, "must be in PKCS#8 format; convert it: openssl pkey -in "),
        ("hello", "no PEM private key found; the file has no line that starts with -----BEGIN"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("key.pem"), key).unwrap();
        let mut command = oyezd();
        command.args(["--listen-tls", "127.0.0.1:0", "--tls-self-signed"]).arg(folder.path());
        let (status, _, stderr) = Program::run(&mut command);
        assert!(status == 1 && stderr.contains(expected), "{stderr}");
        assert!(stderr.contains("cannot create a certificate in "), "{stderr}");
        assert_eq!(stderr.matches("key.pem: ").count(), 1, "{stderr}");
        assert_eq!(fs::read_to_string(folder.path().join("key.pem")).unwrap(), key);
    }
}

#[test]
fn unusable_certificate_file_is_an_error_with_the_reason() {
    let files = Files::new();
    files.issue("other", "localhost");
    fs::write(files.path("empty"), "").unwrap();
    let server = |certificate: &str, key: &str| {
        let mut command = oyezd();
        command.args(["--listen-tls", "127.0.0.1:0"]);
        command.args(["--tls-cert", &files.text(certificate), "--tls-key", &files.text(key)]);
        let (status, _, stderr) = Program::run(&mut command);
        assert_eq!(status, 1, "{stderr}");
        stderr
    };
    assert!(server("missing", "server.key").contains("missing: No such file"));
    assert!(server("empty", "server.key").contains("empty: no PEM certificate found"));
    assert!(server("server.cert", "empty").contains("empty: no PEM private key found"));
    assert!(server("server.cert", "other.key").contains("does not belong to certificate"));
    fs::set_permissions(files.path("server.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let mut server = files.server("server", &[]);
    server.wait_for_log("is readable by others; fix: chmod 600");
}

/// Files of other kinds, and damaged ones, as the certificate or the key of a server.
#[test]
fn certificate_or_key_file_of_another_kind_is_described() {
    let files = Files::new();
    let [certificate, key] =
        ["server.cert", "server.key"].map(|name| fs::read_to_string(files.path(name)).unwrap());
    let der = |pem: &str| {
        let (_, item) = rustls::pki_types::pem::from_buf(&mut pem.as_bytes()).unwrap().unwrap();
        item
    };
    let labeled = |pem: &str, label: &str| {
        let (_, rest) = pem.split_once("-----\n").unwrap();
        format!("-----BEGIN {label}-----\n{}", rest.replace("PRIVATE KEY", label)).into_bytes()
    };
    let utf16: Vec<u8> = "\u{feff}secret".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let traditional = key.replace("KEY-----\nM", "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK: x\n\nM");
    let swapped = "give the private key that belongs to it";
    for (kind, contents, expected) in [
        ("key", labeled(&key, "ENCRYPTED PRIVATE KEY"), "encrypted with a passphrase; remove the"),
        ("key", labeled(&key, "ENCRYPTED PRIVATE KEY"), "openssl pkey -in"),
        (
            "key",
            [certificate.as_bytes(), &labeled(&key, "ENCRYPTED PRIVATE KEY")].concat(),
            "encrypted with a passphrase; remove the passphrase: openssl pkey -in",
        ),
        (
            "key",
            traditional.clone().into_bytes(),
            "encrypted with a passphrase; remove the passphrase: op",
        ),
        ("key", labeled(&key, "OPENSSH PRIVATE KEY"), "holds an OpenSSH key, which TLS does not"),
        ("key", labeled(&key, "DSA PRIVATE KEY"), "unsupported key (DSA); supported are RSA of"),
        ("key", labeled(&key, "PUBLIC KEY"), "holds a public key; give the private key"),
        ("key", der(&key), "holds a private key in DER format; convert it: openssl pkey -inform"),
        ("key", certificate.clone().into_bytes(), swapped),
        ("key", der(&certificate), swapped),
        ("cert", der(&certificate), "certificate in DER format; convert it: openssl x509 -inform"),
        ("cert", key.clone().into_bytes(), "holds a private key; give the certificate"),
        ("cert", labeled(&key, "CERTIFICATE REQUEST"), "holds a certificate signing request; give"),
        ("cert", labeled(&key, "PKCS7"), "holds a PKCS#7 bundle; convert it: openssl pkcs7"),
        ("cert", vec![0x30, 5, 2, 1, 3, 0x30, 0], "holds a PKCS#12 bundle; convert it: openssl"),
        (
            "cert",
            labeled(&key, "TRUSTED CERTIFICATE"),
            "only openssl uses; convert it: openssl x50",
        ),
        ("cert", labeled(&key, "X509 CRL"), "a certificate revocation list, which oyez does not"),
        ("cert", labeled(&key, "SOMETHING"), "a PEM section named \"SOMETHING\", which oyez does"),
        ("cert", utf16, "the file is UTF-16 text; save it as UTF-8"),
        ("cert", b"hello\n".to_vec(), "the file has no line that starts with -----BEGIN"),
        ("cert", certificate[..200].to_owned().into_bytes(), "the file is cut off: a PEM section"),
        ("cert", certificate.replacen("CATE-----", "CATE----", 1).into(), "end with five dashes"),
        ("cert", certificate.replace('\n', "").into(), "has lost its line breaks"),
        ("cert", certificate.replace('\n', "\\n").into(), "has lost its line breaks"),
        ("key", key.replace('\n', " ").into(), "has lost its line breaks"),
        ("key", certificate.replace('\n', "\r").into(), swapped),
        ("key", traditional.replace('\n', "\r").into(), "encrypted with a passphrase; remove the"),
        ("cert", certificate.replacen("\nMII", "\n!!!", 1).into(), "a PEM section is damaged"),
        ("cert", certificate.replacen("\nMII", "\nAAA", 1).into(), "not a valid X.509 certificate"),
    ] {
        fs::write(files.path("wrong"), &contents).unwrap();
        let mut command = oyezd();
        command.args(["--listen-tls", "127.0.0.1:0"]);
        for name in ["cert", "key"] {
            let file = if name == kind { "wrong".to_owned() } else { format!("server.{name}") };
            command.args([format!("--tls-{name}"), files.text(&file)]);
        }
        let (status, _, stderr) = Program::run(&mut command);
        assert!(status == 1 && stderr.contains(expected), "{expected}: {stderr}");
        assert!(stderr.contains(&files.text("wrong")) && stderr.lines().count() == 1, "{stderr}");
    }
}

#[test]
fn chain_in_the_wrong_order_is_an_error_that_says_so() {
    let files = Files::new();
    let server = fs::read_to_string(files.path("server.cert")).unwrap();
    let authority = fs::read_to_string(files.path("ca")).unwrap();
    fs::write(files.path("server.cert"), authority + &server).unwrap();
    let mut command = oyezd();
    command.args(["--listen-tls", "127.0.0.1:0", "--tls-cert", &files.text("server.cert")]);
    let (status, _, stderr) = Program::run(command.args(["--tls-key", &files.text("server.key")]));
    assert!(status == 1 && stderr.contains("must come first in the file"), "{stderr}");
}

/// Some editors write U+FEFF at the beginning of a file, and systems end lines differently.
#[test]
fn pem_file_may_have_a_byte_order_mark_and_any_line_ends() {
    for (begin, line_end) in [("\u{feff}", "\n"), ("", "\r\n"), ("\u{feff}", "\r\n"), ("", "\r")] {
        let files = Files::new();
        for name in ["server.cert", "server.key", "ca"] {
            let text = fs::read_to_string(files.path(name)).unwrap().replace('\n', line_end);
            fs::write(files.path(name), format!("{begin}{text}")).unwrap();
        }
        let server = files.server("server", &[]);
        succeeds(&mut files.oyez(&server, &["--tls-ca", &files.text("ca"), "ping"]));
    }
}

#[test]
fn key_from_a_pipe_is_read_at_start_and_kept_at_reload() {
    let files = Files::new();
    let key = format!("<(cat {})", files.text("server.key"));
    let certificate = files.text("server.cert");
    let options = ["--listen-tls", "127.0.0.1:0", "--tls-cert", &certificate, "--tls-key", &key];
    let mut server = Server::start_after_script("", &options);
    for _ in 0..2 {
        server.signal("HUP");
        server.wait_for_log("reloaded the certificate, for new connections; kept the contents of");
    }
}

/// Starts a proxy that records the traffic in both directions. Returns its address and the
/// recording.
fn recording_proxy(to: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let recording = Arc::new(Mutex::new(Vec::new()));
    let shared = Arc::clone(&recording);
    thread::spawn(move || {
        for near in listener.incoming().map(Result::unwrap) {
            let far = TcpStream::connect(to).unwrap();
            for (mut from, mut to) in
                [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)]
            {
                let recording = Arc::clone(&shared);
                thread::spawn(move || {
                    let mut bytes = [0; 4096];
                    while let Ok(len @ 1..) = from.read(&mut bytes) {
                        recording.lock().unwrap().extend_from_slice(&bytes[..len]);
                        let _ = to.write_all(&bytes[..len]);
                    }
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    (address, recording)
}

/// Runs a listener and a sender, both with a name and a secret, through the recording proxy.
/// Returns the traffic that an eavesdropper would see.
fn eavesdrop(files: &Files, server: &Server, trust: &[&str]) -> String {
    let (address, recording) = recording_proxy(server.tcp());
    let client = |arguments: &[&str]| {
        let mut command = oyez();
        command.args(["-s", &format!("localhost:{}", address.port())]).args(trust);
        command.args(["--secret-file", &files.text("secret")]).args(arguments);
        command
    };
    let listen = Program::start(&mut client(&["--name", "listener", "listen", "--count", "1"]));
    let mut other = server.client();
    other.ask("auth open sesame", "ok auth user");
    other.send_to("listener", "psst");
    succeeds(&mut client(&["--name", "speaker", "broadcast", "a secret message"]));
    let (status, stdout, _) = listen.wait_all();
    assert_eq!((status, stdout.as_str()), (0, "a secret message\n"));
    let recording = recording.lock().unwrap();
    String::from_utf8_lossy(&recording).into_owned()
}

#[test]
fn encrypted_connection_shows_no_plain_text() {
    let files = Files::new();
    fs::write(files.path("secret"), "open sesame\n").unwrap();
    let secret = ["--secret-file", &files.text("secret")];
    let encrypted =
        eavesdrop(&files, &files.server("server", &secret), &["--tls-ca", &files.text("ca")]);
    let plain = eavesdrop(&files, &Server::start(&secret), &[]);
    let words =
        ["welcome", "auth", "sesame", "listener", "speaker", "broadcast", "message", "psst"];
    for word in words {
        assert!(plain.contains(word), "{word} is missing from the plain connection");
        assert!(!encrypted.contains(word), "{word} is readable on the encrypted connection");
    }
    assert!(encrypted.len() > 1000, "the encrypted connection was not recorded");
}

/// The server executes a connection's input even after a write to it has failed.
#[test]
fn lines_sent_before_a_reset_are_executed() {
    let files = Files::new();
    let mut server = files.server("server", &[]);
    let mut other = server.client();
    let stream = TcpStream::connect(server.tcp()).unwrap();
    let raw = stream.try_clone().unwrap();
    let mut client = tls::connect(stream, &files.path("ca"));
    client.read_exact(&mut [0; 8]).unwrap();
    // The client stops reading: the server's writes first block, then fail after the reset.
    let flood = format!("say {}\n", "x".repeat(1000));
    for _ in 0..8000 {
        other.send_bytes(flood.as_bytes());
        other.line();
    }
    // The lines and the reset arrive while the server is stopped.
    server.signal("STOP");
    client.write_all(b"say 1\nsay 2\nsay 3\n").unwrap();
    rustix::net::sockopt::set_socket_linger(&raw, Some(Duration::ZERO)).unwrap();
    drop((client, raw));
    server.signal("CONT");
    for text in ["1", "2", "3"] {
        assert!(other.line().ends_with(&format!(" 2 {text}")));
    }
    server.wait_for_log("client 2 ");
}

#[test]
fn sighup_reloads_certificate_and_secret_for_new_connections() {
    let files = Files::new();
    fs::write(files.path("secret"), "old\n").unwrap();
    let mut server = files.server("server", &["--secret-file", &files.text("secret")]);
    let old = fingerprint(&mut server);
    let mut connected = server.client();
    connected.ask("auth old", "ok auth user");
    succeeds(&mut files.ping(&server, &old, "old"));

    files.issue("server", "localhost");
    fs::write(files.path("secret"), "new\n").unwrap();
    server.signal("HUP");
    let new = fingerprint(&mut server);
    assert_ne!(new, old);
    succeeds(&mut files.ping(&server, &new, "new"));
    fails(&mut files.ping(&server, &old, "new"), "cannot set up TLS with localhost");
    fails(&mut files.ping(&server, &new, "old"), "rejected the secret in ");
    connected.ask("ping", "pong");

    fs::write(files.path("server.cert"), "broken").unwrap();
    fs::write(files.path("secret"), "").unwrap();
    server.signal("HUP");
    server
        .wait_for_log("reload failed, keeping the current certificates and secrets: secret file ");
    fs::write(files.path("secret"), "newer\n").unwrap();
    server.signal("HUP");
    server
        .wait_for_log("reload failed, keeping the current certificates and secrets: certificate ");
    succeeds(&mut files.ping(&server, &new, "new"));
    connected.ask("ping", "pong");
}

/// A client that keeps its sessions, and resumes them if the server lets it.
fn resuming_client(files: &Files, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(files.path("ca")).unwrap()).unwrap();
    let own = CertificateDer::pem_file_iter(files.path("client.cert")).unwrap();
    let own = own.map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(files.path("client.key")).unwrap();
    let config = ClientConfig::builder_with_protocol_versions(&[version])
        .with_root_certificates(roots)
        .with_client_auth_cert(own, key);
    Arc::new(config.unwrap())
}

/// Connects, exchanges a line, and closes. Returns the kind of the handshake.
fn handshake(config: &Arc<ClientConfig>, server: &Server) -> std::io::Result<HandshakeKind> {
    let stream = TcpStream::connect(server.tcp())?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let name = ServerName::try_from("localhost").unwrap();
    let tls = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut tls = BufReader::new(StreamOwned::new(tls, stream));
    let mut line = String::new();
    tls.read_line(&mut line)?;
    tls.get_mut().write_all(b"ping\n")?;
    tls.read_line(&mut line)?;
    assert!(line.ends_with("pong\n"), "{line}");
    Ok(tls.get_ref().conn.handshake_kind().unwrap())
}

#[test]
fn session_is_resumed_until_the_server_reloads() {
    let files = Files::new();
    files.issue("client", "me");
    let mut server = files.server("server", &["--tls-client-ca", &files.text("ca")]);
    for version in [&TLS13, &TLS12] {
        let config = resuming_client(&files, version);
        for reload in 0..2 {
            assert_eq!(handshake(&config, &server).unwrap(), HandshakeKind::Full, "{reload}");
            assert_eq!(handshake(&config, &server).unwrap(), HandshakeKind::Resumed);
            assert_eq!(handshake(&config, &server).unwrap(), HandshakeKind::Resumed);
            server.signal("HUP");
            server.wait_for_log("reloaded the certificate");
        }
    }
}

/// A ticket holds the certificates of the client, which sends the ticket back in one message.
#[test]
fn client_with_many_certificates_reconnects_without_a_session() {
    let files = Files::new();
    files.issue("client", "me");
    let certificate = fs::read_to_string(files.path("client.cert")).unwrap();
    fs::write(files.path("client.cert"), certificate.repeat(100)).unwrap();
    let server = files.server("server", &["--tls-client-ca", &files.text("ca")]);
    for version in [&TLS13, &TLS12] {
        let config = resuming_client(&files, version);
        for _ in 0..2 {
            assert_eq!(handshake(&config, &server).unwrap(), HandshakeKind::Full);
        }
    }
}

#[test]
fn session_does_not_outlive_the_authority_of_its_client() {
    let files = Files::new();
    files.issue("client", "me");
    fs::copy(files.path("ca"), files.path("client-ca")).unwrap();
    let mut server = files.server("server", &["--tls-client-ca", &files.text("client-ca")]);
    for version in [&TLS13, &TLS12] {
        let config = resuming_client(&files, version);
        handshake(&config, &server).unwrap();
        assert_eq!(handshake(&config, &server).unwrap(), HandshakeKind::Resumed);
        fs::copy(Files::new().path("ca"), files.path("client-ca")).unwrap();
        server.signal("HUP");
        server.wait_for_log("reloaded the certificate");
        let error = handshake(&config, &server).unwrap_err();
        assert!(error.to_string().contains("UnknownCA"), "{error}");
        fs::copy(files.path("ca"), files.path("client-ca")).unwrap();
        server.signal("HUP");
        server.wait_for_log("reloaded the certificate");
    }
}

/// Opens connections. Half of them send the beginning of a ClientHello byte by byte; the others
/// send nothing. Meanwhile, another client must receive its replies.
fn unfinished_handshakes(server: &Server, other: &mut Client) -> Vec<TcpStream> {
    let mut half_open: Vec<_> =
        (0..200).map(|_| TcpStream::connect(server.tcp()).unwrap()).collect();
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    for byte in hello {
        for stream in half_open.iter_mut().step_by(2) {
            // The handshake may have timed out.
            let _ = stream.write_all(&[byte]);
        }
        other.ask("ping", "pong");
    }
    half_open
}

#[test]
fn unfinished_handshakes_time_out_without_delaying_others() {
    let files = Files::new();
    let mut server = files.server("server", &["--auth-timeout", "1"]);
    let mut other = server.client();
    for stream in &mut unfinished_handshakes(&server, &mut other) {
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        // The server closes without sending anything, possibly with a reset.
        assert!(matches!(stream.read(&mut [0; 100]), Ok(0) | Err(_)));
    }
    server.wait_for_log("disconnected: authentication timed out");
    wait_until(|| other.stat("clients") == 1);
    server.assert_idle();
}

#[test]
fn unfinished_handshakes_do_not_keep_the_server_busy() {
    let files = Files::new();
    let server = files.server("server", &["--auth-timeout", "3600"]);
    let mut other = server.client();
    let _half_open = unfinished_handshakes(&server, &mut other);
    server.assert_idle();
    other.ask("ping", "pong");
}

#[test]
fn connection_without_tls_is_closed_without_affecting_others() {
    let files = Files::new();
    let mut server = files.server("server", &[]);
    let mut other = server.client();
    for garbage in [
        b"ping\nsay hi\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        vec![0; 100_000],
        vec![0x16; 100_000],
        [&[0x16, 3, 1, 0x40, 0][..], &[0xff; 0x4000]].concat(),
    ] {
        let mut stream = TcpStream::connect(server.tcp()).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let _ = stream.write_all(&garbage);
        let _ = stream.shutdown(Shutdown::Write);
        let mut received = vec![];
        let _ = stream.read_to_end(&mut received);
        // At most one alert record.
        assert!(received.len() <= 7, "{received:?}");
        let line = server.wait_for_log("disconnected: TLS handshake failed: ");
        assert!(!line.contains("connection lost"), "{line}");
        other.ask("ping", "pong");
    }
    // A TLS client with a plain-text server, and a plain-text client with a TLS server.
    let plain = Server::start(&[]);
    let mut to_plain = oyez();
    to_plain.args(["-s", &plain.address.to_string(), "--tls", "ping"]);
    fails(&mut to_plain, "the server does not speak TLS on this port; use its TLS port, or");
    let mut to_tls = files.oyez(&server, &["--timeout", "1", "ping"]);
    fails(&mut to_tls, "no welcome from the server; if it uses TLS, add --tls");
    server.assert_idle();
}

#[test]
fn garbage_after_the_handshake_ends_only_its_own_connection() {
    let files = Files::new();
    let mut server = files.server("server", &[]);
    let mut other = server.client();
    let stream = TcpStream::connect(server.tcp()).unwrap();
    let mut raw = stream.try_clone().unwrap();
    let mut broken = BufReader::new(tls::connect(stream, &files.path("ca")));
    let mut line = String::new();
    broken.read_line(&mut line).unwrap();
    assert!(line.starts_with("welcome "), "{line}");
    broken.get_mut().write_all(b"say before\n").unwrap();
    other.expect("broadcast 1 2 before");
    raw.write_all(&[0x17, 3, 3, 0, 5, 1, 2, 3, 4, 5]).unwrap();
    server.wait_for_log("client 2 ");
    let line = server.wait_for_log("disconnected: ");
    assert!(line.contains("cannot decrypt"), "{line}");
    other.ask("ping", "pong");
}

/// A client that ends without a close_notify would be logged as cut off.
#[test]
fn every_task_ends_with_a_close_notify() {
    let files = Files::new();
    let mut server = files.server("server", &[]);
    let trust = ["--tls-ca", &files.text("ca")];
    let command = |arguments: &[&str]| files.oyez(&server, &[&trust[..], arguments].concat());
    let tasks: [(&[&str], &[u8], i32); 9] = [
        (&["ping"], b"", 0),
        (&["clients"], b"", 0),
        (&["stats"], b"", 0),
        (&["broadcast", "a"], b"", 0),
        (&["broadcast", "-"], b"b\nc\n", 0),
        (&["send", "999999", "x"], b"", 1),
        (&["listen", "--since", "1", "--count", "2"], b"", 0),
        (&["raw"], b"ping\n", 0),
        (&["raw"], b"quit\n", 0),
    ];
    let commands: Vec<_> = tasks.iter().map(|(arguments, ..)| command(arguments)).collect();
    let mut listen = Program::start(&mut command(&["--name", "al", "listen"]));
    let (mut retry, mut chat) = (command(&["--name", "al", "ping"]), command(&[]));
    let mut other = server.client();
    wait_until(|| other.stat("clients") == 2);
    for ((arguments, input, expected), mut command) in tasks.into_iter().zip(commands) {
        let (status, _, stderr) = Program::run_with(&mut command, input);
        assert_eq!(status, expected, "{arguments:?}: {stderr}");
        let line = server.wait_for_log("disconnected: ");
        let reason = if input == b"quit\n" { "quit" } else { "end of input" };
        assert!(line.contains(&format!("disconnected: {reason}; ")), "{arguments:?}: {line}");
    }
    if cfg!(feature = "chat") {
        let mut chat = Terminal::start(chat.env("NO_COLOR", "1"), 24, 80);
        chat.wait_until(|chat| chat.rows().iter().any(|row| row.ends_with('>')));
        chat.press("/quit\r");
        let line = server.wait_for_log("disconnected: ");
        assert!(line.contains("disconnected: quit; "), "{line}");
    }
    // A name that is taken, and a signal.
    listen.stdout.wait_for("c");
    fails(&mut retry, "somebody is already called al");
    let line = server.wait_for_log("disconnected: ");
    assert!(line.contains("disconnected: end of input; "), "{line}");
    listen.signal("TERM");
    let line = server.wait_for_log("disconnected: ");
    assert!(line.contains("(al)") && line.contains("disconnected: end of input; "), "{line}");
}

#[test]
fn connect_error_is_the_same_with_and_without_tls() {
    let files = Files::new();
    let ping = |address: &str, options: &[&str]| {
        let (status, _, stderr) =
            Program::run(oyez().args(["-s", address]).args(options).arg("ping"));
        assert_eq!(status, 1, "{stderr}");
        stderr
    };
    let tls = ["--tls-ca", &files.text("ca")];
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    fs::write(files.path("no-socket"), "").unwrap();
    for (address, expected) in [
        (free.clone(), format!("cannot reach {free}: connection refused; start a server with: ")),
        (format!("unix:{}", files.text("none")), "none: no such socket; start a".to_owned()),
        (format!("unix:{}", files.text("no-socket")), "no-socket: connection refused; ".to_owned()),
    ] {
        let plain = ping(&address, &[]);
        assert!(plain.contains(&expected), "{plain}");
        assert_eq!(ping(&address, &tls), plain.replace("--listen ", "--listen-tls "));
    }
    // A server that resets the connection.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for stream in listener.incoming().map(Result::unwrap) {
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        }
    });
    for options in [&[][..], &tls] {
        let error = ping(&address, options);
        assert!(error.contains(": connection reset"), "{options:?}: {error}");
    }
}

#[test]
fn end_without_close_notify_is_a_cut() {
    let files = Files::new();
    let mut server = files.server("server", &[]);
    let mut other = server.client();
    // Between two records, and inside one.
    for (id, sent_last) in [(2, &[][..]), (3, &[0x17, 3, 3, 0, 50, 1, 2])] {
        let stream = TcpStream::connect(server.tcp()).unwrap();
        let mut raw = stream.try_clone().unwrap();
        let mut client = tls::connect(stream, &files.path("ca"));
        client.write_all(b"say whole\nsay ha").unwrap();
        raw.write_all(sent_last).unwrap();
        raw.shutdown(Shutdown::Write).unwrap();
        let broadcast = format!("broadcast {} {id} whole", id - 1);
        other.expect(&broadcast);
        let mut received = String::new();
        client.read_to_string(&mut received).unwrap();
        let lines: Vec<&str> = received.lines().collect();
        assert_eq!(lines[1..], [broadcast], "the partial line gets no reply");
        let line = server.wait_for_log("disconnected: ");
        assert!(line.contains("disconnected: connection cut: TLS ended without"), "{line}");
    }
    other.ask("ping", "pong");
}

/// The server's output ends with a close_notify and a FIN, before the client closes its own side.
#[test]
fn fin_follows_the_close_notify() {
    let files = Files::new();
    let server = files.server("server", &["--drain-timeout", "3600"]);
    let stream = TcpStream::connect(server.tcp()).unwrap();
    let mut raw = stream.try_clone().unwrap();
    let mut client = tls::connect(stream, &files.path("ca"));
    client.write_all(b"quit\n").unwrap();
    let mut received = String::new();
    client.read_to_string(&mut received).unwrap();
    assert!(received.ends_with("\ngoodbye quit\n"), "{received}");
    assert_eq!(raw.read(&mut [0]).unwrap(), 0);
}

/// Output that is pending at close_notify arrives, even if the peer sends more after it.
#[test]
fn pending_output_survives_input_after_close_notify() {
    let files = Files::new();
    // A small send buffer keeps the socket full, so encrypted records are pending, too.
    let server = files.server("server", &["--send-buffer", "4K"]);
    let mut other = server.client();
    for sends_eof in [false, true] {
        let stream = TcpStream::connect(server.tcp()).unwrap();
        let mut raw = stream.try_clone().unwrap();
        let mut reader = tls::connect(stream, &files.path("ca"));
        reader.read_exact(&mut [0; 8]).unwrap();
        for i in 1..=1000 {
            other.send(&format!("say {i} {}", "x".repeat(1000)));
            other.line();
        }
        reader.write_all(b"ping z\n").unwrap();
        reader.conn.send_close_notify();
        reader.flush().unwrap();
        if sends_eof {
            raw.shutdown(Shutdown::Write).unwrap();
        } else {
            raw.write_all(&[0; 8000]).unwrap();
        }
        let mut received = String::new();
        reader.read_to_string(&mut received).unwrap();
        assert!(received.ends_with("x\npong z\n"), "{} bytes arrived", received.len());
        assert_eq!(received.lines().filter(|line| line.starts_with("broadcast ")).count(), 1000);
    }
}

/// OYEZ_READERS and OYEZ_LINES set the numbers of readers and lines.
#[test]
fn many_readers_get_every_line() {
    let (readers, lines) = (size("OYEZ_READERS", 20), size("OYEZ_LINES", 20_000));
    let files = Files::new();
    let server = files.server("server", &[]);
    let threads: Vec<_> = (0..readers)
        .map(|_| {
            let stream = TcpStream::connect(server.tcp()).unwrap();
            stream.set_read_timeout(Some(TIMEOUT)).unwrap();
            let mut reader = BufReader::new(tls::connect(stream, &files.path("ca")));
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            thread::spawn(move || {
                for seq in 1..=lines {
                    line.clear();
                    reader.read_line(&mut line).unwrap();
                    assert!(line.starts_with(&format!("broadcast {seq} ")), "{line}");
                }
            })
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input");
    fs::write(&input, format!("{}\n", "x".repeat(100)).repeat(lines)).unwrap();
    let mut broadcast = files.oyez(&server, &["--tls-ca", &files.text("ca"), "broadcast", "-"]);
    succeeds(broadcast.stdin(Stdio::from(fs::File::open(&input).unwrap())));
    for thread in threads {
        thread.join().unwrap();
    }
}
