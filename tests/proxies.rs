//! Proxies in front of the server, configured as docs/proxies.md recommends.
//!
//! If a proxy is not installed, its test is ignored; in CI it fails instead.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use libtest_mimic::Arguments;
use support::installed::trial;
use support::{Address, Client, Program, Server, wait_until};

fn main() {
    let tests = vec![
        trial("nginx".to_owned(), &["nginx"], || {
            nginx();
            Ok(())
        }),
        trial("haproxy".to_owned(), &["haproxy"], || {
            haproxy();
            Ok(())
        }),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}

/// A running proxy.
struct Proxy {
    address: SocketAddr,
    _program: Program,
    _directory: tempfile::TempDir,
}

impl Proxy {
    /// Starts a proxy with the configuration under this heading of the documentation, which listens
    /// on port 5060 and forwards to port 5050. `prefix` is prepended to it; DIRECTORY in the prefix
    /// stands for a temporary directory. The program receives the path of the configuration file as
    /// its last argument.
    fn start(heading: &str, prefix: &str, command: &mut Command, server: &Server) -> Self {
        let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/proxies.md");
        let document = fs::read_to_string(document).unwrap();
        let (_, section) = document.split_once(&format!("\n## {heading}\n")).unwrap();
        let (_, block) = section.split_once("```text\n").unwrap();
        let (configuration, _) = block.split_once("```").unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let configuration = configuration
            .replace("listen 5060", &format!("listen {address}"))
            .replace("bind :5060", &format!("bind {address}"))
            .replace("127.0.0.1:5050", &server.tcp().to_string());
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("configuration");
        let prefix = prefix.replace("DIRECTORY", directory.path().to_str().unwrap());
        fs::write(&path, format!("{prefix}\n{configuration}")).unwrap();
        command.arg(path).stdin(Stdio::null()).stdout(Stdio::null());
        let program = Program::start_with_piped_stderr(command);
        wait_until(|| TcpStream::connect(address).is_ok());
        Self { address, _program: program, _directory: directory }
    }

    /// Connects a client to the server through the proxy.
    #[track_caller]
    fn client(&self) -> Client {
        Client::connect_and_read_welcome(&Address::Tcp(self.address))
    }
}

/// Asserts that a client that half-closes its connection receives all replies.
#[track_caller]
fn check_half_close(proxy: &Proxy) {
    for pings in [1, 10_000] {
        let mut client = proxy.client();
        client.send_bytes("ping x\n".repeat(pings).as_bytes());
        client.shutdown_write();
        for _ in 0..pings {
            client.expect("pong x");
        }
        client.expect_end();
    }
}

fn nginx() {
    let server = Server::start(&[]);
    // A single process, because the test can end only the process that it started.
    let prefix = "include /etc/nginx/modules-enabled/*.conf; daemon off; master_process off; \
                  pid DIRECTORY/pid; events {}";
    let mut command = Command::new("nginx");
    command.args(["-e", "stderr", "-c"]);
    let proxy = Proxy::start("nginx", prefix, &mut command, &server);
    check_half_close(&proxy);
}

fn haproxy() {
    let mut server = Server::start(&["--log-level", "debug"]);
    let proxy = Proxy::start("HAProxy", "", Command::new("haproxy").args(["-db", "-f"]), &server);
    check_half_close(&proxy);
    for _ in 0..2 {
        let check = server.wait_for_log(" 0 bytes in, ");
        assert!(check.contains(" DEBUG ") && check.contains(" disconnected: "), "{check}");
    }
}
