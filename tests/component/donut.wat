;; The outer component lifts a function, hands it to an inner one, and calls the inner one.
;; The inner component comes in through two levels of components passed as arguments and an outer
;; alias; the inner unit is finished first.
(component
  (core module $First (func (export "one") (result i32) i32.const 1))
  (core instance $first (instantiate $First))
  (func $one (result u32) (canon lift (core func $first "one")))
  (component $Inner
    (import "one" (func $one (result u32)))
    (core func $one' (canon lower (func $one)))
    (core module $M
      (import "" "one" (func $one (result i32)))
      (func (export "two") (result i32) (i32.add (call $one) (call $one))))
    (core instance $m (instantiate $M (with "" (instance (export "one" (func $one'))))))
    (func (export "two") (result u32) (canon lift (core func $m "two"))))
  (component $Apply
    (import "c" (component $c
      (import "one" (func (result u32)))
      (export "two" (func (result u32)))))
    (import "f" (func $f (result u32)))
    (instance $i (instantiate $c (with "one" (func $f))))
    (export "two" (func $i "two")))
  (component $Outer
    (import "f" (func $f (result u32)))
    (import "c" (component $c
      (import "one" (func (result u32)))
      (export "two" (func (result u32)))))
    (alias outer 1 $Apply (component $apply))
    (instance $i (instantiate $apply (with "c" (component $c)) (with "f" (func $f))))
    (export "two" (func $i "two")))
  (instance $inner (instantiate $Outer (with "f" (func $one)) (with "c" (component $Inner))))
  (core func $two (canon lower (func $inner "two")))
  (core module $Last
    (import "inner" "two" (func $two (result i32)))
    (func (export "run") (result i32) (call $two)))
  (core instance $last (instantiate $Last
    (with "inner" (instance (export "two" (func $two))))))
  (func (export "run") (result u32) (canon lift (core func $last "run")))
)
