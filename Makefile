# Everything a developer runs, by name. `make` alone lists it; `make verify` is exactly what CI runs.

SHELL := bash
.DEFAULT_GOAL := help
.NOTPARALLEL:

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# Tools are pinned here and built from source into ./bin; nothing is added to go.mod for their sake.
GOLANGCI_LINT_VERSION := v2.15.0
GOVULNCHECK_VERSION   := v1.9.0
BENCHSTAT_VERSION     := v0.0.0-20260908200009-22c9c6c9d4da

GOLANGCI_LINT := bin/golangci-lint-$(GOLANGCI_LINT_VERSION)
GOVULNCHECK   := bin/govulncheck-$(GOVULNCHECK_VERSION)
BENCHSTAT     := bin/benchstat-$(BENCHSTAT_VERSION)

.PHONY: help
help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z][a-z\/]*:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

## Build and run

.PHONY: build
build: ## Build a static bin/drydock, stamped with the version
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/drydock ./cmd/drydock

.PHONY: dev
dev: ## Run everything in one process, on 127.0.0.1:8080
	go run ./cmd/drydock dev

## Test

.PHONY: setup
setup: ## Find redis-server, sshd, spin and chromium, or install them, or say how
	@scripts/setup.sh

.PHONY: test
test: setup ## Run the tests (sets up what they need)
	go test ./...

.PHONY: test/race
test/race: setup ## Run the tests with the race detector, never from the cache (needs a C compiler)
	CGO_ENABLED=1 go test -race -count=1 ./...

# Every end-to-end test again, except those that notOnCluster in e2e/redis_test.go names: four to five minutes on two busy cores.
.PHONY: test/cluster
test/cluster: setup ## Run the end-to-end tests on Redis Clusters of three masters, with the race detector
	CGO_ENABLED=1 go test -race -count=1 ./e2e -cluster

.PHONY: test/arch
test/arch: ## Run the tests of the code base's structure alone
	go test -count=1 ./internal/archtest

.PHONY: model
model: setup ## Check the model of the protocol with spin: it holds, and fails with each part taken away
	go test -count=1 -v ./proof

.PHONY: upgrade
upgrade: setup ## Test the upgrade from another commit or tag, under load (make upgrade FROM=<commit>)
	@scripts/upgrade-test.sh '$(FROM)'

# How long `make fuzz` gives each target.
FUZZTIME ?= 10s

.PHONY: fuzz
fuzz: setup ## Run every fuzz target, FUZZTIME each (make fuzz FUZZTIME=1m; default 10s)
	@scripts/fuzz.sh $(FUZZTIME)

# How long, from which seed on (default: the clock's, printed), and which faults: `make torture FOR=30m SEED=7 FAULTS=stop,kill-redis`.
FOR    ?= 5m
SEED   ?= 0
FAULTS ?= all
# What the API waits for. With replicas:1 the faults must have a failover among them: `make torture FAULTS=failover-split DURABILITY=replicas:1`.
DURABILITY ?= memory

.PHONY: torture
torture: setup ## Run real processes under load and faults, and check the history (FOR=30m SEED=7 FAULTS=stop,cut)
	go test -count=1 -v -timeout 0 ./proof/torture -run 'TestTorture$$' -for $(FOR) -seed $(SEED) -faults $(FAULTS) -durability $(DURABILITY)

.PHONY: torture/mutations
torture/mutations: setup ## Take away one part of Drydock after another, and see that the histories show it
	go test -count=1 -v -timeout 0 ./proof/torture -run 'TestTortureFindsWhatIsTakenAway' -mutations

.PHONY: bench
bench: setup $(if $(BASE),$(BENCHSTAT)) ## Run the Go benchmarks; with BASE=<commit>, compare with that commit's (COUNT=6 rounds, BENCH=pattern)
	$(if $(BASE),scripts/bench.sh $(BENCHSTAT) $(BASE) $(or $(COUNT),6) '$(or $(BENCH),.)',go test -run '^$$' -bench '$(or $(BENCH),.)' -benchmem ./...)

## Check

.PHONY: fmt
fmt: $(GOLANGCI_LINT) ## Format the code and group its imports
	$(GOLANGCI_LINT) fmt

.PHONY: fmt/check
fmt/check: ## Fail if gofmt would change a file
	@files=$$(gofmt -l .) && \
	if [ -n "$$files" ]; then printf 'gofmt would change these files (make fmt does it):\n%s\n' "$$files" >&2; exit 1; fi

.PHONY: mod/check
mod/check: ## Fail if go.mod or go.sum is untidy or a module was altered
	go mod tidy -diff
	go mod verify

.PHONY: vet
vet: ## Run go vet
	go vet ./...

.PHONY: lint
lint: $(GOLANGCI_LINT) ## Run golangci-lint (.golangci.yaml); the first run builds it, which takes a minute or two
	$(GOLANGCI_LINT) run

.PHONY: vuln
vuln: $(GOVULNCHECK) ## Look for known vulnerabilities; fails too when the database cannot be reached
	@scripts/vuln.sh $(GOVULNCHECK)

.PHONY: vuln/known
vuln/known: $(GOVULNCHECK) ## Like vuln, but when the database cannot be reached, say so and go on
	@scripts/vuln.sh $(GOVULNCHECK) || [ $$? = 2 ]

.PHONY: verify
verify: fmt/check mod/check build vet test/arch lint vuln/known test/race test/cluster ## Run all that CI runs

## Tools

# $(call install,PACKAGE) builds the tool at the version that the target's name ends with, and gives it that name.
install = GOBIN='$(CURDIR)/bin' go install $(1)@$(lastword $(subst -v, v,$@)) && mv bin/$(notdir $(1)) $@

$(GOLANGCI_LINT):
	$(call install,github.com/golangci/golangci-lint/v2/cmd/golangci-lint)

$(BENCHSTAT):
	$(call install,golang.org/x/perf/cmd/benchstat)

$(GOVULNCHECK):
	$(call install,golang.org/x/vuln/cmd/govulncheck)
