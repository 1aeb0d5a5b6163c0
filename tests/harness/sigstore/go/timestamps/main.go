// The timestamp authority of sigstore, without its server for metrics, which binds a fixed port.
//
//	timestamps PORT KEY CHAIN
package main

import (
	"log"
	"os"
	"strconv"
	"time"

	"github.com/sigstore/timestamp-authority/v2/pkg/server"
	"github.com/spf13/viper"
)

func main() {
	port, err := strconv.Atoi(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	policy := "1.3.6.1.4.1.57264.2" // sigstore's, the default of its command line
	for name, value := range map[string]any{
		"timestamp-signer":       "file",
		"timestamp-signer-hash":  "sha256",
		"file-signer-key-path":   os.Args[2],
		"certificate-chain-path": os.Args[3],
		"default-policy-oid":     policy,
		"accepted-policy-oids":   []string{policy},
		"max-request-body-size":  1 << 20,
	} {
		viper.Set(name, value)
	}
	const patience = 10 * time.Second
	log.Fatal(server.NewRestAPIServer("127.0.0.1", port, []string{"http"}, false, patience, patience).Serve())
}
