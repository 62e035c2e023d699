;; Core modules in groups, as tests/unit/component_flatten.c flattens them: `$group/instance`, in
;; instantiation order. The instance's name is the module name that later ones import from.
;; flatten.txt is made of this by convert_flatten.py.

;; Everything that can be imported, directly and through a re-export.
(module $direct/a
  (memory (export "mem") 1 4)
  (table (export "tab") 4 funcref)
  (global (export "mut") (mut i32) (i32.const 7))
  (tag (export "tag") (param i32))
  (func $f (export "f") (param i32) (result i32) local.get 0 i32.const 1 i32.add)
  (func (export "bump") global.get 0 i32.const 1 i32.add global.set 0)
  (elem (i32.const 1) $f)
  (data (i32.const 16) "hello"))
(module $direct/b
  (import "a" "mem" (memory 1))
  (import "a" "tab" (table 4 funcref))
  (import "a" "mut" (global (mut i32)))
  (import "a" "tag" (tag (param i32)))
  (import "a" "f" (func (param i32) (result i32)))
  (import "a" "bump" (func))
  (export "mem" (memory 0)) (export "tab" (table 0)) (export "mut" (global 0))
  (export "tag" (tag 0)) (export "g" (func 0)) (export "bump" (func 1)))
(module $direct/c
  (import "host" "log" (func $log (param i32)))
  (import "b" "g" (func $g (param i32) (result i32)))
  (import "b" "bump" (func $bump))
  (import "b" "tab" (table 1 funcref))
  (import "b" "mem" (memory 1))
  (import "b" "mut" (global $mut (mut i32)))
  (import "b" "tag" (tag $tag (param i32)))
  (type $t (func (param i32) (result i32)))
  (memory (export "own") 1)
  (func (export "run") (param i32) (result i32)
    call $bump
    local.get 0
    call $g
    i32.const 1
    call_indirect (type $t)
    global.get $mut
    i32.add
    i32.const 16
    i32.load8_u 0
    i32.add
    i32.const 0
    i32.load 1
    i32.add)
  (func (export "catch") (result i32)
    (block $h (result i32)
      (try_table (catch $tag $h) (throw $tag (i32.const 5)))
      unreachable))
  (func (export "log") i32.const 3 call $log))

;; wit-component's shim and fix-up around a module that brings the memory.
(module $shim/shim
  (table (export "$imports") 2 2 funcref)
  (type $t (func (param i32 i64) (result i32)))
  (func (export "0") (type $t) local.get 0 local.get 1 i32.const 0 call_indirect (type $t))
  (func (export "1") (type $t) local.get 0 local.get 1 i32.const 1 call_indirect (type $t)))
(module $shim/main
  (import "shim" "0" (func $zero (param i32 i64) (result i32)))
  (import "shim" "1" (func $one (param i32 i64) (result i32)))
  (memory (export "memory") 1)
  (table 1 funcref)
  (elem (i32.const 0) $one)
  (func (export "run") (result i32)
    i32.const 4 i64.const 5 call $zero
    i32.const 6 i64.const 7 call $one
    i32.add))
(module $shim/fixup
  (import "shim" "$imports" (table 2 2 funcref))
  (import "host" "zero" (func $zero (param i32 i64) (result i32)))
  (import "host" "one" (func $one (param i32 i64) (result i32)))
  (elem (i32.const 0) $zero $one))

;; The same, but somebody writes the table at run time: nothing is proved.
(module $mutated/shim
  (table (export "$imports") 2 2 funcref)
  (type $t (func (param i32 i64) (result i32)))
  (func (export "0") (type $t) local.get 0 local.get 1 i32.const 0 call_indirect (type $t)))
(module $mutated/main
  (import "shim" "0" (func $zero (param i32 i64) (result i32)))
  (import "shim" "$imports" (table 2 2 funcref))
  (func (export "run") (result i32) i32.const 4 i64.const 5 call $zero)
  (func (export "spoil") i32.const 0 ref.null func table.set 0))
(module $mutated/fixup
  (import "shim" "$imports" (table 2 2 funcref))
  (import "host" "zero" (func $zero (param i32 i64) (result i32)))
  (elem (i32.const 0) $zero))

