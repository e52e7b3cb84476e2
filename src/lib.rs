//! oyez
pub mod config;
pub mod hub;
pub mod limits;
pub mod logging;
pub mod protocol;
pub mod server;
