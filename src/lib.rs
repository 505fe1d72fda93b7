//! The broker's acting side: command line, configuration, log and process files.
//!
//! A library beside the binary so that fuzz targets and tests reach the same code that `main` runs.

pub mod auth;
pub mod bench;
pub mod boot;
pub mod cli;
pub mod config;
pub mod doctor;
mod drive;
mod jetstream;
mod listen;
pub mod log;
pub mod memory;
pub mod monitor;
pub mod notation;
pub mod process;
pub mod reactor;
mod resolver;
mod staple;
mod tls;
pub mod top;
