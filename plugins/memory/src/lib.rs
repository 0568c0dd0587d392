//! A secret manager.
