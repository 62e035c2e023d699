;; What a component may and may not be. rules.txt is made of this file by convert.py; the text after
;; each refusal must occur in ebb's message.

;; -- structure
(component)
(component definition (core module) (component (component)) (core module))
(assert_malformed (component binary "\00asm" "\0d\00\01\00" "\0d\00") "malformed section id 13")
(assert_malformed (component binary "\00asm" "\0d\00\01\00" "\07\02\00") "unexpected end")
(assert_malformed (component binary "\00asm" "\0d\00\01\00" "\07\02\00\00") "section size mismatch")
(assert_malformed (component binary "\00asm" "\0d\00\01\00" "\00\01\05") "custom section")
(assert_malformed (component binary "\00asm" "\0d\00\01\00" "\00\02\01\ff") "malformed UTF-8")
(assert_malformed (component binary "\00asm" "\0d\00\01\00" "\04\08\00asm\01\00\00\00") "core module, not a component")
(assert_malformed (component binary "\00asm" "\0d\00\01\00" "\01\08\00asm\0d\00\01\00") "where a core module is expected")
(assert_malformed (component binary "\00asm" "\0d\00\01\00" "\07\81\80\80\80\80\00\00") "integer representation too long")
(assert_malformed (component binary "\00asm" "\0d\00\01\00" "\01\0e\00asm\01\00\00\00" "\01\01\00\01\01\00") "section out of order")
(component binary "\00asm" "\0d\00\01\00" "\00\04\01xyz" "\00\01\00")

;; -- value types
(component
  (type (record (field "a" u8) (field "b-c" (list string))))
  (type (variant (case "a") (case "b" u64)))
  (type (result)) (type (result u8)) (type (result (error string)))
  (type (flags "a" "b")) (type (enum "a" "B")) (type (option char)) (type (tuple u8 s16 f64))
  (type (list u8 16)) (type (map string u8)) (type (stream)) (type (future u8)))
(assert_invalid (component (type (record))) "at least one field")
(assert_invalid (component (type (variant))) "at least one case")
(assert_invalid (component (type (flags))) "1 to 32 labels")
(assert_invalid (component (type (tuple))) "at least one field")
(assert_invalid (component (type (record (field "a" u8) (field "A" u8)))) "conflicts with previous name")
(assert_invalid (component (type (record (field "a_b" u8)))) "not in kebab case")
(assert_invalid (component (type (enum "a" "a"))) "conflicts with previous name")
(assert_invalid (component (type (flags "1a"))) "not in kebab case")
(assert_invalid (component (type $f (func)) (type (list $f))) "not a defined type")
(assert_invalid (component (type (list 3))) "type index out of bounds")
(assert_invalid (component (type (stream char))) "not valid at this time")
(assert_invalid (component (type (list u8 0))) "more than zero elements")
(assert_invalid (component (type (list u64 33554432))) "exceeds maximum byte size")
(assert_invalid (component (type (map f32 u8))) "key must be")
(assert_invalid (component (type $r (resource (rep i32))) (type (func (result (borrow $r))))) "cannot contain a `borrow`")
(assert_invalid (component (type $r (resource (rep i32))) (type (stream (borrow $r)))) "cannot contain a `borrow`")
(assert_invalid (component (type (func (param "a" u8) (param "a" u8)))) "conflicts with previous name")
(assert_invalid (component (type $t u8) (type (own $t))) "not a resource type")

;; -- names
(component definition
  (import "a" (func)) (import "a:b/c" (func)) (import "a:b/c@1.0.0-rc.1+b" (func)))