;; The same in the second of two tables.
(module $mutated-second/shim
  (table 1 funcref)
  (table (export "$imports") 2 2 funcref)
  (type $t (func (param i32 i64) (result i32)))
  (func (export "0") (type $t) local.get 0 local.get 1 i32.const 0 call_indirect 1 (type $t)))
(module $mutated-second/main
  (import "shim" "0" (func $zero (param i32 i64) (result i32)))
  (import "shim" "$imports" (table 2 2 funcref))
  (func (export "run") (result i32) i32.const 4 i64.const 5 call $zero)
  (func (export "spoil") i32.const 0 ref.null func table.set 0))
(module $mutated-second/fixup
  (import "shim" "$imports" (table 2 2 funcref))
  (import "host" "zero" (func $zero (param i32 i64) (result i32)))
  (elem (i32.const 0) $zero))

;; The same, but a start function that may call the thunk runs before the table is filled.
(module $early/shim
  (table (export "$imports") 1 1 funcref)
  (func (export "0") i32.const 0 call_indirect))
(module $early/main
  (import "shim" "0" (func $zero))
  (memory (export "memory") 1)
  (global $go (mut i32) (i32.const 0))
  (func $start i32.const 0 i32.const 1 i32.store global.get $go if call $zero end)
  (start $start)
  (func (export "run") i32.const 1 global.set $go call $zero))
(module $early/fixup
  (import "shim" "$imports" (table 1 1 funcref))
  (import "host" "zero" (func $zero))
  (elem (i32.const 0) $zero))

;; The same, but what runs before can't tell: it neither calls the thunk nor touches the table.
(module $unseen/shim
  (table (export "$imports") 1 1 funcref)
  (func (export "0") i32.const 0 call_indirect))
(module $unseen/main
  (import "shim" "0" (func $zero))
  (memory (export "memory") 1)
  (memory (export "other") 1)
  (func $start call $grow drop)
  (func $grow (result i32) i32.const 1 memory.grow)
  (start $start)
  (func (export "run") call $zero))
(module $unseen/fixup
  (import "shim" "$imports" (table 1 1 funcref))
  (import "main" "memory" (memory 1))
  (import "host" "zero" (func $zero))
  (data (i32.const 0) "static")
  (elem (i32.const 0) $zero))

;; The same, but it may: a call through a table may go anywhere.
(module $indirect/shim
  (table (export "$imports") 1 1 funcref)
  (func (export "0") i32.const 0 call_indirect))
(module $indirect/main
  (import "shim" "0" (func $zero))
  (table 1 funcref)
  (elem (i32.const 0) $zero)
  (global $go (mut i32) (i32.const 0))
  (func $start global.get $go if i32.const 0 call_indirect end)
  (start $start)
  (func (export "run") i32.const 1 global.set $go call $zero))
(module $indirect/fixup
  (import "shim" "$imports" (table 1 1 funcref))
  (import "host" "zero" (func $zero))
  (elem (i32.const 0) $zero))

;; The same, but the table is filled out of its bounds: instantiation must go on to trap.
(module $bounds/shim
  (table (export "$imports") 1 1 funcref)
  (func (export "0") i32.const 0 call_indirect))
(module $bounds/fixup
  (import "shim" "$imports" (table 1 1 funcref))
  (import "host" "zero" (func $zero))
  (elem (i32.const 0) $zero)
  (elem (i32.const 1) $zero))

;; A thunk of another type than what it calls must go on to trap.
(module $typed/shim
  (table (export "$imports") 1 1 funcref)
  (func (export "0") i32.const 0 call_indirect))
(module $typed/fixup
  (import "shim" "$imports" (table 1 1 funcref))
  (import "host" "zero" (func $zero (param i32)))
  (elem (i32.const 0) $zero))

;; Bases of dynamic libraries: constants by the time anything runs.
(module $fold/env
  (memory (export "memory") 2)
  (table (export "table") 8 funcref)
  (global (export "memory_base") i32 (i32.const 1024))
  (global (export "table_base") i32 (i32.const 3))
  (global (export "big") i64 (i64.const -1))
  (global (export "pi") f64 (f64.const 3.25))
  (global (export "got") (mut i32) (i32.const 4096))
  (global (export "stack") (mut i32) (i32.const 65536)))
