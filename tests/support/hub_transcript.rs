//! Transcripts for a [`Driver`]: what clients send, what they must receive, and how their sockets
//! and the clock behave. The syntax resembles that of [`transcript`](super::transcript), which uses
//! real sockets.
//!
//! ```text
//! a+                         connect and read the welcome line
//! a> say hi                  send a line
//! a*3 ping                   send a line three times
//! a~ say h                   send without a line ending
//! a< broadcast 1 1 hi        expect a line; * matches anything
//! a< broadcast 2..=9 1 hi    expect a line for each of these numbers
//! a<< ok send *              skip lines up to this one
//! a<~ broad                  expect a partial line and nothing more
//! a-                         expect nothing more
//! a room 2*LINE+10           the socket accepts this many bytes, then blocks; or `unlimited`
//! a.                         half-close the connection
//! a!                         writes fail from now on
//! a|                         expect nothing more, and that the hub has half-closed
//! a| TooSlow cut missed 8    expect a disconnect: reason, lost output, number of lagged lines
//! at 5000                    advance the clock to 5000 ms
//! stat lagged 8              expect a counter's value
//! ```
//!
//! After each line the hub runs until it has no work. At the end of a line, `x...` pads the line
//! with x until its broadcast takes [`LINE`] bytes in the feed. A size or count is a sum of
//! products of numbers and the constants LINE, CHUNK_LINES and FEED_LINES.

use oyez::hub::Disconnect;

use super::driver::{CHUNK_LINES, Driver, FEED_LINES, LINE, UNLIMITED, pad};
use super::transcript::{matches, unescape};

