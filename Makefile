# make lab    install, make the towns, open the course     make test    everything that must pass
# make slides  the decks, in slides/                        make handouts  the decks as PDF too
# make notebooks | check | run LECTURE=03 | doctor | data | models (what lectures train once and keep)
# Flags for JupyterLab: make lab FLAGS="--no-browser --port 9999"

VENV   := .venv
PY     := $(VENV)/bin/python
DATA   := $(or $(GEODL_DATA),data)
MODEL  := runs/lecture_10_150/model.safetensors
THREADS ?= 1

# The first interpreter that is new enough and can build an environment; the versions that are tested come first.
CAN = import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < $(1))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c "$(call CAN,(3, 14))" 2>/dev/null && { echo $$p; exit; }; done; \
	for p in python3.14 python3.15 python3 python; do \
	$$p -c "$(call CAN,(4, 0))" 2>/dev/null && { echo $$p; exit; }; done)

# Nothing in a test may wait for the net: clients that honour a proxy are sent to a port where nobody listens.
OFFLINE = http_proxy=http://127.0.0.1:9 https_proxy=http://127.0.0.1:9 HTTP_PROXY=http://127.0.0.1:9 \
	HTTPS_PROXY=http://127.0.0.1:9 no_proxy=127.0.0.1,localhost NO_PROXY=127.0.0.1,localhost HF_HUB_OFFLINE=1

.PHONY: lab test notebooks slides handouts check run doctor data models
.DELETE_ON_ERROR:

lab: $(VENV)/installed $(DATA)/towns/dataset.json
	$(PY) -m jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks/00_welcome.ipynb $(FLAGS)

test: check data models
	@$(PY) lectures/decks.py --assets || echo "So the decks are not looked at in a browser."
	$(OFFLINE) OMP_NUM_THREADS=$(THREADS) $(PY) -m pytest -q -n 2 --dist loadfile tests
	$(OFFLINE) OMP_NUM_THREADS=$(THREADS) GEODL_BUDGET=quick CUDA_VISIBLE_DEVICES= $(PY) -m pytest -q -n 2 \
		--dist loadfile --nbval-lax --nbval-current-env --nbval-cell-timeout=300 \
		--nbval-sanitize-with tests/nbval_sanitize.cfg notebooks

check: $(VENV)/installed-dev
	$(PY) -m ruff check .
	$(PY) lectures/build.py --check
	$(PY) lectures/guide.py --check

notebooks: $(VENV)/installed-dev data
	$(PY) lectures/build.py
	$(PY) lectures/guide.py

slides: $(VENV)/installed-dev
	$(PY) lectures/decks.py

handouts: $(VENV)/installed-dev
	$(PY) lectures/decks.py --handouts

run: $(VENV)/installed $(DATA)/towns/dataset.json
	@test -n "$(LECTURE)" || { echo "Which lecture? For example: make run LECTURE=03"; exit 2; }
	$(PY) lectures/build.py --run $(LECTURE)

doctor: $(VENV)/installed
	$(PY) -m geodl_course.doctor

data: $(foreach set,towns valley_fills coast coast_covers camera_trap,$(DATA)/$(set)/dataset.json)

models: $(MODEL)

# The lecture itself trains what it keeps; done first, for both editions would train into one folder at the same time.
$(MODEL): | data $(VENV)/installed
	GEODL_BUDGET=quick CUDA_VISIBLE_DEVICES= $(PY) lectures/build.py --run 10

$(DATA)/%/dataset.json: | $(VENV)/installed
	$(PY) data_scripts/make.py $*

$(VENV)/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer with the venv module was found."; \
		echo "Install one (python.org, your package manager; on Debian and Ubuntu also python3-venv),"; \
		echo "or name it: make lab PYTHON=/path/to/python3"; exit 2; }
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(PY) -m pip install --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@
