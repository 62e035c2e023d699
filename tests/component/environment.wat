;; A neighbour for tests/integration/test_compose.py, which puts BODY and VERSION in.
;; An environment of its own: whoever is composed with it sees these variables and no others.
(component
  (core module $M
    (memory (export "mem") 1)
    (data (i32.const 16) "GREETING" "from the neighbour" "ONLY" "here")
    ;; a list of two pairs: (pointer, length) of name and value
    (data (i32.const 128) "\10\00\00\00\08\00\00\00\18\00\00\00\12\00\00\00"
                          "\2a\00\00\00\04\00\00\00\2e\00\00\00\04\00\00\00")
    (data (i32.const 64) "\80\00\00\00\02\00\00\00")
    (func $environment (export "environment") (result i32) BODY (i32.const 64))
    (func (export "nothing") (result i32) (i32.const 256)))
  (core instance $m (instantiate $M))
  (func $environment (result (list (tuple string string)))
    (canon lift (core func $m "environment") (memory (core memory $m "mem"))))
  (func $arguments (result (list string))
    (canon lift (core func $m "nothing") (memory (core memory $m "mem"))))
  (func $cwd (result (option string))
    (canon lift (core func $m "nothing") (memory (core memory $m "mem"))))
  (instance $i
    (export "get-environment" (func $environment))
    (export "get-arguments" (func $arguments))
    (export "initial-cwd" (func $cwd)))
  (export "wasi:cli/environment@VERSION" (instance $i))
)
