/* Memories whose size a global holds, so that an instance which grew can be restored in place.
 *
 * No engine shrinks a memory, and guests grow theirs in nearly every request: the allocator of a
 * Rust or C component begins with a page or two. So for every memory that code grows, the flattened
 * module keeps the size that the guest sees in a global of its own. memory.size reads the global,
 * memory.grow calls this:
 *
 *     grow(n): old = size, want = old + n
 *              if want overflows: -1
 *              if want > memory.size and memory.grow(want - memory.size) = -1: -1
 *              size = want; return old
 *
 * In a new instance the global and the memory agree, and everything is as it was. In one that was
 * restored (src/engine/restore.c) the memory may be larger: then growing costs nothing, and the
 * pages are zero, as they should be. What differs is that the guest can read such a page before it
 * grew over it, where a new instance traps; host functions never can, they ask the global. A guest
 * that wrote there is found when it is restored.
 *
 * Memories of 64 bits or with pages of their own size keep the instructions. */
#include "component/flatten_inner.h"

enum { SIZED_MAX = 32 /* bits of plan_unit.sized_memories */ };

static bool is_sized(const flat_memory *m)
{
    return m->grows && !m->is_64 && !(m->limits.p[0] & 8);
}

bool flat_sizes_number(flat *f, uint32_t globals_next, uint32_t funcs_next)
{
    f->sizes = ARENA_ARRAY(f->a, uint32_t, f->memories_count);
    f->grows = ARENA_ARRAY(f->a, uint32_t, f->memories_count);
    if (!f->sizes || !f->grows)
        return flat_oom(f);
    if (f->memories_count > SIZED_MAX)
        return true;
    for (uint32_t i = 0; i < f->memories_count; i++)
        if (is_sized(&f->memories[i])) {
            f->sizes[i] = ++globals_next;
            f->grows[i] = ++funcs_next;
            f->sized_count++;
        }
    return true;
}

void flat_put_size_globals(const flat *f, buf *out)
{
    for (uint32_t i = 0; i < f->memories_count; i++)
        if (f->sizes[i]) {
            buf_put(out, "\x7f\x01\x41", 3); /* (mut i32), i32.const */
            leb_s64(out, (int32_t)(uint32_t)(f->memories[i].bytes_min >> 16));
            buf_put_u8(out, 0x0b);
        }
}

/* local 0: n and then, 1: old, 2: want */
static void put_grow(uint32_t memory, uint32_t size, buf *out)
{
    leb_u32(out, 1);
    buf_put(out, "\x02\x7f", 2); /* two locals more */
    buf_put_u8(out, 0x23);
    leb_u32(out, size);
    /* local.tee 1; local.get 0; i32.add; local.tee 2; local.get 1; i32.lt_u
     * if; i32.const -1; return; end; local.get 2; memory.size */
    buf_put(out, "\x22\x01\x20\x00\x6a\x22\x02\x20\x01\x49\x04\x40\x41\x7f\x0f\x0b\x20\x02\x3f",
            19);
    leb_u32(out, memory);
    /* i32.gt_u; if; local.get 2; memory.size */
    buf_put(out, "\x4b\x04\x40\x20\x02\x3f", 6);
    leb_u32(out, memory);
    buf_put(out, "\x6b\x40", 2); /* i32.sub; memory.grow */
    leb_u32(out, memory);
    /* i32.const -1; i32.eq; if; i32.const -1; return; end; end; local.get 2; global.set */
    buf_put(out, "\x41\x7f\x46\x04\x40\x41\x7f\x0f\x0b\x0b\x20\x02\x24", 13);
    leb_u32(out, size);
    buf_put(out, "\x20\x01\x0b", 3); /* local.get 1; end */
}

void flat_put_grow_bodies(const flat *f, buf *out)
{
    for (uint32_t i = 0; i < f->memories_count; i++)
        if (f->sizes[i]) {
            size_t at = flat_length_begin(out);
            put_grow(i, f->sizes[i] - 1, out);
            flat_length_end(out, at);
        }
}

void flat_put_grow_names(const flat *f, buf *out)
{
    for (uint32_t i = 0; i < f->memories_count; i++)
        if (f->sizes[i]) {
            leb_u32(out, f->grows[i] - 1);
            flat_put_name(out, S("memory.grow"));
        }
}
