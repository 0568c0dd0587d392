//! The command line as a black box: exit codes, standard output and standard error of the real program.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

mod check;
mod config;
mod echo;
mod output;
mod plugin_files;
mod plugins;
mod secrets;
mod serving;
mod support;
mod trust;
mod usage;