impl Driver {
    /// Plays a transcript. Clients keep their names from one transcript to the next.
    #[track_caller]
    pub fn play(&mut self, transcript: &str) {
        for line in transcript.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
            if let Err(error) = self.play_line(line) {
                panic!("{line}\n    {error}");
            }
        }
    }

    /// Returns the key of the client with this name in transcripts.
    pub fn key(&self, name: &str) -> usize {
        let (key, id) = *self.names.get(name).unwrap_or_else(|| panic!("{name}: not connected"));
        assert!(self.ids.get(&key).is_none_or(|current| *current == id), "{name}: key was reused");
        key
    }

    fn play_line(&mut self, line: &str) -> Result<(), String> {
        if let Some(now_ms) = line.strip_prefix("at ") {
            self.run_at(now_ms.parse().unwrap());
            return Ok(());
        }
        if let Some(stat) = line.strip_prefix("stat ") {
            let (name, expected) = stat.split_once(' ').unwrap();
            return equal(&self.counter(name), &(size(expected) as u64));
        }
        let (name, rest) = line.split_at(line.find(|c: char| !c.is_alphanumeric()).unwrap());
        if rest == "+" {
            let key = self.connect(UNLIMITED);
            self.names.insert(name.to_owned(), (key, self.ids[&key]));
            return self.expect(name, "welcome *");
        }
        let key = self.key(name);
        let operator_len = if rest.starts_with("<~") || rest.starts_with("<<") { 2 } else { 1 };
        let (operator, text) = rest.split_at(operator_len);
        let text = text.strip_prefix(' ').unwrap_or(text);
        match operator {
            ">" => self.send_copies(key, text, 1),
            "*" => {
                let (copies, text) = text.split_once(' ').unwrap();
                self.send_copies(key, text, size(copies));
            }
            "~" => self.send(key, &unescaped(text)),
            "<" => return self.expect_each(name, &unescaped(text)),
            "<<" => return self.expect_after_others(name, &unescaped(text)),
            "<~" => return equal(self.unchecked(name).as_str(), unescaped(text).as_str()),
            "-" => return equal(self.unchecked(name).as_str(), ""),
            "." => self.half_close(key),
            "!" => {
                self.hub.handle_write_failed(key);
                self.run();
            }
            "|" if text.is_empty() => {
                equal(self.unchecked(name).as_str(), "")?;
                if !self.sockets[&key].write_shutdown {
                    return Err("the hub has not half-closed the connection".to_owned());
                }
            }
            "|" => return self.expect_disconnect(name, text),
            " " => self.set_room(key, size(text.strip_prefix("room ").unwrap())),
            _ => panic!("{line}: unknown operator {operator:?}"),
        }
        Ok(())
    }

    fn counter(&self, name: &str) -> u64 {
        let counters = self.hub.counters();
        match name {
            "broadcasts" => counters.broadcasts,
            "held" => counters.held,
            "lagged" => counters.lagged,
            "too_slow" => counters.too_slow,
            _ => panic!("{name}: unknown counter"),
        }
    }

    fn set_room(&mut self, key: usize, room: usize) {
        self.socket(key).room = room;
        if room > 0 {
            self.hub.handle_writable(key);
        }
        self.run();
    }

    fn send_copies(&mut self, key: usize, line: &str, copies: usize) {
        if line == "say x..." {
            let lines = self.filler(key, copies);
            return self.send(key, &lines);
        }
        self.send(key, &format!("{}\n", unescaped(line)).repeat(copies));
    }

    /// Returns the client's output that no transcript has checked.
    fn unchecked(&self, name: &str) -> String {
        let socket = &self.sockets[&self.key(name)];
        String::from_utf8(socket.received[socket.checked..].to_vec()).unwrap()
    }

    fn expect_each(&mut self, name: &str, pattern: &str) -> Result<(), String> {
        let Some(range) = pattern.split(' ').find(|word| word.contains("..=")) else {
            return self.expect(name, pattern);
        };
        let (first, last) = range.split_once("..=").unwrap();
        (size(first)..=size(last)).try_for_each(|number| {
            self.expect(name, &pattern.replacen(range, &number.to_string(), 1))
        })
    }

    fn expect_after_others(&mut self, name: &str, pattern: &str) -> Result<(), String> {
        while self.expect(name, pattern).is_err() {
            self.expect(name, "*").map_err(|error| format!("no line matches: {error}"))?;
        }
        Ok(())
    }

    fn expect(&mut self, name: &str, pattern: &str) -> Result<(), String> {
        let unchecked = self.unchecked(name);
        let Some((line, _)) = unchecked.split_once('\n') else {
            return Err(format!("no complete line, only {unchecked:?}"));
        };
        let pattern = match pattern.strip_suffix("x...") {
            Some(beginning) => pad(beginning),
            None => pattern.to_owned(),
        };
        if !matches(&pattern, line) {
            return Err(format!("received: {line}"));
        }
        self.socket(self.key(name)).checked += line.len() + 1;
        Ok(())
    }

    fn expect_disconnect(&self, name: &str, expected: &str) -> Result<(), String> {
        let (_, id) = self.names[name];
        let Some(disconnect) = self.disconnects.iter().find(|disconnect| disconnect.id == id)
        else {
            return Err("still connected".to_owned());
        };
        equal(describe(disconnect).as_str(), expected)
    }
}

fn describe(disconnect: &Disconnect) -> String {
    let mut text = format!("{:?}", disconnect.reason);
    if disconnect.is_cut {
        text += " cut";
    }
    if disconnect.missed > 0 {
        text += &format!(" missed {}", disconnect.missed);
    }
    text
}

fn equal<T: PartialEq + std::fmt::Debug + ?Sized>(actual: &T, expected: &T) -> Result<(), String> {
    if actual == expected { Ok(()) } else { Err(format!("expected {expected:?}, got {actual:?}")) }
}

fn unescaped(text: &str) -> String {
    String::from_utf8(unescape(text)).unwrap()
}

/// Evaluates a sum of products such as `2*LINE+10`.
fn size(sum: &str) -> usize {
    let factor = |factor: &str| match factor {
        "LINE" => LINE,
        "CHUNK_LINES" => CHUNK_LINES,
        "FEED_LINES" => FEED_LINES,
        "unlimited" => UNLIMITED,
        number => number.parse().unwrap_or_else(|_| panic!("{number}: not a size")),
    };
    sum.split('+').map(|product| product.split('*').map(factor).product::<usize>()).sum()
}