(module $fold/lib
  (import "env" "memory" (memory 1))
  (import "env" "table" (table 1 funcref))
  (import "env" "memory_base" (global $mb i32))
  (import "env" "table_base" (global $tb i32))
  (import "env" "big" (global $big i64))
  (import "env" "pi" (global $pi f64))
  (import "env" "got" (global $got (mut i32)))
  (import "env" "stack" (global $stack (mut i32)))
  (global $here i32 (i32.add (global.get $mb) (i32.const 8)))
  (global $f (ref null func) (ref.func 0))
  (data (global.get $mb) "base")
  (data (i32.sub (i32.mul (global.get $mb) (i32.const 2)) (i32.const 1)) "ext")
  (elem (offset (global.get $tb)) func 0)
  (elem (table 0) (offset (i32.add (global.get $tb) (i32.const 2))) funcref
    (global.get $f) (ref.null func) (ref.func 0))
  (func (export "here") (result i32) global.get $here)
  (func (export "sum") (result i32)
    global.get $stack i32.const 16 i32.sub global.set $stack
    global.get $big i32.wrap_i64
    global.get $pi i32.trunc_f64_s i32.add
    global.get $got i32.add
    global.get $stack i32.add))

;; Segments over each other, with nulls and with small and large gaps.
(module $overlay/a
  (memory (export "memory") 1)
  (table (export "table") 10 funcref)
  (func $x (export "x") (result i32) i32.const 1)
  (func $y (export "y") (result i32) i32.const 2)
  (elem (table 0) (i32.const 2) funcref (ref.func $x) (ref.func $x) (ref.func $x))
  (data (i32.const 100) "aaaaaaaa")
  (data (i32.const 104) "bb")
  (data (i32.const 112) "cc")
  (data (i32.const 1000) "far"))
(module $overlay/b
  (import "a" "memory" (memory 1))
  (import "a" "table" (table 1 funcref))
  (import "a" "y" (func $y (result i32)))
  (elem (table 0) (i32.const 3) funcref (ref.null func) (ref.func $y))
  (elem (i32.const 8) $y)
  (elem (i32.const 1) $y $y)
  (data (i32.const 90) "dddddddddddd")
  (type $t (func (result i32)))
  (func (export "at") (param i32) (result i32) local.get 0 call_indirect (type $t))
  (func (export "byte") (param i32) (result i32) local.get 0 i32.load8_u))

;; Two start functions; later segments are copied at their turn, but not those of a memory that
;; comes after the start.
(module $start/a
  (memory (export "memory") 1)
  (table (export "table") 4 funcref)
  (global $n (export "n") (mut i32) (i32.const 0))
  (data (i32.const 0) "A")
  (func $start
    i32.const 1 i32.const 0 i32.load8_u i32.store8
    i32.const 1 memory.grow drop
    i32.const 0 table.get 0 drop
    global.get $n i32.const 1 i32.add global.set $n)
  (start $start))
(module $start/b
  (import "a" "memory" (memory 1))
  (import "a" "table" (table 1 funcref))
  (import "a" "n" (global $n (mut i32)))
  (memory (export "own") 1)
  (data (i32.const 0) "B")
  (data (memory 1) (i32.const 0) "static")
  (data (i32.const 65536) "grown")
  (func $f (result i32) i32.const 42)
  (elem (i32.const 2) $f)
  (func $start
    i32.const 2 i32.const 0 i32.load8_u i32.store8
    global.get $n i32.const 10 i32.mul global.set $n)
  (start $start)
  (func (export "mem") (param i32) (result i32) local.get 0 i32.load8_u)
  (func (export "own-mem") (param i32) (result i32) local.get 0 i32.load8_u 1)
  (func (export "n") (result i32) global.get $n)
  (func (export "call") (result i32) i32.const 2 call_indirect (result i32)))

;; One segment is copied by the start function: the only one, or one behind a static one.
(module $late-elem/a
  (table (export "table") 4 funcref)
  (func $start i32.const 0 table.get 0 drop)
  (start $start))
(module $late-elem/b
  (import "a" "table" (table 4 funcref))
  (func $f (result i32) i32.const 3)
  (elem (i32.const 1) $f)
  (func (export "call") (param i32) (result i32) local.get 0 call_indirect (result i32)))
