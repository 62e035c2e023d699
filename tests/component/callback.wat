;; A parent that is called back, and waits and computes there.
(component
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $p (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $p))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (alias outer 1 $pollable (type $p))
    (export "pollable" (type $p' (eq $p)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $p'))))))
  (core func $subscribe (canon lower (func $clock "subscribe-duration")))
  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (canon resource.drop $pollable (core func $drop))
  (core module $First
    (import "" "subscribe" (func $subscribe (param i64) (result i32)))
    (import "" "block" (func $block (param i32)))
    (import "" "drop" (func $drop (param i32)))
    (global $times (mut i32) (i32.const 0))
    (func (export "wait") (param i32) (result i32)
      (local $h i32) (local $n i32)
      (local.set $h (call $subscribe (i64.const 2000000)))
      (call $block (local.get $h))
      (call $drop (local.get $h))
      (loop $again
        (local.set $n (i32.add (local.get $n) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $n) (local.get 0))))
      (global.set $times (i32.add (global.get $times) (i32.const 1)))
      (global.get $times)))
  (core instance $first (instantiate $First (with "" (instance
    (export "subscribe" (func $subscribe)) (export "block" (func $block))
    (export "drop" (func $drop))))))
  (func $wait (param "n" u32) (result u32) (canon lift (core func $first "wait")))
  (component $Inner
    (import "wait" (func $wait (param "n" u32) (result u32)))
    (core func $wait' (canon lower (func $wait)))
    (core module $M
      (import "" "wait" (func $wait (param i32) (result i32)))
      (func (export "thrice") (param i32) (result i32)
        (drop (call $wait (local.get 0)))
        (drop (call $wait (local.get 0)))
        (call $wait (local.get 0))))
    (core instance $m (instantiate $M (with "" (instance (export "wait" (func $wait'))))))
    (func (export "thrice") (param "n" u32) (result u32) (canon lift (core func $m "thrice"))))
  (instance $inner (instantiate $Inner (with "wait" (func $wait))))
  (core func $thrice (canon lower (func $inner "thrice")))
  (core module $Last
    (import "" "thrice" (func $thrice (param i32) (result i32)))
    (func (export "run") (param i32) (result i32)
      (drop (call $thrice (local.get 0)))
      (call $thrice (local.get 0))))
  (core instance $last (instantiate $Last (with "" (instance (export "thrice" (func $thrice))))))
  (func (export "run") (param "n" u32) (result u32) (canon lift (core func $last "run")))
)
