# `make demo` and `make test` set everything up themselves, in .venv; a second run starts at once.
.PHONY: setup fmt check test test-slow peers test-peers test-litert golden demo nano-data nano \
  nano-quick

bin := .venv/bin
stamp := .venv/.installed

setup: $(stamp)

$(stamp): pyproject.toml .ci/constraints.txt .ci/install
	.ci/install
	@touch $@

fmt: $(stamp)
	$(bin)/ruff format
	$(bin)/ruff check --fix

check: $(stamp)
	$(bin)/ruff format --check
	$(bin)/ruff check
	$(bin)/mypy
	$(bin)/lint-imports

test: $(stamp)
	$(bin)/pytest -q -n 2

test-slow: $(stamp)
	$(bin)/pytest -q -m slow

# transformers, llama.cpp and timm in an environment of their own, for `gemma3n bench peers=[...]`
# and for the tests that run exports with them. llama.cpp is built from source (ten minutes on two
# cores); timm comes without torchvision, of which it needs nothing here.
peers := .venv-peers/bin
peers: .venv-peers/.installed

test-peers: .venv-peers/.installed
	PYTHONPATH=. $(peers)/python -m pytest -q tests/export

.venv-peers/.installed: .ci/peers.txt .ci/constraints.txt
	$${PYTHON:-python3} -m venv .venv-peers
	CMAKE_ARGS="-DLLAVA_BUILD=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_SERVER=OFF" \
	  $(peers)/pip install --quiet --constraint .ci/constraints.txt -r .ci/peers.txt
	$(peers)/pip install --quiet --no-deps timm==1.0.31
	@touch $@

# LiteRT in an environment of its own, for the test that runs exports with it: it pulls jax and
# transformers, and some packages older than those of .ci/constraints.txt.
litert := .venv-litert/bin

test-litert: .venv-litert/.installed
	$(litert)/python -m pytest -q tests/export/test_litert.py

.venv-litert/.installed: pyproject.toml .ci/constraints.txt
	$${PYTHON:-python3} -m venv .venv-litert
	$(litert)/pip install --quiet $${TORCH_INDEX:+--index-url "$$TORCH_INDEX"} \
	  $$(grep '^torch==' .ci/constraints.txt)
	$(litert)/pip install --quiet litert-torch==0.10.0 --editable '.[litert]' pytest hypothesis
	@touch $@

# Copies the reference arrays anew: make golden FROM=<folder that holds them>
golden: $(stamp)
	$(bin)/python tests/golden/copy_reference.py "$(FROM)"
	$(bin)/python tests/golden/train_tokenizer.py

# The nano checkpoint: its data (needs espeak-ng, flite, festival
# with its voices festvox-kdlpc16k and festvox-us-slt-hts, apt-get and npm), then its training.
nano-data: $(stamp)
	$(bin)/python -m pipelines.nano.data

nano: nano-data
	$(bin)/python -m pipelines.nano.recipe --minutes 150

nano-quick: $(stamp)
	$(bin)/python -m pipelines.nano.data --quick --out outputs/nano-quick/data
	$(bin)/python -m pipelines.nano.recipe --quick --data outputs/nano-quick/data --out outputs/nano-quick/runs

demo: $(stamp)
	$(bin)/gemma3n evaluate tests/samples/audio/manifest.jsonl \
	  worst=0 output=outputs/demo/transcribe fresh=true
	$(bin)/gemma3n evaluate tests/samples/images/manifest.jsonl task=caption \
	  worst=0 output=outputs/demo/caption fresh=true
	$(bin)/python tests/show_demo.py outputs/demo/transcribe outputs/demo/caption
