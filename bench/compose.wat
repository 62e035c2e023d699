;; Calls between two component instances with a list of bytes, for bench/compose.c: `run` passes
;; the first `size` bytes of its memory `times` times to a callee that ignores them.
(component
  (component $Callee
    (core module $M
      (memory (export "mem") 8)
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
      (func (export "take") (param i32 i32)))
    (core instance $m (instantiate $M))
    (func (export "take") (param "l" (list u8))
      (canon lift (core func $m "take") (memory (core memory $m "mem"))
        (realloc (core func $m "realloc")))))
  (component $Caller
    (import "take" (func $take (param "l" (list u8))))
    (core module $Libc (memory (export "mem") 8))
    (core instance $libc (instantiate $Libc))
    (core func $take' (canon lower (func $take) (memory (core memory $libc "mem"))))
    (core module $M
      (import "" "take" (func $take (param i32 i32)))
      (func (export "run") (param $size i32) (param $times i32)
        (loop $again
          (call $take (i32.const 65536) (local.get $size))
          (br_if $again
            (local.tee $times (i32.sub (local.get $times) (i32.const 1)))))))
    (core instance $m (instantiate $M (with "" (instance (export "take" (func $take'))))))
    (func (export "run") (param "size" u32) (param "times" u32) (canon lift (core func $m "run"))))
  (instance $callee (instantiate $Callee))
  (instance $caller (instantiate $Caller (with "take" (func $callee "take"))))
  (func (export "run") (alias export $caller "run"))
)
