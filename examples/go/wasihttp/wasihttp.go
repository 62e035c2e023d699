// Package wasihttp joins WASI's HTTP to Go's: a component's requests go to an http.Handler, and an
// http.Client with its Transport calls out through the host.
package wasihttp

import (
	"io"
	"net/http"
	"net/url"

	"example/wasi"
)

// Handle names the handler that answers requests; call it from init.
func Handle(h http.Handler) {
	wasi.Handle(func(in wasi.Request, to wasi.Responder) {
		target, err := url.ParseRequestURI(in.PathWithQuery())
		if err != nil {
			to.Respond(http.StatusBadRequest, nil).Close()
			return
		}
		request := &http.Request{
			Method: in.Method(), URL: target, RequestURI: in.PathWithQuery(), Host: in.Authority(),
			Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: header(in.Fields()), Body: in.Body(), ContentLength: -1,
		}
		w := &response{to: to, header: http.Header{}}
		h.ServeHTTP(w, request)
		w.WriteHeader(http.StatusOK) // if it has not answered yet
		request.Body.Close()
		w.body.Close()
	})
}

func header(fields []wasi.Field) http.Header {
	h := http.Header{}
	for _, f := range fields {
		h.Add(f.Name, f.Value)
	}
	return h
}

func fields(h http.Header) (list []wasi.Field) {
	for name, values := range h {
		for _, value := range values {
			list = append(list, wasi.Field{Name: name, Value: value})
		}
	}
	return list
}

// A response is an http.ResponseWriter that buffers nothing.
type response struct {
	to     wasi.Responder
	header http.Header
	body   io.WriteCloser
}

func (r *response) Header() http.Header { return r.header }

func (r *response) WriteHeader(status int) {
	if r.body == nil {
		r.body = r.to.Respond(status, fields(r.header))
	}
}

func (r *response) Write(p []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	return r.body.Write(p)
}

// Transport is an http.RoundTripper.
type Transport struct{}

func (Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := wasi.Send(r.Method, r.URL.Scheme, r.URL.Host, r.URL.RequestURI(),
		fields(r.Header), r.Body)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: answer.Status, Status: http.StatusText(answer.Status),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header(answer.Fields), Body: answer.Body, ContentLength: -1, Request: r,
	}, nil
}
