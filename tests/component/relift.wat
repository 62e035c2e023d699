;; Functions that are no core exports where the link plan wants one: a lowered function is lifted
;; again, a resource's destructor is a lowered import.
(component
  (import "f" (func $f (param "a" u32) (param "b" f64) (result u64)))
  (import "gone" (func $gone (param "rep" u32)))
  (core func $f' (canon lower (func $f)))
  (core func $gone' (canon lower (func $gone)))
  (type $r (resource (rep i32) (dtor (core func $gone'))))
  (type $ft (func (param "a" u32) (param "b" f64) (result u64)))
  (func $g (type $ft) (canon lift (core func $f')))
  (func $h (type $ft) (canon lift (core func $f')))
  (export "g" (func $g))
  (export "h" (func $h))
  (export "f-again" (func $f))
  (export "r" (type $r))
)