(assert_invalid (component (import "a" (func)) (import "A" (func))) "conflicts with previous name")
(assert_invalid (component (import "a:b" (func))) "expected '/'")
(assert_invalid (component (import "a:B/c" (func))) "kebab-case")
(assert_invalid (component (import "a:b/c@1.0" (func))) "not a semantic version")
(assert_invalid (component (import "a:b/c@01.0.0" (func))) "not a semantic version")
(assert_invalid (component (import "a:b/c@1.0.0-01" (func))) "not a semantic version")
(assert_invalid (component (import "a:b/c@1.0.0-x" (func)) (import "a:b/C@1.0.0-x" (func))) "conflicts with previous name")
(component definition (import "a:b/c@1.0.0-x" (func)) (import "a:b/c@1.0.0-X" (func)))
(assert_invalid (component (import "" (func))) "kebab-case")
(assert_invalid (component (import "url=<https://example.org/x.wasm>" (component))) "is not supported; bundle it")
(assert_invalid (component (import "locked-dep=<a:b@1.2.3>,integrity=<sha256-YQ==>" (component))) "is not supported; bundle it")
(assert_invalid (component (import "f" (func)) (export "unlocked-dep=<x:y>" (func 0))) "is not supported; bundle it")
(component
  (import "r" (type $r (sub resource)))
  (import "[constructor]r" (func (result (own $r))))
  (import "[method]r.m" (func (param "self" (borrow $r))))
  (import "[static]r.s" (func)))
(assert_invalid (component (import "[static]r.s" (func))) "static resource name is not known")
(assert_invalid (component (import "r" (type $r (sub resource))) (import "[method]r.m" (func))) "at least one argument")
(assert_invalid (component (import "r" (type $r (sub resource))) (import "[method]r.m" (func (param "x" (borrow $r))))) "called `self`")
(assert_invalid (component (import "r" (type $r (sub resource))) (import "[method]r.m" (func (param "self" (own $r))))) "(borrow $T)")
(assert_invalid (component (import "r" (type $r (sub resource))) (import "[constructor]r" (func (result u8)))) "(own $T)")
(assert_invalid (component (import "r" (type $r (sub resource))) (import "[constructor]q" (func (result (own $r))))) "does not match expected resource name")
(assert_invalid (component (import "r" (type $r (sub resource)))
  (import "[method]r.m" (func (param "self" (borrow $r)))) (import "[static]r.m" (func))) "conflicts with previous name")

