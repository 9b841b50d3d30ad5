//! Holds the layers of `src/README.md`: a module uses only what stands below it, never its neighbour.

#![expect(
    clippy::unwrap_used,
    reason = "a test that finds what it did not expect should stop there"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// From the bottom up. Modules of one line are neighbours and do not know each other.
const LAYERS: &[&[&str]] = &[
    &["proto"],
    &["clock"],
    &["id", "task"],
    &["model", "seal"],
    &["hub", "store", "disk"],
    &["access", "footage"],
    &["ingest", "onvif", "record", "playback", "retention", "rebuild"],
    &["rtsp_server"],
    &["simulate", "metrics"],
    &["http"],
    &["config"],
    &["app"],
];

fn sources(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") && !is_test(&path) {
            files.push(path);
        }
    }
}

/// Files that only exist for tests: those may look further.
fn is_test(path: &Path) -> bool {
    let inside = path.strip_prefix(src()).unwrap();
    let name = path.file_stem().unwrap().to_string_lossy();
    name == "tests"
        || name.ends_with("_tests")
        || inside.components().any(|c| c.as_os_str() == "tests")
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn module_of(file: &Path) -> String {
    let inside = file.strip_prefix(src()).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The code of a file: no comments, and nothing from `#[cfg(test)] mod tests` on, since a test may look further.
fn code(file: &Path) -> String {
    let text = std::fs::read_to_string(file).unwrap();
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
    text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Names directly after `crate::`, also inside `use crate::{a::…, b::…}`.
fn used_modules(code: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' if depth == 0 => break,
                    '}' => depth -= 1,
                    ',' if depth == 0 => drop(used.insert(std::mem::take(&mut word))),
                    c if depth == 0 => word.push(c),
                    _ => {}
                }
            }
            used.insert(word);
        } else {
            used.insert(rest.to_owned());
        }
    }
    let first_name = |s: &String| -> String {
        s.trim().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
    };
    used.iter().map(first_name).filter(|name| !name.is_empty()).collect()
}

#[test]
fn every_module_uses_only_what_is_below_it() {
    let height: BTreeMap<&str, usize> = LAYERS
        .iter()
        .enumerate()
        .flat_map(|(h, names)| names.iter().map(move |&n| (n, h)))
        .collect();
    let mut files = Vec::new();
    sources(&src(), &mut files);
    let mut wrong = Vec::new();
    for file in &files {
        let module = module_of(file);
        // `lib.rs` lists all, `main.rs` starts `app`.
        if module == "lib" || module == "main" {
            continue;
        }
        let Some(&own) = height.get(module.as_str()) else {
            panic!("{module} stands in no layer");
        };
        for used in used_modules(&code(file)) {
            if used == module {
                continue;
            }
            match height.get(used.as_str()) {
                Some(&other) if other < own => {}
                Some(_) => wrong.push(format!("{}: {module} uses {used}", file.display())),
                None if used.chars().next().is_some_and(char::is_uppercase) => {}
                None => wrong.push(format!("{}: crate::{used} is no module", file.display())),
            }
        }
    }
    assert!(files.len() > 40, "looked at {} files only", files.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn protocols_know_no_runtime_no_files_and_no_clock() {
    let mut files = Vec::new();
    sources(&src().join("proto"), &mut files);
    assert!(!files.is_empty());
    for file in files {
        let code = code(&file);
        for word in [
            "tokio",
            "sqlx",
            "std::fs",
            "std::net::Tcp",
            "std::net::Udp",
            "SystemTime",
            "Instant::now",
            "retina",
            "std::thread",
        ] {
            assert!(!code.contains(word), "{} speaks of {word}", file.display());
        }
    }
}

#[test]
fn what_a_dependency_stands_for_stays_behind_its_seam() {
    let homes: &[(&str, &[&str])] = &[
        ("retina::", &[]),
        ("oxvif::", &["onvif"]),
        ("sqlx::", &["store", "id"]),
        ("axum::", &["http", "app"]),
        ("tokio_tungstenite::", &["http"]),
        // The simulator's clip is an ordinary MP4 file, which `proto::fmp4` does not read.
        ("mp4_atom::", &["proto", "simulate"]),
        ("prometheus::", &["metrics", "http"]),
        ("chrono::", &["http", "config", "app", "simulate", "model"]),
        // Hours of the week are people's dates; nothing else of the model is.
        ("chrono_tz::", &["model"]),
    ];
    let mut files = Vec::new();
    sources(&src(), &mut files);
    for file in files {
        let (module, code) = (module_of(&file), code(&file));
        for (name, allowed) in homes {
            assert!(
                !code.contains(name) || allowed.contains(&module.as_str()),
                "{} uses {name}",
                file.display()
            );
        }
    }
}

#[test]
fn the_map_of_the_code_names_every_module() {
    let map = std::fs::read_to_string(src().join("README.md")).unwrap();
    let words: BTreeSet<&str> =
        map.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect();
    for name in LAYERS.iter().flat_map(|names| names.iter()) {
        assert!(words.contains(name), "src/README.md does not name {name}");
    }
}

/// Every test that the tables of `src/rtsp_server/tests/README.md` (what we promise to players) and
/// `tests/ingest/README.md` (what we do about cameras) name is there.
#[test]
fn the_tests_that_the_table_of_promises_names_are_there() {
    fn walk(dir: &Path, code: &mut String) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, code);
            } else if path.extension().is_some_and(|e| e == "rs") {
                code.push_str(&std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut code = String::new();
    walk(&src(), &mut code);
    walk(&src().parent().unwrap().join("tests"), &mut code);
    for table in ["src/rtsp_server/tests/README.md", "tests/ingest/README.md"] {
        let text = std::fs::read_to_string(src().parent().unwrap().join(table)).unwrap();
        let names: Vec<&str> = text
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|name| name.contains('_') && !name.contains(['/', ' ']))
            .filter(|name| {
                name.chars().all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit())
            })
            .collect();
        assert!(names.len() > 70, "{table}: {} tests are named", names.len());
        for name in names {
            assert!(code.contains(&format!("fn {name}(")), "{table}: there is no test {name}");
        }
    }
}
