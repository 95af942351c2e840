//! Dependencies point down, and pure cores stay pure.

use std::collections::BTreeSet;

use weft_house::{Layer, PLAN, Workspace, arrow_fault, planned, rust_files, without_tests};

fn workspace() -> Workspace {
    let metadata = cargo_metadata::MetadataCommand::new()
        .manifest_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.toml"))
        .no_deps()
        .exec()
        .expect("cargo reads the manifests");
    let mut workspace = Workspace {
        root: metadata.workspace_root.clone().into(),
        folders: std::collections::BTreeMap::new(),
        arrows: std::collections::BTreeMap::new(),
    };
    for package in &metadata.packages {
        let name = package.name.to_string();
        let folder = package.manifest_path.parent().expect("a manifest is in a folder");
        let below = package.dependencies.iter();
        let normal = below.filter(|d| d.kind != cargo_metadata::DependencyKind::Development);
        workspace.arrows.insert(name.clone(), normal.map(|d| d.name.clone()).collect());
        workspace.folders.insert(name, folder.into());
    }
    workspace
}

fn is_pure(name: &str) -> bool {
    planned(name).is_some_and(|room| room.layer <= Layer::PureCoreAbove)
}

#[test]
fn the_plan_and_the_manifests_name_the_same_crates() {
    let workspace = workspace();
    let planned: BTreeSet<_> = PLAN.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(planned, workspace.folders.keys().cloned().collect());
    for (name, room) in PLAN {
        let folder = workspace.folders[name].strip_prefix(&workspace.root).expect("within the workspace");
        assert!(
            folder.starts_with(room.wing),
            "{name} is planned in {} but stands in {}",
            room.wing,
            folder.display()
        );
    }
}

#[test]
fn no_arrow_runs_back() {
    let workspace = workspace();
    let ours = |name: &&String| workspace.folders.contains_key(*name);
    let faults: Vec<_> = workspace
        .arrows
        .iter()
        .flat_map(|(from, below)| below.iter().filter(ours).filter_map(move |to| arrow_fault(from, to)))
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn an_arrow_that_runs_back_is_seen() {
    assert!(arrow_fault("weft-types", "weft-wire").is_some());
    assert!(arrow_fault("weft-meta", "weft-transport").is_some());
    assert!(arrow_fault("weft-core", "weft-fuse").is_some());
    assert!(arrow_fault("weft-cli", "weft-management").is_some());
    assert!(arrow_fault("weft-drive", "weft-core").is_some());
    assert!(arrow_fault("weft-compute", "weft-meta").is_none());
}

/// A client host never carries server code: nothing that a frontend binary reaches is in `backend/`.
#[test]
fn frontends_reach_no_backend_crate() {
    let workspace = workspace();
    for binary in ["weft-cli", "weft-gateway"] {
        let mut open = vec![binary.to_owned()];
        let mut seen = BTreeSet::new();
        while let Some(name) = open.pop() {
            let Some(below) = workspace.arrows.get(&name) else { continue };
            assert_ne!(planned(&name).map(|room| room.wing), Some("backend"), "{binary} reaches {name}");
            if seen.insert(name) {
                open.extend(below.iter().cloned());
            }
        }
    }
}

/// Crates that do nothing but compute, and so may stand below a pure core.
const PURE_CRATES: [&str; 9] = [
    "aws-lc-rs",
    "blake3",
    "bytes",
    "crc32c",
    "minicbor",
    "reed-solomon-simd",
    "serde",
    "serde_json",
    "thiserror",
];

#[test]
fn pure_cores_depend_on_nothing_that_acts() {
    for (name, below) in &workspace().arrows {
        for dependency in below.iter().filter(|_| is_pure(name)) {
            let allowed =
                is_pure(dependency) || dependency == "zeroize" || PURE_CRATES.contains(&dependency.as_str());
            assert!(allowed, "the pure core {name} depends on {dependency}");
        }
    }
}

/// Roads from the standard library, and from crates that a pure core may use otherwise, to the outside world.
const ROADS_OUT: [&str; 12] = [
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::env",
    "std::io::stdin",
    "SystemTime",
    "Instant::now",
    "tokio",
    "aws_lc_rs::rand",
    "SystemRandom",
    "getrandom",
];

#[test]
fn pure_cores_take_time_and_chance_as_arguments() {
    let workspace = workspace();
    for (name, folder) in workspace.folders.iter().filter(|(name, _)| is_pure(name)) {
        for file in rust_files(&folder.join("src")).iter().filter(|file| !is_test_file(file)) {
            let source = std::fs::read_to_string(file).expect("a source file is readable");
            let code = without_tests(&source).lines().filter(|line| !line.trim_start().starts_with("//"));
            for line in code {
                let road = ROADS_OUT.iter().find(|road| line.contains(*road));
                assert_eq!(road, None, "the pure core {name} reaches outside in {}: {line}", file.display());
            }
        }
    }
}

fn is_test_file(file: &std::path::Path) -> bool {
    let named = |part: &std::ffi::OsStr| part == "tests" || part == "tests.rs";
    file.iter().any(named) || file.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("_tests"))
}
