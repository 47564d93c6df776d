//! Where things are in this checkout.

use std::path::{Path, PathBuf};

/// The folder of the workspace's `Cargo.toml`, found at run time.
///
/// A checkout that was copied together with its `target/` runs programs that were compiled elsewhere, and must neither read nor control that other checkout.
pub fn root() -> PathBuf {
    // Cargo names the package that it runs or tests.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let program = std::env::current_exe().ok();
    let here = std::env::current_dir().ok();
    let is_root = |folder: &Path| {
        folder.join("Cargo.lock").is_file() && folder.join("sandbox/Cargo.toml").is_file()
    };
    find(&[package, program, here.clone()], is_root).or(here).unwrap_or_else(|| PathBuf::from("."))
}

/// The innermost folder around the first of these places that is in a checkout.
fn find(places: &[Option<PathBuf>], is_root: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let mut folders = places.iter().flatten().flat_map(|place| place.ancestors());
    folders.find(|folder| is_root(folder)).map(Path::to_owned)
}

/// A program of this package that cargo built beside the test that runs. What cargo compiles into a test names the
/// folder where it was compiled.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    let folder = test.ancestors().skip(1).find(|folder| !folder.ends_with("deps"));
    folder.unwrap_or_else(|| Path::new(".")).join(name)
}

/// The sandbox's own folder: downloaded tools, logs, what `up` wrote. It goes with `cargo clean`.
pub fn sandbox_folder() -> PathBuf {
    root().join("target").join("sandbox")
}

/// Envoy's configuration as it stands in the repository.
pub fn envoy_folder() -> PathBuf {
    root().join("envoy")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkout_is_the_one_that_cargo_names_or_that_the_program_is_in_or_this_folder_is() {
        let is_root = |folder: &Path| folder == Path::new("/one") || folder == Path::new("/two");
        let found_by = |places: [&str; 3]| {
            let places = places.map(|it| (!it.is_empty()).then(|| PathBuf::from(it)));
            find(&places, is_root).map(|root| root.to_string_lossy().into_owned())
        };
        let found = |root: &str| Some(root.to_owned());
        assert_eq!(found_by(["/one/sandbox", "/two/target/debug/sandbox", "/two"]), found("/one"));
        assert_eq!(found_by(["", "/two/target/debug/sandbox", "/one"]), found("/two"));
        assert_eq!(
            found_by(["/elsewhere/package", "/two/target/debug/sandbox", ""]),
            found("/two")
        );
        assert_eq!(found_by(["", "/shared/debug/sandbox", "/one/docs"]), found("/one"));
        assert_eq!(found_by(["", "/shared/debug/sandbox", "/"]), None);
    }
}
