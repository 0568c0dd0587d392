use std::{fs, path::PathBuf};

use super::*;
use crate::loader::testing::write;

const SETTING: &str = "general_settings.key_management_settings.custom_secret_manager";
const LIBRARY: &[u8] = b"\x7fELF\x02\x01\x01";

fn search(text: &str, config: &Path, dirs: &[PathBuf]) -> Result<Located, LocateError> {
    locate(&text.parse().unwrap(), SETTING, config, dirs)
}

#[test]
fn the_folder_of_the_configuration_comes_before_the_plugin_folders_in_their_order() {
    let (config, first, second) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dirs = [first.path().to_owned(), second.path().to_owned()];
    for (dir, name) in
        [(&second, "libmy_sm.so"), (&first, "my_sm.so"), (&config, "my_sm.so"), (&config, "libmy_sm.so")]
    {
        let path = write(dir.path(), name, LIBRARY);
        let found = search("my_sm.Manager", config.path(), &dirs).unwrap();
        assert_eq!(found, Located { path, type_name: Some("Manager".into()), passed_over: vec![] });
    }
}

#[test]
fn dots_before_the_name_are_folders_and_plugin_folders_count_from_the_configuration() {
    let config = tempfile::tempdir().unwrap();
    fs::create_dir_all(config.path().join("plugins/vaults")).unwrap();
    let path = write(&config.path().join("plugins/vaults"), "libacme.so", LIBRARY);
    let found = search("vaults.acme.Vault", config.path(), &[PathBuf::from("plugins")]).unwrap();
    assert_eq!(found.path, path);
}

#[test]
fn a_path_counts_from_the_configuration_and_keeps_its_type() {
    let config = tempfile::tempdir().unwrap();
    let path = write(config.path(), "libacme.so", LIBRARY);
    let found = search("libacme.so:Vault", config.path(), &[]).unwrap();
    assert_eq!((found.path, found.type_name.as_deref()), (path.clone(), Some("Vault")));
    let absolute = search(path.to_str().unwrap(), Path::new("/nowhere"), &[]).unwrap();
    assert_eq!((absolute.path, absolute.type_name), (path, None));
}

#[test]
fn a_bad_file_does_not_hide_a_good_one_behind_it() {
    let (config, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir(config.path().join("libmy_sm.so")).unwrap();
    write(config.path(), "my_sm.so", b"hello\n");
    write(config.path(), "my_sm.dll", b"MZ");
    write(dir.path(), "libmy_sm.so", b"");
    let path = write(dir.path(), "my_sm.so", LIBRARY);
    let found = search("my_sm.Manager", config.path(), &[dir.path().to_owned()]).unwrap();
    assert_eq!(found.path, path);
    let reasons: Vec<&str> = found.passed_over.iter().map(|refused| refused.reason.as_str()).collect();
    let windows = "is a Windows library (PE), this host needs a Linux library (ELF)";
    assert_eq!(reasons, ["is a folder", "is a text file", windows, "is empty"]);
}

#[test]
fn a_failure_names_the_setting_the_value_and_every_place() {
    let (config, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(dir.path(), "my_sm.so", b"hello\n");
    let text = search("my_sm.Manager", config.path(), &[dir.path().to_owned()]).unwrap_err().to_string();
    let (config, dir) = (config.path().display(), dir.path().display());
    let expected = format!(
        "cannot find the plugin that {SETTING} names (my_sm.Manager): looked for {config}/libmy_sm.so (missing), \
         {config}/my_sm.so (missing), {dir}/libmy_sm.so (missing), {dir}/my_sm.so (is a text file); put the \
         plugin's library for this system in the place of what is no such library, or name the folder of the right one \
         under keyway.plugin_dirs"
    );
    assert_eq!(text, expected);
}

#[test]
fn the_advice_fits_the_form_of_the_reference_and_what_was_found() {
    let config = tempfile::tempdir().unwrap();
    let text = |reference: &str| search(reference, config.path(), &[]).unwrap_err().to_string();
    let path = text("./libmy_sm.so");
    assert!(path.contains("libmy_sm.so (missing); copy the library there, or correct the path"), "{path}");
    assert!(!path.contains("plugin_dirs"), "{path}");
    let module = text("my_sm.Manager");
    assert!(
        module.ends_with(
            "copy the library to one of these places, or name its folder under keyway.plugin_dirs"
        )
    );
    write(config.path(), "libmy_sm.so", b"hello\n");
    let path = text("./libmy_sm.so");
    assert!(path.ends_with(
        "(is a text file); put the plugin's library for this system in its place, or correct the path"
    ));
}

#[test]
fn a_link_to_nothing_is_told_from_a_missing_file() {
    let config = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/nowhere/lib.so", config.path().join("libmy_sm.so")).unwrap();
    let text = search("./libmy_sm.so", config.path(), &[]).unwrap_err().to_string();
    assert!(text.contains("libmy_sm.so (is a link to /nowhere/lib.so, where nothing is)"), "{text}");
}

#[test]
fn python_source_beside_the_configuration_is_explained() {
    let config = tempfile::tempdir().unwrap();
    let source = write(config.path(), "my_sm.py", b"class Manager: ...\n");
    let fault = search("my_sm.Manager", config.path(), &[]).unwrap_err();
    assert_eq!(fault.python, Some(source));
    assert!(fault.to_string().contains("examples/my-secret-manager"), "{fault}");
}

#[test]
fn a_fifo_is_not_opened() {
    let config = tempfile::tempdir().unwrap();
    let fifo = config.path().join("libmy_sm.so");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    let fault = search("./libmy_sm.so", config.path(), &[]).unwrap_err();
    assert_eq!(fault.refused[0].reason, "is not a regular file");
}
