//! The properties that the fuzz targets check. They are in `tests/support`, because `cargo test`
//! also checks them, on generated inputs, fixed inputs and the committed corpora.

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
