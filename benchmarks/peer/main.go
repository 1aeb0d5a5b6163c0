// The peer runs work of containerd's Go client in a running process, for benchmarks.go.
//
//	peer WORK ADDRESS NAMESPACE ARGUMENT…
//
// It prints its peak memory in KiB, and then runs the work once for each line on stdin. After each
// run, it prints the units of work, the wall seconds, the CPU seconds and the peak memory as JSON.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	transferapi "github.com/containerd/containerd/v2/core/transfer"
	"github.com/containerd/containerd/v2/core/transfer/image"
	"github.com/containerd/containerd/v2/core/transfer/registry"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A run does the work once, and returns how many units it was.
type run func(ctx context.Context) (int, error)

var works = map[string]func(c *client.Client, arguments []string) run{
	"version":    version,
	"read":       read,
	"list":       list,
	"fetch":      fetch,
	"pull":       pull,
	"transfer":   transfer,
	"push":       push,
	"containers": containers,
}

func version(c *client.Client, arguments []string) run {
	calls, err := strconv.Atoi(arguments[0])
	check(err)
	return func(ctx context.Context) (int, error) {
		for range calls {
			if _, err := c.Version(ctx); err != nil {
				return 0, err
			}
		}
		return calls, nil
	}
}

// read reads a blob in pieces of 1 MiB, as the client's own copies do.
func read(c *client.Client, arguments []string) run {
	descriptor := ocispec.Descriptor{Digest: digest.Digest(arguments[0])}
	buffer := make([]byte, 1<<20)
	return func(ctx context.Context) (int, error) {
		source, err := c.ContentStore().ReaderAt(ctx, descriptor)
		if err != nil {
			return 0, err
		}
		defer source.Close()
		copied, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, content.NewReader(source), buffer)
		return int(copied), err
	}
}

func list(c *client.Client, arguments []string) run {
	return func(ctx context.Context) (int, error) {
		found, err := c.ImageService().List(ctx)
		if err == nil && len(found) == 0 {
			err = errors.New("there are no images")
		}
		return len(found), err
	}
}

func fetch(c *client.Client, arguments []string) run {
	return func(ctx context.Context) (int, error) {
		_, err := c.Fetch(ctx, arguments[0], client.WithResolver(resolver()))
		return 1, err
	}
}

func pull(c *client.Client, arguments []string) run {
	return func(ctx context.Context) (int, error) {
		_, err := c.Pull(ctx, arguments[0], client.WithResolver(resolver()), client.WithPullUnpack)
		return 1, err
	}
}

// transfer lets the daemon pull and unpack, and watches the progress if a second argument says so.
func transfer(c *client.Client, arguments []string) run {
	return func(ctx context.Context) (int, error) {
		source, err := registry.NewOCIRegistry(ctx, arguments[0], registry.WithDefaultScheme("http"))
		if err != nil {
			return 0, err
		}
		platform := platforms.DefaultSpec()
		store := image.NewStore(arguments[0], image.WithPlatforms(platform), image.WithUnpack(platform, ""))
		if len(arguments) > 1 {
			ignore := func(transferapi.Progress) {}
			return 1, c.Transfer(ctx, source, store, transferapi.WithProgress(ignore))
		}
		return 1, c.Transfer(ctx, source, store)
	}
}

// push pushes an image to a new repository each time.
func push(c *client.Client, arguments []string) run {
	number := 0
	return func(ctx context.Context) (int, error) {
		found, err := c.GetImage(ctx, arguments[0])
		if err != nil {
			return 0, err
		}
		number++
		target := fmt.Sprintf("%s/go-%d:v1", arguments[1], number)
		return 1, c.Push(ctx, target, found.Target(), client.WithResolver(resolver()))
	}
}

// containers runs echo in a new container, and deletes the container.
func containers(c *client.Client, arguments []string) run {
	number := 0
	return func(ctx context.Context) (int, error) {
		found, err := c.GetImage(ctx, arguments[0])
		if err != nil {
			return 0, err
		}
		number++
		id := fmt.Sprintf("go-%d-%d", os.Getpid(), number)
		made, err := c.NewContainer(ctx, id, client.WithNewSnapshot(id, found),
			client.WithNewSpec(oci.WithImageConfigArgs(found, nil), oci.WithProcessArgs("echo", "hello")))
		if err != nil {
			return 0, err
		}
		defer made.Delete(ctx, client.WithSnapshotCleanup)
		return 1, runTask(ctx, made)
	}
}

func runTask(ctx context.Context, made client.Container) error {
	var stdout bytes.Buffer
	task, err := made.NewTask(ctx, cio.NewCreator(cio.WithStreams(nil, &stdout, io.Discard)))
	if err != nil {
		return err
	}
	defer task.Delete(ctx, client.WithProcessKill)
	exited, err := task.Wait(ctx)
	if err != nil {
		return err
	}
	if err := task.Start(ctx); err != nil {
		return err
	}
	<-exited
	task.IO().Wait()
	if stdout.String() != "hello\n" {
		return fmt.Errorf("the container wrote %q", stdout.String())
	}
	return nil
}

func resolver() remotes.Resolver {
	return docker.NewResolver(docker.ResolverOptions{
		Hosts: docker.ConfigureDefaultRegistries(docker.WithPlainHTTP(docker.MatchAllHosts)),
	})
}

// cost returns the CPU seconds of this process, and its peak memory in KiB.
func cost() (float64, int64) {
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	cpu := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	return cpu.Seconds(), usage.Maxrss
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	work, known := works[os.Args[1]]
	if !known {
		log.Fatalf("unknown work %q", os.Args[1])
	}
	c, err := client.New(strings.TrimPrefix(os.Args[2], "unix://"))
	check(err)
	ctx := namespaces.WithNamespace(context.Background(), os.Args[3])
	do := work(c, os.Args[4:])
	_, peak := cost()
	fmt.Println(peak)
	for input := bufio.NewScanner(os.Stdin); input.Scan(); {
		before, _ := cost()
		start := time.Now()
		units, err := do(ctx)
		wall := time.Since(start)
		check(err)
		after, peak := cost()
		check(json.NewEncoder(os.Stdout).Encode([]any{units, wall.Seconds(), after - before, peak}))
	}
}
