//! The plugins `file` and `exec`, and managers that are made of managers: from configurations, as an operator loads them.

mod exec;
mod file;
mod groups;
mod support;
