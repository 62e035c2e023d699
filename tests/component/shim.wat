;; What wit-component wraps around exports: a nested component without core code evaluates away.
;; Also: an outer alias to a type, an interface that only has types, and a renamed resource.
(component
  (type $fields_i (instance
    (export "fields" (type $f (sub resource)))
    (export "headers" (type (eq $f)))
    (export "[constructor]fields" (func (result (own $f))))))
  (import "test:http/types@0.2.0" (instance $types (type $fields_i)))
  (import "test:http/consts@0.2.0" (instance
    (type $e' (enum "a" "b"))
    (export "e" (type (eq $e')))))
  (alias export $types "headers" (type $headers))
  (core module $M
    (import "test:http/types@0.2.0" "[constructor]fields" (func (result i32)))
    (import "test:http/types@0.2.0" "[resource-drop]fields" (func (param i32)))
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 0)
    (func (export "handle") (param i32 i32 i32) (result i32) i32.const 0)
    (func (export "handle-post") (param i32)))
  (core func $ctor (canon lower (func $types "[constructor]fields")))
  (core func $drop (canon resource.drop $headers))
  (core instance $m (instantiate $M
    (with "test:http/types@0.2.0" (instance
      (export "[constructor]fields" (func $ctor))
      (export "[resource-drop]fields" (func $drop))))))
  (type $pair (tuple string u8))
  (type $handle (func (param "h" (own $headers)) (param "s" string) (result $pair)))
  (func $handle (type $handle) (canon lift (core func $m "handle")
    (memory (core memory $m "memory")) (realloc (core func $m "realloc"))
    (post-return (core func $m "handle-post")) string-encoding=utf16))
  (component $Shim
    (import "headers" (type $h (sub resource)))
    (type $pair' (tuple string u8))
    (import "handle" (func $f (param "h" (own $h)) (param "s" string) (result $pair')))
    (export "handle" (func $f)))
  (instance $shim (instantiate $Shim (with "headers" (type $headers)) (with "handle" (func $handle))))
  (export "test:http/handler@0.2.0" (instance $shim))
)
