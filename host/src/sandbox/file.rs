//! Reads a plugin's file, unless it is too large to be one.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// The largest file of a plugin in bytes. Components made of JavaScript or Python are up to 20 MB.
pub const PLUGIN_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The whole file; never more than [`PLUGIN_BYTES_MAX`] bytes of it are held in memory.
///
/// # Errors
/// `FileTooLarge` where it is larger; what the system said where it cannot be read.
pub fn read_plugin(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let file_bytes = file.metadata()?.len();
    let mut bytes = Vec::new();
    // One more than allowed, so that a file that grows meanwhile is noticed and not cut.
    let read_bytes = file.take(PLUGIN_BYTES_MAX + 1).read_to_end(&mut bytes)? as u64;
    if PLUGIN_BYTES_MAX < read_bytes {
        check_size(file_bytes.max(read_bytes))?;
    }
    Ok(bytes)
}

/// Whether a plugin's file may have so many bytes.
///
/// # Errors
/// `FileTooLarge`, with what to do.
pub fn check_size(file_bytes: u64) -> io::Result<()> {
    if file_bytes <= PLUGIN_BYTES_MAX {
        return Ok(());
    }
    Err(io::Error::new(
        ErrorKind::FileTooLarge,
        format!(
            "it has {file_bytes} bytes, and a plugin may have {PLUGIN_BYTES_MAX}: build it \
             without debug information"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_the_limit_is_read_and_a_larger_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plugin.wasm");
        let file = File::create(&path).unwrap();
        file.set_len(PLUGIN_BYTES_MAX).unwrap();
        assert_eq!(read_plugin(&path).unwrap().len() as u64, PLUGIN_BYTES_MAX);
        file.set_len(PLUGIN_BYTES_MAX + 1).unwrap();
        let error = read_plugin(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert_eq!(
            error.to_string(),
            "it has 33554433 bytes, and a plugin may have 33554432: build it without debug \
             information"
        );
    }
}
