;; Calls between component instances: re-entrance, start functions, what a trap leaves behind.

;; A parent that is called back by its child while its own call to the child is in progress; the
;; argument is a string, so the parent's realloc runs meanwhile, and so does the child's for the
;; result.
(component $Donut
  (core module $Libc
    (memory (export "mem") 1)
    (global $at (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $p i32)
      (if (i32.and (i32.ne (local.get 0) (i32.const 0)) (i32.le_u (local.get 3) (local.get 1)))
        (then (return (local.get 0))))
      (local.set $p (i32.and (i32.add (global.get $at) (i32.const 7)) (i32.const -8)))
      (global.set $at (i32.add (local.get $p) (local.get 3)))
      (memory.copy (local.get $p) (local.get 0) (local.get 1))
      (local.get $p)))
  (core module $First
    (import "libc" "mem" (memory 1))
    ;; the string reversed
    (func (export "reverse") (param $p i32) (param $n i32) (result i32)
      (local $i i32)
      (loop $again
        (if (i32.lt_u (local.get $i) (local.get $n))
          (then
            (i32.store8 (i32.add (i32.const 512) (local.get $i))
              (i32.load8_u (i32.sub (i32.sub (i32.add (local.get $p) (local.get $n))
                                             (local.get $i)) (i32.const 1))))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br $again))))
      (i32.store (i32.const 0) (i32.const 512))
      (i32.store (i32.const 4) (local.get $n))
      (i32.const 0)))
  (core instance $libc (instantiate $Libc))
  (core instance $first (instantiate $First (with "libc" (instance $libc))))
  (func $reverse (param "s" string) (result string)
    (canon lift (core func $first "reverse") (memory (core memory $libc "mem"))
      (realloc (core func $libc "realloc"))))
  (component $Inner
    (import "reverse" (func $reverse (param "s" string) (result string)))
    (core module $Libc
      (memory (export "mem") 1)
      (global $at (mut i32) (i32.const 4096))
      (func (export "realloc") (param i32 i32 i32 i32) (result i32)
        (local $p i32)
        (if (i32.and (i32.ne (local.get 0) (i32.const 0)) (i32.le_u (local.get 3) (local.get 1)))
          (then (return (local.get 0))))
        (local.set $p (i32.and (i32.add (global.get $at) (i32.const 7)) (i32.const -8)))
        (global.set $at (i32.add (local.get $p) (local.get 3)))
        (memory.copy (local.get $p) (local.get 0) (local.get 1))
        (local.get $p)))
    (core instance $libc (instantiate $Libc))
    (core func $reverse' (canon lower (func $reverse) string-encoding=utf16
      (memory (core memory $libc "mem")) (realloc (core func $libc "realloc"))))
    (core module $M
      (import "" "reverse" (func $reverse (param i32 i32 i32)))
      (import "libc" "mem" (memory 1))
      ;; reversed twice is the same
      (func (export "twice") (param i32 i32) (result i32)
        (call $reverse (local.get 0) (local.get 1) (i32.const 0))
        (call $reverse (i32.load (i32.const 0)) (i32.load (i32.const 4)) (i32.const 0))
        (i32.const 0)))
    (core instance $m (instantiate $M (with "libc" (instance $libc))
      (with "" (instance (export "reverse" (func $reverse'))))))
    (func (export "twice") (param "s" string) (result string)
      (canon lift (core func $m "twice") string-encoding=utf16 (memory (core memory $libc "mem"))
        (realloc (core func $libc "realloc")))))
  (instance $inner (instantiate $Inner (with "reverse" (func $reverse))))
  (core func $twice (canon lower (func $inner "twice") (memory (core memory $libc "mem"))
    (realloc (core func $libc "realloc"))))
  (core module $Last
    (import "inner" "twice" (func $twice (param i32 i32 i32)))
    (func (export "run") (param i32 i32) (result i32)
      (call $twice (local.get 0) (local.get 1) (i32.const 16))
      (i32.const 16)))
  (core instance $last (instantiate $Last
    (with "inner" (instance (export "twice" (func $twice))))))
  (func (export "run") (param "s" string) (result string)
    (canon lift (core func $last "run") (memory (core memory $libc "mem"))
      (realloc (core func $libc "realloc"))))
)
(assert_return (invoke "run" (str.const "abcdef")) (str.const "abcdef"))
(assert_return (invoke "run" (str.const "")) (str.const ""))
(assert_return (invoke "run" (str.const "again")) (str.const "again"))

;; The same shape, but what the child calls back calls the child once more: that one is entered
;; (CanonicalABI.md "Component Instances", the second picture).
(component definition $Reenter
  (core module $Table
    (table (export "t") 1 funcref)
    (func (export "back") (call_indirect (i32.const 0))))
  (core instance $table (instantiate $Table))
  (func $back (canon lift (core func $table "back")))
  (component $Inner
    (import "back" (func $back))
    (core func $back' (canon lower (func $back)))
    (core module $M
      (import "" "back" (func $back))
      (func (export "go") (call $back))
      (func (export "leaf")))
    (core instance $m (instantiate $M (with "" (instance (export "back" (func $back'))))))
    (func (export "go") (canon lift (core func $m "go")))
    (func (export "leaf") (canon lift (core func $m "leaf"))))
  (instance $inner (instantiate $Inner (with "back" (func $back))))
  (core func $go (canon lower (func $inner "go")))
  (core func $leaf (canon lower (func $inner "leaf")))
  (core module $Last
    (import "" "t" (table 1 funcref))
    (import "" "go" (func $go))
    (import "" "leaf" (func $leaf))
    (elem (i32.const 0) func $leaf)
    (func (export "run") (call $go))
    (func (export "fine") (call $leaf)))
  (core instance $last (instantiate $Last (with "" (instance
    (export "t" (table $table "t")) (export "go" (func $go)) (export "leaf" (func $leaf))))))
  (func (export "run") (canon lift (core func $last "run")))
  (func (export "fine") (canon lift (core func $last "fine")))
)
(component instance $i $Reenter)
(assert_return (invoke "fine"))
(assert_trap (invoke "run") "cannot enter component instance")
;; a trap takes all instances with it
(assert_trap (invoke "fine") "cannot enter component instance")

;; An instance may call a function that it lifts itself; calls without end are stopped.
(component definition $Self
  (core module $M
    (table (export "t") 1 funcref)
    (type $f (func (param i32) (result i32)))
    (func (export "down") (param i32) (result i32)
      (if (result i32) (i32.eqz (local.get 0))
        (then (i32.const 100))
        (else (call_indirect (type $f) (i32.sub (local.get 0) (i32.const 1)) (i32.const 0))))))
  (core instance $m (instantiate $M))
  (func $down (param "n" u32) (result u32) (canon lift (core func $m "down")))
  (core func $down' (canon lower (func $down)))
  (core module $Fill
    (import "" "t" (table 1 funcref))
    (import "" "down" (func $down (param i32) (result i32)))
    (elem (i32.const 0) func $down))
  (core instance (instantiate $Fill (with "" (instance
    (export "t" (table $m "t")) (export "down" (func $down'))))))
  (export "down" (func $down))
)
(component instance $i $Self)
(assert_return (invoke "down" (u32.const 0)) (u32.const 100))
(assert_return (invoke "down" (u32.const 5)) (u32.const 100))
(assert_trap (invoke "down" (u32.const 1000)) "waiting calls inside each other")

;; Start functions run in order, and may call instances that are there.
(component
  (component $Counter
    (core module $M
      (global $n (mut i32) (i32.const 0))
      (func (export "next") (result i32)
        (global.set $n (i32.add (global.get $n) (i32.const 1)))
        (global.get $n)))
    (core instance $m (instantiate $M))
    (func (export "next") (result u32) (canon lift (core func $m "next"))))
  (component $Client
    (import "next" (func $next (result u32)))
    (core func $next' (canon lower (func $next)))
    (core module $M
      (import "" "next" (func $next (result i32)))
      (global $mine (mut i32) (i32.const 0))
      (func $start (global.set $mine (call $next)))
      (start $start)
      (func (export "mine") (result i32) (global.get $mine)))
    (core instance $m (instantiate $M (with "" (instance (export "next" (func $next'))))))
    (func (export "mine") (result u32) (canon lift (core func $m "mine"))))
  (instance $counter (instantiate $Counter))
  (instance $a (instantiate $Client (with "next" (func $counter "next"))))
  (instance $b (instantiate $Client (with "next" (func $counter "next"))))
  (func (export "a") (alias export $a "mine"))
  (func (export "b") (alias export $b "mine"))
  (func (export "next") (alias export $counter "next"))
)
(assert_return (invoke "b") (u32.const 2))
(assert_return (invoke "a") (u32.const 1))
(assert_return (invoke "next") (u32.const 3))

;; A trap of the callee is the caller's trap, with its reason.
(component definition $Broken
  (component $C
    (core module $M
      (func (export "div") (param i32) (result i32) (i32.div_u (i32.const 1) (local.get 0))))
    (core instance $m (instantiate $M))
    (func (export "div") (param "n" u32) (result u32) (canon lift (core func $m "div"))))
  (component $D
    (import "div" (func $div (param "n" u32) (result u32)))
    (core func $div' (canon lower (func $div)))
    (core module $M
      (import "" "div" (func $div (param i32) (result i32)))
      (func (export "run") (param i32) (result i32) (call $div (local.get 0))))
    (core instance $m (instantiate $M (with "" (instance (export "div" (func $div'))))))
    (func (export "run") (param "n" u32) (result u32) (canon lift (core func $m "run"))))
  (instance $c (instantiate $C))
  (instance $d (instantiate $D (with "div" (func $c "div"))))
  (func (export "run") (alias export $d "run"))
)
(component instance $i $Broken)
(assert_return (invoke "run" (u32.const 1)) (u32.const 1))
(assert_trap (invoke "run" (u32.const 0)) "integer divide by zero")
(assert_trap (invoke "run" (u32.const 1)) "cannot enter component instance")

;; context.get is zero at the start of each call and the caller's own after it.
(component
  (component $C
    (canon context.get i32 0 (core func $get))
    (canon context.set i32 0 (core func $set))
    (core module $M
      (import "" "get" (func $get (result i32)))
      (import "" "set" (func $set (param i32)))
      (func (export "f") (result i32)
        (call $get)
        (call $set (i32.const 7))))
    (core instance $m (instantiate $M (with "" (instance
      (export "get" (func $get)) (export "set" (func $set))))))
    (func (export "f") (result u32) (canon lift (core func $m "f"))))
  (component $D
    (import "f" (func $f (result u32)))
    (core func $f' (canon lower (func $f)))
    (canon context.get i32 0 (core func $get))
    (canon context.set i32 0 (core func $set))
    (core module $M
      (import "" "f" (func $f (result i32)))
      (import "" "get" (func $get (result i32)))
      (import "" "set" (func $set (param i32)))
      (func (export "run") (result i32)
        (call $set (i32.const 42))
        (i32.add (i32.add (i32.mul (call $f) (i32.const 1000)) (i32.mul (call $f) (i32.const 1000)))
                 (call $get))))
    (core instance $m (instantiate $M (with "" (instance (export "f" (func $f'))
      (export "get" (func $get)) (export "set" (func $set))))))
    (func (export "run") (result u32) (canon lift (core func $m "run"))))
  (instance $c (instantiate $C))
  (instance $d (instantiate $D (with "f" (func $c "f"))))
  (func (export "run") (alias export $d "run"))
)
(assert_return (invoke "run") (u32.const 42))
