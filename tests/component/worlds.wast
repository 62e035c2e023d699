;; Core modules with the worlds of worlds.wit, `$world`, for tests/unit/component_componentize.c.
;; Those named `$world/case` are adapters. worlds.txt is made of this by convert_worlds.py.

;; Resources, types of another interface, functions of the world itself, a start.
(module $full
  (import "t:t/log@1.2.0" "[constructor]sink" (func $new (param i32) (result i32)))
  (import "t:t/log@1.2.0" "[method]sink.write" (func $write (param i32 i32 i32 i32)))
  (import "t:t/log@1.2.0" "[static]sink.all" (func $all (param i32)))
  (import "t:t/log@1.2.0" "[resource-drop]sink" (func $drop (param i32)))
  (import "t:t/log@1.2.0" "flush" (func $flush (param i32)))
  (import "t:t/shapes@1.2.0" "draw" (func $draw (param i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "t:t/shapes@1.2.0" "count" (func $count (param i32) (result i64)))
  (import "$root" "now" (func $now (result i64)))
  (import "$root" "say" (func $say (param i32 i32 i32)))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
  (func (export "t:t/api@1.2.0#run") (param i32 i32 i32) (result i32)
    i32.const 0 i32.const 0 i32.const 0 call $say
    i32.const 0 i32.const 0 i32.const 0 i32.const 0 call $write
    i32.const 16)
  (func (export "cabi_post_t:t/api@1.2.0#run") (param i32) local.get 0 call $flush)
  (func (export "t:t/api@1.2.0#tick")
    call $now drop
    i32.const 0 call $all
    i32.const 0 i32.const 0 i32.const 0 i32.const 0 i32.const 0 i32.const 0 i32.const 0 i32.const 0
    call $draw)
  (func (export "go") (param i32) (result i32)
    local.get 0 call $new call $drop i32.const 1 call $count i32.wrap_i64)
  (func (export "_initialize") i32.const 0 i32.const 7 i32.store))

;; No memory, no imports.
(module $bare (func (export "go") (param i32) (result i32) local.get 0))

;; Types that the world itself names.
(module $named
  (import "$root" "swap" (func $swap (param i32 i32 i32 i32)))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
  (func (export "pick") (param i32 i32 i32 i32) (result i32)
    local.get 0 local.get 1 local.get 2 i32.const 32 call $swap i32.const 32 i32.load8_u))

;; WASI preview 1: the adapter is needed.
(module $old
  (import "wasi_snapshot_preview1" "fd_write" (func $w (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $r (param i32 i32) (result i32)))
  (import "t:t/log@1.2.0" "[constructor]sink" (func $new (param i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024)
  (func (export "go") (param i32) (result i32)
    i32.const 0 i32.const 0 call $r call $new
    i32.const 0 i32.const 0 i32.const 0 call $w))

;; An adapter for $old, small: it has a function that main does not use, and what only that one
;; calls.
(module $old/adapter
  (import "env" "memory" (memory 0))
  (import "t:t/log@1.2.0" "[resource-drop]sink" (func $drop (param i32)))
  (import "__main_module__" "cabi_realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))
  (import "t:t/log@1.2.0" "flush" (func $flush (param i32)))
  (global $__stack_pointer (mut i32) (i32.const 0))
  (global $allocation_state (mut i32) (i32.const 0))
  (func (export "fd_read") (param i32 i32 i32 i32) (result i32) local.get 0 call $drop i32.const 0)
  (func (export "cabi_import_realloc") (param i32 i32 i32 i32) (result i32) i32.const 0)
  (func $inner (param i32) local.get 0 call $flush)
  (func (export "fd_write") (param i32 i32 i32 i32) (result i32)
    local.get 0 call $inner i32.const 0)
  (func (export "random_get") (param i32 i32) (result i32) i32.const 0))

;; Adapters that are none.
(module $bare/table
  (table 1 funcref) (elem (i32.const 0) $f)
  (func $f (export "fd_write") (param i32 i32 i32 i32) (result i32) i32.const 0))
(module $bare/start
  (func $s) (start $s)
  (func (export "fd_write") (param i32 i32 i32 i32) (result i32) i32.const 0))
(module $bare/indirect
  (table 1 funcref)
  (func (export "fd_write") (param i32 i32 i32 i32) (result i32)
    i32.const 0 call_indirect i32.const 0))
(module $bare/global
  (import "env" "g" (global i32))
  (func (export "fd_write") (param i32 i32 i32 i32) (result i32) i32.const 0))
(module $bare/function
  (func (export "fd_write") (param i32 i32 i32 i32) (result i32) i32.const 0))
(module $bare/stack
  (func (export "fd_write") (param i32 i32 i32 i32) (result i32) i32.const 0)
  (func (export "random_get") (param i32 i32) (result i32) i32.const 0)
  (func (export "cabi_import_realloc") (param i32 i32 i32 i32) (result i32) i32.const 0))
(module $bare/state
  (global $__stack_pointer (mut i32) (i32.const 0))
  (func (export "fd_write") (param i32 i32 i32 i32) (result i32) i32.const 0)
  (func (export "random_get") (param i32 i32) (result i32) i32.const 0)
  (func (export "cabi_import_realloc") (param i32 i32 i32 i32) (result i32) i32.const 0))
(module $bare/realloc
  (global $__stack_pointer (mut i32) (i32.const 0))
  (global $allocation_state (mut i32) (i32.const 0))
  (func (export "fd_write") (param i32 i32 i32 i32) (result i32) i32.const 0)
  (func (export "random_get") (param i32 i32) (result i32) i32.const 0)
  (func (export "cabi_import_realloc") (param i32 i32 i32 i32) (result i32) i32.const 0))
