// Go's httputil.ReverseProxy with request ids; it does not verify tokens. Arguments: the address to listen on, the
// backend's address, and the number of idle connections to keep to the backend.
package main

import (
	"crypto/rand"
	"encoding/hex"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"time"
)

func main() {
	backend, err := url.Parse("http://" + os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	kept, err := strconv.Atoi(os.Args[3])
	if err != nil {
		log.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(request *httputil.ProxyRequest) {
			request.SetURL(backend)
			request.SetXForwarded()
			id := make([]byte, 16)
			rand.Read(id)
			request.Out.Header.Set("X-Request-Id", hex.EncodeToString(id))
		},
		ModifyResponse: func(response *http.Response) error {
			response.Header.Set("X-Request-Id", response.Request.Header.Get("X-Request-Id"))
			return nil
		},
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{Timeout: time.Second}).DialContext,
			MaxIdleConnsPerHost: kept,
			DisableCompression:  true,
		},
	}
	server := &http.Server{
		Addr:              os.Args[1],
		Handler:           proxy,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       60 * time.Second,
	}
	log.Fatal(server.ListenAndServe())
}
