# What can be done here. Each target installs what it needs: Go programs and Python and
# Node packages below .tools/, the rest by apt-get where that is there and we are root.
# What cannot be installed, `make test` skips by name; in CI (CI=true) it fails instead.
TOOLS = $(CURDIR)/.tools/bin
FUZZTIME ?= 20s
# The model check, the random lives and the 400 days have one goroutine each: the race
# detector adds nothing there but time and memory.
SEARCH = ^(TestNoHistoryBreaksAnInvariant|TestRandomLives|TestFourHundredDays)$$
# What keepin answers before a deadline it answers with real deadlines: nothing runs beside it.
TIMED = test/faults

.PHONY: help
help:
	@sed -n 's/^## *//p' $(MAKEFILE_LIST)

## make dev       run keepin and a simulated LinkedIn: http://localhost:8080
.PHONY: dev
dev:
	go run ./cmd/keepin dev

## make test      every test, with the race detector; other people's clients, too
.PHONY: test
test: setup
	KEEPIN_TEST_REQUIRE=$(CI) go test -race -timeout 40m -skip '$(SEARCH)' $$(go list ./... | grep -v '/$(TIMED)$$')
	KEEPIN_TEST_REQUIRE=$(CI) go test -race -timeout 20m ./$(TIMED)
	go test -timeout 20m -run '$(SEARCH)' ./shared/keeper ./test/soak
	$(if $(CI),,command -v npm >/dev/null || { echo "skipped, npm is missing: test/clients"; exit 0; };) test/clients/run.sh

## make prove     the long proofs of the keeper: full model check, and that it and the lives find every mutant
.PHONY: prove
prove:
	KEEPIN_MODEL=full go test -timeout 40m -count 1 -run '$(SEARCH)' -v ./shared/keeper
	KEEPIN_MUTANTS=1 go test -timeout 60m -count 1 -run Mutant -v ./shared/keeper

# The tree is not touched: go test -overlay. ONLY=csrf tries those of that name.
## make mutate    weaken the sign-in one line at a time; a named test must notice each
.PHONY: mutate
mutate: setup
	KEEPIN_MUTATE=1 go test -timeout 90m -count 1 -run TestEveryMutantIsNoticed ./test/mutation -only '$(ONLY)'

## make kills     serve and the functions killed KILLS (400) times each, under load
KILLS ?= 400
.PHONY: kills
kills: setup
	KEEPIN_KILLS=$(KILLS) go test -timeout 40m -count 1 -run Kill -v ./cmd/keepin ./test/faults

## make soak      400 days of 10,000 members, and their chart: artifacts/year.html
.PHONY: soak
soak:
	KEEPIN_SOAK=10000 go test -timeout 60m -count 1 -v ./test/soak
	KEEPIN_SOAK=100 KEEPIN_SOAK_STORE=bolt KEEPIN_SOAK_DRAW=no go test -timeout 60m -count 1 -v ./test/soak

## make check     formatting, vet, linters, go.mod, the template, known vulnerabilities
.PHONY: check
check: fmt-check lint tidy-check lint-template vuln

.PHONY: fmt-check
fmt-check:
	@files=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$files" ] || { echo "gofmt -w $$files"; exit 1; }

.PHONY: lint
lint: tools
	go vet ./...
	go vet -tags lambdahost ./shared/app/...
	$(TOOLS)/golangci-lint run --allow-parallel-runners

.PHONY: tidy-check
tidy-check:
	go mod tidy -diff
	go mod verify

# The database is at vuln.go.dev. Where that is out of reach, the check says so and
# proves nothing; KEEPIN_VULN_REQUIRE=1 makes it fail.
.PHONY: vuln
vuln: tools
	@out=$$($(TOOLS)/govulncheck ./... 2>&1); code=$$?; echo "$$out"; \
	case $$code$(KEEPIN_VULN_REQUIRE)$$out in \
		1*"fetching vulnerabilities: "*) echo "govulncheck: no database: NOTHING WAS CHECKED"; [ -z "$(KEEPIN_VULN_REQUIRE)" ] ;; \
		*) exit $$code ;; \
	esac

## make fuzz      every fuzz target for FUZZTIME (20s)
.PHONY: fuzz
fuzz:
	@set -e; for file in $$(git grep -l '^func Fuzz' -- '*_test.go'); do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$file); do \
			echo "== $$(dirname $$file) $$target"; \
			go test ./$$(dirname $$file) -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x; \
		done; \
	done

## make bench     keepin against its budgets: docs/performance.md (2 minutes; KEEPIN_BENCH_STRICT=1 fails for a miss)
.PHONY: bench
bench: setup
	KEEPIN_BENCH=1 go test -count 1 -timeout 30m -run '^TestBench$$' -v ./test/bench

## make microbench  the Go benchmarks
.PHONY: microbench
microbench:
	go test -run '^$$' -bench . -benchmem ./...

## make bench-scale  a million grants: what a pass reads; how fast one worker refreshes (10 minutes)
.PHONY: bench-scale
bench-scale:
	KEEPIN_SCALE=full go test -count 1 -timeout 60m -v ./test/scale

## make cover     how much of shared/ the tests run: cover.html
.PHONY: cover
cover: setup
	go test -coverpkg ./shared/... -coverprofile cover.out ./...
	go tool cover -html cover.out -o cover.html
	go tool cover -func cover.out | tail -1

## make tools     the linters, at the versions of tools/go.mod
.PHONY: tools
tools: $(TOOLS)/installed

$(TOOLS)/installed: tools/go.mod tools/go.sum
	@mkdir -p $(TOOLS)
	cd tools && GOBIN=$(TOOLS) go install tool
	@touch $@

## make setup     what the tests need besides Go
.PHONY: setup
setup:
	@test/setup.sh

# make lint-template, and the rules by which `sam build` makes the functions.
include sam.mk
