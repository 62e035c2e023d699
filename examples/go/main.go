// A small app in Go: a file, an upload, a stream and a call to another server, one function each.
//
// Every request is met by a new sandbox, so there is no state to keep apart and none to lose.
// Package wasihttp joins the host's HTTP to net/http; files and output are Go's own.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"

	"example/wasi"
	"example/wasihttp"
)

// GET /: a file that came with the app.
func welcome(w http.ResponseWriter, r *http.Request) {
	text, err := os.ReadFile("/assets/welcome.txt")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Write(text)
}

// POST /shout: the body in capitals, sent back while the rest of it still arrives.
func shout(w http.ResponseWriter, r *http.Request) {
	part := make([]byte, 4096)
	for {
		n, err := r.Body.Read(part)
		if err != nil {
			return
		}
		w.Write(capitals(part[:n]))
	}
}

// capitals changes ASCII letters in place; a part may end inside any other.
func capitals(text []byte) []byte {
	for i, c := range text {
		if 'a' <= c && c <= 'z' {
			text[i] = c - 'a' + 'A'
		}
	}
	return text
}

// GET /count?to=3: a line at a time; each is on its way before the next is made.
func count(w http.ResponseWriter, r *http.Request) {
	to, err := strconv.Atoi(r.FormValue("to"))
	if err != nil {
		to = 10
	}
	for i := 1; i <= to; i++ {
		fmt.Fprintln(w, i)
	}
}

// GET /relay: what the server named by the variable 'upstream' answers.
func relay(w http.ResponseWriter, r *http.Request) {
	url, err := wasi.Variable("upstream")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	client := http.Client{Transport: wasihttp.Transport{}}
	answer, err := client.Get(url)
	if err != nil {
		log.Print(err)
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer answer.Body.Close()
	w.WriteHeader(answer.StatusCode)
	io.Copy(w, answer.Body)
}

func init() {
	log.SetFlags(0)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", welcome)
	mux.HandleFunc("POST /shout", shout)
	mux.HandleFunc("GET /count", count)
	mux.HandleFunc("GET /relay", relay)
	wasihttp.Handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Method, r.URL.Path) // the log shows it with the request's id
		w.Header().Set("content-type", "text/plain; charset=utf-8")
		mux.ServeHTTP(w, r)
	}))
}

func main() {}
