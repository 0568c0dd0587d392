//! The header and its mirror in Rust say the same, and the header compiles without a warning.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "the helpers of a test are tests too")]

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::ErrorKind as IoErrorKind,
    path::{Path, PathBuf},
    process::Command,
};

use keyway_plugin_api::{Capabilities, ErrorKind, abi, request};
use keyway_tests::build::repository;

const STRICT: [&str; 4] = ["-Wall", "-Wextra", "-Werror", "-pedantic"];
const LONGEST_HEADER: usize = 350;

#[test]
fn header_compiles_without_a_warning_as_c11_and_as_cxx17() {
    let alone = format!("#include \"{}\"\n", header("keyway_plugin.h").display());
    let folder = tempfile::tempdir().unwrap();
    for (compilers, standard, extension, source) in [
        (["cc", "clang"], "-std=c11", "c", "tests/c/offsets.c"),
        (["c++", "clang++"], "-std=c++17", "cpp", "tests/c/header.cpp"),
    ] {
        let file = folder.path().join(format!("alone.{extension}"));
        std::fs::write(&file, &alone).unwrap();
        for source in [file, repository().join(source)] {
            let arguments = [standard.as_ref(), "-fPIC".as_ref(), "-c".as_ref(), source.as_os_str()];
            let object = folder.path().join("object.o");
            let [system, other] = compilers;
            if compile(system, &arguments, &object).is_none() {
                skip(system);
            }
            if compile(other, &arguments, &object).is_none() {
                println!("not checked with {other}, a second opinion that this machine does not have");
            }
        }
    }
}

#[test]
fn every_struct_has_the_size_alignment_and_offsets_of_its_mirror() {
    let Some(facts) = Facts::of_the_compiler() else { return };
    let mirror = abi::LAYOUTS.iter().map(|layout| {
        let members = layout.members.iter().map(|(name, offset)| ((*name).to_owned(), *offset));
        let mirrored = Struct { size: layout.size, align: layout.align, members: members.collect() };
        (layout.name.to_owned(), mirrored)
    });
    assert_eq!(facts.structs, mirror.collect());
}

#[test]
fn every_struct_and_member_of_the_header_is_in_the_mirror_and_the_other_way_round() {
    let mirror = abi::LAYOUTS.iter().map(|layout| {
        let members = layout.members.iter().map(|(name, _)| (*name).to_owned());
        (layout.name.to_owned(), members.collect())
    });
    assert_eq!(declared_structs(), mirror.collect::<Vec<_>>());
}

#[test]
fn every_constant_of_the_header_has_the_value_of_its_mirror() {
    let mut numbers: BTreeMap<String, u64> = [
        ("KEYWAY_ABI_MAJOR", abi::ABI_MAJOR.into()),
        ("KEYWAY_ABI_MINOR", abi::ABI_MINOR.into()),
        ("KEYWAY_OK", abi::OK.into()),
        ("KEYWAY_LOG_ERROR", abi::LOG_ERROR.into()),
        ("KEYWAY_LOG_WARN", abi::LOG_WARN.into()),
        ("KEYWAY_LOG_INFO", abi::LOG_INFO.into()),
        ("KEYWAY_LOG_DEBUG", abi::LOG_DEBUG.into()),
        ("KEYWAY_LOG_TRACE", abi::LOG_TRACE.into()),
        ("KEYWAY_MAX_VALUE_LEN", request::MAX_VALUE_LEN as u64),
        ("KEYWAY_RESULT_BINARY", abi::RESULT_BINARY.into()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    numbers.extend(ErrorKind::ALL.map(|kind| (format!("KEYWAY_{kind}"), kind.code().into())));
    let capabilities = Capabilities::all();
    let capabilities =
        capabilities.iter_names().map(|(name, bit)| (format!("KEYWAY_CAP_{name}"), bit.bits()));
    numbers.extend(capabilities);
    let texts = [("KEYWAY_EXT_LIST_V1", abi::EXT_LIST), ("KEYWAY_INSTANCE_LOST", abi::INSTANCE_LOST)];
    let texts = BTreeMap::from(texts.map(|(name, text)| (name.to_owned(), text.to_owned())));

    let mut declared = declared_constants();
    declared.sort();
    let mut mirrored: Vec<_> = numbers.keys().chain(texts.keys()).cloned().collect();
    mirrored.sort();
    assert_eq!(declared, mirrored);

    let Some(facts) = Facts::of_the_compiler() else { return };
    numbers.insert("KEYWAY_FP_MAGIC".to_owned(), abi::FINGERPRINT_MAGIC.into());
    numbers.insert("KEYWAY_FP_WORDS".to_owned(), abi::FINGERPRINT_WORDS as u64);
    assert_eq!(facts.numbers, numbers);
    assert_eq!(facts.texts, texts);
}

#[test]
fn fingerprint_that_a_c_compiler_emits_is_that_of_the_mirror() {
    let Some(facts) = Facts::of_the_compiler() else { return };
    assert_eq!(facts.words, abi::FINGERPRINT);
}

#[test]
fn symbols_that_the_header_exports_are_those_that_the_mirror_names() {
    let contract = without_comments(&read("keyway_plugin.h"));
    assert!(contract.contains(&format!("*{}(const keyway_host_v1 *host);", abi::ENTRY_SYMBOL)));
    let support = without_comments(&read("keyway_plugin_support.h"));
    assert!(support.contains(&format!("const uint32_t {}[KEYWAY_FP_WORDS]", abi::FINGERPRINT_SYMBOL)));
}

#[test]
fn header_stays_short_enough_to_be_read() {
    let lines = read("keyway_plugin.h").lines().count();
    assert!(
        lines <= LONGEST_HEADER,
        "keyway_plugin.h has {lines} lines; at most {LONGEST_HEADER} are wanted"
    );
}

#[derive(Debug, PartialEq)]
struct Struct {
    size: u32,
    align: u32,
    members: Vec<(String, u32)>,
}

/// What `tests/c/offsets.c` prints: the header as the system's C compiler sees it.
#[derive(Default)]
struct Facts {
    structs: BTreeMap<String, Struct>,
    numbers: BTreeMap<String, u64>,
    texts: BTreeMap<String, String>,
    words: Vec<u32>,
}

impl Facts {
    fn of_the_compiler() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("offsets");
        let source = repository().join("tests/c/offsets.c");
        if compile("cc", &["-std=c11".as_ref(), source.as_os_str()], &program).is_none() {
            skip("cc");
            return None;
        }
        let output = Command::new(&program).output().unwrap();
        assert!(output.status.success(), "{}", output.status);
        let mut facts = Self::default();
        let mut last = String::new();
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            facts.take(line, &mut last);
        }
        Some(facts)
    }

    fn take(&mut self, line: &str, last: &mut String) {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["struct", name, size, align] => {
                name.clone_into(last);
                let found = Struct { size: number(size), align: number(align), members: Vec::new() };
                assert!(self.structs.insert(last.clone(), found).is_none(), "{name} is printed twice");
            }
            ["member", name, offset] => {
                let current = self.structs.get_mut(last).unwrap();
                current.members.push((name.to_owned(), number(offset)));
            }
            ["number", name, value] => {
                self.numbers.insert(name.to_owned(), value.parse().unwrap());
            }
            ["text", name, value] => {
                self.texts.insert(name.to_owned(), value.to_owned());
            }
            ["word", value] => self.words.push(number(value)),
            _ => panic!("offsets.c printed an unknown line: {line}"),
        }
    }
}

