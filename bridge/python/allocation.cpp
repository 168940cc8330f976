// The extension's own objects live in the memory of Python's allocator, which keeps small blocks in pages of their own.
//
// glibc's heap is where torch puts its tensors, and tensors are aligned to 64 bytes, which leaves a few free bytes
// beside each. A graph is recorded while tensors come and go: its texts and lists would be put into those bytes, and
// each would keep the place of a dead tensor from joining its neighbours (capturing Swin-T took seven times the memory
// of running it).
#ifdef __linux__  // elsewhere a replacement would be the whole process's

#include <new>

#include "bridge/python/python.h"

// Not visible outside of the extension (cmake/exports.map), which shares no memory with others: blocks from here must
// come back here. All our code holds the GIL.

namespace {

void* allocate(std::size_t size) noexcept { return PyMem_Malloc(size); }

void* allocate_or_throw(std::size_t size) {
  if (void* block = allocate(size)) return block;
  throw std::bad_alloc();
}

void free_block(void* block) noexcept {
  if (Py_IsInitialized()) PyMem_Free(block);  // what static objects hold goes with the process
}

}  // namespace

void* operator new(std::size_t size) { return allocate_or_throw(size); }
void* operator new[](std::size_t size) { return allocate_or_throw(size); }
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void operator delete(void* block) noexcept { free_block(block); }
void operator delete[](void* block) noexcept { free_block(block); }
void operator delete(void* block, std::size_t) noexcept { free_block(block); }
void operator delete[](void* block, std::size_t) noexcept { free_block(block); }
void operator delete(void* block, const std::nothrow_t&) noexcept { free_block(block); }
void operator delete[](void* block, const std::nothrow_t&) noexcept { free_block(block); }

#endif
