;; A function of sixteen parameters, as many as go without memory, and a result that goes by memory:
;; its core function has seventeen. Another of seventeen, which go by memory.
(component
  (type $s16 (func (param "a" u32) (param "b" u32) (param "c" u32) (param "d" u32)
    (param "e" u32) (param "f" u32) (param "g" u32) (param "h" u32) (param "i" u32)
    (param "j" u32) (param "k" u32) (param "l" u32) (param "m" u32) (param "n" u32)
    (param "o" u64) (param "p" f64) (result string)))
  (type $s17 (func (param "a" (tuple u32 u32 u32 u32 u32 u32 u32 u32)) (param "b" string)
    (param "c" (tuple u8 u8 u8 u8 u8 u8 u8)) (result (map string u8))))
  (import "sixteen" (func $sixteen (type $s16)))
  (import "seventeen" (func $seventeen (type $s17)))
  (core module $Libc
    (memory (export "memory") 1)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 256))
  (core instance $libc (instantiate $Libc))
  (core func $f16 (canon lower (func $sixteen) (memory (core memory $libc "memory"))
    (realloc (core func $libc "realloc"))))
  (core func $f17 (canon lower (func $seventeen) string-encoding=utf16
    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (core module $M
    (import "" "16" (func $f16 (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 f64
      i32)))
    (import "" "17" (func $f17 (param i32 i32)))
    (func (export "run16") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i64 f64)
      (result i32)
      local.get 0 local.get 1 local.get 2 local.get 3 local.get 4 local.get 5 local.get 6
      local.get 7 local.get 8 local.get 9 local.get 10 local.get 11 local.get 12 local.get 13
      local.get 14 local.get 15 i32.const 64 call $f16 i32.const 64)
    (func (export "run17") (param i32) (result i32) local.get 0 i32.const 128 call $f17
      i32.const 128))
  (core instance $m (instantiate $M (with "" (instance
    (export "16" (func $f16)) (export "17" (func $f17))))))
  (func (export "run16") (type $s16) (canon lift (core func $m "run16")
    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (func (export "run17") (type $s17) (canon lift (core func $m "run17")
    (memory (core memory $libc "memory")) (realloc (core func $libc "realloc")))))
