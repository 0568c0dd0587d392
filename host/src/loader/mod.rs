//! From the name of a plugin to a manager that can be called.
//!
//! Before anything of a plugin runs: [`locate`] finds the file, [`verify`] checks it and makes the copy that
//! will be loaded, [`inspect`] reads that copy without loading it.

pub mod inspect;
pub mod locate;
pub mod verify;

#[cfg(target_os = "linux")]
#[cfg(test)]
mod testing;
