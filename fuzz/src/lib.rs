//! The properties that the fuzz targets check. They are in `tests/support`, because `cargo test`
//! checks them as well: on seeds, on fixed inputs and on the committed corpora.

#[path = "../../tests/support/driver.rs"]
pub mod driver;
#[path = "../../tests/support/model.rs"]
pub mod model;
#[path = "../../tests/support/properties.rs"]
pub mod properties;
#[path = "../../tests/support/rng.rs"]
pub mod rng;
#[path = "../../tests/support/simulation.rs"]
pub mod simulation;
