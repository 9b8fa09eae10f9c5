# Everything runs from here; `make help` lists it. Needs Python 3.11 to 3.14 and make, nothing else.
#   PYTHON=python3.13         another interpreter than the first of python3.11 .. python3.14 that runs
#   ARGS="--scale smoke"      passed on to the command
PYTHON :=
ARGS :=
RUN := .venv/bin/python

.PHONY: help validate replay figures bench llm llm-demo kill-test test core dev llm-packages everything clean

help:
	@echo 'make validate [ARGS="--scale smoke"]   check the papers'"'"' claims: table, report.json, report.html'
	@echo 'make replay   ARGS="--judgements FILE --features FILE"   would active selection have saved labels?'
	@echo 'make figures  [ARGS="--only NAME"]     draw the figures: PDF, PNG and the numbers behind them'
	@echo 'make bench    [ARGS="--only NAME"]     speed beside what others do: ratios, floors, checked answers'
	@echo 'make llm      ARGS="run --config FILE" the same selectors on a language model (its first call installs torch)'
	@echo 'make llm-demo                          that on a small machine-made world: two reports in minutes'
	@echo 'make kill-test                         language models: runs killed at random moments end as unbroken ones'
	@echo 'make test                              formatting, types, every test'
	@echo 'make everything                        install every extra (torch, cuda, ptx); make test then tests them'
	@echo 'make clean                             remove .venv and caches (results/ stays)'
	@echo 'PYTHON=python3.13 chooses the interpreter. The first call installs into .venv.'

validate replay figures bench: core
	@$(RUN) -m activeduel $@ $(ARGS)

llm: llm-packages
	@$(RUN) -m activeduel llm $(ARGS)

DEMO := results/llm-demo

llm-demo kill-test: export OMP_NUM_THREADS = 1
llm-demo: llm-packages
	@test -f $(DEMO)/made || { $(RUN) -m activeduel.llm.text_world $(DEMO) --pairs 900 --model demo && touch $(DEMO)/made; }
	@$(RUN) -m activeduel llm run --config llm/demo.yaml $(ARGS)
	@$(RUN) -m activeduel llm run --config llm/demo.yaml --run_name adpo --method adpo \
	  --budget 600 --num_train_epochs 2 --replicates 1 --dpo_baseline $(ARGS)
	@echo 'Reports: $(DEMO)/reward/report.html  $(DEMO)/adpo/report.html'

kill-test: llm-packages
	@$(RUN) tests/kill_twenty.py $(ARGS)

test: export OMP_NUM_THREADS = 1
test: export MPLBACKEND = Agg
test: dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) -m pytest -q -rs --durations=10 $(ARGS)

core dev llm-packages everything:
	@for python in $(or $(PYTHON),python3.11 python3.12 python3.13 python3.14); do \
	  if "$$python" -c '' 2>/dev/null; then exec "$$python" .ci/environment.py $(@:-packages=); fi; \
	done; \
	echo 'activeduel: found none of $(or $(PYTHON),python3.11 .. python3.14) that runs; install one, or pass PYTHON=/path/to/python.' >&2; \
	exit 2

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
