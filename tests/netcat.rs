//! Netcat variants and other common programs as clients.
//!
//! If a program is not installed, its tests are ignored; in CI they fail instead.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::ops::RangeInclusive;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use libtest_mimic::{Arguments, Failed};
use support::installed::trial;
use support::{Server, TIMEOUT};

/// A program that is used as a client.
struct Program {
    name: &'static str,
    /// The executable that must be installed.
    needs: &'static str,
    /// A shell command that connects to `$PORT`, or with TLS to `$TLS_PORT`.
    command: &'static str,
    /// Whether the program exits after the end of its input, once it has received every reply.
    exits_at_end_of_input: bool,
}

const PROGRAMS: [Program; 11] = [
    Program {
        name: "nc",
        needs: "nc",
        command: "exec nc 127.0.0.1 $PORT",
        exits_at_end_of_input: false,
    },
    Program {
        name: "nc_N",
        needs: "nc",
        command: "exec nc -N 127.0.0.1 $PORT",
        exits_at_end_of_input: true,
    },
    Program {
        name: "nc_q1",
        needs: "nc",
        command: "exec nc -q 1 127.0.0.1 $PORT",
        exits_at_end_of_input: true,
    },
    Program {
        name: "ncat",
        needs: "ncat",
        command: "exec ncat 127.0.0.1 $PORT",
        exits_at_end_of_input: true,
    },
    Program {
        name: "ncat_C",
        needs: "ncat",
        command: "exec ncat -C 127.0.0.1 $PORT",
        exits_at_end_of_input: true,
    },
    Program {
        name: "socat",
        needs: "socat",
        command: "exec socat - TCP:127.0.0.1:$PORT",
        exits_at_end_of_input: true,
    },
    Program {
        name: "telnet",
        needs: "telnet",
        command: "exec telnet 127.0.0.1 $PORT",
        exits_at_end_of_input: false,
    },
    Program {
        name: "dev_tcp",
        needs: "bash",
        command: "exec 3<>/dev/tcp/127.0.0.1/$PORT; cat <&3 & while IFS= read -r line; \
                  do printf '%s\\n' \"$line\" >&3; done; kill $!",
        exits_at_end_of_input: false,
    },
    Program {
        name: "openssl",
        needs: "openssl",
        command: "exec openssl s_client -quiet -connect 127.0.0.1:$TLS_PORT",
        exits_at_end_of_input: false,
    },
    Program {
        name: "ncat_ssl",
        needs: "ncat",
        command: "exec ncat --ssl 127.0.0.1 $TLS_PORT",
        exits_at_end_of_input: true,
    },
    Program {
        name: "socat_openssl",
        needs: "socat",
        command: "exec socat - OPENSSL:127.0.0.1:$TLS_PORT,verify=0",
        exits_at_end_of_input: true,
    },
];

/// Returns the programs that this build of the server can serve.
fn programs() -> impl Iterator<Item = &'static Program> {
    PROGRAMS
        .iter()
        .filter(|program| cfg!(feature = "tls") || !program.command.contains("$TLS_PORT"))
}

/// A server with a plain port and a TLS port.
struct Ports {
    server: Server,
    tls_port: u16,
    _folder: tempfile::TempDir,
}

impl Ports {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        if cfg!(not(feature = "tls")) {
            return Self { server: Server::start(&[]), tls_port: 0, _folder: folder };
        }
        let path = folder.path().to_str().unwrap();
        let tls = ["--listen-tls", "127.0.0.1:0", "--tls-self-signed", path];
        let mut server = Server::start(&tls);
        let line = server.wait_for_log("listening on ");
        let tls_port = match support::listening_address(&line) {
            support::Address::Tcp(address) => address.port(),
            other => panic!("{other}"),
        };
        Self { server, tls_port, _folder: folder }
    }

    /// Returns a command that runs a shell script with the ports in its environment.
    fn shell(&self, script: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-c", script]);
        command.env("PORT", self.server.port().to_string());
        command.env("TLS_PORT", self.tls_port.to_string());
        command
    }
}

