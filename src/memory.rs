//! The process's allocator: the system's, with large blocks in huge pages.
//!
//! A table of a million subjects is far beyond what the processor's translation cache covers in
//! pages of 4 KiB, and in a virtual machine each of its misses walks two page tables. So blocks of
//! 2 MiB and more are aligned to that and the kernel is asked for huge pages. Where it has none the
//! request changes nothing (docs/decisions/memory.md).

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};

/// A huge page of x86-64, and of arm64 with pages of 4 KiB.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Free memory at the end of a heap that is given back to the kernel: what buffers of a busy turn
/// take is taken again in the next.
#[cfg(target_env = "gnu")]
const KEPT_BYTES: libc::c_int = 8 << 20;

/// Has the system's allocator keep the memory of buffers that come and go. By itself it maps each
/// block of 128 KiB and more anew, and the kernel clears its pages every time.
pub fn keep_buffers() {
    #[cfg(target_env = "gnu")]
    // SAFETY: plain numbers, before any other thread is there; what the library does not know it
    // leaves as it is.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, HUGE_PAGE_BYTES as libc::c_int);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES);
    }
}

/// The system's allocator, with large blocks in huge pages.
#[derive(Debug)]
pub struct HugePages;

/// A large block begins where a huge page does.
fn placed(layout: Layout) -> Layout {
    let align = if layout.size() < HUGE_PAGE_BYTES { 1 } else { HUGE_PAGE_BYTES };
    layout.align_to(align).unwrap_or(layout)
}

/// Asks for huge pages for those parts of a block that fill one.
fn advise(block: *mut u8, bytes: usize) {
    let before = block.addr().next_multiple_of(HUGE_PAGE_BYTES) - block.addr();
    let Some(rest) = bytes.checked_sub(before).filter(|rest| *rest >= HUGE_PAGE_BYTES) else {
        return;
    };
    let whole = rest - rest % HUGE_PAGE_BYTES;
    // SAFETY: the range is inside of the block; the advice changes no content. Where the kernel
    // cannot follow it, all is as it was.
    unsafe { libc::madvise(block.wrapping_add(before).cast(), whole, libc::MADV_HUGEPAGE) };
}

// SAFETY: every call goes to the system's allocator; a block that was asked for with a larger
// alignment may be given back with a smaller one, since the system finds it by its address.
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise: the layout is not empty.
        let block = unsafe { System.alloc(placed(layout)) };
        if layout.size() >= HUGE_PAGE_BYTES && !block.is_null() {
            advise(block, layout.size());
        }
        block
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // Not aligned to a huge page: that would have the system write zeros to all of it, where
        // fresh pages are zero anyway.
        // SAFETY: the caller's promise.
        let block = unsafe { System.alloc_zeroed(layout) };
        if layout.size() >= HUGE_PAGE_BYTES && !block.is_null() {
            advise(block, layout.size());
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise: the block came from here.
        unsafe { System.dealloc(block, layout) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // Large blocks are moved by their page tables, not by their bytes.
        // SAFETY: the caller's promise.
        let block = unsafe { System.realloc(block, layout, bytes) };
        if bytes >= HUGE_PAGE_BYTES && !block.is_null() {
            advise(block, bytes);
        }
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_every_size_hold_what_is_written_to_them() {
        for bytes in [1, 4096, HUGE_PAGE_BYTES - 1, HUGE_PAGE_BYTES, 5 << 20] {
            let layout = Layout::from_size_align(bytes, 64).expect("a power of two aligns");
            // SAFETY: the layout is not empty; the blocks are written to within their sizes and
            // given back as they were asked for.
            unsafe {
                let zeroed = HugePages.alloc_zeroed(layout);
                assert!(std::slice::from_raw_parts(zeroed, bytes).iter().all(|byte| *byte == 0));
                HugePages.dealloc(zeroed, layout);
                let block = HugePages.alloc(layout);
                assert_eq!(block.align_offset(64), 0);
                assert!(bytes < HUGE_PAGE_BYTES || block.align_offset(HUGE_PAGE_BYTES) == 0);
                block.write_bytes(7, bytes);
                let moved = HugePages.realloc(block, layout, bytes * 3);
                assert_eq!(moved.align_offset(64), 0);
                let held = std::slice::from_raw_parts(moved, bytes);
                assert!(held.iter().all(|byte| *byte == 7));
                let layout = Layout::from_size_align(bytes * 3, 64).expect("as before");
                HugePages.dealloc(moved, layout);
            }
        }
    }
}
