//! Where the host's interpreters are, and which of them is the nearest to the version that a runtime names.
#![allow(
    clippy::disallowed_methods,
    reason = "looks for programs of the host, and asks them for their version"
)]

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::interpreter::Interpreter;

#[derive(Deserialize)]
struct Probe {
    version: String,
    prefixes: Vec<PathBuf>,
    boto3: bool,
}

const PROBE: &str = "import sys, json, importlib.util as u\n\
print(json.dumps({'version': '%d.%d.%d' % sys.version_info[:3], 'prefixes': sorted({sys.prefix, sys.base_prefix, sys.exec_prefix}), \
'boto3': u.find_spec('boto3') is not None}))";

/// The directories in which programs are looked for. A pyenv shim is a shell script that needs its home, so shims are left out.
fn places() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut all: Vec<PathBuf> = std::env::split_paths(&path)
        .filter(|p| p.is_absolute() && !p.ends_with("shims"))
        .collect();
    all.extend(["/usr/local/bin", "/usr/bin"].map(PathBuf::from));
    let pyenv =
        std::env::var_os("PYENV_ROOT").map_or_else(|| user_directory(".pyenv"), PathBuf::from);
    all.extend(below(&pyenv.join("versions")));
    let mut seen = std::collections::HashSet::new();
    all.retain(|p| seen.insert(p.clone()));
    all
}

/// A Python 3 of that minor version, or the nearest.
pub async fn python(minor: u32) -> Option<Interpreter> {
    let places = places();
    let named = |minor: u32| {
        let name = format!("python3.{minor}");
        places
            .iter()
            .map(move |p| p.join(&name))
            .filter(|p| p.is_file())
            .collect::<Vec<_>>()
    };
    let exact = probed(named(minor)).await;
    if let Some(found) = exact {
        return Some(found);
    }
    // The nearest newer one first: code rarely minds those.
    for other in (minor + 1..minor + 12).chain((6..minor).rev()) {
        if let Some(mut found) = probed(named(other)).await {
            found.notice = Some(format!(
                "This host has no python3.{minor}; the function runs on Python {} ({}).",
                found.version,
                found.program.display()
            ));
            return Some(found);
        }
    }
    None
}

/// The first of the programs that works, one with boto3 before one without.
async fn probed(programs: Vec<PathBuf>) -> Option<Interpreter> {
    let mut without = None;
    for program in programs {
        let Ok(output) = tokio::process::Command::new(&program)
            .args(["-I", "-c", PROBE])
            .env_clear()
            .output()
            .await
        else {
            continue;
        };
        let Ok(probe) = serde_json::from_slice::<Probe>(&output.stdout) else {
            continue;
        };
        let mounts = probe.prefixes.into_iter().filter(|p| !is_system(p));
        let mut found = Interpreter::new(program, probe.version, mounts.collect());
        found.has_boto3 = probe.boto3;
        if found.has_boto3 {
            return Some(found);
        }
        without.get_or_insert(found);
    }
    without
}

/// A Node.js of that major version, or the nearest.
pub async fn node(major: u32) -> Option<Interpreter> {
    let mut found = Vec::new();
    for program in programs(&places(), &["node"]) {
        let Some(text) = output(&program, &["--version"]).await else {
            continue;
        };
        found.extend(release(text.trim().trim_start_matches('v')).map(|v| (v, program)));
    }
    nearest(found, "Node.js", &[major])
}

/// A Java of that version, or the nearest.
pub async fn java(version: u32) -> Option<Interpreter> {
    let home = std::env::var_os("JAVA_HOME").map(|home| PathBuf::from(home).join("bin"));
    let mut places: Vec<PathBuf> = home.into_iter().chain(places()).collect();
    places.extend(below(Path::new("/usr/lib/jvm")));
    places.extend(below(&user_directory(".sdkman/candidates/java")));
    let mut found = Vec::new();
    for program in programs(&places, &["java"]) {
        // It says so on standard error: `openjdk version "17.0.15" 2025-04-15`; before version 9 it was `"1.8.0_452"`.
        let Some(text) = output(&program, &["-version"]).await else {
            continue;
        };
        let quoted = text.split('"').nth(1).unwrap_or_default();
        let version = release(quoted.strip_prefix("1.").unwrap_or(quoted));
        found.extend(version.map(|v| (v, program)));
    }
    nearest(found, "Java", &[version])
}

