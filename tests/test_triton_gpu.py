"""What a GPU would be given: Triton compiles the printed kernels without one, and what it made of them is read."""

import json
import os
import re
import subprocess
import sys

import pytest

from engine_cases import counting, every_word, lamb_like, means_of_rows
from thalweg import rules
from thalweg.engine import triton_machine
from thalweg.engine.store import COMPENSATION, STOCHASTIC
from thalweg.engine.trace import trace
from thalweg.engine.triton_head import WRITE
from thalweg.engine.triton_source import print_kernels

if not triton_machine.installed():
    pytest.skip("triton is not installed", allow_module_level=True)

COMPILE = """
import re, sys, json, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from thalweg.engine import triton_machine
types = dict(table="*i64", tensors="i32", scalars="*fp64", stride="i32", numbers="*fp64", sums="*fp64",
             sizes="*i64", owners="*i32", chunks="*i32", firsts="*i32", wholes="*fp64", count="i32",
             means="*fp64", begins="*i64", lengths="*i64", rows="*i64")
constants = {"BLOCK": 1024, "ALIGNED": True, "LANES": 128}
module = triton_machine.load(open(sys.argv[1]).read())
found = {}
for name, f in vars(module).items():
    if not re.fullmatch(r"(kernel|numbers)\\d+(_mean\\d+)?|write", name):
        continue
    signature = {a: types.get(a, "i64" if name == "write" else "constexpr") for a in f.arg_names}
    given = {k: v for k, v in constants.items() if k in f.arg_names}
    aligned = {(i,): [["tt.divisibility", 16]] for i, a in enumerate(f.arg_names) if types.get(a, "")[:1] == "*"}
    options = {"num_warps": 4, "enable_fp_fusion": False, "enable_reflect_ftz": False}
    target, source = GPUTarget("cuda", int(sys.argv[2]), 32), ASTSource(f, signature, given, aligned)
    found[name] = triton.compile(source, target=target, options=options).asm["ptx"]
print(json.dumps(found))
"""


def compiled(source, tmp_path, capability=90):
    """The PTX of every function of a source, for a GPU of that capability."""
    file = tmp_path / "kernels.py"
    file.write_text(source)
    env = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    env |= {"THALWEG_CACHE": str(tmp_path / "cache"), "TRITON_CACHE_DIR": str(tmp_path / "triton")}
    command = [sys.executable, "-c", COMPILE, str(file), str(capability)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def source_of(rule, dtype):
    graph = trace(rule)
    slots = {n: dtype if graph.signature.slots[n].shape == "p" else "float64" for n in graph.slots}
    slots = {n: kind for n, kind in slots.items() if graph.inputs[n].stage != "host"}
    return print_kernels(graph, {"p": dtype, "g": dtype, **slots}).source


def test_a_gpu_reads_wide_words_and_rounds_as_eager_does(tmp_path):
    [ptx] = compiled(source_of(rules.find("adam"), "float32"), tmp_path).values()
    assert ptx.count("ld.global.v4.b32") == 2 * 4  # 1024 elements, 128 threads: 2 times 4 of each of p, g, m, v
    assert ptx.count("st.global.v4.b32") == 2 * 3
    assert "div.rn.f32" in ptx
    assert "sqrt.rn.f32" in ptx
    assert not re.search(r"fma|ftz|approx|div\.full", ptx)


def test_a_gpu_sums_without_atomics(tmp_path):
    functions = compiled(source_of(lamb_like, "bfloat16"), tmp_path, 80)
    assert set(functions) == {"kernel0", "numbers1", "kernel1"}
    assert not any(re.search(r"\b(atom|red)\.", ptx) for ptx in functions.values())


def test_a_gpu_takes_the_mean_of_a_row_in_a_launch_of_its_own(tmp_path):
    functions = compiled(source_of(means_of_rows, "float32"), tmp_path)
    assert {"kernel0", "kernel0_mean0", "kernel0_mean1", "numbers1", "kernel1"} <= set(functions)
    assert not any(re.search(r"\b(atom|red)\.", ptx) for ptx in functions.values())


KEPT = [
    {"p": "bfloat16", "g": "bfloat16", "m": STOCHASTIC, "v": STOCHASTIC, COMPENSATION: STOCHASTIC},
    {"p": "float64", "g": "float32", "m": "bfloat16", "v": STOCHASTIC},
]


@pytest.mark.parametrize("memory", KEPT, ids=lambda memory: memory["p"])
def test_values_that_are_kept_otherwise_compile_for_a_gpu(memory, tmp_path):
    [ptx] = compiled(print_kernels(trace(rules.find("adam")), memory).source, tmp_path, 80).values()
    assert not re.search(r"fma|ftz|approx|div\.full", ptx)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("rule", [*map(rules.find, rules.names()), every_word, counting], ids=lambda r: r.__name__)
def test_every_rule_compiles_for_a_gpu(rule, dtype, tmp_path):
    assert "kernel0" in compiled(source_of(rule, dtype), tmp_path)


def test_the_table_is_written_by_a_kernel_that_a_gpu_compiles(tmp_path):
    assert compiled(WRITE, tmp_path)["write"].count("st.global.b64") == 16
