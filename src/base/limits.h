/* Every fixed limit of ebb, each with its reason. Settings that users change have their default
 * here too. A limit that is hit is an error that names it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

/* component/: Wasmtime's own implementation limits, so that what one accepts the other does. */
#define COMPONENT_BYTES_MAX (256 * MIB)    /* Python components are 38 MB today */
#define COMPONENT_DEPTH_MAX 32             /* nesting of components; wit-component emits 2 */
#define COMPONENT_ITEMS_MAX 1000000        /* per index space, as wasmparser */
#define COMPONENT_TYPE_DEPTH_MAX 100       /* as the canonical ABI's implementations */
#define COMPONENT_ARENA_BYTES_MAX (1 * GIB)

/* http/: what nginx and Node allow, rounded. */
#define HTTP_HEAD_BYTES_MAX (64 * KIB) /* request line and headers together */
#define HTTP_HEADERS_MAX 100
#define HTTP_URI_BYTES_MAX (16 * KIB)
#define HTTP_BUFFER_BYTES (64 * KIB) /* body bytes held per direction and request */
