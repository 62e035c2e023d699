package wasi

import (
	"fmt"
	"unsafe"
)

//go:wasmimport fermyon:spin/variables@2.0.0 get
func variablesGet(name unsafe.Pointer, nameLen uint32, ret unsafe.Pointer)

// The order of the specification's variant.
var variableErrors = []string{"invalid-name", "undefined", "provider", "other"}

// Variable gives a variable of the Spin application.
func Variable(name string) (string, error) {
	var s slot
	text, n := ptr(name)
	variablesGet(text, n, s.at())
	if s.u8(0) != 0 {
		return "", fmt.Errorf("variable '%s': %s", name, variableErrors[s.u8(4)])
	}
	return s.text(4), nil
}
