//! Tells cargo what the binary embeds: without this a page or a migration that is *added* after the
//! first build goes unnoticed, since only files that were there are tracked.

use std::{fs, io};

fn main() -> io::Result<()> {
    // A path that is not there makes cargo build anew each time; an empty folder is a page not built.
    fs::create_dir_all("web/dist")?;
    for embedded in ["build.rs", "migrations", "web/dist"] {
        println!("cargo::rerun-if-changed={embedded}");
    }
    Ok(())
}
