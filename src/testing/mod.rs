//! Support for unit tests and fuzz targets.

pub mod faulty_socket;
