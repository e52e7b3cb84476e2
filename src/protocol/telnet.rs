//! Telnet commands in a client's input (RFC 854 and RFC 855).
//!
//! A Telnet client negotiates options, and sends an interrupt when its user presses Ctrl-C.
//! Commands begin with the byte 0xFF, which UTF-8 never contains, and are not part of the text.
//! Every option that a client offers or requests is refused; some clients show no output until they
//! receive the answer. Nothing else is answered, so two programs cannot answer each other forever.

/// The byte that begins a command ("interpret as command").
pub(super) const IAC: u8 = 255;

const WILL: u8 = 251;
const WONT: u8 = 252;
const DO: u8 = 253;
const DONT: u8 = 254;
/// Begins a subnegotiation, which [`SE`] ends.
const SB: u8 = 250;
const SE: u8 = 240;
/// The command with the lowest number: end of file (RFC 1184).
const FIRST_COMMAND: u8 = 236;

/// The maximum length of a subnegotiation, including IAC SB and IAC SE. A client should
/// subnegotiate an option only after the server has agreed to it, which this server never does.
const MAX_SUBNEGOTIATION: usize = 256;

/// A Telnet command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TelnetCommand {
    /// A request to use this option.
    Do(u8),
    /// An offer to use this option.
    Will(u8),
    /// A command without an answer, such as an interrupt, or a subnegotiation.
    Unanswered,
}

impl TelnetCommand {
    /// Returns the answer, which refuses the option.
    pub fn answer(self) -> Option<[u8; 3]> {
        match self {
            Self::Do(option) => Some([IAC, WONT, option]),
            Self::Will(option) => Some([IAC, DONT, option]),
            Self::Unanswered => None,
        }
    }
}

/// The result of parsing input that begins with an IAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A command of this length.
    Command(TelnetCommand, usize),
    /// Not a command. This many bytes are part of the line, which is therefore not text.
    NotCommand(usize),
    /// Undecided until more input arrives.
    Partial,
}

/// Parses input that begins with an IAC. An LF ends the line, so no command contains one.
pub(super) fn parse(input: &[u8]) -> Parsed {
    match input[1..] {
        [] | [WILL..=DONT] => Parsed::Partial,
        // An escaped data byte.
        [IAC, ..] => Parsed::NotCommand(2),
        [WILL..=DONT, b'\n', ..] => Parsed::NotCommand(1),
        [DO, option, ..] => Parsed::Command(TelnetCommand::Do(option), 3),
        [WILL, option, ..] => Parsed::Command(TelnetCommand::Will(option), 3),
        [WONT | DONT, _, ..] => Parsed::Command(TelnetCommand::Unanswered, 3),
        [SB, ..] => parse_subnegotiation(input),
        [FIRST_COMMAND..=IAC, ..] => Parsed::Command(TelnetCommand::Unanswered, 2),
        [..] => Parsed::NotCommand(1),
    }
}

/// Parses a subnegotiation. An IAC inside it that is not escaped must end it.
fn parse_subnegotiation(input: &[u8]) -> Parsed {
    let mut at = 2;
    while at + 2 <= MAX_SUBNEGOTIATION {
        match input[at..] {
            [] | [IAC] => return Parsed::Partial,
            [IAC, SE, ..] => return Parsed::Command(TelnetCommand::Unanswered, at + 2),
            [IAC, IAC, ..] => at += 2,
            [b'\n' | IAC, ..] => return Parsed::NotCommand(1),
            [..] => at += 1,
        }
    }
    Parsed::NotCommand(1)
}

#[cfg(test)]
mod tests {
    use super::Parsed::{Command, NotCommand, Partial};
    use super::TelnetCommand::{Do, Unanswered, Will};
    use super::*;

    #[test]
    fn commands_are_distinguished_from_data() {
        for (input, expected) in [
            (&b"\xff"[..], Partial),
            (b"\xff\xf4", Command(Unanswered, 2)),
            (b"\xff\xf1ping", Command(Unanswered, 2)),
            (b"\xff\xec", Command(Unanswered, 2)),
            (b"\xff\xf0", Command(Unanswered, 2)),
            (b"\xff\xeb", NotCommand(1)),
            (b"\xffa", NotCommand(1)),
            (b"\xff\n", NotCommand(1)),
            (b"\xff\xff\xfd\x06", NotCommand(2)),
            (b"\xff\xfd", Partial),
            (b"\xff\xfd\x06\n", Command(Do(6), 3)),
            (b"\xff\xfb\xff", Command(Will(255), 3)),
            (b"\xff\xfc\x01", Command(Unanswered, 3)),
            (b"\xff\xfe\x01", Command(Unanswered, 3)),
            (b"\xff\xfd\n", NotCommand(1)),
            (b"\xff\xfa", Partial),
            (b"\xff\xfa\x1f\0\x50\0\x18\xff", Partial),
            (b"\xff\xfa\x1f\0\x50\0\x18\xff\xf0", Command(Unanswered, 9)),
            (b"\xff\xfa\x1f\xff\xff\xff\xf0", Command(Unanswered, 7)),
            (b"\xff\xfa\xff\xf0", Command(Unanswered, 4)),
            (b"\xff\xfa\x1f\xff\xf4\xff\xf0", NotCommand(1)),
            (b"\xff\xfa\x1f\n\xff\xf0", NotCommand(1)),
        ] {
            assert_eq!(parse(input), expected, "{}", input.escape_ascii());
        }
        assert_eq!(
            (Do(6).answer(), Will(31).answer()),
            (Some(*b"\xff\xfc\x06"), Some(*b"\xff\xfe\x1f"))
        );
        assert_eq!(Unanswered.answer(), None);
    }

    #[test]
    fn subnegotiation_has_a_maximum_length() {
        let subnegotiation =
            |len: usize| [b"\xff\xfa", &vec![b'x'; len - 4][..], b"\xff\xf0"].concat();
        let longest = subnegotiation(MAX_SUBNEGOTIATION);
        assert_eq!(parse(&longest), Command(Unanswered, MAX_SUBNEGOTIATION));
        assert_eq!(parse(&longest[..MAX_SUBNEGOTIATION - 1]), Partial);
        let too_long = subnegotiation(MAX_SUBNEGOTIATION + 1);
        assert_eq!(parse(&too_long), NotCommand(1));
        assert_eq!(parse(&too_long[..MAX_SUBNEGOTIATION - 1]), NotCommand(1));
        assert_eq!(parse(&too_long[..MAX_SUBNEGOTIATION - 2]), Partial);
    }
}