/// A running program and its pipes.
struct Session {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Session {
    /// Starts the program and waits for the welcome line.
    fn start(program: &Program, ports: &Ports) -> Self {
        let mut child = ports
            .shell(program.command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in stdout.lines() {
                // telnet prints CRLF line endings.
                let line = line.unwrap().trim_end_matches('\r').to_owned();
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let session = Self { child, stdin, lines };
        // Some programs print other lines before the welcome.
        while !session.line().unwrap().starts_with("welcome ") {}
        session
    }

    fn send(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    fn line(&self) -> Result<String, Failed> {
        self.lines.recv_timeout(TIMEOUT).map_err(|_| Failed::from("no line arrived"))
    }

    fn expect(&self, line: &str) -> Result<(), Failed> {
        let received = self.line()?;
        if received == line {
            Ok(())
        } else {
            Err(format!("expected {line:?}, received {received:?}").into())
        }
    }

    /// Reads lines up to and including this one.
    fn read_through(&self, last: &str) -> Result<Vec<String>, Failed> {
        let mut lines = vec![];
        while lines.last().map(String::as_str) != Some(last) {
            lines.push(self.line()?);
        }
        Ok(lines)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Three instances of a program exchange lines with most of the commands.
fn speaks_the_protocol(program: &Program) -> Result<(), Failed> {
    let ports = Ports::start();
    let mut a = Session::start(program, &ports);
    let mut b = Session::start(program, &ports);
    let c = Session::start(program, &ports);
    a.send("ping are you there?");
    a.expect("pong are you there?")?;
    a.send("broadcast hello");
    for client in [&a, &b, &c] {
        client.expect("broadcast 1 1 hello")?;
    }
    b.send("name bob");
    b.expect("ok name bob")?;
    b.send("say Grüße, 你好");
    for client in [&a, &b, &c] {
        client.expect("broadcast 2 bob Grüße, 你好")?;
    }
    a.send("send bob psst");
    a.expect("ok send bob")?;
    b.expect("direct 1 psst")?;
    a.send("clients");
    let listed = a.read_through("ok clients 3 3")?;
    assert_eq!(listed[..3], ["client 1 -", "client 2 bob", "client 3 -"]);
    a.send("quiet");
    a.expect("ok quiet")?;
    a.send("say from the quiet one");
    a.expect("ok broadcast 3")?;
    b.expect("broadcast 3 1 from the quiet one")?;
    a.send("listen");
    a.expect("ok listen 3")?;
    a.send("stats");
    assert!(a.read_through("ok stats")?.contains(&"stat broadcasts 3".to_owned()));
    a.send("help");
    assert_eq!(a.read_through("ok help")?.len(), oyez::protocol::COMMANDS.len() + 1);
    a.send("nonsense");
    a.expect("error unknown-command help lists the commands")?;
    a.send("quit");
    a.expect("goodbye quit")?;
    b.send("clients");
    b.expect("client 2 bob")?;
    Ok(())
}

/// A client that connects late receives earlier lines, then new ones, without gaps or duplicates.
fn receives_earlier_lines(program: &Program) -> Result<(), Failed> {
    let ports = Ports::start();
    let mut bob = ports.server.client();
    let mut say = |seqs: RangeInclusive<u64>| {
        for seq in seqs {
            bob.ask(&format!("say {seq}"), &format!("broadcast {seq} 1 {seq}"));
        }
    };
    say(1..=15);
    let mut late = Session::start(program, &ports);
    let expect = |late: &Session, seqs: RangeInclusive<u64>| {
        seqs.into_iter().try_for_each(|seq| late.expect(&format!("broadcast {seq} 1 {seq}")))
    };
    late.send("history 10");
    late.expect("ok history 10")?;
    expect(&late, 6..=15)?;
    say(16..=20);
    expect(&late, 16..=20)?;
    late.send("resume 13");
    late.expect("ok resume 13")?;
    expect(&late, 14..=20)?;
    say(21..=21);
    expect(&late, 21..=21)
}

/// A program with piped input receives every reply before it exits.
fn receives_every_reply(program: &Program) -> Result<(), Failed> {
    let ports = Ports::start();
    let script = format!("printf 'ping\\nclients\\n' | ({})", program.command);
    let mut command = ports.shell(&script);
    let (_, stdout, _) = support::Program::run(command.stdin(Stdio::null()));
    let (_, replies) = stdout.split_once('\n').unwrap_or_default();
    assert_eq!(replies, "pong\nclient 1 -\nok clients 1 1\n");
    Ok(())
}

/// All programs receive all lines, in the same order.
fn same_order_for_all() -> Result<(), Failed> {
    let ports = Ports::start();
    let mut sessions: Vec<_> = programs().map(|program| Session::start(program, &ports)).collect();
    for round in 0..20 {
        for session in &mut sessions {
            session.send(&format!("say {round}"));
        }
    }
    let lines = 20 * sessions.len();
    let mut received = vec![];
    for session in &sessions {
        let lines: Result<Vec<String>, Failed> = (0..lines).map(|_| session.line()).collect();
        received.push(lines?);
    }
    for (i, line) in received[0].iter().enumerate() {
        assert!(line.starts_with(&format!("broadcast {} ", i + 1)), "{line}");
    }
    assert!(
        received.iter().all(|lines| *lines == received[0]),
        "the programs received different lines"
    );
    Ok(())
}

/// Programs that can connect to a Unix socket receive their replies.
fn unix_socket() -> Result<(), Failed> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let mut command = support::oyezd();
    command.arg("--listen").arg(format!("unix:{}", path.display()));
    let _server = Server::spawn(command);
    for client in ["nc -N -U $SOCKET", "ncat -U $SOCKET", "socat - UNIX-CONNECT:$SOCKET"] {
        let mut command = Command::new("bash");
        command.args(["-c", &format!("printf 'ping\\n' | {client}")]).env("SOCKET", &path);
        let (_, stdout, _) = support::Program::run(&mut command);
        assert!(stdout.ends_with("\npong\n"), "{client}: {stdout:?}");
    }
    Ok(())
}

/// A test that runs with each program.
type Test = fn(&Program) -> Result<(), Failed>;

fn main() {
    let mut tests = vec![
        trial(
            "all_programs_receive_the_same_order".to_owned(),
            &["nc", "ncat", "socat", "telnet", "bash", "openssl"],
            same_order_for_all,
        ),
        trial("unix_socket_serves_netcats".to_owned(), &["nc", "ncat", "socat"], unix_socket),
    ];
    for program in programs() {
        let mut with_program: Vec<(&str, Test)> = vec![
            ("speaks_the_protocol", speaks_the_protocol),
            ("receives_earlier_lines", receives_earlier_lines),
        ];
        if program.exits_at_end_of_input {
            with_program.push(("receives_every_reply", receives_every_reply));
        }
        for (name, test) in with_program {
            let name = format!("{}_{name}", program.name);
            tests.push(trial(name, &[program.needs], move || test(program)));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}
