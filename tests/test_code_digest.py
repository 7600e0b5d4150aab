"""What decides a query is part of what stored candidates are good for."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_package import PACKAGES, ROOT

from nnactive_ext.query_methods.identity import code_digest, deciding_files

DECIDES = ("querying.query", "querying.pool", "members.ensemble", "members.statistics")
"""From the pool and a member's logits to candidates and the query."""


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """The package as it is installed, in a folder of its own."""
    folder = tmp_path_factory.mktemp("digest")
    for source, target in PACKAGES.items():
        shutil.copytree(ROOT / source, folder / target, ignore=shutil.ignore_patterns("__pycache__", "vendor"))
    return folder / "nnactive_ext"


def test_every_module_that_the_code_deciding_a_query_imports_is_covered(package):
    covered = {name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in deciding_files()}
    # In a process of its own: here nnactive_ext is imported already, from a checkout whose folders lie elsewhere.
    code = (
        "import grimp\n"
        "graph = grimp.build_graph('nnactive_ext', cache_dir=None)\n"
        f"deciding = {{'nnactive_ext.' + name for name in {DECIDES}}}\n"
        "deciding |= {name for name in graph.modules if name.startswith('nnactive_ext.query_methods.')}\n"
        "print(*deciding.union(*map(graph.find_upstream_modules, deciding)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=package.parent, capture_output=True, text=True, check=True)
    imported = {name.removeprefix("nnactive_ext.") for name in done.stdout.split()} - {"nnactive_ext"}
    assert {"randomness", "geometry.patch", "engine.race", "nnunet.preprocessing"} <= imported
    assert imported <= covered


def test_the_files_are_those_of_the_package(package):
    assert set(deciding_files(package)) == set(deciding_files())
    assert code_digest(package) == code_digest()


@pytest.mark.parametrize(
    "file",
    [
        "randomness.py",
        "geometry/patch.py",
        "geometry/grid.py",
        "members/ensemble.py",
        "nnunet/preprocessing.py",
        "querying/pool.py",
        "engine/race.py",
        "query_methods/perturbation.py",
    ],
)
def test_an_edit_of_what_decides_outdates_candidates(package, file):
    before, path = code_digest(package), package / file
    content = path.read_bytes()
    path.write_bytes(content + b"\n# another stream of noise\n")
    try:
        assert code_digest(package) != before
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize("file", ["cli/query.py", "report/page.py", "compare/page.py"])
def test_an_edit_of_what_only_shows_does_not(package, file):
    before, path = code_digest(package), package / file
    path.write_bytes(path.read_bytes() + b"\n")
    assert code_digest(package) == before