fn number(digits: &str) -> u32 {
    digits.parse().unwrap()
}

/// Compiles strictly, with the header in reach; `None` when there is no such compiler.
fn compile(compiler: &str, arguments: &[&OsStr], output: &Path) -> Option<()> {
    let mut command = Command::new(compiler);
    command.args(STRICT).arg("-I").arg(repository().join("plugin-api/include")).args(arguments);
    let result = match command.arg("-o").arg(output).output() {
        Err(error) if error.kind() == IoErrorKind::NotFound => return None,
        result => result.unwrap(),
    };
    assert!(
        result.status.success(),
        "{compiler} {arguments:?}:\n{}",
        String::from_utf8_lossy(&result.stderr)
    );
    Some(())
}

#[expect(clippy::disallowed_methods, reason = "the variable belongs to the tests, not to the host")]
fn skip(compiler: &str) {
    let forbidden = std::env::var_os("KEYWAY_TESTS_FORBID_SKIP").is_some_and(|value| value == "1");
    assert!(!forbidden, "nothing may be skipped, but there is no compiler `{compiler}`");
    println!("skipped: there is no compiler `{compiler}`");
}

fn header(name: &str) -> PathBuf {
    repository().join("plugin-api/include").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(header(name)).unwrap()
}

fn without_comments(text: &str) -> String {
    let mut code = String::new();
    let mut rest = text;
    while let Some((before, comment)) = rest.split_once("/*") {
        code.push_str(before);
        rest = comment.split_once("*/").map_or("", |(_, after)| after);
    }
    code + rest
}

/// Name and members of each struct of the contract, read from its text: a compiler only knows what it is asked for.
fn declared_structs() -> Vec<(String, Vec<String>)> {
    let code = without_comments(&read("keyway_plugin.h"));
    let definitions = code.split("typedef struct ").skip(1).filter_map(|definition| {
        let (head, rest) = definition.split_once(['{', ';'])?;
        let is_body = definition[head.len()..].starts_with('{');
        let body = rest.split_once('}').filter(|_| is_body)?.0;
        Some((head.trim().to_owned(), body.split(';').filter_map(declared_name).collect()))
    });
    definitions.collect()
}

/// The name that a declaration such as `void (*log)(...)` or `const char *ptr` gives to a member.
fn declared_name(declaration: &str) -> Option<String> {
    let declarator = match declaration.split_once("(*") {
        Some((_, function)) => function.split_once(')').unwrap().0,
        None => declaration,
    };
    let is_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let name = declarator.trim().rsplit(|character| !is_name(character)).next();
    name.filter(|name| !name.is_empty()).map(str::to_owned)
}

/// The macros of the contract that have a value, but for the one that is an attribute.
fn declared_constants() -> Vec<String> {
    let code = without_comments(&read("keyway_plugin.h"));
    let defined = code.lines().filter_map(|line| line.strip_prefix("#define ")?.split_once(' '));
    let constants = defined.filter(|(name, value)| *name != "KEYWAY_EXPORT" && !value.trim().is_empty());
    constants.map(|(name, _)| name.to_owned()).collect()
}
