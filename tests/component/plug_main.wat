;; Asks the host for sinks, and a dependency (plug_dep.wat) to write to them.
(component
  (import "test:log/log@1.2.3" (instance $log
    (export "sink" (type $sink (sub resource)))
    (export "open" (func (result (own $sink))))))
  (alias export $log "sink" (type $sink))
  (import "test:dep/api@1.0.0" (instance $api
    (alias outer 1 $sink (type $sink'))
    (export "sink" (type $sink'' (eq $sink')))
    (export "paper" (type $paper (sub resource)))
    (export "[constructor]paper" (func (result (own $paper))))
    (export "put" (func (param "to" (borrow $sink'')) (param "what" (own $paper)) (result u32)))))
  (alias export $api "paper" (type $paper))
  (core func $open (canon lower (func $log "open")))
  (core func $make (canon lower (func $api "[constructor]paper")))
  (core func $put (canon lower (func $api "put")))
  (core func $drop (canon resource.drop $sink))
  (core module $M
    (import "" "open" (func $open (result i32)))
    (import "" "make" (func $make (result i32)))
    (import "" "put" (func $put (param i32 i32) (result i32)))
    (import "" "drop" (func $drop (param i32)))
    (func (export "run") (result i32) (local $sink i32)
      (local.set $sink (call $open))
      (call $put (local.get $sink) (call $make))
      (call $drop (local.get $sink))))
  (core instance $m (instantiate $M (with "" (instance
    (export "open" (func $open)) (export "make" (func $make)) (export "put" (func $put))
    (export "drop" (func $drop))))))
  (func (export "run") (result u32) (canon lift (core func $m "run")))
)
