package client_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/songhua-io/hub/client"
)

func ExampleClient_Submit() {
	hub, err := client.New("http://127.0.0.1:8080", "sh_…")
	if err != nil {
		log.Fatal(err)
	}
	w := client.Workload{Name: "train-1", Gang: "all", Tasks: []client.Task{{
		Name: "main", CPUMilli: 8000, MemoryMiB: 16384, Accelerators: &client.Accelerators{Milli: 460, Models: []string{"A100"}}, Duration: "1h",
	}}}
	s, err := hub.Submit(context.Background(), w, "train-1/2026-11-26")
	if err != nil {
		log.Fatal(err)
	}
	if s.Lease != nil {
		fmt.Println("runs at", s.Lease.Facility, "under token", s.Lease.Token)
		return
	}
	for _, why := range s.Reasons {
		fmt.Println("waits:", why.Text.EN)
	}
}

func ExampleClient_Reserve() {
	hub, err := client.New("http://127.0.0.1:8080", "sh_…")
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	leases, err := hub.Reserve(ctx, client.Reservation{Pool: "cc1-a100", Resources: client.Resources{CPUMilli: 4000}, TTL: "10m"}, "job-17")
	if client.StatusOf(err) == 409 {
		fmt.Println("nothing is free:", err)
		return
	}
	if err != nil {
		log.Fatal(err)
	}
	for _, l := range leases {
		if _, err := hub.Commit(ctx, l.ID, time.Hour); err != nil {
			log.Fatal(err)
		}
		if err := hub.Release(ctx, l.ID); err != nil {
			log.Fatal(err)
		}
	}
}

func ExampleClient_Watch() {
	hub, err := client.New("http://127.0.0.1:8080", "sh_…")
	if err != nil {
		log.Fatal(err)
	}
	for e, err := range hub.Watch(context.Background(), 0) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(e.Seq, e.Kind, e.Object, e.From, "→", e.To)
	}
}

func ExampleClient_Download() {
	hub, err := client.New("http://127.0.0.1:8080", "sh_…")
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	releases, err := hub.DatasetReleases(ctx, "soil-moisture-220100", "g-7") // what this grant gives
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range releases {
		fmt.Println("version", r.Version, "has", r.Columns)
		for _, f := range r.Files {
			out, err := os.Create(f.Name)
			if err != nil {
				log.Fatal(err)
			}
			if _, err := hub.Download(ctx, f, out); err != nil {
				log.Fatal(err)
			}
			if err := out.Close(); err != nil {
				log.Fatal(err)
			}
		}
	}
}
