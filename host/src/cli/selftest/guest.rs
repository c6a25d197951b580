//! Small plugins in WebAssembly's text form, made into components when the self-test begins.

use anyhow::Context as _;
use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::Resolve;

use crate::cli::plugin::pack;

/// `ok({ priority: normal, category: "test", labels: [], confidence: 80, reason: "ok" })` at 1024 for
/// classifiers, `ok({ summary: "ok", actions: [] })` at 1536 for triagers.
const ANSWERS: &str = r#"
    (data (i32.const 1024) "\00\00\00\00\02\00\00\00\00\08\00\00\04\00\00\00\00\00\00\00\00\00\00\00\50\00\00\00\10\08\00\00\02\00\00\00")
    (data (i32.const 1536) "\00\00\00\00\10\08\00\00\02\00\00\00\00\10\00\00\00\00\00\00")
    (data (i32.const 2048) "test")
    (data (i32.const 2064) "ok")"#;
/// Gives memory and never takes it back.
const REALLOC: &str = "(local $at i32)
    (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
    (global.set $free (i32.add (local.get $at) (local.get 3)))
    (local.get $at)";

/// Which of the contract's functions a guest offers.
#[derive(Clone, Copy)]
pub(super) enum Role {
    Classifier,
    Triager,
}

impl Role {
    /// As a policy's setting.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Classifier => "classifier",
            Self::Triager => "triager",
        }
    }
}

/// What makes a guest differ from one that answers at once.
#[derive(Clone, Copy)]
pub(super) struct Guest {
    /// What it offers.
    pub role: Role,
    /// Imports, in the module's text.
    pub imports: &'static str,
    /// Pages of its memory, as the text has it.
    pub pages: &'static str,
    /// Whatever else stands in the module.
    pub more: &'static str,
    /// The body of `cabi_realloc`.
    pub realloc: &'static str,
    /// What it does before it answers; `$event` is where the event is.
    pub body: &'static str,
    /// The world of `wasi.wit` that it is made for; the contract's, where it needs nothing else.
    pub world: Option<&'static str>,
}

impl Guest {
    /// A classifier that does this, and answers.
    pub(super) const fn that(body: &'static str) -> Self {
        Self {
            role: Role::Classifier,
            imports: "",
            pages: "2",
            more: "",
            realloc: REALLOC,
            body,
            world: None,
        }
    }

    /// The same, with imports of the contract.
    pub(super) const fn importing(imports: &'static str, body: &'static str) -> Self {
        Self {
            imports,
            ..Self::that(body)
        }
    }

    /// The same, with imports of WASI.
    pub(super) const fn wasi(imports: &'static str, body: &'static str) -> Self {
        Self {
            world: Some("guest"),
            ..Self::importing(imports, body)
        }
    }

    /// A triager that asks for one webhook to this destination.
    pub(super) fn webhook(destination: &str) -> anyhow::Result<Vec<u8>> {
        let plan = "(i32.store (i32.const 1548) (i32.const 4096)) (i32.store (i32.const 1552) (i32.const 1))";
        let guest = Self {
            role: Role::Triager,
            ..Self::that(plan)
        };
        // Name, destination, the kind of content (a webhook), payload.
        let action = [3500, 1, 3000, u32::try_from(destination.len())?, 1, 3501, 2];
        let action: String = action
            .iter()
            .flat_map(|it| it.to_le_bytes())
            .map(|it| format!("\\{it:02x}"))
            .collect();
        guest.component_with(&format!(
            r#"(data (i32.const 3000) "{destination}") (data (i32.const 3500) "a{{}}")
            (data (i32.const 4096) "{action}")"#
        ))
    }

    /// The component.
    pub(super) fn component(&self) -> anyhow::Result<Vec<u8>> {
        self.component_with(self.more)
    }

    /// The component, with this in its module instead of `more`.
    pub(super) fn component_with(&self, more: &str) -> anyhow::Result<Vec<u8>> {
        let text = self.text(more);
        match self.world {
            None => Ok(pack::pack(text.as_bytes())?),
            Some(world) => encode(&text, world),
        }
    }

    fn text(&self, more: &str) -> String {
        let (function, answer) = match self.role {
            Role::Classifier => ("classifier@0.1.0#classify", 1024),
            Role::Triager => ("triager@0.1.0#triage", 1536),
        };
        let Self {
            imports,
            pages,
            realloc,
            body,
            ..
        } = self;
        format!(
            r#"(module
                {imports}
                (memory (export "memory") {pages})
                (global $free (mut i32) (i32.const 8192))
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc})
                {ANSWERS}
                {more}
                (func $body (param $event i32) {body})
                (func (export "triage:policy/{function}") (param i32) (result i32)
                    (call $body (local.get 0))
                    (i32.const {answer})))"#
        )
    }
}

fn encode(text: &str, world: &str) -> anyhow::Result<Vec<u8>> {
    let mut module = wat::parse_str(text)?;
    let mut resolve = Resolve::default();
    let mut sources = wit_parser::SourceMap::default();
    for (name, text) in pack::WIT {
        sources.push_str(name, text);
    }
    let group = sources
        .parse()
        .map_err(|(sources, error)| anyhow::anyhow!(error.render(&sources)))?;
    resolve.push_group(group)?;
    let package = resolve.push_str("wasi.wit", include_str!("wasi.wit"))?;
    let world = resolve.select_world(&[package], Some(world))?;
    let encoding = StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut module, &resolve, world, encoding, false)?;
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true);
    encoder.module(&module)?;
    encoder.encode().context("a guest of the self-test")
}
