//! `oyez chat` in tmux, which wraps rows again when a pane becomes narrower.
#![allow(clippy::unwrap_used)]

mod support;

use std::process::Command;
use std::thread;
use std::time::Instant;

use libtest_mimic::Arguments;
use support::{Server, TIMEOUT, installed};

fn main() {
    let mut tests = vec![];
    if cfg!(feature = "chat") {
        let name = "resized_pane_shows_the_prompt_once".to_owned();
        let test = || {
            resized_pane_shows_the_prompt_once();
            Ok(())
        };
        tests.push(installed::trial(name, &["tmux"], test));
    }
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}

/// A tmux server with one pane. Dropping it ends the program in the pane.
struct Tmux {
    folder: tempfile::TempDir,
}

impl Tmux {
    fn start(columns: usize, rows: usize, program: &str) -> Self {
        let tmux = Self { folder: tempfile::tempdir().unwrap() };
        let (columns, rows) = (columns.to_string(), rows.to_string());
        tmux.run(&["new-session", "-d", "-x", &columns, "-y", &rows, program]);
        tmux.run(&["set", "-g", "window-size", "manual"]);
        tmux
    }

    fn command(&self) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.env_remove("TMUX").args(["-u", "-f", "/dev/null", "-S"]);
        tmux.arg(self.folder.path().join("socket"));
        tmux
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.command().args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Waits until the rows of the pane, without empty ones at the end, meet the condition.
    #[track_caller]
    fn wait_for_rows(&self, condition: impl Fn(&[&str]) -> bool) {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let screen = self.run(&["capture-pane", "-p"]);
            let rows: Vec<&str> = screen.trim_end_matches('\n').split('\n').collect();
            if condition(&rows) {
                return;
            }
            assert!(Instant::now() < deadline, "timed out; the pane shows:\n{screen}");
            thread::yield_now();
        }
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // tmux has already ended if the program in the pane has.
        let _ = self.command().arg("kill-server").status();
    }
}

fn resized_pane_shows_the_prompt_once() {
    let server = Server::start(&[]);
    let mut bob = server.client();
    bob.ask("name bob", "ok name bob");
    let name = "Q".repeat(30);
    let oyez = env!("CARGO_BIN_EXE_oyez");
    let command = format!("LC_ALL=C.UTF-8 '{oyez}' -s {} --name {name}", server.address);
    let tmux = Tmux::start(80, 24, &command);
    tmux.wait_for_rows(|rows| rows.last().is_some_and(|row| row.starts_with(&name)));
    let typed = "Z".repeat(60);
    tmux.run(&["send-keys", "-l", &typed]);
    tmux.wait_for_rows(|rows| rows.last().is_some_and(|row| row.ends_with(&typed[..30])));
    let sizes = [
        (20, 24),
        (10, 24),
        (80, 24),
        (80, 40),
        (40, 10),
        (40, 50),
        (12, 50),
        (100, 50),
        (30, 24),
        (80, 24),
    ];
    for (i, (columns, rows)) in sizes.into_iter().enumerate() {
        tmux.run(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
        // A line may arrive before the chat knows the new size.
        bob.send(&format!("say {i}"));
        tmux.wait_for_rows(|rows| {
            let Some((prompt, messages)) = rows.split_last() else { return false };
            let shown = messages.concat().replace(' ', "");
            let is_alone = messages.iter().all(|row| !row.starts_with(['Q', 'Z', '>']));
            is_alone && prompt.starts_with("QQQ") && shown.contains(&format!("bob:{i}"))
        });
    }
}
