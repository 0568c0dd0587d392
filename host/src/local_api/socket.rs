//! The socket in its folder: made, guarded and removed.

use std::{
    fs::{self, DirBuilder, File, Metadata, Permissions},
    io,
    os::unix::{
        fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, Mode, OFlags, flock, open},
    process::geteuid,
};

use super::SocketError;
use crate::config::LocalApiSettings;

/// A listening socket that is removed when this goes.
pub(super) struct Socket {
    /// What is listened on; it does not block.
    pub(super) listener: UnixListener,
    /// Where it is.
    pub(super) path: PathBuf,
    /// The file that was made, to tell it from one that took its place.
    id: (u64, u64),
}

impl Socket {
    /// Makes the folder where it is missing, and the socket; one that a dead process left is replaced.
    pub(super) fn bind(settings: &LocalApiSettings) -> Result<Self, SocketError> {
        let path = settings.path.clone();
        let folder = path.parent().unwrap_or(Path::new("/"));
        let guard = guarded(folder)?;
        let system = |action, advice| {
            let path = path.clone();
            move |source| SocketError::System { action, path, advice, source }
        };
        // Held until the socket listens, so that of two that start at once the second one finds the first alive.
        flock(&guard, FlockOperation::LockExclusive)
            .map_err(|error| system("lock the folder of", "")(error.into()))?;
        remove_stale(&path)?;
        let listener = UnixListener::bind(&path).map_err(system("listen on", "; choose another path"))?;
        let metadata = fs::symlink_metadata(&path).map_err(system("look at", ""))?;
        let socket = Socket { listener, id: id(&metadata), path: path.clone() };
        fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(system("set the mode of", ""))?;
        socket.listener.set_nonblocking(true).map_err(system("listen on", ""))?;
        tell_of_the_shut_out(settings);
        Ok(socket)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|metadata| id(&metadata) == self.id);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket of the local API");
        }
    }
}

/// The folder, opened, once nobody else can reach into it.
fn guarded(folder: &Path) -> Result<File, SocketError> {
    let system = |action, advice| {
        move |source| SocketError::System { action, path: folder.to_owned(), advice, source }
    };
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(system("make the folder", "; make it with mode 0700 for the user of keyway")(error));
        }
        _ => {}
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = open(folder, flags, Mode::empty()).map(File::from);
    let opened = opened.map_err(|error| {
        system("open the folder", "; it must be a folder of keyway's own user, and no link")(error.into())
    })?;
    let metadata = opened.metadata().map_err(system("look at the folder", ""))?;
    let fault = |why| SocketError::Folder { path: folder.to_owned(), why };
    let (owner, own) = (metadata.uid(), geteuid().as_raw());
    if owner != own {
        return Err(fault(format!(
            "belongs to user {owner} and not to keyway's own, {own}; choose another folder"
        )));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(fault(format!(
            "has the mode {mode:04o}, so that others can reach into it; run `chmod 0700 {}`, or choose a folder for the socket alone",
            folder.display()
        )));
    }
    Ok(opened)
}

/// Removes the socket of a process that is gone.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let system = |action, source| SocketError::System { action, path: path.to_owned(), advice: "", source };
    let is_socket = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type().is_socket(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system("look at", error)),
    };
    if !is_socket {
        return Err(SocketError::NoSocket { path: path.to_owned() });
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| system("remove the stale socket", error))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        // One that answers, or that is too busy to.
        Ok(_) | Err(_) => Err(SocketError::InUse { path: path.to_owned() }),
    }
}

/// Says who may read and yet cannot: the socket's mode lets in the host's own user and root only.
fn tell_of_the_shut_out(settings: &LocalApiSettings) {
    let own = geteuid().as_raw();
    for grant in settings.allow.iter().filter(|grant| grant.uid != own && grant.uid != 0) {
        tracing::warn!(
            user = grant.user,
            path = %settings.path.display(),
            "a user of keyway.local_api.allow cannot connect: the socket is for keyway's own user and root only"
        );
    }
}

fn id(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(path: PathBuf) -> LocalApiSettings {
        LocalApiSettings { path, allow: Vec::new() }
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    fn refusal(path: PathBuf) -> String {
        Socket::bind(&settings(path)).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn the_folder_is_made_for_its_owner_alone_and_the_socket_goes_with_its_process() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("run/secrets.sock");
        let socket = Socket::bind(&settings(path.clone())).unwrap();
        assert_eq!((mode(path.parent().unwrap()), mode(&path)), (0o700, 0o600));
        drop(socket);
        assert!(!path.exists());
    }

    #[test]
    fn a_live_socket_is_refused_and_a_dead_one_replaced() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("run/secrets.sock");
        let live = Socket::bind(&settings(path.clone())).unwrap();
        assert!(refusal(path.clone()).contains("a running process serves on"));
        assert!(path.exists(), "the refused one took the socket away");
        drop(live);
        // Whoever is killed leaves the file behind.
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let socket = Socket::bind(&settings(path.clone())).unwrap();
        UnixStream::connect(&path).unwrap();
        drop(socket);
    }

    #[test]
    fn what_took_the_place_of_the_socket_is_left_alone() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("run/secrets.sock");
        let socket = Socket::bind(&settings(path.clone())).unwrap();
        fs::rename(&path, outer.path().join("run/elsewhere")).unwrap();
        fs::write(&path, "somebody's file").unwrap();
        drop(socket);
        assert!(path.exists());
        assert!(refusal(path).contains("is there and is no socket"));
    }

    #[test]
    fn a_folder_that_others_can_reach_into_a_link_and_a_missing_parent_are_refused() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("run");
        fs::create_dir(&folder).unwrap();
        for wide in [0o710, 0o750, 0o701, 0o777] {
            fs::set_permissions(&folder, Permissions::from_mode(wide)).unwrap();
            let error = refusal(folder.join("s"));
            assert!(
                error.contains(&format!("has the mode {wide:04o}")) && error.contains("chmod 0700"),
                "{error}"
            );
        }
        fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::symlink(&folder, outer.path().join("link")).unwrap();
        assert!(refusal(outer.path().join("link/s")).contains("and no link"));
        assert!(refusal(outer.path().join("no/such/s")).contains("cannot make the folder"));
        Socket::bind(&settings(folder.join("s"))).unwrap();
    }
}
