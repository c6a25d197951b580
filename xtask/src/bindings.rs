//! Generates the SDK's bindings from `wit/`.
//!
//! Called by `cargo xtask bindings`, and with `--check` by the tests. The bindings are checked in, so that authors of
//! plugins build neither a WIT parser nor a code generator.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use wit_bindgen_core::wit_parser::{PackageId, Resolve, WorldId};
use wit_bindgen_core::{Files, WorldGenerator};
use wit_bindgen_rust::{Opts, WithOption};

/// The world that every interface is generated for once; the others use its types.
const FULL_WORLD: &str = "policy-plugin";

/// Writes the bindings, or with `check` fails where the files differ from what would be written.
pub fn run(check: bool) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(root.join("wit"))?;
    for world in [FULL_WORLD, "classifier-plugin", "triager-plugin"] {
        let module = world.replace('-', "_");
        let name = format!("{module}.rs");
        let generated = generate(resolve.clone(), package, world, &module)
            .with_context(|| format!("cannot generate bindings for world `{world}`"))?;
        let path = root.join("plugin-sdk/src/bindings").join(&name);
        if !check {
            fs::write(&path, generated)
                .with_context(|| format!("cannot write {}", path.display()))?;
        } else if fs::read_to_string(&path).ok() != Some(generated) {
            bail!(
                "plugin-sdk/src/bindings/{name} does not match wit/: \
                 run `cargo xtask bindings` and commit the result"
            );
        }
    }
    Ok(())
}

fn generate(mut resolve: Resolve, package: PackageId, world: &str, module: &str) -> Result<String> {
    let world_id = resolve.select_world(&[package], Some(world))?;
    let with = match world {
        FULL_WORLD => Vec::new(),
        _ => shared_interfaces(&resolve, world_id),
    };
    let opts = Opts {
        format: true,
        generate_all: true,
        pub_export_macro: true,
        default_bindings_module: Some(format!("$crate::bindings::{module}")),
        export_macro_name: Some(format!("export_{module}")),
        additional_derive_attributes: vec!["PartialEq".to_owned()],
        with,
        ..Opts::default()
    };
    let mut files = Files::default();
    opts.build().generate(&mut resolve, world_id, &mut files)?;
    let (_, generated) = files.iter().next().context("nothing was generated")?;
    // Exported macros share one namespace per crate, and two worlds export the same interface.
    Ok(std::str::from_utf8(generated)?.replace(
        "__export_triage_policy_",
        &format!("__export_{module}_triage_policy_"),
    ))
}

/// Maps every imported interface to its module in the full world's bindings.
fn shared_interfaces(resolve: &Resolve, world_id: WorldId) -> Vec<(String, WithOption)> {
    let full_world = FULL_WORLD.replace('-', "_");
    let world = resolve.worlds.get(world_id);
    world
        .iter()
        .flat_map(|world| world.imports.keys())
        .map(|key| {
            let id = resolve.name_world_key(key);
            let path = id.split('@').next().unwrap_or_default();
            let path = path.replace([':', '/'], "::");
            let module = format!("crate::bindings::{full_world}::{path}");
            (id, WithOption::Path(module))
        })
        .collect()
}
