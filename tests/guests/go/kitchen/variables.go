package main

import (
	"unsafe"

	"example/wasi"
)

//go:wasmimport fermyon:spin/variables@2.0.0 get
func variablesGet(name unsafe.Pointer, nameLen uint32, ret unsafe.Pointer)

// variable gives a Spin variable, or the case of the error.
func variable(name string) (value, problem string) {
	var s wasi.Slot
	variablesGet(unsafe.Pointer(unsafe.StringData(name)), uint32(len(name)), s.At())
	if s.U8(0) == 0 {
		return s.Text(4), ""
	}
	return "", [...]string{"invalid-name", "undefined", "provider", "other"}[s.U8(4)]
}
