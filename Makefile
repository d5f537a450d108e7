# What people type. `make test` is all that a contributor needs.

GO ?= go
ROUNDS ?= 30

.PHONY: build demo test test-tools test-kubernetes short race fuzz lint generate cross bench crash vuln

build: ## both programs, static, in bin/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-s -w" -o bin/ ./cmd/...

demo: ## everything runs on this machine
	$(GO) run ./cmd/hub demo

test: test-tools ## install what the tests need, then run them all
	$(GO) test -timeout 30m ./...
	cd internal/query/oracle && $(GO) test -timeout 10m ./...

short: ## the tests that need nothing but Go
	$(GO) test -short ./...

test-tools: ## Debian packages that the tests talk to, readers of RDF, outside engines of series
	scripts/install-test-tools
	scripts/install-dcat-tools
	scripts/install-engines

test-kubernetes: test-tools ## the engine with a real kube-apiserver, which is built once: nightly
	scripts/install-kubernetes
	$(GO) test ./internal/schedule/facility/kubernetes -count 1 -v -timeout 20m -run TestRealKubernetes -kubernetes.required

race: ## the race detector over everything that is concurrent
	$(GO) test -short -race -timeout 20m ./internal/... ./cmd/...

fuzz: ## every fuzz target for a few seconds
	scripts/fuzz $(FUZZTIME)

lint: ## gofmt, vet, staticcheck (from tools/go.mod)
	scripts/lint

generate: ## everything that is generated: config reference, samples, dashboards, rejects
	$(GO) generate ./...

cross: ## both programs for every architecture we build for
	scripts/cross

bench: ## the figures of docs/bench
	scripts/bench

crash: ## kill -9 and power cuts under load: make crash ROUNDS=1000
	$(GO) test ./internal/hubtest/crash -count 1 -v -timeout 24h -run TestNothingAcknowledgedIsLost -rounds $(ROUNDS)

vuln: ## known vulnerabilities in what we depend on
	scripts/vuln