(module $late-elem-second/a
  (table (export "table") 4 funcref)
  (func $g (result i32) i32.const 2)
  (elem (i32.const 0) $g)
  (func $start i32.const 0 table.get 0 drop)
  (start $start))
(module $late-elem-second/b
  (import "a" "table" (table 4 funcref))
  (func $f (result i32) i32.const 3)
  (elem (i32.const 1) $f)
  (func (export "call") (param i32) (result i32) local.get 0 call_indirect (result i32)))
(module $late-data/a
  (memory (export "memory") 1)
  (func $start i32.const 0 i32.load drop)
  (start $start))
(module $late-data/b
  (import "a" "memory" (memory 1))
  (data (i32.const 1) "b")
  (func (export "byte") (param i32) (result i32) local.get 0 i32.load8_u))
(module $late-data-second/a
  (memory (export "memory") 1)
  (data (i32.const 0) "a")
  (func $start i32.const 0 i32.load drop)
  (start $start))
(module $late-data-second/b
  (import "a" "memory" (memory 1))
  (data (i32.const 1) "b")
  (func (export "byte") (param i32) (result i32) local.get 0 i32.load8_u))

;; Functions whose references are taken, declared by nothing that stays.
(module $refs/a
  (func $f (export "f") (result i32) i32.const 9)
  (func (export "run") (result i32) ref.func $f call $take)
  (func $take (param funcref) (result i32) local.get 0 ref.is_null))
(module $refs/b
  (import "a" "f" (func $f (result i32)))
  (import "host" "h" (func $h))
  (export "f" (func $f)) (export "h" (func $h))
  (func (export "run") (result i32) ref.func $f ref.is_null ref.func $h ref.is_null i32.add))

;; Code that mentions segments: passive ones stay, active and declared ones are empty by then.
(module $mentioned/a
  (memory (export "memory") 1)
  (table 4 funcref)
  (data $active (i32.const 0) "active")
  (data $passive "passive")
  (data $unused "unused")
  (func $f)
  (elem $e-active (i32.const 0) $f)
  (elem $e-passive funcref (ref.func $f) (ref.null func))
  (elem $e-declared declare func $f)
  (elem $e-unused func $f)
  (func (export "init") (param i32 i32)
    local.get 0 i32.const 0 local.get 1 memory.init $passive)
  (func (export "init-active") (param i32)
    i32.const 0 i32.const 0 local.get 0 memory.init $active)
  (func (export "drop") data.drop $passive data.drop $active elem.drop $e-active)
  (func (export "table") (param i32)
    i32.const 1 i32.const 0 local.get 0 table.init $e-passive)
  (func (export "table-declared") (param i32)
    i32.const 1 i32.const 0 local.get 0 table.init $e-declared)
  (func (export "is-null") (param i32) (result i32) local.get 0 table.get 0 ref.is_null))

;; Equal types are one, also in groups; a type that names itself is not one that names its equal.
(module $types/a
  (type $plain (func (param i32)))
  (type $same (func (param i32)))
  (rec (type $s (struct (field (ref null $t)))) (type $t (struct (field (ref null $s)))))
  (type $self (func (param (ref null $self))))
  (func (export "f") (type $plain))
  (func (export "self") (type $self)))
(module $types/b
  (type $plain (func (param i32)))
  (rec (type $s (struct (field (ref null $t)))) (type $t (struct (field (ref null $s)))))
  (rec (type $one (func (param i32))))
  (type $final (sub final (func (param i32))))
  (type $self (func (param (ref null $self))))
  (type $other (func (param (ref null $self))))
  (type $open (sub (func (param i32))))
  (type $child (sub $open (func (param i32))))
  (import "a" "f" (func (type $final)))
  (import "a" "self" (func (type $self)))
  (func (export "g") (type $one))
  (func (export "h") (param (ref null $s) (ref null $t)))
  (func (export "i") (type $child)))

;; Names that collide, and functions without a name.
(module $names/libc.so
  (func $malloc (export "malloc") (param i32) (result i32) local.get 0)
  (func $only_here))
