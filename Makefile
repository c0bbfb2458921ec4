# On a fresh machine with Python 3.11 or newer:
#
#   make demo      serve the demo; its address is printed
#   make test      run every test, in real browsers too
#   make coverage  run the tests without browsers, and say which lines of src they reached
#   make lint      ruff and mypy --strict
#   make format    fix what ruff can fix
#   make bench     measure, beside other servers
#   make faults    kill it, fill and stall its disk, cut its network, and count what is lost
#   make soak      come and go for half an hour: nothing may grow
#
# Each installs what it needs into .venv, and as root what it needs from Debian.
# ARGS goes to the command behind: make test ARGS="tests/test_hub.py -k resume"

PYTHON ?= $(shell python3.11 -c "" 2>/dev/null && echo python3.11 || echo python3)
# Most tests wait for servers and browsers: one more than two cores have.
JOBS ?= 3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: demo test coverage lint format bench faults soak clean

demo: .venv/.installed
	@$(BIN)/tidewire demo $(ARGS)

# A file's tests stay in one process: they share that file's servers and browsers.
test: .venv/.installed-dev
	@scripts/apt-install chromium firefox-esr curl iproute2 nftables || \
		echo "without them tests in browsers and network namespaces are skipped" >&2
	@echo "Running the tests in $(JOBS) processes: up to ten minutes on two cores that have nothing else to do"
	@$(BIN)/pytest --numprocesses $(JOBS) --dist loadfile $(ARGS)

# The report is written whatever the tests say; their exit code is this target's.
coverage: .venv/.installed-dev
	@$(BIN)/coverage erase
	@status=0; \
	$(BIN)/coverage run -m pytest --numprocesses $(JOBS) --dist loadfile -m "not browser" $(ARGS) || status=$$?; \
	$(BIN)/coverage combine --quiet && $(BIN)/coverage html --quiet && $(BIN)/coverage report; \
	exit $$status

lint: .venv/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict src

format: .venv/.installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

bench: .venv/.installed-bench
	@scripts/apt-install nginx libnginx-mod-nchan || echo "without them Nchan is left out" >&2
	$(BIN)/python -m benchmarks $(ARGS)

# What needs root (mounts, network namespaces) is skipped without it, and said so.
faults: .venv/.installed
	@scripts/apt-install e2fsprogs faketime iproute2 nftables strace || \
		echo "without them some faults are skipped" >&2
	$(BIN)/python -m faults --tier full $(ARGS)

soak: .venv/.installed
	$(BIN)/python -m faults --tier soak $(ARGS)

clean:
	rm -rf .venv build dist htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache

# The stamps make a second run start at once, and a changed pyproject.toml install again.
.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Tidewire needs Python 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		scripts/apt-install $$($(PYTHON) -c 'import sys; print("python3.%d-venv" % sys.version_info[1])')
	@echo "Making .venv"
	@$(PYTHON) -m venv .venv
	@$(PIP) install --upgrade "pip>=25.1"
	@touch $@

.venv/.installed: .venv/.made pyproject.toml
	@echo "Installing Tidewire into .venv"
	@$(PIP) install --editable .
	@touch $@

.venv/.installed-dev: .venv/.made pyproject.toml
	@echo "Installing Tidewire and what its tests need into .venv: a minute or two"
	@$(PIP) install --editable . --group lint --group test
	@touch $@ .venv/.installed

.venv/.installed-bench: .venv/.made pyproject.toml
	@echo "Installing Tidewire and what is measured beside it into .venv"
	@$(PIP) install --editable . --group bench
	@touch $@ .venv/.installed