/// A Ruby of that version, or the nearest.
pub async fn ruby(major: u32, minor: u32) -> Option<Interpreter> {
    let mut places = places();
    places.extend(below(&user_directory(".rbenv/versions")));
    places.extend(below(&user_directory(".rubies")));
    let exact = format!("ruby{major}.{minor}");
    let mut found = Vec::new();
    for program in programs(&places, &[&exact, "ruby"]) {
        let Some(text) = output(&program, &["--disable-gems", "-e", "print RUBY_VERSION"]).await
        else {
            continue;
        };
        found.extend(release(text.trim()).map(|v| (v, program)));
    }
    nearest(found, "Ruby", &[major, minor])
}

/// A version as it was said, and its numbers.
struct Release {
    text: String,
    numbers: Vec<u32>,
}

fn release(text: &str) -> Option<Release> {
    let numbers: Vec<u32> = text
        .split(['.', '_', '-', '+'])
        .map_while(|part| part.parse().ok())
        .collect();
    (!numbers.is_empty()).then(|| Release {
        text: text.to_owned(),
        numbers,
    })
}

/// The program of the version asked for; else of the next newer one, which code rarely minds, else of the newest.
fn nearest(found: Vec<(Release, PathBuf)>, language: &str, wanted: &[u32]) -> Option<Interpreter> {
    fn leading<'a>(release: &'a Release, wanted: &[u32]) -> &'a [u32] {
        release
            .numbers
            .get(..wanted.len())
            .unwrap_or(&release.numbers)
    }
    let newer = |exact: bool| {
        found
            .iter()
            .filter(|(release, _)| {
                let has = leading(release, wanted);
                if exact { has == wanted } else { has > wanted }
            })
            .min_by(|(a, _), (b, _)| leading(a, wanted).cmp(leading(b, wanted)))
    };
    let newest = || {
        found
            .iter()
            .max_by(|(a, _), (b, _)| a.numbers.cmp(&b.numbers))
    };
    let (release, program) = newer(true).or_else(|| newer(false)).or_else(newest)?;
    let prefix = program.parent().and_then(Path::parent).map(Path::to_owned);
    let mounts = prefix.into_iter().filter(|p| !is_system(p)).collect();
    let mut interpreter = Interpreter::new(program.clone(), release.text.clone(), mounts);
    if leading(release, wanted) != wanted {
        let wanted: Vec<String> = wanted.iter().map(u32::to_string).collect();
        interpreter.notice = Some(format!(
            "This host has no {language} {}; the function runs on {language} {} ({}).",
            wanted.join("."),
            release.text,
            program.display()
        ));
    }
    Some(interpreter)
}

/// The programs of those names in those places, without links and each once.
fn programs(places: &[PathBuf], names: &[&str]) -> Vec<PathBuf> {
    let mut seen = std::collections::HashSet::new();
    names
        .iter()
        .flat_map(|name| places.iter().map(move |place| place.join(name)))
        .filter(|program| program.is_file())
        .filter_map(|program| std::fs::canonicalize(program).ok())
        .filter(|program| seen.insert(program.clone()))
        .collect()
}

/// What a program prints, on either stream.
async fn output(program: &Path, arguments: &[&str]) -> Option<String> {
    let output = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(std::process::Stdio::null())
        .output()
        .await
        .ok()?;
    let all = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&all).into_owned())
}

/// The `bin` of each directory in a directory, the last name first.
fn below(place: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = std::fs::read_dir(place)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .collect();
    all.sort();
    all.reverse();
    all
}

fn user_directory(name: &str) -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    home.map(|home| home.join(name)).unwrap_or_default()
}

/// Whether every sandbox shows a path anyway. The root counts: an interpreter in `/bin` is in `/usr/bin`, and nobody is shown all there is.
fn is_system(path: &Path) -> bool {
    path.parent().is_none()
        || ["/usr", "/bin", "/lib", "/lib64", "/etc"]
            .iter()
            .any(|p| path.starts_with(p))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(wanted: &[u32], there: &[&str]) -> (String, bool) {
        let found = there
            .iter()
            .map(|text| (release(text).unwrap(), PathBuf::from("/usr/bin/java")))
            .collect();
        let interpreter = nearest(found, "Java", wanted).unwrap();
        (interpreter.version, interpreter.notice.is_some())
    }

    #[test]
    fn the_nearest_version_stands_in_for_a_missing_one() {
        let all = ["17.0.15", "8.0_452", "21.0.2"];
        assert_eq!(chosen(&[17], &all), ("17.0.15".into(), false));
        assert_eq!(chosen(&[11], &all), ("17.0.15".into(), true));
        assert_eq!(chosen(&[25], &all), ("21.0.2".into(), true));
        assert_eq!(
            chosen(&[3, 3], &["3.1.2", "3.4.1", "3.3.8"]),
            ("3.3.8".into(), false)
        );
        assert!(nearest(Vec::new(), "Ruby", &[3, 3]).is_none());
    }
}
