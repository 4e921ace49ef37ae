# Two commands for a stranger: `make demo` and `make test`. Everything is installed into .venv/.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test cubin fuzz mutants faults numpies bounds lint reference figures bench-rivals clean

demo: .venv/installed
	$(BIN)/minivgg demo

# one BLAS thread: the idle ones spin, at the cost of whatever runs beside them
test: .venv/test
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest

# the planted mistakes that prove the gradient check, each before PyTorch's, too
mutants: .venv/test
	OPENBLAS_NUM_THREADS=1 $(BIN)/python -m minivgg.testing.mutants

# kills, damaged files, full disks and long runs, with the counts of what was survived; the tests have a few of each
faults: .venv/test
	MINIVGG_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python tests/faults.py

# the same bits with each minor release of NumPy that is supported, each in an environment of its own
numpies: .venv/test
	OPENBLAS_NUM_THREADS=1 $(BIN)/python tests/numpies.py

# every index of every compiled kernel checked; explicit vectors, whose addresses Numba does not see: tests/test_bounds.py
bounds: .venv/test
	NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=.venv/bounds OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest tests/test_algorithms.py tests/test_bounds.py

# the registers of every CUDA kernel, which a test holds them to; needs no GPU
cubin: .venv/test
	$(BIN)/python tests/cubin.py > tests/cubin.txt.new && mv tests/cubin.txt.new tests/cubin.txt

# random and hostile calls beside PyTorch, 200,000 of them, in processes that may crash: operations, tensors made, modules, optimisers
fuzz: .venv/test
	cd tests && OPENBLAS_NUM_THREADS=1 ../$(BIN)/python -m fuzz

lint: .venv/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

reference: .venv/test
	$(BIN)/python docs/make_reference.py

# the pictures of docs/convolution.md, measured anew
figures: .venv/installed
	$(BIN)/minivgg bench --plot roofline --out docs/images/roofline.svg
	$(BIN)/minivgg bench --plot accuracy --layer conv1_2,conv3_2,conv5_1 --out docs/images/accuracy.svg
	$(BIN)/minivgg bench --plot timeline --batch 8 --out docs/images/timeline.svg
	$(BIN)/minivgg bench --plot memory --batch 8 --out docs/images/memory.svg
	$(BIN)/minivgg bench --direction forward --batch 1,2,4,8 --image 96,160,224 --out docs/images/scaling.svg

# the table of goals, beside every rival that can be installed here; ROWS="forward1 step8" measures only these
bench-rivals: .venv-rivals/installed
	.venv-rivals/bin/python benchmarks/table.py $(ROWS)

.venv/installed: pyproject.toml setup.py
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

# torch first and pinned: the tests compare with exactly this version
.venv/test: .venv/installed
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable '.[test,lint]'
	touch $@

# an environment of its own: what the rivals need must not decide what minivgg runs with
.venv-rivals/installed: pyproject.toml setup.py
	$(PYTHON) -m venv .venv-rivals
	.venv-rivals/bin/python -m pip install --quiet --upgrade pip
	.venv-rivals/bin/python -m pip install --quiet torch==2.13.0
	.venv-rivals/bin/python -m pip install --quiet --editable '.[rivals]'
	touch $@

clean:
	rm -rf .venv .venv-rivals build dist *.egg-info runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
