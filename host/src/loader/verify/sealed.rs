//! The copy that is loaded: bytes that nobody can change any more.

#[cfg(target_os = "linux")]
use std::os::fd::{AsRawFd, OwnedFd};
use std::{
    env,
    fs::{self, File},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

#[cfg(target_os = "linux")]
use super::LoadFrom;
use super::{TrustPolicy, VerifyError, file::ReadFile};

/// The copy of a plugin's file that is loaded.
///
/// It must live as long as the library does: the linker knows libraries by their path, and the number of a
/// closed descriptor is given to the next one, which would then get this library's code.
#[derive(Debug)]
pub struct SealedCopy {
    load_path: PathBuf,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Holds the number that the path names.
    #[cfg(target_os = "linux")]
    Memory(#[expect(dead_code, reason = "it is held, not read")] OwnedFd),
    Folder(PathBuf),
}

impl SealedCopy {
    /// The path to give to the dynamic linker.
    pub fn load_path(&self) -> &Path {
        &self.load_path
    }

    /// What kind of copy it is, for people.
    pub fn describe(&self) -> &'static str {
        match self.place {
            #[cfg(target_os = "linux")]
            Place::Memory(_) => "sealed memory",
            Place::Folder(_) => "private copy",
        }
    }

    /// Removes the name of a private copy; call it once the library is open. What is open stays usable on
    /// Unix, elsewhere the file stays and this does nothing.
    pub fn remove_name(&self) {
        #[cfg(unix)]
        self.remove();
    }

    pub(super) fn of(path: &Path, file: &ReadFile, policy: &TrustPolicy) -> Result<Self, VerifyError> {
        #[cfg(target_os = "linux")]
        if policy.load_from == LoadFrom::Memory {
            match in_memory(&file.bytes) {
                Ok(copy) => return Ok(copy),
                Err(error) => tracing::debug!(
                    path = %path.display(),
                    error = %error,
                    "sealed memory is not to be had; making a private copy"
                ),
            }
        }
        let folder = make_folder(path, policy)?;
        let extension = path.extension().unwrap_or_default();
        let load_path = folder.join(file.sha256.to_string()).with_extension(extension);
        let copy = Self { load_path, place: Place::Folder(folder) };
        copy.fill(&file.bytes).map_err(|source| VerifyError::Copy {
            path: path.to_owned(),
            step: copy.load_path.display().to_string(),
            source,
        })?;
        Ok(copy)
    }

    fn fill(&self, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::options().read(true).write(true).create_new(true).open(&self.load_path)?;
        file.write_all(bytes)?;
        let mut permissions = file.metadata()?.permissions();
        permissions.set_readonly(true);
        file.set_permissions(permissions)?;
        read_back(&mut file, bytes)
    }

    fn remove(&self) {
        #[cfg_attr(
            not(target_os = "linux"),
            expect(irrefutable_let_patterns, reason = "memory is Linux only")
        )]
        if let Place::Folder(folder) = &self.place {
            // What is left behind is readable by this user only, and the next start does not use it.
            let _ = fs::remove_file(&self.load_path);
            let _ = fs::remove_dir(folder);
        }
    }
}

impl Drop for SealedCopy {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Compares the copy with what it is a copy of, so that a writer who was quick enough is found out.
fn read_back(copy: &mut File, bytes: &[u8]) -> io::Result<()> {
    copy.rewind()?;
    let mut rest = bytes;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = copy.read(&mut buffer)?;
        match rest.strip_prefix(&buffer[..count]) {
            Some(_) if count == 0 && rest.is_empty() => return Ok(()),
            Some(left) if count > 0 => rest = left,
            _ => return Err(io::Error::other("the copy differs from what was written into it")),
        }
    }
}

#[cfg(target_os = "linux")]
fn in_memory(bytes: &[u8]) -> io::Result<SealedCopy> {
    use rustix::fs::{SealFlags, fcntl_add_seals, fstat, stat};

    let mut file = File::from(create_memory()?);
    file.write_all(bytes)?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
    read_back(&mut file, bytes)?;
    let load_path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    // Without /proc the path leads nowhere, and in a foreign one somewhere else.
    let (named, held) = (stat(&load_path)?, fstat(&file)?);
    if (named.st_dev, named.st_ino) != (held.st_dev, held.st_ino) {
        return Err(io::Error::other("/proc/self/fd does not lead to the copy"));
    }
    Ok(SealedCopy { load_path, place: Place::Memory(file.into()) })
}

/// Memory that can be sealed. The flag against execution is about execve, libraries load all the same; a
/// system may insist on it, and kernels before 6.3 do not know it.
#[cfg(target_os = "linux")]
fn create_memory() -> rustix::io::Result<OwnedFd> {
    use rustix::{
        fs::{MemfdFlags, memfd_create},
        io::Errno,
    };

    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match memfd_create("keyway-plugin", flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => memfd_create("keyway-plugin", flags),
        created => created,
    }
}

/// A folder of its own for each copy, in a folder that others cannot touch.
fn make_folder(path: &Path, policy: &TrustPolicy) -> Result<PathBuf, VerifyError> {
    static COPIES: AtomicU64 = AtomicU64::new(0);
    let failed = |step: &Path, source| VerifyError::Copy {
        path: path.to_owned(),
        step: step.display().to_string(),
        source,
    };
    let base = policy.private_dir.clone().unwrap_or_else(env::temp_dir);
    #[cfg(unix)]
    {
        let faults = super::walk::folder_faults(&base).map_err(|source| failed(&base, source))?;
        if !faults.is_empty() {
            return Err(VerifyError::PrivateFolder { faults: super::ownership::Faults(faults) });
        }
    }
    loop {
        let number = COPIES.fetch_add(1, Ordering::Relaxed);
        let folder = base.join(format!("keyway-plugin-{}-{number}", process::id()));
        let mut builder = fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        match builder.create(&folder) {
            Ok(()) => return Ok(folder),
            // Left behind by an earlier process of this number.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(&folder, error)),
        }
    }
}
