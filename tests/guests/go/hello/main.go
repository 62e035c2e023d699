// The bench's hello in Go: text of fixed length, a number drawn per request.
package main

import (
	"fmt"

	"example/wasi"
)

func init() {
	wasi.Handle(func(_ wasi.Request, to wasi.Responder) {
		text := fmt.Sprintf("Hello from G! Your number is %020d.\n", wasi.RandomU64())
		body := to.Respond(200, []wasi.Field{{"content-type", "text/plain"},
			{"content-length", fmt.Sprint(len(text))}})
		body.Write([]byte(text))
		body.Close()
	})
}

func main() {}
