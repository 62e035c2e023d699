;; One component instantiated twice: two units, two resource types, and an outer unit that calls both.
(component
  (component $Counter
    (import "log" (func $log (param "s" string)))
    (core module $Libc
      (memory (export "memory") 1)
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 0))
    (core instance $libc (instantiate $Libc))
    (core func $log' (canon lower (func $log) (memory (core memory $libc "memory"))))
    (core module $M
      (import "host" "log" (func $log (param i32 i32)))
      (import "host" "log2" (func (param i32 i32)))
      (import "libc" "memory" (memory 1))
      (func (export "make") (result i32) (call $log (i32.const 0) (i32.const 0)) i32.const 7)
      (func (export "drop") (param i32)))
    (core func $log'' (canon lower (func $log) (memory (core memory $libc "memory"))))
    (core instance $m (instantiate $M
      (with "host" (instance (export "log" (func $log')) (export "log2" (func $log''))))
      (with "libc" (instance $libc))))
    (type $counter (resource (rep i32) (dtor (core func $m "drop"))))
    (core func $new (canon resource.new $counter))
    (core module $New
      (import "" "new" (func $new (param i32) (result i32)))
      (import "" "make" (func $make (result i32)))
      (func (export "make") (result i32) (call $new (call $make))))
    (core instance $n (instantiate $New
      (with "" (instance (export "new" (func $new)) (export "make" (func $m "make"))))))
    (export $counter' "counter" (type $counter))
    (func (export "make") (result (own $counter'))
      (canon lift (core func $n "make"))))
  (import "test:log/log@1.2.3" (instance $log (export "log" (func (param "s" string)))))
  (instance $a (instantiate $Counter (with "log" (func $log "log"))))
  (instance $b (instantiate $Counter (with "log" (func $log "log"))))
  (alias export $a "counter" (type $ra))
  (alias export $b "counter" (type $rb))
  (core func $make_a (canon lower (func $a "make")))
  (core func $make_b (canon lower (func $b "make")))
  (core func $drop_a (canon resource.drop $ra))
  (core func $drop_b (canon resource.drop $rb))
  (core module $Main
    (import "a" "make" (func $make_a (result i32)))
    (import "a" "drop" (func $drop_a (param i32)))
    (import "b" "make" (func $make_b (result i32)))
    (import "b" "drop" (func $drop_b (param i32)))
    (func (export "run") (result i32)
      (call $drop_a (call $make_a)) (call $drop_b (call $make_b)) i32.const 42))
  (core instance $main (instantiate $Main
    (with "a" (instance (export "make" (func $make_a)) (export "drop" (func $drop_a))))
    (with "b" (instance (export "make" (func $make_b)) (export "drop" (func $drop_b))))))
  (func (export "run") (result u32) (canon lift (core func $main "run")))
)