(module $names/app
  (import "libc.so" "malloc" (func $imported (param i32) (result i32)))
  (func $malloc (param i32) (result i32) local.get 0 call $imported)
  (func (export "exported-name") (result i32) i32.const 5 call $malloc))

;; Every kind of immediate, behind a module that shifts each index space by one.
(module $insns/shift
  (type (func (param i64 i64 i64)))
  (type (struct (field f32)))
  (table 1 externref)
  (memory 1)
  (global (mut i64) (i64.const 0))
  (tag (param i64 i64 i64))
  (func (param i64 i64 i64) i64.const 1 global.set 0 i32.const 0 i32.const 0 i32.const 0
    memory.init 0 i32.const 0 ref.null extern table.set 0)
  (data "shift")
  (func i32.const 0 i32.const 0 i32.const 0 table.init 0)
  (elem externref (ref.null extern)))
(module $insns/code
  (type $t (func (param i32) (result i32)))
  (type $s (struct (field (mut i32)) (field (mut i64))))
  (type $a (array (mut i32)))
  (type $af (array (mut funcref)))
  (memory $m 1)
  (table $tab 4 funcref)
  (global $g (mut i32) (i32.const 0))
  (tag $e (param i32))
  (data $d "0123456789abcdef")
  (elem $el func $f)
  (func $f (export "f") (type $t) local.get 0)
  (func (export "memory") (param i32)
    local.get 0 i32.load offset=4 align=2 drop
    local.get 0 i64.const 1 i64.store8 offset=300
    local.get 0 v128.load align=1 drop
    local.get 0 v128.const i32x4 1 2 3 4 v128.load8_lane offset=1 15 drop
    local.get 0 v128.load32_zero drop
    v128.const i32x4 1 2 3 4 v128.const i32x4 1 2 3 4
    i8x16.shuffle 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 31 i32x4.extract_lane 3 drop
    v128.const i32x4 1 2 3 4 v128.const i32x4 1 2 3 4 i16x8.relaxed_q15mulr_s drop
    memory.size drop
    i32.const 0 memory.grow drop
    local.get 0 i32.const 0 i32.const 0 memory.copy
    local.get 0 i32.const 0 i32.const 0 memory.fill
    local.get 0 i32.const 0 i32.const 0 memory.init $d
    data.drop $d)
  (func (export "table") (param i32) (result i32)
    local.get 0 ref.func $f table.set $tab
    local.get 0 table.get $tab drop
    table.size $tab drop
    ref.null func i32.const 0 table.grow $tab drop
    i32.const 0 ref.null func i32.const 0 table.fill $tab
    i32.const 0 i32.const 0 i32.const 0 table.copy $tab $tab
    i32.const 0 i32.const 0 i32.const 1 table.init $tab $el
    elem.drop $el
    i32.const 3 i32.const 0 call_indirect $tab (type $t))
  (func (export "calls") (param i32) (result i32)
    local.get 0 call $f ref.func $f call_ref $t
    i32.const 0
    if (result i32) i32.const 1 return_call $f else i32.const 2 end
    drop
    i32.const 1 f32.const 1 f64.const 2 drop drop drop
    i64.const 0x7fffffffffffffff drop
    block (result i32) block block local.get 0 br_table 0 1 1 end end i32.const 7 end
    drop
    i32.const 1 i32.const 2 local.get 0 select drop
    ref.func $f ref.null $t i32.const 1 select (result (ref null $t)) drop
    global.get $g global.set $g
    local.get 0 ref.func $f return_call_ref $t)
  (func (export "numbers") (param i64 i64) (result i64)
    f32.const 1 i32.trunc_sat_f32_s drop f64.const 1 i64.trunc_sat_f64_u drop
    local.get 0 local.get 1 i64.const 3 i64.const 4 i64.add128 i64.const 5 i64.const 6 i64.sub128
    i64.mul_wide_s i64.mul_wide_u i64.xor)
  (func (export "exceptions") (param i32) (result i32)
    (block $h (result i32)
      (block $all
        (try_table (result i32) (catch $e $h) (catch_all $all) (throw $e (local.get 0)))
        return)
      i32.const 99))
  (func (export "gc") (param i32) (result i32)
    (local $x (ref null $s)) (local $y (ref $a))
    local.get 0 i64.const 2 struct.new $s local.tee $x
    struct.get $s 0
    struct.new_default $s i32.const 5 struct.set $s 0
    i32.const 3 array.new_default $a local.set $y
    i32.const 1 i32.const 2 array.new_fixed $a 2 drop
    local.get $y i32.const 0 i32.const 7 array.set $a
    local.get $y i32.const 0 i32.const 7 i32.const 2 array.fill $a
    local.get $y i32.const 0 local.get $y i32.const 1 i32.const 1 array.copy $a $a
    local.get $y i32.const 0 array.get $a i32.add
    i32.const 0 i32.const 0 array.new_data $a $d drop
    i32.const 0 i32.const 0 array.new_elem $af $el drop
    local.get $x ref.test (ref $s) i32.add
    local.get $x ref.cast (ref null $s) drop
    (block $l (result (ref $s)) local.get $x br_on_cast $l (ref null $s) (ref $s) unreachable) drop
    (block $n (local.get $x) br_on_null $n drop)
    i32.const 4 ref.i31 i31.get_s i32.add
    local.get $y array.len i32.add)
  (func (export "legacy") (param (ref null $t)) (result (ref null $t))
    local.get 0 (block (param (ref null $t)) (result (ref null $t)) nop)))
