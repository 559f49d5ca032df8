# Everything a change goes through. `make` alone lists the targets.

GO ?= go
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.1.4
FUZZTIME ?= 50000x
DURATION ?= 10m
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help build test race soak lint vuln fuzz bench

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build ./bin/trawl
	$(GO) build -trimpath -ldflags "-X main.builtVersion=$(VERSION)" -o bin/trawl ./cmd/trawl

test: ## run all tests
	$(GO) test ./...

race: ## run all tests under the race detector
	$(GO) test -timeout 30m -race ./...

soak: ## kill it over and over for DURATION (10m), and before every single step
	TRAWL_SOAK=$(DURATION) TRAWL_CUTS=all $(GO) test -count 1 -timeout 0 -v -run '^(TestKill|TestCutBetweenSteps)$$' ./cmd/trawl

lint: ## gofmt, vet, staticcheck
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "not gofmt'ed:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

vuln: ## known vulnerabilities of what is built in (needs the network)
	$(GO) run $(GOVULNCHECK) ./...

fuzz: ## run every fuzz target FUZZTIME (50000x, or a time like 20s)
	@set -e; for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$pkg; \
		done; \
	done

bench: ## the figures of README.md: the mapper alone, and run --once against a plain program
	$(GO) test -run '^$$' -bench . -benchmem ./internal/jsonscan ./internal/ecs ./internal/fetch ./internal/pagelog ./internal/output ./internal/deliver
	$(GO) run ./internal/bench
