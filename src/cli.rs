//! What the two programs' command lines have in common.

use std::str::FromStr;
use std::time::Duration;

use pico_args::{Arguments, Keys};

/// Takes an option, if it is given. An error is one line that says what is wrong with it.
pub(crate) fn given<T>(
    arguments: &mut Arguments,
    keys: impl Into<Keys>,
    name: &str,
    parse: fn(&str) -> Result<T, &'static str>,
) -> Result<Option<T>, String> {
    arguments.opt_value_from_fn(keys, parse).map_err(|error| describe(name, &error))
}

/// Takes an option that has a default.
pub(crate) fn option<T>(
    arguments: &mut Arguments,
    name: &'static str,
    value: &mut T,
    parse: fn(&str) -> Result<T, &'static str>,
) -> Result<(), String> {
    if let Some(given) = given(arguments, name, name, parse)? {
        *value = given;
    }
    Ok(())
}

/// What is wrong with an option's value, in one line.
pub(crate) fn describe(option: &str, error: &pico_args::Error) -> String {
    use pico_args::Error::{OptionWithoutAValue, Utf8ArgumentParsingFailed};
    match error {
        OptionWithoutAValue(_) => format!("{option} needs a value"),
        Utf8ArgumentParsingFailed { value, cause } => format!("{option} {value:?}: {cause}"),
        other => format!("{option}: {other}"),
    }
}

/// What to say of an argument that is left over; `help` lists the options.
pub(crate) fn unexpected(argument: &str, help: &str) -> String {
    let name = argument.split('=').next().unwrap_or_default();
    // Options without a value take themselves out, however often they are given.
    let mut options = help.lines().map(str::trim).filter(|line| line.starts_with('-'));
    let takes_value = options.any(|line| {
        let (names, _) = line.split_once("  ").unwrap_or((line, ""));
        let mut words = names.split([' ', ',']).filter(|word| !word.is_empty());
        // What is no option itself is what the options before it take.
        words.clone().any(|word| word == name) && words.any(|word| !word.starts_with('-'))
    });
    if takes_value {
        format!("{name} is given more than once")
    } else {
        format!("unexpected argument {argument:?}")
    }
}

pub(crate) fn count<T: FromStr>(text: &str) -> Result<T, &'static str> {
    digits(text).ok_or("expected a number")
}

pub(crate) fn seconds(text: &str) -> Result<Duration, &'static str> {
    const DAY: u64 = 24 * 60 * 60;
    match digits(text) {
        Some(seconds @ 1..=DAY) => Ok(Duration::from_secs(seconds)),
        _ => Err("expected seconds, from 1 to 86400"),
    }
}

/// Takes seconds, and gives milliseconds.
pub(crate) fn milliseconds(text: &str) -> Result<u64, &'static str> {
    seconds(text).map(|duration| duration.as_secs() * 1000)
}

/// Plain decimal digits: no sign, which the standard parser would take.
pub(crate) fn digits<T: FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}