;; What is to come out of it: the second module, renumbered by hand.
(module $insns-expected/all
  (type $shift (func (param i64 i64 i64)))
  (type (struct (field f32)))
  (type (func))
  (type $t (func (param i32) (result i32)))
  (type $s (struct (field (mut i32)) (field (mut i64))))
  (type $a (array (mut i32)))
  (type $af (array (mut funcref)))
  (table $tab0 1 externref)
  (table $tab 4 funcref)
  (memory $m0 1)
  (memory $m 1)
  (global (mut i64) (i64.const 0))
  (global $g (mut i32) (i32.const 0))
  (global $size (mut i32) (i32.const 1))
  (tag (param i64 i64 i64))
  (tag $e (param i32))
  (data $d0 "shift")
  (data $d "0123456789abcdef")
  (elem $el0 externref (ref.null extern))
  (elem $el func $f)
  (func (type $shift) i64.const 1 global.set 0 i32.const 0 i32.const 0 i32.const 0
    memory.init $m0 $d0 i32.const 0 ref.null extern table.set $tab0)
  (func i32.const 0 i32.const 0 i32.const 0 table.init $tab0 $el0)
  (func $f (export "f") (type $t) local.get 0)
  (func (export "memory") (param i32)
    local.get 0 i32.load $m offset=4 align=2 drop
    local.get 0 i64.const 1 i64.store8 $m offset=300
    local.get 0 v128.load $m align=1 drop
    local.get 0 v128.const i32x4 1 2 3 4 v128.load8_lane $m offset=1 15 drop
    local.get 0 v128.load32_zero $m drop
    v128.const i32x4 1 2 3 4 v128.const i32x4 1 2 3 4
    i8x16.shuffle 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 31 i32x4.extract_lane 3 drop
    v128.const i32x4 1 2 3 4 v128.const i32x4 1 2 3 4 i16x8.relaxed_q15mulr_s drop
    global.get $size drop
    i32.const 0 call $grow drop
    local.get 0 i32.const 0 i32.const 0 memory.copy $m $m
    local.get 0 i32.const 0 i32.const 0 memory.fill $m
    local.get 0 i32.const 0 i32.const 0 memory.init $m $d
    data.drop $d)
  (func (export "table") (param i32) (result i32)
    local.get 0 ref.func $f table.set $tab
    local.get 0 table.get $tab drop
    table.size $tab drop
    ref.null func i32.const 0 table.grow $tab drop
    i32.const 0 ref.null func i32.const 0 table.fill $tab
    i32.const 0 i32.const 0 i32.const 0 table.copy $tab $tab
    i32.const 0 i32.const 0 i32.const 1 table.init $tab $el
    elem.drop $el
    i32.const 3 i32.const 0 call_indirect $tab (type $t))
  (func (export "calls") (param i32) (result i32)
    local.get 0 call $f ref.func $f call_ref $t
    i32.const 0
    if (result i32) i32.const 1 return_call $f else i32.const 2 end
    drop
    i32.const 1 f32.const 1 f64.const 2 drop drop drop
    i64.const 0x7fffffffffffffff drop
    block (result i32) block block local.get 0 br_table 0 1 1 end end i32.const 7 end
    drop
    i32.const 1 i32.const 2 local.get 0 select drop
    ref.func $f ref.null $t i32.const 1 select (result (ref null $t)) drop
    global.get $g global.set $g
    local.get 0 ref.func $f return_call_ref $t)
  (func (export "numbers") (param i64 i64) (result i64)
    f32.const 1 i32.trunc_sat_f32_s drop f64.const 1 i64.trunc_sat_f64_u drop
    local.get 0 local.get 1 i64.const 3 i64.const 4 i64.add128 i64.const 5 i64.const 6 i64.sub128
    i64.mul_wide_s i64.mul_wide_u i64.xor)
  (func (export "exceptions") (param i32) (result i32)
    (block $h (result i32)
      (block $all
        (try_table (result i32) (catch $e $h) (catch_all $all) (throw $e (local.get 0)))
        return)
      i32.const 99))
  (func (export "gc") (param i32) (result i32)
    (local $x (ref null $s)) (local $y (ref $a))
    local.get 0 i64.const 2 struct.new $s local.tee $x
    struct.get $s 0
    struct.new_default $s i32.const 5 struct.set $s 0
    i32.const 3 array.new_default $a local.set $y
    i32.const 1 i32.const 2 array.new_fixed $a 2 drop
    local.get $y i32.const 0 i32.const 7 array.set $a
    local.get $y i32.const 0 i32.const 7 i32.const 2 array.fill $a
    local.get $y i32.const 0 local.get $y i32.const 1 i32.const 1 array.copy $a $a
    local.get $y i32.const 0 array.get $a i32.add
    i32.const 0 i32.const 0 array.new_data $a $d drop
    i32.const 0 i32.const 0 array.new_elem $af $el drop
    local.get $x ref.test (ref $s) i32.add
    local.get $x ref.cast (ref null $s) drop
    (block $l (result (ref $s)) local.get $x br_on_cast $l (ref null $s) (ref $s) unreachable) drop
    (block $n (local.get $x) br_on_null $n drop)
    i32.const 4 ref.i31 i31.get_s i32.add
    local.get $y array.len i32.add)
  (func (export "legacy") (param (ref null $t)) (result (ref null $t))
    local.get 0 (block (param (ref null $t)) (result (ref null $t)) nop))
  ;; flatten_grow.c
  (func $grow (type $t) (local $old i32) (local $want i32)
    global.get $size local.tee $old local.get 0 i32.add local.tee $want local.get $old i32.lt_u
    if i32.const -1 return end
    local.get $want memory.size $m i32.gt_u
    if
      local.get $want memory.size $m i32.sub memory.grow $m i32.const -1 i32.eq
      if i32.const -1 return end
    end
    local.get $want global.set $size local.get $old))

;; Table initialisers come before globals: they can read what folds, and nothing else.
(module $tableinit/a
  (global (export "f") funcref (ref.func $f))
  (global (export "null") externref (ref.null extern))
  (func $f (result i32) i32.const 3))
(module $tableinit/b
  (import "a" "f" (global $f funcref))
  (import "a" "null" (global $null externref))
  (table $t 2 funcref (global.get $f))
  (table $x 2 externref (global.get $null))
  (elem (i32.const 0) func)
  (func (export "call") (param i32) (result i32) local.get 0 call_indirect $t (result i32))
  (func (export "is-null") (result i32)
    i32.const 0 table.get $x ref.is_null global.get $f ref.is_null i32.add))
(module $tablelate/a
  (type $s (struct)) (global (export "s") (ref null $s) (struct.new $s)))
(module $tablelate/b
  (type $s (struct)) (import "a" "s" (global (ref null $s)))
  (table 1 (ref null $s) (global.get 0)))

;; Refused by name.
(module $threads/a (memory 1 1 shared))
(module $conts/a (type $f (func)) (type $c (cont $f)) (func (param (ref null $c))))
(module $atomics/a (memory 1) (func i32.const 0 i32.const 0 memory.atomic.notify drop))
