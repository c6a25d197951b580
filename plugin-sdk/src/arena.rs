//! The allocator of plugins: a piece of memory that is there from the start, handed out in order.
//!
//! An instance lives for one event, so most of what it allocates need not be given back. And
//! memory that a plugin never asks the host for costs nothing: growing it means two changes of
//! page protections per event, which interrupt every thread of the host. What does not fit
//! comes from the standard library's allocator.

#![allow(unsafe_code, reason = "an allocator cannot be written without it")]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::{Cell, UnsafeCell};
use std::alloc::System;

/// Pages of it that a plugin does not touch cost nothing.
const ARENA_BYTES: usize = 256 << 10;

#[repr(align(16))]
struct Bytes(UnsafeCell<[u8; ARENA_BYTES]>);

struct Arena {
    bytes: Bytes,
    used: Cell<usize>,
}

// SAFETY: a component has one thread.
unsafe impl Sync for Arena {}

#[global_allocator]
static ARENA: Arena = Arena {
    bytes: Bytes(UnsafeCell::new([0; ARENA_BYTES])),
    used: Cell::new(0),
};

impl Arena {
    fn start(&self) -> usize {
        self.bytes.0.get() as usize
    }

    /// Where a block begins in the arena; `None` where it is one of the standard allocator's.
    fn offset(&self, block: *mut u8) -> Option<usize> {
        (block as usize)
            .checked_sub(self.start())
            .filter(|it| *it < ARENA_BYTES)
    }
}

// SAFETY: blocks lie within the arena, one after another, aligned from an aligned start; only
// the last one is ever given back or resized in place. All others are `System`'s.
unsafe impl GlobalAlloc for Arena {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let aligned = (self.start() + self.used.get()).wrapping_add(layout.align() - 1)
            & !(layout.align() - 1);
        let offset = aligned - self.start();
        match offset.checked_add(layout.size()) {
            Some(end) if end <= ARENA_BYTES => {
                self.used.set(end);
                aligned as *mut u8
            }
            _ => unsafe { System.alloc(layout) },
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match self.offset(block) {
            Some(offset) if offset + layout.size() == self.used.get() => self.used.set(offset),
            Some(_) => (),
            None => unsafe { System.dealloc(block, layout) },
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some(offset) = self.offset(block) else {
            return unsafe { System.realloc(block, layout, size) };
        };
        if offset + layout.size() == self.used.get() && offset + size <= ARENA_BYTES {
            self.used.set(offset + size);
            return block;
        }
        if size <= layout.size() {
            return block;
        }
        // SAFETY: the caller's size and alignment make a layout, as `realloc` demands.
        unsafe {
            let larger = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !larger.is_null() {
                core::ptr::copy_nonoverlapping(block, larger, layout.size());
            }
            larger
        }
    }
}
