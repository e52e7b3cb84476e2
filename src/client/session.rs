//! The resources of every task: the poll, the connection, standard input and output.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use crate::client::connection::Connection;
use crate::client::connection::dial::Dialer;
use crate::client::connection::options::ConnectOptions;
use crate::client::failure::Failure;
use crate::client::input::Input;
use crate::client::interrupt::Interrupt;
use crate::client::stdio::Output;
use crate::limits::READ_CHUNK;

const SERVER: Token = Token(0);
const INPUT: Token = Token(1);
const OUTPUT: Token = Token(2);
const INTERRUPT: Token = Token(3);

/// The resources of every task.
pub(super) struct Session {
    pub(super) poll: Poll,
    pub(super) events: Events,
    /// The read buffer, shared by the server connection and the input.
    pub(super) buffer: Box<[u8]>,
    pub(super) connection: Connection,
    input: Input,
    pub(super) output: Output,
}

impl Session {
    /// `inputs` are the files to read; `-` is standard input.
    ///
    /// With `watches_output`, a flush fails as soon as the reader closes standard output, even if
    /// there is nothing to write.
    pub(super) fn new(
        options: ConnectOptions,
        inputs: &[PathBuf],
        watches_output: bool,
    ) -> Result<Self, Failure> {
        let cannot_start = |error: io::Error| format!("cannot start: {error}");
        let poll = Poll::new().map_err(cannot_start)?;
        let registry = poll.registry();
        let input = Input::open(inputs, registry, INPUT)?;
        let output =
            if watches_output { Output::register(registry, OUTPUT) } else { Output::new() };
        let registry = registry.try_clone().map_err(cannot_start)?;
        Ok(Self {
            connection: Connection::new(Dialer::new(options, registry, SERVER)?),
            input,
            output,
            poll,
            events: Events::with_capacity(16),
            buffer: vec![0; READ_CHUNK].into(),
        })
    }

    /// Lets the poll return when a signal arrives that asks the task to end.
    pub(super) fn handle_signals(&self) -> Result<Interrupt, Failure> {
        let interrupt =
            Interrupt::register(self.poll.registry(), INTERRUPT, &self.output.is_writing);
        Ok(interrupt.map_err(|error| format!("cannot handle signals: {error}"))?)
    }

    /// Sends queued output, waits for an event or the deadline, and exchanges data with the server.
    /// With `wants_input`, does not wait if input may be readable.
    pub(super) fn wait(
        &mut self,
        deadline: Option<Instant>,
        wants_input: bool,
    ) -> Result<(), Failure> {
        let mut has_work = false;
        if let Some(link) = self.connection.link() {
            link.flush();
            has_work = link.may_read();
        }
        let deadline = [deadline, self.connection.next_deadline()].into_iter().flatten().min();
        self.wait_for_events(deadline, has_work, wants_input)?;
        if let Some(link) = self.connection.link() {
            link.transfer(&self.events, &mut self.buffer, Instant::now());
        }
        Ok(())
    }

    /// Flushes standard output, then polls. Does not wait if `has_work`, or if `wants_input` and
    /// standard input may be readable. The caller handles events for the server's socket.
    pub(super) fn wait_for_events(
        &mut self,
        deadline: Option<Instant>,
        has_work: bool,
        wants_input: bool,
    ) -> Result<(), Failure> {
        self.output.flush()?;
        let timeout = if has_work || wants_input && self.input.is_ready() {
            Some(Duration::ZERO)
        } else {
            deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
        };
        if let Err(error) = self.poll.poll(&mut self.events, timeout)
            && error.kind() != io::ErrorKind::Interrupted
        {
            return Err(Failure::Error(format!("cannot wait for events: {error}")));
        }
        for event in &self.events {
            match event.token() {
                INPUT => self.input.on_event(),
                OUTPUT => self.output.on_event(event),
                // Callers handle the server's socket and, in chat, the signals.
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads input into `buffer` without blocking. Returns the number of bytes.
    pub(super) fn read_input(&mut self) -> Result<usize, Failure> {
        Ok(self.input.read(&mut self.buffer)?)
    }

    /// Returns whether the input has ended.
    pub(super) fn input_has_ended(&self) -> bool {
        self.input.has_ended()
    }
}
