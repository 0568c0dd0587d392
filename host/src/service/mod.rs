//! What stands between a manager and those who need a secret.

pub mod handle;

pub use self::handle::SecretHandle;
