//! The only `unsafe` of this program: machine code is taken from bytes.
#![allow(
    unsafe_code,
    reason = "wasmtime cannot check machine code; who wrote it is checked here"
)]

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use wasmtime::Engine;
use wasmtime::component::Component;

/// Machine code that this host compiled: it came from a compiling process of this one, or with a valid
/// seal from the cache. Private fields, made in this file only.
pub struct Trusted(Vec<u8>);

/// Seals artefacts. Has no text form.
#[derive(Clone)]
pub struct ArtefactKey(Hmac<Sha256>);

/// What stands before an artefact's bytes: that only the key's holder can have written them under this name.
pub(super) type Seal = [u8; 32];

impl ArtefactKey {
    /// Takes 32 random bytes that nobody has who can write to the cache.
    pub fn new(key: &[u8; 32]) -> Self {
        // HMAC (RFC 2104) fills a shorter key up with zeros. Done here, so that nothing can fail.
        let mut block = [0; 64];
        let filled = block.iter_mut().zip(key);
        filled.for_each(|(to, from)| *to = *from);
        Self(Hmac::new(&block.into()))
    }

    /// The seal of these bytes under this name.
    pub(super) fn seal(&self, name: &str, artefact: &Trusted) -> Seal {
        self.mac(name, &artefact.0).finalize().into_bytes().into()
    }

    /// Opens what was sealed under this name, in constant time; `None` for everything else.
    pub(super) fn open(&self, name: &str, seal: &Seal, bytes: Vec<u8>) -> Option<Trusted> {
        let mac = self.mac(name, &bytes);
        mac.verify_slice(seal).ok().map(|()| Trusted(bytes))
    }

    fn mac(&self, name: &str, bytes: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        // The length before the name: no two pairs give the same text.
        mac.update(&(name.len() as u64).to_le_bytes());
        mac.update(name.as_bytes());
        mac.update(bytes);
        mac
    }
}

impl Trusted {
    /// What a compiling process answered.
    pub(in super::super) fn compiled(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// How many bytes it has: about as many as it takes in memory when it is loaded.
    pub(in super::super) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The component that the engine can instantiate.
    ///
    /// # Errors
    /// Where another version or other settings made it.
    pub(in super::super) fn component(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: `deserialize` needs bytes that `precompile_component` gave and nobody changed since. These are
        // the answer of a compiling process of this program, over a pipe that only the two of them hold, or they
        // bear the seal that this host puts on such an answer before it writes it to the cache; they are in this
        // process's own memory since before the seal was checked, and not in a file that could change. That the
        // same version compiled them with the same settings, `deserialize` checks itself.
        unsafe { Component::deserialize(engine, &self.0) }
    }
}
