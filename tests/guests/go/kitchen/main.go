// The kitchen in Go; routes in tests/guests/README.md.
package main

import (
	crypto "crypto/rand"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"io"
	"math/rand"
	randv2 "math/rand/v2"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"example/wasi"
)

var calls int
var started = time.Now()
var seed = maphash.MakeSeed()

func answer(to wasi.Responder, status int, text string, fields ...wasi.Field) {
	fields = append(fields, wasi.Field{"content-type", "text/plain"},
		wasi.Field{"content-length", strconv.Itoa(len(text))})
	body := to.Respond(status, fields)
	io.WriteString(body, text)
	body.Close()
}

func echo(request wasi.Request, to wasi.Responder) {
	var fields []wasi.Field
	for _, f := range request.Fields() {
		if f.Name == "content-type" {
			fields = []wasi.Field{f}
		}
	}
	from, body := request.Body(), to.Respond(200, fields)
	io.CopyBuffer(body, from, make([]byte, 16<<10))
	from.Close()
	body.Close()
}

func describe(request wasi.Request) string {
	headers := [][2]string{}
	for _, f := range request.Fields() {
		headers = append(headers, [2]string{f.Name, f.Value})
	}
	text, _ := json.Marshal(map[string]any{
		"method":    request.Method(),
		"path":      request.PathWithQuery(),
		"authority": request.Authority(),
		"scheme":    request.Scheme(),
		"headers":   headers,
	})
	return string(text) + "\n"
}

// What a start function reads, directly and through the runtime, and what a request asks anew.
func seeds() string {
	walked, some := "", map[int]int{}
	for i := range 100 {
		some[i] = i
	}
	for k := range some {
		walked += strconv.Itoa(k) + " "
	}
	text, _ := json.Marshal(map[string]any{
		"math/rand":    strconv.FormatUint(rand.Uint64(), 10),
		"math/rand/v2": strconv.FormatUint(randv2.Uint64(), 10),
		"maphash":      strconv.FormatUint(maphash.String(seed, "a"), 10),
		"map":          walked,
		"started":      started.UnixNano(),
		"now":          time.Now().UnixNano(),
		"crypto/rand":  crypto.Text(),
	})
	return string(text)
}

func kitchen(request wasi.Request, to wasi.Responder) {
	calls++
	target, argument, _ := strings.Cut(request.PathWithQuery(), "?")
	number, _ := strconv.Atoi(argument)
	switch route := path.Base(target); route {
	case "hello":
		answer(to, 200, fmt.Sprintf("Hello from G! Your number is %020d.\n", wasi.RandomU64()))
	case "echo":
		echo(request, to)
	case "drain":
		body := request.Body()
		n, _ := io.CopyBuffer(io.Discard, body, make([]byte, 16<<10))
		body.Close()
		answer(to, 200, strconv.FormatInt(n, 10))
	case "env":
		if value, found := os.LookupEnv(argument); found {
			answer(to, 200, value)
		} else {
			answer(to, 404, "no such variable")
		}
	case "variable":
		if value, err := wasi.Variable(argument); err == nil {
			answer(to, 200, value)
		} else {
			answer(to, 404, err.Error())
		}
	case "file":
		text, err := os.ReadFile("/" + strings.TrimLeft(argument, "/"))
		if err != nil {
			answer(to, 404, err.Error())
			return
		}
		body := to.Respond(200, nil)
		body.Write(text)
		body.Close()
	case "log":
		fmt.Println("out:", argument)
		fmt.Fprintln(os.Stderr, "err:", argument)
		answer(to, 200, "logged")
	case "stream":
		body := to.Respond(200, nil)
		for i := range number {
			fmt.Fprintf(body, "chunk %d\n", i)
		}
		body.Close()
	case "status":
		answer(to, number, "status "+argument, wasi.Field{"x-kitchen", "yes"},
			wasi.Field{"set-cookie", "a=1"}, wasi.Field{"set-cookie", "b=2"})
	case "request":
		answer(to, 200, describe(request))
	case "count":
		answer(to, 200, strconv.Itoa(calls))
	case "seeds":
		answer(to, 200, seeds())
	case "sleep":
		wasi.Sleep(time.Duration(number) * time.Millisecond)
		answer(to, 200, "slept")
	default:
		answer(to, 404, fmt.Sprintf("no route '%s'", route))
	}
}

func init() { wasi.Handle(kitchen) }

func main() {}
