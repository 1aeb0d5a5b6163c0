// Trillian's log server and log signer in one process, with the logs in memory instead of a database.
//
//	trillian PORT FOLDER
//
// The folder is not used: it shows in the list of processes who started this one.
package main

import (
	"context"
	"log"
	"net"
	"os"
	"time"

	"github.com/google/trillian"
	"github.com/google/trillian/extension"
	sequencing "github.com/google/trillian/log"
	"github.com/google/trillian/monitoring"
	"github.com/google/trillian/quota"
	"github.com/google/trillian/server"
	"github.com/google/trillian/server/admin"
	"github.com/google/trillian/server/interceptor"
	"github.com/google/trillian/storage/memory"
	"github.com/google/trillian/util/clock"
	"github.com/google/trillian/util/election"
	"github.com/google/trillian/util/election2"
	"google.golang.org/grpc"
)

func main() {
	trees, metrics := memory.NewTreeStorage(), monitoring.InertMetricFactory{}
	registry := extension.Registry{
		AdminStorage:    memory.NewAdminStorage(trees),
		LogStorage:      memory.NewLogStorage(trees, metrics),
		ElectionFactory: election2.NoopFactory{},
		QuotaManager:    quota.Noop(),
		MetricFactory:   metrics,
	}
	signer := sequencing.NewOperationManager(sequencing.OperationInfo{
		Registry:       registry,
		BatchSize:      100,
		NumWorkers:     1,
		RunInterval:    100 * time.Millisecond,
		TimeSource:     clock.System,
		ElectionConfig: election.RunnerConfig{TimeSource: clock.System},
	}, sequencing.NewSequencerManager(registry, 0))
	go signer.OperationLoop(context.Background())

	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	rpc := grpc.NewServer(grpc.UnaryInterceptor(interceptor.ErrorWrapper))
	trillian.RegisterTrillianLogServer(rpc, server.NewTrillianLogRPCServer(registry, clock.System))
	trillian.RegisterTrillianAdminServer(rpc, admin.New(registry, nil))
	log.Fatal(rpc.Serve(listener))
}
