# What a contributor and CI run. `make run` and `make test` need Go and nothing
# else; the other targets fetch what they need, by exact version, into bin/.

DATA   ?= ./data
LISTEN ?= 127.0.0.1:8080
ADMIN  ?= 127.0.0.1:9090

# Exact versions: the same verdict here, in CI and in a year.
GOLANGCI_VERSION  := v2.15.0
BUF_VERSION       := v1.75.0
PROTOC_GEN_GO_VERSION := v1.36.12
VTPROTO_VERSION   := v0.6.1-0.20250313105119-ba97887b0a25
BENCHSTAT_VERSION := v0.0.0-20260908200009-22c9c6c9d4da

TOOLS    := $(CURDIR)/bin/tools
GOLANGCI := $(TOOLS)/golangci-lint-$(GOLANGCI_VERSION)
# buf finds its plugin by name, so every version of the generators has a folder of its own.
GENERATORS := $(TOOLS)/buf-$(BUF_VERSION)-$(PROTOC_GEN_GO_VERSION)-$(VTPROTO_VERSION)

BENCHSTAT := $(TOOLS)/benchstat-$(BENCHSTAT_VERSION)

FUZZTIME ?= 5000x
SEEDS    ?= 500
BASE     ?= HEAD
COUNT    ?= 6
BENCH    ?= .
PACKAGES ?=
E2E_FLAGS ?=

.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## one static binary at bin/rookery
	CGO_ENABLED=0 go build -trimpath -o bin/rookery ./cmd/rookery

.PHONY: run
run: build ## start a node with its data in ./data
	bin/rookery serve --data $(DATA) --listen $(LISTEN) --admin $(ADMIN)

.PHONY: cluster
cluster: build ## start three nodes on this machine, with their data in ./data/1, 2 and 3
	@scripts/cluster bin/rookery $(DATA)

.PHONY: test
test: ## what to run to trust a change (Go alone)
	go test ./...

.PHONY: race
race: ## the same under the race detector (needs a C compiler)
	go test -race ./...

.PHONY: fmt
fmt: ## format every Go file
	@gofmt -w $$(git ls-files --cached --others --exclude-standard '*.go')

.PHONY: vet
vet: ## go vet, with the end-to-end tests
	go vet ./...
	go vet -tags e2e ./e2e/... ./bench/hostile

.PHONY: lint
lint: vet $(GOLANGCI) ## gofmt, go vet, golangci-lint
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not formatted (make fmt):"; echo "$$unformatted"; exit 1; fi
	$(GOLANGCI) run ./...
	$(GOLANGCI) run --build-tags e2e ./e2e/... ./bench/hostile

.PHONY: proto
proto: $(GENERATORS) ## lint the schemas and generate their Go code
	PATH="$(GENERATORS):$$PATH" buf lint
	PATH="$(GENERATORS):$$PATH" buf generate
	PATH="$(GENERATORS):$$PATH" buf generate --template buf.gen.store.yaml

.PHONY: docs
docs: ## write docs/configuration.md from the table of settings
	go test ./cmd/rookery/settings -count=1 -run '^TestDocsAreTheTable$$' -update

.PHONY: fuzz-short
fuzz-short: ## every fuzzer for a moment (FUZZTIME=5000x)
	.ci/fuzz $(FUZZTIME)

.PHONY: simulate
simulate: ## a simulated cluster, faults and all, from SEEDS=500 seeds
	.ci/simulate $(SEEDS)

.PHONY: mutants
mutants: ## prove that the bugs put in on purpose are caught
	.ci/mutants

.PHONY: bench-compare
bench-compare: $(BENCHSTAT) ## Go benchmarks of this tree against BASE=rev (BENCH=regexp PACKAGES="./a ./b")
	.ci/bench-compare $(BENCHSTAT) $(BASE) $(COUNT) '$(BENCH)' $(PACKAGES)

.PHONY: e2e
e2e: build e2e/agents/node_modules ## the real binary, other people's clients, and kill -9
	go test -tags e2e -count=1 -timeout 30m $(E2E_FLAGS) ./e2e ./e2e/faultfs

.PHONY: hostile
hostile: build ## the real binary against attackers: its memory stays bounded
	go test -tags e2e -count=1 -timeout 30m $(E2E_FLAGS) ./bench/hostile

.PHONY: torture
torture: build ## the faults of the end-to-end tests, for an hour or two (root, /dev/fuse)
	E2E_ROUNDS=1000 E2E_CUTS=3000 E2E_FLIPS=3000 E2E_DISK_ROUNDS=25 E2E_CLOCK_ROUNDS=25 E2E_PAUSE=30 \
	go test -tags e2e -count=1 -timeout 4h -v -run 'Crashes|PowerCuts|Disk|Paused|Clock|Flips' $(E2E_FLAGS) ./e2e

.PHONY: torture-cluster
torture-cluster: build ## faults of mixed kinds done to a cluster of real nodes, for an hour or two (root, /dev/fuse, iproute2)
	E2E_FAULTS=500 E2E_CLUSTER_ROUNDS=100 E2E_CUT_ROUNDS=100 \
	go test -tags e2e -count=1 -timeout 4h -v -run 'TestCluster' $(E2E_FLAGS) ./e2e

e2e/agents/node_modules: e2e/agents/package-lock.json
	npm --prefix e2e/agents ci --no-audit --no-fund
	@touch $@

$(GOLANGCI):
	GOBIN=$(TOOLS) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv $(TOOLS)/golangci-lint $@

$(GENERATORS):
	GOBIN=$@.part go install github.com/bufbuild/buf/cmd/buf@$(BUF_VERSION)
	GOBIN=$@.part go install google.golang.org/protobuf/cmd/protoc-gen-go@$(PROTOC_GEN_GO_VERSION)
	GOBIN=$@.part go install github.com/planetscale/vtprotobuf/cmd/protoc-gen-go-vtproto@$(VTPROTO_VERSION)
	mv $@.part $@

$(BENCHSTAT):
	GOBIN=$(TOOLS) go install golang.org/x/perf/cmd/benchstat@$(BENCHSTAT_VERSION)
	mv $(TOOLS)/benchstat $@
