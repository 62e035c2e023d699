package wasi

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"unsafe"
)

// A Field is one header field. A name may come more than once.
type Field struct{ Name, Value string }

// Handle names the function that answers requests; call it from init.
func Handle(f func(Request, Responder)) { handler = f }

var handler func(Request, Responder)

//go:wasmexport wasi:http/incoming-handler@0.2.0#handle
func handle(request, outparam int32) { handler(Request{request}, Responder{outparam}) }

// ---- what comes in

// A Request is what the client asked for.
type Request struct{ handle int32 }

// The order of the specification's variant.
var methods = []string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}

func (r Request) Method() string {
	var s slot
	requestMethod(r.handle, s.at())
	if n := int(s.u8(0)); n < len(methods) {
		return methods[n]
	}
	return s.text(4)
}

func (r Request) PathWithQuery() string {
	var s slot
	requestPath(r.handle, s.at())
	if s.u8(0) == 0 {
		return "/"
	}
	return s.text(4)
}

func (r Request) Authority() string {
	var s slot
	requestAuthority(r.handle, s.at())
	if s.u8(0) == 0 {
		return ""
	}
	return s.text(4)
}

func (r Request) Scheme() string {
	var s slot
	requestScheme(r.handle, s.at())
	switch {
	case s.u8(0) == 0:
		return ""
	case s.u8(4) == 0:
		return "http"
	case s.u8(4) == 1:
		return "https"
	}
	return s.text(8)
}

func (r Request) Fields() []Field { return entries(requestHeaders(r.handle)) }

// Body may be asked for once. Close it after reading.
func (r Request) Body() io.ReadCloser {
	var s slot
	requestConsume(r.handle, s.at())
	return newBody(int32(s.u32(4)))
}

func entries(fields int32) []Field {
	var s slot
	fieldsEntries(fields, s.at())
	list := unsafe.Slice((*[4]uint32)(unsafe.Pointer(uintptr(s.u32(0)))), s.u32(4))
	found := make([]Field, len(list))
	for i, e := range list {
		found[i] = Field{textAt(e[0], e[1]), textAt(e[2], e[3])}
	}
	fieldsDrop(fields)
	return found
}

type bodyReader struct{ body, stream int32 }

func newBody(body int32) io.ReadCloser {
	var s slot
	bodyStream(body, s.at())
	return &bodyReader{body, int32(s.u32(4))}
}

// Read waits for some bytes, not for as many as fit.
func (b *bodyReader) Read(p []byte) (int, error) {
	var s slot
	streamRead(b.stream, uint64(min(len(p), 16<<10)), s.at())
	if s.u8(0) != 0 {
		return 0, streamError(&s, io.EOF)
	}
	return copy(p, unsafe.Slice((*byte)(unsafe.Pointer(uintptr(s.u32(4)))), s.u32(8))), nil
}

func (b *bodyReader) Close() error {
	inputDrop(b.stream)
	trailersDrop(bodyFinish(b.body))
	return nil
}

// streamError is what the host says of a stream: that it was closed, or why it broke.
func streamError(s *slot, closed error) error {
	if s.u8(4) != 0 {
		return closed
	}
	broken := int32(s.u32(8))
	errorText(broken, s.at())
	text := s.text(0)
	errorDrop(broken)
	return errors.New(text)
}

// ---- what goes out

// A Responder is the place where the answer goes, once.
type Responder struct{ handle int32 }

// Respond sends the head of an answer and gives its body. Close it, or the client sees it cut.
func (r Responder) Respond(status int, fields []Field) io.WriteCloser {
	response := responseNew(newFields(fields))
	responseStatus(response, int32(status))
	var s slot
	responseBody(response, s.at())
	body := int32(s.u32(4))
	outparamSet(r.handle, 0, response, 0, 0, 0, 0, 0, 0)
	return newWriter(body)
}

func newFields(fields []Field) int32 {
	handle := fieldsNew()
	for _, f := range fields {
		var s slot
		name, nameLen := ptr(f.Name)
		value, valueLen := ptr(f.Value)
		fieldsAppend(handle, name, nameLen, value, valueLen, s.at())
	}
	return handle
}

