use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

const NAME: &str = "aa11";

struct Cache {
    folder: tempfile::TempDir,
    artefacts: Artefacts,
}

fn cache_of(bytes_max: u64) -> Cache {
    let folder = tempfile::tempdir().unwrap();
    let artefacts = Artefacts {
        bytes_max,
        ..Artefacts::new(folder.path().join("cache"), ArtefactKey::new(&[7; 32]))
    };
    Cache { folder, artefacts }
}

fn cache() -> Cache {
    cache_of(ARTEFACTS_BYTES_MAX)
}

impl Cache {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("cache").join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        self.artefacts
            .try_write(name, &Trusted::compiled(bytes.to_vec()))
            .unwrap();
        self.artefacts.tidy(name).unwrap();
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        self.artefacts.read(name).map(|it| it.bytes().to_vec())
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path().join("cache")).unwrap();
        let mut names: Vec<_> = entries
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// When a file was used last, in seconds of some time long ago.
    fn used(&self, name: &str, seconds: u64) {
        let file = File::open(self.path(name)).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(seconds))
            .unwrap();
    }
}

#[test]
fn what_was_written_is_read_again_and_nothing_else_is() {
    let cache = cache();
    assert_eq!(cache.read(NAME), None);
    cache.write(NAME, b"code");
    assert_eq!(cache.read(NAME).unwrap(), b"code");
    assert_eq!(cache.read("bb22"), None);
    assert_eq!(cache.names(), [NAME]);
}

#[test]
fn only_the_owner_can_look_into_the_cache() {
    let cache = cache();
    cache.write(NAME, b"code");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&cache.folder.path().join("cache")), 0o700);
    assert_eq!(mode(&cache.path(NAME)), 0o600);
}

#[test]
fn a_changed_byte_a_missing_byte_and_one_more_are_found_out() {
    let cache = cache();
    cache.write(NAME, b"code");
    let whole = fs::read(cache.path(NAME)).unwrap();
    let mut wrong: Vec<Vec<u8>> = (0..whole.len()).map(|it| whole[..it].to_vec()).collect();
    wrong.push([&whole[..], b"x"].concat());
    for place in 0..whole.len() {
        let mut changed = whole.clone();
        changed[place] ^= 1;
        wrong.push(changed);
    }
    for bytes in wrong {
        fs::write(cache.path(NAME), &bytes).unwrap();
        assert_eq!(cache.read(NAME), None, "{bytes:?}");
        assert!(!cache.path(NAME).exists(), "{bytes:?}");
    }
    fs::write(cache.path(NAME), &whole).unwrap();
    assert_eq!(cache.read(NAME).unwrap(), b"code");
}

#[test]
fn an_artefact_under_another_name_or_of_another_host_is_found_out() {
    let cache = cache();
    cache.write(NAME, b"code");
    fs::copy(cache.path(NAME), cache.path("bb22")).unwrap();
    assert_eq!(cache.read("bb22"), None);
    let other = Artefacts::new(cache.path(""), ArtefactKey::new(&[8; 32]));
    assert!(other.read(NAME).is_none());
    assert_eq!(cache.names(), [""; 0]);
}

#[test]
fn a_link_a_pipe_and_a_folder_are_neither_followed_nor_waited_for() {
    let cache = cache();
    cache.write(NAME, b"code");
    fs::rename(cache.path(NAME), cache.folder.path().join("elsewhere")).unwrap();
    symlink(cache.folder.path().join("elsewhere"), cache.path(NAME)).unwrap();
    assert_eq!(cache.read(NAME), None);
    assert_eq!(cache.names(), [""; 0]);
    let pipe = cache.path(NAME);
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    assert_eq!(cache.read(NAME), None);
    fs::create_dir(cache.path(NAME)).unwrap();
    assert_eq!(cache.read(NAME), None);
}

#[test]
fn what_was_not_used_for_longest_goes_first() {
    let cache = cache_of(3 * (48 + 100));
    for (name, used) in [("a", 300), ("b", 100), ("c", 200)] {
        cache.write(name, &[0; 100]);
        cache.used(name, used);
    }
    assert_eq!(cache.names(), ["a", "b", "c"]);
    // Reading is using.
    cache.read("b").unwrap();
    cache.write("d", &[0; 100]);
    assert_eq!(cache.names(), ["a", "b", "d"]);
    cache.write("e", &[0; 1_000]);
    assert_eq!(cache.names(), ["e"]);
}

#[test]
fn what_a_killed_process_left_is_removed_later() {
    let cache = cache();
    cache.write(NAME, b"code");
    for left in ["unfinished-1-0", "unfinished-2-0"] {
        fs::write(cache.path(left), "half").unwrap();
    }
    cache.used("unfinished-1-0", 100);
    cache.write(NAME, b"code");
    assert_eq!(cache.names(), [NAME, "unfinished-2-0"]);
}

#[test]
fn a_cache_that_cannot_be_written_is_no_error() {
    let cache = cache();
    fs::write(cache.folder.path().join("cache"), "a file").unwrap();
    cache
        .artefacts
        .write(NAME, &Trusted::compiled(b"code".to_vec()));
    assert!(cache.artefacts.read(NAME).is_none());
}
