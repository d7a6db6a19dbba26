//! Who may know whom, read from `cargo metadata`: an arrow that the design does not draw fails here.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// The crates that a crate may depend on, of ours. `*` stands for every service.
const ALLOWED: [(&str, &[&str]); 9] = [
    ("wire", &[]),
    ("auth", &[]),
    ("store", &[]),
    ("runtime", &[]),
    ("net", &[]),
    ("cloud", &["wire", "store"]),
    ("gateway", &["wire", "auth", "cloud"]),
    ("bench", &[]),
    (
        "server",
        &[
            "wire", "auth", "store", "runtime", "net", "cloud", "gateway", "*",
        ],
    ),
];
/// What a service may know.
const SERVICE: &[&str] = &["wire", "auth", "store", "cloud", "runtime", "net"];
/// What tests of a service may know besides: they go through the wire.
const SERVICE_TESTS: &[&str] = &["gateway"];
/// Tests that need another service beside the tested one: sessions are of roles, which IAM owns.
const TESTED_WITH: [(&str, &str); 1] = [("sts", "iam")];

#[test]
fn every_dependency_is_an_arrow_of_the_design() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .output();
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.expect("cargo runs").stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let ours: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let services: BTreeSet<&str> = packages
        .iter()
        .filter(|p| {
            p["manifest_path"]
                .as_str()
                .is_some_and(|m| m.contains("/services/"))
        })
        .filter_map(|p| p["name"].as_str())
        .collect();
    let allowed: BTreeMap<&str, &[&str]> = ALLOWED.into_iter().collect();
    let mut forbidden = Vec::new();
    let mut arrows = 0;
    for package in packages {
        let from = package["name"].as_str().expect("a name");
        let may = allowed
            .get(from)
            .copied()
            .or(services.contains(from).then_some(SERVICE));
        let Some(may) = may else {
            forbidden.push(format!("{from} has no place in the design"));
            continue;
        };
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let to = dependency["name"].as_str().expect("a name");
            if !ours.contains(to) || dependency["path"].is_null() {
                continue;
            }
            arrows += 1;
            let in_tests = dependency["kind"] == "dev"
                && services.contains(from)
                && (SERVICE_TESTS.contains(&to) || TESTED_WITH.contains(&(from, to)));
            let any_service = may.contains(&"*") && services.contains(to);
            if !may.contains(&to) && !any_service && !in_tests {
                forbidden.push(format!("{from} -> {to}"));
            }
        }
    }
    assert!(
        arrows > 10 && services.len() >= 5,
        "the workspace was not read"
    );
    assert!(forbidden.is_empty(), "forbidden arrows: {forbidden:?}");
}