;; -- types must be named to be mentioned
(assert_invalid (component (type $e (enum "a")) (import "f" (func (param "e" $e)))) "not valid to be used as import")
(component (type $e (enum "a")) (import "e" (type $e' (eq $e))) (import "f" (func (param "e" (list $e')))))
(assert_invalid (component
  (core module $M (func (export "f") (param i32))) (core instance $m (instantiate $M))
  (type $e (enum "a")) (export $e' "e" (type $e))
  (func $f (param "e" $e) (canon lift (core func $m "f")))
  (export "f" (func $f))) "not valid to be used as export")
(component
  (core module $M (func (export "f") (param i32))) (core instance $m (instantiate $M))
  (type $e (enum "a")) (export $e' "e" (type $e))
  (func $f (param "e" $e') (canon lift (core func $m "f")))
  (export "f" (func $f)))

;; -- resources
(assert_invalid (component (type (component (type (resource (rep i32)))))) "only be defined within a concrete component")
(assert_invalid (component (type (resource (rep f32)))) "only be represented by `i32`")
(assert_invalid (component (import "r" (type $r (sub resource))) (core func (canon resource.new $r))) "not a local resource")
(assert_invalid (component (import "r" (type $r (sub resource))) (core func (canon resource.rep $r))) "not a local resource")
(component (import "r" (type $r (sub resource))) (core func (canon resource.drop $r)))
(assert_invalid (component
  (core module $M (func (export "d") (param i64))) (core instance $m (instantiate $M))
  (type (resource (rep i32) (dtor (core func $m "d"))))) "wrong signature for a destructor")
(assert_invalid (component
  (component $C (type $r (resource (rep i32))) (export "r" (type $r)))
  (component $D
    (import "r" (type $r (sub resource)))
    (import "f" (func (param "x" (own $r)))))
  (component $F (import "r" (type $r (sub resource))) (import "f" (func $f (param "x" (own $r))))
    (export $r' "r" (type $r)) (export "f" (func $f)))
  (import "s" (type $s (sub resource)))
  (import "f" (func $f (param "x" (own $s))))
  (instance $c (instantiate $C))
  (instance (instantiate $D (with "r" (type $c "r")) (with "f" (func $f))))) "type mismatch for import 'f'")
(component
  (component $D
    (import "r" (type $r (sub resource)))
    (import "f" (func (param "x" (own $r)))))
  (import "s" (type $s (sub resource)))
  (import "f" (func $f (param "x" (own $s))))
  (instance (instantiate $D (with "r" (type $s)) (with "f" (func $f)))))
(assert_invalid (component
  (component $C (type $r (resource (rep i32))) (export "r" (type $r)))
  (component $D (import "r" (type $r (sub resource))) (import "q" (type (eq $r))))
  (instance $a (instantiate $C)) (instance $b (instantiate $C))
  (instance (instantiate $D (with "r" (type $a "r")) (with "q" (type $b "r"))))) "resource types are not the same")
(assert_invalid (component
  (type $r (resource (rep i32)))
  (component (alias outer 1 $r (type $q)))) "resources not defined in the current component")
(assert_invalid (component (type $t (resource (rep i32)))
  (core module $M (func (export "f") (result i32) i32.const 0)) (core instance $m (instantiate $M))
  (func $f (result (own $t)) (canon lift (core func $m "f")))
  (export "f" (func $f))) "not valid to be used as export")

;; -- instantiation
(assert_invalid (component (component $C (import "a" (func))) (instance (instantiate $C))) "missing import named 'a'")
(assert_invalid (component (import "m" (core module $m)) (component $C (import "a" (func))) (instance (instantiate $C (with "a" (core module $m))))) "expected func, found module")
(assert_invalid (component (component $C (import "a" (func (param "x" u8)))) (import "f" (func $f (param "x" u16))) (instance (instantiate $C (with "a" (func $f))))) "expected func(x: u8), found func(x: u16)")
(assert_invalid (component (component $C (import "a" (func (param "x" u8)))) (import "f" (func $f (param "y" u8))) (instance (instantiate $C (with "a" (func $f))))) "expected func(x: u8)")
(assert_invalid (component (component $C (import "a" (instance (export "b" (func))))) (import "i" (instance $i)) (instance (instantiate $C (with "a" (instance $i))))) "missing expected export 'b'")
(component (component $C (import "a" (instance (export "b" (func))))) (import "i" (instance $i (export "b" (func)) (export "c" (func)))) (instance (instantiate $C (with "a" (instance $i)))))
(assert_invalid (component (import "f" (func $f)) (component $C) (instance (instantiate $C (with "a" (func $f)) (with "a" (func $f))))) "conflicts with previous name")
(assert_invalid (component
  (component $C (import "c" (component (import "x" (func)) (export "y" (func)))))
  (component $D (import "z" (func $z)) (export "y" (func $z)))
  (instance (instantiate $C (with "c" (component $D))))) "missing import named 'z'")
(assert_invalid (component (core module $M (import "a" "b" (func))) (core instance (instantiate $M))) "missing module instantiation argument named 'a'")
(assert_invalid (component
  (core module $A (func (export "b"))) (core instance $a (instantiate $A))
  (core module $M (import "a" "b" (func (param i32)))) (core instance (instantiate $M (with "a" (instance $a))))) "function types differ")
(assert_invalid (component
  (core module $A (memory (export "b") 1)) (core instance $a (instantiate $A))
  (core module $M (import "a" "b" (memory 2))) (core instance (instantiate $M (with "a" (instance $a))))) "mismatch in memory limits")
(assert_invalid (component
  (core module $A (global (export "b") i32 (i32.const 0))) (core instance $a (instantiate $A))
  (core module $M (import "a" "b" (global (mut i32)))) (core instance (instantiate $M (with "a" (instance $a))))) "global types differ in mutability")
(assert_invalid (component
  (core module $A (table (export "b") 1 1 funcref)) (core instance $a (instantiate $A))
  (core module $M (import "a" "b" (table 1 1 externref))) (core instance (instantiate $M (with "a" (instance $a))))) "table element types differ")
(assert_invalid (component (import "i" (instance $i)) (alias export $i "x" (func))) "no export named 'x'")
(assert_invalid (component (import "i" (instance $i (export "x" (func)))) (alias export $i "x" (instance))) "is not a instance")
(assert_invalid (component (alias outer 1 0 (type))) "invalid outer alias count of 1")
(assert_invalid (component (type (component (alias outer 1 0 (component))))) "may only refer to types or instances")
(component (import "f" (func $f (param "x" u8))) (export "g" (func $f) (func (param "x" u8))))
(assert_invalid (component (import "f" (func $f (param "x" u8))) (export "g" (func $f) (func))) "ascribed type of export")
(component (import "i" (instance $i (export "a" (func)) (export "b" (func)))) (export "j" (instance $i) (instance (export "a" (func)))))

;; -- canonical definitions
(assert_invalid (component (import "f" (func $f (param "x" string))) (core func (canon lower (func $f)))) "`memory` is required")
(assert_invalid (component
  (core module $M (memory (export "m") 1)) (core instance $m (instantiate $M))
  (import "f" (func $f (result string))) (core func (canon lower (func $f) (memory (core memory $m "m"))))) "`realloc` is required")
(assert_invalid (component
  (core module $M (memory (export "m") 1) (func (export "r") (param i32) (result i32) i32.const 0)) (core instance $m (instantiate $M))
  (import "f" (func $f (result string)))
  (core func (canon lower (func $f) (memory (core memory $m "m")) (realloc (core func $m "r"))))) "`realloc` uses a core function with an incorrect signature")
(assert_invalid (component
  (core module $M (func (export "f") (result i64) i64.const 0)) (core instance $m (instantiate $M))
  (func (result u32) (canon lift (core func $m "f")))) "signature of core function")
(assert_invalid (component
  (core module $M (func (export "f")) (func (export "p") (param i32))) (core instance $m (instantiate $M))
  (func (canon lift (core func $m "f") (post-return (core func $m "p"))))) "`post-return` uses a core function")
(component
  (core module $M (func (export "f") (result i32) i32.const 0) (func (export "p") (param i32))) (core instance $m (instantiate $M))
  (func (result u32) (canon lift (core func $m "f") (post-return (core func $m "p")))))
(assert_invalid (component
  (core module $M (func (export "p"))) (core instance $m (instantiate $M))
  (import "f" (func $f)) (core func (canon lower (func $f) (post-return (core func $m "p"))))) "cannot be specified for lowerings")
(assert_invalid (component (import "f" (func $f)) (core func (canon lower (func $f) string-encoding=utf8 string-encoding=utf16))) "conflicts with another")
(assert_invalid (component (import "f" (func $f)) (core func (canon lower (func $f) async))) "requires an async function type")
(assert_invalid (component
  (core module $M (memory (export "m") 1 1 shared)) (core instance $m (instantiate $M))
  (import "f" (func $f)) (core func (canon lower (func $f) (memory (core memory $m "m"))))) "must not be shared")
(assert_invalid (component (type $s u8) (core func (canon stream.new $s))) "requires a stream type")
(assert_invalid (component (core func (canon context.get i32 2))) "must be zero or one")
(assert_invalid (component (core func (canon task.return (result string)))) "`memory` is required")
(component
  (core module $M (memory (export "m") 1) (func (export "f") (param i32))
    (func (export "r") (param i32 i32 i32 i32) (result i32) i32.const 0))
  (core instance $m (instantiate $M))
  (func (param "a" (tuple u8 u8 u8 u8 u8 u8 u8 u8 u8)) (param "b" (tuple u8 u8 u8 u8 u8 u8 u8 u8))
    (canon lift (core func $m "f") (memory (core memory $m "m")) (realloc (core func $m "r")))))

(assert_invalid (component
  (core module $M (memory (export "m") 1) (func (export "f") (param i32 i32))) (core instance $m (instantiate $M))
  (func (param "s" string) (canon lift (core func $m "f") (memory (core memory $m "m"))))) "`realloc` is required")
(assert_invalid (component
  (core module $M (func (export "f") (result i32) i32.const 0)) (core instance $m (instantiate $M))
  (func (result string) (canon lift (core func $m "f")))) "`memory` is required")

;; -- core types
(component ;; a subtype of the wanted function type, in groups that are equal but for their place
  (core module $A
    (type (func (param i64)))
    (rec (type $base (sub (func (param (ref null $sub))))) (type $sub (sub $base (func (param (ref null $sub))))))
    (func (export "b") (type $sub)))
  (core module $B
    (rec (type $base (sub (func (param (ref null $sub))))) (type $sub (sub $base (func (param (ref null $sub))))))
    (import "a" "b" (func (type $base))))
  (core instance $a (instantiate $A))
  (core instance (instantiate $B (with "a" (instance $a)))))
(assert_invalid (component
  (core module $A (type $base (sub (func))) (func (export "b") (type $base)))
  (core module $B (type $base (sub (func))) (type $sub (sub $base (func))) (import "a" "b" (func (type $sub))))
  (core instance $a (instantiate $A))
  (core instance (instantiate $B (with "a" (instance $a))))) "function types differ")
(assert_invalid (component (core type (module (import "a" "b" (func (type 0)))))) "is not a function type")
(assert_invalid (component (core type (module (export "a" (func)) (export "a" (func))))) "duplicate export name")
(assert_invalid (component (core type (module (import "" "" (memory 70000))))) "memory size must be at most")
(assert_invalid (component (core type (func)) (import "m" (core module (type 0)))) "not a module type")
(component definition
  (core type $f (func (param i32))) (core type $m (module (alias outer 1 $f (type)) (import "a" "b" (func (type 0)))))
  (import "m" (core module $M (type $m)))
  (core module $A (func (export "b") (param i32))) (core instance $a (instantiate $A))
  (core instance (instantiate $M (with "a" (instance $a)))))

(assert_malformed (component binary "\00asm" "\0d\00\01\00" "\03\06\01\60\01\64\67\00") "malformed heap type")
(component (core type (func (param (ref null func) externref (ref extern)))))
(component
  (core rec (type $a (sub (func (param (ref $b))))) (type $b (func (result (ref $a)))))
  (core type $t (module (alias outer 1 $a (type $x)) (import "a" "b" (func (type $x))))))
(assert_invalid (component (core rec (type $a (func)) (type $b (sub $a (func))))) "final super type")

;; -- core modules and module types
(component
  (core type $s (struct (field i8) (field (mut i32)))) (core type $a (array i16)) (core type (sub (struct)))
  (core module $M
    (type $t (struct (field i32)))
    (import "e" "tag" (tag (param i32)))
    (import "e" "base" (global $base i32))
    (memory (export "mem") 1 2)
    (table (export "tab") 1 2 funcref)
    (table 1 funcref (ref.func $f))
    (global (export "i") i32 (i32.add (global.get $base) (i32.const 1)))
    (global i64 (i64.mul (i64.const -5) (i64.const 3)))
    (global f32 (f32.const 1.5)) (global f64 (f64.const 2.5))
    (global v128 (v128.const i64x2 1 2))
    (global funcref (ref.null func)) (global (ref func) (ref.func $f))
    (global (ref null $t) (struct.new $t (i32.const 1)))
    (global (ref i31) (ref.i31 (i32.const 1)))
    (tag (export "tag2") (param i64))
    (func $f (export "f")))
  (core module $E (tag (export "tag") (param i32)) (global (export "base") i32 (i32.const 8)))
  (core instance $e (instantiate $E))
  (core instance $m (instantiate $M (with "e" (instance $e))))
  (alias core export $m "tab" (core table)) (alias core export $m "tag2" (core tag))
  (alias core export $m "i" (core global)) (alias core export $m "mem" (core memory)))
(assert_invalid (component
  (core module $E (tag (export "t") (param i64))) (core instance $e (instantiate $E))
  (core module $M (import "e" "t" (tag (param i32)))) (core instance (instantiate $M (with "e" (instance $e))))) "tag types differ")
(assert_invalid (component
  (core module $E (table (export "t") 1 funcref)) (core instance $e (instantiate $E))
  (core module $M (import "e" "t" (table 1 2 funcref))) (core instance (instantiate $M (with "e" (instance $e))))) "mismatch in table limits")
(assert_invalid (component
  (core module $E (memory (export "t") 1 2 shared)) (core instance $e (instantiate $E))
  (core module $M (import "e" "t" (memory 1 2))) (core instance (instantiate $M (with "e" (instance $e))))) "mismatch in the shared flag")
(assert_invalid (component
  (core module $E (memory (export "t") i64 1)) (core instance $e (instantiate $E))
  (core module $M (import "e" "t" (memory 1))) (core instance (instantiate $M (with "e" (instance $e))))) "mismatch in index type")
(assert_invalid (component
  (core module $E (global (export "t") i64 (i64.const 1))) (core instance $e (instantiate $E))
  (core module $M (import "e" "t" (global i32))) (core instance (instantiate $M (with "e" (instance $e))))) "global types differ")
(assert_invalid (component
  (core module $E (global (export "t") i64 (i64.const 1))) (core instance $e (instantiate $E))
  (core module $M (import "e" "t" (func))) (core instance (instantiate $M (with "e" (instance $e))))) "expected a function, found a global")
(assert_invalid (component (core module (import "a" "b" (func)) (import "a" "b" (func)))) "duplicate import name")
(assert_invalid (component (core type (func)) (core type (sub 0 (func)))) "final super type")
(component
  (component $C (import "m" (core module (import "a" "b" (func)) (export "x" (memory 1)))))
  (core module $M (memory (export "x") 2) (func (export "y")))
  (instance (instantiate $C (with "m" (core module $M)))))
(assert_invalid (component
  (component $C (import "m" (core module (export "x" (memory 1)))))
  (core module $M (import "a" "b" (func)) (memory (export "x") 2))
  (instance (instantiate $C (with "m" (core module $M))))) "missing expected import 'a::b'")
(assert_invalid (component
  (component $C (import "m" (core module (export "x" (memory 1)))))
  (core module $M)
  (instance (instantiate $C (with "m" (core module $M))))) "missing expected export 'x'")
(assert_invalid (component
  (component $C (import "m" (core module (import "a" "b" (func)))))
  (core module $M (import "a" "b" (func (param i32))))
  (instance (instantiate $C (with "m" (core module $M))))) "import 'a::b'")
(assert_invalid (component
  (component $C (import "m" (core module (export "x" (memory 3)))))
  (core module $M (memory (export "x") 2))
  (instance (instantiate $C (with "m" (core module $M))))) "export 'x'")

;; -- more of subtyping
(assert_invalid (component (component $C (import "t" (type (eq 0)))) ) "unknown type 0")
(assert_invalid (component
  (component $C (type $t (tuple u8 u8)) (import "t" (type (eq $t))))
  (type $u (tuple u8 u16)) (instance (instantiate $C (with "t" (type $u))))) "expected tuple<u8, u8>, found tuple<u8, u16>")
(assert_invalid (component
  (component $C (type $t (tuple u8 u8)) (import "t" (type (eq $t))))
  (type $u (func)) (instance (instantiate $C (with "t" (type $u))))) "expected defined type, found func type")
(assert_invalid (component
  (component $C (import "i" (instance (export "a" (func (param "x" u8))))))
  (import "i" (instance $i (export "a" (func (param "x" s8)))))
  (instance (instantiate $C (with "i" (instance $i))))) "type mismatch in instance export 'a'")
(component ;; resources inside nested instances, found by their path
  (component $C
    (import "i" (instance $i (export "j" (instance (export "r" (type (sub resource)))))))
    (alias export $i "j" (instance $j)) (alias export $j "r" (type $r))
    (import "f" (func (param "x" (own $r)))))
  (import "i" (instance $i (export "j" (instance (export "r" (type (sub resource)))))))
  (alias export $i "j" (instance $j)) (alias export $j "r" (type $r))
  (import "f" (func $f (param "x" (own $r))))
  (instance (instantiate $C (with "i" (instance $i)) (with "f" (func $f)))))
(component definition ;; a component that is more general than the one wanted
  (component $C (import "c" (component
    (import "r" (type $r (sub resource))) (import "more" (func))
    (export "s" (type (sub resource))))))
  (component $D (type $t (resource (rep i32))) (export "s" (type $t)) (export "extra" (type $t)))
  (instance (instantiate $C (with "c" (component $D)))))

;; -- what is not supported is refused by name
(assert_malformed (component binary "\00asm" "\0d\00\01\00" "\09\01\00") "start functions")
(assert_malformed (component binary "\00asm" "\0d\00\01\00" "\0c\01\00") "value definitions")
(assert_invalid (component (import "v" (value u8))) "values")
(assert_invalid (component
  (core module $M (memory (export "m") i64 1)) (core instance $m (instantiate $M))
  (import "f" (func $f)) (core func (canon lower (func $f) (memory (core memory $m "m"))))) "memory64")
(assert_invalid (component (import "f" (func $f)) (core func (canon lower (func $f) gc))) "GC ABI")
