"""Compiling the printed C++: which compilers, where the libraries lie, and what is said where none works."""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from commands import environment
from thalweg import rules
from thalweg.engine import build, cpu
from thalweg.engine.trace import trace

try:
    build.compiler()
except build.NoCompiler as none:
    pytest.skip(str(none), allow_module_level=True)


ZIG = f"{sys.executable} -m ziglang cc" if importlib.util.find_spec("ziglang") else None


@pytest.mark.slow
@pytest.mark.parametrize("cxx", [shutil.which("g++"), shutil.which("clang++"), ZIG], ids=["g++", "clang++", "zig"])
def test_every_compiler_that_is_there_compiles_the_kernels_and_the_planned_step(tmp_path, cxx):
    if cxx is None:
        pytest.skip("it is not installed")
    env = environment(CXX=cxx, THALWEG_CACHE=str(tmp_path))
    walk = Path(__file__).with_name("compiler_walk.py")
    done = subprocess.run([sys.executable, walk], env=env, capture_output=True, text=True, timeout=600)
    assert done.stdout.split()[-1:] == ["done"], done.stderr


def test_the_package_ziglang_is_the_last_resort(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "ziglang", build)  # any module will do
    build.compiler.cache_clear()
    try:
        assert build.compiler() == (sys.executable, "-m", "ziglang", "cc")
    finally:
        build.compiler.cache_clear()


def test_a_library_is_compiled_once_and_shared(tmp_path, monkeypatch):
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path / "kernels"))
    source = 'extern "C" int answer() { return 42; }'
    build.load.cache_clear()
    assert build.load(source).answer() == 42
    [library] = (tmp_path / "kernels").glob("*.so")
    stamp = library.stat().st_mtime_ns
    build.load.cache_clear()
    assert build.load(source).answer() == 42
    assert library.stat().st_mtime_ns == stamp
    assert library.with_suffix(".cpp").read_text() == source
    build.load.cache_clear()


def test_processes_that_start_at_once_all_get_whole_libraries(tmp_path):
    code = """
        import os
        from thalweg.engine import build
        go, held = os.pipe()
        for _ in range(10):  # they have everything imported, and wait for the pipe to be closed
            if os.fork() == 0:
                os.close(held)
                os.read(go, 1)
                answer = build.load('extern "C" int answer() { return 42; }').answer()
                os._exit(answer)
        os.close(held)
        print([os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(10)])
    """
    env = environment(THALWEG_CACHE=str(tmp_path / "kernels"))
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.stdout == f"{[42] * 10}\n", done.stderr
    assert len(list((tmp_path / "kernels").glob("*.so"))) == 1
    assert not [f for f in (tmp_path / "kernels").iterdir() if f.is_dir()]


def test_the_cache_is_where_the_system_keeps_a_users_cache(tmp_path, monkeypatch):
    monkeypatch.delenv("THALWEG_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = build.cache_folder()
    if sys.platform == "linux":
        assert folder == tmp_path / "thalweg"
    assert folder.stat().st_mode & 0o077 == 0


def test_a_folder_that_others_can_write_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setenv("THALWEG_CACHE", str(folder))
    with pytest.raises(PermissionError, match="can be written by others"):
        build.cache_folder()


def test_a_damaged_library_is_compiled_again(tmp_path, monkeypatch):
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path / "kernels"))
    source = 'extern "C" int answer() { return 43; }'
    build.library_path(source).write_bytes(b"")
    build.load.cache_clear()
    assert build.load(source).answer() == 43
    assert build.library_path(source).stat().st_size > 0
    build.load.cache_clear()


