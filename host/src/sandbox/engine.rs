//! The one engine that runs guests and the one that compiles them elsewhere.

use std::hash::{Hash, Hasher};

use sha2::{Digest, Sha256};
use wasmtime::{
    Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy,
};

use crate::model::policy::{MEMORY_MB_MAX, TABLE_ELEMENTS_MAX};

/// Guests that can be alive at the same time.
pub const INSTANCES_MAX: u32 = 256;
/// Core instances of one component. Python's are the most: one for each part of its runtime.
pub const CORE_INSTANCES_MAX: u32 = 128;
/// Linear memories of one component. QuickJS has one for itself, and one for each adapter.
pub const MEMORIES_MAX: u32 = 4;
/// Tables of one component.
pub const TABLES_MAX: u32 = 24;

/// Native stack of a guest in bytes; deeper recursion is a trap.
const GUEST_STACK_BYTES: usize = 512 << 10;
/// Guests whose memory is given back to the system together: each time interrupts every thread of the process. Until
/// then that of one less than so many stays with the host.
const DECOMMITTED_TOGETHER: usize = 16;
/// The stack that a guest and the host functions it calls share, in bytes.
const FIBER_STACK_BYTES: usize = 1 << 20;
/// Memory that a slot keeps between guests, in bytes: about what a small guest touches.
/// Less costs page faults, more costs clearing.
const KEEP_RESIDENT_BYTES: usize = 256 << 10;
/// The same for tables: giving one back to the system interrupts every thread of the process.
const TABLE_KEEP_RESIDENT_BYTES: usize = 192 << 10;
/// The same for the stacks of guests.
const STACK_KEEP_RESIDENT_BYTES: usize = 64 << 10;

/// Makes the engine that runs guests: with pooled slots, or without where the address space does not allow
/// them. It has no compiler.
pub(super) fn serving() -> wasmtime::Result<Engine> {
    let mut config = base_config();
    config.enable_compiler(false);
    let unpooled = config.clone();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
    Engine::new(&config).or_else(|error| {
        tracing::warn!(error = %error, "no address space for pooled guests; each gets memory of its own, which is slower");
        Engine::new(&unpooled)
    })
}

/// Makes an engine that compiles for the one above. It reserves no address space, and runs nothing.
pub(super) fn compiling() -> wasmtime::Result<Engine> {
    let mut config = base_config();
    config
        .strategy(Strategy::Cranelift)
        // The same event must give the same decision on every machine.
        .cranelift_nan_canonicalization(true);
    Engine::new(&config)
}

/// Tells apart what was compiled by another version, with other settings or for another processor.
pub(super) fn fingerprint() -> wasmtime::Result<[u8; 32]> {
    let mut hasher = StableHasher(Sha256::new());
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    std::env::consts::ARCH.hash(&mut hasher);
    std::env::consts::OS.hash(&mut hasher);
    compiling()?
        .precompile_compatibility_hash()
        .hash(&mut hasher);
    Ok(hasher.0.finalize().into())
}

/// The standard library's own hasher may give another result with the next version of it.
struct StableHasher(Sha256);

impl Hasher for StableHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        // What is hashed asks for no result on the way.
        0
    }
}

/// What compiled code and the engine that runs it must agree on.
fn base_config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .consume_fuel(false)
        .concurrency_support(false)
        .wasm_memory64(false)
        // Not for guests, whose modules get one memory each (the pool's default): wasmtime's own
        // glue between the parts of a component needs it, and panics without it.
        .wasm_multi_memory(true)
        .wasm_relaxed_simd(false)
        .wasm_tail_call(false)
        .max_wasm_stack(GUEST_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .async_stack_zeroing(true);
    config
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(INSTANCES_MAX)
        .total_core_instances(CORE_INSTANCES_MAX * INSTANCES_MAX)
        .total_memories(MEMORIES_MAX * INSTANCES_MAX)
        .total_tables(TABLES_MAX * INSTANCES_MAX)
        .total_stacks(INSTANCES_MAX)
        .max_core_instances_per_component(CORE_INSTANCES_MAX)
        .max_memories_per_component(MEMORIES_MAX)
        .max_tables_per_component(TABLES_MAX)
        .max_memory_size((MEMORY_MB_MAX as usize) << 20)
        .table_elements(TABLE_ELEMENTS_MAX)
        .linear_memory_keep_resident(KEEP_RESIDENT_BYTES)
        .table_keep_resident(TABLE_KEEP_RESIDENT_BYTES)
        .async_stack_keep_resident(STACK_KEEP_RESIDENT_BYTES)
        .max_unused_warm_slots(INSTANCES_MAX)
        .decommit_batch_size(DECOMMITTED_TOGETHER)
        .pagemap_scan(Enabled::Auto);
    pool
}
