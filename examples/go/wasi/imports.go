package wasi

import (
	"time"
	"unsafe"
)

// RandomU64 is drawn from the host on every call.
//
//go:wasmimport wasi:random/random@0.2.0 get-random-u64
func RandomU64() uint64

// Sleep waits on the host's clock, while the host serves others.
func Sleep(d time.Duration) {
	ready := subscribeDuration(uint64(d))
	pollableBlock(ready)
	pollableDrop(ready)
}

// The core signatures follow from the WIT ones by the canonical ABI's rules of flattening: handles
// and booleans are i32, text is address and length, and more than one result goes to a pointer.

//go:wasmimport wasi:clocks/monotonic-clock@0.2.0 subscribe-duration
func subscribeDuration(ns uint64) int32

//go:wasmimport wasi:io/poll@0.2.0 [method]pollable.block
func pollableBlock(pollable int32)

//go:wasmimport wasi:io/poll@0.2.0 [resource-drop]pollable
func pollableDrop(pollable int32)

//go:wasmimport wasi:io/error@0.2.0 [method]error.to-debug-string
func errorText(err int32, ret unsafe.Pointer)

//go:wasmimport wasi:io/error@0.2.0 [resource-drop]error
func errorDrop(err int32)

//go:wasmimport wasi:io/streams@0.2.0 [method]input-stream.blocking-read
func streamRead(stream int32, most uint64, ret unsafe.Pointer)

//go:wasmimport wasi:io/streams@0.2.0 [resource-drop]input-stream
func inputDrop(stream int32)

//go:wasmimport wasi:io/streams@0.2.0 [method]output-stream.blocking-write-and-flush
func streamWrite(stream int32, bytes unsafe.Pointer, n uint32, ret unsafe.Pointer)

//go:wasmimport wasi:io/streams@0.2.0 [resource-drop]output-stream
func outputDrop(stream int32)

//go:wasmimport wasi:http/types@0.2.0 [constructor]fields
func fieldsNew() int32

//go:wasmimport wasi:http/types@0.2.0 [method]fields.append
func fieldsAppend(fields int32, name unsafe.Pointer, nameLen uint32, value unsafe.Pointer,
	valueLen uint32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [method]fields.entries
func fieldsEntries(fields int32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [resource-drop]fields
func fieldsDrop(fields int32)

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-request.method
func requestMethod(request int32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-request.path-with-query
func requestPath(request int32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-request.scheme
func requestScheme(request int32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-request.authority
func requestAuthority(request int32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-request.headers
func requestHeaders(request int32) int32

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-request.consume
func requestConsume(request int32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-body.stream
func bodyStream(body int32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [static]incoming-body.finish
func bodyFinish(body int32) int32

//go:wasmimport wasi:http/types@0.2.0 [resource-drop]future-trailers
func trailersDrop(trailers int32)

//go:wasmimport wasi:http/types@0.2.0 [constructor]outgoing-response
func responseNew(fields int32) int32

//go:wasmimport wasi:http/types@0.2.0 [method]outgoing-response.set-status-code
func responseStatus(response, status int32) int32

//go:wasmimport wasi:http/types@0.2.0 [method]outgoing-response.body
func responseBody(response int32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [static]response-outparam.set
func outparamSet(outparam, isErr, response, a int32, b int64, c, d, e, f int32)

//go:wasmimport wasi:http/types@0.2.0 [method]outgoing-body.write
func bodyWrite(body int32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [static]outgoing-body.finish
func outgoingFinish(body, hasTrailers, trailers int32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [constructor]outgoing-request
func outgoingNew(fields int32) int32

//go:wasmimport wasi:http/types@0.2.0 [method]outgoing-request.set-method
func outgoingMethod(request, method int32, other unsafe.Pointer, otherLen uint32) int32

//go:wasmimport wasi:http/types@0.2.0 [method]outgoing-request.set-path-with-query
func outgoingPath(request, some int32, path unsafe.Pointer, pathLen uint32) int32

//go:wasmimport wasi:http/types@0.2.0 [method]outgoing-request.set-scheme
func outgoingScheme(request, some, scheme int32, other unsafe.Pointer, otherLen uint32) int32

//go:wasmimport wasi:http/types@0.2.0 [method]outgoing-request.set-authority
func outgoingAuthority(request, some int32, authority unsafe.Pointer, authorityLen uint32) int32

//go:wasmimport wasi:http/types@0.2.0 [method]outgoing-request.body
func outgoingBody(request int32, ret unsafe.Pointer)

//go:wasmimport wasi:http/outgoing-handler@0.2.0 handle
func send(request, hasOptions, options int32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [method]future-incoming-response.subscribe
func futureSubscribe(future int32) int32

//go:wasmimport wasi:http/types@0.2.0 [method]future-incoming-response.get
func futureGet(future int32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [resource-drop]future-incoming-response
func futureDrop(future int32)

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-response.status
func answerStatus(response int32) int32

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-response.headers
func answerHeaders(response int32) int32

//go:wasmimport wasi:http/types@0.2.0 [method]incoming-response.consume
func answerConsume(response int32, ret unsafe.Pointer)

//go:wasmimport wasi:http/types@0.2.0 [resource-drop]incoming-response
func answerDrop(response int32)