type bodyWriter struct{ body, stream int32 }

func newWriter(body int32) *bodyWriter {
	var s slot
	bodyWrite(body, s.at())
	return &bodyWriter{body, int32(s.u32(4))}
}

// Write returns when the host has taken and flushed the bytes.
func (b *bodyWriter) Write(p []byte) (int, error) {
	const most = 4096 // of one blocking-write-and-flush
	done := 0
	for done < len(p) {
		part := p[done:min(done+most, len(p))]
		var s slot
		streamWrite(b.stream, unsafe.Pointer(unsafe.SliceData(part)), uint32(len(part)), s.at())
		if s.u8(0) != 0 {
			return done, streamError(&s, io.ErrClosedPipe)
		}
		done += len(part)
	}
	return done, nil
}

func (b *bodyWriter) Close() error {
	outputDrop(b.stream)
	var s slot
	outgoingFinish(b.body, 0, 0, s.at())
	return errorCode(&s, 0)
}

// ---- calling out

// A Response is another server's answer. Close its body after reading.
type Response struct {
	Status int
	Fields []Field
	Body   io.ReadCloser
}

// Send makes a request of another server and waits for the head of its answer.
func Send(method, scheme, authority, path string, fields []Field, body io.Reader) (*Response, error) {
	request := outgoingNew(newFields(fields))
	number := int32(len(methods))
	for i, name := range methods {
		if name == method {
			number = int32(i)
		}
	}
	text, n := ptr(method)
	outgoingMethod(request, number, text, n)
	text, n = ptr(path)
	outgoingPath(request, 1, text, n)
	secure := int32(0)
	if strings.EqualFold(scheme, "https") {
		secure = 1
	}
	outgoingScheme(request, 1, secure, nil, 0)
	text, n = ptr(authority)
	outgoingAuthority(request, 1, text, n)

	var s slot
	outgoingBody(request, s.at())
	writer := newWriter(int32(s.u32(4)))
	send(request, 0, 0, s.at())
	if err := errorCode(&s, 0); err != nil {
		return nil, err
	}
	future := int32(s.u32(8))
	defer futureDrop(future)
	if body != nil {
		if _, err := io.Copy(writer, body); err != nil {
			return nil, err
		}
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}

	ready := futureSubscribe(future)
	pollableBlock(ready)
	pollableDrop(ready)
	futureGet(future, s.at()) // option of result of result
	if err := errorCode(&s, 16); err != nil {
		return nil, err
	}
	response := int32(s.u32(24))
	answer := &Response{Status: int(answerStatus(response) & 0xffff)}
	answer.Fields = entries(answerHeaders(response))
	answerConsume(response, s.at())
	answer.Body = newBody(int32(s.u32(4)))
	answerDrop(response)
	return answer, nil
}

// The order of the specification's variant error-code.
var errorNames = strings.Fields(`DNS-timeout DNS-error destination-not-found
	destination-unavailable destination-IP-prohibited destination-IP-unroutable connection-refused
	connection-terminated connection-timeout connection-read-timeout connection-write-timeout
	connection-limit-reached TLS-protocol-error TLS-certificate-error TLS-alert-received
	HTTP-request-denied HTTP-request-length-required HTTP-request-body-size
	HTTP-request-method-invalid HTTP-request-URI-invalid HTTP-request-URI-too-long
	HTTP-request-header-section-size HTTP-request-header-size HTTP-request-trailer-section-size
	HTTP-request-trailer-size HTTP-response-incomplete HTTP-response-header-section-size
	HTTP-response-header-size HTTP-response-body-size HTTP-response-trailer-section-size
	HTTP-response-trailer-size HTTP-response-transfer-coding HTTP-response-content-coding
	HTTP-response-timeout HTTP-upgrade-failed HTTP-protocol-error loop-detected
	configuration-error internal-error`)

// errorCode reads a result at the offset whose error is an error-code, eight bytes further on.
func errorCode(s *slot, offset int) error {
	if s.u8(offset) == 0 {
		return nil
	}
	return fmt.Errorf("wasi:http: %s", errorNames[s.u8(offset+8)])
}
