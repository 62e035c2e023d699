// Package wasi is the part of WASI 0.2 that serves HTTP, in plain Go: the host functions by
// go:wasmimport, and a little Go on top of them.
//
// The host's functions take pointers into our memory, and where they return text or lists they ask
// cabi_realloc for the room. That function must not run Go's garbage collector, which would call the
// host from inside a call of the host. So results land in one fixed area, which each call of the
// host begins to fill anew; what is kept of them is copied before the next.
package wasi

import "unsafe"

// Larger than the most that one call returns here: 16 kB of a body, or the headers of a request.
const areaBytes = 192 << 10

var (
	area    [areaBytes]byte
	used    uintptr
	started bool
)

func init() { started = true }

// Fresh memory of whole pages, which Go's own heap never sees.
//
//go:linkname sbrk runtime.sbrk
func sbrk(bytes uintptr) unsafe.Pointer

//go:wasmexport cabi_realloc
func cabiRealloc(old unsafe.Pointer, oldSize, align, size uint32) unsafe.Pointer {
	if !started { // the adapter of WASI preview 1, which keeps what it is given
		return sbrk(uintptr(size))
	}
	start := (used + uintptr(align) - 1) &^ (uintptr(align) - 1)
	if start+uintptr(size) > areaBytes {
		panic("the host returned more than the area for its results holds")
	}
	used = start + uintptr(size)
	if old != nil { // a list of unknown length grows
		copy(area[start:used], unsafe.Slice((*byte)(old), oldSize))
	}
	return unsafe.Pointer(&area[start])
}

// A slot holds what a host function returns through a pointer: at most 64 bytes.
type slot [8]uint64

// at is where the host is to write its result; what an earlier call returned is gone.
func (s *slot) at() unsafe.Pointer {
	used = 0
	*s = slot{}
	return unsafe.Pointer(s)
}

func (s *slot) u8(offset int) uint8   { return *(*uint8)(unsafe.Add(unsafe.Pointer(s), offset)) }
func (s *slot) u32(offset int) uint32 { return *(*uint32)(unsafe.Add(unsafe.Pointer(s), offset)) }

// text copies the string or list of bytes whose address and length are at the offset.
func (s *slot) text(offset int) string {
	return textAt(s.u32(offset), s.u32(offset+4))
}

func textAt(address, length uint32) string {
	return string(unsafe.Slice((*byte)(unsafe.Pointer(uintptr(address))), length))
}

func ptr(s string) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.StringData(s)), uint32(len(s))
}
