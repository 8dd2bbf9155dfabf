//! Real projects: the C sources inside registry packages.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// The directory of the package `name`, one of those that the feature `real-projects` lists.
///
/// # Panics
/// Where `cargo metadata` fails or does not know the package.
#[must_use]
pub fn package_dir(name: &str) -> PathBuf {
    static METADATA: OnceLock<serde_json::Value> = OnceLock::new();
    let metadata = METADATA.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version=1", "--locked", "--features", "real-projects"])
            .args(["--filter-platform", "x86_64-unknown-linux-gnu", "--manifest-path"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    });
    let package = metadata["packages"].as_array().unwrap().iter().find(|p| p["name"] == name);
    let manifest = package.unwrap_or_else(|| panic!("{name} is no dependency"))["manifest_path"].as_str().unwrap();
    PathBuf::from(manifest).parent().unwrap().to_path_buf()
}
