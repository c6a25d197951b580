//! Versions whose code leaves memory, and comes back.

use tempfile::TempDir;

use super::*;

const VERSIONS: usize = 5;

struct Host {
    sandbox: Sandbox,
    plugins: Vec<Arc<Plugin>>,
    folder: TempDir,
}

/// A sandbox with a cache and room for the code of about two versions, and five of them.
fn host() -> Host {
    let folder = TempDir::new().unwrap();
    let artefacts = || {
        let folder = folder.path().join("cache");
        Some(Artefacts::new(folder, ArtefactKey::new(&[7; 32])))
    };
    let first = Sandbox::new(Compiler::here(), artefacts()).unwrap();
    let code = first.load(&version(0), COMPILE_SECONDS).unwrap();
    let room = first.code_of(&code).unwrap().bytes * 5 / 2;
    let sandbox = Sandbox::with_room(Compiler::here(), artefacts(), room).unwrap();
    let load = |number| sandbox.load(&version(number), COMPILE_SECONDS).unwrap();
    let plugins = (0..VERSIONS).map(load).collect();
    Host {
        sandbox,
        plugins,
        folder,
    }
}

/// Components of the same size that differ.
fn version(number: usize) -> Vec<u8> {
    component(&format!("(i32.store (i32.const 0) (i32.const 1{number}))"))
}

async fn ended(host: &Host, plugin: &Plugin) -> Ended<Classification> {
    let (run, capabilities) = (run(), capabilities("{}"));
    let stage = host.sandbox.classify(plugin, &run, &LIMITS, capabilities);
    stage.await.ended
}

fn in_memory(host: &Host) -> usize {
    host.sandbox.0.resident.count()
}

#[tokio::test]
async fn versions_that_do_not_fit_into_memory_come_back_when_they_are_used() {
    let host = host();
    assert_eq!(in_memory(&host), 2);
    for _ in 0..3 {
        for plugin in &host.plugins {
            let ended = ended(&host, plugin).await;
            assert!(matches!(ended, Ended::Answer(_)), "{ended:?}");
            assert_eq!(in_memory(&host), 2);
        }
    }
}

#[tokio::test]
async fn what_is_used_stays_in_memory() {
    let host = host();
    let (used, others) = host.plugins.split_first().unwrap();
    ended(&host, used).await;
    // From here on nothing could come back.
    std::fs::remove_dir_all(host.folder.path().join("cache")).unwrap();
    let last = others.last().unwrap();
    for plugin in [used, last, used] {
        let ended = ended(&host, plugin).await;
        assert!(matches!(ended, Ended::Answer(_)), "{ended:?}");
    }
}

#[tokio::test]
async fn a_version_that_cannot_come_back_says_so_and_is_loaded_anew() {
    let host = host();
    std::fs::remove_dir_all(host.folder.path().join("cache")).unwrap();
    let first = &host.plugins[0];
    let Ended::HostError(error) = ended(&host, first).await else {
        panic!("it was in memory")
    };
    assert!(
        error.contains(&first.digest[..12]) && error.contains("SIGHUP"),
        "{error}"
    );

    assert!(!host.sandbox.has_code_of(first));
    assert!(host.sandbox.has_code_of(host.plugins.last().unwrap()));
    let file = host.folder.path().join("plugin.wasm");
    std::fs::write(&file, version(0)).unwrap();
    let loaded = host
        .sandbox
        .load_file(&file, COMPILE_SECONDS, &host.plugins);
    let ended = ended(&host, &loaded.unwrap()).await;
    assert!(matches!(ended, Ended::Answer(_)), "{ended:?}");
}

#[tokio::test]
async fn a_version_that_nobody_holds_takes_no_room() {
    let mut host = host();
    let last = host.plugins.pop().unwrap();
    host.plugins.clear();
    assert_eq!(in_memory(&host), 1);
    let ended = ended(&host, &last).await;
    assert!(matches!(ended, Ended::Answer(_)), "{ended:?}");
}
