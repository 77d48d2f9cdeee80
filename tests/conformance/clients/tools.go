//go:build tools

// Package clients pins the Go programs that the tests call the server with: go.mod names their
// versions, go.sum what they are made of. tests/clients.sh builds them.
package clients

import (
	_ "github.com/bojand/ghz/cmd/ghz"
	_ "github.com/fullstorydev/grpcurl/cmd/grpcurl"
	_ "github.com/grpc-ecosystem/grpc-health-probe"
)
