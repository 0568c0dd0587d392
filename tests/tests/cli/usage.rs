//! Help, completions and wrong usage.

use keyway_tests::cli::Folder;

#[test]
fn every_help_has_an_example_and_is_exit_code_0() {
    let folder = Folder::new().unwrap();
    let commands: [&[&str]; 12] = [
        &[],
        &["serve"],
        &["secret"],
        &["secret", "get"],
        &["secret", "set"],
        &["secret", "delete"],
        &["secret", "rotate"],
        &["plugin"],
        &["plugin", "list"],
        &["plugin", "inspect"],
        &["config", "check"],
        &["completions"],
    ];
    for command in commands {
        let ran = folder.keyway(command).unwrap().args(&["--help"]).run().unwrap();
        ran.expect(0, &[]).unwrap();
        let text = ran.text();
        let example = text.split_once("Example").map(|(_, example)| example);
        assert!(
            example.is_some_and(|example| example.contains(&format!("keyway {}", command.join(" ")))),
            "{text}"
        );
    }
}

#[test]
fn completions_exist_for_the_usual_shells() {
    let folder = Folder::new().unwrap();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let ran = folder.run(&["completions", shell]).unwrap();
        ran.expect(0, &[]).unwrap();
        assert!(ran.text().contains("keyway") && ran.text().contains("detailed_debug"), "{shell}");
    }
    folder.run(&["completions", "tcsh"]).unwrap().expect(2, &["invalid value 'tcsh'"]).unwrap();
}

#[test]
fn wrong_usage_is_exit_code_2_with_the_usage() {
    let folder = Folder::new().unwrap();
    for arguments in
        [&["sevre"][..], &[], &["serve"], &["secret", "get", "X"], &["config", "check"], &["--port", "x"]]
    {
        let ran = folder.run(arguments).unwrap();
        ran.expect(2, &["error: ", "--help"]).unwrap();
        assert!(ran.stdout.is_empty());
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let ran = Folder::new().unwrap().run(&["--version"]).unwrap();
    assert_eq!(ran.text(), format!("keyway {}\n", env!("CARGO_PKG_VERSION")));
}