def named_by(source="source", version="1", cxx="g++", flags=("-O3",), features="avx2", machine="x86_64"):
    """The file of a source's library under these circumstances."""
    printed = subprocess.CompletedProcess([], 0, stdout=version)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "compiler", lambda: (cxx,))
        patch.setattr(build, "_run", lambda command: printed)
        patch.setattr(build, "FLAGS", flags)
        patch.setattr(build.platform, "machine", lambda: machine)
        patch.setattr(Path, "read_text", lambda file: f"model name : x\nflags : {features}\nbugs : none\n")
        build._identity.cache_clear()
        name = build._file_name(source)
    build._identity.cache_clear()
    return name


@pytest.mark.parametrize(
    "other",
    [
        {"source": "other"},
        {"version": "2"},
        {"cxx": "clang++"},
        {"flags": ("-O3", "-mavx2")},
        {"features": "avx2 avx512f"},
        {"machine": "aarch64"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_is_compiled_otherwise_lies_in_another_file(other):
    """Else a library of other flags, or with instructions that this processor has not, would be loaded."""
    assert named_by() == named_by()
    assert named_by(**other) != named_by()


def full(file, folder):
    raise OSError(28, "No space left on device", f"{folder}/{file.name}")  # which is another each time


@pytest.mark.parametrize("why", ["is no folder", "can be written by others", "No space left"])
def test_kernels_are_compiled_for_this_process_where_the_cache_cannot_be_used(tmp_path, monkeypatch, why):
    """A step goes on compiled, and a warning says once why the next process compiles again."""
    cache = tmp_path / "kernels"
    if why == "is no folder":
        cache.write_text("")
    else:
        cache.mkdir(mode=0o700)
    if why == "can be written by others":
        cache.chmod(0o777)
    if why == "No space left":
        monkeypatch.setattr(build.shutil, "copy", full)
    monkeypatch.setenv("THALWEG_CACHE", str(cache))
    build._say_that_nothing_is_kept.cache_clear()
    build.load.cache_clear()
    with pytest.warns(UserWarning, match=f"every process compiles its kernels anew, .*{why}") as seen:
        assert [build.load(f'extern "C" int answer() {{ return {n}; }}').answer() for n in (44, 45)] == [44, 45]
    assert len(seen) == 1
    assert not cache.is_dir() or not list(cache.iterdir())
    build.load.cache_clear()


def test_a_compiler_that_fails_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path))
    build.load.cache_clear()
    with pytest.raises(build.NoCompiler, match="failed"):
        build.load("this is not C++")
    assert list(tmp_path.glob("*.so")) == []


def test_without_a_compiler_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "ziglang", None)
    build.compiler.cache_clear()
    try:
        with pytest.raises(build.NoCompiler, match=r"install g\+\+ or clang\+\+"):
            build.compiler()
    finally:
        build.compiler.cache_clear()


def test_the_library_does_not_need_torch(tmp_path, monkeypatch):
    source, _ = cpu.print_kernels(
        trace(rules.find("adam")), {"p": "float32", "g": "float32", "m": "float32", "v": "float32"}, "float"
    )
    assert "torch" not in source
    assert isinstance(build.load(source), ctypes.CDLL)
    assert Path(build.library_path(source)).exists()


@pytest.mark.parametrize("cxx", ["/no/such/compiler", "false"])
def test_auto_runs_eagerly_and_says_so_once_where_no_compiler_works(tmp_path, cxx):
    code = (
        "import warnings, torch, thalweg as tw\n"
        "warnings.simplefilter('always')\n"
        "p = torch.nn.Parameter(torch.ones(2)); o = tw.SGD([p], lr=0.5)\n"
        "with warnings.catch_warnings(record=True) as seen:\n"
        "    for _ in range(3):\n"
        "        p.grad = torch.ones(2); o.step()\n"
        "print(p.tolist(), [str(w.message)[:20] for w in seen])\n"
        "tw.SGD([p], engine='cpu').step()\n"  # who insists is told that it cannot be
    )
    env = {**os.environ, "CXX": cxx, "THALWEG_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[-0.5, -0.5] ['steps run eagerly, s']", done.stderr
    assert done.returncode != 0
    assert "NoCompiler" in done.stderr
